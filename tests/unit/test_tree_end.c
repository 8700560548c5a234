/* SPDX-License-Identifier: MIT */
/*
 * test_tree_end.c - how copies end early: cancelled, drained, without space.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "tree_fixture.h"

static void test_tree_cancelled_before_start(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_simple(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_cancel(run->run.job);
	assert_int_equal(run->run.done_calls, 0);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_int_equal(run->run.result.bytes, 0);
	assert_names(f, NULL, 1);
	job_cancel(run->run.job); /* harmless */
	harness_engine_free(f->h);
	assert_int_equal(run->run.done_calls, 1);
}

static void test_tree_cancelled_in_the_middle(void **state)
{
	struct fixture *f = fixture_of(state);
	unsigned caught = 0;

	make_lengthy(f);
	for (int attempt = 0; attempt < 15 && caught < 5; attempt++) {
		struct tree_run *run = start(f, &(struct order){ .src = "src" });

		(void)wait_progress(f, run); /* false: it was too fast for us */
		test_sleep_ms(caught);
		job_cancel(run->run.job);
		if (wait_for(f, run)->error == 0) {
			remove_copy(f, "copy");
			continue;
		}
		assert_int_equal(run->run.result.error, -ECANCELED);
		assert_string_equal(run->failed_path, "");
		assert_names(f, NULL, 1);
		caught++;
	}
	assert_true(caught > 0);
	assert_int_equal(harness_stats(f->h).jobs_cancelled, caught);
	assert_int_equal(harness_stats(f->h).jobs_failed, 0);
	harness_engine_free(f->h);
	for (unsigned i = 0; i < f->n_runs; i++)
		assert_int_equal(f->runs[i].run.done_calls, 1);
}

static void test_tree_root_file_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	unsigned caught = 0;

	make_file(f, "src", LARGE);
	for (int attempt = 0; attempt < 15 && caught < 3; attempt++) {
		struct tree_run *run = start(f, &(struct order){ .src = "src" });

		(void)wait_progress(f, run); /* false: it was too fast for us */
		job_cancel(run->run.job);
		if (wait_for(f, run)->error == 0) {
			remove_copy(f, "copy");
			continue;
		}
		assert_int_equal(run->run.result.error, -ECANCELED);
		assert_names(f, NULL, 1);
		caught++;
	}
	assert_true(caught > 0);
}

static void test_tree_drained(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct order order = { .src = "src", .name = "another" };
	struct tree_run *runs[3], refused = { 0 };

	make_lengthy(f);
	runs[0] = start(f, &(struct order){ .src = "src" });
	runs[1] = start(f, &order);
	runs[2] = prepare(f, &(struct order){ .src = "src", .name = "late" });
	(void)wait_progress(f, runs[0]);
	engine_drain(f->h->engine); /* bounded by the watchdog */
	for (size_t i = 0; i < 2; i++) {
		/* drain() has waited already */
		assert_int_equal(__atomic_load_n(&runs[i]->run.done_calls, __ATOMIC_RELAXED), 1);
		assert_int_equal(wait_for(f, runs[i])->error, -ECANCELED);
	}
	assert_int_equal(try_prepare(f, &order, &refused), -ESHUTDOWN);
	/* One that was prepared before: it is ended, not run. */
	job_start(runs[2]->run.job);
	assert_int_equal(wait_for(f, runs[2])->error, -ECANCELED);
	assert_names(f, NULL, 1);
}

/* The caller keeps nothing: the job goes with its end. */
static void test_tree_unreferenced_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	char name[32];

	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/small", 10);
	make_file(f, "src/dir/large", 3 * B);
	make_link(f, "src/dir/large", "src/link");
	make_file(f, "outside", 1);
	make_link(f, "outside", "src/of the outside");
	__atomic_store_n(&faults.disturb, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "copy%u", i);
		run = prepare(f, &(struct order){ .src = i % 4 ? "src" : "outside", .name = name });
		if (i % 5 == 4)
			job_cancel(run->run.job);
		job_start(run->run.job);
		job_unref(TAKE_PTR(run->run.job));
	}
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(wait_for(f, &f->runs[i])->error, i % 5 == 4 ? -ECANCELED : 0);
	assert_names(f, NULL, 2 + 16);
}

static void test_tree_no_space(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct order order = { .src = "src", .parent = "small" };
	char path[64];

	test_dir_mount(&f->h->dir, "small", "size=4m");
	make_dir(f, "src");
	for (unsigned i = 0; i < 60; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_file(f, path, i % 2 ? 200 * KIB : 10 * KIB);
	}
	for (int i = 0; i < 3; i++) {
		struct tree_run *run = check_failure(f, order, -ENOSPC);

		assert_true(run->failed_path[0] >= '0' && run->failed_path[0] <= '9');
	}
	make_file(f, "file", 8 * MIB);
	(void)check_failure(f, (struct order){ .src = "file", .parent = "small" }, -ENOSPC);
}

