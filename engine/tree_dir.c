/* SPDX-License-Identifier: MIT */
/*
 * tree_dir.c - the walk, and the end of each directory; see tree_dir.h.
 */
#include "tree_dir.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "getdents.h"
#include "inode_flags.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_large.h"
#include "tree_mkdir.h"
#include "tree_open.h"
#include "worker.h"

static void list_task(struct task *task, struct worker *worker);

struct tree_dir *tree_dir_new(struct tree_job *tree, struct tree_dir *parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct tree_dir *dir = calloc(1, sizeof(*dir) + size);

	if (!dir)
		return NULL;
	dir->task = (struct task){ .run = list_task, .place = dir };
	dir->tree = tree;
	dir->refs = 1;	  /* until it is finished */
	dir->pending = 1; /* its listing */
	dir->src_fd = -1;
	dir->dst_fd = -1;
	memcpy(dir->name, name, size);
	if (parent) {
		dir->parent = tree_dir_ref(parent);
		tree_dir_add_pending(parent, 1);
	}
	return dir;
}

struct tree_dir *tree_dir_ref(struct tree_dir *dir)
{
	pthread_mutex_lock(&dir->tree->lock);
	dir->refs++;
	pthread_mutex_unlock(&dir->tree->lock);
	return dir;
}

void tree_dir_unref(struct tree_dir *dir)
{
	struct tree_dir *parent;
	struct tree_job *tree;
	int src_fd, dst_fd;
	bool last;

	for (; dir; dir = parent) {
		tree = dir->tree;
		src_fd = dst_fd = -1;
		pthread_mutex_lock(&tree->lock);
		last = --dir->refs == 0;
		if (last && dir->src_fd >= 0)
			tree_open_take_locked(dir, &src_fd, &dst_fd);
		pthread_mutex_unlock(&tree->lock);
		if (!last)
			return;
		close_keep_errno(src_fd);
		close_keep_errno(dst_fd);
		parent = dir->parent;
		free(dir);
	}
}

char *tree_dir_path(const struct tree_dir *dir, const char *name)
{
	const struct tree_dir *at;
	size_t size = name ? strlen(name) + 1 : 1;
	char *path, *end;

	/* The root's name is empty: paths are relative to it. */
	for (at = dir; at; at = at->parent)
		size += strlen(at->name) + 1;
	path = malloc(size);
	if (!path)
		return NULL;
	end = path + size - 1;
	*end = '\0';
	if (name) {
		end -= strlen(name);
		memcpy(end, name, strlen(name));
	}
	for (at = dir; at && at->parent; at = at->parent) {
		if (*end)
			*--end = '/';
		end -= strlen(at->name);
		memcpy(end, at->name, strlen(at->name));
	}
	memmove(path, end, strlen(end) + 1);
	return path;
}

void tree_dir_add_pending(struct tree_dir *dir, unsigned n)
{
	pthread_mutex_lock(&dir->tree->lock);
	dir->pending += n;
	pthread_mutex_unlock(&dir->tree->lock);
}

struct metadata_made tree_dir_made(const struct tree_dir *dir)
{
	/* Directories that were there hand their group, setgid bit and ACL down. */
	return dir->existed ? (struct metadata_made){ (uid_t)-1, (gid_t)-1, (mode_t)-1 } :
			      dir->tree->made;
}

/* As the source is now, after all was copied; but it was us who read it. */
static int look_finally(const struct tree_dir *dir, int src_fd, struct metadata *ret)
{
	struct stat st;

	if (fstat(src_fd, &st) < 0)
		return negative_errno();
	*ret = metadata_from_stat(&st);
	ret->atime = dir->metadata.atime;
	return 0;
}

/* Nothing can be renamed that may not be changed, so the root's turn comes later. */
static int set_flags(const struct tree_dir *dir, int src_fd, int dst_fd, const char **ret_call)
{
	unsigned flags = inode_flags_get(src_fd);

	if (!dir->parent)
		dir->tree->root_flags = flags;
	*ret_call = "ioctl(FS_IOC_SETFLAGS)";
	return dir->parent ? inode_flags_set(dst_fd, flags) : 0;
}

/*
 * Append-only or immutable, and as the source is: an earlier copy has finished it and set the flags, and
 * nothing was changed since.
 */
static bool is_locked_copy(const struct metadata *source, int src_fd, int dst_fd)
{
	unsigned wanted = inode_flags_get(src_fd);
	struct stat st;

	return inode_flags_is_locked(dst_fd) && (inode_flags_get(dst_fd) & wanted) == wanted &&
	       fstat(dst_fd, &st) == 0 && st.st_uid == source->uid && st.st_gid == source->gid &&
	       st.st_mode == source->mode && st.st_mtim.tv_sec == source->mtime.tv_sec &&
	       st.st_mtim.tv_nsec == source->mtime.tv_nsec;
}

static int copy_metadata(struct tree_dir *dir, int src_fd, int dst_fd, const char **ret_call)
{
	struct metadata_made made = tree_dir_made(dir);
	struct metadata source;
	int r;

	if (!dir->existed)
		made.mode = 0700;
	*ret_call = "fstat";
	r = look_finally(dir, src_fd, &source);
	if (r == 0 && dir->existed && is_locked_copy(&source, src_fd, dst_fd))
		return 0;
	if (r == 0 && dir->existed) {
		*ret_call = "fremovexattr";
		r = metadata_drop_acls(dst_fd);
	}
	if (r == 0)
		r = metadata_copy_fd(src_fd, dst_fd, &source, &made, ret_call);
	if (r == 0)
		r = set_flags(dir, src_fd, dst_fd, ret_call);
	return r;
}

