/* SPDX-License-Identifier: MIT */
/*
 * test_region.c - how a region is cut, whether it goes on, and the contiguous front of one of which
 * some strides are copied.
 */
#include "support.h"

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "region.h"

#define STRIDE 1000
#define NOTHING_BAD UINT32_MAX

struct prefix_case {
	const char *name;
	unsigned n_strides;
	uint32_t last_stride; /* bytes of the last one */
	uint64_t strides_done;
	unsigned bad_stride; /* or NOTHING_BAD */
	uint64_t bad_bytes;
	uint64_t front; /* bytes before the strides */
	uint64_t expected;
};

#define MOST REGION_STRIDES_MAX
#define ALL UINT64_MAX

static const struct prefix_case cases[] = {
	{ "nothing", 4, STRIDE, 0x0, NOTHING_BAD, 0, 0, 0 },
	{ "whole", 4, STRIDE, 0xf, NOTHING_BAD, 0, 0, 4000 },
	{ "whole, with a short last stride", 4, 7, 0xf, NOTHING_BAD, 0, 0, 3007 },
	{ "one short stride", 1, 7, 0x1, NOTHING_BAD, 0, 0, 7 },
	{ "stopped after two", 4, STRIDE, 0x3, NOTHING_BAD, 0, 0, 2000 },
	{ "what lies behind a gap does not count", 4, STRIDE, 0xd, NOTHING_BAD, 0, 0, 1000 },
	{ "nor when the first is missing", 4, STRIDE, 0xe, NOTHING_BAD, 0, 0, 0 },
	{ "part of the stride that failed", 4, STRIDE, 0x3, 2, 333, 0, 2333 },
	{ "all of it but a byte", 4, STRIDE, 0x3, 2, STRIDE - 1, 0, 2999 },
	{ "that failed in front of copied ones", 4, STRIDE, 0xb, 2, 333, 0, 2333 },
	{ "the first failed at once", 4, STRIDE, 0xe, 0, 0, 0, 0 },
	{ "the first failed", 4, STRIDE, 0x0, 0, 333, 0, 333 },
	{ "the last failed", 4, 7, 0x7, 3, 5, 0, 3005 },
	{ "a stride that failed behind a gap", 4, STRIDE, 0x1, 2, 333, 0, 1000 },
	{ "as many strides as there can be", MOST, STRIDE, ALL, NOTHING_BAD, 0, 0, MOST *STRIDE },
	{ "all of them but the last", MOST, STRIDE, ALL >> 1, NOTHING_BAD, 0, 0,
	  (MOST - 1) * STRIDE },
	{ "and a part of that", MOST, STRIDE, ALL >> 1, MOST - 1, 333, 0,
	  (MOST - 1) * STRIDE + 333 },
	{ "all of them but the first", MOST, STRIDE, ALL << 1, NOTHING_BAD, 0, 0, 0 },
	{ "nothing behind what the file system has copied", 4, STRIDE, 0x0, NOTHING_BAD, 0, 50,
	  50 },
	{ "two strides behind it", 4, STRIDE, 0x3, NOTHING_BAD, 0, 50, 2050 },
	{ "part of a stride behind it", 4, STRIDE, 0x3, 2, 333, 50, 2383 },
	{ "all behind it", 4, 7, 0xf, NOTHING_BAD, 0, 50, 3057 },
};

static void test_region_prefix(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct prefix_case *c = &cases[i];
		struct region region = {
			.length = c->front + (uint64_t)(c->n_strides - 1) * STRIDE + c->last_stride,
			.stride = STRIDE,
			.n_strides = c->n_strides,
			.front = c->front,
			.strides_done = c->strides_done,
			.bad_stride = MIN(c->bad_stride, c->n_strides),
			.bad_bytes = c->bad_bytes,
			.state = REGION_ENDED,
		};

		print_message("  %s\n", c->name);
		assert_int_equal(region_prefix(&region), c->expected);
		/* Without the worker's part in it. */
		region.choice.offload = true;
		assert_int_equal(region_prefix(&region), c->front);
	}
}

