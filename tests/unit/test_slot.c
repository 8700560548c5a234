/* SPDX-License-Identifier: MIT */
/*
 * test_slot.c - the slot's state machine, as tables of events and what must follow each of them.
 */
#include <errno.h>
#include <string.h>

#include "support.h"

#include "arsync/base.h"
#include "slot.h"

#define LENGTH 1000
#define STEPS_MAX 8

/* The read filled its request, so that the result is the linked write's. */
#define FULL SLOT_READ_FULL

struct step {
	int read; /* of the read in flight; FULL when there is none */
	int result;
	enum slot_action action; /* expected, and so on */
	uint32_t filled;
	uint32_t flushed;
};

struct copy_case {
	const char *name;
	struct step steps[STEPS_MAX]; /* up to the first that answers SLOT_ACTION_NONE */
	int error;
	bool eof;
};

#define READ_WRITE SLOT_ACTION_READ_WRITE
#define WRITE SLOT_ACTION_WRITE
#define NONE SLOT_ACTION_NONE

static const struct copy_case copy_cases[] = {
	{ "full copy", { { FULL, LENGTH, NONE, LENGTH, LENGTH } }, 0, false },
	{ "short read, then the rest",
	  { { 300, -ECANCELED, WRITE, 300, 0 },
	    { FULL, 300, READ_WRITE, 300, 300 },
	    { FULL, 700, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "two short reads, then the rest",
	  { { 1, -ECANCELED, WRITE, 1, 0 },
	    { FULL, 1, READ_WRITE, 1, 1 },
	    { 998, -ECANCELED, WRITE, 999, 1 },
	    { FULL, 998, READ_WRITE, 999, 999 },
	    { FULL, 1, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "nothing to read", { { 0, -ECANCELED, NONE, 0, 0 } }, 0, true },
	{ "short read, then end of file",
	  { { 300, -ECANCELED, WRITE, 300, 0 },
	    { FULL, 300, READ_WRITE, 300, 300 },
	    { 0, -ECANCELED, NONE, 300, 300 } },
	  0,
	  true },
	{ "short write, then the rest",
	  { { FULL, 400, WRITE, LENGTH, 400 }, { FULL, 600, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "short writes of one byte",
	  { { FULL, 998, WRITE, LENGTH, 998 },
	    { FULL, 1, WRITE, LENGTH, 999 },
	    { FULL, 1, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "short read, short writes, the rest short too",
	  { { 300, -ECANCELED, WRITE, 300, 0 },
	    { FULL, 100, WRITE, 300, 100 },
	    { FULL, 200, READ_WRITE, 300, 300 },
	    { FULL, 500, WRITE, LENGTH, 800 },
	    { FULL, 200, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "write of 0", { { FULL, 0, NONE, LENGTH, 0 } }, -EIO, false },
	{ "write of 0 after a short one",
	  { { FULL, 400, WRITE, LENGTH, 400 }, { FULL, 0, NONE, LENGTH, 400 } },
	  -EIO,
	  false },
	{ "read interrupted",
	  { { -EINTR, -ECANCELED, READ_WRITE, 0, 0 }, { FULL, LENGTH, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "read to be tried again, twice, the second time after progress",
	  { { -EAGAIN, -ECANCELED, READ_WRITE, 0, 0 },
	    { 300, -ECANCELED, WRITE, 300, 0 },
	    { FULL, 300, READ_WRITE, 300, 300 },
	    { -EAGAIN, -ECANCELED, READ_WRITE, 300, 300 },
	    { FULL, 700, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "linked write interrupted: it alone is done again",
	  { { FULL, -EINTR, WRITE, LENGTH, 0 }, { FULL, LENGTH, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "write to be tried again after progress",
	  { { FULL, 400, WRITE, LENGTH, 400 },
	    { FULL, -EAGAIN, WRITE, LENGTH, 400 },
	    { FULL, 600, NONE, LENGTH, LENGTH } },
	  0,
	  false },
	{ "read fails", { { -EIO, -ECANCELED, NONE, 0, 0 } }, -EIO, false },
	{ "read fails after progress",
	  { { 300, -ECANCELED, WRITE, 300, 0 },
	    { FULL, 300, READ_WRITE, 300, 300 },
	    { -EIO, -ECANCELED, NONE, 300, 300 } },
	  -EIO,
	  false },
	{ "linked write fails", { { FULL, -ENOSPC, NONE, LENGTH, 0 } }, -ENOSPC, false },
	{ "write fails after progress",
	  { { FULL, 400, WRITE, LENGTH, 400 }, { FULL, -ENOSPC, NONE, LENGTH, 400 } },
	  -ENOSPC,
	  false },
	{ "write cancelled in its own right",
	  { { FULL, -ECANCELED, NONE, LENGTH, 0 } },
	  -ECANCELED,
	  false },
};

static enum slot_state state_after(enum slot_action action)
{
	switch (action) {
	case SLOT_ACTION_READ_WRITE:
		return SLOT_READING;
	case SLOT_ACTION_WRITE:
		return SLOT_WRITING;
	case SLOT_ACTION_FSYNC:
		return SLOT_SYNCING;
	case SLOT_ACTION_NONE:
		break;
	}
	return SLOT_DONE;
}

static void done(struct io_slot *slot)
{
	(void)slot;
}

static void begin(struct io_slot *slot, uint8_t *buffer)
{
	const struct slot_copy copy = {
		.src_fd = 3,
		.dst_fd = 4,
		.src_fixed = 5,
		.dst_fixed = 6,
		.src_offset = 7000,
		.dst_offset = 8000,
		.length = LENGTH,
		.buffer = buffer,
		.done = done,
		.owner = slot,
		.tag = 9,
	};

	assert_int_equal(slot_begin_copy(slot, &copy), SLOT_ACTION_READ_WRITE);
	assert_int_equal(slot->state, SLOT_READING);
	assert_int_equal(slot->read_result, SLOT_READ_FULL);
}

static void run_case(const struct copy_case *c)
{
	uint8_t buffer[1];
	struct io_slot slot;
	const struct step *step = c->steps;

	memset(&slot, 0x5a, sizeof(slot)); /* whatever an earlier operation has left */
	slot.state = SLOT_FREE;
	begin(&slot, buffer);
	for (;; step++) {
		if (step->read != FULL)
			slot.read_result = step->read;
		assert_int_equal(slot_event(&slot, step->result), step->action);
		assert_int_equal(slot.state, state_after(step->action));
		assert_int_equal(slot.filled, step->filled);
		assert_int_equal(slot.flushed, step->flushed);
		if (step->action == SLOT_ACTION_NONE)
			break;
		assert_int_equal(slot.error, 0);
		assert_false(slot.eof);
		/* A new read must not inherit the result of the one before. */
		if (step->action == SLOT_ACTION_READ_WRITE)
			assert_int_equal(slot.read_result, SLOT_READ_FULL);
	}
	assert_int_equal(slot.error, c->error);
	assert_int_equal(slot.eof, c->eof);
}

static void test_slot_event_copy(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(copy_cases); i++) {
		print_message("  %s\n", copy_cases[i].name);
		run_case(&copy_cases[i]);
	}
}

static void test_slot_begin_copy_takes_all(void **state)
{
	uint8_t buffer[1];
	struct io_slot slot = { 0 };

	(void)state;
	begin(&slot, buffer);
	assert_int_equal(slot.src_fd, 3);
	assert_int_equal(slot.dst_fd, 4);
	assert_int_equal(slot.src_fixed, 5);
	assert_int_equal(slot.dst_fixed, 6);
	assert_int_equal(slot.src_offset, 7000);
	assert_int_equal(slot.dst_offset, 8000);
	assert_int_equal(slot.length, LENGTH);
	assert_ptr_equal(slot.buffer, buffer);
	assert_ptr_equal(slot.owner, &slot);
	assert_true(slot.done == done);
	assert_int_equal(slot.tag, 9);
}

/* The results of an fsync, in order; 1 ends the list. */
static void run_fsync(const int *results, int error)
{
	const struct slot_fsync fsync = { .fd = 4, .done = done };
	struct io_slot slot = { 0 };

	assert_int_equal(slot_begin_fsync(&slot, &fsync), SLOT_ACTION_FSYNC);
	assert_int_equal(slot.state, SLOT_SYNCING);
	assert_int_equal(slot.dst_fd, 4);
	assert_true(slot.dst_fixed < 0);
	for (; results[1] != 1; results++) {
		assert_int_equal(slot_event(&slot, results[0]), SLOT_ACTION_FSYNC);
		assert_int_equal(slot.state, SLOT_SYNCING);
	}
	assert_int_equal(slot_event(&slot, results[0]), SLOT_ACTION_NONE);
	assert_int_equal(slot.state, SLOT_DONE);
	assert_int_equal(slot.error, error);
}

static void test_slot_event_fsync(void **state)
{
	(void)state;
	run_fsync((const int[]){ 0, 1 }, 0);
	run_fsync((const int[]){ -EINTR, -EAGAIN, 0, 1 }, 0);
	run_fsync((const int[]){ -EIO, 1 }, -EIO);
	run_fsync((const int[]){ -EAGAIN, -ENOSPC, 1 }, -ENOSPC);
}

/* What one operation leaves must not reach the next. */
static void test_slot_release_forgets(void **state)
{
	const struct slot_fsync fsync = { .fd = 4, .done = done };
	uint8_t buffer[1];
	struct io_slot slot = { 0 };

	(void)state;
	begin(&slot, buffer);
	slot.read_result = 300;
	assert_int_equal(slot_event(&slot, -ECANCELED), SLOT_ACTION_WRITE);
	assert_int_equal(slot_event(&slot, 300), SLOT_ACTION_READ_WRITE);
	slot.read_result = -EIO;
	assert_int_equal(slot_event(&slot, -ECANCELED), SLOT_ACTION_NONE);
	slot_release(&slot);
	assert_int_equal(slot.state, SLOT_FREE);
	assert_null(slot.owner);
	assert_null(slot.chunk);

	begin(&slot, buffer);
	assert_int_equal(slot.filled, 0);
	assert_int_equal(slot.flushed, 0);
	assert_int_equal(slot.error, 0);
	assert_int_equal(slot_event(&slot, LENGTH), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, 0);
	slot_release(&slot);

	assert_int_equal(slot_begin_fsync(&slot, &fsync), SLOT_ACTION_FSYNC);
	assert_null(slot.chunk);
	assert_int_equal(slot_event(&slot, 0), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_event_copy),
		cmocka_unit_test(test_slot_begin_copy_takes_all),
		cmocka_unit_test(test_slot_event_fsync),
		cmocka_unit_test(test_slot_release_forgets),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
