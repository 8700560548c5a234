/* SPDX-License-Identifier: MIT */
/*
 * tree_publish.c - the last step of a tree copy; see tree_publish.h.
 */
#include "tree_publish.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "inode_flags.h"
#include "staging.h"
#include "tree.h"

/* Everything of the copy, directories and attributes included, is on stable storage. */
static int sync_staging(struct tree_job *tree)
{
	_cleanup_close_ int fd = openat(tree->dst_parent_fd, tree->staging,
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fd = openat(tree->dst_parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		return negative_errno();
	return 0;
}

static int sync_parent(struct tree_job *tree)
{
	_cleanup_close_ int fd =
		openat(tree->dst_parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return negative_errno();
	return 0;
}

/* Whether @name is what this job has made. */
static int check_staging(const struct tree_job *tree, const char *name)
{
	struct stat st;

	if (fstatat(tree->dst_parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	return st.st_dev == tree->staging_dev && st.st_ino == tree->staging_ino ? 0 : -ESTALE;
}

/* Whether @name is what was DEST in the beginning. */
static bool is_old(const struct tree_job *tree, const char *name)
{
	struct stat st;

	return fstatat(tree->dst_parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == tree->old_dev && st.st_ino == tree->old_ino;
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
		tree->replacing = false; /* nothing is left of it */
		return renameat(at, tree->staging, at, tree->dst_name) < 0 ? negative_errno() : 0;
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

/* DEST and the copy change places; DEST must be what it was in the beginning. */
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

static int take_name(struct tree_job *tree)
{
	_cleanup_close_ int old = -1;
	int r = check_staging(tree, tree->staging);

	if (tree->replacing && tree->changed)
		old = openat(tree->dst_parent_fd, tree->dst_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (r == 0 && tree->replacing)
		r = exchange(tree);
	else if (r == 0)
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

void tree_publish(struct tree_job *tree)
{
	bool durable = tree->options.fsync == ENGINE_FSYNC_TREE;
	const char *call = "syncfs";
	int r = durable ? sync_staging(tree) : 0;

	if (tree->merging)
		tree->published = true; /* file by file */
	if (r == 0 && !tree->merging) {
		call = "renameat2";
		r = take_name(tree);
	}
	if (r == 0 && durable) {
		call = "fsync";
		r = sync_parent(tree);
		/* Not sure to be there after a crash: a copy that failed has no name. */
		if (r < 0 && !tree->merging &&
		    (tree->replacing ?
			     staging_exchange(tree->dst_parent_fd, tree->dst_name, tree->staging) :
			     staging_publish(tree->dst_parent_fd, tree->dst_name, tree->staging)) ==
			    0)
			tree->published = false;
	}
	if (r == 0) {
		call = "ioctl(FS_IOC_SETFLAGS)";
		r = set_root_flags(tree);
	}
	if (r < 0)
		tree_abort(tree, call, r);
}
