/* SPDX-License-Identifier: MIT */
/*
 * inode_table.h - the table of inodes: by node id and by key, in shards.
 *
 * Each shard has a hash, a part of the pool of descriptors (inode_pool.h) and a mutex, which protects
 * both and everything that struct inode marks. A leaf lock: nothing else is locked, no system call made
 * and nothing closed under it.
 *
 * Ownership: the table does not own its inodes; the last reference takes one out (inode.h). Only what
 * is left when the mount ends is freed with it.
 */
#ifndef ARSYNCFS_INODE_TABLE_H
#define ARSYNCFS_INODE_TABLE_H

#include <pthread.h>

#include "inode.h"

#define INODE_SHARDS 32

struct inode_shard {
	pthread_mutex_t lock;
	struct inode **buckets;
	size_t n_buckets; /* a power of two */
	size_t n_inodes;
	struct inode *newest, *oldest; /* the pool's list */
	unsigned n_cached;	       /* in the list */
	unsigned n_kept;	       /* beside it: nameless */
};

struct inode_table {
	/* Set once. */
	struct backing *backing;
	struct node_ids ids;
	struct inode *root;
	struct fd_ref *root_fd;
	unsigned cached_max; /* descriptors a shard keeps */
	unsigned kept_max;   /* and of what has no name any more */
	/* Atomic. */
	atomic_uint generations; /* given out */
	/* Each with a lock of its own. */
	struct inode_shard shards[INODE_SHARDS];
};

/**
 * Makes a table that knows the root of @backing. @fd_max bounds the pool of descriptors; a few more
 * are open while they are in use. -errno.
 */
int inode_table_new(struct backing *backing, unsigned fd_max, struct inode_table **ret);
/**
 * Drops everything, whatever the kernel still knows or had open when it went. Accepts NULL. No
 * request may be running.
 */
void inode_table_free(struct inode_table *table);

static inline struct inode_shard *inode_table_shard_of_id(struct inode_table *table, uint64_t id)
{
	return &table->shards[node_id_hash(id) % INODE_SHARDS];
}

static inline struct inode_shard *inode_table_shard_of(struct inode_table *table,
						       const struct inode *inode)
{
	return inode_table_shard_of_id(table, inode->id);
}

/** How many inodes are known, without the root, and how many descriptors the pool keeps. */
void inode_table_count(struct inode_table *table, size_t *ret_inodes, size_t *ret_fds);

/** The node id of any regular file that the kernel knows; 0: none was found. Looks at a bounded number. */
uint64_t inode_table_any_file(struct inode_table *table);

/** The inode of @key in its shard. @id: of @key, or where its numbers begin. NULL: there is none. */
struct inode *inode_table_find_locked(const struct inode_shard *shard, uint64_t id,
				      const struct backing_key *key);
/** The one that has this node id. NULL: there is none. */
struct inode *inode_table_find_id_locked(const struct inode_shard *shard, uint64_t id);

/** @inode, whose id nobody else has, is in its shard, or out of it again. */
void inode_table_insert_locked(struct inode_shard *shard, struct inode *inode);
void inode_table_remove_locked(struct inode_shard *shard, const struct inode *inode);

#endif /* ARSYNCFS_INODE_TABLE_H */
