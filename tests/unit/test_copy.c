/* SPDX-License-Identifier: MIT */
/*
 * test_copy.c - the engine's public interface for copies of ranges: every case with both io
 * methods.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"

#define B TEST_BLOCK

/* The patterns of source and destination. */
#define SRC TEST_SRC
#define DST TEST_DST

/* Large enough to be caught in the middle. */
#define LARGE (64 * MIB)

static void test_copy_sizes(void **state)
{
	static const uint64_t sizes[] = { 0,	      1,     4095,	 B - 1,
					  B,	      B + 1, 4 * B - 1,	 4 * B,
					  4 * B + 1,  8 * B, 16 * B - 1, 37 * B + 4097,
					  150 * B + 1 };
	struct harness *h = harness_of(state);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int src = harness_src(h, false, sizes[i]);
		int dst = test_dir_file(&h->dir, false);
		const struct job_result *result = harness_copy(h, (struct copy_spec){
									  .src_fd = src,
									  .dst_fd = dst,
									  .length = sizes[i],
								  });

		assert_result(result, 0, sizes[i]);
		assert_int_equal(ways_sum(result), sizes[i]);
		assert_int_equal(test_size(dst), sizes[i]);
		assert_pattern(dst, 0, sizes[i], SRC, 0);
	}
}

static void test_copy_odd_offsets(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 20 * B);
	int dst = test_dir_file(&h->dir, false);
	const uint64_t from = B + 13, to = 3 * B + 7, length = 9 * B + 5;

	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = dst,
							  .src_offset = from,
							  .dst_offset = to,
							  .length = length }),
		      0, length);
	assert_int_equal(test_size(dst), to + length);
	assert_zeros(dst, 0, to);
	assert_pattern(dst, to, length, SRC, from);
}

static void test_copy_into_the_middle(void **state)
{
	harness_check_range(harness_of(state), 5, 7 * B + 1, 15 * B + 3);
}

static void test_copy_source_ends_early(void **state)
{
	struct harness *h = harness_of(state);
	const uint64_t size = 9 * B + 100;
	int src = harness_src(h, false, size);
	int dst = test_dir_file(&h->dir, false);
	struct copy_spec spec = { .src_fd = src, .dst_fd = dst, .length = 100 * B };

	assert_result(harness_copy(h, spec), 0, size);
	assert_int_equal(test_size(dst), size);
	assert_pattern(dst, 0, size, SRC, 0);

	/* At the end and beyond it: nothing, and nothing changes. */
	spec.src_offset = size;
	spec.dst_offset = 20 * B;
	assert_result(harness_copy(h, spec), 0, 0);
	spec.src_offset = INT64_MAX - 100 * B;
	assert_result(harness_copy(h, spec), 0, 0);
	assert_int_equal(test_size(dst), size);
}

/* The source shrinks under the copy: the workers meet an end of file that nobody planned. */
static void test_copy_source_truncated_meanwhile(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE);
	const struct job_result *result;
	bool caught = false;

	for (int attempt = 0; attempt < 5 && !caught; attempt++) {
		int dst = test_dir_file(&h->dir, true);
		struct run *run;

		test_write_pattern(src, B, LARGE - B, SRC);
		run = harness_start(
			h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = LARGE });
		(void)harness_wait_progress(h, run); /* false: it was too fast for us */
		assert_int_equal(ftruncate(src, B), 0);
		result = harness_wait(h, run);
		assert_int_equal(result->error, 0);
		assert_true(result->bytes >= B);
		assert_int_equal(test_size(dst), result->bytes);
		assert_pattern(dst, 0, result->bytes, SRC, 0);
		caught = result->bytes < LARGE;
	}
	assert_true(caught);
}

/* Data where c is 'd', a hole where it is '.'; 1 MiB each. */
static int make_sparse(struct harness *h, const char *layout)
{
	int fd = harness_src(h, false, strlen(layout) * MIB);

	for (size_t i = 0; layout[i]; i++)
		if (layout[i] == '.')
			test_punch(fd, i * MIB, MIB);
	return fd;
}

static void assert_sparse(int fd, const char *layout)
{
	for (size_t i = 0; layout[i]; i++) {
		if (layout[i] == '.')
			assert_zeros(fd, i * MIB, MIB);
		else
			assert_pattern(fd, i * MIB, MIB, SRC, i * MIB);
	}
}

