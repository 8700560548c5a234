/* SPDX-License-Identifier: MIT */
/*
 * test_log.c - what reaches a log's function.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "arsync/log.h"

static void record(void *userdata, enum log_level level, const char *message)
{
	(void)level;
	(void)snprintf(userdata, 64, "%s", message); /* fits */
}

static void test_log_message_of_odd_names(void **state)
{
	static const char *const cases[][2] = {
		{ "plain", "plain" },
		{ "gr\xc3\xb6\xc3\x9f"
		  "e",
		  "gr\xc3\xb6\xc3\x9f"
		  "e" },
		{ "a\x1b[2J\nb\x7f", "a?[2J?b?" },
		{ "\xc2\x9b"
		  "2J\xc2\xa0",
		  "??2J\xc2\xa0" },
		{ "cut \xc2", "cut \xc2" },
	};
	char said[64] = "";
	const struct log log = { .level = LOG_LEVEL_INFO, .write = record, .userdata = said };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		log_warn(&log, "%s", cases[i][0]);
		assert_string_equal(said, cases[i][1]);
	}
}

static void test_log_message_below_level(void **state)
{
	char said[64] = "nothing";
	const struct log log = { .level = LOG_LEVEL_WARN, .write = record, .userdata = said };

	(void)state;
	log_info(&log, "something");
	log_warn(NULL, "something");
	assert_string_equal(said, "nothing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_message_of_odd_names),
		cmocka_unit_test(test_log_message_below_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
