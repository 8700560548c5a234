/* SPDX-License-Identifier: MIT */
/*
 * test_jobs.c - the table of jobs, and its JSON, with jobs that are none: the engine's functions are
 * replaced.
 */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

#include "arsync/base.h"
#include "job_json.h"
#include "jobs.h"
#include "jobs_view.h"
#include "json.h"
#include "waiting.h"

#define ALICE 1000
#define BOB 1001
#define CAROL 1002

struct job {
	unsigned refs;
	unsigned started;
	unsigned cancelled;
	unsigned wants_totals;
	unsigned cancel_takes_ms; /* 0: and there is no verdict by it */
	int verdict;		  /* atomic */
	struct job_progress progress;
	const struct job_failure *failures;
	size_t n_failures;
};

struct job *__wrap_job_ref(struct job *job);
void __wrap_job_unref(struct job *job);
void __wrap_job_start(struct job *job);
void __wrap_job_cancel(struct job *job);
void __wrap_job_get_progress(const struct job *job, struct job_progress *ret);
size_t __wrap_job_get_failures(struct job *job, struct job_failure *failures, size_t size);
int __wrap_job_get_verdict(const struct job *job);
void __wrap_job_want_totals(struct job *job);

struct job *__wrap_job_ref(struct job *job)
{
	job->refs++;
	return job;
}

void __wrap_job_unref(struct job *job)
{
	if (job)
		job->refs--;
}

void __wrap_job_start(struct job *job)
{
	job->started++;
}

void __wrap_job_cancel(struct job *job)
{
	job->cancelled++;
	if (job->cancel_takes_ms == 0)
		return;
	(void)usleep(job->cancel_takes_ms * 1000); /* an interrupted sleep proves less */
	__atomic_store_n(&job->verdict, -ECANCELED, __ATOMIC_RELAXED);
}

void __wrap_job_get_progress(const struct job *job, struct job_progress *ret)
{
	*ret = job->progress;
}

size_t __wrap_job_get_failures(struct job *job, struct job_failure *failures, size_t size)
{
	size_t n = MIN(size, job->n_failures);

	if (n > 0)
		memcpy(failures, job->failures, n * sizeof(*failures));
	return n;
}

int __wrap_job_get_verdict(const struct job *job)
{
	return __atomic_load_n(&job->verdict, __ATOMIC_RELAXED);
}

void __wrap_job_want_totals(struct job *job)
{
	job->wants_totals++;
}

#define N_JOBS 2000

struct fixture {
	struct waiting *waiting;
	struct jobs *jobs;
	struct job job[N_JOBS];
	struct jobs_entry *entry[N_JOBS];
	size_t n;
	char *text;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return f && waiting_new(&f->waiting) == 0 && jobs_new(1500, f->waiting, &f->jobs) == 0 ? 0 :
												 -1;
}

static const struct job_result good = { .failed_path = "", .failed_call = "" };

static bool has_ended(struct fixture *f, size_t i)
{
	struct jobs_view view;

	jobs_view_get(f->jobs, f->entry[i], &view);
	jobs_view_destroy(&view);
	return jobs_state_is_final(view.state);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n; i++) {
		if (!has_ended(f, i)) {
			jobs_cancel_entry(f->jobs, f->entry[i]);
			jobs_end(f->jobs, f->entry[i], &good);
		}
		jobs_unref(f->entry[i]);
	}
	waiting_free(f->waiting);
	jobs_free(f->jobs);
	for (size_t i = 0; i < f->n; i++)
		if (f->job[i].refs != 0)
			return -1;
	free(f->text);
	free(f);
	return 0;
}

static int add(struct fixture *f, uid_t uid, bool background)
{
	const struct jobs_spec spec = {
		.uid = uid,
		.source = "source",
		.destination = "destination",
		.background = background,
		.job = &f->job[f->n],
	};
	int r = jobs_add(f->jobs, &spec, &f->entry[f->n]);

	if (r == 0)
		f->n++;
	return r;
}

static void add_and_start(struct fixture *f, uid_t uid, bool background)
{
	assert_int_equal(add(f, uid, background), 0);
	jobs_start(f->jobs, f->entry[f->n - 1]);
}