/* Others, such as XFS, allocate ahead as they please, and give it back later. */
static bool allocates_what_is_written(const struct harness *h)
{
	struct statfs fs;

	assert_int_equal(fstatfs(h->dir.fd, &fs), 0);
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC;
}

static void check_sparse(struct harness *h, const char *layout, uint64_t dst_size)
{
	uint64_t size = strlen(layout) * MIB, holes = 0;
	int src = make_sparse(h, layout);
	int dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	for (const char *c = layout; *c; c++)
		holes += *c == '.' ? MIB : 0;
	test_write_pattern(dst, 0, dst_size, DST);
	result =
		harness_copy(h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = size });
	assert_result(result, 0, size);
	assert_int_equal(result->bytes_by_way[COPY_WAY_HOLE], holes);
	assert_int_equal(ways_sum(result), size);
	assert_int_equal(test_size(dst), MAX(size, dst_size));
	assert_sparse(dst, layout);
	if (dst_size > size)
		assert_pattern(dst, size, dst_size - size, DST, size);
	/* What is allocated beside the data is the file system's own: a block of the map. */
	if (allocates_what_is_written(h))
		assert_true(test_allocated(dst) < MAX(size, dst_size) - holes + MIB / 2);
}

static void test_copy_holes_kept(void **state)
{
	struct harness *h = harness_of(state);

	check_sparse(h, "..d..dd...d", 0);
	check_sparse(h, "dd..", 0); /* the size comes from the hole at the end */
	check_sparse(h, "..dd", 0);
	check_sparse(h, "....", 0);
}

static void test_copy_holes_punched_over_data(void **state)
{
	struct harness *h = harness_of(state);

	check_sparse(h, "d..d.", 5 * MIB);
	check_sparse(h, "d..d.", 2 * MIB); /* the destination ends in a hole */
	check_sparse(h, "..", 5 * MIB);
}

/* Part of a hole, with odd ends. */
static void test_copy_range_of_a_hole(void **state)
{
	struct harness *h = harness_of(state);
	int src = make_sparse(h, "d..d");
	int dst = test_dir_file(&h->dir, false);
	const uint64_t from = MIB + 17, to = MIB + 333, length = MIB + 5;

	test_write_pattern(dst, 0, 3 * MIB, DST);
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = dst,
							  .src_offset = from,
							  .dst_offset = to,
							  .length = length }),
		      0, length);
	assert_int_equal(test_size(dst), 3 * MIB);
	assert_pattern(dst, 0, to, DST, 0);
	assert_zeros(dst, to, length);
	assert_pattern(dst, to + length, 3 * MIB - to - length, DST, to + length);
}

static void test_copy_same_file(void **state)
{
	struct harness *h = harness_of(state);
	int fd = harness_src(h, false, 20 * B);
	int again = test_dir_keep(&h->dir, fcntl(fd, F_DUPFD_CLOEXEC, 0));
	struct copy_spec spec = { .src_fd = fd, .dst_fd = again, .length = 4 * B };
	struct job *job;

	spec.dst_offset = 4 * B; /* touches, does not overlap */
	assert_result(harness_copy(h, spec), 0, 4 * B);
	spec.dst_offset = 30 * B;
	assert_result(harness_copy(h, spec), 0, 4 * B);
	assert_int_equal(test_size(fd), 34 * B);
	assert_pattern(fd, 0, 4 * B, SRC, 0);
	assert_pattern(fd, 4 * B, 4 * B, SRC, 0);
	assert_pattern(fd, 8 * B, 12 * B, SRC, 8 * B);
	assert_zeros(fd, 20 * B, 10 * B);
	assert_pattern(fd, 30 * B, 4 * B, SRC, 0);

	spec.dst_offset = 4 * B - 1;
	assert_int_equal(engine_copy_range(harness_engine(h), &spec, &job), -EINVAL);
	spec.dst_offset = 0;
	assert_int_equal(engine_copy_range(harness_engine(h), &spec, &job), -EINVAL);
	spec.src_offset = 4 * B - 1;
	assert_int_equal(engine_copy_range(harness_engine(h), &spec, &job), -EINVAL);
	spec.src_offset = 4 * B;
	assert_result(harness_copy(h, spec), 0, 4 * B);
}

