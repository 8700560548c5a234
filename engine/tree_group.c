/* SPDX-License-Identifier: MIT */
/*
 * tree_group.c - see tree_group.h.
 */
#include "tree_group.h"

#include <assert.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_dir.h"
#include "tree_file.h"
#include "tree_large.h"
#include "worker.h"

#define BUFFER_ALIGNMENT 64 /* of a file's place in the shared buffer: a cache line */

struct tree_group {
	struct tree_batch *batch;
	struct worker *worker;
	struct chunk *chunk;
	size_t chunk_used;
	bool syncing;
	unsigned in_flight;
	unsigned n_files;
	struct tree_file files[TREE_GROUP_FILES];
};

struct tree_group *tree_group_new(struct tree_batch *batch, struct worker *worker)
{
	struct tree_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->batch = batch;
	group->worker = worker;
	group->chunk = worker_take_chunk(worker);
	if (!group->chunk) { /* a task runs only when there is one */
		free(group);
		return NULL;
	}
	tree_batch_ref(batch);
	return group;
}

/* What has changed while it was copied is copied again, on its own. */
static void end_file(struct tree_group *group, struct tree_file *file)
{
	struct tree_dir *dir = tree_batch_dir(group->batch);
	struct tree_job *tree = dir->tree;

	if (file->error == -EBUSY && !file->retried && !tree_is_stopping(tree)) {
		file->error = tree_file_restart(tree, file);
		if (file->error == 0)
			file->error = tree_large_start(tree, group->batch, file, group->worker);
		if (file->error == 0)
			return;
	}
	if (file->error == 0 && tree_file_is_verified(tree, file)) {
		struct tree_verify verify = tree_file_verification(tree, file);
		int r = tree_adopt(tree, group->worker);

		tree_file_verified(file, r < 0 ? r : tree_verify_all(&verify));
	}
	tree_file_finish(tree, dir, file, group->worker);
}

static void end_group(struct tree_group *group)
{
	struct tree_batch *batch = group->batch;
	struct worker *worker = group->worker;

	for (unsigned i = 0; i < group->n_files; i++)
		end_file(group, &group->files[i]);
	/* Not before: the buffers bound how many groups have files open. */
	worker_put_chunk(worker, group->chunk);
	free(group);
	tree_batch_unref(batch);
}

static void fsync_done(struct io_slot *slot)
{
	struct tree_file *file = slot->owner;
	struct tree_group *group =
		CONTAINER_OF(file - slot->tag, struct tree_group, files); /* tag: its place */

	if (slot->error < 0) {
		file->error = slot->error;
		file->call = "fsync";
		file->settled = false;
	}
	worker_put_slot(group->worker, slot);
	if (--group->in_flight == 0)
		end_group(group);
}

/* One fsync a file, all at once through the ring. */
static void sync_group(struct tree_group *group)
{
	struct tree_job *tree = tree_batch_dir(group->batch)->tree;

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

		if (tree_file_is_kept(tree, file)) {
			group->in_flight++;
			worker_start_fsync(group->worker, &sync);
		}
	}
	if (--group->in_flight == 0)
		end_group(group);
}

/* All data is written. */
static void complete_group(struct tree_group *group)
{
	struct tree_job *tree = tree_batch_dir(group->batch)->tree;
	bool stopping = tree_is_stopping(tree) || tree_adopt(tree, group->worker) < 0;

	for (unsigned i = 0; i < group->n_files && !stopping; i++) {
		struct tree_file *file = &group->files[i];

		struct metadata_made owner = tree_file_owner(tree, file);

		worker_give_way(group->worker);
		if (file->error == 0)
			file->error = tree_file_settle(file, &owner);
	}
	if (!stopping && tree_syncs_files(tree))
		sync_group(group);
	else
		end_group(group);
}

static void file_done(struct io_slot *slot)
{
	struct tree_group *group = slot->owner;
	struct tree_job *tree = tree_batch_dir(group->batch)->tree;
	struct tree_file *file = &group->files[slot->tag];

	/* A source that became shorter meanwhile is copied as it is now. */
	file->error = slot->error;
	file->call = "io_uring read or write";
	job_add_bytes(&tree->job, slot->copied);
	engine_count(tree->job.engine, group->worker->method->way, slot->copied);
	pthread_mutex_lock(&tree->lock);
	tree->bytes_by_way[group->worker->method->way] += slot->copied;
	pthread_mutex_unlock(&tree->lock);
	worker_put_slot(group->worker, slot);
	if (--group->in_flight == 0)
		complete_group(group);
}

/* Starts what the group has; with nothing to read or write it is complete at once. */
void tree_group_start(struct tree_group *group)
{
	struct tree_job *tree = tree_batch_dir(group->batch)->tree;
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
			.block_size = (uint32_t)file->st.st_size,
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

void tree_group_add(struct tree_group *group, const struct tree_file *file)
{
	assert(!tree_group_is_full(group));
	group->chunk_used += (size_t)file->st.st_size + BUFFER_ALIGNMENT;
	group->files[group->n_files++] = *file;
}

bool tree_group_is_full(const struct tree_group *group)
{
	const struct tree_job *tree = tree_batch_dir(group->batch)->tree;
	size_t room = tree->job.engine->options.block_size - group->chunk_used;

	return group->n_files >= tree->job.engine->group_files ||
	       room < tree_large_small_max(tree) + BUFFER_ALIGNMENT;
}
