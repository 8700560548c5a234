/* SPDX-License-Identifier: MIT */
/*
 * test_tree_load.c - many copies at once, what is told of them meanwhile, and who waits for whom.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "tree_fixture.h"

static void test_tree_several_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct copy_spec range = { .length = LARGE };
	struct tree_run *runs[2];
	struct run *beside;
	struct totals totals;

	make_lengthy(f);
	stamp_all(f, "src");
	totals = take_source(f);
	range.src_fd = test_dir_file(&f->h->dir, true);
	range.dst_fd = test_dir_file(&f->h->dir, true);
	test_write_pattern(range.src_fd, 0, LARGE, 1);
	runs[0] = start(f, &(struct order){ .src = "src", .name = "copy0" });
	beside = harness_start(f->h, range);
	runs[1] = start(f, &(struct order){ .src = "src", .name = "copy1" });
	for (size_t i = 0; i < 2; i++) {
		check_success(f, runs[i]);
		check_counters(runs[i], &totals);
	}
	assert_int_equal(harness_wait(f->h, beside)->bytes, LARGE);
	assert_pattern(range.dst_fd, 0, LARGE, 1, 0);
	take_snapshot(&f->dst, root_of(f), "copy1", false);
	assert_same_but_atimes(f);
	take_snapshot(&f->dst, root_of(f), "copy0", false);
	assert_same_but_atimes(f);
	assert_names(f, NULL, 3);
}

/* The workers go from one identity to the other and back. */
static void test_tree_several_identities_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order orders[3] = { { .src = "src", .parent = "home", .cred = make_user(f) },
				   { .src = "src" },
				   { .src = "src", .parent = "home", .cred = f->user } };
	struct tree_run *runs[3];

	orders[2].name = "second";
	make_lengthy(f);
	make_symlink(f, "x", "src/many/symlink");
	make_link(f, "src/large", "src/many/link");
	assert_int_equal(mknodat(root_of(f), "src/many/fifo", S_IFIFO | 0600, 0), 0);
	set_owner(f, "src/many/1", 5, 6);
	stamp_all(f, "src");
	f->h->options.workers = 1;
	for (size_t i = 0; i < 3; i++)
		runs[i] = start(f, &orders[i]);
	for (size_t i = 0; i < 3; i++) {
		check_success(f, runs[i]);
		take_snapshot(&f->src, root_of(f), "src", true);
		if (orders[i].cred)
			expect_given_to_user(&f->src);
		take_copy(f, &orders[i]);
		assert_same_but_atimes(f);
	}
}

/* Two for one name: one of them gets it. */
static void test_tree_two_for_one_name(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *a, *b;

	make_simple(f);
	for (unsigned i = 0; i < 10; i++) {
		a = start(f, &(struct order){ .src = "src" });
		b = start(f, &(struct order){ .src = "src" });
		assert_int_equal(wait_for(f, a)->error + wait_for(f, b)->error, -EEXIST);
		assert_names(f, NULL, 2);
		remove_copy(f, "copy");
	}
}

