/* SPDX-License-Identifier: MIT */
/*
 * test_short_copy.c - what is copied at once, on the calling thread, and what is left to a job.
 */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"

#define LENGTH (100 * KIB + 17)
#define SEED 1
#define OLD 2 /* what the destination has */

struct fixture {
	struct harness *harness;
	int src, dst;
};

static struct fixture fixture;

static int setup(void **state)
{
	*state = (void *)(uintptr_t) "auto"; /* no worker is to be needed */
	if (harness_setup(state) < 0)
		return -1;
	fixture = (struct fixture){ .harness = *state };
	fixture.harness->options.reflink = ENGINE_REFLINK_AUTO;
	return 0;
}

static struct copy_spec spec_of_both(void)
{
	struct test_dir *dir = &fixture.harness->dir;

	fixture.src = test_dir_open(dir, "src", O_RDWR | O_CREAT);
	fixture.dst = test_dir_open(dir, "dst", O_RDWR | O_CREAT);
	test_write_pattern(fixture.src, 0, 2 * LENGTH, SEED);
	return (struct copy_spec){ .src_fd = fixture.src, .dst_fd = fixture.dst, .length = LENGTH };
}

static ssize_t copy(const struct copy_spec *spec)
{
	return engine_copy_short(harness_engine(fixture.harness), spec);
}

static void assert_left_to_a_job(const struct copy_spec *spec)
{
	struct engine_stats stats;

	assert_int_equal(copy(spec), -EAGAIN);
	assert_int_equal(test_size(spec->dst_fd), 0);
	stats = harness_stats(fixture.harness);
	assert_int_equal(stats.ways[COPY_WAY_SHORT], 0);
}

static void test_engine_copy_short_copies(void **state)
{
	struct copy_spec spec = spec_of_both();
	struct engine_stats stats;

	(void)state;
	assert_int_equal(copy(&spec), LENGTH);
	assert_pattern(fixture.dst, 0, LENGTH, SEED, 0);
	assert_int_equal(test_size(fixture.dst), LENGTH);
	stats = harness_stats(fixture.harness);
	assert_int_equal(stats.ways[COPY_WAY_SHORT], 1);
	assert_int_equal(stats.bytes[COPY_WAY_SHORT], LENGTH);
	assert_int_equal(stats.workers, 0);
	assert_int_equal(stats.jobs_started, 0);
}

static void test_engine_copy_short_inside(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	test_write_pattern(fixture.dst, 0, 2 * LENGTH, OLD);
	spec.src_offset = 4099;
	spec.dst_offset = 513;
	spec.length = 70001;
	assert_int_equal(copy(&spec), 70001);
	assert_pattern(fixture.dst, 0, 513, OLD, 0);
	assert_pattern(fixture.dst, 513, 70001, SEED, 4099);
	assert_pattern(fixture.dst, 513 + 70001, 2 * LENGTH - 513 - 70001, OLD, 513 + 70001);
}

static void test_engine_copy_short_at_the_end(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	spec.src_offset = 2 * LENGTH - 5;
	assert_left_to_a_job(&spec); /* who knows what else it may be */
	spec.length = 5;
	assert_int_equal(copy(&spec), 5);
	assert_pattern(fixture.dst, 0, 5, SEED, 2 * LENGTH - 5);
	assert_int_equal(test_size(fixture.dst), 5);
}

static void test_engine_copy_short_beyond_the_end(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	spec.src_offset = 2 * LENGTH;
	assert_left_to_a_job(&spec);
}

static void test_engine_copy_short_length(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	test_write_pattern(fixture.src, 0, ENGINE_SHORT_MAX + 1, SEED);
	spec.length = 0;
	assert_left_to_a_job(&spec);
	spec.length = ENGINE_SHORT_MAX + 1;
	assert_left_to_a_job(&spec);
	spec.length = INT64_MAX;
	assert_left_to_a_job(&spec);
	spec.length = ENGINE_SHORT_MAX;
	assert_int_equal(copy(&spec), ENGINE_SHORT_MAX);
}