static void test_copy_range_refuses_bad_specs(void **state)
{
	struct harness *h = harness_of(state);
	struct engine *engine = harness_engine(h);
	const uint64_t max = INT64_MAX;
	int src = harness_src(h, false, B);
	int dst = test_dir_file(&h->dir, false);
	struct copy_spec spec = { .src_fd = src, .dst_fd = dst };
	struct job *job = NULL;

	spec.src_offset = max + 1;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EINVAL);
	spec.src_offset = max;
	spec.length = 1;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EINVAL);
	spec.src_offset = 0;
	spec.dst_offset = max + 1;
	spec.length = 0;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EINVAL);
	spec.dst_offset = 2;
	spec.length = max - 1;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EINVAL);
	spec.length = UINT64_MAX;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EINVAL);
	spec.length = 1;
	spec.src_fd = -1;
	assert_int_equal(engine_copy_range(engine, &spec, &job), -EBADF);
	assert_null(job);
	assert_int_equal(harness_stats(h).workers, 0);

	/* Just within. */
	spec = (struct copy_spec){
		.src_fd = src, .dst_fd = dst, .dst_offset = 2, .length = max - 2
	};
	assert_result(harness_copy(h, spec), 0, B);
}

/* A copy that fails at once leaves the destination as it was, its size included. */
static void check_refused(struct harness *h, int src, int dst, int error)
{
	const uint64_t size = test_size(dst);
	static const uint64_t offsets[] = { 0, 100, 3 * B, 50 * B };
	char path[64];
	int reader;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dst); /* fits */
	reader = test_dir_keep(&h->dir, open(path, O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		const struct job_result *result =
			harness_copy(h, (struct copy_spec){ .src_fd = src,
							    .dst_fd = dst,
							    .dst_offset = offsets[i],
							    .length = 10 * B });

		assert_result(result, error, 0);
		assert_int_equal(test_size(reader), size);
		assert_pattern(reader, 0, size, DST, 0);
	}
}

static int reopen(struct harness *h, int fd, int flags)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
	return test_dir_keep(&h->dir, open(path, flags | O_CLOEXEC));
}

static void test_copy_destination_not_writable(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);

	test_write_pattern(dst, 0, 5 * B, DST);
	check_refused(h, src, reopen(h, dst, O_RDONLY), -EBADF);
}

static void test_copy_source_not_readable(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);

	test_write_pattern(dst, 0, 5 * B, DST);
	check_refused(h, reopen(h, src, O_WRONLY), dst, -EBADF);
}

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

	if (!allocates_what_is_written(h))
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

/* A job whose done() keeps the only worker until its gate is opened. */
static struct run *block_worker(struct harness *h)
{
	struct run *run = harness_prepare(h, (struct copy_spec){
						     .src_fd = test_dir_file(&h->dir, true),
						     .dst_fd = test_dir_file(&h->dir, true),
					     });

	run->gated = true;
	job_start(run->job);
	(void)harness_wait(h, run);
	return run;
}

static void test_copy_cancelled_while_queued(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);
	struct run *blocker, *run;

	h->options.workers = 1;
	blocker = block_worker(h);
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

static void *drain_main(void *engine)
{
	engine_drain(engine);
	return NULL;
}

/* Until the engine refuses jobs. */
static bool wait_draining(struct harness *h, const struct copy_spec *spec)
{
	for (unsigned waited = 0; waited < TEST_WAIT_S * 1000; waited++) {
		struct job *job;

		if (engine_copy_range(h->engine, spec, &job) == -ESHUTDOWN)
			return true;
		job_unref(job);
		test_sleep_ms(1);
	}
	return false;
}

static void test_engine_drain_ends_all(void **state)
{
	enum {
		JOBS = 5
	};
	struct harness *h = harness_of(state);
	struct run *blocker, *runs[JOBS], *late;
	struct copy_spec spec = { .src_fd = harness_src(h, false, 10 * B), .length = 10 * B };
	pthread_t drainer;
	bool draining;

	h->options.workers = 1;
	blocker = block_worker(h);
	for (int i = 0; i < JOBS; i++) {
		spec.dst_fd = test_dir_file(&h->dir, false);
		runs[i] = harness_start(h, spec);
	}
	late = harness_prepare(h, spec);
	assert_int_equal(pthread_create(&drainer, NULL, drain_main, h->engine), 0);
	draining = wait_draining(h, &spec);
	sem_post(&blocker->gate);
	pthread_join(drainer, NULL); /* bounded by the watchdog */
	assert_true(draining);
	for (int i = 0; i < JOBS; i++) {
		/* drain() has waited already */
		assert_int_equal(__atomic_load_n(&runs[i]->done_calls, __ATOMIC_RELAXED), 1);
		assert_result(harness_wait(h, runs[i]), -ECANCELED, 0);
	}
	/* One that was prepared before: it is ended, not run. */
	job_start(late->job);
	assert_result(harness_wait(h, late), -ECANCELED, 0);
	assert_int_equal(test_size(spec.dst_fd), 0);
}

