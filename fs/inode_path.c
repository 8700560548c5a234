/* SPDX-License-Identifier: MIT */
/*
 * inode_path.c - by handle where that works, else by walking from the nearest ancestor that has a
 * descriptor.
 *
 * A walk follows hints: where each file was seen last. They are right unless somebody renamed
 * something behind our back, so the file found at the end must have the inode's key, or the answer
 * is ESTALE. The kernel then asks again by name (retry_estale() in fs/namei.c), which corrects the
 * hint.
 */
#include "inode_path.h"

#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "inode_pool.h"
#include "inode_table.h"

/* The names from an ancestor down to an inode, the last one first. */
struct walk {
	char **names;
	size_t n_names;
	size_t room;
	struct fd_ref *start; /* the ancestor */
};

static void walk_destroy(struct walk *walk)
{
	for (size_t i = 0; i < walk->n_names; i++)
		free(walk->names[i]);
	free(walk->names);
	fd_ref_put(walk->start);
}

static bool out_of_descriptors(int r)
{
	return r == -EMFILE || r == -ENFILE;
}

int inode_path_openat(struct inode_table *table, int fd, const char *name, int flags)
{
	int opened = openat(fd, name, flags | O_CLOEXEC);
	int r = opened < 0 ? negative_errno() : opened;

	if (out_of_descriptors(r)) {
		inode_pool_trim(table);
		opened = openat(fd, name, flags | O_CLOEXEC);
		r = opened < 0 ? negative_errno() : opened;
	}
	return r;
}

static int open_key(struct inode_table *table, const struct backing_key *key, int flags)
{
	int fd = backing_open_key(key, flags);

	if (out_of_descriptors(fd)) {
		inode_pool_trim(table);
		fd = backing_open_key(key, flags);
	}
	return fd;
}

static int open_by_key(struct inode_table *table, const struct inode *inode, int flags)
{
	struct backing_key key;

	inode_key(inode, &key);
	return open_key(table, &key, flags);
}

int inode_path_open_key(struct inode_table *table, const struct backing_key *key,
			struct fd_ref **ret)
{
	int fd = open_key(table, key, O_PATH);

	return fd < 0 ? fd : fd_ref_new(fd, ret);
}

/* Takes ownership of @name. */
static int walk_add(struct walk *walk, char *name)
{
	if (walk->n_names == INODE_PATH_DEPTH_MAX) {
		free(name);
		return -ELOOP;
	}
	if (walk->n_names == walk->room) {
		size_t room = walk->room ? walk->room * 2 : 16;
		char **names = reallocarray(walk->names, room, sizeof(*names));

		if (!names) {
			free(name);
			return -ENOMEM;
		}
		walk->names = names;
		walk->room = room;
	}
	walk->names[walk->n_names++] = name;
	return 0;
}

/* One step up from @inode. The parent comes with a reference. -ESTALE: nowhere seen. */
static int walk_up(struct inode_table *table, struct walk *walk, struct inode *inode,
		   struct inode **ret_parent)
{
	struct inode *parent = NULL;
	char *name = NULL;
	int r;

	inode_lock(table, inode);
	if (inode->parent) {
		parent = inode_ref(inode->parent);
		name = strdup(inode->name);
	}
	inode_unlock(table, inode);
	if (!parent)
		return -ESTALE;
	r = name ? walk_add(walk, name) : -ENOMEM;
	if (r < 0) {
		inode_unref(table, parent);
		return r;
	}
	*ret_parent = parent;
	return 0;
}

/*
 * Climbs until an ancestor has a descriptor, or can be opened by handle. The root always has one.
 */
static int walk_collect(struct inode_table *table, struct walk *walk, struct inode *inode)
{
	struct inode *at = inode_ref(inode);
	int r = 0;

	while (r == 0 && !walk->start) {
		struct inode *parent = NULL;

		r = walk_up(table, walk, at, &parent);
		inode_unref(table, at);
		at = parent;
		if (r < 0)
			break;
		walk->start = inode_pool_get(table, at);
		if (!walk->start && at->by_handle) {
			int fd = open_by_key(table, at, O_PATH);

			r = fd < 0 ? fd : fd_ref_new(fd, &walk->start);
		}
	}
	inode_unref(table, at);
	return r;
}

