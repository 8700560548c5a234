/* SPDX-License-Identifier: MIT */
/*
 * tree_batch.c - see tree_batch.h.
 *
 *	batch_task -> copy_entry --regular--> copy_regular --small--> tree_group
 *	                  |                            \--large--> tree_large_start()
 *	                  \--other--> copy_special (symbolic link, FIFO, socket, device)
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
#include "tree_large.h"
#include "tree_link.h"
#include "tree_made.h"
#include "tree_open.h"
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
	*batch = (struct tree_batch){ .task = { .run = batch_task, .place = dir },
				      .dir = dir,
				      .refs = 1 };
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

/* Where a worker is in its batch. */
struct step {
	struct tree_batch *batch;
	struct worker *worker;
	struct tree_group *group;
	int src_dir;
	int dst_dir;
	const char *name; /* what is being copied */
	bool anew;	  /* TREE_COPY_ANEW */
	bool retried;	  /* TREE_RETRIED */
	const char *call; /* that failed */
	bool full;	  /* start what there is before going on */
	bool has_large;
	struct tree_file large; /* if has_large: to be started, too */
};

/*
 * A further name of an inode, which is @name in @fd: 1: the caller copies it (*ret_link: and tells the
 * others); 0: done with.
 */
static int claim_link(struct step *step, int fd, const char *name, const struct stat *st,
		      struct tree_link **ret_link)
{
	struct tree_dir *dir = step->batch->dir;
	struct tree_link_inode inode;
	enum tree_link_claim claim;
	int r;

	step->call = "statx";
	r = tree_link_identify(fd, name, st, &inode);
	if (r < 0)
		return r;
	step->call = "malloc";
	r = tree_link_claim(dir, step->name, &inode, st->st_nlink, &claim, ret_link);
	if (r < 0)
		return r;
	switch (claim) {
	case TREE_LINK_OWN:
		return 1;
	case TREE_LINK_QUEUED:
		*ret_link = NULL;
		return 0;
	case TREE_LINK_READY:
		r = tree_link_make(*ret_link, dir, step->name, &step->call);
		*ret_link = NULL;
		if (r == -EMLINK)
			return 1;
		if (r == 0)
			tree_dir_done(dir, 1, step->worker);
		return r;
	}
	return -EINVAL;
}

/* Whether what is there already stays: 1; otherwise 0 or -errno. Tells further links. */
static int leave(struct step *step, const struct stat *st, struct tree_merge_file *merge,
		 struct tree_link **link)
{
	struct tree_job *tree = step->batch->dir->tree;
	enum tree_merge_action action = TREE_MERGE_MAKE;
	int r;

	if (!tree->merging)
		return 0;
	step->call = "fstatat";
	r = tree_merge_decide(tree->options.existing, step->dst_dir, step->name, st, &action);
	if (r < 0)
		return r;
	merge->replace = action == TREE_MERGE_REPLACE;
	if (action == TREE_MERGE_MAKE || action == TREE_MERGE_REPLACE)
		return 0;
	tree_skipped(tree, st);
	if (*link && action == TREE_MERGE_UNCHANGED)
		tree_link_copied(TAKE_PTR(*link), step->worker);
	else if (*link) /* the others must not become links of something different */
		tree_link_failed(TAKE_PTR(*link), step->worker);
	return 1;
}

/* Gives up a file that is not started. */
static void drop_file(struct step *step, struct tree_file *file, int error)
{
	struct tree_dir *dir = step->batch->dir;

	file->error = error;
	tree_file_finish(dir->tree, dir, file, step->worker);
}

static void start_regular(struct step *step, struct tree_file *file)
{
	struct tree_job *tree = step->batch->dir->tree;

	__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file->st.st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
	if (tree_large_is_wanted(tree, &file->st)) {
		step->full = step->has_large = true;
		step->large = *file;
		return;
	}
	tree_group_add(step->group, file);
	step->full = tree_group_is_full(step->group);
}

static void start_large(struct step *step)
{
	struct tree_job *tree = step->batch->dir->tree;
	int r = tree_large_start(tree, step->batch, &step->large, step->worker);

	if (r < 0)
		drop_file(step, &step->large, r);
}

