/* SPDX-License-Identifier: MIT */
/*
 * syncfs.h - syncfs(2) beside the workers: it takes as long as a disk needs for all that is dirty, and nothing
 * ends it before.
 *
 * Who waits is told by a task, as soon as it is done, or is not told because it has given up
 * (syncfs_abandon()). What nobody waits for any more goes on in its thread; syncfs_destroy() waits for it.
 *
 * Threads: any. Started when first needed, up to SYNCFS_THREADS_MAX.
 */
#ifndef ENGINE_SYNCFS_H
#define ENGINE_SYNCFS_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "dispatcher.h"

#define SYNCFS_THREADS_MAX 8

struct job;
struct syncfs_request;

struct syncfs {
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t work;
	/* protected by lock */
	TAILQ_HEAD(, syncfs_request) queue;
	unsigned n_queued;
	unsigned n_idle; /* threads that wait for work */
	unsigned n_threads;
	pthread_t threads[SYNCFS_THREADS_MAX];
	bool stopping;
};

/* Who waits; in the memory of what waits, zero in the beginning. */
struct syncfs_wait {
	/* set by the caller before syncfs_start() */
	struct job *job; /* lives as long as it waits */
	struct task *task;
	/* protected by syncfs::lock */
	struct syncfs_request *request; /* NULL: nothing is waited for */
	/* set before the task is queued */
	int result; /* 0 or -errno */
};

void syncfs_init(struct syncfs *pool);
/** Ends the threads, when they are done. Nobody may wait any more. */
void syncfs_destroy(struct syncfs *pool);

/**
 * Syncs the file system of @fd, then queues the task. Takes ownership of @fd, in any case. Called as the
 * daemon: a thread is born with its creator's identity. -ENOMEM; -errno of pthread_create(3).
 */
int syncfs_start(struct syncfs *pool, int fd, struct syncfs_wait *wait);

/** True: the task will not be queued, and is the caller's to queue. False: it was, or nobody waits. */
bool syncfs_abandon(struct syncfs *pool, struct syncfs_wait *wait);

#endif /* ENGINE_SYNCFS_H */
