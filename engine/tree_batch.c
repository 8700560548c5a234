/* SPDX-License-Identifier: MIT */
/*
 * tree_batch.c - see tree_batch.h.
 *
 *	batch_task -> copy_entry --regular--> copy_regular --small--> tree_group
 *	                  |                            \--large--> tree_file_start_large()
 *	                  \--other--> copy_other (symbolic link, FIFO, socket, device)
 * All end in tree_file_finish() or directly in tree_dir_done().
 */
#include "tree_batch.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "tree.h"
#include "tree_dir.h"
#include "tree_file.h"
#include "tree_group.h"
#include "tree_link.h"
#include "worker.h"

#define BATCH_BYTES 8192 /* of names in a batch; at least one of NAME_MAX fits */

/*
 * Names of one directory, each behind its type. Freed when all are started and all that was started
 * is done.
 */
struct tree_batch {
	struct task task;
	struct tree_dir *dir; /* which counts the names as pending */
	unsigned n_names;
	size_t size;   /* of entries in use */
	size_t at;     /* next to be started */
	unsigned refs; /* atomic: the task, and groups and large files that use the names */
	char entries[BATCH_BYTES];
};

static void batch_task(struct task *task, struct worker *worker);

void tree_batch_unref(struct tree_batch *batch)
{
	if (batch && __atomic_sub_fetch(&batch->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(batch);
}

void tree_batch_ref(struct tree_batch *batch)
{
	__atomic_add_fetch(&batch->refs, 1, __ATOMIC_RELAXED);
}

struct tree_dir *tree_batch_dir(const struct tree_batch *batch)
{
	return batch->dir;
}

static struct tree_batch *batch_new(struct tree_dir *dir)
{
	struct tree_batch *batch = malloc(sizeof(*batch));

	if (!batch)
		return NULL;
	*batch = (struct tree_batch){ .task.run = batch_task, .dir = dir, .refs = 1 };
	return batch;
}

struct task *tree_batch_task(struct tree_batch *batch)
{
	return &batch->task;
}

int tree_batch_add(struct tree_dir *dir, struct tree_batch **batch, const char *name,
		   unsigned char type, struct worker *worker)
{
	size_t size = strlen(name) + 1;

	if (*batch &&
	    ((*batch)->n_names == TREE_BATCH_NAMES || (*batch)->size + 1 + size > BATCH_BYTES))
		tree_push(dir->tree, &TAKE_PTR(*batch)->task, worker);
	if (!*batch)
		*batch = batch_new(dir);
	if (!*batch)
		return -ENOMEM;
	(*batch)->entries[(*batch)->size] = (char)type;
	memcpy((*batch)->entries + (*batch)->size + 1, name, size);
	(*batch)->size += 1 + size;
	(*batch)->n_names++;
	tree_dir_add_pending(dir, 1);
	return 0;
}

static int copy_symlink(const struct metadata_at *at, const char **ret_call)
{
	char target[PATH_MAX + 1];
	ssize_t n;

	*ret_call = "readlinkat";
	n = readlinkat(at->src_dir, at->src_name, target, sizeof(target));
	if (n < 0)
		return negative_errno();
	if ((size_t)n == sizeof(target))
		return -ENAMETOOLONG;
	target[n] = '\0';
	*ret_call = "symlinkat";
	return symlinkat(target, at->dst_dir, at->dst_name) < 0 ? negative_errno() : 0;
}

static int copy_other(struct tree_job *tree, const struct metadata_at *at, const struct stat *st,
		      const char **ret_call)
{
	struct metadata source = metadata_from_stat(st);
	struct metadata_made made = tree->made;
	int r;

	if (S_ISLNK(st->st_mode)) {
		r = copy_symlink(at, ret_call);
	} else {
		*ret_call = "mknodat";
		r = mknodat(at->dst_dir, at->dst_name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) <
				    0 ?
			    negative_errno() :
			    0;
	}
	if (r < 0)
		return r;
	made.mode = (mode_t)-1;
	return metadata_copy_at(at, &source, &made, ret_call);
}

/* Where a worker is in its batch. */
struct step {
	struct tree_batch *batch;
	struct worker *worker;
	struct tree_group *group;
	int src_dir;
	int dst_dir;
	const char *call; /* that failed */
	bool full;	  /* start what there is before going on */
};

/*
 * A further name of an inode: 1: the caller copies it (*ret_link: and tells the others); 0: done
 * with.
 */
static int claim_link(struct step *step, const char *name, const struct stat *st,
		      struct tree_link **ret_link)
{
	struct tree_dir *dir = step->batch->dir;
	enum tree_link_claim claim;
	int r;

	step->call = "malloc";
	r = tree_link_claim(dir, name, st, &claim, ret_link);
	if (r < 0)
		return r;
	switch (claim) {
	case TREE_LINK_OWN:
		return 1;
	case TREE_LINK_QUEUED:
		return 0;
	case TREE_LINK_READY:
		r = tree_link_make(*ret_link, dir, name, &step->call);
		*ret_link = NULL;
		if (r == -EMLINK)
			return 1;
		if (r == 0)
			tree_dir_done(dir, 1, step->worker);
		return r;
	}
	return -EINVAL;
}

/* Gives up a file that is not started. */
static int drop_file(struct step *step, struct tree_file *file, int error)
{
	struct tree_dir *dir = step->batch->dir;

	file->error = error;
	tree_file_finish(dir->tree, dir, file, step->worker);
	return 0;
}

static int copy_regular(struct step *step, const char *name, bool anew)
{
	struct tree_job *tree = step->batch->dir->tree;
	struct tree_file file = { .name = name, .src_fd = -1, .dst_fd = -1 };
	int r = tree_file_open(&file, step->src_dir);

	if (r == 0 && file.st.st_nlink > 1 && !anew) {
		r = claim_link(step, name, &file.st, &file.link);
		if (r == 0) { /* counted already, or to be counted by who copies it */
			close_keep_errno(file.src_fd);
			return 0;
		}
		file.call = step->call;
	}
	if (r >= 0)
		r = tree_file_create(&file, step->dst_dir, name);
	if (r < 0)
		return drop_file(step, &file, r);
	__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file.st.st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
	if (tree_file_is_large(tree, &file.st)) {
		step->full = true;
		r = tree_file_start_large(tree, step->batch, &file, step->worker);
		return r < 0 ? drop_file(step, &file, r) : 0;
	}
	tree_group_add(step->group, &file);
	step->full = tree_group_is_full(step->group);
	return 0;
}

/* What is no regular file, or what the directory could not tell. */
static int copy_unusual(struct step *step, const char *name, bool anew)
{
	struct tree_dir *dir = step->batch->dir;
	const struct metadata_at at = {
		.src_dir = step->src_dir,
		.dst_dir = step->dst_dir,
		.src_name = name,
		.dst_name = name,
	};
	struct tree_link *link = NULL;
	struct tree_dir *child;
	struct stat st;
	int r;

	step->call = "fstatat";
	if (fstatat(step->src_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	if (S_ISREG(st.st_mode))
		return copy_regular(step, name, anew);
	if (S_ISDIR(st.st_mode)) {
		step->call = "malloc";
		child = tree_dir_new(dir->tree, dir, name);
		if (!child)
			return -ENOMEM;
		tree_push(dir->tree, &child->task, step->worker);
		tree_dir_done(dir, 1, step->worker);
		return 0;
	}
	r = st.st_nlink > 1 && !anew ? claim_link(step, name, &st, &link) : 1;
	if (r <= 0)
		return r;
	r = copy_other(dir->tree, &at, &st, &step->call);
	if (r == 0)
		__atomic_add_fetch(&dir->tree->n_others, 1, __ATOMIC_RELAXED);
	else
		tree_fail(dir->tree, dir, name, step->call, r);
	if (link && r < 0)
		tree_link_failed(link, step->worker);
	else if (link)
		tree_link_copied(link, step->worker);
	tree_dir_done(dir, 1, step->worker);
	return 0;
}

/* One name, which is accounted for when it fails here. */
static void copy_entry(struct step *step)
{
	struct tree_batch *batch = step->batch;
	unsigned char type = (unsigned char)batch->entries[batch->at];
	const char *name = batch->entries + batch->at + 1;
	struct tree_dir *dir = batch->dir;
	int r;

	batch->at += 1 + strlen(name) + 1;
	if (type == DT_REG)
		r = copy_regular(step, name, false);
	else
		r = copy_unusual(step, name, type == TREE_COPY_ANEW);
	if (r == 0)
		return;
	tree_fail(dir->tree, dir, name, step->call, r);
	tree_dir_done(dir, 1, step->worker);
}

/* Accounts for the names that are not tried any more. */
static void skip_rest(struct step *step)
{
	struct tree_batch *batch = step->batch;
	unsigned n = 0;

	for (; batch->at < batch->size; n++)
		batch->at += 1 + strlen(batch->entries + batch->at + 1) + 1;
	if (n > 0)
		tree_dir_done(batch->dir, n, step->worker);
}

static void copy_entries(struct step *step)
{
	struct tree_batch *batch = step->batch;
	struct tree_dir *dir = batch->dir;
	int r = tree_dir_acquire(dir, &step->src_dir, &step->dst_dir);

	if (r < 0) {
		tree_fail(dir->tree, dir, NULL, "openat", r);
		return;
	}
	while (batch->at < batch->size && !step->full && !tree_is_stopping(dir->tree))
		copy_entry(step);
	tree_dir_release(dir);
}

static void batch_task(struct task *task, struct worker *worker)
{
	struct tree_batch *batch = CONTAINER_OF(task, struct tree_batch, task);
	struct tree_job *tree = batch->dir->tree;
	struct step step = { .batch = batch, .worker = worker };

	/* An extra count and reference: what is started may end before this function does. */
	tree_dir_add_pending(batch->dir, 1);
	tree_batch_ref(batch);
	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0) {
		step.group = tree_group_new(batch, worker);
		if (step.group)
			copy_entries(&step);
		else
			tree_fail(tree, batch->dir, NULL, "malloc", -ENOMEM);
	}
	if (tree_is_stopping(tree))
		skip_rest(&step);
	if (batch->at < batch->size)
		tree_push(tree, &batch->task, worker);
	else
		tree_batch_unref(batch); /* the task's */
	if (step.group)
		tree_group_start(step.group);
	tree_dir_done(batch->dir, 1, worker);
	tree_batch_unref(batch);
}
