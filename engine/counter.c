/* SPDX-License-Identifier: MIT */
/*
 * counter.c - the thread that counts; see counter.h.
 */
#include "counter.h"

#include <signal.h>

#include "arsync/base.h"
#include "job.h"

void counter_init(struct counter *counter)
{
	*counter = (struct counter){ .has_thread = false };
	TAILQ_INIT(&counter->queue);
	pthread_mutex_init(&counter->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&counter->work, NULL);
}

void counter_destroy(struct counter *counter)
{
	pthread_mutex_lock(&counter->lock);
	counter->stopping = true;
	pthread_cond_signal(&counter->work);
	pthread_mutex_unlock(&counter->lock);
	if (counter->has_thread)
		pthread_join(counter->thread, NULL);
	pthread_cond_destroy(&counter->work);
	pthread_mutex_destroy(&counter->lock);
}

/* The next job, with the queue's reference; NULL: it is time to stop. */
static struct job *take(struct counter *counter)
{
	struct job *job;

	pthread_mutex_lock(&counter->lock);
	while (TAILQ_EMPTY(&counter->queue) && !counter->stopping)
		pthread_cond_wait(&counter->work, &counter->lock);
	job = TAILQ_FIRST(&counter->queue);
	if (job)
		TAILQ_REMOVE(&counter->queue, job, counter_link);
	pthread_mutex_unlock(&counter->lock);
	return job;
}

static void *counter_main(void *argument)
{
	struct counter *counter = argument;
	struct cred_thread thread;
	struct job *job;
	int r = cred_thread_init(&thread, false);

	(void)pthread_setname_np(pthread_self(), "arsync-counter"); /* for humans only */
	while ((job = take(counter))) {
		/* Who cannot act as the job's user does not look; the totals stay estimates. */
		if (r == 0 && cred_adopt(&thread, job->cred) == 0)
			job_count(job);
		if (r == 0)
			(void)cred_adopt(&thread, NULL); /* the next cred_adopt() is checked */
		job_unref(job);
	}
	if (r == 0)
		cred_thread_destroy(&thread);
	return NULL;
}

/* Once an engine, so that others may wait for it. Signals are for the program's own threads. */
static int start_locked(struct counter *counter)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&counter->thread, NULL, counter_main, counter);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	counter->has_thread = r == 0;
	return -r;
}

int counter_push(struct counter *counter, struct job *job)
{
	int r;

	pthread_mutex_lock(&counter->lock);
	r = counter->has_thread ? 0 : start_locked(counter);
	if (r == 0) {
		job_ref(job);
		TAILQ_INSERT_TAIL(&counter->queue, job, counter_link);
		pthread_cond_signal(&counter->work);
	}
	pthread_mutex_unlock(&counter->lock);
	return r;
}
