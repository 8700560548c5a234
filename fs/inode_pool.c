/* SPDX-License-Identifier: MIT */
/*
 * inode_pool.c - the recently used descriptors of each shard, in the order of their use.
 *
 * The oldest one makes room for a new one; those of inodes without a name are kept beside the list.
 * Whoever still uses one holds a reference, so that it is closed later; everything is closed after the
 * shard's lock was released.
 */
#include "inode_pool.h"

#include "arsync/base.h"
#include "inode_table.h"

static void unlink_locked(struct inode_shard *shard, struct inode *inode)
{
	*(inode->newer ? &inode->newer->older : &shard->newest) = inode->older;
	*(inode->older ? &inode->older->newer : &shard->oldest) = inode->newer;
	inode->newer = inode->older = NULL;
	shard->n_cached--;
}

static void push_locked(struct inode_shard *shard, struct inode *inode)
{
	inode->older = shard->newest;
	inode->newer = NULL;
	*(shard->newest ? &shard->newest->newer : &shard->oldest) = inode;
	shard->newest = inode;
	shard->n_cached++;
}

struct fd_ref *inode_pool_take_locked(struct inode_shard *shard, struct inode *inode)
{
	struct fd_ref *fd = inode->cached;

	if (inode->kept)
		shard->n_kept--;
	else if (fd)
		unlink_locked(shard, inode);
	inode->cached = NULL;
	inode->kept = false;
	return fd;
}

/* @inode has none. Returns what gives way, or NULL. */
static struct fd_ref *insert_locked(struct inode_table *table, struct inode_shard *shard,
				    struct inode *inode, struct fd_ref *fd)
{
	inode->cached = fd;
	push_locked(shard, inode);
	return shard->n_cached > table->cached_max ? inode_pool_take_locked(shard, shard->oldest) :
						     NULL;
}

struct fd_ref *inode_pool_add(struct inode_table *table, struct inode *inode, struct fd_ref *fd)
{
	struct inode_shard *shard = inode_table_shard_of(table, inode);
	struct fd_ref *surplus = NULL;
	struct fd_ref *use;

	if (inode == table->root) {
		fd_ref_put(fd);
		return fd_ref_get(table->root_fd);
	}
	pthread_mutex_lock(&shard->lock);
	if (inode->cached) {
		surplus = fd; /* somebody was faster */
		use = fd_ref_get(inode->cached);
	} else {
		use = fd_ref_get(fd);
		surplus = insert_locked(table, shard, inode, fd);
	}
	pthread_mutex_unlock(&shard->lock);
	fd_ref_put(surplus);
	return use;
}

void inode_pool_keep(struct inode_table *table, struct inode *inode, struct fd_ref *fd)
{
	struct inode_shard *shard = inode_table_shard_of(table, inode);
	struct fd_ref *surplus = fd;

	pthread_mutex_lock(&shard->lock);
	if (!inode->cached)
		surplus = insert_locked(table, shard, inode, fd);
	inode->nameless = true;
	if (inode->cached && !inode->kept && shard->n_kept < table->kept_max) {
		unlink_locked(shard, inode);
		inode->kept = true;
		shard->n_kept++;
	}
	pthread_mutex_unlock(&shard->lock);
	fd_ref_put(surplus);
}

struct fd_ref *inode_pool_get(struct inode_table *table, struct inode *inode)
{
	struct inode_shard *shard = inode_table_shard_of(table, inode);
	struct fd_ref *fd = NULL;

	if (inode == table->root)
		return fd_ref_get(table->root_fd);
	pthread_mutex_lock(&shard->lock);
	if (inode->cached) {
		fd = fd_ref_get(inode->cached);
		if (!inode->kept) {
			unlink_locked(shard, inode);
			push_locked(shard, inode);
		}
	} else if (inode->opens && inode->opens->first) {
		fd = fd_ref_get(inode->opens->first->fd);
	}
	pthread_mutex_unlock(&shard->lock);
	return fd;
}

void inode_pool_trim(struct inode_table *table)
{
	for (size_t i = 0; i < INODE_SHARDS; i++) {
		struct inode_shard *shard = &table->shards[i];
		struct fd_ref *fd;

		do {
			pthread_mutex_lock(&shard->lock);
			fd = shard->oldest ? inode_pool_take_locked(shard, shard->oldest) : NULL;
			pthread_mutex_unlock(&shard->lock);
			fd_ref_put(fd);
		} while (fd);
	}
}