static void test_engine_free_cancels_running(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE);
	struct run *runs[3];

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		runs[i] =
			harness_start(h, (struct copy_spec){ .src_fd = src,
							     .dst_fd = test_dir_file(&h->dir, true),
							     .length = LARGE });
	(void)harness_wait_progress(h, runs[0]);
	harness_engine_free(h);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		const struct job_result *result = &runs[i]->result;

		assert_int_equal(__atomic_load_n(&runs[i]->done_calls, __ATOMIC_RELAXED), 1);
		assert_int_equal(result->error, result->bytes > 0 ? 0 : -ECANCELED);
	}
	assert_true(runs[2]->result.bytes < LARGE);
}

static void test_engine_free_idle_workers(void **state)
{
	struct harness *h = harness_of(state);

	harness_engine_free(h); /* NULL */
	(void)harness_engine(h);
	harness_engine_free(h); /* no worker */
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = harness_src(h, true, 200 * B),
							  .dst_fd = test_dir_file(&h->dir, true),
							  .length = 200 * B }),
		      0, 200 * B);
	test_sleep_ms(10); /* all asleep */
	harness_engine_free(h);
	/* One that was prepared and never started. */
	job_unref(harness_prepare(h, (struct copy_spec){ .src_fd = test_dir_file(&h->dir, true),
							 .dst_fd = test_dir_file(&h->dir, true) })
			  ->job);
	h->runs[--h->n_runs].job = NULL;
	harness_engine_free(h);
}

static void test_copy_many_beside_a_large_one(void **state)
{
	enum {
		SMALL = 200
	};
	struct harness *h = harness_of(state);
	int large_src = harness_src(h, true, LARGE), large_dst = test_dir_file(&h->dir, true);
	int src = harness_src(h, true, 4 * B);
	struct run *large = harness_start(
		h, (struct copy_spec){ .src_fd = large_src, .dst_fd = large_dst, .length = LARGE });
	int dst[SMALL];

	for (unsigned i = 0; i < SMALL; i++) {
		dst[i] = test_dir_file(&h->dir, true);
		(void)harness_start(h, (struct copy_spec){ .src_fd = src,
							   .dst_fd = dst[i],
							   .src_offset = i,
							   .length = i * 1000 });
	}
	for (unsigned i = 0; i < SMALL; i++) {
		assert_result(harness_wait(h, &h->runs[1 + i]), 0, i * 1000);
		assert_int_equal(test_size(dst[i]), i * 1000);
		assert_pattern(dst[i], 0, i * 1000, SRC, i);
	}
	assert_result(harness_wait(h, large), 0, LARGE);
	assert_pattern(large_dst, 0, LARGE, SRC, 0);
	assert_true(harness_stats(h).workers <= 2);
	assert_int_equal(harness_stats(h).jobs_ended, SMALL + 1);
}

/* Small jobs wait for a block of the large one, not for all of it. */
static void test_copy_small_overtake_large(void **state)
{
	enum {
		SMALL = 10
	};
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE);
	struct run *blocker, *large, *small[SMALL];

	h->options.workers = 1;
	blocker = block_worker(h);
	large = harness_start(h, (struct copy_spec){ .src_fd = src,
						     .dst_fd = test_dir_file(&h->dir, true),
						     .length = LARGE });
	for (int i = 0; i < SMALL; i++)
		small[i] =
			harness_start(h, (struct copy_spec){ .src_fd = src,
							     .dst_fd = test_dir_file(&h->dir, true),
							     .length = 100 });
	sem_post(&blocker->gate);
	(void)harness_wait(h, large);
	for (int i = 0; i < SMALL; i++) {
		(void)harness_wait(h, small[i]);
		assert_true(small[i]->order < large->order);
	}
}

