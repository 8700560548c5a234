/* SPDX-License-Identifier: MIT */
/*
 * tree_verify.c - see tree_verify.h.
 */
#include "tree_verify.h"

#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"

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

int tree_verify_some(int src_fd, int dst_fd, uint64_t size, uint64_t *at)
{
	_cleanup_free_ struct buffers *buffers = malloc(sizeof(*buffers));
	uint64_t budget = TREE_VERIFY_AT_ONCE;
	off_t end;
	int r = 0;

	if (!buffers)
		return -ENOMEM;
	/* Best effort: what cannot be dropped is compared as it is. */
	(void)posix_fadvise(dst_fd, (off_t)*at, (off_t)budget, POSIX_FADV_DONTNEED);
	end = lseek(dst_fd, 0, SEEK_END);
	if (end < 0)
		return negative_errno();
	if ((uint64_t)end != size)
		return -EIO;
	while (r == 0 && *at < size && budget > 0) {
		uint64_t src_data = next_data(src_fd, *at, size);
		uint64_t dst_data = next_data(dst_fd, *at, size);
		uint64_t left = MIN(budget, (uint64_t)PIECE);
		size_t n;

		*at = MIN(src_data, dst_data);
		n = (size_t)MIN(size - *at, left);
		r = compare_piece(buffers, src_fd, dst_fd, n, *at);
		*at += n;
		budget -= n;
	}
	return r < 0 ? r : *at < size;
}

int tree_verify_all(int src_fd, int dst_fd, uint64_t size)
{
	uint64_t at = 0;
	int r;

	do
		r = tree_verify_some(src_fd, dst_fd, size, &at);
	while (r == 1);
	return r;
}
