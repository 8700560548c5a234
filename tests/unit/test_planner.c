/* SPDX-License-Identifier: MIT */
/*
 * test_planner.c - which extents a range is cut into: on tmpfs and on the file system of the
 * temporary directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#include "arsync/base.h"
#include "planner.h"

#define UNIT (64 * KIB) /* all layouts are multiples of it: larger than any block */
#define MAX_DATA (1024 * UNIT)
#define EXTENTS_MAX 16

/* What *state says before the set-up. */
#define IN_MEMORY "tmpfs"

struct fixture {
	struct test_dir dir;
	bool in_memory;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->in_memory = strcmp(*state, IN_MEMORY) == 0;
	if (test_dir_make(&f->dir) < 0) {
		test_dir_remove(&f->dir);
		free(f);
		return -1;
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_dir_remove(&f->dir);
	free(f);
	return 0;
}

/*
 * A file made of one character a UNIT: 'd' is data, '.' a hole. Written as a whole and punched,
 * because a file system may allocate between two writes on its own account.
 */
static int make_file(struct fixture *f, const char *layout)
{
	int fd = test_dir_file(&f->dir, f->in_memory);

	test_write_pattern(fd, 0, strlen(layout) * UNIT, 1);
	for (size_t i = 0; layout[i]; i++)
		if (layout[i] == '.')
			test_punch(fd, i * UNIT, UNIT);
	return fd;
}

/* Plans until the end; the pieces must have no gaps. */
static size_t plan(struct planner *planner, uint64_t max_data, struct extent *extents)
{
	uint64_t position = planner->position;
	size_t n = 0;
	int r;

	while ((r = planner_next(planner, max_data, &extents[n])) == 1) {
		assert_int_equal(extents[n].offset, position);
		assert_true(extents[n].length > 0);
		position += extents[n].length;
		n++;
		assert_true(n < EXTENTS_MAX);
	}
	assert_int_equal(r, 0);
	assert_int_equal(position, planner->end);
	/* It stays at its end. */
	assert_int_equal(planner_next(planner, max_data, &extents[n]), 0);
	return n;
}

static void assert_extents(const struct extent *got, size_t n_got, const struct extent *expected,
			   size_t n_expected)
{
	assert_int_equal(n_got, n_expected);
	for (size_t i = 0; i < n_got; i++) {
		assert_int_equal(got[i].offset, expected[i].offset);
		assert_int_equal(got[i].length, expected[i].length);
		assert_int_equal(got[i].is_hole, expected[i].is_hole);
	}
}

/* Plans [from, to) of a file and compares with the extents that follow. */
#define assert_plan(fd, from, to, max_data, dense, ...)                                            \
	do {                                                                                       \
		const struct extent _expected[] = { __VA_ARGS__ };                                 \
		struct extent _got[EXTENTS_MAX];                                                   \
		struct planner _planner;                                                           \
		size_t _n;                                                                         \
                                                                                                   \
		planner_init(&_planner, (fd), (from), (to), (dense));                              \
		_n = plan(&_planner, (max_data), _got);                                            \
		assert_extents(_got, _n, _expected, ARRAY_SIZE(_expected));                        \
	} while (0)

#define DATA(offset, length)                                                                       \
	{                                                                                          \
		(offset), (length), false                                                          \
	}
#define HOLE(offset, length)                                                                       \
	{                                                                                          \
		(offset), (length), true                                                           \
	}

static void test_planner_next_data_only(void **state)
{
	int fd = make_file(*state, "dddd");

	assert_plan(fd, 0, 4 * UNIT, MAX_DATA, false, DATA(0, 4 * UNIT));
	assert_plan(fd, 0, 4 * UNIT, MAX_DATA, true, DATA(0, 4 * UNIT));
}

static void test_planner_next_holes(void **state)
{
	assert_plan(make_file(*state, "..dd"), 0, 4 * UNIT, MAX_DATA, false, HOLE(0, 2 * UNIT),
		    DATA(2 * UNIT, 2 * UNIT));
	assert_plan(make_file(*state, "d..d"), 0, 4 * UNIT, MAX_DATA, false, DATA(0, UNIT),
		    HOLE(UNIT, 2 * UNIT), DATA(3 * UNIT, UNIT));
	assert_plan(make_file(*state, "dd.."), 0, 4 * UNIT, MAX_DATA, false, DATA(0, 2 * UNIT),
		    HOLE(2 * UNIT, 2 * UNIT));
	assert_plan(make_file(*state, ".d.d."), 0, 5 * UNIT, MAX_DATA, false, HOLE(0, UNIT),
		    DATA(UNIT, UNIT), HOLE(2 * UNIT, UNIT), DATA(3 * UNIT, UNIT),
		    HOLE(4 * UNIT, UNIT));
}

static void test_planner_next_hole_only(void **state)
{
	struct fixture *f = *state;
	int fd = test_dir_file(&f->dir, f->in_memory);

	assert_int_equal(ftruncate(fd, 4 * UNIT), 0);
	if (lseek(fd, 0, SEEK_DATA) >= 0)
		skip(); /* it says that all is data */
	assert_plan(fd, 0, 4 * UNIT, MAX_DATA, false, HOLE(0, 4 * UNIT));
	/* The hole is not cut: its length costs nothing. */
	assert_plan(fd, 0, 4 * UNIT, 1, false, HOLE(0, 4 * UNIT));
}

static void test_planner_next_clips_to_range(void **state)
{
	int fd = make_file(*state, "dd...ddd");

	/* begins and ends inside data */
	assert_plan(fd, UNIT / 2 + 1, 6 * UNIT + 3, MAX_DATA, false,
		    DATA(UNIT / 2 + 1, 2 * UNIT - UNIT / 2 - 1), HOLE(2 * UNIT, 3 * UNIT),
		    DATA(5 * UNIT, UNIT + 3));
	/* inside the hole */
	assert_plan(fd, 3 * UNIT + 5, 4 * UNIT + 7, MAX_DATA, false, HOLE(3 * UNIT + 5, UNIT + 2));
	/* begins in the hole, ends in data; the other way round */
	assert_plan(fd, 3 * UNIT + 5, 5 * UNIT + 7, MAX_DATA, false,
		    HOLE(3 * UNIT + 5, 2 * UNIT - 5), DATA(5 * UNIT, 7));
	assert_plan(fd, UNIT, 3 * UNIT + 5, MAX_DATA, false, DATA(UNIT, UNIT),
		    HOLE(2 * UNIT, UNIT + 5));
}

static void test_planner_next_empty_range(void **state)
{
	int fd = make_file(*state, "d.");
	struct extent extent;
	struct planner planner;

	planner_init(&planner, fd, UNIT / 2, UNIT / 2, false);
	assert_int_equal(planner_next(&planner, MAX_DATA, &extent), 0);
}

static void test_planner_next_cuts_data(void **state)
{
	int fd = make_file(*state, "ddd.d");

	assert_plan(fd, 0, 5 * UNIT, 2 * UNIT, false, DATA(0, 2 * UNIT), DATA(2 * UNIT, UNIT),
		    HOLE(3 * UNIT, UNIT), DATA(4 * UNIT, UNIT));
	assert_plan(fd, 1, 3 * UNIT, UNIT, false, DATA(1, UNIT), DATA(UNIT + 1, UNIT),
		    DATA(2 * UNIT + 1, UNIT - 1));
}

static void test_planner_next_dense_asks_nothing(void **state)
{
	int fd = make_file(*state, "d.d");

	/* Who says that there are no holes gets none; there is no file to ask, either. */
	assert_plan(fd, 0, 3 * UNIT, MAX_DATA, true, DATA(0, 3 * UNIT));
	assert_plan(-1, 0, 3 * UNIT, 2 * UNIT, true, DATA(0, 2 * UNIT), DATA(2 * UNIT, UNIT));
}

static void test_planner_hole_as_data(void **state)
{
	int fd = make_file(*state, "d...d.");
	struct extent extent, rest[EXTENTS_MAX];
	struct planner planner;

	planner_init(&planner, fd, 0, 6 * UNIT, false);
	assert_int_equal(planner_next(&planner, MAX_DATA, &extent), 1);
	assert_int_equal(planner_next(&planner, MAX_DATA, &extent), 1);
	assert_true(extent.is_hole);
	planner_hole_as_data(&planner, &extent);
	/* Only this one hole, cut like all data; the next one is a hole again. */
	assert_extents(rest, plan(&planner, 2 * UNIT, rest),
		       (const struct extent[]){ DATA(UNIT, 2 * UNIT), DATA(3 * UNIT, UNIT),
						DATA(4 * UNIT, UNIT), HOLE(5 * UNIT, UNIT) },
		       4);
}

/* A file that is shorter than it was: what lies behind its end is a hole to lseek(2). */
static void test_planner_next_beyond_end_of_file(void **state)
{
	int fd = make_file(*state, "dd");

	assert_plan(fd, 0, 4 * UNIT, MAX_DATA, false, DATA(0, 2 * UNIT), HOLE(2 * UNIT, 2 * UNIT));
}

static void test_planner_next_without_seek_data(void **state)
{
	struct fixture *f = *state;
	int fds[2], proc;

	/* ESPIPE */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	test_dir_keep(&f->dir, fds[0]);
	test_dir_keep(&f->dir, fds[1]);
	assert_plan(fds[0], 3, 3 + 3 * UNIT, 2 * UNIT, false, DATA(3, 2 * UNIT),
		    DATA(3 + 2 * UNIT, UNIT));

	/* EINVAL: the file systems that only know SEEK_SET and its like */
	proc = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (proc < 0)
		skip();
	test_dir_keep(&f->dir, proc);
	assert_true(lseek(proc, 0, SEEK_DATA) < 0 && errno == EINVAL);
	assert_plan(proc, 0, 3 * UNIT, 2 * UNIT, false, DATA(0, 2 * UNIT), DATA(2 * UNIT, UNIT));
}

static void test_planner_next_error(void **state)
{
	struct extent extent;
	struct planner planner;

	(void)state;
	planner_init(&planner, -1, 0, UNIT, false);
	assert_int_equal(planner_next(&planner, MAX_DATA, &extent), -EBADF);
}

#define ON(function, where)                                                                        \
	{                                                                                          \
#function " (" where ")", function, setup, teardown, (void *)(uintptr_t)where      \
	}
#define ON_BOTH(function) ON(function, IN_MEMORY), ON(function, "directory")

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_planner_next_data_only),
		ON_BOTH(test_planner_next_holes),
		ON_BOTH(test_planner_next_hole_only),
		ON_BOTH(test_planner_next_clips_to_range),
		ON_BOTH(test_planner_next_empty_range),
		ON_BOTH(test_planner_next_cuts_data),
		ON_BOTH(test_planner_next_dense_asks_nothing),
		ON_BOTH(test_planner_hole_as_data),
		ON_BOTH(test_planner_next_beyond_end_of_file),
		ON(test_planner_next_without_seek_data, "directory"),
		ON(test_planner_next_error, "directory"),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("planner", tests, NULL, NULL);
}