static void test_tree_progress(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress, last = { 0 };
	struct tree_run *run;
	struct totals totals;

	make_lengthy(f);
	totals = take_source(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_get_progress(run->run.job, &progress);
	assert_int_equal(progress.bytes, 0);
	assert_int_equal(progress.files_total, 0);
	assert_false(progress.ended);
	job_start(run->run.job);
	do {
		job_get_progress(run->run.job, &progress);
		assert_true(progress.bytes >= last.bytes && progress.bytes <= totals.bytes);
		assert_true(progress.files >= last.files && progress.files <= totals.files);
		assert_true(progress.bytes_total >= last.bytes_total);
		assert_true(progress.bytes_total <= totals.bytes);
		assert_true(progress.files_total >= last.files_total);
		assert_true(progress.files_total <= totals.files);
		last = progress;
	} while (!progress.ended && sem_trywait(&run->run.ended) < 0);
	if (!progress.ended)
		sem_post(&run->run.ended); /* for check_success() */
	check_success(f, run);
	check_counters(run, &totals);
}

/* Depth, hard links between directories, and what is no file. */
static void make_countable(struct fixture *f)
{
	char path[256] = "src/deep";

	make_lengthy(f);
	make_file(f, "src/linked", 12345);
	make_dir(f, "src/links");
	make_link(f, "src/linked", "src/links/linked");
	make_symlink(f, "linked", "src/links/symlink");
	for (unsigned i = 0; i < 50; i++) {
		make_dir(f, path);
		(void)strcat(path, "/d");
	}
	make_file(f, path, 1);
}

static void test_tree_count_ahead(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct tree_run *run;
	struct totals totals;

	make_countable(f);
	totals = take_source(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_get_progress(run->run.job, &progress);
	assert_false(progress.totals_known);
	job_count(run->run.job);
	job_get_progress(run->run.job, &progress);
	assert_true(progress.totals_known);
	assert_int_equal(progress.files_total, totals.files);
	assert_int_equal(progress.bytes_total, totals.bytes);
	job_want_totals(run->run.job); /* again, and by the thread: it must not hurt */
	job_cancel(run->run.job);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
}

static void test_tree_count_while_it_runs(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	struct totals totals;

	make_countable(f);
	totals = take_source(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_start(run->run.job);
	job_want_totals(run->run.job);
	job_want_totals(run->run.job);
	check_success(f, run);
	check_counters(run, &totals);
}

static void test_tree_count_stops_when_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct tree_run *run;

	make_countable(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_cancel(run->run.job);
	job_count(run->run.job);
	job_get_progress(run->run.job, &progress);
	assert_false(progress.totals_known);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
}

static uint32_t next_random(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

static uint64_t random_size(uint32_t *random)
{
	static const uint64_t bounds[] = { 1, 10, 100, 1000, 5000, 5000, 20000, 20000 };
	uint32_t kind = next_random(random) % 100;

	if (kind == 0)
		return next_random(random) % (5 * B);
	return next_random(random) % bounds[kind % ARRAY_SIZE(bounds)];
}

/* One entry of the random tree. */
static void make_random(struct fixture *f, unsigned i, unsigned *n_dirs, unsigned *n_files,
			uint32_t *random)
{
	const char *dir = f->dirs[next_random(random) % *n_dirs];
	uint32_t kind = next_random(random) % 100;
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%u", dir, i);
	if (kind < 10 && *n_dirs < ARRAY_SIZE(f->dirs) && strlen(dir) < 100) {
		make_dir(f, path);
		(void)strcpy(f->dirs[(*n_dirs)++], path);
	} else if (kind < 22 && *n_files > 0) {
		make_link(f, f->files[next_random(random) % *n_files], path);
	} else if (kind < 26) {
		make_symlink(f, path, path);
	} else if (kind < 28) {
		assert_int_equal(mknodat(root_of(f), path, S_IFIFO | 0600, 0), 0);
	} else if (kind == 28 && i % 4 == 0) {
		make_sparse(f, path, ".d.");
	} else {
		make_file(f, path, random_size(random));
		set_mode(f, path, 0400 | (next_random(random) & 07377));
		if (kind < 40)
			(void)snprintf(f->files[(*n_files)++ % ARRAY_SIZE(f->files)],
				       sizeof(f->files[0]), "%s", path);
		*n_files = MIN(*n_files, (unsigned)ARRAY_SIZE(f->files));
	}
}

static void check_stress(void **state, unsigned workers, unsigned rounds)
{
	struct fixture *f = fixture_of(state);
	unsigned n_dirs = 1, n_files = 0;
	uint32_t random = 20240229;

	f->h->options.workers = workers;
	make_dir(f, "src");
	(void)strcpy(f->dirs[0], "src");
	for (unsigned i = 1; i < 3000; i++)
		make_random(f, i, &n_dirs, &n_files, &random);
	stamp_all(f, "src");
	for (unsigned round = 0; round < rounds; round++) {
		(void)check_copy(f);
		remove_copy(f, "copy");
	}
}

static void test_tree_stress_one_worker(void **state)
{
	check_stress(state, 1, 5);
}

static void test_tree_stress_eight_workers(void **state)
{
	check_stress(state, 8, 5);
}

/* Many files with regions of their own, and few descriptors. */
static struct tree_run *start_with_few_descriptors(struct fixture *f)
{
	struct rlimit limited;
	char path[32];

	make_dir(f, "src");
	for (unsigned i = 0; i < 3 * TREE_BATCH_NAMES; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i % 3);
		if (i < 3)
			make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/%u/%u", i % 3, i);
		make_sparse(f, path, ".d");
	}
	stamp_all(f, "src");
	take_snapshot(&f->src, root_of(f), "src", true);
	f->h->options.workers = 1;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &f->nofile), 0);
	limited = f->nofile;
	limited.rlim_cur = 100;
	f->nofile_limited = true;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limited), 0);
	return start(f, &(struct order){ .src = "src" });
}

static void check_few_descriptors(struct fixture *f)
{
	check_success(f, start_with_few_descriptors(f));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->nofile), 0);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_same(&f->dst, &f->src);
}

/* One is opened when another is on its way. */
static void test_tree_large_files_few_descriptors(void **state)
{
	check_few_descriptors(fixture_of(state));
}

/* What others copy keeps no worker from opening more. */
static void test_tree_large_files_offloaded(void **state)
{
	struct fixture *f = fixture_of(state);

	f->h->options.offload = ENGINE_OFFLOAD_ALWAYS;
	faults.offload_is_slow = true;
	check_few_descriptors(f);
}

static void test_tree_large_files_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	f->h->options.offload = ENGINE_OFFLOAD_ALWAYS;
	faults.offload_is_slow = true;
	run = start_with_few_descriptors(f);
	assert_true(wait_progress(f, run)); /* others wait for this one */
	job_cancel(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->nofile), 0);
	assert_names(f, NULL, 1);
}

/* The first file makes a worker rest that has not rested yet, if it ever does. */
static void check_rests(struct fixture *f, bool served)
{
	make_dir(f, "src");
	make_file(f, "src/file", 1);
	(void)take_source(f);
	if (served)
		engine_note_served(harness_engine(f->h));
	check_success(f, start(f, &(struct order){ .src = "src" }));
	assert_int_equal(faults.rests > 0, served);
}

static void test_tree_rests_not_alone(void **state)
{
	check_rests(fixture_of(state), false);
}

static void test_tree_rests_while_others_are_served(void **state)
{
	check_rests(fixture_of(state), true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_IN_MEMORY(test_tree_several_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_several_identities_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_two_for_one_name),
		TEST_BOTH_IN_MEMORY(test_tree_progress),
		TEST_BOTH_IN_MEMORY(test_tree_count_ahead),
		TEST_BOTH_IN_MEMORY(test_tree_count_while_it_runs),
		TEST_BOTH_IN_MEMORY(test_tree_count_stops_when_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_stress_one_worker),
		TEST_BOTH_IN_MEMORY(test_tree_stress_eight_workers),
		TEST_BOTH_IN_MEMORY(test_tree_large_files_few_descriptors),
		TEST_BOTH_IN_MEMORY(test_tree_large_files_offloaded),
		TEST_BOTH_IN_MEMORY(test_tree_large_files_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_rests_not_alone),
		TEST_BOTH_IN_MEMORY(test_tree_rests_while_others_are_served),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_load", tests, NULL, NULL);
}
