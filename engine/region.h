/* SPDX-License-Identifier: MIT */
/*
 * region.h - a contiguous byte range of a file copy, worked off by one worker, stride by stride.
 *
 *	PLANNED --pushed, popped--> RUNNING --nothing left, nothing in flight--> ENDED
 *
 * A hole is a region too, one that is ENDED when it is planned. The file copy keeps its regions in
 * order and advances its contiguous prefix over those that are ENDED and whole.
 *
 * A region that the file system is to copy by itself (offload.c) begins with a thread of the
 * offload, and its task takes it back; what was refused is left to the worker.
 *
 * Thread: the file copy's planner until it is pushed; then the offload's, where it begins there;
 * then the worker; then, ENDED, the file copy.
 */
#ifndef ENGINE_REGION_H
#define ENGINE_REGION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dispatcher.h"
#include "route.h"

struct file_copy;
struct io_slot;
struct worker;

#define REGION_STRIDES_MAX 64 /* bits of region::strides_done */

enum region_state {
	REGION_PLANNED, /* in the dispatcher's queue; moved on by its task */
	REGION_RUNNING, /* attached to a worker; moved on when its last stride is done */
	REGION_ENDED,	/* read by the file copy, which frees it */
};

struct region {
	/* set once */
	struct task task;
	struct file_copy *copy;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint64_t length;
	uint32_t stride; /* bytes that one slot copies */
	unsigned n_strides;
	bool is_hole;
	bool is_first; /* of its file copy: its first stride is started whatever the clock says */
	struct route_choice choice;

	/* protected by file_copy::lock */
	TAILQ_ENTRY(region) link;
	enum region_state state;

	/* offload thread, then worker */
	TAILQ_ENTRY(region) offload_link;
	uint64_t front; /* bytes at the beginning that the file system has copied by itself */
	uint64_t started_ns;
	uint64_t ended_ns;

	/* worker only */
	struct worker *worker;
	TAILQ_ENTRY(region) worker_link;
	bool listed;	      /* in worker::regions */
	int index;	      /* place in the table of registered files, or -1 */
	bool fixed;	      /* its files are in the table of registered files: */
	unsigned fixed_flags; /* those for these flags */
	unsigned next_stride;
	unsigned in_flight;
	bool stopped;	       /* start no further stride */
	uint64_t strides_done; /* bit n: stride n is copied */
	unsigned bad_stride; /* first stride that failed or met the end of file; n_strides: none */
	uint64_t bad_bytes;  /* bytes of it that were copied */
	int error;	     /* of bad_stride; 0: end of file */
};

/** A data region, PLANNED. @length is at most REGION_STRIDES_MAX strides. NULL: no memory. */
struct region *region_new(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			  uint64_t length);

/** A hole, ENDED. NULL: no memory. */
struct region *region_new_hole(struct file_copy *copy, uint64_t src_offset, uint64_t dst_offset,
			       uint64_t length);

/** Whether nothing more is to be begun: the job is cancelled, time is up, or an error lies before. */
bool region_must_stop(const struct region *region);

/** Whether there is a stride to start. Stops the region when its job is to end. */
bool region_wants_stride(struct region *region);
/** Whether as many are in flight as the region may have. */
bool region_is_busy(const struct region *region);

/** Starts its next stride in @chunk. */
struct chunk;
void region_start_stride(struct region *region, struct chunk *chunk);

/** Bytes from its beginning that are copied without a gap. ENDED only. */
uint64_t region_prefix(const struct region *region);

#endif /* ENGINE_REGION_H */