/* An open source. 1: there is nothing to copy; 0: it is started, or will be made; -errno. */
static int begin_regular(struct step *step, struct tree_file *file)
{
	int r = 1;

	if (file->st.st_nlink > 1 && !step->anew)
		r = claim_link(step, file->src_fd, "", &file->st, &file->link);
	file->call = step->call;
	if (r <= 0) /* counted already, or to be counted by who copies it */
		return r < 0 ? r : 1;
	r = leave(step, &file->st, &file->merge, &file->link);
	file->call = step->call;
	if (r == 1)
		tree_dir_done(step->batch->dir, 1, step->worker);
	if (r != 0)
		return r;
	return tree_file_create(step->batch->dir->tree, file, step->dst_dir, step->name);
}

static int copy_regular(struct step *step)
{
	struct tree_file file = {
		.name = step->name,
		.src_fd = -1,
		.dst_fd = -1,
		.anew = step->anew,
		.retried = step->retried,
		.inherits = step->batch->dir->existed,
	};
	int r = tree_file_open(&file, step->src_dir);

	if (r == 0)
		r = begin_regular(step, &file);
	if (r == 1)
		close_keep_errno(file.src_fd);
	else if (r < 0)
		drop_file(step, &file, r);
	else
		start_regular(step, &file);
	return 0;
}

static int add_child(struct step *step)
{
	struct tree_dir *dir = step->batch->dir;
	struct tree_dir *child = tree_dir_new(dir->tree, dir, step->name);

	step->call = "malloc";
	if (!child)
		return -ENOMEM;
	child->retried = step->retried;
	tree_push(dir->tree, &child->task, step->worker);
	tree_dir_done(dir, 1, step->worker);
	return 0;
}

static int make_symlink(struct step *step, const char *name)
{
	char target[PATH_MAX + 1];
	ssize_t n;

	step->call = "readlinkat";
	n = readlinkat(step->src_dir, step->name, target, sizeof(target));
	if (n < 0)
		return negative_errno();
	if ((size_t)n == sizeof(target))
		return -ENAMETOOLONG;
	target[n] = '\0';
	step->call = "symlinkat";
	return symlinkat(target, step->dst_dir, name) < 0 ? negative_errno() : 0;
}

static int make_node(struct step *step, const struct stat *st, const char *name)
{
	mode_t mode = (st->st_mode & S_IFMT) | 0600;

	step->call = "mknodat";
	return mknodat(step->dst_dir, name, mode, st->st_rdev) < 0 ? negative_errno() : 0;
}

/* What was made, which must be what is there. */
static int copy_metadata(struct step *step, const struct stat *st, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct metadata source = metadata_from_stat(st);
	struct metadata_made made = tree_dir_made(step->batch->dir);
	int r = 0;

	step->call = "openat";
	fd = tree_made_open(step->dst_dir, name, st->st_mode, st->st_rdev);
	if (fd < 0)
		return fd;
	made.mode = (mode_t)-1;
	step->call = "removexattr";
	if (step->batch->dir->existed && !S_ISLNK(st->st_mode))
		r = metadata_drop_acl_path(fd);
	if (r == 0)
		r = metadata_copy_at(
			&(struct metadata_at){
				.src_dir = step->src_dir,
				.src_name = step->name,
				.dst_fd = fd,
			},
			&source, &made, &step->call);
	return r;
}

/* Under @name, which is that of the source or a hidden one. */
static int make_other(struct step *step, const struct stat *st, const char *name)
{
	int r = S_ISLNK(st->st_mode) ? make_symlink(step, name) : make_node(step, st, name);

	if (r < 0)
		return r;
	r = copy_metadata(step, st, name);
	if (r < 0)
		(void)unlinkat(step->dst_dir, name, 0); /* what is not whole is not there */
	return r;
}

static int copy_other(struct step *step, const struct stat *st, struct tree_merge_file *merge)
{
	int r;

	if (!step->batch->dir->tree->merging)
		return make_other(step, st, step->name);
	tree_merge_name(step->batch->dir->tree, merge);
	r = make_other(step, st, merge->temp);
	if (r < 0)
		return r;
	step->call = "renameat2";
	r = tree_merge_publish(step->batch->dir->tree, merge, step->dst_dir, -1, step->name);
	tree_merge_discard(merge, step->dst_dir);
	return r;
}

