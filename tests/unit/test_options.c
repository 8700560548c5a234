/* SPDX-License-Identifier: MIT */
/*
 * test_options.c - options as text, and the bounds of engine_new().
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

#include "arsync/base.h"
#include "arsync/engine.h"
#include "io_method.h"

struct option_case {
	const char *name;
	const char *value;
	long expected; /* BAD, or what the option is then */
};

#define BAD (-1000L)

static const struct option_case cases[] = {
	{ "workers", "1", 1 },
	{ "workers", "256", ENGINE_WORKERS_MAX },
	{ "workers", "0", BAD },
	{ "workers", "257", BAD },
	{ "workers", "", BAD },
	{ "workers", "-1", BAD },
	{ "workers", "+1", BAD },
	{ "workers", " 1", BAD },
	{ "workers", "1 ", BAD },
	{ "workers", "1k", BAD },
	{ "workers", "two", BAD },
	{ "workers", "0x2", BAD },
	{ "workers", "4294967297", BAD },	    /* 2^32 + 1 */
	{ "workers", "18446744073709551617", BAD }, /* 2^64 + 1 */
	{ "queue_depth", "1", 1 },
	{ "queue_depth", "64", ENGINE_QUEUE_DEPTH_MAX },
	{ "queue_depth", "0", BAD },
	{ "queue_depth", "65", BAD },
	{ "queue_depth", "", BAD },
	{ "queue_depth", "x", BAD },
	{ "queue_depth", "-1", BAD },
	{ "block_size", "65536", 65536 },
	{ "block_size", "64K", 65536 },
	{ "block_size", "68K", 69632 },
	{ "block_size", "1M", 1048576 },
	{ "block_size", "16M", ENGINE_BLOCK_SIZE_MAX },
	{ "block_size", "16777216", ENGINE_BLOCK_SIZE_MAX },
	{ "block_size", "60K", BAD },
	{ "block_size", "0", BAD },
	{ "block_size", "65537", BAD },
	{ "block_size", "66K", BAD },
	{ "block_size", "16777217", BAD },
	{ "block_size", "17M", BAD },
	{ "block_size", "1G", BAD },
	{ "block_size", "M", BAD },
	{ "block_size", "", BAD },
	{ "block_size", "1MB", BAD },
	{ "block_size", "1T", BAD },
	{ "block_size", "-1M", BAD },
	{ "block_size", " 1M", BAD },
	{ "block_size", "1.5M", BAD },
	{ "block_size", "17592186044417M", BAD },      /* 1 MiB, if it overflowed */
	{ "block_size", "18446744073709617152", BAD }, /* 2^64 + 64 KiB */
	{ "depth", "auto", ENGINE_DEPTH_AUTO },
	{ "depth", "0", 0 },
	{ "depth", "6", ENGINE_DEPTH_MAX },
	{ "depth", "7", BAD },
	{ "depth", "-1", BAD }, /* ENGINE_DEPTH_AUTO has a name */
	{ "depth", "", BAD },
	{ "depth", "Auto", BAD },
	{ "reflink", "auto", ENGINE_REFLINK_AUTO },
	{ "reflink", "always", ENGINE_REFLINK_ALWAYS },
	{ "reflink", "never", ENGINE_REFLINK_NEVER },
	{ "offload", "auto", ENGINE_OFFLOAD_AUTO },
	{ "offload", "always", ENGINE_OFFLOAD_ALWAYS },
	{ "offload", "never", ENGINE_OFFLOAD_NEVER },
	{ "offload", "maybe", BAD },
	{ "direct", "auto", ENGINE_DIRECT_AUTO },
	{ "direct", "always", ENGINE_DIRECT_ALWAYS },
	{ "direct", "never", ENGINE_DIRECT_NEVER },
	{ "direct", "", BAD },
	{ "reflink", "", BAD },
	{ "reflink", "yes", BAD },
	{ "io", "auto", ENGINE_IO_AUTO },
	{ "io", "uring", ENGINE_IO_URING },
	{ "io", "sync", ENGINE_IO_SYNC },
	{ "io", "", BAD },
	{ "io", "aio", BAD },
	{ "fsync", "never", ENGINE_FSYNC_NEVER },
	{ "fsync", "file", ENGINE_FSYNC_FILE },
	{ "fsync", "tree", ENGINE_FSYNC_TREE },
	{ "fsync", "", BAD },
	{ "fsync", "always", BAD },
};