/* What a region needs of the world around it. */
struct fixture {
	struct engine engine;
	struct job job;
	struct file_copy copy;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->engine.options.block_size = 64 * KIB;
	f->job.engine = &f->engine;
	f->copy.spec.job = &f->job;
	f->copy.stride = MIB;
	f->copy.limit = UINT64_MAX;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* How a region is cut: no longer a stride than it needs, which is whole blocks. */
static const struct {
	uint32_t block_size;
	uint32_t copy_stride;
	uint64_t length;
	uint32_t stride; /* expected, and so on */
	unsigned n_strides;
} cuts[] = {
	{ 64 * KIB, MIB, 1, 64 * KIB, 1 },
	{ 64 * KIB, MIB, 64 * KIB - 1, 64 * KIB, 1 },
	{ 64 * KIB, MIB, 64 * KIB, 64 * KIB, 1 },
	{ 64 * KIB, MIB, 64 * KIB + 1, 128 * KIB, 1 },
	{ 64 * KIB, MIB, MIB - 1, MIB, 1 },
	{ 64 * KIB, MIB, MIB, MIB, 1 },
	{ 64 * KIB, MIB, MIB + 1, MIB, 2 },
	{ 64 * KIB, MIB, 2 * MIB, MIB, 2 },
	{ 64 * KIB, MIB, REGION_STRIDES_MAX *MIB - 1, MIB, REGION_STRIDES_MAX },
	{ 64 * KIB, MIB, REGION_STRIDES_MAX *MIB, MIB, REGION_STRIDES_MAX },
	{ MIB, 4 * MIB, 16 * MIB, 4 * MIB, 4 },
	{ MIB, 4 * MIB, 3 * MIB + 1, 4 * MIB, 1 },
	{ 16 * MIB, 16 * MIB, 1, 16 * MIB, 1 },
	{ 16 * MIB, 16 * MIB, 64 * MIB, 16 * MIB, 4 },
};

static void test_region_new(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct region *region;

		f->engine.options.block_size = cuts[i].block_size;
		f->copy.stride = cuts[i].copy_stride;
		region = region_new(&f->copy, 10, 20, cuts[i].length);
		assert_non_null(region);
		print_message("  %llu in strides of %u\n", (unsigned long long)region->length,
			      region->stride);
		assert_int_equal(region->state, REGION_PLANNED);
		assert_int_equal(region->src_offset, 10);
		assert_int_equal(region->dst_offset, 20);
		assert_int_equal(region->length, cuts[i].length);
		assert_int_equal(region->stride, cuts[i].stride);
		assert_int_equal(region->n_strides, cuts[i].n_strides);
		assert_int_equal(region->bad_stride, region->n_strides);
		assert_int_equal(region_prefix(region), 0);
		free(region);
	}
}

#define NEVER 0
#define PAST 1
#define FUTURE UINT64_MAX

/* Of a region of four strides of 1 MiB, from 10 on. */
static const struct {
	const char *name;
	unsigned next_stride;
	uint64_t front;
	uint64_t limit;
	uint64_t hard_limit_ns;
	bool is_first;
	bool is_cancelled;
	bool wants; /* expected, and so on */
	bool stops;
} wants[] = {
	{ "the first", 0, 0, UINT64_MAX, NEVER, true, false, true, false },
	{ "the last", 3, 0, UINT64_MAX, NEVER, true, false, true, false },
	{ "there is none", 4, 0, UINT64_MAX, NEVER, true, false, false, false },
	{ "cancelled", 0, 0, UINT64_MAX, NEVER, true, true, false, true },
	{ "at the limit", 2, 0, 10 + 2 * MIB, NEVER, false, false, false, true },
	{ "a byte before the limit", 2, 0, 10 + 2 * MIB + 1, NEVER, false, false, true, false },
	{ "behind the limit", 3, 0, 10 + 2 * MIB, NEVER, false, false, false, true },
	{ "at the limit, with a front", 2, 50, 60 + 2 * MIB, NEVER, false, false, false, true },
	{ "a byte before it", 2, 50, 60 + 2 * MIB + 1, NEVER, false, false, true, false },
	{ "in time", 1, 0, UINT64_MAX, FUTURE, false, false, true, false },
	{ "late", 1, 0, UINT64_MAX, PAST, true, false, false, true },
	{ "late, in another region", 0, 0, UINT64_MAX, PAST, false, false, false, true },
	{ "late, but the very first", 0, 0, UINT64_MAX, PAST, true, false, true, false },
	{ "late, and something is copied already", 0, 50, UINT64_MAX, PAST, true, false, false,
	  true },
	{ "the very first, but cancelled", 0, 0, UINT64_MAX, PAST, true, true, false, true },
};

static void test_region_wants_stride(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wants); i++) {
		struct region region = {
			.copy = &f->copy,
			.src_offset = 10,
			.length = wants[i].front + 4 * MIB,
			.stride = MIB,
			.n_strides = 4,
			.front = wants[i].front,
			.next_stride = wants[i].next_stride,
			.is_first = wants[i].is_first,
			.state = REGION_RUNNING,
		};

		print_message("  %s\n", wants[i].name);
		f->job.fate = wants[i].is_cancelled ? JOB_FATE_CANCELLED : JOB_FATE_OPEN;
		/* Also before job_cancel() has said so. */
		assert_int_equal(job_get_verdict(&f->job), wants[i].is_cancelled ? -ECANCELED : 0);
		f->copy.limit = wants[i].limit;
		f->copy.hard_limit_ns = wants[i].hard_limit_ns;
		assert_int_equal(region_wants_stride(&region), wants[i].wants);
		assert_int_equal(region.stopped, wants[i].stops);
		/* One that has stopped does not go on. */
		f->job.fate = JOB_FATE_OPEN;
		f->copy.limit = UINT64_MAX;
		f->copy.hard_limit_ns = NEVER;
		assert_int_equal(region_wants_stride(&region), wants[i].wants);
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
		cmocka_unit_test_setup_teardown(test_region_new, setup, teardown),
		cmocka_unit_test(test_region_new_hole),
		cmocka_unit_test_setup_teardown(test_region_wants_stride, setup, teardown),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
