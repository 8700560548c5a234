/* SPDX-License-Identifier: MIT */
/*
 * test_interleaving.c - the engine under schedules that are rare otherwise.
 *
 * This program is linked with --wrap=pthread_mutex_unlock: after giving up a lock a thread now and
 * then yields or sleeps, which opens the windows between two critical sections.
 */
#include <pthread.h>
#include <sched.h>

#include "harness.h"

#include "arsync/base.h"

#define B TEST_BLOCK
#define SRC 1

/* One test at a time; workers read it. */
static bool disturb; /* atomic */

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	static __thread uint32_t random = 1;
	const struct timespec moments[] = { { 0, 20000 }, { 0, 2000000 } };
	int r = __real_pthread_mutex_unlock(mutex);

	if (!__atomic_load_n(&disturb, __ATOMIC_RELAXED))
		return r;
	random = random * 1664525 + 1013904223 + (uint32_t)(uintptr_t)mutex;
	/* Shorter sleeps than these are as good. */
	if (random >> 30 == 0)
		sched_yield();
	else if (random >> 29 == 2)
		(void)nanosleep(&moments[0], NULL);
	else if (random >> 25 == 127)
		(void)nanosleep(&moments[1], NULL);
	return r;
}

static int setup(void **state)
{
	__atomic_store_n(&disturb, true, __ATOMIC_RELAXED);
	return harness_setup(state);
}

static int teardown(void **state)
{
	__atomic_store_n(&disturb, false, __ATOMIC_RELAXED);
	return harness_teardown(state);
}

/* One block of data and one of a hole in turn: every block of data is a region of its own. */
static int make_src(struct harness *h, unsigned n_regions)
{
	int fd = test_dir_file(&h->dir, true);

	test_write_pattern(fd, 0, 2 * n_regions * B, SRC);
	for (unsigned i = 0; i < n_regions; i++)
		test_punch(fd, (2 * i + 1) * B, B);
	return fd;
}

static void assert_copy(int fd, unsigned n_regions)
{
	for (unsigned i = 0; i < n_regions; i++) {
		assert_pattern(fd, 2 * i * B, B, SRC, 2 * i * B);
		assert_zeros(fd, (2 * i + 1) * B, B);
	}
}

/* Copies of a few regions whose last ones end on several workers at about the same time. */
static void test_file_copy_ends_once(void **state)
{
	enum {
		JOBS = 600,
		REGIONS_MAX = 6
	};
	struct harness *h = harness_of(state);
	int src = make_src(h, REGIONS_MAX);
	int dst = test_dir_file(&h->dir, true);

	h->options.workers = 4;
	for (unsigned i = 0; i < JOBS; i++) {
		uint64_t size = 2 * B * (1 + i % REGIONS_MAX);
		const struct job_result *result = harness_copy(
			h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = size });

		assert_int_equal(result->error, 0);
		assert_int_equal(result->bytes, size);
	}
	assert_copy(dst, REGIONS_MAX);
	harness_assert_ended_once(h);
}

static void test_jobs_in_parallel_with_cancels(void **state)
{
	enum {
		JOBS = 300
	};
	struct harness *h = harness_of(state);
	const uint64_t size = 40 * B + 1;
	int src = test_dir_file(&h->dir, true);
	int dst[JOBS];

	h->options.workers = 4;
	test_write_pattern(src, 0, size, SRC);
	for (unsigned i = 0; i < JOBS; i++) {
		dst[i] = test_dir_file(&h->dir, true);
		(void)harness_start(h, (struct copy_spec){ .src_fd = src,
							   .dst_fd = dst[i],
							   .length = size,
							   .answer_within_ms = i % 3 });
		if (i % 5 == 4)
			job_cancel(h->runs[i - 2].job);
	}
	for (unsigned i = 0; i < JOBS; i++) {
		const struct job_result *result = harness_wait(h, &h->runs[i]);

		assert_int_equal(test_size(dst[i]), result->bytes);
		assert_pattern(dst[i], 0, result->bytes, SRC, 0);
		if (i % 5 != 2)
			assert_true(result->error == 0 && result->bytes > 0);
		if (i % 5 != 2 && i % 3 == 0)
			assert_int_equal(result->bytes, size);
	}
	harness_assert_ended_once(h);
}

/* Jobs that end while the engine is being freed. */
static void test_engine_free_while_jobs_end(void **state)
{
	struct harness *h = harness_of(state);
	int src = make_src(h, 4);
	int dst = test_dir_file(&h->dir, true);

	h->options.workers = 4;
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 4; i++)
			(void)harness_start(h, (struct copy_spec){ .src_fd = src,
								   .dst_fd = dst,
								   .dst_offset = i * 8 * B,
								   .length = 8 * B });
		(void)harness_wait(h, &h->runs[h->n_runs - 4 + round % 4]);
		harness_engine_free(h);
	}
	for (unsigned i = 0; i < h->n_runs; i++)
		assert_int_equal(__atomic_load_n(&h->runs[i].done_calls, __ATOMIC_RELAXED), 1);
}

#define TEST(function, method)                                                                     \
	{                                                                                          \
#function " (" method ")", function, setup, teardown, (void *)(uintptr_t)method    \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_copy_ends_once, "uring"),
		TEST(test_file_copy_ends_once, "sync"),
		TEST(test_jobs_in_parallel_with_cancels, "uring"),
		TEST(test_jobs_in_parallel_with_cancels, "sync"),
		TEST(test_engine_free_while_jobs_end, "uring"),
		TEST(test_engine_free_while_jobs_end, "sync"),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("interleaving", tests, NULL, NULL);
}
