/* SPDX-License-Identifier: MIT */
/*
 * jobs.c - the table: who is in it, who may see it, what is remembered of a job; see jobs.h.
 */
#include "jobs_private.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "arsync/base.h"

/* Bytes of failures' paths that are remembered of a job that has ended. */
#define FAILURES_SIZE_MAX (32 * 1024)

const char *jobs_state_name(enum jobs_state state)
{
	switch (state) {
	case JOBS_QUEUED:
		return "queued";
	case JOBS_RUNNING:
		return "running";
	case JOBS_CANCELLING:
		return "cancelling";
	case JOBS_DONE:
		return "done";
	case JOBS_FAILED:
		return "failed";
	case JOBS_CANCELLED:
		return "cancelled";
	}
	return "unknown";
}

bool jobs_state_is_final(enum jobs_state state)
{
	return state >= JOBS_DONE;
}

int jobs_new(unsigned live_max, struct waiting *waiting, struct jobs **ret)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));

	if (!jobs)
		return -ENOMEM;
	jobs->live_max = MIN(live_max, (unsigned)JOBS_LIVE_MAX);
	jobs->waiting = waiting;
	TAILQ_INIT(&jobs->live);
	TAILQ_INIT(&jobs->finished);
	pthread_mutex_init(&jobs->lock, NULL); /* never fails with default attributes */
	*ret = jobs;
	return 0;
}

void jobs_free(struct jobs *jobs)
{
	struct jobs_entry *entry;

	if (!jobs)
		return;
	assert(TAILQ_EMPTY(&jobs->live));
	while ((entry = TAILQ_FIRST(&jobs->finished))) {
		TAILQ_REMOVE(&jobs->finished, entry, link);
		jobs_unref(entry);
	}
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}

uint64_t jobs_id(const struct jobs_entry *entry)
{
	return entry->id;
}

int jobs_error(struct jobs *jobs, const struct jobs_entry *entry)
{
	int error;

	pthread_mutex_lock(&jobs->lock);
	error = entry->error;
	pthread_mutex_unlock(&jobs->lock);
	return error;
}

struct jobs_entry *jobs_ref(struct jobs_entry *entry)
{
	atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
	return entry;
}

static void failures_free(struct job_failure *failures, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)(uintptr_t)failures[i].path); /* failures_keep()'s */
	free(failures);
}

/*
 * A copy of the first failures of a job, which then may go. Without memory there are less. One that
 * could not even begin has none, but an error.
 */
static struct job_failure *failures_keep(struct job *job, int error, size_t *ret_n)
{
	struct job_failure *failures, *shrunk;
	size_t size = 0, n, kept;

	*ret_n = 0;
	if (error == 0)
		return NULL;
	failures = calloc(JOB_FAILURES_KEPT, sizeof(*failures));
	if (!failures)
		return NULL;
	n = job_get_failures(job, failures, JOB_FAILURES_KEPT);
	if (n == 0 && error != -ECANCELED)
		failures[n++] = (struct job_failure){ .path = "", .call = "", .error = error };
	for (kept = 0; kept < n; kept++) {
		size += strlen(failures[kept].path) + 1;
		failures[kept].path =
			kept > 0 && size > FAILURES_SIZE_MAX ? NULL : strdup(failures[kept].path);
		if (!failures[kept].path)
			break;
	}
	*ret_n = kept;
	shrunk = kept > 0 ? realloc(failures, kept * sizeof(*failures)) : NULL;
	return shrunk ? shrunk : failures;
}

void jobs_unref(struct jobs_entry *entry)
{
	if (!entry || atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) != 1)
		return;
	job_unref(entry->job);
	free(entry->source);
	free(entry->destination);
	free(entry->tag);
	failures_free(entry->failures, entry->n_failures);
	free(entry);
}

static int64_t wall_clock_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One reference is the table's, one the caller's. */
static struct jobs_entry *entry_new(const struct jobs_spec *spec)
{
	struct jobs_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	atomic_init(&entry->refs, 2);
	entry->uid = spec->uid;
	entry->background = spec->background;
	entry->source = strdup(spec->source);
	entry->destination = strdup(spec->destination);
	entry->tag = spec->tag ? strdup(spec->tag) : NULL;
	entry->submitted_ms = wall_clock_ms();
	TAILQ_INIT(&entry->watchers);
	if (entry->source && entry->destination && (entry->tag || !spec->tag)) {
		entry->job = job_ref(spec->job);
		return entry;
	}
	free(entry->source);
	free(entry->destination);
	free(entry->tag);
	free(entry);
	return NULL;
}

/* How the job has ended for its users. */
static void record_locked(struct jobs *jobs, struct jobs_entry *entry,
			  const struct job_result *result)
{
	job_get_progress(entry->job, &entry->last);
	entry->last.bytes = MAX(entry->last.bytes, result->bytes);
	entry->last.bytes_total = MAX(entry->last.bytes_total, entry->last.bytes);
	entry->error = result->error;
	if (result->error == 0)
		jobs_queue_set_state_locked(jobs, entry, JOBS_DONE);
	else if (result->error == -ECANCELED)
		jobs_queue_set_state_locked(jobs, entry, JOBS_CANCELLED);
	else
		jobs_queue_set_state_locked(jobs, entry, JOBS_FAILED);
}

