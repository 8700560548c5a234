/* SPDX-License-Identifier: MIT */
/*
 * file_copy.h - one range of one file to another, by the cheapest way there is.
 *
 * The ladder: clone the range (reflink.c); what is left is mapped into holes and data (planner.c),
 * cut into regions, of which 2^depth are worked on at once (file_plan.c, region.c), each on the
 * route that suits it (route.c). The outcome is the
 * contiguous prefix that was copied; what lies beyond it in the destination is cut off again if the
 * copy had made the file longer.
 *
 * A file copy is one step of a job: of a copy_job, which is nothing else, or of a tree_job, which
 * has many.
 *
 * Threads: file_copy_start() on a worker; regions end on any worker; done() on the worker that
 * ended the last.
 */
#ifndef ENGINE_FILE_COPY_H
#define ENGINE_FILE_COPY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arsync/engine.h"
#include "pair.h"
#include "planner.h"
#include "region.h"
#include "resume.h"
#include "route.h"
#include "write_out.h"

struct file_copy;
struct job;
struct worker;

struct file_copy_result {
	int error; /* that ended the copy early; 0: none did (time may be up, or the source short) */
	uint64_t bytes; /* the contiguous prefix */
	uint64_t bytes_by_way[COPY_WAY_COUNT];
};

/* On a worker's thread, no lock held. May free the file_copy. */
typedef void (*file_copy_done_fn)(struct file_copy *copy, const struct file_copy_result *result,
				  struct worker *worker);

struct file_copy_spec {
	struct job *job;
	int src_fd; /* borrowed until done() */
	int dst_fd;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint64_t length;
	unsigned answer_within_ms; /* 0: to the end */
	enum engine_reflink reflink;
	bool fsync;	 /* when all of it is copied */
	bool push_first; /* its regions go before what the job has queued */
	file_copy_done_fn done;
};

struct file_copy {
	struct file_copy_spec
		spec; /* set once; length is clipped to the source by file_copy_start() */

	/* set by file_copy_start(), before anybody else looks */
	unsigned max_regions; /* data regions at once; 1 when space gets tight */
	uint32_t stride; /* that one slot copies of a region, at most; a multiple of the blocks */
	uint64_t soft_limit_ns;	    /* no further region is planned; 0: no limit */
	uint64_t hard_limit_ns;	    /* no further block is started */
	uint64_t dst_size;	    /* before the copy */
	const char *why_not_cloned; /* for the log */
	struct resume_point begin;
	struct route route;

	/* the thread that set planning */
	struct planner planner;
	uint64_t region_length;	   /* of the next region */
	uint64_t preallocated_end; /* destination offset; 0: nothing */
	bool preallocate_growth;   /* beyond dst_size: the file system gains by it */
	bool preallocate_inside;   /* within: the destination has holes */
	uint64_t ordered_end; /* destination offset up to which writing may fail, with no way back */
	bool is_tight;	      /* there is no more space: one region of one block at a time */

	pthread_mutex_t lock;
	/* protected by lock */
	TAILQ_HEAD(, region) regions; /* in order, from the prefix on */
	unsigned n_regions;	      /* in the list */
	unsigned n_running;	      /* of these, not ENDED */
	bool planning;		      /* a thread is in advance_locked(); at the end it stays set */
	bool again;		      /* something happened meanwhile: it must look again */
	bool planned;		      /* there is nothing more to plan, or nothing more wanted */
	uint64_t prefix;
	bool cut;	  /* the prefix has met its end: a region that is not whole */
	int error;	  /* that ended the prefix */
	int plan_error;	  /* that ended the planning; met only when the prefix gets there */
	uint64_t highest; /* destination: end of the furthest region, whole or not */
	uint64_t bytes_by_way[COPY_WAY_COUNT];
	struct write_out write_out; /* at the end */
	struct pair pair;	    /* what is known of the two file systems, and learned now */

	/* atomic */
	uint64_t limit; /* source offset: no block is started at or beyond it */
};

/** @copy is the caller's memory, until done(). */
void file_copy_init(struct file_copy *copy, const struct file_copy_spec *spec);
void file_copy_destroy(struct file_copy *copy);

/** Begins, on @worker's thread; done() may be called before it returns. */
void file_copy_start(struct file_copy *copy, struct worker *worker);

/** Is it enough? Never before something was copied. @copy is a file_copy: for reflink_range(). */
bool file_copy_want_stop(void *copy);

/** For regions: a block failed or met the end of file at this source offset. */
void file_copy_limit(struct file_copy *copy, uint64_t src_offset);
/** For regions: nothing is in flight and nothing more will be. */
void file_copy_region_ended(struct file_copy *copy, struct region *region, struct worker *worker);

#endif /* ENGINE_FILE_COPY_H */