static void test_tree_no_inodes(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	test_dir_mount(&f->h->dir, "small", "size=4m,nr_inodes=300");
	make_dir(f, "src");
	for (unsigned i = 0; i < 400; i++) {
		if (i % 20 == 0) {
			(void)snprintf(path, sizeof(path), "src/%u", i / 20);
			make_dir(f, path);
		}
		(void)snprintf(path, sizeof(path), "src/%u/%u", i / 20, i);
		if (i % 3 == 0)
			make_symlink(f, "x", path);
		else
			make_file(f, path, 1);
	}
	for (int i = 0; i < 3; i++)
		(void)check_failure(f, (struct order){ .src = "src", .parent = "small" }, -ENOSPC);
}

/* To another file system and from it: what both have is kept. */
static void test_tree_between_file_systems(void **state)
{
	struct fixture *f = fixture_of(state);

	test_dir_mount(&f->h->dir, "small", "size=100m");
	make_sizes(f);
	make_sparse(f, "src/sparse", "..d.d");
	make_link(f, "src/sparse", "src/a/sparse");
	stamp_all(f, "src");
	(void)check_order(f, (struct order){ .src = "src", .parent = "small" });
	(void)check_order(f, (struct order){ .src = "small/copy", .name = "back" });
}

static void test_tree_forbidden_device(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "small" };
	struct stat st;

	test_dir_mount(&f->h->dir, "small", "size=4m");
	make_simple(f);
	assert_int_equal(fstatat(root_of(f), "small", &st, 0), 0);
	order.forbidden_dev = st.st_dev;
	(void)check_order(f, order); /* to it, but not from it */
	order.src = "small/copy/dir/file";
	order.name = "file";
	(void)check_order(f, order); /* nor are files */
	order.src = "small/copy";
	order.name = "again";
	(void)check_failure(f, order, -ELOOP);
	order.parent = NULL;
	(void)check_failure(f, order, -ELOOP);
}

/* Which takes long where much is to be written. */
static void test_tree_cancelled_in_syncfs(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	run = prepare(f, &(struct order){ .src = "src" });
	faults.cancelled_by_sync = run->run.job;
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_int_equal(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED), 1);
	assert_false(run->run.result.published);
	assert_names(f, NULL, 1);
}

/* Nobody waits for it, not even when what was staged is removed; only the engine's end does. */
static void test_tree_cancelled_while_syncfs_hangs(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	__atomic_store_n(&faults.syncfs_hangs, true, __ATOMIC_RELAXED);
	run = start(f, &(struct order){ .src = "src" });
	while (__atomic_load_n(&faults.syncfs_hanging, __ATOMIC_RELAXED) == 0)
		sched_yield();
	assert_int_equal(job_get_verdict(run->run.job), 0);
	job_cancel(run->run.job);
	assert_int_equal(job_get_verdict(run->run.job), -ECANCELED);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_int_equal(__atomic_load_n(&faults.syncfs_hanging, __ATOMIC_RELAXED), 1);
	assert_names(f, NULL, 1);
	__atomic_store_n(&faults.syncfs_hangs, false, __ATOMIC_RELAXED);
	harness_engine_free(f->h);
	assert_int_equal(__atomic_load_n(&faults.syncfs_hanging, __ATOMIC_RELAXED), 0);
}

/* More than there are threads for it: some are never begun. */
static void test_tree_cancelled_many_while_syncfs_hangs(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *runs[2 * SYNCFS_THREADS_MAX];
	char names[ARRAY_SIZE(runs)][8];

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	__atomic_store_n(&faults.syncfs_hangs, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < ARRAY_SIZE(runs); i++) {
		(void)snprintf(names[i], sizeof(names[i]), "copy%u", i);
		runs[i] = start(f, &(struct order){ .src = "src", .name = names[i] });
	}
	while (__atomic_load_n(&faults.syncfs_hanging, __ATOMIC_RELAXED) < SYNCFS_THREADS_MAX)
		sched_yield();
	for (unsigned i = 1; i < ARRAY_SIZE(runs); i++)
		job_cancel(runs[i]->run.job);
	for (unsigned i = 1; i < ARRAY_SIZE(runs); i++)
		assert_int_equal(wait_for(f, runs[i])->error, -ECANCELED);
	__atomic_store_n(&faults.syncfs_hangs, false, __ATOMIC_RELAXED);
	check_success(f, runs[0]);
	assert_names(f, NULL, 2);
}