/* Two jobs that write one file side by side: neither cuts off what the other has written. */
static void test_copy_neighbouring_ranges_at_once(void **state)
{
	struct harness *h = harness_of(state);
	const uint64_t half = 8 * MIB + 77;
	int src = harness_src(h, true, 2 * half);
	struct run *run[2];

	for (int attempt = 0; attempt < 5; attempt++) {
		int dst = test_dir_file(&h->dir, true);

		for (int i = 0; i < 2; i++)
			run[i] = harness_start(h, (struct copy_spec){ .src_fd = src,
								      .dst_fd = dst,
								      .src_offset = i * half,
								      .dst_offset = i * half,
								      .length = half });
		for (int i = 0; i < 2; i++)
			assert_result(harness_wait(h, run[i]), 0, half);
		assert_int_equal(test_size(dst), 2 * half);
		assert_pattern(dst, 0, 2 * half, SRC, 0);
	}
}

static void test_copy_progress(void **state)
{
	struct harness *h = harness_of(state);
	struct run *run =
		harness_prepare(h, (struct copy_spec){ .src_fd = harness_src(h, true, LARGE),
						       .dst_fd = test_dir_file(&h->dir, true),
						       .length = LARGE });
	struct job_progress progress;
	uint64_t last = 0;

	job_get_progress(run->job, &progress);
	assert_int_equal(progress.bytes, 0);
	assert_int_equal(progress.bytes_total, LARGE);
	assert_false(progress.ended);
	job_start(run->job);
	do {
		job_get_progress(run->job, &progress);
		assert_true(progress.bytes >= last && progress.bytes <= LARGE);
		last = progress.bytes;
	} while (!progress.ended && sem_trywait(&run->ended) < 0);
	if (progress.ended)
		(void)harness_wait(h, run);
	job_get_progress(run->job, &progress);
	assert_int_equal(progress.bytes, LARGE);
	assert_true(progress.ended);
}

static void test_engine_get_stats(void **state)
{
	struct harness *h = harness_of(state);
	bool ring = h->options.io == ENGINE_IO_URING;
	enum copy_way way = ring ? COPY_WAY_RING : COPY_WAY_SYNC;
	struct engine_stats stats = harness_stats(h);
	struct run *cancelled;
	int src = make_sparse(h, "d..d"), dst = test_dir_file(&h->dir, false);

	assert_string_equal(stats.io, "none yet");
	assert_int_equal(stats.workers, 0);
	for (int i = 0; i < 3; i++)
		assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
								  .dst_fd = dst,
								  .length = 4 * MIB }),
			      0, 4 * MIB);
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = reopen(h, dst, O_RDONLY),
							  .length = 100 }),
		      -EBADF, 0);
	cancelled = harness_prepare(
		h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = 100 });
	job_cancel(cancelled->job);
	job_start(cancelled->job);
	assert_result(harness_wait(h, cancelled), -ECANCELED, 0);

	stats = harness_stats(h);
	assert_int_equal(stats.jobs_started, 5);
	assert_int_equal(stats.jobs_ended, 5);
	assert_int_equal(stats.jobs_failed, 1);
	assert_int_equal(stats.jobs_cancelled, 1);
	assert_int_equal(stats.bytes[way], 3 * 2 * MIB);
	assert_int_equal(stats.bytes[COPY_WAY_HOLE], 3 * 2 * MIB);
	assert_int_equal(stats.ways[COPY_WAY_HOLE], 3);
	assert_int_equal(stats.bytes[COPY_WAY_CLONE], 0);
	assert_int_equal(stats.bytes[ring ? COPY_WAY_SYNC : COPY_WAY_RING], 0);
	assert_string_equal(stats.io, ring ? "uring" : "sync");
	assert_int_equal(stats.io_uring_enters > 0, ring);
}

/* /dev/null takes writes and refuses fsync(2), so it tells whether one was tried. */
static void test_copy_fsync_is_done_and_its_error_told(void **state)
{
	struct harness *h = harness_of(state);
	struct copy_spec spec = {
		.src_fd = test_dir_file(&h->dir, true),
		.dst_fd = test_dir_keep(&h->dir, open("/dev/null", O_WRONLY | O_CLOEXEC)),
		.length = 100,
	};

	assert_result(harness_copy(h, spec), 0, 0);
	harness_engine_free(h);
	h->options.fsync = ENGINE_FSYNC_FILE;
	assert_result(harness_copy(h, spec), -EINVAL, 0);
}