TAILQ_HEAD(watcher_list, jobs_watcher);

/* @ret_watchers are to be told. Returns an entry that is to be forgotten, or NULL. */
static struct jobs_entry *finish_locked(struct jobs *jobs, struct jobs_entry *entry,
					const struct job_result *result,
					struct watcher_list *ret_watchers)
{
	struct jobs_entry *oldest = NULL;

	record_locked(jobs, entry, result);
	TAILQ_CONCAT(ret_watchers, &entry->watchers, link);
	TAILQ_REMOVE(&jobs->live, entry, link);
	TAILQ_INSERT_TAIL(&jobs->finished, entry, link);
	if (++jobs->n_finished > JOBS_FINISHED_MAX) {
		oldest = TAILQ_FIRST(&jobs->finished);
		TAILQ_REMOVE(&jobs->finished, oldest, link);
		LIST_REMOVE(oldest, bucket_link);
		jobs->n_finished--;
	}
	return oldest;
}

static void tell(struct watcher_list *watchers)
{
	struct jobs_watcher *watcher;

	while ((watcher = TAILQ_FIRST(watchers))) {
		TAILQ_REMOVE(watchers, watcher, link);
		watcher->ended(watcher);
	}
}

/* waiter::due, with the list's reference: a cancelled job that still runs has ended for its users. */
static void late_due(struct waiter *waiter)
{
	struct jobs_entry *entry = CONTAINER_OF(waiter, struct jobs_entry, late);
	struct watcher_list watchers = TAILQ_HEAD_INITIALIZER(watchers);
	struct jobs_entry *forgotten = NULL;
	struct jobs *jobs = entry->jobs;
	struct job_result result = { .error = 0 };

	pthread_mutex_lock(&jobs->lock);
	/* Else it has ended just now, or is about to, with success. */
	if (!jobs_state_is_final(entry->state))
		result.error = job_get_verdict(entry->job);
	if (result.error < 0)
		forgotten = finish_locked(jobs, entry, &result, &watchers);
	pthread_mutex_unlock(&jobs->lock);
	jobs_unref(forgotten);
	tell(&watchers);
	if (result.error < 0)
		jobs_queue_start_next(jobs);
	jobs_unref(entry);
}

void jobs_end(struct jobs *jobs, struct jobs_entry *entry, const struct job_result *result)
{
	size_t n_failures;
	/* Until it has ended, which is here, the entry has its job. */
	struct job_failure *failures = failures_keep(entry->job, result->error, &n_failures);
	struct watcher_list watchers = TAILQ_HEAD_INITIALIZER(watchers);
	struct jobs_entry *forgotten = NULL;
	struct job *job;

	pthread_mutex_lock(&jobs->lock);
	entry->failures = failures;
	entry->n_failures = n_failures;
	entry->directories = result->directories;
	entry->others = result->others;
	entry->published = result->published;
	if (!jobs_state_is_final(entry->state))
		forgotten = finish_locked(jobs, entry, result, &watchers);
	job = TAKE_PTR(entry->job);
	jobs->n_live--;
	pthread_mutex_unlock(&jobs->lock);
	if (waiting_claim(jobs->waiting, &entry->late))
		jobs_unref(entry);
	job_unref(job);
	jobs_unref(forgotten);
	tell(&watchers);
	jobs_queue_start_next(jobs);
}

/*
 * A user may have half of what the others leave: whoever comes next finds room. Root may have all of it.
 */
static bool has_room_locked(const struct jobs *jobs, uid_t uid)
{
	const struct jobs_entry *entry;
	unsigned own = 0, others;

	if (jobs->n_live >= jobs->live_max)
		return false;
	if (uid == 0)
		return true;
	TAILQ_FOREACH(entry, &jobs->live, link)
		own += entry->uid == uid;
	others = jobs->n_live - own;
	return own < MAX((jobs->live_max - others) / 2, 1u);
}

int jobs_add(struct jobs *jobs, const struct jobs_spec *spec, struct jobs_entry **ret)
{
	struct jobs_entry *entry = entry_new(spec);
	int r = 0;

	if (!entry)
		return -ENOMEM;
	entry->jobs = jobs;
	waiting_prepare(&entry->late, late_due);
	pthread_mutex_lock(&jobs->lock);
	if (jobs->stopping) {
		r = -ESHUTDOWN;
	} else if (!has_room_locked(jobs, spec->uid)) {
		r = -EBUSY; /* not EAGAIN, of which the kernel's setxattr(2) makes EOPNOTSUPP */
	} else {
		entry->id = ++jobs->last_id;
		jobs->n_live++;
		TAILQ_INSERT_TAIL(&jobs->live, entry, link);
		LIST_INSERT_HEAD(&jobs->buckets[entry->id % JOBS_BUCKETS], entry, bucket_link);
	}
	pthread_mutex_unlock(&jobs->lock);
	if (r < 0) {
		jobs_unref(entry);
		jobs_unref(entry);
		return r;
	}
	*ret = entry;
	return 0;
}

