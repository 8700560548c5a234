/* SPDX-License-Identifier: MIT */
/*
 * test_engine.c - the engine as a whole: its end, its order, its statistics, and with what it runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"

#define B TEST_BLOCK

/* The patterns of source and destination. */
#define SRC TEST_SRC
#define DST TEST_DST

/* Large enough to be caught in the middle. */
#define LARGE (64 * MIB)

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
	blocker = harness_block_worker(h);
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
	blocker = harness_block_worker(h);
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

static void test_engine_get_stats(void **state)
{
	struct harness *h = harness_of(state);
	bool ring = h->options.io == ENGINE_IO_URING;
	enum copy_way way = ring ? COPY_WAY_RING : COPY_WAY_SYNC;
	struct engine_stats stats = harness_stats(h);
	struct run *cancelled;
	int src = harness_sparse(h, "d..d"), dst = test_dir_file(&h->dir, false);

	assert_string_equal(stats.io, "none yet");
	assert_int_equal(stats.workers, 0);
	for (int i = 0; i < 3; i++)
		assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
								  .dst_fd = dst,
								  .length = 4 * MIB }),
			      0, 4 * MIB);
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = test_dir_reopen(&h->dir, dst,
										    O_RDONLY),
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
	blocker = harness_block_worker(h);
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

static void test_engine_raise_fd_limit(void **state)
{
	struct rlimit old, limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = (struct rlimit){ MIN((rlim_t)100, old.rlim_max), old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	engine_raise_fd_limit(NULL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(limit.rlim_cur, old.rlim_max);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_METHODS(test_engine_drain_ends_all),
		TEST_BOTH_METHODS(test_engine_free_cancels_running),
		TEST_BOTH_METHODS(test_engine_free_idle_workers),
		TEST_BOTH_METHODS(test_copy_many_beside_a_large_one),
		TEST_BOTH_METHODS(test_copy_small_overtake_large),
		TEST_BOTH_METHODS(test_copy_neighbouring_ranges_at_once),
		TEST_BOTH_METHODS(test_engine_get_stats),
		TEST_BOTH_METHODS(test_copy_many_with_fsync),
		TEST_BOTH_METHODS(test_copy_depth_0_one_worker),
		TEST_BOTH_METHODS(test_copy_depth_0_in_pieces_one_worker),
		TEST_BOTH_METHODS(test_copy_depth_2_two_workers),
		TEST_WITH_METHOD(test_copy_without_registered_buffers, "uring"),
		TEST_WITH_METHOD(test_copy_io_auto_without_ring, "sync"),
		TEST_WITH_METHOD(test_engine_raise_fd_limit, "sync"),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
