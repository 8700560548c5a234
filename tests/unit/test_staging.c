/* SPDX-License-Identifier: MIT */
/*
 * test_staging.c - removing what was staged while somebody moves it about.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"

#include "arsync/base.h"
#include "staging.h"

struct fixture {
	struct test_dir dir;
	struct staging_remover remover;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || test_dir_make(&f->dir) < 0)
		return -1;
	staging_remover_init(&f->remover, f->dir.fd, "staged");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	staging_remover_destroy(&f->remover);
	test_dir_remove(&f->dir);
	free(f);
	return 0;
}

static void make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->dir.fd, path, 0700), 0);
}

static void make_file(struct fixture *f, const char *path)
{
	int fd = openat(f->dir.fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close_keep_errno(fd);
}

static bool exists(struct fixture *f, const char *path)
{
	struct stat st;

	return fstatat(f->dir.fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The way back leads into a directory that is somebody else's: nothing in it may be touched. */
static void test_staging_remove_directory_moved_away(void **state)
{
	struct fixture *f = *state;
	int r;

	make_dir(f, "staged");
	make_dir(f, "staged/inner");
	make_file(f, "staged/inner/a");
	make_file(f, "staged/inner/b");
	make_dir(f, "others");
	make_file(f, "others/precious");
	test_remover_init(&f->remover, f->dir.fd, "staged");
	assert_int_equal(staging_remove_some(&f->remover, 2), 1); /* it is in inner now */
	assert_int_equal(renameat(f->dir.fd, "staged/inner", f->dir.fd, "others/inner"), 0);
	do
		r = staging_remove_some(&f->remover, 1);
	while (r == 1);
	assert_int_equal(r, -ESTALE);
	assert_true(exists(f, "others/precious"));
}

/* Another directory has the staging name. */
static void test_staging_remove_root_exchanged(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	make_dir(f, "staged");
	assert_int_equal(fstatat(f->dir.fd, "staged", &st, 0), 0);
	assert_int_equal(renameat(f->dir.fd, "staged", f->dir.fd, "gone"), 0);
	make_dir(f, "staged");
	make_file(f, "staged/precious");
	staging_remover_expect(&f->remover, st.st_dev, st.st_ino);
	assert_int_equal(staging_remove_some(&f->remover, 100), -ESTALE);
	assert_true(exists(f, "staged/precious"));
}

static void test_staging_remove_closed_directories(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "staged");
	make_dir(f, "staged/closed");
	make_file(f, "staged/closed/a");
	assert_int_equal(symlinkat("../outside", f->dir.fd, "staged/link"), 0);
	make_dir(f, "outside");
	make_file(f, "outside/precious");
	assert_int_equal(fchmodat(f->dir.fd, "staged/closed", 0, 0), 0);
	test_remover_init(&f->remover, f->dir.fd, "staged");
	assert_int_equal(staging_remove_some(&f->remover, 100), 0);
	assert_false(exists(f, "staged"));
	assert_true(exists(f, "outside/precious"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_staging_remove_directory_moved_away, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_staging_remove_root_exchanged, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_staging_remove_closed_directories, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("staging", tests, NULL, NULL);
}
