/* SPDX-License-Identifier: MIT */
/*
 * tree.c - the job that copies a tree: its life, from the checks to the end; see tree.h.
 */
#include "tree.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "leftover_private.h"
#include "tree_count.h"
#include "tree_dir.h"
#include "tree_file.h"
#include "tree_link.h"
#include "tree_merge.h"
#include "tree_note.h"
#include "tree_publish.h"
#include "worker.h"

#define REMOVE_AT_ONCE 256 /* entries, before other jobs have their turn */

bool tree_is_stopping(const struct tree_job *tree)
{
	return __atomic_load_n(&tree->failed, __ATOMIC_ACQUIRE) || job_is_cancelled(&tree->job);
}

bool tree_syncs_files(const struct tree_job *tree)
{
	/* Of a merge every file appears on its own, so that syncing all at the end is too late. */
	return tree->options.verify || tree->options.fsync == ENGINE_FSYNC_FILE ||
	       (tree->merging && tree->options.fsync == ENGINE_FSYNC_TREE);
}

int tree_sync_dir(int fd)
{
	int r = fsync(fd) < 0 ? negative_errno() : 0;

	/* There are file systems, and FUSE servers, that have no fsync(2) of directories. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		r = syncfs(fd) < 0 ? negative_errno() : 0;
	return r;
}

int tree_adopt(struct tree_job *tree, struct worker *worker)
{
	int r = cred_adopt(&worker->cred, tree->job.cred);

	if (r < 0)
		tree_abort(tree, "setresuid", r);
	return r;
}

void tree_changed(const struct tree_job *tree, int fd, const char *name, int old_fd)
{
	const struct tree_change change = { .fd = fd, .name = name, .old_fd = old_fd };

	if (tree->changed)
		tree->changed(&change, tree->userdata);
}

void tree_skipped(struct tree_job *tree, const struct stat *st)
{
	struct job *job = &tree->job;

	__atomic_add_fetch(&job->skipped, 1, __ATOMIC_RELAXED);
	if (!S_ISREG(st->st_mode))
		return;
	__atomic_add_fetch(&job->bytes_total, (uint64_t)st->st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&job->bytes_skipped, (uint64_t)st->st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&job->files_total, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&job->files_skipped, 1, __ATOMIC_RELAXED);
}

void tree_left(struct tree_job *tree)
{
	__atomic_add_fetch(&tree->job.skipped, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&tree->job.files_skipped, 1, __ATOMIC_RELAXED);
}

void tree_push(struct tree_job *tree, struct task *task, struct worker *worker)
{
	int r = job_push(&tree->job, task, PUSH_FIRST, worker);

	assert(r == 0); /* there is a worker: the calling one */
	(void)r;
}

/* @dir or a directory above it is the source. 1, 0 or -errno. */
static int lies_inside(int dir_fd, const struct stat *source)
{
	_cleanup_close_ int at = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, above;
	int up;

	if (at < 0 || fstat(at, &st) < 0)
		return negative_errno();
	for (;;) {
		if (st.st_dev == source->st_dev && st.st_ino == source->st_ino)
			return 1;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			return errno == EACCES ?
				       0 :
				       negative_errno(); /* what is above is not ours to see */
		close_keep_errno(at);
		at = up;
		if (fstat(at, &above) < 0)
			return negative_errno();
		if (above.st_dev == st.st_dev && above.st_ino == st.st_ino)
			return 0; /* the root */
		st = above;
	}
}

/* DEST is to give way; what it is must not be lost unseen. */
static int check_replace(struct tree_job *tree, const struct stat *source, const struct stat *old)
{
	int r = S_ISDIR(source->st_mode) ? lies_inside(tree->src_fd, old) : 0;

	if (r != 0)
		return r == 1 ? -EINVAL : r; /* the source is part of it */
	tree->replacing = true;
	tree_publish_expect(tree, old);
	return 0;
}

