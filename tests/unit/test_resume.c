/* SPDX-License-Identifier: MIT */
/*
 * test_resume.c - what is kept of long copies: found once, at the very place they go on.
 */
#include "support.h"

#include "arsync/base.h"
#include "resume.h"

static struct resume_table table;

static int setup(void **state)
{
	(void)state;
	resume_table_init(&table);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	resume_table_destroy(&table);
	return 0;
}

static struct resume_point point(uint64_t offset)
{
	return (struct resume_point){
		.src_dev = 1,
		.src_ino = 2,
		.dst_dev = 3,
		.dst_ino = 4,
		.src_offset = offset,
		.dst_offset = 2 * offset,
	};
}

static void test_resume_take_once(void **state)
{
	const struct resume_point at = point(100);

	(void)state;
	assert_false(resume_take(&table, &at));
	resume_put(&table, &at, true);
	assert_true(resume_take(&table, &at));
	assert_false(resume_take(&table, &at));
}

static void test_resume_take_elsewhere(void **state)
{
	const struct resume_point at = point(100);
	struct resume_point others[6];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		others[i] = at;
	others[0].src_dev++;
	others[1].src_ino++;
	others[2].dst_dev++;
	others[3].dst_ino++;
	others[4].src_offset++;
	others[5].dst_offset++;
	resume_put(&table, &at, true);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(resume_take(&table, &others[i]));
	assert_true(resume_take(&table, &at));
}

static void test_resume_put_more_than_there_is_room_for(void **state)
{
	struct resume_point at;

	(void)state;
	for (uint64_t i = 0; i < RESUME_MAX + 3; i++) {
		at = point(i);
		resume_put(&table, &at, true);
	}
	for (uint64_t i = 0; i < RESUME_MAX + 3; i++) {
		at = point(i);
		assert_int_equal(resume_take(&table, &at), i >= 3); /* the oldest are gone */
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_resume_take_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resume_take_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resume_put_more_than_there_is_room_for, setup,
						teardown),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
