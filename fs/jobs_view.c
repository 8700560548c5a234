/* SPDX-License-Identifier: MIT */
/*
 * jobs_view.c - see jobs_view.h.
 */
#include "jobs_view.h"

#include <string.h>

#include "arsync/base.h"
#include "jobs_private.h"
#include "waiting.h"

#define COUNT_AFTER_MS 500 /* shorter jobs are not worth to be counted */
#define SAMPLE_MS 500	   /* at least between two looks that make a rate */
#define WEIGHT_OF_LATE 0.5 /* of the last sample in a rate */

static double smooth(double before, uint64_t done, uint64_t ms)
{
	double now = (double)done * 1000 / (double)ms;

	return before > 0 ? before + WEIGHT_OF_LATE * (now - before) : now;
}

/* Bytes that were copied, or read again: both take their time. */
static uint64_t handled(const struct job_progress *progress)
{
	return progress->bytes + progress->bytes_verified;
}

static void sample_locked(struct jobs_entry *entry, const struct job_progress *progress,
			  uint64_t now)
{
	uint64_t ms = now - entry->sample.at_ms;

	if (ms < SAMPLE_MS)
		return;
	entry->sample.bytes_rate =
		smooth(entry->sample.bytes_rate, handled(progress) - entry->sample.bytes, ms);
	entry->sample.files_rate =
		smooth(entry->sample.files_rate, progress->files - entry->sample.files, ms);
	entry->sample.at_ms = now;
	entry->sample.bytes = handled(progress);
	entry->sample.files = progress->files;
}

/* What takes longer, the bytes or the files. */
static int64_t eta(const struct jobs_entry *entry, const struct job_progress *progress)
{
	double bytes = (double)(progress->bytes_total - progress->bytes_skipped);
	double bytes_left = (progress->verifies ? 2 * bytes : bytes) - (double)handled(progress);
	double files_left =
		(double)(progress->files_total - progress->files_skipped) - (double)progress->files;
	double bytes_rate = entry->sample.bytes_rate, files_rate = entry->sample.files_rate;
	double seconds = 0;

	if (!progress->totals_known || (bytes_rate <= 0 && files_rate <= 0))
		return -1;
	if (bytes_rate > 0)
		seconds = bytes_left / bytes_rate;
	if (files_rate > 0)
		seconds = MAX(seconds, files_left / files_rate);
	return seconds < 1e9 ? (int64_t)(seconds * 1000) : -1;
}

/* True: somebody should count what there is to do. */
static bool look_locked(struct jobs_entry *entry, struct jobs_view *ret)
{
	struct job_progress progress = entry->last;
	uint64_t now = waiting_now_ms();
	bool final = jobs_state_is_final(entry->state);

	if (!final)
		job_get_progress(entry->job, &progress);
	*ret = (struct jobs_view){
		.id = entry->id,
		.uid = entry->uid,
		.state = entry->state,
		.background = entry->background,
		.source = entry->source,
		.destination = entry->destination,
		.tag = entry->tag,
		.bytes = progress.bytes,
		.bytes_total = progress.bytes_total,
		.files = progress.files,
		.files_total = progress.files_total,
		.directories = entry->directories,
		.others = entry->others,
		.published = entry->published,
		.skipped = progress.skipped,
		.files_skipped = progress.files_skipped,
		.bytes_skipped = progress.bytes_skipped,
		.n_failures = progress.failures,
		.n_kept = entry->n_failures,
		.verifies = progress.verifies,
		.bytes_verified = progress.bytes_verified,
		.removing = final && entry->job,
		.totals_known = progress.totals_known,
		.eta_ms = final ? 0 : -1,
		.submitted_ms = entry->submitted_ms,
		.error = entry->error,
		.job = entry->job ? job_ref(entry->job) : NULL,
	};
	if (entry->n_failures > 0)
		memcpy(ret->failures, entry->failures,
		       entry->n_failures * sizeof(*entry->failures));
	if (entry->state == JOBS_QUEUED)
		return false;
	ret->elapsed_ms = (final ? entry->ended_ms : now) - entry->started_ms;
	if (!final) {
		sample_locked(entry, &progress, now);
		ret->rate = (uint64_t)entry->sample.bytes_rate;
		ret->eta_ms = eta(entry, &progress);
	}
	if (ret->rate == 0)
		ret->rate = (final ? progress.bytes : handled(&progress)) * 1000 /
			    MAX(ret->elapsed_ms, UINT64_C(1));
	return entry->state == JOBS_RUNNING && !progress.totals_known &&
	       ret->elapsed_ms >= COUNT_AFTER_MS;
}

void jobs_view_get(struct jobs *jobs, struct jobs_entry *entry, struct jobs_view *ret)
{
	bool want_totals;

	pthread_mutex_lock(&jobs->lock);
	want_totals = look_locked(entry, ret);
	pthread_mutex_unlock(&jobs->lock);
	if (want_totals)
		job_want_totals(ret->job);
	if (ret->job)
		ret->n_kept = job_get_failures(ret->job, ret->failures, JOB_FAILURES_KEPT);
}

void jobs_view_destroy(struct jobs_view *view)
{
	job_unref(view->job);
}
