/* SPDX-License-Identifier: MIT */
/*
 * test_tree_end.c - how copies end: cancelled, without space, durable; and many at once.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "tree_fixture.h"

/* Something to be in the middle of. */
static void make_lengthy(struct fixture *f)
{
	char path[64];

	make_dir(f, "src");
	make_dir(f, "src/many");
	for (unsigned i = 0; i < 600; i++) {
		(void)snprintf(path, sizeof(path), "src/many/%u", i);
		make_file(f, path, 500 + i % 100);
	}
	make_file(f, "src/large", LARGE);
	make_dir(f, "src/many/dir");
	make_file(f, "src/many/dir/large", LARGE / 4);
}

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

/* A tmpfs in a mount namespace of our own. The old directory's descriptor would not show it. */
static void mount_small(struct fixture *f, const char *options)
{
	struct test_dir *dir = &f->h->dir;
	char path[sizeof(dir->path) + 8];

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("no mount namespace of our own: %s\n", strerror(errno));
		skip();
	}
	(void)snprintf(path, sizeof(path), "%s/small", dir->path); /* fits */
	assert_int_equal(mkdir(path, 0755), 0);
	if (mount("tmpfs", path, "tmpfs", 0, options) < 0) {
		print_message("no tmpfs: %s\n", strerror(errno));
		skip();
	}
	f->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dup3(f->fd, dir->fd, O_CLOEXEC) == dir->fd);
	assert_int_equal(close(TAKE_FD(f->fd)), 0);
}

static void test_tree_no_space(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct order order = { .src = "src", .parent = "small" };
	char path[64];

	mount_small(f, "size=4m");
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

	mount_small(f, "size=4m,nr_inodes=300");
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

	mount_small(f, "size=100m");
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

	mount_small(f, "size=4m");
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

static void test_tree_fsync_file(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	mount_small(f, "size=100m"); /* where it costs nothing */
	make_dir(f, "src");
	/* Of a group's files all are synced at once, however many were read. */
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_file(f, path, i % 32 == 0);
	}
	make_file(f, "src/large", 3 * B + 1);
	stamp_all(f, "src");
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	(void)check_order(f, (struct order){ .src = "src", .parent = "small" });
	(void)check_order(f,
			  (struct order){ .src = "src/large", .parent = "small", .name = "file" });
	harness_engine_free(f->h);
	f->h->options.workers = 1;
	f->h->options.queue_depth = 1;
	(void)check_order(f, (struct order){ .src = "src", .parent = "small", .name = "copy2" });
	assert_int_equal(faults.syncs, 0);
}

static void test_tree_fsync_file_on_disk(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	(void)check_copy(f);
	if (f->h->options.io != ENGINE_IO_SYNC)
		return; /* the ring has an fsync of its own */
	set_fault(&faults.fsync_error, EIO);
	(void)check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO);
	/* A small file alone. */
	assert_string_equal(check_failure(f, (struct order){ .src = "src/dir", .name = "fails" },
					  -EIO)
				    ->failed_call,
			    "fsync");
}

static void test_tree_fsync_tree(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	(void)check_copy(f);
	assert_true(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED) > 0);
	(void)check_order(f, (struct order){ .src = "src/large", .name = "file" });

	set_fault(&faults.syncfs_error, EIO);
	assert_string_equal(
		check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO)->failed_call,
		"syncfs");
	set_fault(&faults.syncfs_error, 0);
	/* Of the directory in which it has appeared: it is taken away again. */
	set_fault(&faults.fsync_error, EIO);
	assert_string_equal(
		check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO)->failed_call,
		"fsync");
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
		TEST_BOTH_IN_MEMORY(test_tree_several_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_several_identities_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_two_for_one_name),
		TEST_BOTH_IN_MEMORY(test_tree_progress),
		TEST_BOTH_IN_MEMORY(test_tree_count_ahead),
		TEST_BOTH_IN_MEMORY(test_tree_count_while_it_runs),
		TEST_BOTH_IN_MEMORY(test_tree_count_stops_when_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_fsync_file),
		TEST_BOTH(test_tree_fsync_file_on_disk),
		TEST_BOTH(test_tree_fsync_tree),
		TEST_BOTH_IN_MEMORY(test_tree_stress_one_worker),
		TEST_BOTH_IN_MEMORY(test_tree_stress_eight_workers),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_end", tests, NULL, NULL);
}
