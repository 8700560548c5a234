/* SPDX-License-Identifier: MIT */
/*
 * test_tree_error.c - what fails in a tree copy, and sources that change while they are copied.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "tree_fixture.h"

static const struct tree_options go_on = { .on_error = TREE_ON_ERROR_CONTINUE,
					   .fsync = TREE_AS_ENGINE };

/* Failures come in any order. */
static const struct job_failure *find_failure(const struct job_failure *failures, size_t n,
					      const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(failures[i].path, path) == 0)
			return &failures[i];
	fail_msg("no failure of %s", path);
	return NULL;
}

static bool is_there(struct fixture *f, const char *path)
{
	return faccessat(root_of(f), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct tree_run *run_order(struct fixture *f, const struct order *order, int error)
{
	struct tree_run *run = start(f, order);

	assert_int_equal(wait_for(f, run)->error, error);
	return run;
}

/* Three things that the user may not read. */
static void make_unreadable(struct fixture *f)
{
	make_dir(f, "src");
	make_dir(f, "src/a");
	make_dir(f, "src/closed");
	make_file(f, "src/closed/file", 10);
	make_file(f, "src/a/good", 1000);
	make_file(f, "src/a/bad", 1000);
	make_file(f, "src/large", 4 * MIB);
	make_file(f, "src/bad_large", 4 * MIB);
	make_symlink(f, "nowhere", "src/link");
	f->user = make_user(f);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	set_owner(f, "src/a/bad", 0, 0);
	set_owner(f, "src/bad_large", 0, 0);
	set_owner(f, "src/closed", 0, 0);
	set_mode(f, "src/a/bad", 0600);
	set_mode(f, "src/bad_large", 0600);
	set_mode(f, "src/closed", 0700);
}

static void test_tree_continue(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failures[JOB_FAILURES_KEPT];
	struct job_progress progress;
	const struct job_failure *failure;
	struct tree_run *run;
	size_t n;

	need_root("make files that others cannot read");
	make_unreadable(f);
	run = run_order(
		f,
		&(struct order){
			.src = "src", .parent = "home", .cred = f->user, .options = &go_on },
		-EACCES);
	assert_true(run->run.result.published);
	assert_int_equal(run->run.result.failures, 3);
	assert_int_equal(run->run.result.files, 2);
	assert_int_equal(run->run.result.directories, 2);
	assert_int_equal(run->run.result.others, 1);
	n = job_get_failures(run->run.job, failures, JOB_FAILURES_KEPT);
	assert_int_equal(n, 3);
	failure = find_failure(failures, n, "a/bad");
	assert_int_equal(failure->error, -EACCES);
	assert_string_equal(failure->call, "openat");
	(void)find_failure(failures, n, "bad_large");
	(void)find_failure(failures, n, "closed");
	assert_int_equal(job_get_failures(run->run.job, failures, 2), 2);
	job_get_progress(run->run.job, &progress);
	assert_int_equal(progress.failures, 3);
	assert_true(is_there(f, "home/copy/a/good"));
	assert_true(is_there(f, "home/copy/large"));
	assert_true(is_there(f, "home/copy/link"));
	assert_false(is_there(f, "home/copy/a/bad"));
	assert_false(is_there(f, "home/copy/bad_large"));
	assert_false(is_there(f, "home/copy/closed"));
	assert_names(f, "home", 1);
}

static void test_tree_stop(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	need_root("make files that others cannot read");
	make_unreadable(f);
	run = check_failure(f, (struct order){ .src = "src", .parent = "home", .cred = f->user },
			    -EACCES);
	assert_false(run->run.result.published);
	assert_true(run->run.result.failures >= 1);
}

static void test_tree_continue_many(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failures[JOB_FAILURES_KEPT + 1];
	struct tree_run *run;
	char path[64];

	need_root("make files that others cannot read");
	make_dir(f, "src");
	f->user = make_user(f);
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_file(f, path, i);
		set_mode(f, path, i % 2 ? 0600 : 0644);
	}
	run = run_order(
		f,
		&(struct order){
			.src = "src", .parent = "home", .cred = f->user, .options = &go_on },
		-EACCES);
	assert_int_equal(run->run.result.failures, 150);
	assert_int_equal(run->run.result.files, 150);
	assert_int_equal(job_get_failures(run->run.job, failures, JOB_FAILURES_KEPT + 1),
			 JOB_FAILURES_KEPT);
	assert_names(f, "home/copy", 150);
}

/* There is nothing to go on with. */
static void test_tree_continue_root(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	need_root("make files that others cannot read");
	make_dir(f, "src");
	set_mode(f, "src", 0700);
	f->user = make_user(f);
	run = check_failure(
		f,
		(struct order){
			.src = "src", .parent = "home", .cred = f->user, .options = &go_on },
		-EACCES);
	assert_false(run->run.result.published);
	assert_int_equal(run->run.result.failures, 1);
}

static void test_tree_continue_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	need_root("make files that others cannot read");
	make_unreadable(f);
	run = prepare(f,
		      &(struct order){
			      .src = "src", .parent = "home", .cred = f->user, .options = &go_on });
	job_cancel(run->run.job);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_names(f, "home", 0);
}

