/* SPDX-License-Identifier: MIT */
/*
 * test_copy_end.c - copies of ranges that end early: answered within a time, cancelled, without space.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"

#define B TEST_BLOCK

/* The patterns of source and destination. */
#define SRC TEST_SRC
#define DST TEST_DST

/* Large enough to be caught in the middle. */
#define LARGE (64 * MIB)

static void test_copy_answer_within(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE), dst = test_dir_file(&h->dir, true);

	assert_true(harness_copy_in_answers(h, src, dst, LARGE) > 1); /* the limit was kept */
}

/* What an answer cuts off does not stay allocated, either. */
static void test_copy_answer_within_gives_space_back(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE);
	bool cut = false;

	if (!harness_allocates_what_is_written(h))
		skip();
	for (int attempt = 0; attempt < 10; attempt++) {
		int dst = test_dir_file(&h->dir, false);
		uint64_t bytes = harness_copy(h, (struct copy_spec){ .src_fd = src,
								     .dst_fd = dst,
								     .length = LARGE,
								     .answer_within_ms = 1 })
					 ->bytes;

		assert_true(bytes > 0);
		cut |= bytes < LARGE;
		assert_true(test_allocated(dst) <= bytes + 4 * B);
	}
	assert_true(cut);
}

/*
 * Time that was up before it began: something is answered all the same, or it would mean end of
 * file.
 */
static void test_copy_answer_within_late_start(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 100 * B);
	int dst = test_dir_file(&h->dir, true);
	struct run *run = harness_prepare(h, (struct copy_spec){ .src_fd = src,
								 .dst_fd = dst,
								 .length = 100 * B,
								 .answer_within_ms = 1 });
	const struct job_result *result;

	test_sleep_ms(10);
	job_start(run->job);
	result = harness_wait(h, run);
	assert_int_equal(result->error, 0);
	assert_true(result->bytes >= B && result->bytes < 100 * B);
	assert_int_equal(test_size(dst), result->bytes);
	assert_pattern(dst, 0, result->bytes, SRC, 0);
}

static void test_copy_cancelled_before_start(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);
	struct run *run = harness_prepare(
		h, (struct copy_spec){
			   .src_fd = src, .dst_fd = dst, .dst_offset = B, .length = 10 * B });

	job_cancel(run->job);
	assert_int_equal(run->done_calls, 0);
	job_start(run->job);
	assert_result(harness_wait(h, run), -ECANCELED, 0);
	assert_int_equal(test_size(dst), 0);
	job_cancel(run->job); /* harmless */
	harness_engine_free(h);
	assert_int_equal(run->done_calls, 1);
}

static void test_copy_cancelled_in_the_middle(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE);
	unsigned caught = 0;

	for (int attempt = 0; attempt < 15 && caught < 5; attempt++)
		caught += harness_cancel_once(
			h, (struct copy_spec){ .src_fd = src,
					       .dst_fd = test_dir_file(&h->dir, true),
					       .dst_offset = caught % 2 * (3 * B + 1),
					       .length = LARGE });
	assert_true(caught > 0);
	harness_assert_ended_once(h);
}

static void test_copy_cancelled_while_queued(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);
	struct run *blocker, *run;

	h->options.workers = 1;
	blocker = harness_block_worker(h);
	run = harness_start(h,
			    (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = 10 * B });
	job_cancel(run->job);
	assert_int_equal(__atomic_load_n(&run->done_calls, __ATOMIC_RELAXED), 0);
	sem_post(&blocker->gate);
	assert_result(harness_wait(h, run), -ECANCELED, 0);
	assert_int_equal(test_size(dst), 0);
	assert_int_equal(harness_stats(h).jobs_cancelled, 1);
	assert_int_equal(harness_stats(h).jobs_failed, 0);
}

/*
 * Copies to a file system that has no room for all of it. Regions that run beside each other
 * compete for what there is, so the prefix may be short, or empty; but it is whole, and nothing
 * stays behind it.
 */
static void check_full(struct harness *h, int src, int dst, uint64_t length)
{
	const struct job_result *result;
	uint64_t done = 0;

	do {
		result = harness_copy(h, (struct copy_spec){ .src_fd = src,
							     .dst_fd = dst,
							     .src_offset = done,
							     .dst_offset = done,
							     .length = length - done });
		done += result->bytes;
		assert_int_equal(result->error, result->bytes > 0 ? 0 : -ENOSPC);
		assert_int_equal(test_size(dst), done);
		assert_pattern(dst, 0, done, SRC, 0);
	} while (result->bytes > 0 && done < length);
	assert_true(done < length);
}

static void test_copy_no_space(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 16 * MIB);
	int dst;

	test_dir_mount(&h->dir, "small", "size=4m");
	dst = test_dir_open(&h->dir, "small/dst", O_RDWR);
	check_full(h, src, dst, 16 * MIB);
}

/* No worker may die of SIGXFSZ, either: its disposition is the default one here. */
static void test_copy_file_size_limit(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 8 * MIB), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;
	struct rlimit old, limited;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limited = old;
	limited.rlim_cur = 3 * MIB + 123;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
	result = harness_copy(
		h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = 8 * MIB });
	(void)harness_copy(h, (struct copy_spec){ .src_fd = src,
						  .dst_fd = dst,
						  .src_offset = result->bytes,
						  .dst_offset = result->bytes,
						  .length = MIB });
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_result(result, 0, 3 * MIB + 123);
	assert_result(&h->runs[1].result, -EFBIG, 0);
	assert_int_equal(test_size(dst), 3 * MIB + 123);
	assert_pattern(dst, 0, 3 * MIB + 123, SRC, 0);
}

/* The limit is met by the hole at the end: nothing may stay that was not answered. */
static void test_copy_file_size_limit_in_a_hole(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_sparse(h, "d.."), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;
	struct rlimit old, limited;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limited = old;
	limited.rlim_cur = 2 * MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
	result = harness_copy(
		h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = 3 * MIB });
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(result->error, result->bytes > 0 ? 0 : -EFBIG);
	assert_true(result->bytes < 3 * MIB);
	assert_int_equal(test_size(dst), result->bytes);
}

/* Nothing but a hole, and the file cannot get as long: that is no success. */
static void test_copy_file_size_limit_before_a_hole(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_sparse(h, "..d"), dst = test_dir_file(&h->dir, false);
	struct copy_spec spec = { .src_fd = src, .dst_fd = dst, .length = 2 * MIB };
	const struct job_result *result;
	struct rlimit old, limited;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limited = old;
	limited.rlim_cur = MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
	result = harness_copy(h, spec);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_result(result, -EFBIG, 0);
	assert_int_equal(test_size(dst), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_METHODS(test_copy_answer_within),
		TEST_BOTH_METHODS(test_copy_answer_within_gives_space_back),
		TEST_BOTH_METHODS(test_copy_answer_within_late_start),
		TEST_BOTH_METHODS(test_copy_cancelled_before_start),
		TEST_BOTH_METHODS(test_copy_cancelled_in_the_middle),
		TEST_BOTH_METHODS(test_copy_cancelled_while_queued),
		TEST_BOTH_METHODS(test_copy_no_space),
		TEST_BOTH_METHODS(test_copy_file_size_limit),
		TEST_BOTH_METHODS(test_copy_file_size_limit_in_a_hole),
		TEST_BOTH_METHODS(test_copy_file_size_limit_before_a_hole),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("copy_end", tests, NULL, NULL);
}
