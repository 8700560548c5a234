/* SPDX-License-Identifier: MIT */
/*
 * test_mountinfo.c - what the table of mounts says, read from one that was made up.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "support.h"

#include "arsync/base.h"
#include "arsync/mountinfo.h"

#define FUSE 36 /* on /mnt, upon 25 */

/* Two directories below /srv were mounted before /mnt came to cover them. */
static const char table[] = "25 1 8:1 / / rw - ext4 /dev/root rw\n"
			    "30 25 8:2 / /mnt/covered rw - ext4 /dev/b rw\n"
			    "36 25 0:50 / /mnt rw,nosuid shared:1 - fuse.arsyncfs /srv rw\n"
			    "37 36 0:51 / /mnt/tree/m rw - tmpfs t rw\n"
			    "38 37 0:50 /a /mnt/tree/m/on/top rw - fuse.arsyncfs /srv rw\n"
			    "39 36 0:50 /a/sub /mnt/b\\040c\\134\\011 rw - fuse.arsyncfs /srv rw\n"
			    "40 25 0:50 /far /elsewhere rw - fuse.arsyncfs /srv rw\n"
			    "not a line of the table\n";

static int setup(void **state)
{
	static struct test_dir dir;
	int fd;

	if (test_dir_make(&dir) < 0)
		return -1;
	*state = &dir;
	assert_int_equal(mkdirat(dir.fd, "self", 0700), 0);
	fd = test_dir_open(&dir, "self/mountinfo", O_WRONLY);
	assert_int_equal(write(fd, table, strlen(table)), strlen(table));
	return 0;
}

static int teardown(void **state)
{
	test_dir_remove(*state);
	return 0;
}

static void test_find(void **state)
{
	const struct test_dir *dir = *state;
	struct mountinfo info;

	assert_int_equal(mountinfo_find_path(dir->fd, "/mnt/b c\\\t", &info), 0);
	assert_int_equal(info.id, 39);
	assert_true(info.dev == makedev(0, 50));
	assert_true(mountinfo_is_fuse(&info));
	assert_int_equal(mountinfo_find_id(dir->fd, 37, &info), 0);
	assert_string_equal(info.type, "tmpfs");
	assert_int_equal(mountinfo_find_path(dir->fd, "/mnt/b", &info), -ENOENT);
	assert_int_equal(mountinfo_count_device(dir->fd, makedev(0, 50)), 4);
}

static void test_has_upon(void **state)
{
	static const struct {
		const char *path;
		int expected;
	} cases[] = {
		{ "/mnt/tree", 1 },	       /* it lies below */
		{ "/mnt/tree/m", 1 },	       /* there */
		{ "/mnt/tree/m/f", 1 },	       /* above */
		{ "/mnt/tree/m/on/top/f", 1 }, /* and above what is upon that */
		{ "/mnt/b c\\\t/x", 1 },       /* the same device */
		{ "/mnt/tree/m2", 0 },	       /* that is no component */
		{ "/mnt/tre", 0 },
		{ "/mnt/b", 0 },
		{ "/mnt/covered/x", 0 }, /* upon another, and not to be seen any more */
		{ "/mnt", 1 },
		{ "/", 1 },
	};
	const struct test_dir *dir = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (mountinfo_has_upon(dir->fd, FUSE, cases[i].path) != cases[i].expected)
			fail_msg("%s: not %d", cases[i].path, cases[i].expected);
	assert_int_equal(mountinfo_has_upon(AT_FDCWD, FUSE, "/mnt"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_has_upon, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