static enum jobs_state state_of(struct fixture *f, size_t i)
{
	struct jobs_view view;

	jobs_view_get(f->jobs, f->entry[i], &view);
	jobs_view_destroy(&view);
	return view.state;
}

static void test_start_runs_those_that_are_waited_for_at_once(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 2; i++)
		add_and_start(f, ALICE, true);
	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 2; i++)
		assert_int_equal(f->job[i].started, i < JOBS_BACKGROUND_MAX);
	add_and_start(f, ALICE, false);
	assert_int_equal(f->job[f->n - 1].started, 1);
	assert_int_equal(state_of(f, JOBS_BACKGROUND_MAX), JOBS_QUEUED);
}

static void test_end_starts_the_next_in_order(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 2; i++)
		add_and_start(f, ALICE, true);
	jobs_end(f->jobs, f->entry[1], &good);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX].started, 1);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX + 1].started, 0);
	assert_int_equal(state_of(f, 1), JOBS_DONE);
}

/* A user's one job does not wait behind all of another's. */
static void test_end_starts_whoever_has_the_fewest(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 20; i++)
		add_and_start(f, ALICE, true);
	add_and_start(f, BOB, true);
	assert_int_equal(f->job[20].started, 0);
	jobs_end(f->jobs, f->entry[0], &good);
	assert_int_equal(f->job[20].started, 1);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX].started, 0);
}

static void test_add_refuses_too_many(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 1500; i++)
		assert_int_equal(add(f, 0, true), 0);
	assert_int_equal(add(f, BOB, false), -EBUSY);
	assert_int_equal(f->job[1500].refs, 0);
	jobs_start(f->jobs, f->entry[0]);
	jobs_end(f->jobs, f->entry[0], &good);
	assert_int_equal(add(f, BOB, false), 0);
}

/* Nobody fills the table so that others cannot copy any more. */
static void test_add_leaves_room_for_others(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 750; i++)
		assert_int_equal(add(f, ALICE, true), 0);
	assert_int_equal(add(f, ALICE, true), -EBUSY);
	for (size_t i = 0; i < 375; i++)
		assert_int_equal(add(f, BOB, true), 0);
	assert_int_equal(add(f, BOB, true), -EBUSY);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(add(f, 0, true), 0);
	assert_int_equal(add(f, ALICE, true), -EBUSY);
	jobs_start(f->jobs, f->entry[0]);
	jobs_end(f->jobs, f->entry[0], &good);
	assert_int_equal(add(f, ALICE, true), -EBUSY); /* root has taken of what Bob had left */
	assert_int_equal(add(f, CAROL, true), 0);
}

static void test_end_remembers_a_thousand(void **state)
{
	struct jobs_entry **list;
	struct jobs_entry *found;
	struct fixture *f = *state;
	size_t n;

	for (size_t i = 0; i < JOBS_FINISHED_MAX + 10; i++) {
		add_and_start(f, ALICE, false);
		jobs_end(f->jobs, f->entry[i], &good);
	}
	assert_null(jobs_find(f->jobs, 10, ALICE));
	found = jobs_find(f->jobs, 11, ALICE);
	assert_non_null(found);
	jobs_unref(found);
	assert_int_equal(jobs_list(f->jobs, ALICE, 0, &list, &n), 0);
	assert_int_equal(n, JOBS_FINISHED_MAX);
	assert_int_equal(jobs_id(list[0]), JOBS_FINISHED_MAX + 10);
	assert_int_equal(jobs_id(list[n - 1]), 11);
	jobs_list_free(list, n);
}

