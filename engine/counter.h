/* SPDX-License-Identifier: MIT */
/*
 * counter.h - finding out how much a running job has to do.
 *
 * A tree copy walks depth first and knows its totals only when it is nearly done. For who wants to
 * see a percentage, one thread an engine walks ahead and counts, job after job; it is started when
 * first asked for, so that copies that nobody watches do not pay for it.
 */
#ifndef ENGINE_COUNTER_H
#define ENGINE_COUNTER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct job;

struct counter {
	pthread_mutex_t lock;
	pthread_cond_t work;
	/* protected by lock */
	pthread_t thread;
	bool has_thread;
	bool stopping;
	TAILQ_HEAD(, job) queue; /* a reference each; at most all jobs that run */
};

void counter_init(struct counter *counter);

/** When all jobs have ended. */
void counter_destroy(struct counter *counter);

/** Queues @job; takes a reference. -EAGAIN, -ENOMEM: there is no thread to count it. */
int counter_push(struct counter *counter, struct job *job);

#endif /* ENGINE_COUNTER_H */