/* Written back in pieces: those in flight are waited for, and no other is begun. */
static void test_tree_cancelled_while_written_back(void **state)
{
	struct fixture *f = fixture_of(state);
	const uint64_t size = 64 * MIB;
	struct tree_run *run;

	make_dir(f, "src");
	make_file(f, "src/file", size);
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	run = prepare(f, &(struct order){ .src = "src" });
	faults.cancelled_by_flush = run->run.job;
	faults.cancelling_flush = 5;
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_in_range(faults.flushes, 5, 8);
	assert_names(f, NULL, 1);

	faults.cancelling_flush = 0;
	faults.flushes = 0;
	(void)check_copy(f);
	assert_int_equal(faults.flushes, size / (4 * MIB));
}

/*
 * A range is answered with what is there, as always, but not with all of it: whoever was not killed by a signal
 * goes on where they were, and gets the fsync with the rest.
 */
static void test_copy_cancelled_while_written_back(void **state)
{
	struct fixture *f = fixture_of(state);
	const uint64_t size = 64 * MIB;
	struct copy_spec spec = { .length = size };
	struct run *run;

	f->h->options.fsync = ENGINE_FSYNC_FILE;
	spec.src_fd = harness_src(f->h, true, size);
	spec.dst_fd = test_dir_file(&f->h->dir, true);
	run = harness_prepare(f->h, spec);
	faults.cancelled_by_flush = run->job;
	faults.cancelling_flush = 5;
	job_start(run->job);
	assert_result(harness_wait(f->h, run), 0, size - 1);
	assert_in_range(faults.flushes, 5, 8);
	faults.cancelling_flush = 0;
	spec.src_offset = spec.dst_offset = size - 1;
	assert_result(harness_copy(f->h, spec), 0, 1);
}

/* What was not compared to its end gets no name, and what is left of it is not even read. */
static void test_tree_cancelled_while_verified(void **state)
{
	static const uint64_t sizes[] = { 100, 20 * MIB };
	static const struct tree_options options = { .existing = TREE_EXISTING_MERGE,
						     .fsync = TREE_AS_ENGINE,
						     .reflink = ENGINE_REFLINK_NEVER,
						     .verify = true };
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct tree_run *run;

	make_dir(f, "copy");
	make_dir(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		make_file(f, i ? "src/large" : "src/small", sizes[i]);
		run = prepare(f, &(struct order){ .src = "src", .options = &options });
		faults.cancelled_by_verify = run->run.job;
		job_start(run->run.job);
		assert_int_equal(wait_for(f, run)->error, -ECANCELED);
		job_get_progress(run->run.job, &progress);
		assert_true(progress.verifies && progress.bytes > 0);
		assert_int_equal(progress.bytes_verified, 0);
		assert_int_equal(run->run.result.files, 0);
		assert_names(f, "copy", 0);
	}
}

/* Who cancels that late has not cancelled: the copy is there. */
static void test_tree_cancelled_when_published(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_simple(f);
	run = prepare(f, &(struct order){ .src = "src" });
	faults.cancelled_by_rename = run->run.job;
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, 0);
	assert_true(run->run.result.published);
	assert_int_equal(job_get_verdict(run->run.job), 0);
	faults.cancelled_by_rename = NULL;
	run = check_failure(f, (struct order){ .src = "src" }, -EEXIST);
	assert_int_equal(job_get_verdict(run->run.job), -EEXIST);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_cancelled_before_start),
		TEST_BOTH_IN_MEMORY(test_tree_cancelled_in_the_middle),
		TEST_BOTH(test_tree_root_file_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_drained),
		TEST_BOTH_IN_MEMORY(test_tree_unreferenced_at_once),
		TEST_BOTH(test_tree_no_space),
		TEST_BOTH_IN_MEMORY(test_tree_no_inodes),
		TEST_BOTH(test_tree_between_file_systems),
		TEST_BOTH(test_tree_forbidden_device),
		TEST_BOTH(test_tree_cancelled_in_syncfs),
		TEST_BOTH(test_tree_cancelled_while_syncfs_hangs),
		TEST_BOTH(test_tree_cancelled_many_while_syncfs_hangs),
		TEST_BOTH(test_tree_cancelled_while_written_back),
		TEST_BOTH(test_copy_cancelled_while_written_back),
		TEST_BOTH_IN_MEMORY(test_tree_cancelled_while_verified),
		TEST_BOTH_IN_MEMORY(test_tree_cancelled_when_published),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_end", tests, NULL, NULL);
}
