/* SPDX-License-Identifier: MIT */
/*
 * inode_pool.h - a bounded number of open O_PATH descriptors, kept for the next request.
 */
#ifndef ARSYNCFS_INODE_POOL_H
#define ARSYNCFS_INODE_POOL_H

#include "inode.h"

struct inode_shard;

/**
 * Puts @fd into the pool as the descriptor of @inode, unless it has one, and returns, with a
 * reference, the one to use. Takes over the caller's reference of @fd.
 */
struct fd_ref *inode_pool_add(struct inode_table *table, struct inode *inode, struct fd_ref *fd);

/**
 * The same, for an inode whose last name was removed while the kernel knows it: somebody may have it as
 * working directory, or by O_PATH. The descriptor is kept until the inode is forgotten, as far as there
 * is room for such; then it is one of the pool.
 */
void inode_pool_keep(struct inode_table *table, struct inode *inode, struct fd_ref *fd);

/** A descriptor of @inode that is open already, also by an opener, with a reference, or NULL. */
struct fd_ref *inode_pool_get(struct inode_table *table, struct inode *inode);

/** Takes the descriptor of @inode out: the caller's to put, after unlocking, or NULL. */
struct fd_ref *inode_pool_take_locked(struct inode_shard *shard, struct inode *inode);

/** Closes what the pool keeps: descriptors have run out elsewhere. */
void inode_pool_trim(struct inode_table *table);

#endif /* ARSYNCFS_INODE_POOL_H */
