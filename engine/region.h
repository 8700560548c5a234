/* SPDX-License-Identifier: MIT */
/*
 * region.h - a contiguous byte range of a file copy, worked off by one worker, block by block.
 *
 *	PLANNED --pushed, popped--> RUNNING --nothing left, nothing in flight--> ENDED
 *
 * A hole is a region too, one that is ENDED when it is planned. The file copy keeps its regions in
 * order and advances its contiguous prefix over those that are ENDED and whole.
 *
 * Thread: the file copy's planner until it is pushed; then the worker; then, ENDED, the file copy.
 */
#ifndef ENGINE_REGION_H
#define ENGINE_REGION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dispatcher.h"

struct file_copy;
struct io_slot;
struct worker;

#define REGION_BLOCKS_MAX 64 /* bits of region::blocks_done */

enum region_state {
	REGION_PLANNED, /* in the dispatcher's queue; moved on by its task */
	REGION_RUNNING, /* attached to a worker; moved on when its last block is done */
	REGION_ENDED,	/* read by the file copy, which frees it */
};

struct region {
	/* set once */
	struct task task;
	struct file_copy *copy;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint64_t length;
	uint32_t block_size;
	unsigned n_blocks;
	bool is_hole;
	bool is_first; /* of its file copy: its first block is started whatever the clock says */

	/* protected by file_copy::lock */
	TAILQ_ENTRY(region) link;
	enum region_state state;

	/* worker only */
	struct worker *worker;
	TAILQ_ENTRY(region) worker_link;
	bool listed; /* in worker::regions */
	int index;   /* place in the table of registered files, or -1 */
	bool fixed;
	uint64_t started_ns;
	unsigned next_block;
	unsigned in_flight;
	bool stopped;	      /* start no further block */
	uint64_t blocks_done; /* bit n: block n is copied */
	unsigned bad_block;   /* first block that failed or met the end of file; n_blocks: none */
	uint64_t bad_bytes;   /* bytes of it that were copied */
	int error;	      /* of bad_block; 0: end of file */
	uint64_t ended_ns;
};

/** A data region, PLANNED. @length is at most REGION_BLOCKS_MAX blocks. NULL: no memory. */
struct region *region_new(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			  uint64_t length);

/** A hole, ENDED. NULL: no memory. */
struct region *region_new_hole(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			       uint64_t length);

/** Whether another block can be started now. Stops the region when its job is to end. */
bool region_wants_block(struct region *region);

/** Starts its next block in @chunk. */
struct chunk;
void region_start_block(struct region *region, struct chunk *chunk);

/** Bytes from its beginning that are copied without a gap. ENDED only. */
uint64_t region_prefix(const struct region *region);

#endif /* ENGINE_REGION_H */
