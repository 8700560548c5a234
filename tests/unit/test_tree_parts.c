/* SPDX-License-Identifier: MIT */
/*
 * test_tree_parts.c - what copies of trees are made of: staging.h and getdents.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "getdents.h"
#include "tree_fixture.h"

static void test_staging_name(void **state)
{
	char a[NAME_MAX + 1], b[NAME_MAX + 1];

	(void)state;
	assert_int_equal(staging_name(a), 0);
	assert_int_equal(staging_name(b), 0);
	assert_int_equal(strncmp(a, STAGING_PREFIX, strlen(STAGING_PREFIX)), 0);
	assert_true(strlen(a) > strlen(STAGING_PREFIX) && !strchr(a, '/'));
	assert_string_not_equal(a, b);
}

static void test_staging_part_name(void **state)
{
	char name[STAGING_NAME_SIZE], other[STAGING_NAME_SIZE], part[STAGING_PART_SIZE];

	(void)state;
	assert_int_equal(staging_name(name), 0);
	assert_int_equal(staging_name(other), 0);
	staging_part_name(name, UINT64_MAX, part);
	assert_int_equal(strlen(part), strlen(name) + 1 + STAGING_DIGITS);
	assert_true(staging_is_part(part, name));
	assert_false(staging_is_part(part, other));
	assert_false(staging_is_part(name, name));
	part[strlen(part) - 1] = 'F';
	assert_false(staging_is_part(part, name));
}

static void check_publish(struct fixture *f)
{
	make_dir(f, "staged");
	make_file(f, "file", 1);
	make_dir(f, "empty");
	assert_int_equal(staging_publish(root_of(f), "staged", "file"), -EEXIST);
	assert_int_equal(staging_publish(root_of(f), "staged", "empty"), -EEXIST);
	assert_int_equal(staging_publish(root_of(f), "none", "name"), -ENOENT);
	assert_int_equal(staging_publish(root_of(f), "staged", "name"), 0);
	assert_int_equal(faccessat(root_of(f), "name", F_OK, 0), 0);
	assert_names(f, NULL, 3);
}

static void test_staging_publish(void **state)
{
	check_publish(fixture_of(state));
}

/* On a file system that cannot rename without replacing. */
static void test_staging_publish_without_noreplace(void **state)
{
	struct fixture *f = fixture_of(state);

	set_fault(&faults.rename_error, EINVAL);
	check_publish(f);
}

/* How many calls it took, or -errno. */
static int remove_all(struct fixture *f, const char *name, unsigned budget)
{
	enum {
		CALLS_MAX = 20000
	};
	int r = 1, calls;

	test_remover_init(&f->remover, root_of(f), name);
	for (calls = 0; r == 1 && calls < CALLS_MAX; calls++)
		r = staging_remove_some(&f->remover, budget);
	staging_remover_destroy(&f->remover);
	staging_remover_init(&f->remover, -1, NULL);
	return r == 0 ? calls : r == 1 ? -ETIMEDOUT : r;
}

static void test_staging_remove_kinds(void **state)
{
	struct fixture *f = fixture_of(state);

	assert_int_equal(remove_all(f, "never there", 10), 1);
	make_file(f, "staged", 10);
	assert_int_equal(remove_all(f, "staged", 10), 1);
	make_dir(f, "staged");
	assert_true(remove_all(f, "staged", 10) > 0);
	make_dir(f, "staged");
	make_file(f, "staged/file", 10);
	make_link(f, "staged/file", "staged/link");
	assert_int_equal(mknodat(root_of(f), "staged/fifo", S_IFIFO | 0600, 0), 0);
	make_dir(f, "staged/a");
	make_dir(f, "staged/a/b");
	make_dir(f, "staged/c");
	assert_true(remove_all(f, "staged", 1) > 1);
	assert_names(f, NULL, 0);
}

static void test_staging_remove_budget(void **state)
{
	struct fixture *f = fixture_of(state);
	unsigned staged;
	char path[64];
	int left;

	make_dir(f, "staged");
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(path, sizeof(path), "staged/%u", i);
		make_file(f, path, 0);
	}
	test_remover_init(&f->remover, root_of(f), "staged");
	for (int calls = 1; calls <= 3; calls++) {
		assert_int_equal(staging_remove_some(&f->remover, 10), 1);
		left = count_names(f, "staged", &staged);
		assert_true(left >= 300 - 10 * calls);
	}
	/* And it goes on where it was. */
	staging_remover_destroy(&f->remover);
	assert_true(remove_all(f, "staged", 10) > 10);
	assert_names(f, NULL, 0);
}

static void test_staging_remove_deep(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[PATHS_MAX];

	make_dir(f, "src");
	for (unsigned i = 0; i < 300; i++) {
		deep_path(path, i);
		if (i > 0)
			make_dir(f, path);
		make_file(f, with_name(path, "/file"), 0);
	}
	assert_true(remove_all(f, "src", 50) >= 6);
	assert_names(f, NULL, 0);
}

