/* SPDX-License-Identifier: MIT */
/*
 * test_tree_hostile.c - somebody who may write to the copy's directory puts something else where the
 * copy has just made something: what that is stays as it was.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tree_fixture.h"

/* What is done once, when something was made; set before the job starts, and read after it. */
static struct {
	const char *with; /* changes places with what was made, or becomes where a link leads */
	bool link;
	bool done;
	char name[NAME_MAX + 1]; /* what was made */
	mode_t mode;		 /* of what was created */
} trick;

static void exchange(int dir_fd, const char *name)
{
	if (__atomic_exchange_n(&trick.done, true, __ATOMIC_RELAXED))
		return;
	(void)snprintf(trick.name, sizeof(trick.name), "%s", name); /* it fits */
	if (trick.link ? renameat(dir_fd, name, dir_fd, "moved") < 0 ||
				 symlinkat(trick.with, dir_fd, name) < 0 :
			 renameat2(dir_fd, name, dir_fd, trick.with, RENAME_EXCHANGE) < 0)
		abort(); /* the test cannot be made here */
}

static void look_at_mode(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		trick.mode = st.st_mode;
}

static void play(const char *with, bool link)
{
	memset(&trick, 0, sizeof(trick));
	trick.with = with;
	trick.link = link;
	faults.made = exchange;
}

static struct stat stat_of(struct fixture *f, const char *path)
{
	struct stat st;

	if (fstatat(root_of(f), path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

/* What was changed for the copy's directory, which is in "into", is as before. */
static void check_untouched(struct fixture *f, mode_t mode, uid_t uid, const char *file)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "into/%s", trick.name);
	st = stat_of(f, path);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(st.st_uid, uid);
	if (file) {
		(void)snprintf(path, sizeof(path), "into/%s/%s", trick.name, file);
		(void)stat_of(f, path);
	}
}

static void copy_to_into(struct fixture *f, int error)
{
	struct order order = { .src = "src", .parent = "into" };
	struct tree_run *run = start(f, &order);

	assert_int_equal(wait_for(f, run)->error, error);
	faults.made = NULL;
	assert_true(trick.done);
	assert_int_equal(fstatat(root_of(f), "into/copy", &(struct stat){ 0 }, 0), -1);
}

/* A directory of ours that is not empty: the copy would be removed with all that is in it. */
static void test_tree_staging_exchanged_with_ours(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	make_dir(f, "into");
	make_dir(f, "into/precious");
	make_file(f, "into/precious/file", 10);
	set_mode(f, "into/precious", 0755);
	play("precious", false);
	copy_to_into(f, -ESTALE);
	check_untouched(f, 0755, geteuid(), "file");
	assert_int_equal(count_names(f, "into/precious", &(unsigned){ 0 }), 0); /* ours */
}

/* A directory of theirs: they could read the copy. */
static void test_tree_staging_exchanged_with_theirs(void **state)
{
	struct fixture *f = fixture_of(state);

	need_root("to give a directory away");
	make_simple(f);
	make_dir(f, "into");
	make_dir(f, "into/theirs");
	set_owner(f, "into/theirs", USER, USER);
	set_mode(f, "into/theirs", 0777);
	play("theirs", false);
	copy_to_into(f, -ESTALE);
	/* An empty directory may be removed by whoever may make one; it was not changed. */
	assert_int_equal(count_names(f, "into/theirs", &(unsigned){ 0 }), 0);
}

static void test_tree_staging_made_a_link(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	make_dir(f, "into");
	make_dir(f, "outside");
	set_mode(f, "outside", 0755);
	play("../outside", true);
	copy_to_into(f, -ENOTDIR);
	assert_int_equal(count_names(f, "outside", &(unsigned){ 0 }), 0);
	assert_int_equal(stat_of(f, "outside").st_mode & 07777, 0755);
}

/* Owner and mode of a special file are for what was made. */
static void check_merged_fifo(struct fixture *f, const char *with, bool link)
{
	struct tree_options options = { .existing = TREE_EXISTING_MERGE, .fsync = TREE_AS_ENGINE };
	struct order order = { .src = "src", .options = &options };
	struct tree_run *run;
	char path[PATH_MAX];

	make_dir(f, "src");
	assert_int_equal(mknodat(root_of(f), "src/fifo", S_IFIFO | 0666, 0), 0);
	set_mode(f, "src/fifo", 0666);
	make_dir(f, "copy");
	make_file(f, "copy/precious", 10);
	make_file(f, "precious", 10);
	set_mode(f, "copy/precious", 0600);
	set_mode(f, "precious", 0600);
	play(with, link);
	run = start(f, &order);
	(void)wait_for(f, run); /* that is: done at the second attempt */
	assert_true(trick.done);
	assert_int_equal(stat_of(f, "precious").st_mode & 07777, 0600);
	(void)snprintf(path, sizeof(path), "copy/%s", link ? "precious" : trick.name);
	/* What has our hidden name is ours to remove, and theirs to put there. */
	if (link)
		assert_int_equal(stat_of(f, path).st_mode & 07777, 0600);
	assert_int_equal(stat_of(f, "copy/fifo").st_mode, S_IFIFO | 0666);
}

static void test_tree_special_made_a_link(void **state)
{
	check_merged_fifo(fixture_of(state), "../precious", true);
}

static void test_tree_special_exchanged(void **state)
{
	check_merged_fifo(fixture_of(state), "precious", false);
}

/* The directory's default ACL and group are theirs, too. */
static void test_tree_file_closed_until_complete(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "into" };
	struct tree_run *run;

	make_file(f, "src", 10);
	set_mode(f, "src", 0644);
	make_dir(f, "into");
	if (!set_acl(f, "into", ACL_DEFAULT))
		skip();
	memset(&trick, 0, sizeof(trick));
	faults.created = look_at_mode;
	run = start(f, &order);
	assert_int_equal(wait_for(f, run)->error, 0);
	assert_int_equal(trick.mode & 07077, 0);
	assert_true(S_ISREG(trick.mode));
	assert_int_equal(stat_of(f, "into/copy").st_mode & 07777, 0644);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_staging_exchanged_with_ours),
		TEST_BOTH(test_tree_staging_exchanged_with_theirs),
		TEST_BOTH(test_tree_staging_made_a_link),
		TEST_BOTH(test_tree_special_made_a_link),
		TEST_BOTH(test_tree_special_exchanged),
		TEST_BOTH(test_tree_file_closed_until_complete),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_hostile", tests, NULL, NULL);
}