static void test_engine_copy_short_hole(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	test_punch(fixture.src, 64 * KIB, 4 * KIB);
	assert_left_to_a_job(&spec);
	/* Not even where so much is allocated that the file seems to have none. */
	if (fallocate(fixture.src, FALLOC_FL_KEEP_SIZE, 2 * LENGTH, 4 * MIB) == 0)
		assert_left_to_a_job(&spec);
	spec.length = 64 * KIB;
	assert_int_equal(copy(&spec), 64 * KIB);
}

static void test_engine_copy_short_within_a_file(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	spec.dst_fd = spec.src_fd;
	spec.dst_offset = LENGTH - 1;
	assert_int_equal(copy(&spec), -EAGAIN); /* they overlap; who answers EINVAL is the job */
	assert_pattern(fixture.src, 0, 2 * LENGTH, SEED, 0);
	spec.dst_offset = LENGTH;
	assert_int_equal(copy(&spec), LENGTH);
	assert_pattern(fixture.src, LENGTH, LENGTH, SEED, 0);
}

/* Each of these options asks for more than the call does. */
static void test_engine_copy_short_options(void **state)
{
	static const char *const options[][2] = {
		{ "io", "sync" },	 { "offload", "always" }, { "reflink", "never" },
		{ "reflink", "always" }, { "offload", "never" },  { "direct", "always" },
		{ "fsync", "file" },	 { "fsync", "tree" },
	};
	struct copy_spec spec = spec_of_both();
	struct engine_options plain = fixture.harness->options;
	char error[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		fixture.harness->options = plain;
		assert_int_equal(engine_options_set(&fixture.harness->options, options[i][0],
						    options[i][1], error, sizeof(error)),
				 0);
		assert_left_to_a_job(&spec);
		harness_engine_free(fixture.harness);
	}
}

/* With all threads of a mount waiting for a slow disk nobody would be served. */
static void test_engine_copy_short_many_at_once(void **state)
{
	struct copy_spec spec = spec_of_both();
	struct engine *engine = harness_engine(fixture.harness);

	(void)state;
	engine->short_copies = 8;
	assert_left_to_a_job(&spec);
	assert_int_equal(engine->short_copies, 8);
	engine->short_copies = 7;
	assert_int_equal(copy(&spec), LENGTH);
	assert_int_equal(engine->short_copies, 7);
	engine->short_copies = 0;
}

static void test_engine_copy_short_limit_of_file_size(void **state)
{
	struct copy_spec spec = spec_of_both();
	struct rlimit old, limit;
	ssize_t inside, beyond;

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ .rlim_cur = 4096, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	inside = copy(&spec);
	spec.dst_offset = 4096;
	beyond = copy(&spec);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(inside, 4096);
	assert_int_equal(beyond, -EFBIG);
	assert_int_equal(test_size(fixture.dst), 4096);
}

/* Another file system: copied there, or left to a job; never anything else. */
static void test_engine_copy_short_to_another_file_system(void **state)
{
	struct copy_spec spec = spec_of_both();
	ssize_t n;

	(void)state;
	spec.dst_fd = test_dir_file(&fixture.harness->dir, true);
	n = copy(&spec);
	if (n == -EAGAIN)
		assert_int_equal(test_size(spec.dst_fd), 0);
	else
		assert_pattern(spec.dst_fd, 0, (uint64_t)n, SEED, 0);
}

/* Files that tell a size of 0 and have contents. */
static void test_engine_copy_short_proc(void **state)
{
	struct copy_spec spec = spec_of_both();

	(void)state;
	spec.src_fd = test_dir_keep(&fixture.harness->dir,
				    open("/proc/self/status", O_RDONLY | O_CLOEXEC));
	assert_left_to_a_job(&spec);
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, harness_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_engine_copy_short_copies),
		TEST(test_engine_copy_short_inside),
		TEST(test_engine_copy_short_at_the_end),
		TEST(test_engine_copy_short_beyond_the_end),
		TEST(test_engine_copy_short_length),
		TEST(test_engine_copy_short_hole),
		TEST(test_engine_copy_short_within_a_file),
		TEST(test_engine_copy_short_options),
		TEST(test_engine_copy_short_many_at_once),
		TEST(test_engine_copy_short_limit_of_file_size),
		TEST(test_engine_copy_short_to_another_file_system),
		TEST(test_engine_copy_short_proc),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("short_copy", tests, NULL, NULL);
}
