/* SPDX-License-Identifier: MIT */
/*
 * offload.h - regions that the backing file system copies by itself, with copy_file_range(2): on a
 * network file system the data does not leave the server.
 *
 * The call blocks, so it runs on threads of its own, which keep no ring waiting. They are started
 * when first needed, as many as there are regions, up to OFFLOAD_THREADS_MAX. A region that is done
 * comes back to a worker as its task.
 *
 * Threads: offload_push() from any; regions are touched by the offload thread only until their task
 * is queued.
 */
#ifndef ENGINE_OFFLOAD_H
#define ENGINE_OFFLOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "region.h"

struct engine;

#define OFFLOAD_THREADS_MAX 16

struct offload {
	/* set once */
	struct engine *engine;

	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t work;
	pthread_cond_t started; /* starting became false */
	/* protected by lock */
	TAILQ_HEAD(, region) queue; /* by region::offload_link */
	unsigned n_queued;
	unsigned n_idle;
	unsigned n_threads;
	pthread_t threads[OFFLOAD_THREADS_MAX];
	bool starting; /* a thread is being started; n_threads will grow */
	bool stopping;
};

void offload_init(struct offload *offload, struct engine *engine);
/** Ends and joins the threads. Nothing may be queued. */
void offload_destroy(struct offload *offload);

/**
 * Copies as much of @region as can be, then queues its task with its job. -EAGAIN and so on of
 * pthread_create(3): no thread runs and none could be started. Called as the daemon: a thread is
 * born with its creator's identity.
 */
int offload_push(struct offload *offload, struct region *region);

/** Whether by @error no file of this pair of file systems is copied by itself. */
bool offload_is_unsupported(int error);

/** Whether by @error the file system only says that it does not copy this by itself. */
bool offload_is_refusal(int error);

#endif /* ENGINE_OFFLOAD_H */
