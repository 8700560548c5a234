/* SPDX-License-Identifier: MIT */
/*
 * test_tree_metadata.c - modes, owners, times, attributes and flags of copied trees.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree_fixture.h"

static void test_tree_modes(void **state)
{
	static const mode_t modes[] = { 0777, 0555, 0500, 01777, 02755, 03770, 0711 };
	static const mode_t file_modes[] = { 0666, 0444, 0400, 04755, 02755, 06711, 01644, 0200, 0 };
	struct fixture *f = fixture_of(state);
	bool root = geteuid() == 0;
	char path[64];

	make_dir(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		(void)snprintf(path, sizeof(path), "src/%o", modes[i]);
		make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/%o/file", modes[i]);
		make_file(f, path, 10);
		(void)snprintf(path, sizeof(path), "src/%o/dir", modes[i]);
		make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/%o/dir/large", modes[i]);
		make_file(f, path, B);
	}
	for (size_t i = 0; i < ARRAY_SIZE(file_modes); i++) {
		if (!root && !(file_modes[i] & 0400))
			continue;
		for (unsigned large = 0; large < 2; large++) {
			(void)snprintf(path, sizeof(path), "src/file%o-%u", file_modes[i], large);
			make_file(f, path, large ? 2 * B : 10);
			if (root && i % 2)
				set_owner(f, path, 1, 2);
			set_mode(f, path, file_modes[i]);
		}
	}
	if (root) {
		make_dir(f, "src/closed");
		make_dir(f, "src/closed/too");
		make_file(f, "src/closed/too/file", 1);
		set_owner(f, "src/closed/too", 3, 4);
		set_mode(f, "src/closed/too", 0);
		set_mode(f, "src/closed", 0);
	}
	stamp_all(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		(void)snprintf(path, sizeof(path), "src/%o", modes[i]);
		set_mode(f, path, modes[i]);
	}
	set_mode(f, "src", 0555);
	(void)check_copy(f);
	assert_int_equal(f->dst.items[0].st.st_mode & 07777, 0555);
}

static void test_tree_attributes(void **state)
{
	struct fixture *f = fixture_of(state);
	char large[3000];

	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/small", 5);
	make_file(f, "src/dir/large", 3 * B);
	make_file(f, "src/dir/empty", 0);
	if (!set_xattr(f, "src/dir", "user.of a directory", "1", 1))
		skip();
	memset(large, 'v', sizeof(large));
	assert_true(set_xattr(f, "src", "user.of the root", "\0\1\2", 3));
	assert_true(set_xattr(f, "src/dir/small", "user.empty", "", 0));
	assert_true(set_xattr(f, "src/dir/small", "user.second", "2", 1));
	assert_true(set_xattr(f, "src/dir/large", "user.large", large, sizeof(large)));
	if (geteuid() == 0) {
		make_symlink(f, "x", "src/dir/symlink");
		(void)set_xattr(f, "src/dir/symlink", "trusted.x", "3", 1);
		(void)set_xattr(f, "src/dir/empty", "trusted.x", "4", 1);
	}
	/* What is in a directory with a default ACL has none of it where the source has none. */
	if (set_acl(f, "src", ACL_DEFAULT)) {
		assert_true(set_acl(f, "src/dir", ACL_DEFAULT));
		assert_true(set_acl(f, "src/dir", ACL_ACCESS));
		assert_true(set_acl(f, "src/dir/small", ACL_ACCESS));
		assert_true(set_acl(f, "src/dir/large", ACL_ACCESS));
	}
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void set_flags(struct fixture *f, const char *path, int flags)
{
	f->fd = openat(root_of(f), path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	if (ioctl(f->fd, FS_IOC_SETFLAGS, &flags) < 0) {
		print_message("no flags here: %s\n", strerror(errno));
		skip();
	}
	close_keep_errno(TAKE_FD(f->fd));
}

static int flags_of(struct fixture *f, const char *path)
{
	int flags = 0;

	f->fd = openat(root_of(f), path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(ioctl(f->fd, FS_IOC_GETFLAGS, &flags), 0);
	close_keep_errno(TAKE_FD(f->fd));
	return flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
}

/* So that they can be removed. */
static void clear_flags(struct fixture *f, const char *root)
{
	static const char *const names[] = { "", "/d", "/d/file", "/a", "/large" };
	char path[PATHS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", root, names[i]);
		set_flags(f, path, 0);
	}
}

static void make_flagged(struct fixture *f)
{
	char path[64];

	need_root("set flags");
	f->deep = true;
	make_dir(f, "src");
	make_dir(f, "src/d");
	make_file(f, "src/d/file", 10);
	make_file(f, "src/large", 4 * MIB);
	make_file(f, "src/a", 100);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_link(f, "src/a", path);
	}
	stamp_all(f, "src");
	set_flags(f, "src/a", FS_IMMUTABLE_FL);
	set_flags(f, "src/large", FS_NODUMP_FL | FS_APPEND_FL);
	set_flags(f, "src/d/file", FS_APPEND_FL);
	set_flags(f, "src/d", FS_IMMUTABLE_FL);
	set_flags(f, "src", FS_APPEND_FL);
}

static void test_tree_flags(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	(void)check_copy(f);
	assert_int_equal(flags_of(f, "copy"), FS_APPEND_FL);
	assert_int_equal(flags_of(f, "copy/d"), FS_IMMUTABLE_FL);
	assert_int_equal(flags_of(f, "copy/d/file"), FS_APPEND_FL);
	assert_int_equal(flags_of(f, "copy/a"), FS_IMMUTABLE_FL);
	assert_int_equal(flags_of(f, "copy/large"), FS_APPEND_FL | FS_NODUMP_FL);
	clear_flags(f, "src");
	clear_flags(f, "copy");
}

/* What cannot be changed is removed all the same, when it was only staged. */
static void test_tree_flags_of_a_failed_copy(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	set_fault(&faults.rename_error, EACCES);
	(void)check_failure(f, (struct order){ .src = "src" }, -EACCES);
	clear_flags(f, "src");
}

/* Who may not set them goes without. */
static void test_tree_flags_as_another_user(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	f->user = make_user(f);
	check_success(f,
		      start(f, &(struct order){ .src = "src", .parent = "home", .cred = f->user }));
	assert_int_equal(flags_of(f, "home/copy/a"), 0);
	assert_int_equal(flags_of(f, "home/copy/d"), 0);
	assert_int_equal(flags_of(f, "home/copy/large"), FS_NODUMP_FL);
	clear_flags(f, "src");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_modes),
		TEST_BOTH(test_tree_attributes),
		TEST_BOTH_IN_MEMORY(test_tree_flags),
		TEST_BOTH_IN_MEMORY(test_tree_flags_of_a_failed_copy),
		TEST_BOTH_IN_MEMORY(test_tree_flags_as_another_user),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_metadata", tests, NULL, NULL);
}