/* A name that is not there any more, or is something else now, means that the hint is old. */
static int hint_error(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? -ESTALE : r;
}

/* Returns an O_PATH descriptor. */
static int open_by_walk(struct inode_table *table, struct inode *inode)
{
	_cleanup_(walk_destroy) struct walk walk = { 0 };
	_cleanup_close_ int fd = -1;
	struct backing_key wanted, found;
	int at;
	int r;

	r = walk_collect(table, &walk, inode);
	if (r < 0)
		return r;
	at = walk.start->fd;
	for (size_t i = walk.n_names; i-- > 0;) {
		int next = inode_path_openat(table, at, walk.names[i], O_PATH | O_NOFOLLOW);

		if (next < 0)
			return hint_error(next);
		close_keep_errno(fd);
		fd = next;
		at = next;
	}
	r = backing_identify(table->backing, fd, &found);
	if (r < 0)
		return r;
	inode_key(inode, &wanted);
	return backing_key_equal(&wanted, &found) ? TAKE_FD(fd) : -ESTALE;
}

/* What the pool does not have. */
static int open_path(struct inode_table *table, struct inode *inode, struct fd_ref **ret)
{
	struct fd_ref *opened;
	int fd;
	int r;

	fd = inode->by_handle ? open_by_key(table, inode, O_PATH) : open_by_walk(table, inode);
	if (fd < 0)
		return fd;
	r = fd_ref_new(fd, &opened);
	if (r < 0)
		return r;
	*ret = inode_pool_add(table, inode, opened);
	return 0;
}

int inode_path_open(struct inode_table *table, struct inode *inode, struct fd_ref **ret)
{
	*ret = inode_pool_get(table, inode);
	return *ret ? 0 : open_path(table, inode, ret);
}

/* Who and where a file is does not change: no server need be asked. */
static int look(int fd, struct statx *ret)
{
	const unsigned mask = STATX_TYPE | STATX_INO | STATX_MNT_ID;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, ret) == 0 ? 0 :
										   negative_errno();
}

static bool same_place(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor && a->stx_mnt_id == b->stx_mnt_id;
}

int inode_path_check_inside(struct inode_table *table, int fd)
{
	_cleanup_close_ int above = -1;
	struct statx root, at, last;
	size_t depth = 0;
	int r;

	r = look(table->root_fd->fd, &root);
	if (r == 0)
		r = look(fd, &at);
	if (r < 0 || !S_ISDIR(at.stx_mode))
		return r;
	while (!same_place(&at, &root)) {
		int next;

		if (at.stx_mnt_id != root.stx_mnt_id || depth++ == INODE_PATH_DEPTH_MAX)
			return -ESTALE;
		next = inode_path_openat(table, above < 0 ? fd : above, "..", O_PATH | O_DIRECTORY);
		if (next < 0)
			return hint_error(next);
		close_keep_errno(above);
		above = next;
		last = at;
		r = look(above, &at);
		if (r < 0)
			return r;
		if (same_place(&at, &last)) /* as high as it gets */
			return -ESTALE;
	}
	return 0;
}

int inode_path_open_io(struct inode_table *table, struct inode *inode, int flags)
{
	_cleanup_fd_ref_ struct fd_ref *path = inode_pool_get(table, inode);
	int fd;
	int r;

	/* A thread that acts for a user, as when it truncates, may not open by handle. */
	if (!path && inode->by_handle && !(flags & O_TRUNC))
		return open_by_key(table, inode, flags);
	r = path ? 0 : open_path(table, inode, &path);
	if (r < 0)
		return r;
	fd = backing_reopen(table->backing, path->fd, flags);
	if (out_of_descriptors(fd)) {
		inode_pool_trim(table);
		fd = backing_reopen(table->backing, path->fd, flags);
	}
	return fd;
}
