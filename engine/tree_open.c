/* SPDX-License-Identifier: MIT */
/*
 * tree_open.c - see tree_open.h.
 */
#include "tree_open.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "tree.h"
#include "tree_dir.h"

void tree_open_take_locked(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd)
{
	assert(dir->users == 0);
	TAILQ_REMOVE(&dir->tree->idle_dirs, dir, idle_link);
	dir->tree->n_open--;
	*ret_src_fd = TAKE_FD(dir->src_fd);
	*ret_dst_fd = TAKE_FD(dir->dst_fd);
}

static int open_dir(int at, const char *name, bool path_only)
{
	int fd = openat(at, name,
			O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | (path_only ? O_PATH : O_RDONLY));

	return fd < 0 ? negative_errno() : fd;
}

int tree_open_src(const struct tree_dir *dir, int at, bool path_only)
{
	return dir->parent ? open_dir(at, dir->name, path_only) :
			     open_dir(dir->tree->src_fd, ".", path_only);
}

int tree_open_dst(const struct tree_dir *dir, int at, bool path_only)
{
	const struct tree_job *tree = dir->tree;

	return dir->parent ? open_dir(at, dir->name, path_only) :
			     open_dir(tree->dst_parent_fd, tree->staging, path_only);
}

/* Both sides, one step down. */
static int open_step(const struct tree_dir *dir, int src_at, int dst_at, bool path_only,
		     int *ret_src_fd, int *ret_dst_fd)
{
	_cleanup_close_ int src_fd = -1;
	int dst_fd;

	src_fd = tree_open_src(dir, src_at, path_only);
	if (src_fd < 0)
		return src_fd;
	dst_fd = tree_open_dst(dir, dst_at, path_only);
	if (dst_fd < 0)
		return dst_fd;
	*ret_src_fd = TAKE_FD(src_fd);
	*ret_dst_fd = dst_fd;
	return 0;
}

/*
 * The directories from below the nearest open ancestor (which is held, *ret_above; NULL: from the
 * root on) down to @dir. -ENOMEM.
 */
static int collect_closed(struct tree_dir *dir, struct tree_dir ***ret_chain, size_t *ret_n,
			  struct tree_dir **ret_above)
{
	struct tree_dir **chain;
	struct tree_dir *at;
	size_t depth = 0, n = 0;

	for (at = dir; at; at = at->parent)
		depth++;
	chain = calloc(depth, sizeof(*chain));
	if (!chain)
		return -ENOMEM;
	pthread_mutex_lock(&dir->tree->lock);
	for (at = dir; at && at->src_fd < 0; at = at->parent)
		chain[n++] = at;
	if (at && at->users++ == 0)
		TAILQ_REMOVE(&dir->tree->idle_dirs, at, idle_link);
	pthread_mutex_unlock(&dir->tree->lock);
	*ret_chain = chain;
	*ret_n = n;
	*ret_above = at;
	return 0;
}

/*
 * Opens @dir from its nearest open ancestor down. 1: another thread has opened it in the meantime, and
 * the caller is a user of it now.
 */
static int open_chain(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd)
{
	_cleanup_free_ struct tree_dir **chain = NULL;
	struct tree_dir *above;
	int src_fd = -1, dst_fd = -1;
	size_t n;
	int r;

	r = collect_closed(dir, &chain, &n, &above);
	if (r < 0)
		return r;
	if (above == dir)
		return 1;
	while (n > 0 && r == 0) {
		int src_at = src_fd >= 0 || !above ? src_fd : above->src_fd;
		int dst_at = dst_fd >= 0 || !above ? dst_fd : above->dst_fd;
		int src_next = -1, dst_next = -1;

		n--;
		r = open_step(chain[n], src_at, dst_at, n > 0, &src_next, &dst_next);
		close_keep_errno(src_fd);
		close_keep_errno(dst_fd);
		src_fd = src_next;
		dst_fd = dst_next;
	}
	if (above)
		tree_open_release(above);
	if (r < 0)
		return r;
	*ret_src_fd = src_fd;
	*ret_dst_fd = dst_fd;
	return 0;
}