static void test_list_shows_users_their_own(void **state)
{
	static const struct {
		uid_t uid;
		uint64_t before;
		size_t n;
		uint64_t ids[4];
	} cases[] = {
		{ ALICE, 0, 2, { 3, 1 } },
		{ BOB, 0, 2, { 4, 2 } },
		{ 0, 0, 4, { 4, 2, 3, 1 } }, /* those that live come first */
		{ 0, UINT64_MAX, 4, { 4, 3, 2, 1 } },
		{ 0, 3, 2, { 2, 1 } },
		{ BOB, 4, 1, { 2 } },
		{ 1002, 0, 0, { 0 } },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++)
		add_and_start(f, i % 2 ? BOB : ALICE, false);
	jobs_end(f->jobs, f->entry[0], &good);
	jobs_end(f->jobs, f->entry[2], &good);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct jobs_entry **list;
		size_t n;

		print_message("case %zu\n", i);
		assert_int_equal(jobs_list(f->jobs, cases[i].uid, cases[i].before, &list, &n), 0);
		assert_int_equal(n, cases[i].n);
		for (size_t j = 0; j < n; j++)
			assert_int_equal(jobs_id(list[j]), cases[i].ids[j]);
		jobs_list_free(list, n);
	}
}

static void test_cancel_is_for_the_user_and_root(void **state)
{
	struct fixture *f = *state;

	add_and_start(f, ALICE, false);
	assert_null(jobs_find(f->jobs, 1, BOB));
	assert_int_equal(jobs_cancel(f->jobs, 1, BOB), -EPERM);
	assert_int_equal(jobs_cancel(f->jobs, 2, ALICE), -ESRCH);
	assert_int_equal(f->job[0].cancelled, 0);
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), 0);
	assert_int_equal(state_of(f, 0), JOBS_CANCELLING);
	assert_int_equal(jobs_cancel(f->jobs, 1, 0), 0); /* again, harmless */
	jobs_end(f->jobs, f->entry[0], &(struct job_result){ .error = -ECANCELED });
	assert_int_equal(state_of(f, 0), JOBS_CANCELLED);
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), -ESRCH);
}

/* It is started, so that it ends as all others do. */
static void test_cancel_starts_what_waits(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 1; i++)
		add_and_start(f, ALICE, true);
	assert_int_equal(jobs_cancel(f->jobs, JOBS_BACKGROUND_MAX + 1, ALICE), 0);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX].cancelled, 1);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX].started, 1);
	jobs_start(f->jobs, f->entry[JOBS_BACKGROUND_MAX]);
	assert_int_equal(f->job[JOBS_BACKGROUND_MAX].started, 1); /* once */
}

struct hearing {
	struct jobs_watcher watcher;
	sem_t heard;
};

static void hear(struct jobs_watcher *watcher)
{
	sem_post(&CONTAINER_OF(watcher, struct hearing, watcher)->heard);
}

/* A cancelled one that has ended for its users: is it still being removed, and was there a copy all the same? */
static void check_late(struct fixture *f, size_t i, bool removing, bool published)
{
	struct jobs_view view;

	jobs_view_get(f->jobs, f->entry[i], &view);
	jobs_view_destroy(&view);
	assert_int_equal(view.removing, removing);
	assert_int_equal(view.published, published);
}

/* Whatever the engine waits for: who has cancelled hears of the end, and the next one has its turn. */
static void test_cancel_is_told_before_all_is_removed(void **state)
{
	struct fixture *f = *state;
	struct hearing hearing = { .watcher = { .ended = hear } };
	const struct job_result gone = { .error = -ECANCELED };

	(void)sem_init(&hearing.heard, 0, 0);
	for (size_t i = 0; i <= JOBS_BACKGROUND_MAX; i++)
		assert_int_equal(add(f, ALICE, true), 0);
	assert_true(jobs_watch(f->jobs, f->entry[0], &hearing.watcher));
	f->job[0].verdict = -ECANCELED;
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), 0);
	while (sem_wait(&hearing.heard) < 0)
		assert_int_equal(errno, EINTR);
	assert_int_equal(state_of(f, 0), JOBS_CANCELLED);
	assert_int_equal(jobs_error(f->jobs, f->entry[0]), -ECANCELED);
	check_late(f, 0, true, false);
	while (f->job[JOBS_BACKGROUND_MAX].started == 0)
		sched_yield();
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), -ESRCH);
	jobs_end(f->jobs, f->entry[0], &gone);
	assert_int_equal(state_of(f, 0), JOBS_CANCELLED);
	check_late(f, 0, false, false);
}

