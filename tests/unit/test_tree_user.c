/* SPDX-License-Identifier: MIT */
/*
 * test_tree_user.c - copies as somebody else than the process.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tree_fixture.h"

static void test_tree_unreadable(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "home", .cred = make_user(f) };
	struct tree_run *run;
	char path[64];

	make_dir(f, "src");
	make_dir(f, "src/a");
	make_dir(f, "src/a/b");
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(path, sizeof(path), "src/a/%s%u", i % 2 ? "b/" : "", i);
		make_file(f, path, i);
	}
	make_file(f, "src/a/b/secret", 10);
	set_mode(f, "src/a/b/secret", 0640);
	run = check_failure(f, order, -EACCES);
	assert_string_equal(run->failed_path, "a/b/secret");
	assert_string_equal(run->failed_call, "openat");
	assert_int_equal(harness_stats(f->h).jobs_failed, 1);

	set_mode(f, "src/a/b/secret", 0644);
	make_dir(f, "src/a/closed");
	set_mode(f, "src/a/closed", 0711);
	run = check_failure(f, order, -EACCES);
	assert_string_equal(run->failed_path, "a/closed");

	set_mode(f, "src", 0700);
	run = check_failure(f, order, -EACCES);
	assert_string_equal(run->failed_path, "");
	make_file(f, "secret", 10);
	set_mode(f, "secret", 0600);
	order.src = "secret";
	(void)check_failure(f, order, -EACCES);

	/* Nor may the user write everywhere. */
	make_file(f, "open", 10);
	make_dir(f, "not home");
	order = (struct order){ .src = "open", .parent = "not home", .cred = f->user };
	(void)check_failure(f, order, -EACCES);
}

static void check_as_user(struct fixture *f)
{
	struct order order = { .src = "src", .parent = "home", .cred = f->user };
	struct totals totals;
	struct tree_run *run;

	totals = take_source(f);
	expect_given_to_user(&f->src);
	run = start(f, &order);
	check_success(f, run);
	take_copy(f, &order);
	assert_same(&f->dst, &f->src);
	check_counters(run, &totals);
	assert_names(f, "home", 1);
}

static void test_tree_as_another_user(void **state)
{
	struct fixture *f = fixture_of(state);

	(void)make_user(f);
	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/root's", 10);
	make_file(f, "src/dir/large", 5 * B);
	make_link(f, "src/dir/large", "src/link");
	make_file(f, "src/dir/setuid", 10);
	set_mode(f, "src/dir/setuid", 06755);
	make_file(f, "src/dir/the user's", 10);
	set_owner(f, "src/dir/the user's", USER, USER);
	set_mode(f, "src/dir/the user's", 04700);
	make_file(f, "src/dir/by group", 10);
	set_owner(f, "src/dir/by group", 0, USER_GROUP);
	set_mode(f, "src/dir/by group", 02750);
	make_file(f, "src/dir/the user's by group", 2 * B);
	set_owner(f, "src/dir/the user's by group", USER, USER_GROUP);
	set_mode(f, "src/dir/the user's by group", 02710);
	make_file(f, "src/dir/read only", 10);
	set_mode(f, "src/dir/read only", 0444);
	make_symlink(f, "x", "src/symlink");
	assert_int_equal(mknodat(root_of(f), "src/fifo", S_IFIFO | 0600, 0), 0);
	make_dir(f, "src/closed");
	make_file(f, "src/closed/file", 1);
	set_mode(f, "src/closed", 0555);
	stamp_all(f, "src");
	check_as_user(f);
}

/* A parent of another group and with a setgid bit: the copy is in the user's own. */
static void test_tree_as_another_user_below_setgid(void **state)
{
	struct fixture *f = fixture_of(state);

	(void)make_user(f);
	set_owner(f, "home", USER, 77);
	set_mode(f, "home", 02770);
	make_simple(f);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	stamp_all(f, "src");
	check_as_user(f);
}

/* The attributes of a file that its owner may not write, which holds for its copy too. */
static void test_tree_as_another_user_read_only_attributes(void **state)
{
	struct fixture *f = fixture_of(state);

	(void)make_user(f);
	make_dir(f, "src");
	make_file(f, "src/small", 10);
	make_file(f, "src/large", 5 * B);
	if (!set_xattr(f, "src/small", "user.x", "value", 5))
		skip();
	assert_true(set_xattr(f, "src/large", "user.x", "value", 5));
	set_mode(f, "src/small", 0444);
	set_mode(f, "src/large", 0400);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	stamp_all(f, "src");
	check_as_user(f);
}

/* A user's directories that cannot be written are removed again, too. */
static void test_tree_removes_closed_directories(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "home", .cred = make_user(f) };
	struct tree_run *run;

	make_dir(f, "src");
	make_dir(f, "src/a");
	make_dir(f, "src/a/b");
	make_file(f, "src/a/b/file", 10);
	make_file(f, "src/a/file", 10);
	set_mode(f, "src/a/b", 0555);
	set_mode(f, "src/a", 0555);
	set_mode(f, "src", 0555);
	set_fault(&faults.rename_error, EIO);
	run = check_failure(f, order, -EIO);
	assert_string_equal(run->failed_path, "");
	assert_string_equal(run->failed_call, "renameat2");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_IN_MEMORY(test_tree_unreadable),
		TEST_BOTH(test_tree_as_another_user),
		TEST_BOTH(test_tree_as_another_user_below_setgid),
		TEST_BOTH(test_tree_as_another_user_read_only_attributes),
		TEST_BOTH(test_tree_removes_closed_directories),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_user", tests, NULL, NULL);
}
