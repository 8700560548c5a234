/* SPDX-License-Identifier: MIT */
/*
 * syncfs.c - see syncfs.h.
 *
 * A request belongs to the queue, then to its thread. syncfs_wait::request and syncfs_request::wait
 * point to each other until one side lets go, under the lock.
 */
#include "syncfs.h"

#include <assert.h>
#include <signal.h>
#include <unistd.h>

#include "arsync/base.h"
#include "job.h"

struct syncfs_request {
	TAILQ_ENTRY(syncfs_request) link; /* in the queue */
	int fd;
	/* protected by syncfs::lock */
	struct syncfs_wait *wait; /* NULL: nobody waits any more */
};

void syncfs_init(struct syncfs *pool)
{
	*pool = (struct syncfs){ .stopping = false };
	TAILQ_INIT(&pool->queue);
	pthread_mutex_init(&pool->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&pool->work, NULL);
}

void syncfs_destroy(struct syncfs *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	assert(TAILQ_EMPTY(&pool->queue));
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
}

static void request_free(struct syncfs_request *request)
{
	close_keep_errno(request->fd);
	free(request);
}

static void remove_locked(struct syncfs *pool, struct syncfs_request *request)
{
	TAILQ_REMOVE(&pool->queue, request, link);
	pool->n_queued--;
}

/* The next request that somebody waits for; NULL: it is time to stop. */
static struct syncfs_request *take(struct syncfs *pool)
{
	struct syncfs_request *request;

	pthread_mutex_lock(&pool->lock);
	while (TAILQ_EMPTY(&pool->queue) && !pool->stopping) {
		pool->n_idle++;
		pthread_cond_wait(&pool->work, &pool->lock);
		pool->n_idle--;
	}
	request = TAILQ_FIRST(&pool->queue);
	if (request)
		remove_locked(pool, request);
	pthread_mutex_unlock(&pool->lock);
	return request;
}

/* Takes whoever still waits off the request. */
static struct syncfs_wait *let_go(struct syncfs *pool, struct syncfs_request *request)
{
	struct syncfs_wait *wait;

	pthread_mutex_lock(&pool->lock);
	wait = TAKE_PTR(request->wait);
	if (wait)
		wait->request = NULL;
	pthread_mutex_unlock(&pool->lock);
	return wait;
}

static void *syncfs_main(void *argument)
{
	struct syncfs *pool = argument;
	struct syncfs_request *request;

	(void)pthread_setname_np(pthread_self(), "arsync-syncfs"); /* for humans only */
	while ((request = take(pool))) {
		int result = syncfs(request->fd) < 0 ? negative_errno() : 0;
		struct syncfs_wait *wait = let_go(pool, request);

		request_free(request);
		if (!wait)
			continue;
		wait->result = result;
		result = job_push(wait->job, wait->task, PUSH_FIRST, NULL);
		assert(result == 0); /* there is a worker: the one that has asked */
		(void)result;
	}
	return NULL;
}

/* One thread more, if there may be one. Signals are for the program's own threads. */
static int start_thread_locked(struct syncfs *pool)
{
	sigset_t all, old;
	int r;

	if (pool->n_threads == SYNCFS_THREADS_MAX)
		return 0; /* one of these will come */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&pool->threads[pool->n_threads], NULL, syncfs_main, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		pool->n_threads++;
	return pool->n_threads > 0 ? 0 : -r;
}

int syncfs_start(struct syncfs *pool, int fd, struct syncfs_wait *wait)
{
	struct syncfs_request *request = calloc(1, sizeof(*request));
	int r = 0;

	if (!request) {
		close_keep_errno(fd);
		return -ENOMEM;
	}
	request->fd = fd;
	request->wait = wait;
	pthread_mutex_lock(&pool->lock);
	if (pool->n_idle <= pool->n_queued)
		r = start_thread_locked(pool);
	if (r == 0) {
		wait->request = request;
		TAILQ_INSERT_TAIL(&pool->queue, request, link);
		pool->n_queued++;
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
	if (r < 0)
		request_free(request);
	return r;
}

bool syncfs_abandon(struct syncfs *pool, struct syncfs_wait *wait)
{
	struct syncfs_request *request, *queued;

	pthread_mutex_lock(&pool->lock);
	request = TAKE_PTR(wait->request);
	if (request)
		request->wait = NULL;
	TAILQ_FOREACH(queued, &pool->queue, link)
		if (queued == request)
			break;
	if (queued)
		remove_locked(pool, queued);
	pthread_mutex_unlock(&pool->lock);
	if (queued)
		request_free(queued); /* it is not even begun */
	return request != NULL;
}