static void test_copy_with_fsync(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 9 * B + 5), dst = test_dir_file(&h->dir, false);

	h->options.fsync = ENGINE_FSYNC_FILE;
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = dst,
							  .length = UINT32_MAX }),
		      0, 9 * B + 5);
	assert_pattern(dst, 0, 9 * B + 5, SRC, 0);
}

/* More fsyncs than a worker has slots: they wait their turn. */
static void test_copy_many_with_fsync(void **state)
{
	enum {
		JOBS = 400
	};
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 1);
	struct run *blocker;

	h->options.workers = 1;
	h->options.fsync = ENGINE_FSYNC_FILE;
	blocker = block_worker(h);
	for (unsigned i = 0; i < JOBS; i++)
		(void)harness_start(h, (struct copy_spec){ .src_fd = src,
							   .dst_fd = test_dir_file(&h->dir, true),
							   .length = i % 2 });
	sem_post(&blocker->gate);
	for (unsigned i = 0; i < JOBS; i++)
		assert_result(harness_wait(h, &h->runs[1 + i]), 0, i % 2);
}

static void test_copy_depth_0_one_worker(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 200 * B), dst = test_dir_file(&h->dir, true);

	h->options.depth = 0;
	assert_result(
		harness_copy(h,
			     (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = 200 * B }),
		0, 200 * B);
	assert_pattern(dst, 0, 200 * B, SRC, 0);
	assert_int_equal(harness_stats(h).workers, 1);
}

/*
 * As cp does: one request after the other. Still one thing at a time, so one worker and one ring.
 */
static void test_copy_depth_0_in_pieces_one_worker(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 200 * B), dst = test_dir_file(&h->dir, true);

	h->options.depth = 0;
	for (uint64_t done = 0; done < 200 * B; done += 2 * B)
		assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
								  .dst_fd = dst,
								  .src_offset = done,
								  .dst_offset = done,
								  .length = 2 * B }),
			      0, 2 * B);
	assert_pattern(dst, 0, 200 * B, SRC, 0);
	assert_int_equal(harness_stats(h).workers, 1);
}

static void test_copy_depth_2_two_workers(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE), dst = test_dir_file(&h->dir, true);

	assert_result(
		harness_copy(h,
			     (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = LARGE }),
		0, LARGE);
	assert_pattern(dst, 0, LARGE, SRC, 0);
	assert_int_equal(harness_stats(h).workers, 2);
}

static void test_copy_shapes(void **state)
{
	static const struct {
		unsigned workers;
		unsigned queue_depth;
		uint32_t block_size;
		int depth;
	} shapes[] = {
		{ 1, 1, ENGINE_BLOCK_SIZE_MIN, 0 },
		{ 2, 1, ENGINE_BLOCK_SIZE_MIN, ENGINE_DEPTH_MAX },
		{ 4, 3, ENGINE_BLOCK_SIZE_MIN + 4096, 1 },
		{ 1, ENGINE_QUEUE_DEPTH_MAX, ENGINE_BLOCK_SIZE_MIN, 3 },
		{ 0, 0, 0, ENGINE_DEPTH_AUTO },
	};
	struct harness *h = harness_of(state);
	const uint64_t size = 12 * MIB + 4097;
	int src = harness_src(h, true, size);

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		int dst = test_dir_file(&h->dir, true);

		harness_engine_free(h);
		h->options.workers = shapes[i].workers;
		h->options.queue_depth = shapes[i].queue_depth;
		h->options.block_size = shapes[i].block_size;
		h->options.depth = shapes[i].depth;
		assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
								  .dst_fd = dst,
								  .src_offset = 1,
								  .dst_offset = 2,
								  .length = size }),
			      0, size - 1);
		assert_pattern(dst, 2, size - 1, SRC, 1);
	}
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

