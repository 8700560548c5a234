/* SPDX-License-Identifier: MIT */
/*
 * tree_file.c - see tree_file.h.
 *
 *	batch_task -> copy_entry --regular--> copy_regular --small--> start_group, complete_group
 *	                  |                             \-large--> large: file_copy  .. large_done
 *	                  \--other--> copy_other (symbolic link, FIFO, socket, device)
 * All end in finish_file() or directly in tree_dir_done().
 */
#include "tree_file.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "tree.h"
#include "tree_dir.h"
#include "tree_link.h"
#include "worker.h"

#define BATCH_BYTES 8192      /* of names in a batch; at least one of NAME_MAX fits */
#define SMALL_MAX (512 * KIB) /* larger files are copied as regions */
#define BUFFER_ALIGNMENT 64   /* of a file's place in the shared buffer: a cache line */

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

/* A regular file while it is copied. */
struct tree_file {
	const char *name; /* in the batch */
	int src_fd;
	int dst_fd;
	struct stat st;
	struct tree_link *link; /* it is the first of several names; else NULL */
	int error;
	const char *call;
};

struct group {
	struct tree_batch *batch;
	struct worker *worker;
	struct chunk *chunk;
	size_t chunk_used;
	bool syncing;
	unsigned in_flight;
	unsigned n_files;
	struct tree_file files[TREE_GROUP_FILES];
};

struct large {
	struct tree_job *tree;
	struct tree_batch *batch; /* NULL: the root of the copy */
	struct tree_file file;
	struct file_copy copy;
};

static void batch_task(struct task *task, struct worker *worker);

