/* SPDX-License-Identifier: MIT */
/*
 * inode_table.c - the hash of each shard, and the table's beginning and end; see inode_table.h.
 */
#include "inode_table.h"

#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "inode_pool.h"

#define INITIAL_BUCKETS 64
#define BUCKET_LOAD 2	     /* inodes a bucket before the shard's hash doubles */
#define ANY_FILE_BUCKETS 256 /* of each shard that are looked at for any file */

static bool has_key(const struct inode *inode, const struct backing_key *key)
{
	return inode->mount == key->mount && inode->key_type == key->type &&
	       inode->key_size == key->size && memcmp(inode->key_bytes, key->bytes, key->size) == 0;
}

static struct inode **bucket_of(const struct inode_shard *shard, uint64_t hash)
{
	return &shard->buckets[(hash / INODE_SHARDS) & (shard->n_buckets - 1)];
}

struct inode *inode_table_find_locked(const struct inode_shard *shard, uint64_t id,
				      const struct backing_key *key)
{
	struct inode *inode = *bucket_of(shard, node_id_hash(id));

	while (inode && !has_key(inode, key))
		inode = inode->hash_next;
	return inode;
}

struct inode *inode_table_find_id_locked(const struct inode_shard *shard, uint64_t id)
{
	struct inode *inode = *bucket_of(shard, node_id_hash(id));

	while (inode && inode->id != id)
		inode = inode->hash_next;
	return inode;
}

/* Without memory the chains stay long, that is all. */
static void grow_locked(struct inode_shard *shard)
{
	struct inode **old = shard->buckets;
	size_t n_old = shard->n_buckets;
	struct inode **new = calloc(n_old * 2, sizeof(*new));

	if (!new)
		return;
	shard->buckets = new;
	shard->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++) {
		for (struct inode *inode = old[i], *next; inode; inode = next) {
			struct inode **bucket = bucket_of(shard, node_id_hash(inode->id));

			next = inode->hash_next;
			inode->hash_next = *bucket;
			*bucket = inode;
		}
	}
	free(old);
}

void inode_table_insert_locked(struct inode_shard *shard, struct inode *inode)
{
	struct inode **bucket;

	if (shard->n_inodes >= shard->n_buckets * BUCKET_LOAD)
		grow_locked(shard);
	bucket = bucket_of(shard, node_id_hash(inode->id));
	inode->hash_next = *bucket;
	*bucket = inode;
	shard->n_inodes++;
}

void inode_table_remove_locked(struct inode_shard *shard, const struct inode *inode)
{
	struct inode **link = bucket_of(shard, node_id_hash(inode->id));

	while (*link != inode)
		link = &(*link)->hash_next;
	*link = inode->hash_next;
	shard->n_inodes--;
}

void inode_table_count(struct inode_table *table, size_t *ret_inodes, size_t *ret_fds)
{
	*ret_inodes = 0;
	*ret_fds = 0;
	for (size_t i = 0; i < INODE_SHARDS; i++) {
		pthread_mutex_lock(&table->shards[i].lock);
		*ret_inodes += table->shards[i].n_inodes;
		*ret_fds += table->shards[i].n_cached + table->shards[i].n_kept;
		pthread_mutex_unlock(&table->shards[i].lock);
	}
	*ret_inodes -= 1; /* the root */
}

static uint64_t any_file_locked(const struct inode_shard *shard)
{
	for (size_t i = 0; i < MIN(shard->n_buckets, (size_t)ANY_FILE_BUCKETS); i++)
		for (struct inode *inode = shard->buckets[i]; inode; inode = inode->hash_next)
			if (S_ISREG(inode->format) && inode->nlookup > 0)
				return inode->id;
	return 0;
}

uint64_t inode_table_any_file(struct inode_table *table)
{
	uint64_t id = 0;

	for (size_t i = 0; i < INODE_SHARDS && id == 0; i++) {
		pthread_mutex_lock(&table->shards[i].lock);
		id = any_file_locked(&table->shards[i]);
		pthread_mutex_unlock(&table->shards[i].lock);
	}
	return id;
}

int inode_table_new(struct backing *backing, unsigned fd_max, struct inode_table **ret)
{
	struct inode_table *table = calloc(1, sizeof(*table));
	struct backing_key root;
	struct statx stx;
	int fd;
	int r = -ENOMEM;

	if (!table)
		return -ENOMEM;
	table->backing = backing;
	table->cached_max = MAX(fd_max / INODE_SHARDS, 1U);
	table->kept_max = MAX(table->cached_max / 2, 1U);
	for (size_t i = 0; i < INODE_SHARDS; i++) {
		struct inode_shard *shard = &table->shards[i];

		pthread_mutex_init(&shard->lock, NULL);
		shard->n_buckets = INITIAL_BUCKETS;
		shard->buckets = calloc(INITIAL_BUCKETS, sizeof(*shard->buckets));
		if (!shard->buckets)
			goto fail;
	}
	fd = fcntl(backing->root_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0) {
		r = negative_errno();
		goto fail;
	}
	r = fd_ref_new(fd, &table->root_fd);
	if (r < 0)
		goto fail;
	r = backing_identify(backing, backing->root_fd, &root);
	if (r < 0)
		goto fail;
	node_ids_init(&table->ids, &root, root.mount->by_handle);
	r = inode_adopt(table, backing->root_fd, NULL, NULL, &stx, &table->root);
	if (r < 0)
		goto fail;
	*ret = table;
	return 0;
fail:
	inode_table_free(table);
	return r;
}

/* Files that were open when the kernel went: it releases nothing after that. */
static void free_openers(struct inode *inode)
{
	struct inode_opener *opener = inode->opens ? inode->opens->first : NULL;

	while (opener) {
		struct inode_opener *next = opener->next;

		fd_ref_put(opener->fd);
		opener->free(opener);
		opener = next;
	}
	free(inode->opens);
}

void inode_table_free(struct inode_table *table)
{
	if (!table)
		return;
	inode_pool_trim(table);
	for (size_t i = 0; i < INODE_SHARDS; i++) {
		struct inode_shard *shard = &table->shards[i];

		for (size_t j = 0; shard->buckets && j < shard->n_buckets; j++) {
			for (struct inode *inode = shard->buckets[j], *next; inode; inode = next) {
				next = inode->hash_next;
				free_openers(inode);
				fd_ref_put(inode->cached); /* nameless */
				free(inode->name);
				free(inode);
			}
		}
		free(shard->buckets);
		pthread_mutex_destroy(&shard->lock);
	}
	fd_ref_put(table->root_fd);
	free(table);
}