/* --- hard links ------------------------------------------------------------------------------- */

static void test_tree_first_link_fails(void **state)
{
	struct fixture *f = fixture_of(state);
	struct stat st, first;
	char path[64];
	unsigned there = 0;
	struct tree_run *run;

	make_dir(f, "src");
	make_file(f, "src/name", 100);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_link(f, "src/name", path);
	}
	/* Whenever its turn comes. */
	faults.create_name = "0";
	faults.create_fails = 1;
	run = start(f, &(struct order){ .src = "src", .options = &go_on });
	(void)wait_for(f, run);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(path, sizeof(path), "copy/%u", i);
		if (fstatat(root_of(f), path, &st, 0) < 0)
			continue;
		if (there++ == 0)
			first = st;
		assert_int_equal(st.st_ino, first.st_ino);
	}
	/* That name was the first, and is missing; or it came later and was linked. */
	assert_int_equal(run->run.result.failures, faults.create_fails == 0 ? 1 : 0);
	assert_int_equal(run->run.result.error, faults.create_fails == 0 ? -EIO : 0);
	assert_int_equal(there, faults.create_fails == 0 ? 199 : 200);
	assert_int_equal(first.st_nlink, there + 1);
	assert_int_equal(first.st_size, 100);
}

/* Each of them fails, whichever is the first: none is waited for in vain. */
static void test_tree_every_link_fails(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	char path[64];

	need_root("make files that others cannot read");
	make_dir(f, "src");
	make_file(f, "src/name", 100);
	set_mode(f, "src/name", 0600);
	for (unsigned i = 0; i < 99; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_link(f, "src/name", path);
	}
	f->user = make_user(f);
	run = run_order(
		f,
		&(struct order){
			.src = "src", .parent = "home", .cred = f->user, .options = &go_on },
		-EACCES);
	assert_int_equal(run->run.result.failures, 100);
	assert_names(f, "home/copy", 0);
}

/* --- sources that change ---------------------------------------------------------------------- */

static void vanish(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) < 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0)
		abort(); /* it is a file or an empty directory of the test's own */
}

static void become_link(int dir_fd, const char *name)
{
	vanish(dir_fd, name);
	if (symlinkat("somewhere", dir_fd, name) < 0)
		abort(); /* as above */
}

static void become_dir(int dir_fd, const char *name)
{
	vanish(dir_fd, name);
	if (mkdirat(dir_fd, name, 0700) < 0)
		abort(); /* as above */
}

static void become_file(int dir_fd, const char *name)
{
	int fd;

	vanish(dir_fd, name);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) < 0)
		abort(); /* as above */
}

static void make_three(struct fixture *f)
{
	make_dir(f, "src");
	make_file(f, "src/a", 100);
	make_file(f, "src/x", 100);
	make_dir(f, "src/d");
}

