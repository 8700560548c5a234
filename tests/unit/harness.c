/* SPDX-License-Identifier: MIT */
/*
 * harness.c - see harness.h.
 */
#include "harness.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>

#include "arsync/base.h"
#include "io_method.h"

/* To see whether a cancelled job still writes. */
#define WRITTEN_AFTERWARDS (24 * MIB)

int harness_setup(void **state)
{
	const char *method = *state;
	char error[128];
	struct harness *h = calloc(1, sizeof(*h));

	if (!h)
		return -1;
	h->dir.fd = -1;
	engine_options_init(&h->options);
	h->options.workers = 2;
	h->options.queue_depth = 2;
	h->options.block_size = TEST_BLOCK;
	h->options.depth = 2;
	h->options.reflink = ENGINE_REFLINK_NEVER;
	if (engine_options_set(&h->options, "io", method, error, sizeof(error)) < 0 ||
	    test_dir_make(&h->dir) < 0) {
		print_error("no harness: %s\n", strerror(errno));
		test_dir_remove(&h->dir);
		free(h);
		return -1;
	}
	*state = h;
	return 0;
}

int harness_teardown(void **state)
{
	struct harness *h = *state;
	bool hung = h->hung;

	for (unsigned i = 0; i < h->n_runs; i++)
		sem_post(&h->runs[i].gate);
	harness_engine_free(h);
	test_dir_remove(&h->dir);
	for (unsigned i = 0; i < h->n_runs && !hung; i++) {
		job_unref(h->runs[i].job);
		sem_destroy(&h->runs[i].ended);
		sem_destroy(&h->runs[i].gate);
	}
	if (!hung)
		free(h);
	return 0;
}

bool harness_skips_all(int argc, char **argv)
{
	return argc > 1 && strstr(argv[1], "(uring)") && io_ring_probe() < 0;
}

struct harness *harness_of(void **state)
{
	struct harness *h = *state;
	int r = h->options.io == ENGINE_IO_URING ? io_ring_probe() : 0;

	if (r < 0) {
		print_message("no io_uring here: %s\n", strerror(-r));
		skip();
	}
	return h;
}

struct engine *harness_engine(struct harness *h)
{
	if (!h->engine)
		assert_int_equal(engine_new(&h->options, &h->engine), 0);
	return h->engine;
}

void harness_engine_free(struct harness *h)
{
	struct engine *engine = TAKE_PTR(h->engine);

	if (!h->hung)
		engine_free(engine);
}

/* On a worker's thread, so it only records. */
static void run_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct run *run = userdata;

	(void)job;
	run->result = *result;
	run->result.failed_path = NULL; /* valid only now */
	run->result.failed_call = NULL;
	run->order = __atomic_add_fetch(run->ends, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&run->done_calls, 1, __ATOMIC_RELAXED);
	sem_post(&run->ended);
	if (run->gated)
		(void)test_sem_wait(&run->gate); /* then the test has failed already */
}

struct run *harness_prepare(struct harness *h, struct copy_spec spec)
{
	struct run *run = &h->runs[h->n_runs];

	assert_true(h->n_runs < HARNESS_RUNS_MAX);
	spec.done = run_done;
	spec.userdata = run;
	assert_int_equal(engine_copy_range(harness_engine(h), &spec, &run->job), 0);
	assert_int_equal(sem_init(&run->ended, 0, 0), 0);
	assert_int_equal(sem_init(&run->gate, 0, 0), 0);
	run->ends = &h->ends;
	h->n_runs++;
	return run;
}

struct run *harness_start(struct harness *h, struct copy_spec spec)
{
	struct run *run = harness_prepare(h, spec);

	job_start(run->job);
	return run;
}

const struct job_result *harness_wait(struct harness *h, struct run *run)
{
	if (!test_sem_wait(&run->ended)) {
		h->hung = true;
		fail_msg("the job has not ended in %d s", TEST_WAIT_S);
	}
	return &run->result;
}

const struct job_result *harness_copy(struct harness *h, struct copy_spec spec)
{
	return harness_wait(h, harness_start(h, spec));
}

struct run *harness_block_worker(struct harness *h)
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

bool harness_wait_progress(struct harness *h, struct run *run)
{
	struct timespec now;
	time_t deadline;
	struct job_progress progress;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	deadline = now.tv_sec + TEST_WAIT_S;
	do {
		job_get_progress(run->job, &progress);
		if (progress.ended)
			return false;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
	} while (progress.bytes == 0 && now.tv_sec < deadline);
	if (progress.bytes == 0) {
		h->hung = true;
		fail_msg("the job has not copied anything in %d s", TEST_WAIT_S);
	}
	return true;
}