/* However long who cancels is kept from it: what is told then is told. */
static void test_cancel_that_takes_long_is_told(void **state)
{
	struct fixture *f = *state;
	struct hearing hearing = { .watcher = { .ended = hear } };
	const struct job_result gone = { .error = -ECANCELED };

	(void)sem_init(&hearing.heard, 0, 0);
	assert_int_equal(add(f, ALICE, false), 0);
	assert_true(jobs_watch(f->jobs, f->entry[0], &hearing.watcher));
	f->job[0].cancel_takes_ms = 2 * JOBS_CANCEL_MS;
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), 0);
	assert_true(test_sem_wait(&hearing.heard));
	assert_int_equal(state_of(f, 0), JOBS_CANCELLED);
	jobs_end(f->jobs, f->entry[0], &gone);
}

/* Something else than the cancel has failed when the copy had its name: it is there. */
static void test_cancel_of_what_is_published(void **state)
{
	struct fixture *f = *state;
	struct hearing hearing = { .watcher = { .ended = hear } };
	const struct job_result bad = { .error = -EPERM, .published = true };

	(void)sem_init(&hearing.heard, 0, 0);
	assert_int_equal(add(f, ALICE, false), 0);
	assert_true(jobs_watch(f->jobs, f->entry[0], &hearing.watcher));
	f->job[0].verdict = -EPERM;
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), 0);
	while (sem_wait(&hearing.heard) < 0)
		assert_int_equal(errno, EINTR);
	assert_int_equal(state_of(f, 0), JOBS_FAILED);
	jobs_end(f->jobs, f->entry[0], &bad);
	assert_int_equal(state_of(f, 0), JOBS_FAILED);
	check_late(f, 0, false, true);
}

/* It is about to succeed: nothing is told before that is known. */
static void test_cancel_that_is_late_is_not_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add(f, ALICE, false), 0);
	assert_int_equal(jobs_cancel(f->jobs, 1, ALICE), 0);
	(void)usleep(2 * JOBS_CANCEL_MS * 1000); /* an interrupted sleep proves less */
	assert_int_equal(state_of(f, 0), JOBS_CANCELLING);
	jobs_end(f->jobs, f->entry[0], &good);
	assert_int_equal(state_of(f, 0), JOBS_DONE);
}

static void test_stop_cancels_all_and_refuses_more(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 3; i++)
		add_and_start(f, ALICE, true);
	jobs_stop(f->jobs);
	jobs_stop(f->jobs);
	for (size_t i = 0; i < JOBS_BACKGROUND_MAX + 3; i++) {
		assert_int_equal(f->job[i].started, 1);
		assert_int_equal(f->job[i].cancelled, 1);
	}
	assert_int_equal(add(f, ALICE, true), -ESHUTDOWN);
}

struct count {
	struct jobs_watcher watcher;
	unsigned n;
};

static void count_end(struct jobs_watcher *watcher)
{
	CONTAINER_OF(watcher, struct count, watcher)->n++;
}

static void test_watchers_hear_of_the_end_once(void **state)
{
	struct count a = { { .ended = count_end }, 0 }, b = a, c = a;
	struct fixture *f = *state;

	add_and_start(f, ALICE, false);
	assert_true(jobs_watch(f->jobs, f->entry[0], &a.watcher));
	assert_true(jobs_watch(f->jobs, f->entry[0], &b.watcher));
	assert_true(jobs_unwatch(f->jobs, f->entry[0], &b.watcher));
	assert_false(jobs_unwatch(f->jobs, f->entry[0], &b.watcher));
	jobs_end(f->jobs, f->entry[0], &good);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	assert_false(jobs_watch(f->jobs, f->entry[0], &c.watcher));
	assert_false(jobs_unwatch(f->jobs, f->entry[0], &a.watcher));
	assert_int_equal(c.n, 0);
}

static json_object *parse(struct fixture *f, size_t i)
{
	json_object *object;

	free(f->text);
	f->text = NULL;
	assert_int_equal(job_json(f->jobs, f->entry[i], &f->text), 0);
	object = json_tokener_parse(f->text);
	assert_non_null(object);
	return object;
}

static const char *text_of(json_object *object, const char *key)
{
	return json_object_get_string(json_object_object_get(object, key));
}

