/* SPDX-License-Identifier: MIT */
/*
 * waiting.c - a list by deadline and a thread; see waiting.h.
 */
#include "waiting.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "arsync/base.h"

struct waiting {
	/* Set once. */
	pthread_t thread;
	/* Under the lock: a leaf. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	TAILQ_HEAD(waiter_list, waiter) list; /* by deadline */
	bool stop;
};

uint64_t waiting_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t in(uint64_t ms)
{
	uint64_t now = waiting_now_ms();

	return ms > UINT64_MAX - now ? WAITING_FOREVER : now + ms;
}

/* Most come last: those of a kind wait equally long. */
static void link_locked(struct waiting *waiting, struct waiter *waiter)
{
	struct waiter *before = TAILQ_LAST(&waiting->list, waiter_list);

	while (before && waiter->deadline_ms < before->deadline_ms)
		before = TAILQ_PREV(before, waiter_list, link);
	if (before)
		TAILQ_INSERT_AFTER(&waiting->list, before, waiter, link);
	else
		TAILQ_INSERT_HEAD(&waiting->list, waiter, link);
	waiter->on_list = true;
	pthread_cond_signal(&waiting->changed);
}

static void unlink_locked(struct waiting *waiting, struct waiter *waiter)
{
	TAILQ_REMOVE(&waiting->list, waiter, link);
	waiter->on_list = false;
}

static void wait_for_first_locked(struct waiting *waiting)
{
	const struct waiter *first = TAILQ_FIRST(&waiting->list);
	struct timespec until;

	if (!first || first->deadline_ms == WAITING_FOREVER) {
		pthread_cond_wait(&waiting->changed, &waiting->lock);
		return;
	}
	until.tv_sec = (time_t)(first->deadline_ms / 1000);
	until.tv_nsec = (long)(first->deadline_ms % 1000) * 1000000;
	/* woken early: looks again */
	(void)pthread_cond_timedwait(&waiting->changed, &waiting->lock, &until);
}

/* The first that is due, off the list; NULL: it is time to stop. */
static struct waiter *take_due(struct waiting *waiting)
{
	struct waiter *due = NULL;

	pthread_mutex_lock(&waiting->lock);
	while (!waiting->stop && !due) {
		due = TAILQ_FIRST(&waiting->list);
		if (due && due->deadline_ms <= waiting_now_ms()) {
			unlink_locked(waiting, due);
		} else {
			due = NULL;
			wait_for_first_locked(waiting);
		}
	}
	pthread_mutex_unlock(&waiting->lock);
	return due;
}

static void *run(void *data)
{
	struct waiting *waiting = data;
	struct waiter *due;

	(void)pthread_setname_np(pthread_self(), "arsync-waiting"); /* for humans only */
	while ((due = take_due(waiting)))
		due->due(due);
	return NULL;
}

static void destroy(struct waiting *waiting)
{
	pthread_cond_destroy(&waiting->changed);
	pthread_mutex_destroy(&waiting->lock);
	free(waiting);
}

int waiting_new(struct waiting **ret)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));
	pthread_condattr_t attributes;
	int r;

	if (!waiting)
		return -ENOMEM;
	TAILQ_INIT(&waiting->list);
	pthread_mutex_init(&waiting->lock, NULL); /* never fails with default attributes */
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&waiting->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	r = -pthread_create(&waiting->thread, NULL, run, waiting);
	if (r < 0) {
		destroy(waiting);
		return r;
	}
	*ret = waiting;
	return 0;
}

void waiting_free(struct waiting *waiting)
{
	if (!waiting)
		return;
	pthread_mutex_lock(&waiting->lock);
	waiting->stop = true;
	pthread_cond_signal(&waiting->changed);
	pthread_mutex_unlock(&waiting->lock);
	(void)pthread_join(waiting->thread, NULL); /* ours, and joined once */
	assert(TAILQ_EMPTY(&waiting->list));
	destroy(waiting);
}

void waiting_prepare(struct waiter *waiter, void (*due)(struct waiter *waiter))
{
	*waiter = (struct waiter){ .due = due, .deadline_ms = WAITING_FOREVER };
}

void waiting_add(struct waiting *waiting, struct waiter *waiter, uint64_t ms)
{
	uint64_t deadline_ms = in(ms);

	pthread_mutex_lock(&waiting->lock);
	waiter->deadline_ms = MIN(waiter->deadline_ms, deadline_ms);
	link_locked(waiting, waiter);
	pthread_mutex_unlock(&waiting->lock);
}

bool waiting_claim(struct waiting *waiting, struct waiter *waiter)
{
	bool claimed;

	pthread_mutex_lock(&waiting->lock);
	claimed = waiter->on_list;
	if (claimed)
		unlink_locked(waiting, waiter);
	pthread_mutex_unlock(&waiting->lock);
	return claimed;
}

void waiting_hasten(struct waiting *waiting, struct waiter *waiter, uint64_t ms)
{
	uint64_t deadline_ms = in(ms);

	pthread_mutex_lock(&waiting->lock);
	if (deadline_ms < waiter->deadline_ms) {
		waiter->deadline_ms = deadline_ms;
		if (waiter->on_list) {
			unlink_locked(waiting, waiter);
			link_locked(waiting, waiter);
		}
	}
	pthread_mutex_unlock(&waiting->lock);
}
