/* SPDX-License-Identifier: MIT */
/*
 * test_progress.c - the progress bar fits, and numbers are written as people read them; where copies
 * go to.
 */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "destination.h"
#include "progress.h"

static void test_size(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *expected;
	} cases[] = {
		{ 0, "0 B" },		{ 1, "1 B" },
		{ 1023, "1023 B" },	{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },	{ 100 * KIB, "100 KiB" },
		{ MIB - 1, "1.0 MiB" }, { 1023 * MIB, "1023 MiB" },
		{ 5 * GIB, "5.0 GiB" }, { UINT64_MAX, "16.0 EiB" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[PROGRESS_TEXT_MAX];

		progress_size(cases[i].bytes, text);
		assert_string_equal(text, cases[i].expected);
	}
}

static void test_time(void **state)
{
	static const struct {
		double seconds;
		const char *expected;
	} cases[] = {
		{ -1, "-" },	     { 0, "0:00" },	    { 0.6, "0:01" },
		{ 59.4, "0:59" },    { 59.6, "1:00" },	    { 3599, "59:59" },
		{ 3600, "1:00:00" }, { 86399, "23:59:59" }, { 1e12, "-" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[PROGRESS_TEXT_MAX];

		progress_time(cases[i].seconds, text);
		assert_string_equal(text, cases[i].expected);
	}
}

static const struct progress_state states[] = {
	{ 0 },
	{ .totals_known = true },
	{ .bytes = 5 * GIB, .bytes_total = 6 * GIB, .files = 5, .files_total = 1234567 },
	{ .bytes = 5 * GIB,
	  .bytes_total = 10 * GIB,
	  .files = 5,
	  .files_total = 1234567,
	  .totals_known = true },
	{ .bytes = UINT64_MAX,
	  .bytes_total = UINT64_MAX,
	  .files = UINT64_MAX,
	  .files_total = UINT64_MAX,
	  .totals_known = true },
};

static void test_bar_fits_every_width(void **state)
{
	static const char *const names[] = { "", "tree",
					     "a very long name that no bar has room for",
					     "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
					     "\xff\x1b[2J" };

	(void)state;
	for (unsigned columns = 0; columns <= 300; columns++)
		for (size_t i = 0; i < ARRAY_SIZE(states) * ARRAY_SIZE(names); i++) {
			_cleanup_free_ char *text = malloc(4 * columns + 1);
			struct progress progress;

			assert_non_null(text);
			progress_begin(&progress, PROGRESS_BAR, stderr,
				       names[i % ARRAY_SIZE(names)]);
			progress.bytes_rate = 1e9;
			progress.files_rate = 12345;
			progress_bar(&progress, &states[i / ARRAY_SIZE(names)], columns, text);
			assert_true(strlen(text) <= 4 * columns);
			assert_true(progress_width(text) <= columns);
			assert_null(strchr(text, '\x1b'));
		}
}

static void test_bar_leaves_out_the_least_important(void **state)
{
	struct progress progress;
	char text[4 * 120 + 1];

	(void)state;
	progress_begin(&progress, PROGRESS_BAR, stderr, "tree");
	progress.bytes_rate = (double)(512 * MIB);
	progress_bar(&progress, &states[3], 120, text);
	assert_non_null(strstr(text, "tree  [===="));
	assert_non_null(
		strstr(text, "]   50%  5.0 GiB/10.0 GiB  512 MiB/s  ETA 0:10  5/1234567 files"));
	progress_bar(&progress, &states[3], 60, text);
	assert_non_null(strstr(text, "]   50%  5.0 GiB/10.0 GiB  512 MiB/s"));
	assert_null(strstr(text, "files"));
	progress_bar(&progress, &states[3], 10, text);
	assert_string_equal(text, " 50%");
	progress_bar(&progress, &states[2], 120, text);
	assert_non_null(strstr(text, "]    ?%  5.0 GiB  512 MiB/s  ETA -  5 files"));
}

/* What was copied and is still to be compared is not complete. */
static void test_bar_of_verified_bytes(void **state)
{
	struct progress_state half = states[3];
	struct progress progress;
	char text[4 * 120 + 1];

	(void)state;
	progress_begin(&progress, PROGRESS_BAR, stderr, "tree");
	progress.bytes_rate = (double)(512 * MIB);
	half.bytes = half.bytes_total;
	half.verifies = true;
	progress_bar(&progress, &half, 120, text);
	assert_non_null(strstr(text, "]   50%  10.0 GiB/10.0 GiB  512 MiB/s  ETA 0:20"));
	half.bytes_verified = half.bytes_total / 2;
	progress_bar(&progress, &half, 120, text);
	assert_non_null(strstr(text, "]   75%  10.0 GiB/10.0 GiB  512 MiB/s  ETA 0:10"));
}

/* To look has the source walked through: not long before there is something to show. */
static void test_first_look(void **state)
{
	struct progress progress;

	(void)state;
	progress_begin(&progress, PROGRESS_BAR, stderr, "tree");
	assert_int_equal(progress_first_ms(&progress), 500);
	progress_begin(&progress, PROGRESS_LINES, stderr, "tree");
	assert_int_equal(progress_first_ms(&progress), 4000);
}

static void test_printable_hides_control_characters(void **state)
{
	char text[32];

	(void)state;
	assert_int_equal(progress_printable("a\x1b[2J\n\x07", 20, text, sizeof(text)), 7);
	assert_string_equal(text, "a?[2J??");
	assert_int_equal(progress_printable("\xff\xc3", 20, text, sizeof(text)), 2);
	assert_string_equal(text, "??");
	assert_int_equal(progress_printable("abcdef", 3, text, sizeof(text)), 3);
	assert_string_equal(text, "abc");
	assert_int_equal(progress_printable("abcdef", 20, text, 3), 2);
	assert_string_equal(text, "ab");
}

static void test_destination_find(void **state)
{
	static const struct {
		const char *source, *dest;
		bool into;
		int error;
		const char *directory, *name, *shown;
	} cases[] = {
		{ "/usr", "x", false, 0, ".", "x", "x" },
		{ "/usr", "x/", false, 0, ".", "x", "x" },
		{ "/usr", "/x", false, 0, "/", "x", "/x" },
		{ "/usr", "a//b/x//", false, 0, "a//b", "x", "a//b/x" }, /* the kernel takes both */
		{ "/usr/", "dir", true, 0, "dir", "usr", "dir/usr" },
		{ "/usr", ".", true, 0, ".", "usr", "usr" },
		{ "/usr", "/", true, 0, "/", "usr", "/usr" },
		{ "/", "dir", true, -EINVAL, NULL, NULL, NULL },
		{ ".", "dir", true, -EINVAL, NULL, NULL, NULL },
		{ "/usr/..", "dir", true, -EINVAL, NULL, NULL, NULL },
		{ "/usr", "dir/..", false, -EINVAL, NULL, NULL, NULL },
		{ "/usr", "", false, -EINVAL, NULL, NULL, NULL },
		{ "/etc/passwd", "new/", false, -ENOTDIR, NULL, NULL, NULL },
		{ "/nowhere", "x", false, -ENOENT, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct copy_task task = { 0 };

		print_message("case %zu\n", i);
		assert_int_equal(destination_find(cases[i].source, cases[i].dest, cases[i].into,
						  &task),
				 cases[i].error);
		if (cases[i].error == 0) {
			assert_string_equal(task.directory, cases[i].directory);
			assert_string_equal(task.name, cases[i].name);
			assert_string_equal(task.shown, cases[i].shown);
		}
		destination_destroy(&task);
	}
}

static void test_destination_is_directory(void **state)
{
	static const struct {
		const char *dest;
		enum destination_kind kind;
		bool several;
		int error;
		bool into;
	} cases[] = {
		{ "/usr", DESTINATION_AUTO, false, 0, true },
		{ "/usr", DESTINATION_AUTO, true, 0, true },
		{ "/nowhere", DESTINATION_AUTO, false, 0, false },
		{ "/nowhere", DESTINATION_AUTO, true, -ENOENT, false },
		{ "/etc/passwd", DESTINATION_AUTO, false, 0, false },
		{ "/etc/passwd", DESTINATION_AUTO, true, -ENOTDIR, false },
		{ "/usr", DESTINATION_DIRECTORY, false, 0, true },
		{ "/etc/passwd", DESTINATION_DIRECTORY, false, -ENOTDIR, false },
		{ "/nowhere", DESTINATION_DIRECTORY, false, -ENOENT, false },
		{ "/usr", DESTINATION_NAME, false, 0, false },
		{ "/usr", DESTINATION_NAME, true, -EINVAL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool into = false;

		print_message("case %zu\n", i);
		assert_int_equal(destination_is_directory(cases[i].dest, cases[i].kind,
							  cases[i].several, &into),
				 cases[i].error);
		assert_int_equal(into, cases[i].into);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_bar_fits_every_width),
		cmocka_unit_test(test_bar_leaves_out_the_least_important),
		cmocka_unit_test(test_bar_of_verified_bytes),
		cmocka_unit_test(test_first_look),
		cmocka_unit_test(test_printable_hides_control_characters),
		cmocka_unit_test(test_destination_find),
		cmocka_unit_test(test_destination_is_directory),
	};

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
