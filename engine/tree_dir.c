/* SPDX-License-Identifier: MIT */
/*
 * tree_dir.c - see tree_dir.h.
 */
#include "tree_dir.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "getdents.h"
#include "inode_flags.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_made.h"
#include "worker.h"

static void list_task(struct task *task, struct worker *worker);

struct tree_dir *tree_dir_new(struct tree_job *tree, struct tree_dir *parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct tree_dir *dir = calloc(1, sizeof(*dir) + size);

	if (!dir)
		return NULL;
	dir->task.run = list_task;
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

/* Takes it out of the open ones. The caller closes what is answered. */
static void close_locked(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd)
{
	assert(dir->users == 0);
	TAILQ_REMOVE(&dir->tree->idle_dirs, dir, idle_link);
	dir->tree->n_open--;
	*ret_src_fd = TAKE_FD(dir->src_fd);
	*ret_dst_fd = TAKE_FD(dir->dst_fd);
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
			close_locked(dir, &src_fd, &dst_fd);
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

static int open_dir(int at, const char *name, bool path_only)
{
	int fd = openat(at, name,
			O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | (path_only ? O_PATH : O_RDONLY));

	return fd < 0 ? negative_errno() : fd;
}

/* Opens one side, one step down: below the parent's descriptor, or the root below the job's. */
static int open_src_step(const struct tree_dir *dir, int at, bool path_only)
{
	return dir->parent ? open_dir(at, dir->name, path_only) :
			     open_dir(dir->tree->src_fd, ".", path_only);
}

static int open_dst_step(const struct tree_dir *dir, int at, bool path_only)
{
	const struct tree_job *tree = dir->tree;

	return dir->parent ? open_dir(at, dir->name, path_only) :
			     open_dir(tree->dst_parent_fd, tree->staging, path_only);
}

/* Both. */
static int open_step(const struct tree_dir *dir, int src_at, int dst_at, bool path_only,
		     int *ret_src_fd, int *ret_dst_fd)
{
	_cleanup_close_ int src_fd = -1;
	int dst_fd;

	src_fd = open_src_step(dir, src_at, path_only);
	if (src_fd < 0)
		return src_fd;
	dst_fd = open_dst_step(dir, dst_at, path_only);
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
		tree_dir_release(above);
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

/*
 * Makes @dir open, and the longest unused one closed when there are too many; the caller becomes a
 * user.
 */
static void set_open(struct tree_dir *dir, int src_fd, int dst_fd)
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
			close_locked(victim, &close_src, &close_dst);
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

int tree_dir_acquire(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd)
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
		set_open(dir, src_fd, dst_fd);
	}
	*ret_src_fd = dir->src_fd; /* stays as long as there is a user */
	*ret_dst_fd = dir->dst_fd;
	return 0;
}

void tree_dir_release(struct tree_dir *dir)
{
	struct tree_job *tree = dir->tree;

	pthread_mutex_lock(&tree->lock);
	if (--dir->users == 0)
		TAILQ_INSERT_TAIL(&tree->idle_dirs, dir, idle_link);
	pthread_mutex_unlock(&tree->lock);
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

static int copy_metadata(struct tree_dir *dir, int src_fd, int dst_fd, const char **ret_call)
{
	struct metadata_made made = tree_dir_made(dir);
	struct metadata source;
	int r;

	if (!dir->existed)
		made.mode = 0700;
	*ret_call = "fstat";
	r = look_finally(dir, src_fd, &source);
	if (r == 0 && dir->existed)
		r = metadata_drop_acls(dst_fd);
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
	bool stays = tree_is_stopping(tree) ||
		     (dir->existed && tree->options.existing == TREE_EXISTING_SKIP);
	const char *call = "openat";
	int src_fd, dst_fd, r;

	if (!dir->made || (stays && !dir->opened_up) || tree_adopt(tree, worker) < 0)
		return;
	r = tree_dir_acquire(dir, &src_fd, &dst_fd);
	if (r == 0) {
		r = stays ? 0 : copy_metadata(dir, src_fd, dst_fd, &call);
		if (dir->opened_up && (stays || r < 0) && fchmod(dst_fd, dir->old_mode) < 0 &&
		    r == 0) {
			call = "fchmod";
			r = negative_errno();
		}
		if (tree->merging)
			tree_changed(tree, dst_fd, NULL, -1);
		tree_dir_release(dir);
	}
	if (r < 0)
		tree_fail(tree, dir, NULL, call, r);
	else if (!stays)
		__atomic_add_fetch(&tree->n_directories, 1, __ATOMIC_RELAXED);
}

/*
 * Opens a directory that was closed, because the way down to @child was long, through the child. From
 * the root down it would be as many steps as the tree is deep, and all of that again one level higher.
 */
static void open_from_child(struct tree_dir *dir, struct tree_dir *child)
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
	tree_dir_release(child);
	/* If it was moved, it is looked for from above, when it is needed. */
	if (src_fd < 0 || dst_fd < 0 || check_identity(dir, src_fd, dst_fd) < 0)
		return;
	set_open(dir, TAKE_FD(src_fd), TAKE_FD(dst_fd));
	tree_dir_release(dir);
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
			open_from_child(parent, dir);
		tree_dir_unref(
			dir); /* its own; the parent has one of the child it still waits for */
	}
	tree_walked(tree, worker);
}

