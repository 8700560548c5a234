/* SPDX-License-Identifier: MIT */
/*
 * test_pair.c - what is remembered of pairs of file systems.
 */
#include <stdlib.h>

#include "support.h"

#include "arsync/base.h"
#include "pair.h"
#include "region.h"

static int setup(void **state)
{
	struct pair_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -1;
	pair_table_init(table);
	*state = table;
	return 0;
}

static int teardown(void **state)
{
	pair_table_destroy(*state);
	free(*state);
	return 0;
}

static void put(struct pair_table *table, dev_t src, dev_t dst, uint64_t region_length)
{
	struct pair pair = pair_get(table, src, dst);

	pair.region_length = region_length;
	pair.no_clone = true;
	pair.no_offload = true;
	pair.no_uncached = true;
	pair_put(table, &pair);
}

static void test_pair_get_unknown(void **state)
{
	struct pair pair = pair_get(*state, 1, 2);

	assert_int_equal(pair.src_dev, 1);
	assert_int_equal(pair.dst_dev, 2);
	assert_true(pair.used);
	assert_false(pair.no_clone);
	assert_false(pair.no_offload);
	assert_false(pair.no_uncached);
	assert_int_equal(pair.region_length, 0);
	/* Asking is not knowing: device 0 may well be a real one, too. */
	assert_false(pair_get(*state, 0, 0).no_clone);
}

static void test_pair_put_remembers(void **state)
{
	put(*state, 1, 2, 100);
	put(*state, 2, 1, 200); /* the other way round is another pair */
	assert_int_equal(pair_get(*state, 1, 2).region_length, 100);
	assert_int_equal(pair_get(*state, 2, 1).region_length, 200);
	assert_true(pair_get(*state, 1, 2).no_clone);
	assert_true(pair_get(*state, 1, 2).no_offload);
	assert_true(pair_get(*state, 1, 2).no_uncached);
	assert_int_equal(pair_get(*state, 1, 1).region_length, 0);
	assert_int_equal(pair_get(*state, 2, 2).region_length, 0);
	put(*state, 1, 2, 300);
	assert_int_equal(pair_get(*state, 1, 2).region_length, 300);
}

static void test_pair_put_oldest_goes(void **state)
{
	for (unsigned i = 0; i <= PAIRS_MAX; i++)
		put(*state, i, i, 1000 + i);
	assert_int_equal(pair_get(*state, 0, 0).region_length, 0);
	for (unsigned i = 1; i <= PAIRS_MAX; i++)
		assert_int_equal(pair_get(*state, i, i).region_length, 1000 + i);
	/* What is known already needs no new place. */
	put(*state, 5, 5, 1);
	assert_int_equal(pair_get(*state, 1, 1).region_length, 1001);
}

#define MS UINT64_C(1000000)

static const struct {
	const char *name;
	uint64_t region_length; /* before */
	uint64_t length;	/* of the region that was copied */
	uint32_t block;
	uint64_t took_ns;
	uint64_t expected;
} lessons[] = {
	{ "as long as it is to be", 16 * MIB, 16 * MIB, MIB, 30 * MS, 16 * MIB },
	{ "just not too quick", 16 * MIB, 16 * MIB, MIB, 15 * MS, 16 * MIB },
	{ "just not too slow", 16 * MIB, 16 * MIB, MIB, 60 * MS, 16 * MIB },
	{ "quick", 16 * MIB, 16 * MIB, MIB, 15 * MS - 1, 32 * MIB },
	{ "at once", 16 * MIB, 16 * MIB, MIB, 0, 32 * MIB },
	{ "slow", 16 * MIB, 16 * MIB, MIB, 60 * MS + 1, 8 * MIB },
	{ "very slow", 16 * MIB, 16 * MIB, MIB, 60000 * MS, 8 * MIB },
	{ "slow, and half of it is not whole blocks", 7 * MIB, 7 * MIB, MIB, 100 * MS, 3 * MIB },
	{ "slow, and two blocks", 2 * MIB, 2 * MIB, MIB, 100 * MS, MIB },
	{ "slow, and one block", MIB, MIB, MIB, 100 * MS, MIB },
	{ "quick, and nearly the longest", 48 * MIB, 48 * MIB, MIB, MS, 64 * MIB },
	{ "quick, and the longest", 64 * MIB, 64 * MIB, MIB, MS, 64 * MIB },
	{ "quick, and the longest of large blocks", 64 * MIB, 64 * MIB, 16 * MIB, MS, 64 * MIB },
	{ "quick, and more than a region of small blocks has strides", 3 * MIB, 3 * MIB, 64 * KIB,
	  MS, 64 * KIB *REGION_STRIDES_MAX },
	{ "quick, but it was the shorter last one", 16 * MIB, 3 * MIB, MIB, MS, 16 * MIB },
	{ "slow, but as long as they were before the last lesson", 16 * MIB, 32 * MIB, MIB,
	  100 * MS, 16 * MIB },
};

static void test_pair_learn(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lessons); i++) {
		struct pair pair = { .region_length = lessons[i].region_length };

		print_message("  %s\n", lessons[i].name);
		pair_learn(&pair, lessons[i].length, lessons[i].block, lessons[i].took_ns);
		assert_int_equal(pair.region_length, lessons[i].expected);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pair_get_unknown),
		TEST(test_pair_put_remembers),
		TEST(test_pair_put_oldest_goes),
		cmocka_unit_test(test_pair_learn),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("pair", tests, NULL, NULL);
}
