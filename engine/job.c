/* SPDX-License-Identifier: MIT */
/*
 * job.c - the life of a job; see job.h.
 */
#include "job.h"

#include <assert.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "worker.h"

/* The only place where a job's state changes. */
static void set_state_locked(struct job *job, enum job_state state)
{
	assert((int)state == (int)job->state + 1);
	job->state = state;
}

static void run_first_task(struct task *task, struct worker *worker)
{
	struct job *job = CONTAINER_OF(task, struct job, first_task);

	job->ops->run(job, worker);
}

int job_init(struct job *job, const struct job_setup *setup)
{
	struct engine *engine = setup->engine;
	bool draining;

	pthread_mutex_lock(&engine->lock);
	draining = engine->draining;
	pthread_mutex_unlock(&engine->lock);
	if (draining)
		return -ESHUTDOWN;
	job->engine = engine;
	job->ops = setup->ops;
	job->cred = cred_ref(setup->cred);
	job->done = setup->done;
	job->userdata = setup->userdata;
	job->first_task.run = run_first_task;
	job->state = JOB_PREPARED;
	job->refs = 1;
	task_queue_init(&job->queue);
	return 0;
}

struct job *job_ref(struct job *job)
{
	__atomic_add_fetch(&job->refs, 1, __ATOMIC_RELAXED);
	return job;
}

void job_unref(struct job *job)
{
	if (!job || __atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	cred_unref(job->cred);
	job->ops->free(job);
}

void job_start(struct job *job)
{
	struct engine *engine = job->engine;
	struct job_result result = { .failed_path = "", .failed_call = "" };
	bool draining;
	int r;

	job_ref(job); /* the engine's, until job_end() */
	pthread_mutex_lock(&engine->lock);
	set_state_locked(job, JOB_RUNNING);
	TAILQ_INSERT_TAIL(&engine->running, job, link);
	draining = engine->draining;
	pthread_mutex_unlock(&engine->lock);
	if (draining)
		job_cancel(job);
	__atomic_add_fetch(&engine->jobs_started, 1, __ATOMIC_RELAXED);

	r = job_push(job, &job->first_task, PUSH_LAST, NULL);
	if (r < 0) {
		result.error = r;
		job_end(job, &result, NULL);
	}
}

static bool decide(struct job *job, enum job_fate fate)
{
	int open = JOB_FATE_OPEN;

	return __atomic_compare_exchange_n(&job->fate, &open, fate, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

void job_cancel(struct job *job)
{
	if (!decide(job, JOB_FATE_CANCELLED))
		return;
	job_set_verdict(job, -ECANCELED);
	if (job->ops->cancelled)
		job->ops->cancelled(job);
}

bool job_is_cancelled(const struct job *job)
{
	return __atomic_load_n(&job->fate, __ATOMIC_RELAXED) == JOB_FATE_CANCELLED;
}

bool job_is_open(const struct job *job)
{
	return __atomic_load_n(&job->fate, __ATOMIC_RELAXED) == JOB_FATE_OPEN;
}

bool job_commit(struct job *job)
{
	return decide(job, JOB_FATE_COMMITTED);
}

void job_set_verdict(struct job *job, int error)
{
	int open = 0;

	/* A second one comes too late. */
	(void)__atomic_compare_exchange_n(&job->verdict, &open, error, false, __ATOMIC_RELEASE,
					  __ATOMIC_RELAXED);
}

int job_get_verdict(const struct job *job)
{
	int verdict = __atomic_load_n(&job->verdict, __ATOMIC_ACQUIRE);

	/* job_cancel() has decided, and is about to say so. */
	return verdict == 0 && job_is_cancelled(job) ? -ECANCELED : verdict;
}

int job_push(struct job *job, struct task *task, enum push_where where, struct worker *self)
{
	return dispatcher_push(&job->engine->dispatcher, &job->queue, task, where, self);
}

static void count_end(struct engine *engine, int error)
{
	__atomic_add_fetch(&engine->jobs_ended, 1, __ATOMIC_RELAXED);
	if (error == -ECANCELED)
		__atomic_add_fetch(&engine->jobs_cancelled, 1, __ATOMIC_RELAXED);
	else if (error < 0)
		__atomic_add_fetch(&engine->jobs_failed, 1, __ATOMIC_RELAXED);
}

void job_end(struct job *job, const struct job_result *result, struct worker *worker)
{
	struct engine *engine = job->engine;

	__atomic_store_n(&job->ended, true, __ATOMIC_RELEASE);
	count_end(engine, result->error);
	if (worker)
		worker_will_look(worker); /* who asks for the next piece need not wake another */
	job->done(job, result, job->userdata);

	pthread_mutex_lock(&engine->lock);
	set_state_locked(job, JOB_ENDED);
	TAILQ_REMOVE(&engine->running, job, link);
	if (TAILQ_EMPTY(&engine->running))
		pthread_cond_broadcast(&engine->none_running);
	pthread_mutex_unlock(&engine->lock);
	job_unref(job);
}

void job_add_bytes(struct job *job, uint64_t bytes)
{
	__atomic_add_fetch(&job->bytes, bytes, __ATOMIC_RELAXED);
}

void job_add_verified(struct job *job, uint64_t bytes)
{
	__atomic_add_fetch(&job->bytes_verified, bytes, __ATOMIC_RELAXED);
}

void job_count(struct job *job)
{
	if (job->ops->count(job) == 0)
		__atomic_store_n(&job->counted, true, __ATOMIC_RELEASE);
}

void job_want_totals(struct job *job)
{
	if (!job->ops->count || __atomic_exchange_n(&job->wants_count, true, __ATOMIC_RELAXED))
		return;
	/* Without a thread the totals stay what the copy itself has met. */
	(void)counter_push(&job->engine->counter, job);
}

static uint64_t most(uint64_t done, const uint64_t *met, const uint64_t *ahead)
{
	uint64_t total = __atomic_load_n(met, __ATOMIC_RELAXED);

	total = MAX(total, __atomic_load_n(ahead, __ATOMIC_RELAXED));
	return MAX(total, done);
}

void job_get_progress(const struct job *job, struct job_progress *ret)
{
	ret->ended = __atomic_load_n(&job->ended, __ATOMIC_ACQUIRE);
	ret->totals_known = ret->ended || !job->ops->count ||
			    __atomic_load_n(&job->counted, __ATOMIC_ACQUIRE);
	ret->bytes = __atomic_load_n(&job->bytes, __ATOMIC_RELAXED);
	ret->bytes_skipped = __atomic_load_n(&job->bytes_skipped, __ATOMIC_RELAXED);
	ret->bytes_total =
		most(ret->bytes + ret->bytes_skipped, &job->bytes_total, &job->bytes_ahead);
	ret->verifies = job->verifies;
	ret->bytes_verified =
		job->verifies ? __atomic_load_n(&job->bytes_verified, __ATOMIC_RELAXED) : 0;
	ret->files = __atomic_load_n(&job->files, __ATOMIC_RELAXED);
	ret->files_skipped = __atomic_load_n(&job->files_skipped, __ATOMIC_RELAXED);
	ret->files_total =
		most(ret->files + ret->files_skipped, &job->files_total, &job->files_ahead);
	ret->failures = __atomic_load_n(&job->failures, __ATOMIC_RELAXED);
	ret->skipped = __atomic_load_n(&job->skipped, __ATOMIC_RELAXED);
}

size_t job_get_failures(struct job *job, struct job_failure *failures, size_t size)
{
	return job->ops->get_failures ? job->ops->get_failures(job, failures, size) : 0;
}