/*
 * A directory that was there, such as that of the copy's root, may hand a group, a setgid bit and a
 * default ACL down.
 */
static int make_private(const struct tree_dir *dir, int dst_fd)
{
	const struct tree_job *tree = dir->tree;
	gid_t gid = tree->made.gid;
	struct stat st;
	int r = metadata_drop_acls(dst_fd);

	if (r < 0)
		return r;
	if (fchmod(dst_fd, 0700) < 0 || fstat(dst_fd, &st) < 0)
		return negative_errno();
	if (gid != (gid_t)-1 && st.st_gid != gid && fchown(dst_fd, (uid_t)-1, gid) < 0)
		return negative_errno();
	return 0;
}

/*
 * Others may write to the directory that it was made in: it has to be what was made, and is to be
 * closed to them. What they may have done until then shows when it is closed.
 */
static int claim(const struct tree_dir *dir, int dst_fd, const char **ret_call)
{
	int r;

	*ret_call = "mkdirat";
	r = tree_made_check_dir(dst_fd);
	if (r < 0)
		return r;
	*ret_call = "fchmod";
	r = make_private(dir, dst_fd);
	if (r < 0)
		return r;
	*ret_call = "mkdirat";
	return tree_made_check_dir(dst_fd);
}

/* 1: it was there. */
static int mkdir_step(const struct tree_dir *dir, int dst_at)
{
	const struct tree_job *tree = dir->tree;
	int r = dir->parent ? mkdirat(dst_at, dir->name, 0700) :
			      mkdirat(tree->dst_parent_fd, tree->staging, 0700);

	if (r < 0 && errno == EEXIST && tree->merging)
		return 1;
	return r < 0 ? negative_errno() : 0;
}

/* The source. */
static int look(struct tree_dir *dir, int src_fd)
{
	const struct tree_job *tree = dir->tree;
	struct stat src;

	if (fstat(src_fd, &src) < 0)
		return negative_errno();
	if (tree->forbidden_dev != 0 && src.st_dev == tree->forbidden_dev)
		return -ELOOP;
	dir->metadata = metadata_from_stat(&src);
	dir->foreign = tree->options.one_file_system && src.st_dev != tree->root_dev;
	return 0;
}

