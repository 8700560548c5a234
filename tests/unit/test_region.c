/* SPDX-License-Identifier: MIT */
/*
 * test_region.c - the contiguous front of a region of which some blocks are copied.
 */
#include "support.h"

#include "arsync/base.h"
#include "region.h"

#define BLOCK 1000
#define NOTHING_BAD UINT32_MAX

struct prefix_case {
	const char *name;
	unsigned n_blocks;
	uint32_t last_block; /* bytes of the last one */
	uint64_t blocks_done;
	unsigned bad_block; /* or NOTHING_BAD */
	uint64_t bad_bytes;
	uint64_t expected;
};

static const struct prefix_case cases[] = {
	{ "nothing", 4, BLOCK, 0x0, NOTHING_BAD, 0, 0 },
	{ "whole", 4, BLOCK, 0xf, NOTHING_BAD, 0, 4000 },
	{ "whole, with a short last block", 4, 7, 0xf, NOTHING_BAD, 0, 3007 },
	{ "one short block", 1, 7, 0x1, NOTHING_BAD, 0, 7 },
	{ "stopped after two", 4, BLOCK, 0x3, NOTHING_BAD, 0, 2000 },
	{ "what lies behind a gap does not count", 4, BLOCK, 0xd, NOTHING_BAD, 0, 1000 },
	{ "nor when the first is missing", 4, BLOCK, 0xe, NOTHING_BAD, 0, 0 },
	{ "part of the block that failed", 4, BLOCK, 0x3, 2, 333, 2333 },
	{ "that failed in front of copied ones", 4, BLOCK, 0xb, 2, 333, 2333 },
	{ "the first failed at once", 4, BLOCK, 0xe, 0, 0, 0 },
	{ "the last failed", 4, 7, 0x7, 3, 5, 3005 },
	{ "a block that failed behind a gap", 4, BLOCK, 0x1, 2, 333, 1000 },
	{ "as many blocks as there can be", REGION_BLOCKS_MAX, BLOCK, UINT64_MAX, NOTHING_BAD, 0,
	  REGION_BLOCKS_MAX *BLOCK },
	{ "all of them but the last", REGION_BLOCKS_MAX, BLOCK, UINT64_MAX >> 1, NOTHING_BAD, 0,
	  (REGION_BLOCKS_MAX - 1) * BLOCK },
	{ "all of them but the first", REGION_BLOCKS_MAX, BLOCK, UINT64_MAX << 1, NOTHING_BAD, 0,
	  0 },
};

static void test_region_prefix(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct prefix_case *c = &cases[i];
		const struct region region = {
			.length = (uint64_t)(c->n_blocks - 1) * BLOCK + c->last_block,
			.block_size = BLOCK,
			.n_blocks = c->n_blocks,
			.blocks_done = c->blocks_done,
			.bad_block = MIN(c->bad_block, c->n_blocks),
			.bad_bytes = c->bad_bytes,
			.state = REGION_ENDED,
		};

		print_message("  %s\n", c->name);
		assert_int_equal(region_prefix(&region), c->expected);
	}
}

static void test_region_new_hole(void **state)
{
	struct region *hole = region_new_hole(NULL, 10, 20, 1024 * GIB);

	(void)state;
	assert_non_null(hole);
	assert_int_equal(hole->state, REGION_ENDED);
	assert_int_equal(hole->src_offset, 10);
	assert_int_equal(hole->dst_offset, 20);
	assert_int_equal(region_prefix(hole), 1024 * GIB);
	free(hole);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_prefix),
		cmocka_unit_test(test_region_new_hole),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