static void batch_unref(struct tree_batch *batch)
{
	if (batch && __atomic_sub_fetch(&batch->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(batch);
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

/* Opens the source. A FIFO that took the file's place must not make us wait for a writer. */
static int open_source(struct tree_file *file, int src_dir)
{
	file->call = "openat";
	file->src_fd = openat(src_dir, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file->src_fd < 0)
		return negative_errno();
	file->call = "fstat";
	if (fstat(file->src_fd, &file->st) < 0)
		return negative_errno();
	if (!S_ISREG(file->st.st_mode))
		return -ESTALE; /* it is not what the directory said any more */
	/* The ring would answer EAGAIN instead of waiting for the disk. */
	file->call = "fcntl";
	return fcntl(file->src_fd, F_SETFL, 0) < 0 ? negative_errno() : 0;
}

/* setxattr(2) of user.* asks for write permission, whatever the descriptor may. */
static mode_t created_mode(const struct tree_file *file)
{
	return (file->st.st_mode & 0777) | S_IWUSR;
}

static int create_destination(struct tree_file *file, int dst_dir, const char *name)
{
	file->call = "openat";
	file->dst_fd = openat(dst_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			      created_mode(file));
	return file->dst_fd < 0 ? negative_errno() : 0;
}

static int set_metadata(struct tree_job *tree, struct tree_file *file)
{
	struct metadata source = metadata_from_stat(&file->st);
	struct metadata_made made = tree->made;

	made.mode = created_mode(file);
	return metadata_copy_fd(file->src_fd, file->dst_fd, &source, &made, &file->call);
}

/* Everything was tried: closes the file and accounts for it. */
static void finish_file(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
			struct worker *worker)
{
	int r;

	close_keep_errno(TAKE_FD(file->src_fd));
	if (file->dst_fd >= 0) {
		r = close_checked(TAKE_FD(file->dst_fd));
		if (r < 0 && file->error == 0) {
			file->error = r;
			file->call = "close";
		}
	}
	if (file->error < 0) {
		tree_fail(tree, dir, file->name, file->call, file->error);
	} else if (!tree_is_stopping(tree)) {
		__atomic_add_fetch(&tree->job.files, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.engine->files, 1, __ATOMIC_RELAXED);
	}
	if (file->link && tree_is_stopping(tree))
		tree_link_failed(TAKE_PTR(file->link), worker);
	else if (file->link)
		tree_link_copied(TAKE_PTR(file->link), worker);
	if (dir)
		tree_dir_done(dir, 1, worker);
}

/* --- groups of small files ------------------------------------------------------------------ */

static struct group *group_new(struct tree_batch *batch, struct worker *worker)
{
	struct group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->batch = batch;
	group->worker = worker;
	group->chunk = worker_take_chunk(worker);
	if (!group->chunk) { /* a task runs only when there is one */
		free(group);
		return NULL;
	}
	__atomic_add_fetch(&batch->refs, 1, __ATOMIC_RELAXED);
	return group;
}

static void end_group(struct group *group)
{
	struct tree_batch *batch = group->batch;
	struct worker *worker = group->worker;

	for (unsigned i = 0; i < group->n_files; i++)
		finish_file(batch->dir->tree, batch->dir, &group->files[i], worker);
	free(group);
	batch_unref(batch);
}

static void fsync_done(struct io_slot *slot)
{
	struct tree_file *file = slot->owner;
	struct group *group =
		CONTAINER_OF(file - slot->tag, struct group, files); /* tag: its place */

	if (slot->error < 0) {
		file->error = slot->error;
		file->call = "fsync";
	}
	worker_put_slot(group->worker, slot);
	if (--group->in_flight == 0)
		end_group(group);
}

/* One fsync a file, all at once through the ring. */
static void sync_group(struct group *group)
{
	struct tree_job *tree = group->batch->dir->tree;

	group->syncing = true;
	group->in_flight = 1; /* not before all are started */
	for (unsigned i = 0; i < group->n_files; i++) {
		struct tree_file *file = &group->files[i];
		struct slot_fsync sync = {
			.fd = file->dst_fd,
			.cred = tree->job.cred,
			.done = fsync_done,
			.owner = file,
			.tag = i,
		};

		if (file->error == 0) {
			group->in_flight++;
			worker_start_fsync(group->worker, &sync);
		}
	}
	if (--group->in_flight == 0)
		end_group(group);
}

/* All data is written. */
static void complete_group(struct group *group)
{
	struct tree_job *tree = group->batch->dir->tree;
	bool stopping = tree_is_stopping(tree) || tree_adopt(tree, group->worker) < 0;

	worker_put_chunk(group->worker, TAKE_PTR(group->chunk));
	for (unsigned i = 0; i < group->n_files && !stopping; i++) {
		struct tree_file *file = &group->files[i];

		if (file->error == 0)
			file->error = set_metadata(tree, file);
	}
	if (!stopping && tree->job.engine->options.fsync == ENGINE_FSYNC_FILE)
		sync_group(group);
	else
		end_group(group);
}

static void file_done(struct io_slot *slot)
{
	struct group *group = slot->owner;
	struct tree_job *tree = group->batch->dir->tree;
	struct tree_file *file = &group->files[slot->tag];

	/* A source that became shorter meanwhile is copied as it is now. */
	file->error = slot->error;
	file->call = "io_uring read or write";
	job_add_bytes(&tree->job, slot->flushed);
	engine_count(tree->job.engine, group->worker->method->way, slot->flushed);
	pthread_mutex_lock(&tree->lock);
	tree->bytes_by_way[group->worker->method->way] += slot->flushed;
	pthread_mutex_unlock(&tree->lock);
	worker_put_slot(group->worker, slot);
	if (--group->in_flight == 0)
		complete_group(group);
}

/* Starts what the group has; with nothing to read or write it is complete at once. */
static void start_group(struct group *group)
{
	struct tree_job *tree = group->batch->dir->tree;
	size_t at = 0;

	group->in_flight = 1; /* not before all are started */
	for (unsigned i = 0; i < group->n_files; i++) {
		struct tree_file *file = &group->files[i];
		struct slot_copy copy = {
			.src_fd = file->src_fd,
			.dst_fd = file->dst_fd,
			.src_fixed = -1,
			.dst_fixed = -1,
			.length = (uint32_t)file->st.st_size,
			.buffer = group->chunk->memory + at,
			.chunk = group->chunk,
			.cred = tree->job.cred,
			.done = file_done,
			.owner = group,
			.tag = i,
		};

		if (file->st.st_size == 0)
			continue;
		at += ((size_t)file->st.st_size + BUFFER_ALIGNMENT - 1) / BUFFER_ALIGNMENT *
		      BUFFER_ALIGNMENT;
		group->chunk->refs++;
		group->in_flight++;
		worker_start_copy(group->worker, &copy);
	}
	if (--group->in_flight == 0)
		complete_group(group);
}

static bool fits(const struct group *group, const struct tree_file *file)
{
	size_t room = group->batch->dir->tree->job.engine->options.block_size - group->chunk_used;

	return (size_t)file->st.st_size + BUFFER_ALIGNMENT <= room;
}

/* --- large files ------------------------------------------------------------------------------ */

static void large_done(struct file_copy *copy, const struct file_copy_result *result,
		       struct worker *worker)
{
	struct large *large = CONTAINER_OF(copy, struct large, copy);
	struct tree_job *tree = large->tree;
	struct tree_batch *batch = large->batch;
	struct tree_file *file = &large->file;

	file->error = result->error;
	file->call = "copy";
	if (file->error == 0 && !tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		file->error = set_metadata(tree, file);
	if (file->error == -ECANCELED)
		file->error = 0; /* the job says so itself */
	pthread_mutex_lock(&tree->lock);
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		tree->bytes_by_way[way] += result->bytes_by_way[way];
	pthread_mutex_unlock(&tree->lock);
	finish_file(tree, batch ? batch->dir : NULL, file, worker);
	file_copy_destroy(&large->copy);
	free(large);
	if (batch)
		batch_unref(batch);
	else
		tree_walked(tree, worker);
}

/* Takes @file over. -ENOMEM. */
static int start_large(struct tree_job *tree, struct tree_batch *batch, struct tree_file *file,
		       struct worker *worker)
{
	struct large *large = calloc(1, sizeof(*large));

	if (!large) {
		file->call = "malloc";
		return -ENOMEM;
	}
	if (batch)
		__atomic_add_fetch(&batch->refs, 1, __ATOMIC_RELAXED);
	large->tree = tree;
	large->batch = batch;
	large->file = *file;
	file_copy_init(&large->copy,
		       &(struct file_copy_spec){
			       .job = &tree->job,
			       .src_fd = file->src_fd,
			       .dst_fd = file->dst_fd,
			       .length = (uint64_t)file->st.st_size,
			       .fsync = tree->job.engine->options.fsync == ENGINE_FSYNC_FILE,
			       .push_first = true,
			       .done = large_done,
		       });
	file_copy_start(&large->copy, worker);
	return 0;
}

/* A file for regions: large, or with holes, or to be cloned. */
static bool is_large(const struct tree_job *tree, const struct stat *st)
{
	const struct engine_options *options = &tree->job.engine->options;
	uint64_t size = (uint64_t)st->st_size;

	return size > MIN(SMALL_MAX, (uint64_t)options->block_size / 2) ||
	       (uint64_t)st->st_blocks * 512 < size ||
	       (options->reflink == ENGINE_REFLINK_ALWAYS && size > 0);
}

/* --- other kinds ------------------------------------------------------------------------------ */

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

/* --- names ------------------------------------------------------------------------------------ */

/* Where a worker is in its batch. */
struct step {
	struct tree_batch *batch;
	struct worker *worker;
	struct group *group;
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
	finish_file(dir->tree, dir, file, step->worker);
	return 0;
}

static int copy_regular(struct step *step, const char *name, bool anew)
{
	struct tree_job *tree = step->batch->dir->tree;
	struct tree_file file = { .name = name, .src_fd = -1, .dst_fd = -1 };
	int r = open_source(&file, step->src_dir);

	if (r == 0 && file.st.st_nlink > 1 && !anew) {
		r = claim_link(step, name, &file.st, &file.link);
		if (r == 0) { /* counted already, or to be counted by who copies it */
			close_keep_errno(file.src_fd);
			return 0;
		}
		file.call = step->call;
	}
	if (r >= 0)
		r = create_destination(&file, step->dst_dir, name);
	if (r < 0)
		return drop_file(step, &file, r);
	__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file.st.st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
	if (is_large(tree, &file.st)) {
		step->full = true;
		r = start_large(tree, step->batch, &file, step->worker);
		return r < 0 ? drop_file(step, &file, r) : 0;
	}
	assert(fits(step->group, &file));
	step->group->chunk_used += (size_t)file.st.st_size + BUFFER_ALIGNMENT;
	step->group->files[step->group->n_files++] = file;
	step->full = step->group->n_files == TREE_GROUP_FILES ||
		     tree->job.engine->options.block_size - step->group->chunk_used <
			     MIN(SMALL_MAX, (uint64_t)tree->job.engine->options.block_size / 2) +
				     BUFFER_ALIGNMENT;
	return 0;
}

/* What is no regular file, or what the directory could not tell. */
static int copy_unusual(struct step *step, const char *name)
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
		return copy_regular(step, name, false);
	if (S_ISDIR(st.st_mode)) {
		step->call = "malloc";
		child = tree_dir_new(dir->tree, dir, name);
		if (!child)
			return -ENOMEM;
		tree_push(dir->tree, &child->task, step->worker);
		tree_dir_done(dir, 1, step->worker);
		return 0;
	}
	r = st.st_nlink > 1 ? claim_link(step, name, &st, &link) : 1;
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
	if (type == DT_REG || type == TREE_COPY_ANEW)
		r = copy_regular(step, name, type == TREE_COPY_ANEW);
	else
		r = copy_unusual(step, name);
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
	__atomic_add_fetch(&batch->refs, 1, __ATOMIC_RELAXED);
	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0) {
		step.group = group_new(batch, worker);
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
		batch_unref(batch); /* the task's */
	if (step.group)
		start_group(step.group);
	tree_dir_done(batch->dir, 1, worker);
	batch_unref(batch);
}

/* --- the root is a file ----------------------------------------------------------------------- */

void tree_file_copy_root(struct tree_job *tree, struct worker *worker)
{
	struct tree_file file = { .name = NULL, .src_fd = -1, .dst_fd = -1, .call = "openat" };
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tree->src_fd);
	file.src_fd = open(path, O_RDONLY | O_CLOEXEC);
	r = file.src_fd < 0 || fstat(file.src_fd, &file.st) < 0 ? negative_errno() : 0;
	if (r == 0)
		r = create_destination(&file, tree->dst_parent_fd, tree->staging);
	if (r == 0) {
		tree->staged = true;
		/* The directory is not ours: it may hand its group and ACLs down. */
		tree->made = (struct metadata_made){ (uid_t)-1, (gid_t)-1, (mode_t)-1 };
		r = metadata_drop_acls(file.dst_fd);
	}
	if (r == 0) {
		__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file.st.st_size,
				   __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
		r = start_large(tree, NULL, &file, worker);
	}
	if (r == 0)
		return;
	file.error = r;
	finish_file(tree, NULL, &file, worker);
	tree_walked(tree, worker);
}