/* DEST exists. 1: it stays as it is, and that is all. */
static int check_existing(struct tree_job *tree, const struct stat *source, const struct stat *old)
{
	enum tree_existing existing = tree->options.existing;
	enum tree_merge_action action;
	int r;

	if (existing == TREE_EXISTING_FAIL)
		return -EEXIST;
	if (source->st_dev == old->st_dev && source->st_ino == old->st_ino)
		return -EINVAL;
	if (S_ISDIR(source->st_mode) != S_ISDIR(old->st_mode))
		return S_ISDIR(old->st_mode) ? -EISDIR : -ENOTDIR;
	if (existing == TREE_EXISTING_REPLACE)
		return check_replace(tree, source, old);
	if (S_ISDIR(source->st_mode)) {
		tree->merging = true;
		return 0;
	}
	r = tree_merge_decide(existing, tree->dst_parent_fd, tree->dst_name, source, &action);
	if (r < 0)
		return r;
	return action == TREE_MERGE_UNCHANGED || action == TREE_MERGE_LEAVE ?
		       1 :
		       check_replace(tree, source, old);
}

/* What can be known before anything is made. 1: there is nothing to do. */
static int check(struct tree_job *tree, const struct stat *source, const char **ret_call)
{
	struct stat st;
	int r;

	*ret_call = "fstatat";
	if (!S_ISDIR(source->st_mode) && !S_ISREG(source->st_mode))
		return -EOPNOTSUPP;
	if (fstatat(tree->dst_parent_fd, tree->dst_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		r = check_existing(tree, source, &st);
		if (r != 0)
			return r;
	} else if (errno != ENOENT) {
		return negative_errno();
	}
	if (!S_ISDIR(source->st_mode))
		return 0;
	*ret_call = "openat";
	r = lies_inside(tree->dst_parent_fd, source);
	return r == 1 ? -EINVAL : r;
}

/* Where the copy grows. */
static int choose_staging(struct tree_job *tree)
{
	if (!tree->merging)
		return staging_name(tree->staging);
	(void)strcpy(tree->staging, tree->dst_name); /* of the same size */
	tree->made = (struct metadata_made){ (uid_t)-1, (gid_t)-1, (mode_t)-1 };
	return staging_name(tree->merge_name);
}

static int begin(struct tree_job *tree, struct worker *worker)
{
	struct tree_dir *root;
	const char *call = "fstat";
	struct stat source;
	int r;

	r = tree_adopt(tree, worker);
	if (r < 0)
		return r;
	r = fstat(tree->src_fd, &source) < 0 ? negative_errno() : check(tree, &source, &call);
	if (r == 1) {
		tree->published = true;
		tree_skipped(tree, &source);
		return -EEXIST; /* the walk has ended before it began */
	}
	if (r == 0) {
		call = "getrandom";
		r = choose_staging(tree);
	}
	if (r < 0) {
		tree_abort(tree, call, r);
		return r;
	}
	tree_note_begin(tree, &source, worker);
	tree->root_dev = source.st_dev;
	tree->root_ino = source.st_ino;
	if (S_ISREG(source.st_mode)) {
		tree_file_copy_root(tree, worker);
		return 0;
	}
	root = tree_dir_new(tree, NULL, "");
	if (!root) {
		tree_abort(tree, "malloc", -ENOMEM);
		return -ENOMEM;
	}
	tree_push(tree, &root->task, worker);
	return 0;
}

static void tree_run(struct job *job, struct worker *worker)
{
	struct tree_job *tree = CONTAINER_OF(job, struct tree_job, job);

	if (tree_is_stopping(tree) || begin(tree, worker) < 0)
		tree_walked(tree, worker);
}

static void end(struct tree_job *tree, struct worker *worker)
{
	const struct job_failure *first = tree->n_failures_kept > 0 ? &tree->failures[0] : NULL;
	struct job_result result = {
		.error = tree->error,
		.bytes = tree->job.bytes,
		.files = tree->job.files,
		.directories = tree->n_directories,
		.others = tree->n_others,
		.skipped = tree->job.skipped,
		.failures = tree->job.failures,
		.published = tree->published,
		.failed_path = first ? first->path : "",
		.failed_call = first ? first->call : "",
	};

	for (int way = 0; way < COPY_WAY_COUNT; way++)
		result.bytes_by_way[way] = tree->bytes_by_way[way];
	tree_note_end(tree, worker);
	job_end(&tree->job, &result, worker);
}

static void tell_left(struct tree_job *tree, int r)
{
	tree->left = true;
	log_error(tree->job.engine->options.log, "%s could not be removed, it stays as %s: %s",
		  tree->published ? "what the copy has replaced" : "an incomplete copy",
		  tree->staging, strerror(-r));
	if (tree->published)
		tree_abort(tree, "unlinkat", r);
}

/* A directory was made, and not found again: if it is still there, nothing is in it. */
static void remove_unknown(struct tree_job *tree, struct worker *worker)
{
	int r = cred_adopt(&worker->cred, tree->job.cred);

	if (r == 0 && unlinkat(tree->dst_parent_fd, tree->staging, AT_REMOVEDIR) < 0 &&
	    errno != ENOENT)
		r = negative_errno();
	if (r < 0)
		tell_left(tree, r);
}

/*
 * Removes what was staged, in pieces, so that a large tree does not keep a worker from the others.
 */
static void remove_task(struct task *task, struct worker *worker)
{
	struct tree_job *tree = CONTAINER_OF(task, struct tree_job, end_task);
	int r = cred_adopt(&worker->cred, tree->job.cred);

	if (r == 0)
		r = staging_remove_some(&tree->remover, REMOVE_AT_ONCE);
	if (r == 1) {
		tree_push(tree, &tree->end_task, worker);
		return;
	}
	if (r < 0)
		tell_left(tree, r);
	end(tree, worker);
}

static void start_removing(struct tree_job *tree, dev_t dev, ino_t ino, struct worker *worker)
{
	staging_remover_init(&tree->remover, tree->dst_parent_fd, tree->staging);
	staging_remover_expect(&tree->remover, dev, ino);
	tree->remover.unlock = !tree->published; /* what was DEST has its flags from others */
	tree->end_task.run = remove_task;
	tree_push(tree, &tree->end_task, worker);
}

/* With its name, or without. */
static void publish(struct tree_job *tree, struct worker *worker)
{
	/* What is open when it is removed NFS would keep under another name. */
	close_keep_errno(TAKE_FD(tree->sync_fd));
	if (!tree->published && !tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		tree_publish(tree);
	if (!tree->published)
		tree_error_settle(tree);
	if (!tree->published && tree->staged && tree->staging_ino == 0)
		remove_unknown(tree, worker);
	if (tree->published && tree->replacing)
		start_removing(tree, tree->old_dev, tree->old_ino, worker);
	else if (!tree->published && tree->staging_ino != 0 && !tree->merging)
		start_removing(tree, tree->staging_dev, tree->staging_ino, worker);
	else
		end(tree, worker);
}

/* syncfs(2) is done, or nobody waits for it any more. */
static void synced_task(struct task *task, struct worker *worker)
{
	struct tree_job *tree = CONTAINER_OF(task, struct tree_job, end_task);

	tree_publish_synced(tree);
	publish(tree, worker);
}

void tree_walked(struct tree_job *tree, struct worker *worker)
{
	tree->end_task.run = synced_task;
	if (tree->published || tree_is_stopping(tree) || tree_adopt(tree, worker) < 0 ||
	    !tree_publish_begin(tree, worker))
		publish(tree, worker);
}

static void tree_free(struct job *job)
{
	struct tree_job *tree = CONTAINER_OF(job, struct tree_job, job);

	tree_link_table_destroy(tree);
	assert(TAILQ_EMPTY(&tree->idle_dirs));
	assert(TAILQ_EMPTY(&tree->large_waiting));
	staging_remover_destroy(&tree->remover);
	pthread_mutex_destroy(&tree->lock);
	close_keep_errno(tree->src_fd);
	close_keep_errno(tree->dst_parent_fd);
	tree_error_destroy(tree);
	free(tree->below);
	free(tree);
}

static const struct job_ops tree_job_ops = {
	.run = tree_run,
	.free = tree_free,
	.get_failures = tree_error_get_failures,
	.count = tree_count,
	.cancelled = tree_publish_cancelled,
};

static int own_cred(struct cred **ret)
{
	_cleanup_free_ gid_t *groups = NULL;
	int n = getgroups(0, NULL);

	if (n < 0)
		return negative_errno();
	groups = calloc((size_t)n + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	n = getgroups(n, groups);
	return n < 0 ? negative_errno() : cred_new(geteuid(), getegid(), groups, (size_t)n, ret);
}

static bool is_one_name(const char *name)
{
	return *name && strlen(name) <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

/* The parts that need no undoing but by the caller's cleanup. */
static int fill(struct tree_job *tree, const struct tree_spec *spec)
{
	tree->src_fd = fcntl(spec->src_fd, F_DUPFD_CLOEXEC, 0);
	tree->dst_parent_fd = fcntl(spec->dst_parent_fd, F_DUPFD_CLOEXEC, 0);
	if (tree->src_fd < 0 || tree->dst_parent_fd < 0)
		return negative_errno();
	(void)strcpy(tree->dst_name, spec->dst_name); /* is_one_name(): it fits */
	tree->leftovers = spec->leftovers;
	tree->sync = (struct syncfs_wait){ .job = &tree->job, .task = &tree->end_task };
	tree->below = strdup(spec->dst_parent_below ? spec->dst_parent_below : "");
	if (!tree->below)
		return -ENOMEM;
	tree->forbidden_dev = spec->forbidden_dev;
	tree->changed = spec->changed;
	tree->userdata = spec->userdata;
	tree_options_init(&tree->options);
	if (spec->options)
		tree->options = *spec->options;
	tree->job.verifies = tree->options.verify;
	if (tree->options.fsync == TREE_AS_ENGINE)
		tree->options.fsync = (int)tree->job.engine->options.fsync;
	if (tree->options.reflink == TREE_AS_ENGINE)
		tree->options.reflink = (int)tree->job.engine->options.reflink;
	/* Only root can act for others: cred.h. */
	tree->made.uid = geteuid() == 0 ? tree->job.cred->uid : geteuid();
	tree->made.gid = geteuid() == 0 ? tree->job.cred->gid : getegid();
	return 0;
}

int engine_copy_tree(struct engine *engine, const struct tree_spec *spec, struct job **ret)
{
	struct job_setup setup = {
		.engine = engine,
		.ops = &tree_job_ops,
		.done = spec->done,
		.userdata = spec->userdata,
	};
	struct tree_job *tree;
	int r;

	if (!is_one_name(spec->dst_name))
		return -EINVAL;
	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return -ENOMEM;
	r = 0;
	setup.cred = cred_ref(spec->cred);
	if (!setup.cred)
		r = own_cred(&setup.cred);
	if (r == 0)
		r = job_init(&tree->job, &setup);
	cred_unref(setup.cred);
	if (r < 0) {
		free(tree);
		return r;
	}
	tree->src_fd = tree->dst_parent_fd = tree->note.fd = tree->sync_fd = -1;
	pthread_mutex_init(&tree->lock, NULL); /* never fails with default attributes */
	TAILQ_INIT(&tree->idle_dirs);
	TAILQ_INIT(&tree->large_waiting);
	staging_remover_init(&tree->remover, -1, NULL);
	r = fill(tree, spec);
	if (r < 0) {
		job_unref(&tree->job);
		return r;
	}
	*ret = &tree->job;
	return 0;
}
