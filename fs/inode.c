/* SPDX-License-Identifier: MIT */
/*
 * inode.c - inodes: looked up, referenced, forgotten; see inode.h.
 *
 * inode_lookup() opens the name O_PATH, asks that descriptor (not the name) who it is, and lets
 * find_or_add() count the lookup. Descriptors of lookups go to the pool (inode_pool.h).
 * Everything that closes or frees happens after the shard's lock was released.
 */
#include "inode.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "arsync/base.h"
#include "inode_path.h"
#include "inode_pool.h"
#include "inode_table.h"

void inode_lock(struct inode_table *table, const struct inode *inode)
{
	pthread_mutex_lock(&inode_table_shard_of(table, inode)->lock);
}

void inode_unlock(struct inode_table *table, const struct inode *inode)
{
	pthread_mutex_unlock(&inode_table_shard_of(table, inode)->lock);
}

void inode_key(const struct inode *inode, struct backing_key *ret)
{
	ret->mount = inode->mount;
	ret->type = inode->key_type;
	ret->size = inode->key_size;
	memcpy(ret->bytes, inode->key_bytes, inode->key_size);
}

struct inode *inode_from_id(struct inode_table *table, uint64_t id)
{
	struct inode_shard *shard;
	struct inode *inode;

	if (id == NODE_ID_ROOT)
		return table->root;
	shard = inode_table_shard_of_id(table, id);
	pthread_mutex_lock(&shard->lock);
	inode = inode_table_find_id_locked(shard, id);
	pthread_mutex_unlock(&shard->lock);
	return inode;
}

struct inode *inode_ref_id(struct inode_table *table, uint64_t id)
{
	struct inode_shard *shard = inode_table_shard_of_id(table, id);
	struct inode *inode;

	pthread_mutex_lock(&shard->lock);
	inode = inode_table_find_id_locked(shard, id);
	if (inode)
		inode_ref(inode);
	pthread_mutex_unlock(&shard->lock);
	return inode;
}

uint64_t inode_to_id(const struct inode_table *table, const struct inode *inode)
{
	return inode == table->root ? NODE_ID_ROOT : inode->id;
}

struct inode *inode_ref(struct inode *inode)
{
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
	return inode;
}

/* Drops one reference; true: the last, and @inode is out of the table. */
static bool drop_ref_locked(struct inode_shard *shard, struct inode *inode)
{
	if (atomic_fetch_sub_explicit(&inode->refs, 1, memory_order_acq_rel) != 1)
		return false;
	inode_table_remove_locked(shard, inode);
	return true;
}

/*
 * Frees @inode, which is out of the table, and, one after the other, parents that only its hint
 * held.
 */
static void free_chain(struct inode_table *table, struct inode *inode)
{
	while (inode) {
		struct inode *parent = inode->parent;
		bool last = false;

		free(inode->name);
		free(inode); /* without openers: they hold references */
		if (parent) {
			struct inode_shard *shard = inode_table_shard_of(table, parent);
			struct fd_ref *fd = NULL;

			pthread_mutex_lock(&shard->lock);
			last = drop_ref_locked(shard, parent);
			if (last)
				fd = inode_pool_take_locked(shard, parent);
			pthread_mutex_unlock(&shard->lock);
			fd_ref_put(fd);
		}
		inode = last ? parent : NULL;
	}
}

static void unref_and_forget(struct inode_table *table, struct inode *inode, bool unref, uint64_t n)
{
	struct inode_shard *shard = inode_table_shard_of(table, inode);
	struct fd_ref *fd = NULL;
	bool last = false;

	pthread_mutex_lock(&shard->lock);
	if (n) {
		/* More than was looked up would be a bug of the kernel's or of ours. */
		n = MIN(n, inode->nlookup);
		inode->nlookup -= n;
		unref |= n && inode->nlookup == 0;
	}
	if (unref)
		last = drop_ref_locked(shard, inode);
	if (last)
		fd = inode_pool_take_locked(shard, inode);
	pthread_mutex_unlock(&shard->lock);
	fd_ref_put(fd);
	if (last)
		free_chain(table, inode);
}

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t n)
{
	if (inode != table->root) /* which is never forgotten */
		unref_and_forget(table, inode, false, n);
}

void inode_unref(struct inode_table *table, struct inode *inode)
{
	if (inode)
		unref_and_forget(table, inode, true, 0);
}

void inode_set_hint(struct inode_table *table, struct inode *inode, struct inode *parent,
		    const char *name)
{
	struct inode *old_parent;
	char *old_name;
	char *copy;

	if (inode->by_handle || inode == table->root || !parent || !name)
		return;
	inode_lock(table, inode);
	if (inode->parent == parent && inode->name && strcmp(inode->name, name) == 0) {
		inode_unlock(table, inode);
		return;
	}
	inode_unlock(table, inode);

	copy = strdup(name);
	if (!copy)
		return; /* the old one may do; if not, ESTALE: the kernel looks up again */
	inode_ref(parent);
	inode_lock(table, inode);
	old_parent = inode->parent;
	old_name = inode->name;
	inode->parent = parent;
	inode->name = copy;
	inode_unlock(table, inode);
	free(old_name);
	inode_unref(table, old_parent);
}

