/* SPDX-License-Identifier: MIT */
/*
 * test_give_way.c - when a worker of a tree copy rests, and for how long.
 */
#include "support.h"

#include "give_way.h"

#define START UINT64_C(5000000000) /* a time of day like any other */

/* How much of @span a worker rests that asks every 10 us; @served: somebody is, all the time. */
static uint64_t rested(uint64_t span, bool served)
{
	struct give_way give_way = { .since_ns = START };
	uint64_t now = START, sum = 0;

	while (now < START + span) {
		uint64_t rest = give_way_rest(&give_way, served ? now : 0, now);

		sum += rest;
		now += rest + 10000;
	}
	return sum;
}

static void test_give_way_rest_not_before_it_has_worked(void **state)
{
	struct give_way give_way = { .since_ns = START };
	uint64_t end = START + GIVE_WAY_WORK_NS;

	(void)state;
	assert_int_equal(give_way_rest(&give_way, START, end - 1), 0);
	assert_int_equal(give_way_rest(&give_way, START, end), GIVE_WAY_REST_NS);
	assert_int_equal(give_way_rest(&give_way, START, end + GIVE_WAY_REST_NS), 0);
	assert_int_equal(give_way_rest(&give_way, START, end + GIVE_WAY_REST_NS + GIVE_WAY_WORK_NS),
			 GIVE_WAY_REST_NS);
}

static void test_give_way_rest_alone(void **state)
{
	struct give_way give_way = { .since_ns = START };

	(void)state;
	assert_int_equal(give_way_rest(&give_way, 0, START + 1000 * GIVE_WAY_WORK_NS), 0);
}

static void test_give_way_rest_served_is_forgotten(void **state)
{
	struct give_way give_way = { .since_ns = START + GIVE_WAY_SERVED_NS - GIVE_WAY_WORK_NS };

	(void)state;
	assert_int_equal(give_way_rest(&give_way, START, START + GIVE_WAY_SERVED_NS + 1), 0);
	assert_int_equal(give_way_rest(&give_way, START, START + GIVE_WAY_SERVED_NS),
			 GIVE_WAY_REST_NS);
}

/* Another thread may note a request between our looks at the two clocks. */
static void test_give_way_rest_served_later_than_now(void **state)
{
	struct give_way give_way = { .since_ns = START };
	uint64_t now = START + GIVE_WAY_WORK_NS;

	(void)state;
	assert_int_equal(give_way_rest(&give_way, now + 1, now), GIVE_WAY_REST_NS);
}

static void test_give_way_rest_woken_early(void **state)
{
	struct give_way give_way = { .since_ns = START + 1 };

	(void)state;
	assert_int_equal(give_way_rest(&give_way, START, START), 0);
}

static void test_give_way_rest_is_bounded(void **state)
{
	(void)state;
	/* About a quarter while others are served. */
	assert_in_range(rested(1000000000, true), 150000000, 250000000);
	assert_int_equal(rested(1000000000, false), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_give_way_rest_not_before_it_has_worked),
		cmocka_unit_test(test_give_way_rest_alone),
		cmocka_unit_test(test_give_way_rest_served_is_forgotten),
		cmocka_unit_test(test_give_way_rest_served_later_than_now),
		cmocka_unit_test(test_give_way_rest_woken_early),
		cmocka_unit_test(test_give_way_rest_is_bounded),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("give_way", tests, NULL, NULL);
}