static json_object *error_of(json_object *object, size_t i)
{
	return json_object_array_get_idx(json_object_object_get(object, "errors"), i);
}

static int number_of(json_object *object, const char *key)
{
	return json_object_get_int(json_object_object_get(object, key));
}

static void check_two_errors(struct fixture *f, const char *state)
{
	json_object *object = parse(f, 0);

	assert_string_equal(text_of(object, "state"), state);
	assert_int_equal(number_of(object, "failures"), 2);
	assert_int_equal(json_object_array_length(json_object_object_get(object, "errors")), 2);
	assert_string_equal(text_of(error_of(object, 0), "errno"), "ENOSPC");
	assert_string_equal(text_of(error_of(object, 0), "message"), "No space left on device");
	assert_string_equal(text_of(error_of(object, 0), "operation"), "write");
	assert_string_equal(text_of(error_of(object, 0), "path"), "a/\xef\xbf\xbd");
	assert_string_equal(text_of(error_of(object, 0), "path_hex"), "612fff");
	assert_string_equal(text_of(error_of(object, 1), "errno"), "EACCES");
	assert_string_equal(text_of(error_of(object, 1), "path"), "b");
	json_object_put(object);
}

/* While it lives the engine has them, then the entry. */
static void test_json_of_errors(void **state)
{
	static const struct job_result bad = {
		.error = -ENOSPC, .bytes = 7, .failures = 2, .published = true
	};
	const struct job_failure failures[] = { { "a/\xff", "write", -ENOSPC },
						{ "b", "openat", -EACCES } };
	struct fixture *f = *state;
	json_object *object;

	add_and_start(f, ALICE, false);
	f->job[0].failures = failures;
	f->job[0].n_failures = f->job[0].progress.failures = 2;
	check_two_errors(f, "running");
	jobs_end(f->jobs, f->entry[0], &bad);
	f->job[0].n_failures = 0;
	check_two_errors(f, "failed");
	object = parse(f, 0);
	assert_int_equal(number_of(object, "bytes"), 7);
	assert_true(json_object_get_boolean(json_object_object_get(object, "published")));
	json_object_put(object);
}

/* One that could not begin: an error that is no file's. */
static void test_json_of_an_error_without_a_place(void **state)
{
	static const struct job_result bad = { .error = -EAGAIN };
	struct fixture *f = *state;
	json_object *object;

	add_and_start(f, ALICE, false);
	jobs_end(f->jobs, f->entry[0], &bad);
	object = parse(f, 0);
	assert_int_equal(number_of(object, "failures"), 1);
	assert_string_equal(text_of(error_of(object, 0), "errno"), "EAGAIN");
	assert_null(json_object_object_get(error_of(object, 0), "operation"));
	json_object_put(object);
}

/* All of it has to fit into an attribute. */
static void test_json_of_long_errors(void **state)
{
	static char path[JOB_FAILURE_PATH_MAX + 1];
	static const struct job_result bad = { .error = -EACCES, .failures = 12345 };
	struct job_failure failures[JOB_FAILURES_KEPT];
	struct fixture *f = *state;
	struct jobs_entry **list;
	json_object *object;
	size_t n;

	memset(path, '\x01', sizeof(path) - 1); /* six characters each */
	for (size_t i = 0; i < JOB_FAILURES_KEPT; i++)
		failures[i] = (struct job_failure){ path, "openat", -EACCES };
	add_and_start(f, ALICE, false);
	f->job[0].failures = failures;
	f->job[0].n_failures = JOB_FAILURES_KEPT;
	f->job[0].progress.failures = 12345;
	for (int i = 0; i < 2; i++) {
		object = parse(f, 0);
		assert_true(strlen(f->text) < 65536);
		assert_int_equal(number_of(object, "failures"), 12345);
		assert_string_equal(text_of(error_of(object, 0), "path"), path);
		json_object_put(object);
		if (i == 0)
			jobs_end(f->jobs, f->entry[0], &bad);
	}
	free(f->text);
	f->text = NULL;
	assert_int_equal(jobs_list(f->jobs, 0, 0, &list, &n), 0);
	assert_int_equal(job_json_list(f->jobs, list, n, 65536, &f->text), 0);
	assert_true(strlen(f->text) > JOB_FAILURE_PATH_MAX);
	jobs_list_free(list, n);
}

