/* SPDX-License-Identifier: MIT */
/*
 * tree_large.c - see tree_large.h.
 *
 * Copied, settled, brought to stable storage where that is wanted, compared where that is wanted: each step
 * starts the next one, and the last one gives the file its name.
 */
#include "tree_large.h"

#include <pthread.h>
#include <stdlib.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_verify.h"
#include "write_out.h"

#define SMALL_MAX (512 * KIB) /* larger files are copied as regions */

struct large {
	struct tree_job *tree;
	struct tree_batch *batch; /* NULL: the root of the copy */
	struct tree_file file;
	struct file_copy copy;
	struct task verify_task;
	struct write_out write_out;
	struct tree_verify verify;
	bool dirty; /* something was written, not only cloned */
};

static void start_copy(struct large *large, struct worker *worker);

static void count_opened(struct tree_job *tree)
{
	pthread_mutex_lock(&tree->lock);
	if (++tree->n_large >= tree->job.engine->large_open)
		tree->large_is_full = true;
	pthread_mutex_unlock(&tree->lock);
}

bool tree_large_waits(struct tree_job *tree, struct task *task)
{
	bool stopping = tree_is_stopping(tree);
	bool waits;

	pthread_mutex_lock(&tree->lock);
	waits = tree->large_is_full && !stopping;
	if (waits)
		TAILQ_INSERT_TAIL(&tree->large_waiting, task, link);
	pthread_mutex_unlock(&tree->lock);
	return waits;
}

/* When half are closed, what waits goes back onto the stack, the last one first: as it was. */
static void count_closed(struct tree_job *tree, struct worker *worker)
{
	struct tree_tasks waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct task *task;

	pthread_mutex_lock(&tree->lock);
	if (--tree->n_large <= tree->job.engine->large_open / 2) {
		tree->large_is_full = false;
		TAILQ_CONCAT(&waiting, &tree->large_waiting, link);
	}
	pthread_mutex_unlock(&tree->lock);
	while ((task = TAILQ_LAST(&waiting, tree_tasks))) {
		TAILQ_REMOVE(&waiting, task, link);
		tree_push(tree, task, worker);
	}
}

static void end_large(struct large *large, struct worker *worker)
{
	struct tree_job *tree = large->tree;
	struct tree_batch *batch = large->batch;

	/* In a moment; after that the job may have ended. */
	count_closed(tree, worker);
	tree_file_finish(tree, batch ? tree_batch_dir(batch) : NULL, &large->file, worker);
	free(large);
	if (batch)
		tree_batch_unref(batch);
	else
		tree_walked(tree, worker);
}

static void verify_task(struct task *task, struct worker *worker)
{
	struct large *large = CONTAINER_OF(task, struct large, verify_task);
	struct tree_job *tree = large->tree;
	struct tree_file *file = &large->file;
	int r = tree_adopt(tree, worker);

	if (r == 0)
		r = tree_verify_some(&large->verify);
	if (r == 1) {
		tree_push(tree, &large->verify_task, worker);
		return;
	}
	tree_file_verified(file, r);
	end_large(large, worker);
}

static void verify_or_end(struct large *large, struct worker *worker)
{
	struct tree_job *tree = large->tree;
	struct tree_file *file = &large->file;

	if (file->error < 0 || !tree_file_is_verified(tree, file)) {
		end_large(large, worker);
		return;
	}
	large->verify = tree_file_verification(tree, file);
	tree_push(tree, &large->verify_task, worker);
}

/* write_out_done_fn */
static void fsync_done(struct write_out *out, int error)
{
	struct large *large = CONTAINER_OF(out, struct large, write_out);

	if (error < 0) {
		large->file.error = error;
		large->file.call = "fsync";
		large->file.settled = false;
	}
	verify_or_end(large, out->worker);
}

/* Data and attributes: what appears after a power cut is to have both. */
static void start_fsync(struct large *large, struct worker *worker)
{
	uint64_t size = (uint64_t)large->file.st.st_size;

	large->write_out = (struct write_out){
		.job = &large->tree->job,
		.worker = worker,
		.fd = large->file.dst_fd,
		.at = large->dirty ? 0 : size,
		.end = size,
		.done = fsync_done,
	};
	write_out_start(&large->write_out);
}

static void large_done(struct file_copy *copy, const struct file_copy_result *result,
		       struct worker *worker)
{
	struct large *large = CONTAINER_OF(copy, struct large, copy);
	struct tree_job *tree = large->tree;
	struct tree_file *file = &large->file;
	struct metadata_made owner = tree_file_owner(tree, file);

	file->error = result->error;
	file->call = "copy";
	large->dirty = result->bytes_by_way[COPY_WAY_CLONE] < result->bytes;
	pthread_mutex_lock(&tree->lock);
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		tree->bytes_by_way[way] += result->bytes_by_way[way];
	pthread_mutex_unlock(&tree->lock);
	file_copy_destroy(&large->copy);
	if (file->error == 0 && !tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		file->error = tree_file_settle(file, &owner);
	if (file->error == -EBUSY && !file->retried && !tree_is_stopping(tree)) {
		file->error = tree_file_restart(tree, file);
		if (file->error == 0) {
			start_copy(large, worker);
			return;
		}
	}
	if (file->settled && tree_file_is_kept(tree, file) && tree_syncs_files(tree))
		start_fsync(large, worker);
	else
		verify_or_end(large, worker);
}

static void start_copy(struct large *large, struct worker *worker)
{
	struct tree_job *tree = large->tree;

	file_copy_init(&large->copy, &(struct file_copy_spec){
					     .job = &tree->job,
					     .src_fd = large->file.src_fd,
					     .dst_fd = large->file.dst_fd,
					     .length = (uint64_t)large->file.st.st_size,
					     .reflink = (enum engine_reflink)tree->options.reflink,
					     .push_first = true,
					     .done = large_done,
				     });
	file_copy_start(&large->copy, worker);
}

int tree_large_start(struct tree_job *tree, struct tree_batch *batch, struct tree_file *file,
		     struct worker *worker)
{
	struct large *large = calloc(1, sizeof(*large));

	if (!large) {
		file->call = "malloc";
		return -ENOMEM;
	}
	if (batch)
		tree_batch_ref(batch);
	large->tree = tree;
	large->batch = batch;
	large->file = *file;
	large->verify_task.run = verify_task;
	count_opened(tree);
	start_copy(large, worker);
	return 0;
}

uint64_t tree_large_small_max(const struct tree_job *tree)
{
	return MIN(SMALL_MAX, (uint64_t)tree->job.engine->options.block_size / 2);
}

bool tree_large_is_wanted(const struct tree_job *tree, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	return size > tree_large_small_max(tree) || (uint64_t)st->st_blocks * 512 < size ||
	       (tree->options.reflink == ENGINE_REFLINK_ALWAYS && size > 0);
}