static long value_of(const struct engine_options *options, const char *name)
{
	const struct {
		const char *name;
		long value;
	} values[] = {
		{ "workers", options->workers },       { "queue_depth", options->queue_depth },
		{ "block_size", options->block_size }, { "depth", options->depth },
		{ "reflink", (long)options->reflink }, { "offload", (long)options->offload },
		{ "direct", (long)options->direct },   { "io", (long)options->io },
		{ "fsync", (long)options->fsync },
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (strcmp(values[i].name, name) == 0)
			return values[i].value;
	return BAD;
}

/* Something that no option is by itself, so that what is set shows, and what must stay too. */
static struct engine_options unlike_all(void)
{
	return (struct engine_options){
		.workers = 77,
		.queue_depth = 33,
		.block_size = 99 * 4096,
		.depth = 5,
		.io = (enum engine_io)55,
		.reflink = (enum engine_reflink)55,
		.offload = (enum engine_offload)55,
		.direct = (enum engine_direct)55,
		.fsync = (enum engine_fsync)55,
	};
}

/* All but one are as before. */
static void assert_others_unchanged(const struct engine_options *options, const char *name)
{
	static const char *const names[] = { "workers", "queue_depth", "block_size",
					     "depth",	"reflink",     "offload",
					     "direct",	"io",	       "fsync" };
	const struct engine_options before = unlike_all();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) != 0)
			assert_int_equal(value_of(options, names[i]), value_of(&before, names[i]));
}

static void test_engine_options_set_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct option_case *c = &cases[i];
		struct engine_options options = unlike_all(), before = options;
		char error[200] = "";
		int r = engine_options_set(&options, c->name, c->value, error, sizeof(error));

		if (r != (c->expected == BAD ? -EINVAL : 0))
			fail_msg("%s=%s: %d", c->name, c->value, r);
		if (r == 0) {
			assert_int_equal(value_of(&options, c->name), c->expected);
			assert_others_unchanged(&options, c->name);
			continue;
		}
		assert_memory_equal(&options, &before, sizeof(options));
		/* It says which option, what was given, and what is expected. */
		assert_non_null(strstr(error, c->name));
		assert_non_null(strstr(error, c->value));
		assert_non_null(strstr(error, "expected"));
	}
}

static void test_engine_options_set_unknown(void **state)
{
	struct engine_options options = unlike_all(), before = options;
	char error[200];

	(void)state;
	assert_int_equal(engine_options_set(&options, "worker", "1", error, sizeof(error)),
			 -ENOENT);
	assert_int_equal(engine_options_set(&options, "", "1", error, sizeof(error)), -ENOENT);
	assert_memory_equal(&options, &before, sizeof(options));
}

/* A value as long as one likes does not overrun the text. */
static void test_engine_options_set_long_value(void **state)
{
	struct engine_options options = unlike_all();
	char value[1000], error[20];

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_int_equal(engine_options_set(&options, "io", value, error, sizeof(error)), -EINVAL);
	assert_true(strlen(error) > 0 && strlen(error) < sizeof(error));
}

/* What engine_new() answers; the engine is freed. */
static int try_new(const struct engine_options *options)
{
	struct engine *engine = NULL;
	int r = engine_new(options, &engine);

	assert_true((r == 0) == (engine != NULL));
	engine_free(engine);
	return r;
}

static struct engine_options defaults(void)
{
	struct engine_options options;

	engine_options_init(&options);
	return options;
}

