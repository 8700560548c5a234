/* SPDX-License-Identifier: MIT */
/*
 * region.c - a region's strides; see region.h.
 */
#include "region.h"

#include <assert.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "offload.h"
#include "worker.h"

/*
 * Strides in flight at once. Of a source in the page cache one is enough: it is copied by a
 * processor, and writers of one file only wait for each other. A disk is to have a queue.
 */
#define IN_FLIGHT_CACHED 1
#define IN_FLIGHT_DIRECT 4

/* The bytes that are left, in strides. */
static void cut_strides(struct region *region)
{
	const struct file_copy *copy = region->copy;
	uint32_t block = copy->spec.job->engine->options.block_size;
	uint64_t left = region->length - region->front;

	region->stride = (uint32_t)MIN((left + block - 1) / block * block, copy->stride);
	region->n_strides = (unsigned)((left + region->stride - 1) / region->stride);
	assert(region->n_strides <= REGION_STRIDES_MAX);
	region->bad_stride = region->n_strides;
}

/* What the file system has not copied by itself is left to the worker; errors and ends are not. */
static void take_back(struct region *region, struct worker *worker)
{
	const struct engine_options *options = &region->copy->spec.job->engine->options;

	if (!offload_is_refusal(region->error) || options->offload == ENGINE_OFFLOAD_ALWAYS) {
		if (region->error < 0)
			file_copy_limit(region->copy, region->src_offset + region->front);
		file_copy_region_ended(region->copy, region, worker);
		return;
	}
	route_refused_offload(&region->copy->route, region->error);
	region->choice.offload = false;
	region->error = 0;
	cut_strides(region);
	worker_attach_region(worker, region);
}

static void run(struct task *task, struct worker *worker)
{
	struct region *region = CONTAINER_OF(task, struct region, task);

	if (region->choice.offload) {
		take_back(region, worker);
		return;
	}
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
	region->state = REGION_PLANNED;
	cut_strides(region);
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
 * Time is up, and this is not the very beginning of the copy: an answer of 0 bytes would mean end
 * of file.
 */
static bool is_late(const struct region *region)
{
	uint64_t hard = region->copy->hard_limit_ns;

	if (hard == 0 || (region->is_first && region->next_stride == 0 && region->front == 0))
		return false;
	return engine_now_ns() >= hard;
}

bool region_must_stop(const struct region *region)
{
	uint64_t offset =
		region->src_offset + region->front + (uint64_t)region->next_stride * region->stride;

	return job_is_cancelled(region->copy->spec.job) || is_late(region) ||
	       offset >= __atomic_load_n(&region->copy->limit, __ATOMIC_RELAXED);
}

bool region_wants_stride(struct region *region)
{
	if (region->stopped || region->next_stride == region->n_strides)
		return false;
	region->stopped = region_must_stop(region);
	return !region->stopped;
}

bool region_is_busy(const struct region *region)
{
	return region->in_flight >=
	       (region->choice.flags & SLOT_READ_DIRECT ? IN_FLIGHT_DIRECT : IN_FLIGHT_CACHED);
}

static void stride_failed(struct region *region, unsigned stride, const struct io_slot *slot)
{
	region->stopped = true;
	if (stride < region->bad_stride) {
		region->bad_stride = stride;
		region->bad_bytes = slot->copied;
		region->error = slot->error;
	}
	file_copy_limit(region->copy, region->src_offset + region->front +
					      (uint64_t)stride * region->stride + slot->copied);
}

static void stride_done(struct io_slot *slot)
{
	struct region *region = slot->owner;
	struct worker *worker = region->worker;
	unsigned stride = (unsigned)slot->tag;
	unsigned refused = region->choice.flags & ~slot->flags;

	job_add_bytes(region->copy->spec.job, slot->copied);
	route_count(&region->copy->route, slot->flags, slot->copied);
	if (refused)
		route_refused(&region->copy->route, refused);
	region->choice.flags &= slot->flags;
	if (slot->error == 0 && !slot->eof)
		region->strides_done |= UINT64_C(1) << stride;
	else
		stride_failed(region, stride, slot);
	worker_put_slot(worker, slot);
	region->in_flight--;
	if (region_wants_stride(region))
		worker_list_region(worker, region);
	else if (region->in_flight == 0)
		worker_detach_region(worker, region);
}

void region_start_stride(struct region *region, struct chunk *chunk)
{
	uint64_t offset = region->front + (uint64_t)region->next_stride * region->stride;
	const struct route *route = &region->copy->route;
	struct slot_copy copy = {
		.src_fd = route->src_fd,
		.dst_fd = route->dst_fd,
		/* Without the flag the planner may be about to open it. */
		.direct_src_fd = region->choice.flags & SLOT_READ_DIRECT ? route->direct_src_fd :
									   -1,
		.direct_dst_fd = region->choice.flags & SLOT_WRITE_DIRECT ? route->direct_dst_fd :
									    -1,
		.src_fixed = -1,
		.dst_fixed = -1,
		.flags = region->choice.flags,
		.src_offset = region->src_offset + offset,
		.dst_offset = region->dst_offset + offset,
		.length = (uint32_t)MIN(region->length - offset, (uint64_t)region->stride),
		.block_size = region->copy->spec.job->engine->options.block_size,
		.buffer = chunk->memory,
		.chunk = chunk,
		.cred = region->copy->spec.job->cred,
		.done = stride_done,
		.owner = region,
		.tag = region->next_stride,
	};

	/* The registered ones are those it was attached with. */
	if (region->fixed && region->choice.flags == region->fixed_flags) {
		copy.src_fixed = 2 * region->index;
		copy.dst_fixed = 2 * region->index + 1;
	}
	region->next_stride++;
	region->in_flight++;
	worker_start_copy(region->worker, &copy);
}

uint64_t region_prefix(const struct region *region)
{
	unsigned whole;

	if (region->is_hole)
		return region->length;
	if (region->choice.offload)
		return region->front;
	whole = ~region->strides_done ? (unsigned)__builtin_ctzll(~region->strides_done) : 64;
	if (whole >= region->n_strides)
		return region->length;
	return region->front + (uint64_t)whole * region->stride +
	       (whole == region->bad_stride ? region->bad_bytes : 0);
}