/* Both sides, below the two descriptors of the parent. */
static int make_step(struct tree_dir *dir, int src_at, int dst_at, int *ret_src_fd, int *ret_dst_fd,
		     const char **ret_call)
{
	struct tree_job *tree = dir->tree;
	_cleanup_close_ int src_fd = -1;
	int dst_fd, r;

	/* First of all: what has vanished is not made. */
	*ret_call = "openat";
	src_fd = open_src_step(dir, src_at, false);
	r = src_fd < 0 ? src_fd : look(dir, src_fd);
	if (r < 0)
		return r;
	*ret_call = "mkdirat";
	r = mkdir_step(dir, dst_at);
	if (r < 0)
		return r;
	dir->existed = r == 1;
	if (!dir->parent && !tree->merging)
		tree->staged = true;
	else if (tree->merging && !dir->existed)
		tree_changed(tree, dir->parent ? dst_at : tree->dst_parent_fd,
			     dir->parent ? dir->name : tree->dst_name, -1);
	*ret_call = "openat";
	dst_fd = open_dst_step(dir, dst_at, false);
	if (dst_fd < 0)
		return dst_fd == -ENOENT ? -ESTALE : dst_fd;
	*ret_src_fd = TAKE_FD(src_fd);
	*ret_dst_fd = dst_fd;
	return 0;
}

/* Notes what the directory's copy is. */
static int identify(struct tree_dir *dir, int dst_fd, const char **ret_call)
{
	struct tree_job *tree = dir->tree;
	struct stat dst;

	*ret_call = "fstat";
	if (fstat(dst_fd, &dst) < 0)
		return negative_errno();
	dir->dst_dev = dst.st_dev;
	dir->dst_ino = dst.st_ino;
	if (!dir->parent) {
		tree->staging_dev = dst.st_dev;
		tree->staging_ino = dst.st_ino;
		tree_note_add(tree, dst_fd, false);
	}
	*ret_call = "mkdirat";
	if (dir->metadata.dev == tree->staging_dev && dir->metadata.ino == tree->staging_ino)
		return -EINVAL; /* the copy has been moved into what is copied */
	return 0;
}

/*
 * A directory that was there may not be writable for its owner, who may change that. Who may do
 * everything needs nothing of the kind; of others' directories the first use says what is wrong.
 */
static int open_up(struct tree_dir *dir, int dst_fd)
{
	struct stat st;

	if (geteuid() == 0)
		return 0;
	if (fstat(dst_fd, &st) < 0)
		return negative_errno();
	if ((st.st_mode & 0300) == 0300 || st.st_uid != geteuid())
		return 0;
	dir->old_mode = st.st_mode & 07777;
	if (fchmod(dst_fd, dir->old_mode | 0700) < 0)
		return negative_errno();
	dir->opened_up = true;
	return 0;
}

/* Makes the directory and notes what it is made from. *ret_call: what failed. */
static int make(struct tree_dir *dir, const char **ret_call)
{
	struct tree_dir *parent = dir->parent;
	_cleanup_close_ int src_fd = -1, dst_fd = -1;
	int src_at = -1, dst_at = -1;
	int r;

	*ret_call = "openat";
	r = parent ? tree_dir_acquire(parent, &src_at, &dst_at) : 0;
	if (r < 0)
		return r;
	r = make_step(dir, src_at, dst_at, &src_fd, &dst_fd, ret_call);
	if (parent)
		tree_dir_release(parent);
	if (r < 0)
		return r;
	r = !dir->existed && (!parent || parent->existed) ? claim(dir, dst_fd, ret_call) : 0;
	if (r == 0)
		r = identify(dir, dst_fd, ret_call);
	if (r == 0 && dir->existed) {
		*ret_call = "fchmod";
		r = open_up(dir, dst_fd);
	}
	if (r < 0)
		return r;
	set_open(dir, TAKE_FD(src_fd), TAKE_FD(dst_fd));
	tree_dir_release(dir);
	dir->made = true;
	return 0;
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

	r = tree_dir_acquire(dir, &src_fd, &dst_fd);
	if (r < 0)
		return r;
	r = lseek(src_fd, dir->position, SEEK_SET) < 0 ? negative_errno() :
							 getdents_read(list, src_fd);
	*ret_more = r > 0;
	if (r > 0 && list->size + GETDENTS_ENTRY_MAX < sizeof(list->buffer))
		*ret_more = getdents_read(&rest, src_fd) != 0; /* an error is met again */
	tree_dir_release(dir);
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

	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0) {
		if (!dir->made)
			r = make(dir, &call);
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