/* Symbolic links and special files. */
static int copy_special(struct step *step, const struct stat *st)
{
	struct tree_dir *dir = step->batch->dir;
	struct tree_merge_file merge = { 0 };
	struct tree_link *link = NULL;
	int r;

	r = st->st_nlink > 1 && !step->anew ?
		    claim_link(step, step->src_dir, step->name, st, &link) :
		    1;
	if (r <= 0)
		return r;
	r = leave(step, st, &merge, &link);
	if (r == 0) {
		r = copy_other(step, st, &merge);
		if (r == 0)
			__atomic_add_fetch(&dir->tree->n_others, 1, __ATOMIC_RELAXED);
	}
	if (link && r < 0)
		tree_link_failed(link, step->worker);
	else if (link)
		tree_link_copied(link, step->worker);
	if (r >= 0)
		tree_dir_done(dir, 1, step->worker);
	return MIN(r, 0);
}

/* What is no regular file, or what the directory could not tell. */
static int copy_unusual(struct step *step)
{
	struct stat st;

	step->call = "fstatat";
	if (fstatat(step->src_dir, step->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	if (S_ISREG(st.st_mode))
		return copy_regular(step);
	return S_ISDIR(st.st_mode) ? add_child(step) : copy_special(step, &st);
}

/* Once more, from the beginning; when other names have been started. */
static int queue_again(struct step *step)
{
	struct tree_dir *dir = step->batch->dir;
	struct tree_batch *batch = NULL;
	unsigned char type = TREE_RETRIED | (step->anew ? TREE_COPY_ANEW : 0);
	int r = tree_batch_add(dir, &batch, step->name, type, step->worker);

	if (r == 0)
		tree_push(dir->tree, tree_batch_task(batch), step->worker);
	return r;
}

/* One name, which is accounted for when it fails here. */
static void copy_entry(struct step *step)
{
	struct tree_batch *batch = step->batch;
	unsigned char type = (unsigned char)batch->entries[batch->at];
	struct tree_dir *dir = batch->dir;
	int r;

	step->name = batch->entries + batch->at + 1;
	step->anew = type & TREE_COPY_ANEW;
	step->retried = type & TREE_RETRIED;
	batch->at += 1 + strlen(step->name) + 1;
	r = type == DT_REG ? copy_regular(step) : copy_unusual(step);
	if (r == 0)
		return;
	if (!step->retried && tree_error_may_pass(r))
		r = queue_again(step);
	if (r < 0)
		tree_fail(dir->tree, dir, step->name, step->call, r);
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
	int r = tree_open_acquire(dir, &step->src_dir, &step->dst_dir);

	if (r < 0) {
		tree_fail(dir->tree, dir, NULL, "openat", r);
		skip_rest(step);
		return;
	}
	while (batch->at < batch->size && !step->full && !tree_is_stopping(dir->tree)) {
		worker_give_way(step->worker);
		copy_entry(step);
	}
	tree_open_release(dir);
}

static void batch_task(struct task *task, struct worker *worker)
{
	struct tree_batch *batch = CONTAINER_OF(task, struct tree_batch, task);
	struct tree_job *tree = batch->dir->tree;
	struct step step = { .batch = batch, .worker = worker };

	if (tree_large_waits(tree, task))
		return;
	worker_give_way(worker);
	/* An extra count and reference: what is started may end before this function does. */
	tree_dir_add_pending(batch->dir, 1);
	tree_batch_ref(batch);
	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0) {
		step.group = tree_group_new(batch, worker);
		if (step.group)
			copy_entries(&step);
		else
			tree_abort(tree, "malloc", -ENOMEM);
	}
	if (tree_is_stopping(tree))
		skip_rest(&step);
	/* Below a large file's regions on the stack: no further one is opened while they wait. */
	if (batch->at < batch->size)
		tree_push(tree, &batch->task, worker);
	else
		tree_batch_unref(batch); /* the task's */
	if (step.has_large)
		start_large(&step);
	if (step.group)
		tree_group_start(step.group);
	tree_dir_done(batch->dir, 1, worker);
	tree_batch_unref(batch);
}