/* A tmpfs of 4 MiB in a mount namespace of our own. */
static int mount_small(struct harness *h)
{
	char path[sizeof(h->dir.path) + 8];

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("no mount namespace of our own: %s\n", strerror(errno));
		skip();
	}
	(void)snprintf(path, sizeof(path), "%s/small", h->dir.path); /* fits */
	assert_int_equal(mkdir(path, 0755), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=4m") < 0) {
		print_message("no tmpfs: %s\n", strerror(errno));
		skip();
	}
	return test_dir_keep(&h->dir, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int teardown_small(void **state)
{
	struct harness *h = *state;
	char path[sizeof(h->dir.path) + 8];

	/* It may not be mounted; lazily, for the engine may still hold files. */
	(void)snprintf(path, sizeof(path), "%s/small", h->dir.path);
	(void)umount2(path, MNT_DETACH);
	return harness_teardown(state);
}

static void test_copy_no_space(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 16 * MIB);
	int small = mount_small(h);
	int dst = test_dir_keep(&h->dir, openat(small, "dst", O_RDWR | O_CREAT | O_CLOEXEC, 0644));

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
	int src = make_sparse(h, "d.."), dst = test_dir_file(&h->dir, false);
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
	int src = make_sparse(h, "..d"), dst = test_dir_file(&h->dir, false);
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

/* Copying into a file strips its setuid bit, as a write by an ordinary user does. */
static void test_copy_strips_setuid(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 100);
	struct cred *nobody = NULL;
	struct stat st;

	assert_int_equal(cred_new(65534, 65534, NULL, 0, &nobody), 0);
	for (int i = 0; i < 2; i++) {
		int dst = test_dir_file(&h->dir, false);

		assert_int_equal(fchmod(dst, 04755), 0);
		assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
								  .dst_fd = dst,
								  .length = 100,
								  .cred = i ? nobody : NULL }),
			      0, 100);
		assert_int_equal(fstat(dst, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0755);
	}
	cred_unref(nobody); /* a failed assertion leaks it, and nothing else */
}

static void test_copy_reflink(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B + 5), dst = test_dir_file(&h->dir, false);
	struct copy_spec spec = { .src_fd = src, .dst_fd = dst, .length = 10 * B + 5 };
	const struct job_result *result;

	h->options.reflink = ENGINE_REFLINK_ALWAYS;
	result = harness_copy(h, spec);
	if (result->error == 0) {
		assert_int_equal(result->bytes_by_way[COPY_WAY_CLONE], 10 * B + 5);
		assert_result(result, 0, 10 * B + 5);
		assert_pattern(dst, 0, 10 * B + 5, SRC, 0);
	} else {
		assert_result(result, -EOPNOTSUPP, 0);
		assert_int_equal(test_size(dst), 0);
	}
	/* tmpfs has no reflinks. */
	spec.dst_fd = test_dir_file(&h->dir, true);
	assert_result(harness_copy(h, spec), -EOPNOTSUPP, 0);
	assert_int_equal(test_size(spec.dst_fd), 0);

	harness_engine_free(h);
	h->options.reflink = ENGINE_REFLINK_AUTO;
	for (int i = 0; i < 3; i++) { /* the second time it is known whether the pair can */
		spec.dst_fd = test_dir_file(&h->dir, i == 2);
		result = harness_copy(h, spec);
		assert_result(result, 0, 10 * B + 5);
		assert_int_equal(ways_sum(result), 10 * B + 5);
		assert_int_equal(test_size(spec.dst_fd), 10 * B + 5);
		assert_pattern(spec.dst_fd, 0, 10 * B + 5, SRC, 0);
	}
}

/* Takes a capability from the calling thread's effective set, or gives it back. */
static bool set_effective(unsigned cap, bool on)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	if (on)
		data[CAP_TO_INDEX(cap)].effective |= CAP_TO_MASK(cap);
	else
		data[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	return syscall(SYS_capset, &header, data) == 0;
}

/* One copy with a limit of @limit bytes of locked memory, which root must not be above. */
static const struct job_result *copy_with_memlock(struct harness *h, struct copy_spec spec,
						  rlim_t limit)
{
	const struct job_result *result;
	struct rlimit old, limited;
	bool root = geteuid() == 0;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &old), 0);
	limited = (struct rlimit){ MIN(limit, old.rlim_max), old.rlim_max };
	assert_true(!root || set_effective(CAP_IPC_LOCK, false));
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limited), 0);
	result = harness_copy(h, spec);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &old), 0);
	assert_true(!root || set_effective(CAP_IPC_LOCK, true));
	return result;
}

/* Enough for a ring, not for its buffers: they are not registered then. */
static void test_copy_without_registered_buffers(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, 10 * MIB + 1), dst = test_dir_file(&h->dir, true);

	h->options.block_size = MIB;
	assert_result(copy_with_memlock(h,
					(struct copy_spec){ .src_fd = src,
							    .dst_fd = dst,
							    .length = 10 * MIB + 1 },
					MIB),
		      0, 10 * MIB + 1);
	assert_pattern(dst, 0, 10 * MIB + 1, SRC, 0);
}

