/* SPDX-License-Identifier: MIT */
/*
 * worker.h - one thread, one core, one ring.
 *
 * A worker takes tasks from the dispatcher while it has a free buffer, keeps its buffers busy with
 * the strides of the regions it has taken (in turn, so that regions share it evenly), waits once for
 * all of them, and runs the completions. All that belongs to it is made inside its own thread.
 *
 * Threads: everything here is for the worker's own thread (that is, from task::run, slot and region
 * callbacks), except worker_start(), worker_wake() and worker_stop().
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "arsync/cred.h"
#include "give_way.h"
#include "io_method.h"
#include "slot.h"

struct engine;
struct region;

#define WORKER_SLOTS_PER_CHUNK 64 /* small files that share one buffer */
#define WORKER_REGIONS_MAX 16	  /* regions a worker works on at once */

/*
 * Slots besides those of the buffers, for fsyncs, which need none: no further task is taken when
 * fewer are free than one task and what is under way can ask for.
 */
#define WORKER_SLOTS_EXTRA 256
#define WORKER_SLOTS_FREE_MIN 192

struct worker {
	/* set once */
	struct engine *engine;
	unsigned index;
	pthread_t thread;
	int wake_fd;

	/* protected by dispatcher::lock */
	bool waiting;
	unsigned load;	   /* see dispatcher_pop() */
	const void *place; /* task::place of what it has popped last, only to be compared */
	bool has_popped;
	bool will_pop; /* it is about to, without being woken */
	TAILQ_ENTRY(worker) waiting_link;

	/* worker only */
	const struct io_method *method;
	struct io *io;
	struct cred_thread cred;
	struct give_way give_way;
	struct cred *interrupted; /* by worker_be_daemon(): what was adopted; a reference */
	uint8_t *memory;	  /* of all chunks */
	struct chunk *chunks;
	unsigned n_chunks;
	unsigned n_free_chunks;
	unsigned n_slots;
	unsigned in_flight; /* slots that are not free */
	struct io_slot *slots;
	TAILQ_HEAD(, chunk) free_chunks;
	TAILQ_HEAD(, io_slot) free_slots;
	TAILQ_HEAD(, region)
	regions;	    /* those that have strides to start and may, next to be served first */
	unsigned n_regions; /* attached: those that only wait for completions included */
	bool region_indexes[WORKER_REGIONS_MAX]; /* places in the table of registered files */
};

/** Starts the thread. -errno of pthread_create(3) or eventfd(2). */
int worker_start(struct engine *engine, unsigned index, struct worker **ret);

/** Any thread. Ends the worker's wait. */
void worker_wake(struct worker *worker);

/** Ends the thread, which has nothing in flight, joins and frees it. The dispatcher is stopping. */
void worker_stop(struct worker *worker);

/**
 * Says that the worker is about to look for a task: for one who is going to push one from another
 * thread, because a job of this worker has ended, no further worker needs to be woken or started.
 */
void worker_will_look(struct worker *worker);

/** Makes the worker's thread the daemon for a while, whatever identity it has adopted, and back. */
void worker_be_daemon(struct worker *worker);
void worker_be_again(struct worker *worker);

/** Between two files of a tree: rests when others want the processor (give_way.h). */
void worker_give_way(struct worker *worker);

/** A free buffer, or NULL. */
struct chunk *worker_take_chunk(struct worker *worker);
/** For each slot that uses it; the last one frees it. */
void worker_put_chunk(struct worker *worker, struct chunk *chunk);

/** A free slot; there always is one, see WORKER_SLOTS_EXTRA. */
struct io_slot *worker_take_slot(struct worker *worker);

/** Gives a DONE slot back, and its hold on the buffer. */
void worker_put_slot(struct worker *worker, struct io_slot *slot);

/** Takes a slot and starts a copy operation or an fsync with it; slot::done is called later. */
void worker_start_copy(struct worker *worker, const struct slot_copy *copy);
void worker_start_fsync(struct worker *worker, const struct slot_fsync *fsync);

/** Attaches a region; its strides are started from now on, as buffers become free. */
void worker_attach_region(struct worker *worker, struct region *region);
/** Lists an attached region again: it has strides to start, and may. */
void worker_list_region(struct worker *worker, struct region *region);
/** Detaches a region that has nothing in flight. */
void worker_detach_region(struct worker *worker, struct region *region);

#endif /* ENGINE_WORKER_H */