static void test_engine_new_bounds(void **state)
{
	struct engine_options o;

	(void)state;
	o = defaults();
	assert_int_equal(o.depth, ENGINE_DEPTH_AUTO);
	assert_int_equal(try_new(&o), 0);
	o = (struct engine_options){ .depth = ENGINE_DEPTH_MAX };
	assert_int_equal(try_new(&o), 0); /* zeros are defaults */
	o = defaults();
	o.workers = ENGINE_WORKERS_MAX;
	o.queue_depth = ENGINE_QUEUE_DEPTH_MAX;
	o.block_size = ENGINE_BLOCK_SIZE_MAX;
	assert_int_equal(try_new(&o), 0);
	o.block_size = ENGINE_BLOCK_SIZE_MIN;
	assert_int_equal(try_new(&o), 0);

	o = defaults();
	o.workers = ENGINE_WORKERS_MAX + 1;
	assert_int_equal(try_new(&o), -EINVAL);
	o = defaults();
	o.queue_depth = ENGINE_QUEUE_DEPTH_MAX + 1;
	assert_int_equal(try_new(&o), -EINVAL);
	o = defaults();
	o.block_size = ENGINE_BLOCK_SIZE_MIN - 4096;
	assert_int_equal(try_new(&o), -EINVAL);
	o.block_size = ENGINE_BLOCK_SIZE_MAX + 4096;
	assert_int_equal(try_new(&o), -EINVAL);
	o.block_size = ENGINE_BLOCK_SIZE_MIN + 512;
	assert_int_equal(try_new(&o), -EINVAL);
	o = defaults();
	o.depth = ENGINE_DEPTH_AUTO - 1;
	assert_int_equal(try_new(&o), -EINVAL);
	o.depth = ENGINE_DEPTH_MAX + 1;
	assert_int_equal(try_new(&o), -EINVAL);
}

static void test_engine_new_io(void **state)
{
	struct engine_options o = defaults();

	(void)state;
	o.io = ENGINE_IO_URING;
	assert_int_equal(try_new(&o), io_ring_probe());
	o.io = ENGINE_IO_SYNC;
	assert_int_equal(try_new(&o), 0);
	o.io = ENGINE_IO_AUTO;
	assert_int_equal(try_new(&o), 0);
}

static void test_tree_options_set(void **state)
{
	struct tree_options o;
	char error[128] = "";

	(void)state;
	tree_options_init(&o);
	assert_int_equal(o.existing, TREE_EXISTING_FAIL);
	assert_int_equal(o.on_error, TREE_ON_ERROR_STOP);
	assert_int_equal(o.fsync, TREE_AS_ENGINE);
	assert_int_equal(o.reflink, TREE_AS_ENGINE);
	assert_false(o.one_file_system);
	assert_false(o.verify);
	assert_int_equal(tree_options_set(&o, "existing", "update", error, sizeof(error)), 0);
	assert_int_equal(tree_options_set(&o, "on_error", "continue", error, sizeof(error)), 0);
	assert_int_equal(tree_options_set(&o, "fsync", "tree", error, sizeof(error)), 0);
	assert_int_equal(tree_options_set(&o, "reflink", "never", error, sizeof(error)), 0);
	assert_int_equal(tree_options_set(&o, "one_file_system", "yes", error, sizeof(error)), 0);
	assert_int_equal(tree_options_set(&o, "verify", "yes", error, sizeof(error)), 0);
	assert_int_equal(o.existing, TREE_EXISTING_UPDATE);
	assert_int_equal(o.on_error, TREE_ON_ERROR_CONTINUE);
	assert_int_equal(o.fsync, ENGINE_FSYNC_TREE);
	assert_int_equal(o.reflink, ENGINE_REFLINK_NEVER);
	assert_true(o.one_file_system);
	assert_true(o.verify);
	assert_int_equal(tree_options_set(&o, "verify", "no", error, sizeof(error)), 0);
	assert_false(o.verify);
	assert_string_equal(error, "");
	assert_int_equal(tree_options_set(&o, "existing", "Merge", error, sizeof(error)), -EINVAL);
	assert_string_equal(error, "existing=Merge: expected fail, merge, skip, replace or update");
	assert_int_equal(o.existing, TREE_EXISTING_UPDATE);
	assert_int_equal(tree_options_set(&o, "workers", "2", error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "\"workers\": expected existing, on_error,"));
	assert_int_equal(tree_options_set(&o, "", "", error, sizeof(error)), -ENOENT);
}

static void test_copy_way_name(void **state)
{
	(void)state;
	assert_string_equal(copy_way_name(COPY_WAY_CLONE), "clone");
	assert_string_equal(copy_way_name(COPY_WAY_RING), "ring");
	assert_string_equal(copy_way_name(COPY_WAY_SYNC), "sync");
	assert_string_equal(copy_way_name(COPY_WAY_HOLE), "hole");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_engine_options_set_values),
		cmocka_unit_test(test_engine_options_set_unknown),
		cmocka_unit_test(test_engine_options_set_long_value),
		cmocka_unit_test(test_engine_new_bounds),
		cmocka_unit_test(test_engine_new_io),
		cmocka_unit_test(test_tree_options_set),
		cmocka_unit_test(test_copy_way_name),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