/* Its contents are complete: owner, mode, times. Or it stays what it was. */
static void finish(struct tree_dir *dir, struct worker *worker)
{
	struct tree_job *tree = dir->tree;
	bool stopping = tree_is_stopping(tree);
	bool stays = stopping || (dir->existed && tree->options.existing == TREE_EXISTING_SKIP);
	bool syncs = !stopping && tree->options.fsync == ENGINE_FSYNC_FILE; /* the names in it */
	const char *call = "openat";
	int src_fd, dst_fd, r;

	if (!dir->made || (stays && !dir->opened_up && !syncs) || tree_adopt(tree, worker) < 0)
		return;
	r = tree_open_acquire(dir, &src_fd, &dst_fd);
	if (r == 0) {
		r = stays ? 0 : copy_metadata(dir, src_fd, dst_fd, &call);
		if (dir->opened_up && (stays || r < 0) && fchmod(dst_fd, dir->old_mode) < 0 &&
		    r == 0) {
			call = "fchmod";
			r = negative_errno();
		}
		if (syncs && r == 0) {
			call = "fsync";
			r = tree_sync_dir(dst_fd);
		}
		if (tree->merging)
			tree_changed(tree, dst_fd, NULL, -1);
		tree_open_release(dir);
	}
	if (r < 0)
		tree_fail(tree, dir, NULL, call, r);
	else if (!stays)
		__atomic_add_fetch(&tree->n_directories, 1, __ATOMIC_RELAXED);
}

void tree_dir_done(struct tree_dir *dir, unsigned n, struct worker *worker)
{
	struct tree_job *tree = dir->tree;
	struct tree_dir *parent;
	bool finished;

	for (; dir; dir = parent, n = 1) {
		pthread_mutex_lock(&tree->lock);
		assert(dir->pending >= n);
		dir->pending -= n;
		finished = dir->pending == 0;
		pthread_mutex_unlock(&tree->lock);
		if (!finished)
			return;
		finish(dir, worker);
		parent = dir->parent;
		if (parent && parent->made && !tree_is_stopping(tree))
			tree_open_from_child(parent, dir);
		tree_dir_unref(
			dir); /* its own; the parent has one of the child it still waits for */
	}
	tree_walked(tree, worker);
}

/* Queues a subdirectory. */
static int add_subdir(struct tree_dir *dir, const char *name, struct worker *worker)
{
	struct tree_dir *child = tree_dir_new(dir->tree, dir, name);

	if (!child)
		return -ENOMEM;
	tree_push(dir->tree, &child->task, worker);
	return 0;
}

static int add_entry(struct tree_dir *dir, const struct getdents_entry *entry,
		     struct tree_batch **batch, struct worker *worker)
{
	if (entry->type == DT_DIR)
		return add_subdir(dir, entry->name, worker);
	return tree_batch_add(dir, batch, entry->name, entry->type, worker);
}

/*
 * Reads a buffer, and whether it was the last (*ret_more). Most directories need one: a task for the
 * rest, which is nothing, would come to another worker when the directory has been closed already
 * because the walk has gone deep below it.
 */
static int read_some(struct tree_dir *dir, struct getdents *list, bool *ret_more)
{
	struct getdents rest;
	int src_fd, dst_fd, r;

	r = tree_open_acquire(dir, &src_fd, &dst_fd);
	if (r < 0)
		return r;
	r = lseek(src_fd, dir->position, SEEK_SET) < 0 ? negative_errno() :
							 getdents_read(list, src_fd);
	*ret_more = r > 0;
	if (r > 0 && list->size + GETDENTS_ENTRY_MAX < sizeof(list->buffer))
		*ret_more = getdents_read(&rest, src_fd) != 0; /* an error is met again */
	tree_open_release(dir);
	return r;
}

/* Hands on the entries of one buffer and queues the listing of the rest. */
static int list_some(struct tree_dir *dir, struct worker *worker)
{
	const struct getdents_entry *entry;
	struct tree_batch *batch = NULL;
	struct getdents list;
	bool more;
	int r;

	r = read_some(dir, &list, &more);
	if (r <= 0)
		return r;
	if (more) { /* below what is found now on the job's stack: depth first */
		dir->position = list.next;
		tree_dir_add_pending(dir, 1);
		tree_push(dir->tree, &dir->task, worker);
	}
	r = 0;
	while (r >= 0 && (entry = getdents_next(&list)))
		r = add_entry(dir, entry, &batch, worker);
	if (batch)
		tree_push(dir->tree, tree_batch_task(batch), worker);
	return r;
}

/* It is no directory any more, or was not there for a moment: as what it is now. */
static int look_again(struct tree_dir *dir, struct worker *worker)
{
	struct tree_batch *batch = NULL;
	int r = tree_batch_add(dir->parent, &batch, dir->name, TREE_RETRIED, worker);

	if (r == 0)
		tree_push(dir->tree, tree_batch_task(batch), worker);
	return r;
}

static void list_task(struct task *task, struct worker *worker)
{
	struct tree_dir *dir = CONTAINER_OF(task, struct tree_dir, task);
	struct tree_job *tree = dir->tree;
	const char *call = "getdents64";
	int r = 0;

	if (tree_large_waits(tree, task))
		return;
	worker_give_way(worker);
	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0) {
		if (!dir->made)
			r = tree_mkdir(dir, &call);
		if (r == 0 && !dir->foreign) {
			call = "getdents64";
			r = list_some(dir, worker);
		}
		if (!dir->made && dir->parent && !dir->retried && tree_error_may_pass(r) &&
		    !dir->existed)
			r = look_again(dir, worker);
		if (r < 0)
			tree_fail(tree, dir, NULL, call, r);
	}
	tree_dir_done(dir, 1, worker);
}