struct engine_stats harness_stats(struct harness *h)
{
	struct engine_stats stats;

	engine_get_stats(harness_engine(h), &stats);
	return stats;
}

uint64_t ways_sum(const struct job_result *result)
{
	uint64_t sum = 0;

	for (int way = 0; way < COPY_WAY_COUNT; way++)
		sum += result->bytes_by_way[way];
	return sum;
}

void assert_result(const struct job_result *result, int error, uint64_t bytes)
{
	assert_int_equal(result->error, error);
	assert_int_equal(result->bytes, bytes);
}

int harness_src(struct harness *h, bool in_memory, uint64_t size)
{
	int fd = test_dir_file(&h->dir, in_memory);

	test_write_pattern(fd, 0, size, TEST_SRC);
	return fd;
}

int harness_sparse(struct harness *h, const char *layout)
{
	int fd = harness_src(h, false, strlen(layout) * MIB);

	for (size_t i = 0; layout[i]; i++)
		if (layout[i] == '.')
			test_punch(fd, i * MIB, MIB);
	return fd;
}

bool harness_allocates_what_is_written(const struct harness *h)
{
	struct statfs fs;

	assert_int_equal(fstatfs(h->dir.fd, &fs), 0);
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC;
}

void harness_check_range(struct harness *h, uint64_t from, uint64_t to, uint64_t length)
{
	const uint64_t size = to + length + 2 * TEST_BLOCK + 5;
	int src = harness_src(h, false, from + length + 17), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	test_write_pattern(dst, 0, size, TEST_DST);
	result = harness_copy(h, (struct copy_spec){ .src_fd = src,
						     .dst_fd = dst,
						     .src_offset = from,
						     .dst_offset = to,
						     .length = length });
	assert_result(result, 0, length);
	assert_int_equal(ways_sum(result), length);
	assert_int_equal(test_size(dst), size);
	assert_pattern(dst, 0, to, TEST_DST, 0);
	assert_pattern(dst, to, length, TEST_SRC, from);
	assert_pattern(dst, to + length, size - to - length, TEST_DST, to + length);
}

unsigned harness_copy_in_answers(struct harness *h, int src, int dst, uint64_t size)
{
	uint64_t done = 0;
	unsigned answers = 0;

	for (; done < size; answers++) {
		const struct job_result *result =
			harness_copy(h, (struct copy_spec){ .src_fd = src,
							    .dst_fd = dst,
							    .src_offset = done,
							    .dst_offset = done,
							    .length = size - done,
							    .answer_within_ms = 1 });

		assert_int_equal(result->error, 0);
		assert_true(result->bytes > 0);
		done += result->bytes;
		assert_int_equal(test_size(dst), done);
	}
	assert_int_equal(done, size);
	assert_pattern(dst, 0, size, TEST_SRC, 0);
	return answers;
}

bool harness_cancel_once(struct harness *h, struct copy_spec spec)
{
	const uint64_t end = spec.dst_offset + MIN(spec.length, WRITTEN_AFTERWARDS);
	struct run *run = harness_start(h, spec);
	const struct job_result *result;
	uint64_t size;

	(void)harness_wait_progress(h, run); /* false: it was too fast for us */
	job_cancel(run->job);
	result = harness_wait(h, run);
	size = test_size(spec.dst_fd);
	assert_int_equal(result->error, result->bytes > 0 ? 0 : -ECANCELED);
	assert_int_equal(size, result->bytes > 0 ? spec.dst_offset + result->bytes : 0);
	assert_pattern(spec.dst_fd, spec.dst_offset, result->bytes, TEST_SRC, spec.src_offset);
	if (result->bytes == spec.length)
		return false;
	/* Nothing is in flight any more: what is written there now stays. */
	test_write_pattern(spec.dst_fd, 0, end, TEST_DST);
	test_sleep_ms(20);
	assert_pattern(spec.dst_fd, 0, end, TEST_DST, 0);
	assert_int_equal(test_size(spec.dst_fd), MAX(size, end));
	return true;
}

void harness_assert_ended_once(struct harness *h)
{
	struct engine_stats stats = harness_stats(h);

	assert_int_equal(stats.jobs_ended, stats.jobs_started);
	harness_engine_free(h);
	for (unsigned i = 0; i < h->n_runs; i++)
		assert_int_equal(__atomic_load_n(&h->runs[i].done_calls, __ATOMIC_RELAXED), 1);
}