static void test_staging_remove_follows_no_link(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "outside");
	make_file(f, "outside/file", 5);
	set_mode(f, "outside", 0751);
	make_dir(f, "staged");
	make_symlink(f, "../outside", "staged/to a directory");
	make_symlink(f, "../outside/file", "staged/to a file");
	make_symlink(f, "/", "staged/to the root");
	stamp_all(f, "outside");
	take_snapshot(&f->src, root_of(f), "outside", true);
	assert_true(remove_all(f, "staged", 10) > 0);
	make_symlink(f, "outside", "staged");
	assert_int_equal(remove_all(f, "staged", 10), 1);
	take_snapshot(&f->dst, root_of(f), "outside", true);
	assert_same(&f->dst, &f->src);
	assert_names(f, NULL, 1);
}

/* In a child that has become the user: 0, or errno. */
static int remove_as_user(struct fixture *f)
{
	int r;

	(void)alarm(TEST_WAIT_S);
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(USER, USER, USER) < 0 ||
			       setresuid(USER, USER, USER) < 0))
		return errno;
	r = remove_all(f, "home/staged", 3);
	return r < 0 ? -r : 0;
}

static void test_staging_remove_closed_directories(void **state)
{
	struct fixture *f = fixture_of(state);
	int status = 0;

	make_dir(f, "home");
	make_dir(f, "home/staged");
	make_dir(f, "home/staged/closed");
	make_dir(f, "home/staged/closed/below");
	make_file(f, "home/staged/closed/below/file", 1);
	make_file(f, "home/staged/closed/file", 1);
	make_dir(f, "home/staged/read only");
	make_file(f, "home/staged/read only/file", 1);
	make_dir(f, "home/staged/empty");
	if (geteuid() == 0) {
		assert_int_equal(give(root_of(f), "home", USER), 0);
		set_mode(f, ".", 0711);
	}
	set_mode(f, "home/staged/closed/below", 0);
	set_mode(f, "home/staged/closed", 0);
	set_mode(f, "home/staged/empty", 0);
	set_mode(f, "home/staged/read only", 0555);
	set_mode(f, "home/staged", 0);
	f->child = fork();
	assert_true(f->child >= 0);
	if (f->child == 0)
		_exit(remove_as_user(f));
	assert_int_equal(RETRY_EINTR(waitpid(f->child, &status, 0)), f->child);
	f->child = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_names(f, "home", 0);
}

static void test_getdents_continues_by_cookie(void **state)
{
	enum {
		NAMES = 1500
	};
	struct fixture *f = fixture_of(state);
	const struct getdents_entry *entry;
	struct getdents list;
	unsigned buffers = 0, number;
	int64_t position = 0;
	char path[256];
	int r = 1;

	make_file(f, "file", 0);
	make_dir(f, "dir");
	for (unsigned i = 0; i < NAMES; i++) {
		(void)snprintf(path, sizeof(path), "dir/%05u%0*u", i, (int)(100 + i % 20), 0);
		make_link(f, "file", path); /* faster than new ones */
	}
	while (r == 1) {
		/* Another descriptor every time, as if the directory had been closed. */
		f->fd = openat(root_of(f), "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(lseek(f->fd, position, SEEK_SET) >= 0);
		r = getdents_read(&list, f->fd);
		assert_int_equal(close(TAKE_FD(f->fd)), 0);
		assert_true(r >= 0);
		while ((entry = getdents_next(&list))) {
			assert_int_equal(sscanf(entry->name, "%5u", &number), 1);
			assert_true(number < NAMES);
			assert_int_equal(f->seen[number]++, 0);
			assert_int_equal(strlen(entry->name), 105 + number % 20);
			assert_true(entry->type == DT_REG || entry->type == DT_UNKNOWN);
		}
		position = list.next;
		assert_true(buffers++ < NAMES);
	}
	assert_true(buffers > 4);
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(f->seen[i], 1);
}

static void test_getdents_ends(void **state)
{
	struct fixture *f = fixture_of(state);
	struct getdents list;

	assert_int_equal(getdents_read(&list, -1), -EBADF);
	assert_null(getdents_next(&list));
	make_dir(f, "empty");
	f->fd = openat(root_of(f), "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(getdents_read(&list, f->fd), 1);
	assert_null(getdents_next(&list));
	assert_int_equal(getdents_read(&list, f->fd), 0);
	assert_null(getdents_next(&list));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_staging_name, "sync"),
		TEST(test_staging_part_name, "sync"),
		TEST(test_staging_publish, "sync"),
		TEST(test_staging_publish_without_noreplace, "sync"),
		TEST(test_staging_remove_kinds, "sync"),
		TEST(test_staging_remove_budget, "sync"),
		TEST(test_staging_remove_deep, "sync"),
		TEST(test_staging_remove_follows_no_link, "sync"),
		TEST(test_staging_remove_closed_directories, "sync"),
		TEST(test_getdents_continues_by_cookie, "sync"),
		TEST(test_getdents_ends, "sync"),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_parts", tests, NULL, NULL);
}
