/* SPDX-License-Identifier: MIT */
/*
 * tree_verify.c - see tree_verify.h.
 */
#include "tree_verify.h"

#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "tree.h"

#define PIECE (256 * 1024)

/* Both sides. */
struct buffers {
	uint8_t src[PIECE];
	uint8_t dst[PIECE];
};

/* 0; -EIO also when the file ends before. */
static int read_all(int fd, uint8_t *buffer, size_t size, uint64_t at)
{
	while (size > 0) {
		ssize_t n = RETRY_EINTR(pread(fd, buffer, size, (off_t)at));

		if (n <= 0)
			return n < 0 ? negative_errno() : -EIO;
		buffer += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

/* Where the next data of a file begins, or @size. */
static uint64_t next_data(int fd, uint64_t at, uint64_t size)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0) /* ENXIO: there is none. Else the file system cannot tell. */
		return errno == ENXIO ? size : at;
	return MIN((uint64_t)data, size);
}

static int compare_piece(struct buffers *buffers, int src_fd, int dst_fd, size_t size, uint64_t at)
{
	int r = read_all(src_fd, buffers->src, size, at);

	if (r == 0)
		r = read_all(dst_fd, buffers->dst, size, at);
	if (r == 0 && memcmp(buffers->src, buffers->dst, size) != 0)
		r = -EIO;
	return r;
}

/* The next piece before @stop, or a step across a hole that both have, which may lead further. */
static int verify_piece(struct tree_verify *verify, struct buffers *buffers, uint64_t stop)
{
	uint64_t begin = verify->at;
	uint64_t src_data = next_data(verify->src_fd, begin, verify->size);
	uint64_t dst_data = next_data(verify->dst_fd, begin, verify->size);
	uint64_t at = MIN(src_data, dst_data);
	size_t n = at < stop ? (size_t)MIN(stop - at, (uint64_t)PIECE) : 0;
	int r = compare_piece(buffers, verify->src_fd, verify->dst_fd, n, at);

	if (r < 0)
		return r;
	verify->at = at + n;
	job_add_verified(&verify->tree->job, verify->at - begin);
	return 0;
}

int tree_verify_some(struct tree_verify *verify)
{
	_cleanup_free_ struct buffers *buffers = malloc(sizeof(*buffers));
	uint64_t stop = MIN(verify->at + TREE_VERIFY_AT_ONCE, verify->size);
	off_t end;
	int r = 0;

	if (!buffers)
		return -ENOMEM;
	/* Best effort: what cannot be dropped is compared as it is. */
	(void)posix_fadvise(verify->dst_fd, (off_t)verify->at, TREE_VERIFY_AT_ONCE,
			    POSIX_FADV_DONTNEED);
	end = lseek(verify->dst_fd, 0, SEEK_END);
	if (end < 0)
		return negative_errno();
	if ((uint64_t)end != verify->size)
		return -EIO;
	while (r == 0 && verify->at < stop)
		r = tree_is_stopping(verify->tree) ? -ECANCELED :
						     verify_piece(verify, buffers, stop);
	return r < 0 ? r : verify->at < verify->size;
}

int tree_verify_all(struct tree_verify *verify)
{
	int r;

	do
		r = tree_verify_some(verify);
	while (r == 1);
	return r;
}