static struct inode *new_inode(struct inode_table *table, const struct backing_key *key,
			       uint64_t id, const struct statx *stx)
{
	struct inode *inode = calloc(1, sizeof(*inode) + key->size);

	if (!inode)
		return NULL;
	inode->id = id;
	/* What a lasting number stands for never changes. */
	if (!node_id_lasts(id))
		inode->generation =
			atomic_fetch_add_explicit(&table->generations, 1, memory_order_relaxed);
	inode->mount = key->mount;
	inode->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	inode->by_handle = key->mount->by_handle && key->type != BACKING_KEY_NO_HANDLE;
	inode->format = stx->stx_mode & S_IFMT;
	atomic_init(&inode->refs, 0);
	inode->key_type = key->type;
	inode->key_size = key->size;
	memcpy(inode->key_bytes, key->bytes, key->size);
	return inode;
}

/* Counts one lookup. */
static int find_or_add(struct inode_table *table, const struct backing_key *key,
		       const struct statx *stx, struct inode **ret)
{
	uint64_t id = node_id_of(&table->ids, key);
	struct inode_shard *shard = inode_table_shard_of_id(table, id);
	struct inode *spare = NULL;
	struct inode *inode;

	pthread_mutex_lock(&shard->lock);
	inode = inode_table_find_locked(shard, id, key);
	if (!inode) {
		pthread_mutex_unlock(&shard->lock);
		spare = new_inode(table, key, id, stx);
		if (!spare)
			return -ENOMEM;
		pthread_mutex_lock(&shard->lock);
		inode = inode_table_find_locked(shard, id, key);
		if (!inode) {
			inode = TAKE_PTR(spare);
			while (inode_table_find_id_locked(shard, inode->id))
				inode->id = node_id_next(inode->id);
			inode_table_insert_locked(shard, inode);
		}
	}
	if (inode->nlookup++ == 0)
		inode_ref(inode);
	pthread_mutex_unlock(&shard->lock);
	free(spare);
	*ret = inode;
	return 0;
}

int inode_adopt(struct inode_table *table, int fd, struct inode *parent, const char *name,
		struct statx *ret_stx, struct inode **ret)
{
	struct backing_key key;
	struct inode *inode;
	int r;

	r = backing_identify(table->backing, fd, &key);
	if (r < 0)
		return r;
	r = backing_stat(fd, ret_stx);
	if (r < 0)
		return r;
	r = find_or_add(table, &key, ret_stx, &inode);
	if (r < 0)
		return r;
	backing_translate(table->backing, ret_stx);
	inode_set_hint(table, inode, parent, name);
	*ret = inode;
	return 0;
}

int inode_lookup(struct inode_table *table, struct inode *parent, const char *name,
		 struct statx *ret_stx, struct inode **ret)
{
	_cleanup_fd_ref_ struct fd_ref *directory = NULL;
	struct fd_ref *path;
	int fd;
	int r;

	r = inode_path_open(table, parent, &directory);
	if (r < 0)
		return r;
	fd = inode_path_openat(table, directory->fd, name, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return fd;
	r = fd_ref_new(fd, &path);
	if (r < 0)
		return r;
	r = inode_adopt(table, path->fd, parent, name, ret_stx, ret);
	if (r < 0) {
		fd_ref_put(path);
		return r;
	}
	fd_ref_put(inode_pool_add(table, *ret, path));
	return 0;
}

static int open_id(struct inode_table *table, uint64_t id, struct fd_ref **ret)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	struct inode *inode = inode_ref_id(table, id);
	struct backing_key key;
	int r;

	if (inode) {
		r = inode_path_open(table, inode, ret);
		inode_unref(table, inode);
		return r;
	}
	r = node_id_key(&table->ids, id, &key);
	if (r == 0)
		r = inode_path_open_key(table, &key, &path);
	if (r == 0)
		r = inode_path_check_inside(table, path->fd);
	if (r == 0)
		*ret = TAKE_PTR(path);
	return r;
}

int inode_lookup_id(struct inode_table *table, uint64_t id, struct statx *ret_stx,
		    struct inode **ret)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	int r;

	r = open_id(table, id, &path);
	if (r < 0)
		return r;
	return inode_adopt(table, path->fd, NULL, NULL, ret_stx, ret);
}

int inode_lookup_parent(struct inode_table *table, struct inode *inode, struct statx *ret_stx,
			struct inode **ret)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	_cleanup_close_ int fd = -1;
	struct inode *parent;
	int r;

	if (inode == table->root)
		return -ESTALE;
	r = inode_path_open(table, inode, &path);
	if (r < 0)
		return r;
	fd = inode_path_openat(table, path->fd, "..", O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd; /* above a bind mount's root */
	/* It may have been moved away. */
	if (inode->mount == table->root->mount)
		r = inode_path_check_inside(table, fd);
	if (r == 0)
		r = inode_adopt(table, fd, NULL, NULL, ret_stx, &parent);
	if (r < 0)
		return r;
	/* The root of a mount below: what is above it may be anything. */
	if (parent == inode || parent->mount != inode->mount) {
		inode_forget(table, parent, 1);
		return -ESTALE;
	}
	*ret = parent;
	return 0;
}

int inode_find(struct inode_table *table, int fd, struct inode **ret)
{
	struct backing_key key;
	struct inode_shard *shard;
	struct inode *inode;
	uint64_t id;
	int r;

	r = backing_identify_known(table->backing, fd, &key);
	if (r < 0)
		return r;
	id = node_id_of(&table->ids, &key);
	shard = inode_table_shard_of_id(table, id);
	pthread_mutex_lock(&shard->lock);
	inode = inode_table_find_locked(shard, id, &key);
	if (inode)
		inode_ref(inode);
	pthread_mutex_unlock(&shard->lock);
	if (!inode)
		return -ENOENT;
	*ret = inode;
	return 0;
}
