/* SPDX-License-Identifier: MIT */
/*
 * offload.c - threads that call copy_file_range(2); see offload.h.
 */
#include "offload.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"

/* Asked for at once: between two of these the copy can be cancelled and the clock is looked at. */
#define PIECE (4 * MIB)

void offload_init(struct offload *offload, struct engine *engine)
{
	*offload = (struct offload){ .engine = engine };
	TAILQ_INIT(&offload->queue);
	pthread_mutex_init(&offload->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&offload->work, NULL);
	pthread_cond_init(&offload->started, NULL);
}

void offload_destroy(struct offload *offload)
{
	pthread_mutex_lock(&offload->lock);
	assert(TAILQ_EMPTY(&offload->queue));
	offload->stopping = true;
	pthread_cond_broadcast(&offload->work);
	pthread_mutex_unlock(&offload->lock);
	for (unsigned i = 0; i < offload->n_threads; i++)
		pthread_join(offload->threads[i], NULL);
	pthread_cond_destroy(&offload->started);
	pthread_cond_destroy(&offload->work);
	pthread_mutex_destroy(&offload->lock);
}

bool offload_is_unsupported(int error)
{
	return error == -ENOSYS || error == -ENOTTY || error == -EOPNOTSUPP || error == -EXDEV;
}

bool offload_is_refusal(int error)
{
	if (offload_is_unsupported(error))
		return true;
	switch (error) {
	case -EINVAL:
	case -EPERM:
	case -EACCES:
	case -EBADF:
	case -ETXTBSY:
		return true;
	default:
		return false;
	}
}

static bool is_end_of_file(int fd, uint64_t offset)
{
	struct stat st;

	return fstat(fd, &st) == 0 && offset >= (uint64_t)st.st_size;
}

/* One call. 1: go on; 0: the source ends here; -errno, -EOPNOTSUPP when it should do more. */
static int copy_piece(struct region *region)
{
	const struct file_copy_spec *spec = &region->copy->spec;
	loff_t src = (loff_t)(region->src_offset + region->front);
	loff_t dst = (loff_t)(region->dst_offset + region->front);
	size_t length = (size_t)MIN(region->length - region->front, PIECE);
	ssize_t n = RETRY_EINTR(copy_file_range(spec->src_fd, &src, spec->dst_fd, &dst, length, 0));

	if (n < 0)
		return negative_errno();
	if (n == 0)
		return is_end_of_file(spec->src_fd, (uint64_t)src) ? 0 : -EOPNOTSUPP;
	region->front += (uint64_t)n;
	job_add_bytes(spec->job, (uint64_t)n);
	return 1;
}

static void copy_region(struct region *region, struct cred_thread *thread)
{
	int r = cred_adopt(thread, region->copy->spec.job->cred);

	region->started_ns = engine_now_ns();
	while (r >= 0 && region->front < region->length && !region_must_stop(region)) {
		r = copy_piece(region);
		if (r == 0)
			break;
	}
	region->error = MIN(r, 0);
	region->ended_ns = engine_now_ns();
}

static struct region *next_locked(struct offload *offload)
{
	struct region *region;

	while (TAILQ_EMPTY(&offload->queue) && !offload->stopping) {
		offload->n_idle++;
		pthread_cond_wait(&offload->work, &offload->lock);
		offload->n_idle--;
	}
	region = TAILQ_FIRST(&offload->queue);
	if (!region)
		return NULL;
	TAILQ_REMOVE(&offload->queue, region, offload_link);
	offload->n_queued--;
	return region;
}

static void run_region(struct region *region, struct cred_thread *thread, int init_error)
{
	int r;

	if (init_error < 0)
		region->error = init_error;
	else
		copy_region(region, thread);
	r = job_push(region->copy->spec.job, &region->task, PUSH_FIRST, NULL);
	/* A worker runs, for it has planned the region: it cannot be that none could be started. */
	assert(r == 0);
	(void)r;
}

static void *offload_main(void *argument)
{
	struct offload *offload = argument;
	struct cred_thread thread;
	struct region *region;
	int r = cred_thread_init(&thread, false);

	(void)pthread_setname_np(pthread_self(), "arsync-offload"); /* for humans only */
	for (;;) {
		pthread_mutex_lock(&offload->lock);
		region = next_locked(offload);
		pthread_mutex_unlock(&offload->lock);
		if (!region)
			break;
		run_region(region, &thread, r);
	}
	if (r == 0)
		cred_thread_destroy(&thread);
	return NULL;
}

/* Signals are for the program's own threads. */
static int create_thread(struct offload *offload, pthread_t *ret)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, NULL, offload_main, offload);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

/* Whether the calling thread is to start one more; it alone does so then. */
static bool wants_thread(struct offload *offload)
{
	bool wants;

	pthread_mutex_lock(&offload->lock);
	while (offload->starting && offload->n_threads == 0)
		pthread_cond_wait(&offload->started, &offload->lock);
	wants = !offload->starting && offload->n_queued >= offload->n_idle &&
		offload->n_threads < OFFLOAD_THREADS_MAX;
	if (wants)
		offload->starting = true;
	pthread_mutex_unlock(&offload->lock);
	return wants;
}

int offload_push(struct offload *offload, struct region *region)
{
	bool start = wants_thread(offload);
	pthread_t thread;
	int r = start ? create_thread(offload, &thread) : 0;

	pthread_mutex_lock(&offload->lock);
	if (start) {
		offload->starting = false;
		if (r == 0)
			offload->threads[offload->n_threads++] = thread;
		pthread_cond_broadcast(&offload->started);
	}
	if (offload->n_threads > 0) { /* the running ones serve it, only later */
		TAILQ_INSERT_TAIL(&offload->queue, region, offload_link);
		offload->n_queued++;
		pthread_cond_signal(&offload->work);
		r = 0;
	}
	pthread_mutex_unlock(&offload->lock);
	return r;
}
