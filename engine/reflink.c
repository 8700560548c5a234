/* SPDX-License-Identifier: MIT */
/*
 * reflink.c - FICLONERANGE in pieces; see reflink.h.
 */
#include "reflink.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "arsync/page_cache.h"

/*
 * The first piece; each next one is four times as large while that takes no time, so that a clone
 * of 1 TiB takes few calls. The file system first writes the source's dirty pages back: as long as there
 * may be more of them, the first piece is small, and the others stay so while they take their time.
 */
#define FIRST_PIECE (16 * MIB)
#define FIRST_PIECE_CLEAN GIB
#define QUICK_NS (20 * UINT64_C(1000000))

/* -EOPNOTSUPP: this pair of file systems does not clone; -EINVAL: not these files, or not here. */
static int map_error(int error)
{
	switch (error) {
	case -EOPNOTSUPP:
	case -EXDEV:
	case -ENOTTY:
	case -ENOSYS:
		return -EOPNOTSUPP;
	case -EPERM:
	case -EACCES:
	case -EBADF:
	case -ETXTBSY:
		return -EINVAL;
	default:
		return error;
	}
}

/*
 * How much of the front has an alignment that can be cloned: all, or down to a block, or nothing.
 */
static uint64_t clonable(const struct reflink *reflink)
{
	uint64_t mask = reflink->block_size - 1;

	if ((reflink->src_offset | reflink->dst_offset) & mask)
		return 0;
	/* Up to the end of both files any length will do. */
	if (reflink->src_offset + reflink->length >= reflink->src_size &&
	    reflink->dst_offset + reflink->length >= reflink->dst_size)
		return reflink->length;
	return reflink->length & ~mask;
}

static uint64_t first_piece(uint64_t total)
{
	if (total > FIRST_PIECE && page_cache_dirty() < FIRST_PIECE)
		return FIRST_PIECE_CLEAN;
	return FIRST_PIECE;
}

int reflink_range(const struct reflink *reflink, bool (*want_stop)(void *userdata), void *userdata,
		  uint64_t *ret_cloned)
{
	uint64_t total = clonable(reflink);
	uint64_t piece = first_piece(total);
	uint64_t cloned = 0;
	uint64_t start;

	*ret_cloned = 0;
	while (cloned < total && !want_stop(userdata)) {
		uint64_t length = MIN(piece, total - cloned);
		struct file_clone_range range = {
			.src_fd = reflink->src_fd,
			.src_offset = reflink->src_offset + cloned,
			.src_length = length,
			.dest_offset = reflink->dst_offset + cloned,
		};

		start = engine_now_ns();
		if (RETRY_EINTR(ioctl(reflink->dst_fd, FICLONERANGE, &range)) < 0)
			return map_error(negative_errno());
		cloned += length;
		*ret_cloned = cloned;
		if (engine_now_ns() - start < QUICK_NS)
			piece *= 4;
	}
	return 0;
}