static void test_json_of_a_running_job(void **state)
{
	struct fixture *f = *state;
	json_object *object;

	add_and_start(f, ALICE, true);
	f->job[0].progress = (struct job_progress){
		.bytes = 10, .bytes_total = 20, .files = 1, .files_total = 2
	};
	object = parse(f, 0);
	assert_string_equal(text_of(object, "state"), "running");
	assert_true(json_object_get_boolean(json_object_object_get(object, "totals_estimated")));
	assert_null(json_object_object_get(object, "eta"));
	assert_int_equal(json_object_get_int(json_object_object_get(object, "bytes_total")), 20);
	assert_int_equal(f->job[0].wants_totals, 0); /* too young */
	json_object_put(object);
}

static void test_json_list_stays_within_its_bounds(void **state)
{
	struct jobs_entry **list;
	struct fixture *f = *state;
	json_object *array;
	size_t n;

	for (size_t i = 0; i < 100; i++)
		add_and_start(f, ALICE, false);
	assert_int_equal(jobs_list(f->jobs, 0, 0, &list, &n), 0);
	for (size_t max = 2; max < 3000; max += 111) {
		assert_int_equal(job_json_list(f->jobs, list, n, max, &f->text), 0);
		assert_true(strlen(f->text) <= max);
		array = json_tokener_parse(f->text);
		assert_non_null(array);
		if (max < 100 || max > 600) /* a job takes about 400 bytes */
			assert_int_equal(json_object_array_length(array) > 0, max > 600);
		json_object_put(array);
		free(f->text);
		f->text = NULL;
	}
	jobs_list_free(list, n);
}

static void test_json_path_of_any_bytes(void **state)
{
	static const struct {
		const char *path;
		const char *text;
		const char *hex; /* NULL: it is UTF-8 */
	} cases[] = {
		{ "", "", NULL },
		{ "plain", "plain", NULL },
		{ "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7",
		  "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7", NULL },
		{ "quote\" back\\ \x01\x1b\x7f\n", "quote\" back\\ \x01\x1b\x7f\n", NULL },
		{ "\x80", "\xef\xbf\xbd", "80" },
		{ "a\xc3", "a\xef\xbf\xbd", "61c3" },		    /* cut short */
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", "c0af" }, /* overlong */
		{ "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "e080af" }, /* overlong */
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
		  "eda080" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
		  "f4908080" }, /* beyond U+10FFFF */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_object *object = json_object_new_object(), *parsed;
		char *text;

		print_message("case %zu\n", i);
		json_add_path(object, "path", cases[i].path);
		assert_int_equal(json_to_text(object, &text), 0);
		parsed = json_tokener_parse(text);
		assert_non_null(parsed);
		assert_string_equal(text_of(parsed, "path"), cases[i].text);
		if (cases[i].hex)
			assert_string_equal(text_of(parsed, "path_hex"), cases[i].hex);
		else
			assert_null(json_object_object_get(parsed, "path_hex"));
		json_object_put(parsed);
		json_object_put(object);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_start_runs_those_that_are_waited_for_at_once),
		T(test_end_starts_the_next_in_order),
		T(test_end_starts_whoever_has_the_fewest),
		T(test_add_refuses_too_many),
		T(test_add_leaves_room_for_others),
		T(test_end_remembers_a_thousand),
		T(test_list_shows_users_their_own),
		T(test_cancel_is_for_the_user_and_root),
		T(test_cancel_starts_what_waits),
		T(test_cancel_is_told_before_all_is_removed),
		T(test_cancel_that_takes_long_is_told),
		T(test_cancel_of_what_is_published),
		T(test_cancel_that_is_late_is_not_told),
		T(test_stop_cancels_all_and_refuses_more),
		T(test_watchers_hear_of_the_end_once),
		T(test_json_of_errors),
		T(test_json_of_an_error_without_a_place),
		T(test_json_of_long_errors),
		T(test_json_of_a_running_job),
		T(test_json_list_stays_within_its_bounds),
#undef T
		cmocka_unit_test(test_json_path_of_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