static void check_vanished(void **state, const char *name)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failure;
	struct tree_run *run;

	make_three(f);
	faults.listed_name = name;
	faults.listed = vanish;
	run = run_order(f, &(struct order){ .src = "src", .options = &go_on }, -ENOENT);
	assert_int_equal(job_get_failures(run->run.job, &failure, 1), 1);
	assert_string_equal(failure.path, name);
	assert_int_equal(run->run.result.failures, 1);
	assert_names(f, "copy", 2);
	remove_copy(f, "src");
	make_three(f);
	faults.listed_name = name;
	(void)check_failure(f, (struct order){ .src = "src", .name = "copy2" }, -ENOENT);
}

static void test_tree_vanished_file(void **state)
{
	check_vanished(state, "x");
}

static void test_tree_vanished_directory(void **state)
{
	check_vanished(state, "d");
}

/* What it is the second time counts. */
static void check_replaced(void **state, const char *name, void (*replace)(int, const char *))
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_three(f);
	faults.listed_name = name;
	faults.listed = replace;
	run = run_order(f, &(struct order){ .src = "src" }, 0);
	assert_null(faults.listed_name);
	assert_int_equal(run->run.result.failures, 0);
	take_snapshot(&f->src, root_of(f), "src", true);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_same_but_atimes(f);
}

static void test_tree_file_becomes_link(void **state)
{
	check_replaced(state, "x", become_link);
}

static void test_tree_file_becomes_directory(void **state)
{
	check_replaced(state, "x", become_dir);
}

static void test_tree_directory_becomes_file(void **state)
{
	check_replaced(state, "d", become_file);
}

static void test_tree_directory_becomes_link(void **state)
{
	check_replaced(state, "d", become_link);
}

/* Two files, with the first of which something is to happen. */
static void make_two(struct fixture *f, uint64_t size)
{
	make_dir(f, "src");
	make_file(f, "src/x", size);
	make_file(f, "src/y", size);
	faults.create_name = "x";
}

static void check_changed_once(void **state, uint64_t size)
{
	struct fixture *f = fixture_of(state);

	make_two(f, size);
	faults.source_grows = 1;
	(void)run_order(f, &(struct order){ .src = "src" }, 0);
	assert_int_equal(faults.source_grows, 0);
	take_snapshot(&f->src, root_of(f), "src", true);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_same_but_atimes(f);
	assert_int_equal(f->dst.items[1].st.st_size, size + 4);
}

static void test_tree_changed_once(void **state)
{
	check_changed_once(state, 100);
}

static void test_tree_changed_once_large(void **state)
{
	check_changed_once(state, 4 * MIB + 1);
}

static void check_changed_twice(void **state, uint64_t size)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failure;
	struct tree_run *run;

	make_two(f, size);
	faults.source_grows = 2;
	(void)check_failure(f, (struct order){ .src = "src" }, -EBUSY);
	assert_int_equal(faults.source_grows, 0);
	faults.source_grows = 2;
	run = run_order(f, &(struct order){ .src = "src", .options = &go_on }, -EBUSY);
	assert_int_equal(job_get_failures(run->run.job, &failure, 1), 1);
	assert_string_equal(failure.path, "x");
	assert_int_equal(run->run.result.failures, 1);
	assert_true(is_there(f, "copy/x")); /* reported, but better than nothing */
	assert_true(is_there(f, "copy/y"));
}

static void test_tree_changed_twice(void **state)
{
	check_changed_twice(state, 100);
}

static void test_tree_changed_twice_large(void **state)
{
	check_changed_twice(state, 4 * MIB + 1);
}

/* What is kept all the same is on stable storage as the rest is. */
static void check_changed_synced(void **state, uint64_t size)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = go_on;

	options.fsync = ENGINE_FSYNC_FILE;
	make_two(f, size);
	faults.source_grows = 2;
	(void)run_order(f, &(struct order){ .src = "src", .options = &options }, -EBUSY);
	assert_true(is_there(f, "copy/x"));
	assert_int_equal(faults.file_syncs, 2);
	/* In its second attempt from the beginning. */
	faults.create_error = ENOENT;
	faults.create_fails = faults.source_grows = 1;
	(void)run_order(f, &(struct order){ .src = "src", .name = "again", .options = &options },
			-EBUSY);
	assert_true(is_there(f, "again/x"));
	assert_int_equal(faults.file_syncs, 4);
}

