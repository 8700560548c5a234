/* SPDX-License-Identifier: MIT */
/*
 * jobs_queue.c - which job runs: at once, or when it is its turn; see jobs.h and jobs_private.h.
 *
 * The queue is the live jobs in the background that are JOBS_QUEUED. JOBS_BACKGROUND_MAX run at once;
 * the next one is whose user has the fewest running, and of these the one that waits longest.
 */
#include "jobs_private.h"

#include <assert.h>

void jobs_queue_set_state_locked(struct jobs *jobs, struct jobs_entry *entry, enum jobs_state state)
{
	switch (state) {
	case JOBS_QUEUED:
		assert(false); /* how it begins */
		break;
	case JOBS_RUNNING:
		assert(entry->state == JOBS_QUEUED);
		entry->started_ms = entry->sample.at_ms = waiting_now_ms();
		jobs->n_background += entry->background;
		break;
	case JOBS_CANCELLING:
		assert(entry->state == JOBS_RUNNING);
		jobs_ref(entry); /* the list's */
		waiting_add(jobs->waiting, &entry->late, JOBS_CANCEL_MS);
		break;
	case JOBS_DONE:
	case JOBS_FAILED:
	case JOBS_CANCELLED:
		assert(entry->state == JOBS_RUNNING || entry->state == JOBS_CANCELLING);
		entry->ended_ms = waiting_now_ms();
		jobs->n_background -= entry->background;
		break;
	}
	entry->state = state;
}

static unsigned count_running_locked(const struct jobs *jobs, uid_t uid)
{
	const struct jobs_entry *entry;
	unsigned n = 0, seen = 0;

	TAILQ_FOREACH(entry, &jobs->live, link) {
		if (seen == jobs->n_background)
			break;
		if (!entry->background || entry->state == JOBS_QUEUED)
			continue;
		seen++;
		n += entry->uid == uid;
	}
	return n;
}

/* Of those who have the fewest running, the one that waits longest. */
static struct jobs_entry *next_locked(struct jobs *jobs)
{
	struct jobs_entry *entry, *best = NULL;
	unsigned n, fewest = JOBS_BACKGROUND_MAX;

	if (jobs->n_background >= JOBS_BACKGROUND_MAX)
		return NULL;
	TAILQ_FOREACH(entry, &jobs->live, link) {
		if (entry->state != JOBS_QUEUED || !entry->background ||
		    (best && entry->uid == best->uid))
			continue;
		n = count_running_locked(jobs, entry->uid);
		if (n < fewest) {
			best = entry;
			fewest = n;
		}
		if (n == 0)
			break;
	}
	return best;
}

void jobs_queue_start_next(struct jobs *jobs)
{
	struct jobs_entry *entry;
	struct job *job;

	do {
		job = NULL;
		pthread_mutex_lock(&jobs->lock);
		entry = next_locked(jobs);
		if (entry) {
			jobs_queue_set_state_locked(jobs, entry, JOBS_RUNNING);
			job = job_ref(entry->job);
		}
		pthread_mutex_unlock(&jobs->lock);
		if (job)
			job_start(job);
		job_unref(job);
	} while (entry);
}

void jobs_queue_start_now(struct jobs *jobs, struct jobs_entry *entry, bool cancelled)
{
	struct job *job = NULL;
	bool start;

	pthread_mutex_lock(&jobs->lock);
	if (entry->job)
		job = job_ref(entry->job);
	pthread_mutex_unlock(&jobs->lock);
	if (job && cancelled)
		job_cancel(
			job); /* before its time begins to run, at whose end there must be a verdict */

	pthread_mutex_lock(&jobs->lock);
	start = entry->state == JOBS_QUEUED;
	if (start)
		jobs_queue_set_state_locked(jobs, entry, JOBS_RUNNING);
	if (cancelled && entry->state == JOBS_RUNNING)
		jobs_queue_set_state_locked(jobs, entry, JOBS_CANCELLING);
	pthread_mutex_unlock(&jobs->lock);
	if (job && start)
		job_start(job); /* a cancelled one ends without a byte copied */
	job_unref(job);
}