/* Whether the two directories are those that were copied so far. */
static int check_identity(const struct tree_dir *dir, int src_fd, int dst_fd)
{
	struct stat src, dst;

	if (fstat(src_fd, &src) < 0 || fstat(dst_fd, &dst) < 0)
		return negative_errno();
	if (src.st_dev != dir->metadata.dev || src.st_ino != dir->metadata.ino ||
	    dst.st_dev != dir->dst_dev || dst.st_ino != dir->dst_ino)
		return -ESTALE;
	return 0;
}

void tree_open_add(struct tree_dir *dir, int src_fd, int dst_fd)
{
	struct tree_job *tree = dir->tree;
	struct tree_dir *victim = NULL;
	int close_src = -1, close_dst = -1;

	pthread_mutex_lock(&tree->lock);
	if (dir->src_fd < 0) {
		dir->src_fd = src_fd;
		dir->dst_fd = dst_fd;
		tree->n_open++;
		victim = tree->n_open > tree->job.engine->dirs_open ?
				 TAILQ_FIRST(&tree->idle_dirs) :
				 NULL;
		if (victim)
			tree_open_take_locked(victim, &close_src, &close_dst);
	} else { /* another thread was faster */
		close_src = src_fd;
		close_dst = dst_fd;
		if (dir->users == 0)
			TAILQ_REMOVE(&tree->idle_dirs, dir, idle_link);
	}
	dir->users++;
	pthread_mutex_unlock(&tree->lock);
	close_keep_errno(close_src);
	close_keep_errno(close_dst);
}

int tree_open_acquire(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd)
{
	struct tree_job *tree = dir->tree;
	int src_fd, dst_fd;
	bool open;
	int r;

	pthread_mutex_lock(&tree->lock);
	open = dir->src_fd >= 0;
	if (open && dir->users++ == 0)
		TAILQ_REMOVE(&tree->idle_dirs, dir, idle_link);
	pthread_mutex_unlock(&tree->lock);
	if (!open) {
		r = open_chain(dir, &src_fd, &dst_fd);
		if (r < 0)
			return r;
		open = r == 1;
	}
	if (!open) {
		r = check_identity(dir, src_fd, dst_fd);
		if (r < 0) {
			close_keep_errno(src_fd);
			close_keep_errno(dst_fd);
			return r;
		}
		tree_open_add(dir, src_fd, dst_fd);
	}
	*ret_src_fd = dir->src_fd; /* stays as long as there is a user */
	*ret_dst_fd = dir->dst_fd;
	return 0;
}

void tree_open_release(struct tree_dir *dir)
{
	struct tree_job *tree = dir->tree;

	pthread_mutex_lock(&tree->lock);
	if (--dir->users == 0)
		TAILQ_INSERT_TAIL(&tree->idle_dirs, dir, idle_link);
	pthread_mutex_unlock(&tree->lock);
}

void tree_open_from_child(struct tree_dir *dir, struct tree_dir *child)
{
	struct tree_job *tree = dir->tree;
	_cleanup_close_ int src_fd = -1, dst_fd = -1;
	bool usable;

	pthread_mutex_lock(&tree->lock);
	usable = dir->src_fd < 0 && child->src_fd >= 0;
	if (usable && child->users++ == 0)
		TAILQ_REMOVE(&tree->idle_dirs, child, idle_link);
	pthread_mutex_unlock(&tree->lock);
	if (!usable)
		return;
	src_fd = openat(child->src_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dst_fd = openat(child->dst_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tree_open_release(child);
	/* If it was moved, it is looked for from above, when it is needed. */
	if (src_fd < 0 || dst_fd < 0 || check_identity(dir, src_fd, dst_fd) < 0)
		return;
	tree_open_add(dir, TAKE_FD(src_fd), TAKE_FD(dst_fd));
	tree_open_release(dir);
}
