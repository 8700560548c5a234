/* SPDX-License-Identifier: MIT */
/*
 * test_control.c - the values of the control attributes, as tables of input and outcome.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "control.h"

/* Input with its length, so that it may contain NUL bytes. */
#define TEXT(text) (text), sizeof(text) - 1

struct fixture {
	struct control_order dest;
	char reason[CONTROL_REASON_MAX];
	char *text;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_order_destroy(&f->dest);
	free(f->text);
	free(f);
	return 0;
}

static void test_classify_names(void **state)
{
	static const struct {
		const char *name;
		enum control_name expected;
		uint64_t id;
	} cases[] = {
		{ "user.arsync.copy", CONTROL_COPY, 0 },
		{ "user.arsync.submit", CONTROL_SUBMIT, 0 },
		{ "user.arsync.copy_from", CONTROL_COPY_FROM, 0 },
		{ "user.arsync.submit_from", CONTROL_SUBMIT_FROM, 0 },
		{ "user.arsync.cancel", CONTROL_CANCEL, 0 },
		{ "user.arsync.stats", CONTROL_STATS, 0 },
		{ "user.arsync.jobs", CONTROL_JOBS, 0 },
		{ "user.arsync.jobs.12", CONTROL_JOBS_BEFORE, 12 },
		{ "user.arsync.job.1", CONTROL_JOB, 1 },
		{ "user.arsync.wait.18446744073709551615", CONTROL_WAIT, UINT64_MAX },
		{ "user.arsync.wait.18446744073709551616", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job.", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job.0", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job.01", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job.1x", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job.-1", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.job. 1", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.cancel.1", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.copy2", CONTROL_UNKNOWN, 0 },
		{ "user.arsync.COPY", CONTROL_UNKNOWN, 0 },
		{ "user.arsync", CONTROL_NONE, 0 },
		{ "user.arsyncx", CONTROL_NONE, 0 },
		{ "trusted.arsync.copy", CONTROL_NONE, 0 },
		{ "", CONTROL_NONE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t id = 99;

		print_message("%s\n", cases[i].name);
		assert_int_equal(control_classify(cases[i].name, &id), cases[i].expected);
		assert_int_equal(id, cases[i].id);
	}
}

static void test_parse_good(void **state)
{
	static const struct {
		const char *value;
		size_t size;
		const char *path;
		bool absolute;
		bool is_directory;
	} cases[] = {
		{ TEXT("copy"), "copy", false, false },
		{ TEXT("a/b"), "a/b", false, false },
		{ TEXT("a//b"), "a/b", false, false },
		{ TEXT("./a/./b"), "a/b", false, false },
		{ TEXT("/mnt/a"), "mnt/a", true, false },
		{ TEXT("//mnt///a"), "mnt/a", true, false },
		{ TEXT("a/"), "a", false, true },
		{ TEXT("a///"), "a", false, true },
		{ TEXT("a/."), "a", false, true },
		{ TEXT("."), "", false, true },
		{ TEXT("/"), "", true, true },
		{ TEXT("a\n"), "a", false, false },
		{ TEXT("a\n\n\n"), "a", false, false },
		{ TEXT("..."), "...", false, false },
		{ TEXT("..a/b.."), "..a/b..", false, false },
		{ TEXT("a."), "a.", false, false },
		{ TEXT(" a b "), " a b ", false, false },
		{ TEXT("key=value"), "key=value", false, false },
		{ TEXT("\xff\xfe"), "\xff\xfe", false, false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("case %zu\n", i);
		assert_int_equal(control_parse_order(CONTROL_COPY, cases[i].value, cases[i].size,
						     &f->dest, f->reason),
				 0);
		assert_string_equal(f->dest.path, cases[i].path);
		assert_int_equal(f->dest.absolute, cases[i].absolute);
		assert_int_equal(f->dest.is_directory, cases[i].is_directory);
		assert_string_equal(f->reason, "");
		control_order_destroy(&f->dest);
	}
}

static void test_parse_bad(void **state)
{
	static const struct {
		const char *value;
		size_t size;
		const char *says; /* part of the reason */
	} cases[] = {
		{ TEXT(""), "empty" },
		{ TEXT("\n"), "empty" },
		{ TEXT("\nfsync=file"), "empty" },
		{ TEXT("\0"), "NUL" },
		{ TEXT("a\0"), "NUL" },
		{ TEXT("a\0b"), "NUL" },
		{ TEXT("a\nx=\0"), "NUL" },
		{ TEXT(".."), ".." },
		{ TEXT("../a"), ".." },
		{ TEXT("a/.."), ".." },
		{ TEXT("a/../b"), ".." },
		{ TEXT("/../mnt"), ".." },
		{ TEXT("a/../"), ".." },
		{ TEXT("a\nfsync=often"), "never, file or tree" },
		{ TEXT("a\nexisting=Merge"), "fail, merge, skip, replace or update" },
		{ TEXT("a\nverify="), "no or yes" },
		{ TEXT("a\nworkers=2"),
		  "expected existing, on_error, fsync, reflink, one_file_system or verify; or tag" },
		{ TEXT("a\nnonsense"), "nonsense" },
		{ TEXT("a\n=x"), "\"\"" },
		{ TEXT("a\n\nlate=1\n"), "late" },
		{ TEXT("a\nname=b"), "name" }, /* the destination has it */
		{ TEXT("a\ntag="), "tag" },
		{ TEXT("a\ntag=two words"), "tag" },
		{ TEXT("a\ntag=\x7f"), "tag" },
		{ TEXT("a\ntag=12345678901234567890123456789012345678901234567890123456789012345"),
		  "tag" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("case %zu\n", i);
		assert_int_equal(control_parse_order(CONTROL_COPY, cases[i].value, cases[i].size,
						     &f->dest, f->reason),
				 strcmp(cases[i].says, "..") == 0 ? -EXDEV : -EINVAL);
		assert_non_null(strstr(f->reason, cases[i].says));
		assert_null(f->dest.path);
	}
}

static void test_parse_options(void **state)
{
	static const char value[] = "a\ntag=x1\n\nname=the copy\ntag=x2\n";
	struct fixture *f = *state;

	assert_int_equal(control_parse_order(CONTROL_SUBMIT_FROM, TEXT(value), &f->dest, f->reason),
			 0);
	assert_string_equal(f->dest.path, "a");
	assert_string_equal(f->dest.name, "the copy");
	assert_string_equal(f->dest.tag, "x2"); /* the last one counts */
}

static void test_parse_tree_options(void **state)
{
	static const char value[] =
		"a\nexisting=merge\non_error=continue\nfsync=tree\nreflink=never\n"
		"one_file_system=yes\nverify=yes\nexisting=update";
	struct fixture *f = *state;

	assert_int_equal(control_parse_order(CONTROL_COPY, TEXT("a"), &f->dest, f->reason), 0);
	assert_int_equal(f->dest.options.existing, TREE_EXISTING_FAIL);
	assert_int_equal(f->dest.options.fsync, TREE_AS_ENGINE);
	assert_int_equal(f->dest.options.reflink, TREE_AS_ENGINE);
	control_order_destroy(&f->dest);
	assert_int_equal(control_parse_order(CONTROL_COPY, TEXT(value), &f->dest, f->reason), 0);
	assert_int_equal(f->dest.options.existing, TREE_EXISTING_UPDATE);
	assert_int_equal(f->dest.options.on_error, TREE_ON_ERROR_CONTINUE);
	assert_int_equal(f->dest.options.fsync, ENGINE_FSYNC_TREE);
	assert_int_equal(f->dest.options.reflink, ENGINE_REFLINK_NEVER);
	assert_true(f->dest.options.one_file_system);
	assert_true(f->dest.options.verify);
}

static void test_parse_bad_name(void **state)
{
	static const char *const values[] = {
		"a\nname=", "a\nname=.", "a\nname=..", "a\nname=b/c", "a\nname=/",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		assert_int_equal(control_parse_order(CONTROL_COPY_FROM, values[i],
						     strlen(values[i]), &f->dest, f->reason),
				 -EINVAL);
		assert_non_null(strstr(f->reason, "name="));
		assert_null(f->dest.path);
		assert_null(f->dest.name);
	}
}

static void test_parse_id(void **state)
{
	static const struct {
		const char *value;
		size_t size;
		uint64_t id; /* 0: refused */
	} cases[] = {
		{ TEXT("1"), 1 },   { TEXT("1\n"), 1 }, { TEXT("4711"), 4711 },
		{ TEXT(""), 0 },    { TEXT("\n"), 0 },	{ TEXT("0"), 0 },
		{ TEXT("01"), 0 },  { TEXT("+1"), 0 },	{ TEXT("-1"), 0 },
		{ TEXT(" 1"), 0 },  { TEXT("1 "), 0 },	{ TEXT("1\n\n"), 0 },
		{ TEXT("1\0"), 0 }, { TEXT("0x1"), 0 }, { TEXT("99999999999999999999"), 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t id = 0;
		int r = control_parse_id(cases[i].value, cases[i].size, &id);

		print_message("case %zu\n", i);
		assert_int_equal(r, cases[i].id ? 0 : -EINVAL);
		assert_int_equal(id, cases[i].id);
	}
}

/* "aaa...", @length long. */
static char *letters(struct fixture *f, size_t length)
{
	free(f->text);
	f->text = malloc(length + 1);
	assert_non_null(f->text);
	memset(f->text, 'a', length);
	f->text[length] = '\0';
	return f->text;
}

static void test_parse_long(void **state)
{
	struct fixture *f = *state;
	char *text = letters(f, NAME_MAX);

	assert_int_equal(control_parse_order(CONTROL_COPY, text, NAME_MAX, &f->dest, f->reason), 0);
	assert_int_equal(strlen(f->dest.path), NAME_MAX);
	control_order_destroy(&f->dest);

	text = letters(f, NAME_MAX + 1);
	assert_int_equal(control_parse_order(CONTROL_COPY, text, NAME_MAX + 1, &f->dest, f->reason),
			 -ENAMETOOLONG);

	text = letters(f, PATH_MAX);
	for (size_t i = 1; i < PATH_MAX; i += 2)
		text[i] = '/';
	assert_int_equal(control_parse_order(CONTROL_COPY, text, PATH_MAX - 1, &f->dest, f->reason),
			 0);
	control_order_destroy(&f->dest);
	assert_int_equal(control_parse_order(CONTROL_COPY, text, PATH_MAX, &f->dest, f->reason),
			 -ENAMETOOLONG);

	text = letters(f, 3000); /* an option longer than any reason */
	text[1] = '\n';
	assert_int_equal(control_parse_order(CONTROL_COPY, text, 3000, &f->dest, f->reason),
			 -EINVAL);
	assert_true(strlen(f->reason) < CONTROL_REASON_MAX);
}

static void test_below_mountpoint(void **state)
{
	static const struct {
		const char *value;
		const char *mountpoint;
		const char *expected; /* NULL: not below */
	} cases[] = {
		{ "/mnt/a", "/mnt", "a" },     { "/mnt/a/b", "/mnt", "a/b" },
		{ "/mnt/a/b", "/mnt/a", "b" }, { "/mnt", "/mnt", "" },
		{ "/mnt/", "/mnt", "" },       { "/mntx/a", "/mnt", NULL },
		{ "/mn", "/mnt", NULL },       { "/other", "/mnt", NULL },
		{ "/", "/mnt", NULL },	       { "mnt/a", "/mnt", "mnt/a" },
		{ "a", "/mnt", "a" },	       { "/a/b", "/", "a/b" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *below;

		print_message("case %zu\n", i);
		assert_int_equal(control_parse_order(CONTROL_COPY, cases[i].value,
						     strlen(cases[i].value), &f->dest, f->reason),
				 0);
		below = control_below(&f->dest, cases[i].mountpoint);
		if (cases[i].expected)
			assert_string_equal(below, cases[i].expected);
		else
			assert_null(below);
		control_order_destroy(&f->dest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classify_names),
		cmocka_unit_test_setup_teardown(test_parse_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parse_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parse_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parse_tree_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parse_bad_name, setup, teardown),
		cmocka_unit_test(test_parse_id),
		cmocka_unit_test_setup_teardown(test_parse_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_below_mountpoint, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