static void test_tree_changed_synced(void **state)
{
	check_changed_synced(state, 100);
}

static void test_tree_changed_synced_large(void **state)
{
	check_changed_synced(state, 4 * MIB + 1);
}

static const struct tree_options verified = { .verify = true, .fsync = TREE_AS_ENGINE };

static void test_tree_verify(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .options = &verified };
	struct job_progress progress;

	make_sizes(f);
	make_sparse(f, "src/sparse", ".d..d...");
	make_sparse(f, "src/hole", "....");
	make_file(f, "src/long", 20 * MIB + 1);
	stamp_all(f, "src");
	job_get_progress(check_order(f, order)->run.job, &progress);
	assert_true(progress.verifies);
	assert_int_equal(progress.bytes_verified, progress.bytes);
}

/* Files that are made belong to somebody else than their maker. */
static void test_tree_verify_foreign_owner(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options merge = verified;

	make_dir(f, "there");
	make_two(f, 100);
	make_file(f, "src/large", 4 * MIB);
	faults.foreign_owner = true;
	(void)run_order(f, &(struct order){ .src = "src", .options = &verified }, 0);
	(void)run_order(
		f, &(struct order){ .src = "src/x", .name = "single", .options = &verified }, 0);
	merge.existing = TREE_EXISTING_MERGE;
	(void)run_order(f, &(struct order){ .src = "src", .name = "there", .options = &merge }, 0);
	assert_names(f, NULL, 4);
	assert_names(f, "copy", 3);
	assert_names(f, "there", 3);
}

static void check_broken(void **state, uint64_t size)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failure;
	struct tree_run *run;

	make_two(f, size);
	faults.copy_breaks = 1;
	run = check_failure(f, (struct order){ .src = "src", .options = &verified }, -EIO);
	assert_int_equal(faults.copy_breaks, 0);
	assert_int_equal(job_get_failures(run->run.job, &failure, 1), 1);
	assert_string_equal(failure.path, "x");
	assert_string_equal(failure.call, "verify");
}

static void test_tree_verify_broken(void **state)
{
	check_broken(state, 100);
}

static void test_tree_verify_broken_large(void **state)
{
	check_broken(state, 20 * MIB);
}

/* One file's ECANCELED, from a server, is an error of that file. DEST stays what it was. */
static void check_foreign_cancel(struct fixture *f, bool verify)
{
	struct tree_options options = verified;
	struct job_failure failure;
	struct tree_run *run;

	options.verify = verify;
	(void)check_failure(f, (struct order){ .src = "src", .options = &options }, -EIO);
	(void)check_failure(f, (struct order){ .src = "src/x", .options = &options }, -EIO);
	options.existing = TREE_EXISTING_REPLACE;
	run = check_failure(f, (struct order){ .src = "src", .name = "old", .options = &options },
			    -EIO);
	assert_int_equal(job_get_failures(run->run.job, &failure, 1), 1);
	assert_string_equal(failure.path, "x");
	assert_int_equal(failure.error, -EIO);
	assert_true(is_there(f, "old/file"));
	options.on_error = TREE_ON_ERROR_CONTINUE;
	run = run_order(f, &(struct order){ .src = "src", .options = &options }, -EIO);
	assert_int_equal(run->run.result.failures, 1);
	assert_false(is_there(f, "copy/x"));
	assert_true(is_there(f, "copy/y"));
	remove_copy(f, "copy");
}

static void test_tree_server_cancels(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "old");
	make_file(f, "old/file", 10);
	make_two(f, 2 * MIB);
	faults.settle_error = ECANCELED;
	check_foreign_cancel(f, false);
	faults.settle_error = 0;
	faults.verify_error = ECANCELED;
	check_foreign_cancel(f, true);
}

