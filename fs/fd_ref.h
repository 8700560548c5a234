/* SPDX-License-Identifier: MIT */
/*
 * fd_ref.h - a file descriptor that several users share.
 *
 * The pool of O_PATH descriptors may drop one while a request still works with it, and a request
 * without a file handle may borrow the descriptor of somebody's open file that is being released.
 * The last user closes.
 */
#ifndef ARSYNCFS_FD_REF_H
#define ARSYNCFS_FD_REF_H

#include <stdatomic.h>

#include "arsync/base.h"

struct fd_ref {
	int fd; /* set once */
	atomic_uint refs;
};

/** Takes ownership of @fd, also when it fails with -ENOMEM. */
static inline int fd_ref_new(int fd, struct fd_ref **ret)
{
	struct fd_ref *ref = malloc(sizeof(*ref));

	if (!ref) {
		close_keep_errno(fd);
		return -ENOMEM;
	}
	ref->fd = fd;
	atomic_init(&ref->refs, 1);
	*ret = ref;
	return 0;
}

static inline struct fd_ref *fd_ref_get(struct fd_ref *ref)
{
	atomic_fetch_add_explicit(&ref->refs, 1, memory_order_relaxed);
	return ref;
}

/** Accepts NULL. May close: not to be called with a lock held. */
static inline void fd_ref_put(struct fd_ref *ref)
{
	if (!ref || atomic_fetch_sub_explicit(&ref->refs, 1, memory_order_acq_rel) != 1)
		return;
	close_keep_errno(ref->fd);
	free(ref);
}

static inline void cleanup_fd_ref(struct fd_ref **ref)
{
	fd_ref_put(*ref);
}

#define _cleanup_fd_ref_ _cleanup_(cleanup_fd_ref)

#endif /* ARSYNCFS_FD_REF_H */
