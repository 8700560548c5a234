/* SPDX-License-Identifier: MIT */
/*
 * test_tree_dest.c - what the copy's destination may be.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree_fixture.h"

/* A parent that hands down its group and the setgid bit. */
static void test_tree_parent_with_setgid(void **state)
{
	struct fixture *f = fixture_of(state);

	need_root("choose groups");
	make_simple(f);
	make_dir(f, "parent");
	set_owner(f, "parent", 0, USER_GROUP);
	set_mode(f, "parent", 02777);
	(void)check_order(f, (struct order){ .src = "src", .parent = "parent" });
}

static void test_tree_parent_with_setgid_file(void **state)
{
	struct fixture *f = fixture_of(state);

	need_root("choose groups");
	make_file(f, "src", 100);
	stamp_all(f, "src");
	make_dir(f, "parent");
	set_owner(f, "parent", 0, USER_GROUP);
	set_mode(f, "parent", 02777);
	(void)check_order(f, (struct order){ .src = "src", .parent = "parent" });
}

static void make_parent_with_acl(struct fixture *f)
{
	make_dir(f, "parent");
	if (set_acl(f, "parent", ACL_DEFAULT))
		return;
	print_message("no ACLs on this file system\n");
	skip();
}

static void test_tree_parent_with_default_acl(void **state)
{
	struct fixture *f = fixture_of(state);

	make_parent_with_acl(f);
	make_simple(f);
	(void)check_order(f, (struct order){ .src = "src", .parent = "parent" });
}

static void test_tree_parent_with_default_acl_file(void **state)
{
	struct fixture *f = fixture_of(state);

	make_parent_with_acl(f);
	make_file(f, "src", 100);
	set_mode(f, "src", 0640);
	stamp_all(f, "src");
	(void)check_order(f, (struct order){ .src = "src", .parent = "parent" });
}

static void test_tree_destination_exists(void **state)
{
	static const char *const names[] = { "file", "dir", "empty dir", "dangling" };
	struct fixture *f = fixture_of(state);

	make_simple(f);
	make_file(f, "source file", 5);
	make_dir(f, "parent");
	make_file(f, "parent/file", 10);
	make_dir(f, "parent/dir");
	make_file(f, "parent/dir/file", 10);
	make_dir(f, "parent/empty dir");
	make_symlink(f, "nowhere", "parent/dangling");
	stamp_all(f, "parent");
	take_snapshot(&f->src, root_of(f), "parent", true);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)check_failure(
			f, (struct order){ .src = "src", .parent = "parent", .name = names[i] },
			-EEXIST);
		(void)check_failure(f,
				    (struct order){ .src = "source file",
						    .parent = "parent",
						    .name = names[i] },
				    -EEXIST);
	}
	take_snapshot(&f->dst, root_of(f), "parent", true);
	assert_same(&f->dst, &f->src);
	(void)check_failure(f, (struct order){ .src = "src", .name = "src" }, -EEXIST);
}

/* Somebody takes the name while the copy goes on. */
static void test_tree_destination_appears(void **state)
{
	struct fixture *f = fixture_of(state);
	bool caught = false;

	make_dir(f, "src");
	make_file(f, "src/large", LARGE);
	for (int attempt = 0; attempt < 10 && !caught; attempt++) {
		struct tree_run *run = start(f, &(struct order){ .src = "src" });

		(void)wait_progress(f, run);
		caught = mkdirat(root_of(f), "copy", 0751) == 0;
		assert_int_equal(wait_for(f, run)->error, caught ? -EEXIST : 0);
		assert_names(f, NULL, 2);
		assert_true(!caught || unlinkat(root_of(f), "copy", AT_REMOVEDIR) == 0);
		if (!caught)
			remove_copy(f, "copy");
	}
	assert_true(caught);
}

static void test_tree_destination_inside_source(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	make_dir(f, "src/a");
	make_dir(f, "src/a/b");
	take_snapshot(&f->src, root_of(f), "src", true);
	(void)check_failure(f, (struct order){ .src = "src", .parent = "src" }, -EINVAL);
	(void)check_failure(f, (struct order){ .src = "src", .parent = "src/a/b" }, -EINVAL);
	take_snapshot(&f->dst, root_of(f), "src", true);
	assert_same(&f->dst, &f->src); /* its times too: nothing was ever made there */

	/* Beside what is copied, and above it. */
	(void)check_order(f, (struct order){ .src = "src/a", .parent = "src" });
	(void)check_order(f, (struct order){ .src = "src/a/b", .parent = "src", .name = "b" });
	(void)check_order(f, (struct order){ .src = "src/large", .parent = "src/a" });
}

static void test_tree_bad_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/b", "a/", "/a" };
	struct fixture *f = fixture_of(state);
	struct tree_run run = { 0 };
	char name[NAME_MAX + 2];

	make_simple(f);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(try_prepare(f, &(struct order){ .src = "src", .name = bad[i] },
					     &run),
				 -EINVAL);
	memset(name, 'x', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	assert_int_equal(try_prepare(f, &(struct order){ .src = "src", .name = name }, &run),
			 -EINVAL);
	assert_null(run.run.job);
	assert_int_equal(harness_stats(f->h).workers, 0);
	assert_names(f, NULL, 1);
}

static void test_tree_bad_descriptors(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run run = { 0 };
	struct tree_spec spec = {
		.src_fd = -1,
		.dst_parent_fd = root_of(f),
		.dst_name = "copy",
		.done = run_done,
		.userdata = &run,
	};

	assert_int_equal(engine_copy_tree(harness_engine(f->h), &spec, &run.run.job), -EBADF);
	spec.src_fd = root_of(f);
	spec.dst_parent_fd = -1;
	assert_int_equal(engine_copy_tree(harness_engine(f->h), &spec, &run.run.job), -EBADF);
	assert_null(run.run.job);
}

static void test_tree_source_of_another_kind(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "dir");
	make_symlink(f, "dir", "symlink");
	assert_int_equal(mknodat(root_of(f), "fifo", S_IFIFO | 0600, 0), 0);
	assert_int_equal(mknodat(root_of(f), "socket", S_IFSOCK | 0600, 0), 0);
	(void)check_failure(f, (struct order){ .src = "symlink" }, -EOPNOTSUPP);
	(void)check_failure(f, (struct order){ .src = "fifo" }, -EOPNOTSUPP);
	(void)check_failure(f, (struct order){ .src = "socket" }, -EOPNOTSUPP);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_parent_with_setgid),
		TEST_BOTH(test_tree_parent_with_setgid_file),
		TEST_BOTH(test_tree_parent_with_default_acl),
		TEST_BOTH(test_tree_parent_with_default_acl_file),
		TEST_BOTH(test_tree_destination_exists),
		TEST_BOTH(test_tree_destination_appears),
		TEST_BOTH(test_tree_destination_inside_source),
		TEST_BOTH(test_tree_bad_names),
		TEST_BOTH(test_tree_bad_descriptors),
		TEST_BOTH(test_tree_source_of_another_kind),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_dest", tests, NULL, NULL);
}
