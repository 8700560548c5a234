/* SPDX-License-Identifier: MIT */
/*
 * reflink.h - sharing blocks instead of copying them.
 */
#ifndef ENGINE_REFLINK_H
#define ENGINE_REFLINK_H

#include <stdbool.h>
#include <stdint.h>

struct reflink {
	int src_fd;
	int dst_fd;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint64_t length;
	uint64_t src_size;
	uint64_t dst_size;
	uint64_t block_size; /* of the file system: what must be aligned */
};

/**
 * Clones as much of the front of the range as can be cloned, in pieces, so that @want_stop (called
 * between them) can end it: the file system first writes the source's dirty pages back, which takes
 * its time. Blocks. @ret_cloned is always set. 0: all, or stopped, or what is left cannot be cloned
 * for its alignment; -EOPNOTSUPP: not these file systems (the others of this meaning are mapped to
 * it); -EINVAL: not this range; other -errno of ioctl_ficlonerange(2): the copy has failed.
 */
int reflink_range(const struct reflink *reflink, bool (*want_stop)(void *userdata), void *userdata,
		  uint64_t *ret_cloned);

#endif /* ENGINE_REFLINK_H */
