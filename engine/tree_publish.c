/* SPDX-License-Identifier: MIT */
/*
 * tree_publish.c - the last step of a tree copy; see tree_publish.h.
 */
#include "tree_publish.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "inode_flags.h"
#include "staging.h"
#include "tree.h"
#include "tree_merge.h"
#include "tree_note.h"
#include "worker.h"

static bool is_durable(const struct tree_job *tree)
{
	return tree->options.fsync == ENGINE_FSYNC_TREE;
}

/* On the file system that everything of the copy, which is called @name now, is on. */
static int open_copy(const struct tree_job *tree, const char *name)
{
	int fd = openat(tree->dst_parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fd = openat(tree->dst_parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? negative_errno() : fd;
}

int tree_publish_watch(struct tree_job *tree)
{
	int fd;

	if (!is_durable(tree) || tree->sync_fd >= 0)
		return 0;
	fd = open_copy(tree, tree->staging);
	if (fd < 0)
		return fd;
	tree->sync_fd = fd;
	return 0;
}

/*
 * Everything, directories and attributes included. On a thread beside the workers: that may take long, and
 * who cancels does not wait for it. What is removed meanwhile need not be written any more.
 */
bool tree_publish_begin(struct tree_job *tree, struct worker *worker)
{
	int r;

	if (!is_durable(tree))
		return false;
	job_ref(&tree->job); /* the end may come at once */
	r = tree_publish_watch(tree);
	if (r == 0) {
		worker_be_daemon(worker);
		r = syncfs_start(&tree->job.engine->syncfs, TAKE_FD(tree->sync_fd), &tree->sync);
		worker_be_again(worker);
	}
	if (r < 0) {
		tree_abort(tree, "syncfs", r);
	} else if (job_is_cancelled(&tree->job)) {
		tree_publish_cancelled(&tree->job); /* there was nothing to be abandoned before */
	}
	job_unref(&tree->job);
	return r == 0;
}

void tree_publish_synced(struct tree_job *tree)
{
	if (tree->sync.result < 0)
		tree_abort(tree, "syncfs", tree->sync.result);
}

void tree_publish_cancelled(struct job *job)
{
	struct tree_job *tree = CONTAINER_OF(job, struct tree_job, job);
	int r = 0;

	if (syncfs_abandon(&job->engine->syncfs, &tree->sync))
		r = job_push(job, &tree->end_task, PUSH_FIRST, NULL);
	assert(r == 0); /* there is a worker: the one that has begun to wait */
	(void)r;
}

static int sync_all(const struct tree_job *tree)
{
	_cleanup_close_ int fd = open_copy(tree, tree->dst_name);

	if (fd < 0)
		return fd;
	return syncfs(fd) < 0 ? negative_errno() : 0;
}

/* The name that the copy has now. */
static int sync_parent(struct tree_job *tree)
{
	_cleanup_close_ int fd =
		openat(tree->dst_parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == EACCES) /* who may write there need not be able to read it */
		return sync_all(tree);
	return fd < 0 ? negative_errno() : tree_sync_dir(fd);
}

/* Whether @name is what this job has made. */
static int check_staging(const struct tree_job *tree, const char *name)
{
	struct stat st;

	if (fstatat(tree->dst_parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	return st.st_dev == tree->staging_dev && st.st_ino == tree->staging_ino ? 0 : -ESTALE;
}

void tree_publish_expect(struct tree_job *tree, const struct stat *old)
{
	tree->old_dev = old->st_dev;
	tree->old_ino = old->st_ino;
	tree->old_is_dir = S_ISDIR(old->st_mode);
	tree->old_size = old->st_size;
	tree->old_mtime = old->st_mtim;
}

/* Whether what is in DEST matters: existing=replace is told to replace it, whatever it is by then. */
static bool depends_on_old(const struct tree_job *tree)
{
	return tree->options.existing != TREE_EXISTING_REPLACE;
}

/* Whether @name is what was DEST when that was decided. Not by ctime: a rename changes it. */
static bool is_old(const struct tree_job *tree, const char *name)
{
	struct stat st;

	if (fstatat(tree->dst_parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    st.st_dev != tree->old_dev || st.st_ino != tree->old_ino)
		return false;
	return !depends_on_old(tree) ||
	       (st.st_size == tree->old_size && st.st_mtim.tv_sec == tree->old_mtime.tv_sec &&
		st.st_mtim.tv_nsec == tree->old_mtime.tv_nsec);
}

/* DEST may have been written to since the beginning, or be another file: 1: what it is now stays. */
static int decide_again(struct tree_job *tree)
{
	enum tree_merge_action action;
	struct stat old;
	int r;

	if (!tree->replacing || !depends_on_old(tree))
		return 0;
	if (fstatat(tree->dst_parent_fd, tree->dst_name, &old, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : negative_errno(); /* exchange() makes do without */
	r = tree_merge_judge(tree->options.existing, &tree->copied, &old, &action);
	if (r < 0)
		return r;
	if (action == TREE_MERGE_UNCHANGED || action == TREE_MERGE_LEAVE)
		return 1;
	tree_publish_expect(tree, &old);
	return 0;
}

/* What is under the staging name, to be removed, is the copy. */
static void leave_old(struct tree_job *tree)
{
	tree->old_dev = tree->staging_dev;
	tree->old_ino = tree->staging_ino;
	tree->published = true;
	__atomic_sub_fetch(&tree->job.files, 1, __ATOMIC_RELAXED);
	tree_left(tree);
}

/*
 * The file system cannot exchange names. A file is replaced in one step all the same; a directory is moved
 * aside first, so that for a moment there is no DEST.
 */
static int exchange_in_steps(struct tree_job *tree)
{
	int at = tree->dst_parent_fd;
	char aside[STAGING_NAME_SIZE];
	int r;

	if (!tree->old_is_dir) {
		if (!is_old(tree, tree->dst_name))
			return -ESTALE;
		tree->replacing = false;
		tree->old_is_gone = renameat(at, tree->staging, at, tree->dst_name) == 0;
		return tree->old_is_gone ? 0 : negative_errno();
	}
	r = staging_name_aside(aside);
	if (r == 0)
		r = staging_publish(at, tree->dst_name, aside);
	if (r < 0)
		return r;
	r = is_old(tree, aside) ? staging_publish(at, tree->staging, tree->dst_name) : -ESTALE;
	if (r == 0)
		(void)strcpy(tree->staging, aside); /* it is longer: what is to be removed now */
	else if (staging_publish(at, aside, tree->dst_name) < 0)
		log_error(tree->job.engine->options.log, "what was \"%s\" is called \"%s\" now",
			  tree->dst_name, aside);
	return r;
}

/* After the exchange a crash would leave this under the staging name. */
static int note_replaced(struct tree_job *tree)
{
	_cleanup_close_ int fd =
		openat(tree->dst_parent_fd, tree->dst_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : negative_errno();
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (st.st_dev == tree->old_dev && st.st_ino == tree->old_ino)
		tree_note_add(tree, fd, true);
	return 0;
}

/* DEST and the copy change places; DEST must be what it was when that was decided. */
static int exchange(struct tree_job *tree)
{
	int r = note_replaced(tree);

	if (r == 0)
		r = staging_exchange(tree->dst_parent_fd, tree->staging, tree->dst_name);
	if (r == -ENOENT) { /* DEST has been removed meanwhile */
		tree->replacing = false;
		return staging_publish(tree->dst_parent_fd, tree->staging, tree->dst_name);
	}
	if (r == -EINVAL)
		return exchange_in_steps(tree);
	if (r < 0)
		return r;
	if (is_old(tree, tree->staging))
		return 0;
	r = staging_exchange(tree->dst_parent_fd, tree->staging, tree->dst_name);
	return r < 0 ? r : -ESTALE;
}

/* 1: DEST stays as it is. */
static int take_name(struct tree_job *tree)
{
	_cleanup_close_ int old = -1;
	int r = check_staging(tree, tree->staging);

	if (r == 0)
		r = decide_again(tree);
	if (r != 0)
		return r;
	if (tree->replacing && tree->changed)
		old = openat(tree->dst_parent_fd, tree->dst_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (tree->replacing)
		r = exchange(tree);
	else
		r = staging_publish(tree->dst_parent_fd, tree->staging, tree->dst_name);
	/* Who may write to the directory may have put something else there in between. */
	if (r == 0)
		r = check_staging(tree, tree->dst_name);
	tree->published = r == 0;
	if (r == 0)
		tree_changed(tree, tree->dst_parent_fd, tree->dst_name, old);
	return r;
}

/* What would have kept the copy from taking its name. */
static int set_root_flags(struct tree_job *tree)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (tree->root_flags == 0)
		return 0;
	fd = openat(tree->dst_parent_fd, tree->dst_name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return negative_errno();
	/* Not on what somebody has put in its place since. */
	if (st.st_dev != tree->staging_dev || st.st_ino != tree->staging_ino)
		return 0;
	return inode_flags_set(fd, tree->root_flags);
}

/*
 * The copy is not sure to be there after a crash, and one that failed has no name. But where it cannot be
 * taken away any more, or nothing is left of what was there before, it stays, and so does what is left.
 */
static void take_back(struct tree_job *tree)
{
	int at = tree->dst_parent_fd;
	int r = -ENOENT;

	if (tree->replacing)
		r = staging_exchange(at, tree->dst_name, tree->staging);
	else if (!tree->old_is_gone)
		r = staging_publish(at, tree->dst_name, tree->staging);
	tree->published = r < 0;
	if (r < 0 && tree->replacing)
		log_error(tree->job.engine->options.log, "what was \"%s\" is called \"%s\" now",
			  tree->dst_name, tree->staging);
	if (r < 0)
		tree->replacing = false;
}

void tree_publish(struct tree_job *tree)
{
	const char *call = "renameat2";
	int r = 0;

	/* Who cancels is promised that there is no copy; from here on it is too late. */
	if (!job_commit(&tree->job))
		return;
	if (tree->merging)
		tree->published = true; /* file by file */
	else
		r = take_name(tree);
	if (r == 1) {
		leave_old(tree);
		return;
	}
	if (r == 0 && !tree->merging && tree->options.fsync != ENGINE_FSYNC_NEVER) {
		call = "fsync";
		r = sync_parent(tree);
		if (r < 0)
			take_back(tree);
	}
	if (r == 0) {
		call = "ioctl(FS_IOC_SETFLAGS)";
		r = set_root_flags(tree);
	}
	if (r < 0)
		tree_abort(tree, call, r);
}