/* A path that is longer than what is told of it keeps its end. */
static void test_tree_long_path(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_failure failure;
	char name[201];
	struct tree_run *run;
	size_t length;
	int next;

	f->deep = true;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	make_dir(f, "src");
	f->fd = openat(root_of(f), "src", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(mkdirat(f->fd, name, 0755), 0);
		next = openat(f->fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		(void)close(f->fd);
		f->fd = next;
	}
	next = openat(f->fd, "bad", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(next >= 0);
	(void)close(next);
	faults.create_name = "bad";
	faults.create_fails = 1;
	run = run_order(f, &(struct order){ .src = "src" }, -EIO);
	assert_int_equal(job_get_failures(run->run.job, &failure, 1), 1);
	length = strlen(failure.path);
	assert_in_range(length, JOB_FAILURE_PATH_MAX - NAME_MAX, JOB_FAILURE_PATH_MAX);
	assert_memory_equal(failure.path, ".../nnn", 7);
	assert_string_equal(failure.path + length - 5, "n/bad");
}

/* How many files there are to copy, as the counter sees it. */
static uint64_t count_files(struct fixture *f, const struct tree_options *options)
{
	struct tree_run *run = prepare(f, &(struct order){ .src = "src", .options = options });
	struct job_progress progress;

	job_count(run->run.job);
	job_get_progress(run->run.job, &progress);
	job_cancel(run->run.job);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
	assert_true(progress.totals_known);
	return progress.files_total;
}

static void test_tree_one_file_system(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct tree_options one = { .one_file_system = true, .fsync = TREE_AS_ENGINE };
	struct stat st;

	make_dir(f, "src");
	make_file(f, "src/x", 100);
	test_dir_mount(&f->h->dir, "src/small", "size=1m,mode=0751");
	make_file(f, "src/small/file", 10);
	(void)run_order(f, &(struct order){ .src = "src", .name = "all" }, 0);
	assert_true(is_there(f, "all/small/file"));
	(void)run_order(f, &(struct order){ .src = "src", .options = &one }, 0);
	assert_names(f, "copy/small", 0);
	assert_int_equal(fstatat(root_of(f), "copy/small", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_true(is_there(f, "copy/x"));
	assert_int_equal(count_files(f, &one), 1);
	assert_int_equal(count_files(f, NULL), 2);
	/* The root's own file system counts. */
	(void)run_order(f, &(struct order){ .src = "src/small", .name = "inner", .options = &one },
			0);
	assert_true(is_there(f, "inner/file"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_continue),
		TEST_BOTH(test_tree_stop),
		TEST_BOTH(test_tree_continue_many),
		TEST_BOTH(test_tree_continue_root),
		TEST_BOTH(test_tree_continue_cancelled),
		TEST_BOTH(test_tree_first_link_fails),
		TEST_BOTH(test_tree_every_link_fails),
		TEST_BOTH(test_tree_vanished_file),
		TEST_BOTH(test_tree_vanished_directory),
		TEST_BOTH(test_tree_file_becomes_link),
		TEST_BOTH(test_tree_file_becomes_directory),
		TEST_BOTH(test_tree_directory_becomes_file),
		TEST_BOTH(test_tree_directory_becomes_link),
		TEST_BOTH(test_tree_changed_once),
		TEST_BOTH(test_tree_changed_once_large),
		TEST_BOTH(test_tree_changed_twice),
		TEST_BOTH(test_tree_changed_twice_large),
		TEST_BOTH(test_tree_changed_synced),
		TEST_BOTH(test_tree_changed_synced_large),
		TEST_BOTH(test_tree_verify),
		TEST_BOTH(test_tree_verify_foreign_owner),
		TEST_BOTH(test_tree_verify_broken),
		TEST_BOTH(test_tree_verify_broken_large),
		TEST_BOTH(test_tree_server_cancels),
		TEST_BOTH(test_tree_long_path),
		TEST_BOTH(test_tree_one_file_system),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_error", tests, NULL, NULL);
}
