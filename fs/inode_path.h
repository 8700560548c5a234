/* SPDX-License-Identifier: MIT */
/*
 * inode_path.h - getting a descriptor for an inode that has none.
 */
#ifndef ARSYNCFS_INODE_PATH_H
#define ARSYNCFS_INODE_PATH_H

#include "inode.h"

/* Components that a walk from the root takes at most: PATH_MAX of one-letter names. */
#define INODE_PATH_DEPTH_MAX 2048

/**
 * A descriptor of @inode to look at it with: O_PATH, or somebody's open file. To be put by the
 * caller.
 * -ESTALE: the file is gone, or, where it was found by path, no longer where it was.
 */
int inode_path_open(struct inode_table *table, struct inode *inode, struct fd_ref **ret);

/** The same for a file that is not in the table. -ESTALE: there is none (any more). */
int inode_path_open_key(struct inode_table *table, const struct backing_key *key,
			struct fd_ref **ret);

/**
 * Whether a file on the root's mount that nobody has come down to, @fd, may be shown: a directory must
 * be the root or below it, of which its ".." tells; another file has none, and may always. -ESTALE:
 * no.
 */
int inode_path_check_inside(struct inode_table *table, int fd);

/** Opens @inode for real, as its owner asked: @flags of open(2). Returns an fd or -errno. */
int inode_path_open_io(struct inode_table *table, struct inode *inode, int flags);

/**
 * openat(2) with O_CLOEXEC, which gives back the pool's descriptors once when there are none left.
 * Returns an fd or -errno.
 */
int inode_path_openat(struct inode_table *table, int fd, const char *name, int flags);

#endif /* ARSYNCFS_INODE_PATH_H */
