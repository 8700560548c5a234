/* SPDX-License-Identifier: MIT */
/*
 * region.c - a region's blocks; see region.h.
 */
#include "region.h"

#include <assert.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "worker.h"

static void run(struct task *task, struct worker *worker)
{
	struct region *region = CONTAINER_OF(task, struct region, task);

	region->started_ns = engine_now_ns();
	worker_attach_region(worker, region);
}

struct region *region_new(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			  uint64_t length)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->task.run = run;
	region->copy = copy;
	region->src_offset = src_offset;
	region->dst_offset = dst_offset;
	region->length = length;
	region->block_size = copy->spec.job->engine->options.block_size;
	region->n_blocks = (unsigned)((length + region->block_size - 1) / region->block_size);
	assert(region->n_blocks <= REGION_BLOCKS_MAX);
	region->bad_block = region->n_blocks;
	region->state = REGION_PLANNED;
	return region;
}

struct region *region_new_hole(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			       uint64_t length)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->copy = copy;
	region->src_offset = src_offset;
	region->dst_offset = dst_offset;
	region->length = length;
	region->is_hole = true;
	region->state = REGION_ENDED;
	return region;
}

/*
 * Time is up, and this is not the very first block of the copy: an answer of 0 bytes would mean end
 * of file.
 */
static bool is_late(const struct region *region)
{
	uint64_t hard = region->copy->hard_limit_ns;

	if (hard == 0 || (region->is_first && region->next_block == 0))
		return false;
	return engine_now_ns() >= hard;
}

bool region_wants_block(struct region *region)
{
	uint64_t offset = region->src_offset + (uint64_t)region->next_block * region->block_size;

	if (region->stopped || region->next_block == region->n_blocks)
		return false;
	if (job_is_cancelled(region->copy->spec.job) || is_late(region) ||
	    offset >= __atomic_load_n(&region->copy->limit, __ATOMIC_RELAXED))
		region->stopped = true;
	return !region->stopped;
}

static void block_failed(struct region *region, unsigned block, const struct io_slot *slot)
{
	region->stopped = true;
	if (block < region->bad_block) {
		region->bad_block = block;
		region->bad_bytes = slot->flushed;
		region->error = slot->error;
	}
	file_copy_limit(region->copy,
			region->src_offset + (uint64_t)block * region->block_size + slot->flushed);
}

static void block_done(struct io_slot *slot)
{
	struct region *region = slot->owner;
	struct worker *worker = region->worker;
	unsigned block = (unsigned)slot->tag;

	job_add_bytes(region->copy->spec.job, slot->flushed);
	if (slot->error == 0 && !slot->eof)
		region->blocks_done |= UINT64_C(1) << block;
	else
		block_failed(region, block, slot);
	worker_put_slot(worker, slot);
	/* A region that is still listed is looked at by the worker's next turn. */
	if (--region->in_flight == 0 && !region_wants_block(region))
		worker_detach_region(worker, region);
}

void region_start_block(struct region *region, struct chunk *chunk)
{
	uint64_t offset = (uint64_t)region->next_block * region->block_size;
	struct slot_copy copy = {
		.src_fixed = -1,
		.dst_fixed = -1,
		.src_offset = region->src_offset + offset,
		.dst_offset = region->dst_offset + offset,
		.length = (uint32_t)MIN(region->length - offset, (uint64_t)region->block_size),
		.buffer = chunk->memory,
		.chunk = chunk,
		.cred = region->copy->spec.job->cred,
		.done = block_done,
		.owner = region,
		.tag = region->next_block,
	};

	file_copy_fds(region->copy, &copy.src_fd, &copy.dst_fd);
	if (region->fixed) {
		copy.src_fixed = 2 * region->index;
		copy.dst_fixed = 2 * region->index + 1;
	}
	region->next_block++;
	region->in_flight++;
	worker_start_copy(region->worker, &copy);
}

uint64_t region_prefix(const struct region *region)
{
	unsigned whole;

	if (region->is_hole)
		return region->length;
	whole = ~region->blocks_done ? (unsigned)__builtin_ctzll(~region->blocks_done) : 64;
	if (whole >= region->n_blocks)
		return region->length;
	return (uint64_t)whole * region->block_size +
	       (whole == region->bad_block ? region->bad_bytes : 0);
}