void jobs_start(struct jobs *jobs, struct jobs_entry *entry)
{
	if (entry->background)
		jobs_queue_start_next(jobs);
	else
		jobs_queue_start_now(jobs, entry, false);
}

void jobs_cancel_entry(struct jobs *jobs, struct jobs_entry *entry)
{
	jobs_queue_start_now(jobs, entry, true);
}

static struct jobs_entry *find_locked(struct jobs *jobs, uint64_t id)
{
	struct jobs_entry *entry;

	LIST_FOREACH(entry, &jobs->buckets[id % JOBS_BUCKETS], bucket_link)
		if (entry->id == id)
			return entry;
	return NULL;
}

static bool may_see(const struct jobs_entry *entry, uid_t uid)
{
	return uid == 0 || entry->uid == uid;
}

int jobs_cancel(struct jobs *jobs, uint64_t id, uid_t uid)
{
	struct jobs_entry *entry;
	int r = 0;

	pthread_mutex_lock(&jobs->lock);
	entry = find_locked(jobs, id);
	if (!entry)
		r = -ESRCH;
	else if (!may_see(entry, uid))
		r = -EPERM;
	else if (jobs_state_is_final(entry->state))
		r = -ESRCH;
	else
		jobs_ref(entry);
	pthread_mutex_unlock(&jobs->lock);
	if (r < 0)
		return r;
	jobs_cancel_entry(jobs, entry);
	jobs_unref(entry);
	return 0;
}

void jobs_stop(struct jobs *jobs)
{
	struct jobs_entry *entry;

	do {
		pthread_mutex_lock(&jobs->lock);
		jobs->stopping = true;
		TAILQ_FOREACH(entry, &jobs->live, link)
			if (entry->state == JOBS_QUEUED || entry->state == JOBS_RUNNING)
				break;
		if (entry)
			jobs_ref(entry);
		pthread_mutex_unlock(&jobs->lock);
		if (entry)
			jobs_cancel_entry(jobs, entry);
		jobs_unref(entry);
	} while (entry);
}

struct jobs_entry *jobs_find(struct jobs *jobs, uint64_t id, uid_t uid)
{
	struct jobs_entry *entry;

	pthread_mutex_lock(&jobs->lock);
	entry = find_locked(jobs, id);
	if (entry)
		entry = may_see(entry, uid) ? jobs_ref(entry) : NULL;
	pthread_mutex_unlock(&jobs->lock);
	return entry;
}

static int higher_first(const void *a, const void *b)
{
	const struct jobs_entry *left = *(struct jobs_entry *const *)a;
	const struct jobs_entry *right = *(struct jobs_entry *const *)b;

	return left->id < right->id ? 1 : left->id > right->id ? -1 : 0;
}

int jobs_list(struct jobs *jobs, uid_t uid, uint64_t before, struct jobs_entry ***ret,
	      size_t *ret_n)
{
	struct jobs_entry **list = calloc(JOBS_LIVE_MAX + JOBS_FINISHED_MAX, sizeof(*list));
	struct jobs_entry *entry;
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	pthread_mutex_lock(&jobs->lock);
	TAILQ_FOREACH_REVERSE(entry, &jobs->live, jobs_entry_list, link)
		if (may_see(entry, uid) && (before == 0 || entry->id < before))
			list[n++] = jobs_ref(entry);
	TAILQ_FOREACH_REVERSE(entry, &jobs->finished, jobs_entry_list, link)
		if (may_see(entry, uid) && (before == 0 || entry->id < before))
			list[n++] = jobs_ref(entry);
	pthread_mutex_unlock(&jobs->lock);
	if (before != 0 && n > 0)
		qsort(list, n, sizeof(*list), higher_first);
	*ret = list;
	*ret_n = n;
	return 0;
}

void jobs_list_free(struct jobs_entry **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs_unref(list[i]);
	free(list);
}

bool jobs_watch(struct jobs *jobs, struct jobs_entry *entry, struct jobs_watcher *watcher)
{
	bool lives;

	pthread_mutex_lock(&jobs->lock);
	lives = !jobs_state_is_final(entry->state);
	if (lives)
		TAILQ_INSERT_TAIL(&entry->watchers, watcher, link);
	pthread_mutex_unlock(&jobs->lock);
	return lives;
}

bool jobs_unwatch(struct jobs *jobs, struct jobs_entry *entry, struct jobs_watcher *watcher)
{
	struct jobs_watcher *other;

	pthread_mutex_lock(&jobs->lock);
	TAILQ_FOREACH(other, &entry->watchers, link)
		if (other == watcher)
			break;
	if (other)
		TAILQ_REMOVE(&entry->watchers, watcher, link);
	pthread_mutex_unlock(&jobs->lock);
	return other != NULL;
}
