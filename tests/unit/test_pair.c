/* SPDX-License-Identifier: MIT */
/*
 * test_pair.c - what is remembered of pairs of file systems.
 */
#include <stdlib.h>

#include "support.h"

#include "pair.h"

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
	pair_put(table, &pair);
}

static void test_pair_get_unknown(void **state)
{
	struct pair pair = pair_get(*state, 1, 2);

	assert_int_equal(pair.src_dev, 1);
	assert_int_equal(pair.dst_dev, 2);
	assert_true(pair.used);
	assert_false(pair.no_clone);
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pair_get_unknown),
		TEST(test_pair_put_remembers),
		TEST(test_pair_put_oldest_goes),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("pair", tests, NULL, NULL);
}
