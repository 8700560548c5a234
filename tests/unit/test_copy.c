/* SPDX-License-Identifier: MIT */
/*
 * test_copy.c - the engine's public interface for copies of ranges: every case with both io
 * methods. What ends a copy early is in test_copy_end.c, the engine as a whole in test_engine.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

static void assert_sparse(int fd, const char *layout)
{
	for (size_t i = 0; layout[i]; i++) {
		if (layout[i] == '.')
			assert_zeros(fd, i * MIB, MIB);
		else
			assert_pattern(fd, i * MIB, MIB, SRC, i * MIB);
	}
}

static void check_sparse(struct harness *h, const char *layout, uint64_t dst_size)
{
	uint64_t size = strlen(layout) * MIB, holes = 0;
	int src = harness_sparse(h, layout);
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
	if (harness_allocates_what_is_written(h))
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
	int src = harness_sparse(h, "d..d");
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

static void test_copy_destination_not_writable(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);

	test_write_pattern(dst, 0, 5 * B, DST);
	check_refused(h, src, test_dir_reopen(&h->dir, dst, O_RDONLY), -EBADF);
}

static void test_copy_source_not_readable(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 10 * B);
	int dst = test_dir_file(&h->dir, false);

	test_write_pattern(dst, 0, 5 * B, DST);
	check_refused(h, test_dir_reopen(&h->dir, src, O_WRONLY), dst, -EBADF);
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
		TEST_BOTH_METHODS(test_copy_progress),
		TEST_BOTH_METHODS(test_copy_fsync_is_done_and_its_error_told),
		TEST_BOTH_METHODS(test_copy_with_fsync),
		TEST_BOTH_METHODS(test_copy_shapes),
		TEST_BOTH_METHODS(test_copy_strips_setuid),
		TEST_BOTH_METHODS(test_copy_reflink),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