static void count_warning(void *userdata, enum log_level level, const char *message)
{
	(void)message;
	if (level == LOG_LEVEL_WARN)
		__atomic_add_fetch((unsigned *)userdata, 1, __ATOMIC_RELAXED);
}

/* Not enough even for a ring, on kernels that count it: one warning, and the sync method serves. */
static void test_copy_io_auto_without_ring(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, true, LARGE), dst = test_dir_file(&h->dir, true);
	unsigned warnings = 0;
	const struct log log = { LOG_LEVEL_WARN, count_warning, &warnings };
	bool sync;

	h->options.io = ENGINE_IO_AUTO;
	h->options.log = &log;
	assert_result(
		copy_with_memlock(
			h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = LARGE }, 0),
		0, LARGE);
	assert_pattern(dst, 0, LARGE, SRC, 0);
	sync = strcmp(harness_stats(h).io, "sync") == 0;
	harness_engine_free(h); /* before the log */
	assert_int_equal(warnings, sync ? 1 : 0);
}

#define TEST_SMALL(function, method)                                                               \
	{                                                                                          \
#function " (" method ")", function, harness_setup, teardown_small,                \
			(void *)(uintptr_t)method                                                  \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_METHODS(test_copy_sizes),
		TEST_BOTH_METHODS(test_copy_odd_offsets),
		TEST_BOTH_METHODS(test_copy_into_the_middle),
		TEST_BOTH_METHODS(test_copy_source_ends_early),
		TEST_BOTH_METHODS(test_copy_source_truncated_meanwhile),
		TEST_BOTH_METHODS(test_copy_holes_kept),
		TEST_BOTH_METHODS(test_copy_holes_punched_over_data),
		TEST_BOTH_METHODS(test_copy_range_of_a_hole),
		TEST_BOTH_METHODS(test_copy_same_file),
		TEST_BOTH_METHODS(test_copy_range_refuses_bad_specs),
		TEST_BOTH_METHODS(test_copy_destination_not_writable),
		TEST_BOTH_METHODS(test_copy_source_not_readable),
		TEST_BOTH_METHODS(test_copy_answer_within),
		TEST_BOTH_METHODS(test_copy_answer_within_gives_space_back),
		TEST_BOTH_METHODS(test_copy_answer_within_late_start),
		TEST_BOTH_METHODS(test_copy_cancelled_before_start),
		TEST_BOTH_METHODS(test_copy_cancelled_in_the_middle),
		TEST_BOTH_METHODS(test_copy_cancelled_while_queued),
		TEST_BOTH_METHODS(test_engine_drain_ends_all),
		TEST_BOTH_METHODS(test_engine_free_cancels_running),
		TEST_BOTH_METHODS(test_engine_free_idle_workers),
		TEST_BOTH_METHODS(test_copy_many_beside_a_large_one),
		TEST_BOTH_METHODS(test_copy_small_overtake_large),
		TEST_BOTH_METHODS(test_copy_neighbouring_ranges_at_once),
		TEST_BOTH_METHODS(test_copy_progress),
		TEST_BOTH_METHODS(test_engine_get_stats),
		TEST_BOTH_METHODS(test_copy_fsync_is_done_and_its_error_told),
		TEST_BOTH_METHODS(test_copy_with_fsync),
		TEST_BOTH_METHODS(test_copy_depth_0_one_worker),
		TEST_BOTH_METHODS(test_copy_depth_0_in_pieces_one_worker),
		TEST_BOTH_METHODS(test_copy_depth_2_two_workers),
		TEST_BOTH_METHODS(test_copy_shapes),
		TEST_SMALL(test_copy_no_space, "uring"),
		TEST_SMALL(test_copy_no_space, "sync"),
		TEST_BOTH_METHODS(test_copy_file_size_limit),
		TEST_BOTH_METHODS(test_copy_file_size_limit_in_a_hole),
		TEST_BOTH_METHODS(test_copy_file_size_limit_before_a_hole),
		TEST_BOTH_METHODS(test_copy_strips_setuid),
		TEST_BOTH_METHODS(test_copy_reflink),
		TEST_WITH_METHOD(test_copy_without_registered_buffers, "uring"),
		TEST_WITH_METHOD(test_copy_io_auto_without_ring, "sync"),
		TEST_BOTH_METHODS(test_copy_many_with_fsync),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
