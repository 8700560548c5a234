/* SPDX-License-Identifier: MIT */
/*
 * test_slot.c - the slot's state machine, as tables of events and what must follow each of them.
 */
#include <errno.h>
#include <string.h>

#include "support.h"

#include "arsync/base.h"
#include "slot.h"

#define BLOCK 1000
#define MOST (BLOCK * SLOT_BLOCKS_MAX)
#define HUGE_BLOCK (16 * MIB)
#define STEPS_MAX 8

struct step {
	struct slot_event event;
	enum slot_action action; /* expected, and so on */
	uint32_t copied;
	/* Expected when the action is SLOT_ACTION_WRITE; nothing is unwritten before a copy. */
	uint32_t unwritten;
	uint32_t written_at;
};

struct copy_case {
	const char *name;
	uint32_t length;	      /* in blocks of BLOCK bytes */
	struct step steps[STEPS_MAX]; /* up to the first that answers SLOT_ACTION_NONE */
	int error;
	bool eof;
};

#define READ(at, result)                                                                           \
	{                                                                                          \
		SLOT_READ, at, result                                                              \
	}
#define WRITE(at, result)                                                                          \
	{                                                                                          \
		SLOT_WRITE, at, result                                                             \
	}
/* Of SLOT_ACTION_WRITE: the place is known from the slot. */
#define REST(result)                                                                               \
	{                                                                                          \
		SLOT_WRITE, 0, result                                                              \
	}

/* What follows. */
#define COPY SLOT_ACTION_COPY
#define FLUSH SLOT_ACTION_WRITE
#define NONE SLOT_ACTION_NONE

static const struct copy_case copy_cases[] = {
	/* One block. */
	{ "full copy", 1000, { { WRITE(0, 1000), NONE, 1000, 0, 0 } }, 0, false },
	{ "shorter than a block", 7, { { WRITE(0, 7), NONE, 7, 0, 0 } }, 0, false },
	{ "short read, then the rest",
	  1000,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { WRITE(300, 700), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "two short reads, then the rest",
	  1000,
	  { { READ(0, 1), FLUSH, 0, 1, 0 },
	    { REST(1), COPY, 1, 0, 0 },
	    { READ(1, 998), FLUSH, 1, 998, 0 },
	    { REST(998), COPY, 999, 0, 0 },
	    { WRITE(999, 1), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "nothing to read", 1000, { { READ(0, 0), NONE, 0, 0, 0 } }, 0, true },
	{ "short read, then end of file",
	  1000,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { READ(300, 0), NONE, 300, 0, 0 } },
	  0,
	  true },
	{ "short write, then the rest",
	  1000,
	  { { WRITE(0, 400), FLUSH, 400, 600, 400 }, { REST(600), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "short writes of one byte",
	  1000,
	  { { WRITE(0, 998), FLUSH, 998, 2, 998 },
	    { REST(1), FLUSH, 999, 1, 999 },
	    { REST(1), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "short read, short writes, the rest short too",
	  1000,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(100), FLUSH, 100, 200, 100 },
	    { REST(200), COPY, 300, 0, 0 },
	    { WRITE(300, 500), FLUSH, 800, 200, 500 },
	    { REST(200), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "write of 0", 1000, { { WRITE(0, 0), NONE, 0, 0, 0 } }, -EIO, false },
	{ "write of 0 after a short one",
	  1000,
	  { { WRITE(0, 400), FLUSH, 400, 600, 400 }, { REST(0), NONE, 400, 0, 0 } },
	  -EIO,
	  false },
	{ "read interrupted",
	  1000,
	  { { READ(0, -EINTR), COPY, 0, 0, 0 }, { WRITE(0, 1000), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "read to be tried again, twice, the second time after progress",
	  1000,
	  { { READ(0, -EAGAIN), COPY, 0, 0, 0 },
	    { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { READ(300, -EAGAIN), COPY, 300, 0, 0 },
	    { WRITE(300, 700), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "linked write interrupted: it alone is done again",
	  1000,
	  { { WRITE(0, -EINTR), FLUSH, 0, 1000, 0 }, { REST(1000), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "write to be tried again after progress",
	  1000,
	  { { WRITE(0, 400), FLUSH, 400, 600, 400 },
	    { REST(-EAGAIN), FLUSH, 400, 600, 400 },
	    { REST(600), NONE, 1000, 0, 0 } },
	  0,
	  false },
	{ "read fails", 1000, { { READ(0, -EIO), NONE, 0, 0, 0 } }, -EIO, false },
	{ "read fails after progress",
	  1000,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { READ(300, -EIO), NONE, 300, 0, 0 } },
	  -EIO,
	  false },
	{ "linked write fails", 1000, { { WRITE(0, -ENOSPC), NONE, 0, 0, 0 } }, -ENOSPC, false },
	{ "write fails after progress",
	  1000,
	  { { WRITE(0, 400), FLUSH, 400, 600, 400 }, { REST(-ENOSPC), NONE, 400, 0, 0 } },
	  -ENOSPC,
	  false },
	{ "write cancelled in its own right",
	  1000,
	  { { WRITE(0, -ECANCELED), NONE, 0, 0, 0 } },
	  -ECANCELED,
	  false },

	/* Several blocks: one event for all that went well. */
	{ "several blocks", 4000, { { WRITE(3000, 1000), NONE, 4000, 0, 0 } }, 0, false },
	{ "several blocks, the last one shorter",
	  3500,
	  { { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "the last one a byte", 3001, { { WRITE(3000, 1), NONE, 3001, 0, 0 } }, 0, false },
	{ "as many as there can be",
	  MOST,
	  { { WRITE(MOST - BLOCK, BLOCK), NONE, MOST, 0, 0 } },
	  0,
	  false },

	/* A short read: what came is written, and the rest is cut into blocks from there. */
	{ "short read of the first block",
	  3500,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { WRITE(3300, 200), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short read of a middle block",
	  3500,
	  { { READ(1000, 300), FLUSH, 1000, 300, 0 },
	    { REST(300), COPY, 1300, 0, 0 },
	    { WRITE(3300, 200), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short read of a middle block, so that the rest is whole blocks",
	  3500,
	  { { READ(1000, 500), FLUSH, 1000, 500, 0 },
	    { REST(500), COPY, 1500, 0, 0 },
	    { WRITE(2500, 1000), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short read of the last block",
	  3500,
	  { { READ(3000, 499), FLUSH, 3000, 499, 0 },
	    { REST(499), COPY, 3499, 0, 0 },
	    { WRITE(3499, 1), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short reads of blocks that short ones have moved",
	  3500,
	  { { READ(1000, 300), FLUSH, 1000, 300, 0 },
	    { REST(300), COPY, 1300, 0, 0 },
	    { READ(2300, 999), FLUSH, 2300, 999, 0 },
	    { REST(998), FLUSH, 3298, 1, 998 },
	    { REST(1), COPY, 3299, 0, 0 },
	    { WRITE(3299, 201), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short read in a copy of as many blocks as there can be: one less is left",
	  MOST,
	  { { READ(0, 1), FLUSH, 0, 1, 0 },
	    { REST(1), COPY, 1, 0, 0 },
	    { WRITE(MOST - BLOCK + 1, 999), NONE, MOST, 0, 0 } },
	  0,
	  false },

	/* The source ends early. */
	{ "end of file before the first of several blocks",
	  3500,
	  { { READ(0, 0), NONE, 0, 0, 0 } },
	  0,
	  true },
	{ "end of file between two blocks", 3500, { { READ(2000, 0), NONE, 2000, 0, 0 } }, 0, true },
	{ "end of file before the last block",
	  3500,
	  { { READ(3000, 0), NONE, 3000, 0, 0 } },
	  0,
	  true },
	{ "end of file within the first block",
	  3500,
	  { { READ(0, 300), FLUSH, 0, 300, 0 },
	    { REST(300), COPY, 300, 0, 0 },
	    { READ(300, 0), NONE, 300, 0, 0 } },
	  0,
	  true },
	{ "end of file within a middle block",
	  3500,
	  { { READ(2000, 999), FLUSH, 2000, 999, 0 },
	    { REST(999), COPY, 2999, 0, 0 },
	    { READ(2999, 0), NONE, 2999, 0, 0 } },
	  0,
	  true },
	{ "end of file within the last block",
	  3500,
	  { { READ(3000, 300), FLUSH, 3000, 300, 0 },
	    { REST(300), COPY, 3300, 0, 0 },
	    { READ(3300, 0), NONE, 3300, 0, 0 } },
	  0,
	  true },

	/* A short write: the rest of the buffer first, then the blocks behind it. */
	{ "short write of the first block",
	  3500,
	  { { WRITE(0, 400), FLUSH, 400, 600, 400 },
	    { REST(600), COPY, 1000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short writes of a middle block",
	  3500,
	  { { WRITE(2000, 400), FLUSH, 2400, 600, 400 },
	    { REST(599), FLUSH, 2999, 1, 999 },
	    { REST(1), COPY, 3000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "short writes of the last block: no more of it than was read",
	  3500,
	  { { WRITE(3000, 100), FLUSH, 3100, 400, 100 },
	    { REST(100), FLUSH, 3200, 300, 200 },
	    { REST(300), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "write of 0 of a middle block",
	  3500,
	  { { WRITE(1000, 0), NONE, 1000, 0, 0 } },
	  -EIO,
	  false },
	{ "write of 0 of the last block",
	  3500,
	  { { WRITE(3000, 0), NONE, 3000, 0, 0 } },
	  -EIO,
	  false },

	/* Try again: from the block that met it on. */
	{ "read of the first of several blocks interrupted",
	  3500,
	  { { READ(0, -EINTR), COPY, 0, 0, 0 }, { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "read of a middle block interrupted, twice",
	  3500,
	  { { READ(1000, -EINTR), COPY, 1000, 0, 0 },
	    { READ(2000, -EINTR), COPY, 2000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "the same read interrupted, twice",
	  3500,
	  { { READ(1000, -EINTR), COPY, 1000, 0, 0 },
	    { READ(1000, -EINTR), COPY, 1000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "read of the last block to be tried again",
	  3500,
	  { { READ(3000, -EAGAIN), COPY, 3000, 0, 0 }, { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "write of the first block to be tried again",
	  3500,
	  { { WRITE(0, -EAGAIN), FLUSH, 0, 1000, 0 },
	    { REST(1000), COPY, 1000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "write of a middle block interrupted, before and after progress",
	  3500,
	  { { WRITE(2000, -EINTR), FLUSH, 2000, 1000, 0 },
	    { REST(600), FLUSH, 2600, 400, 600 },
	    { REST(-EINTR), FLUSH, 2600, 400, 600 },
	    { REST(400), COPY, 3000, 0, 0 },
	    { WRITE(3000, 500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "write of the last block interrupted",
	  3500,
	  { { WRITE(3000, -EINTR), FLUSH, 3000, 500, 0 }, { REST(500), NONE, 3500, 0, 0 } },
	  0,
	  false },
	{ "write of a short read to be tried again",
	  3500,
	  { { READ(1000, 300), FLUSH, 1000, 300, 0 },
	    { REST(-EAGAIN), FLUSH, 1000, 300, 0 },
	    { REST(300), COPY, 1300, 0, 0 },
	    { WRITE(3300, 200), NONE, 3500, 0, 0 } },
	  0,
	  false },

	/* An error: what lies before it is copied, and no more. */
	{ "read of the first of several blocks fails",
	  3500,
	  { { READ(0, -EIO), NONE, 0, 0, 0 } },
	  -EIO,
	  false },
	{ "read of a middle block fails",
	  3500,
	  { { READ(2000, -EIO), NONE, 2000, 0, 0 } },
	  -EIO,
	  false },
	{ "read of the last block fails",
	  3500,
	  { { READ(3000, -EIO), NONE, 3000, 0, 0 } },
	  -EIO,
	  false },
	{ "read of a middle block fails after a part of it",
	  3500,
	  { { READ(1000, 300), FLUSH, 1000, 300, 0 },
	    { REST(300), COPY, 1300, 0, 0 },
	    { READ(1300, -EIO), NONE, 1300, 0, 0 } },
	  -EIO,
	  false },
	{ "write of the first of several blocks fails",
	  3500,
	  { { WRITE(0, -ENOSPC), NONE, 0, 0, 0 } },
	  -ENOSPC,
	  false },
	{ "write of a middle block fails",
	  3500,
	  { { WRITE(1000, -ENOSPC), NONE, 1000, 0, 0 } },
	  -ENOSPC,
	  false },
	{ "write of the last block fails",
	  3500,
	  { { WRITE(3000, -ENOSPC), NONE, 3000, 0, 0 } },
	  -ENOSPC,
	  false },
	{ "write of a middle block fails after a part of it",
	  3500,
	  { { WRITE(1000, 400), FLUSH, 1400, 600, 400 }, { REST(-ENOSPC), NONE, 1400, 0, 0 } },
	  -ENOSPC,
	  false },
	{ "write of a short read fails",
	  3500,
	  { { READ(1000, 300), FLUSH, 1000, 300, 0 }, { REST(-ENOSPC), NONE, 1000, 0, 0 } },
	  -ENOSPC,
	  false },
};

static enum slot_state state_after(enum slot_action action)
{
	switch (action) {
	case SLOT_ACTION_COPY:
		return SLOT_COPYING;
	case SLOT_ACTION_WRITE:
		return SLOT_WRITING;
	case SLOT_ACTION_FSYNC:
		return SLOT_SYNCING;
	case SLOT_ACTION_FLUSH:
		return SLOT_FLUSHING;
	case SLOT_ACTION_NONE:
		break;
	}
	return SLOT_DONE;
}

static void done(struct io_slot *slot)
{
	(void)slot;
}

static void begin_with(struct io_slot *slot, uint8_t *buffer, uint32_t length, unsigned flags)
{
	const struct slot_copy copy = {
		.src_fd = 3,
		.dst_fd = 4,
		.direct_src_fd = 13,
		.direct_dst_fd = 14,
		.flags = flags,
		.src_fixed = 5,
		.dst_fixed = 6,
		.src_offset = 7000,
		.dst_offset = 8000,
		.length = length,
		.block_size = BLOCK,
		.buffer = buffer,
		.done = done,
		.owner = slot,
		.tag = 9,
	};

	assert_int_equal(slot_begin_copy(slot, &copy), SLOT_ACTION_COPY);
	assert_int_equal(slot->state, SLOT_COPYING);
	assert_int_equal(slot->copied, 0);
	assert_int_equal(slot->unwritten, 0);
	assert_int_equal(slot->error, 0);
	assert_false(slot->eof);
}

static void begin(struct io_slot *slot, uint8_t *buffer, uint32_t length)
{
	begin_with(slot, buffer, length, 0);
}

static enum slot_action report(struct io_slot *slot, enum slot_operation operation, uint32_t at,
			       int result)
{
	const struct slot_event event = { operation, at, result };

	return slot_event(slot, &event);
}

/* The blocks of a copy are whole but for the last, and together what is left. */
static void check_blocks(const struct io_slot *slot)
{
	uint32_t at = slot->copied;
	unsigned blocks = 0;

	for (; at < slot->length; at += slot_block(slot, at), blocks++) {
		assert_in_range(slot_block(slot, at), 1, slot->block_size);
		if (slot_block(slot, at) < slot->block_size)
			assert_int_equal(at + slot_block(slot, at), slot->length);
	}
	assert_int_equal(at, slot->length);
	assert_int_equal(slot_blocks(slot), blocks);
	assert_in_range(blocks, 1, SLOT_BLOCKS_MAX);
}

static void check_step(const struct io_slot *slot, const struct step *step)
{
	assert_int_equal(slot->state, state_after(step->action));
	assert_int_equal(slot->copied, step->copied);
	if (step->action == SLOT_ACTION_NONE)
		return;
	assert_int_equal(slot->error, 0);
	assert_false(slot->eof);
	assert_int_equal(slot->unwritten, step->unwritten);
	if (step->action == SLOT_ACTION_WRITE)
		assert_int_equal(slot->written_at, step->written_at);
	else
		check_blocks(slot);
}

static void run_case(const struct copy_case *c)
{
	uint8_t buffer[1];
	struct io_slot slot;
	const struct step *step = c->steps;

	memset(&slot, 0x5a, sizeof(slot)); /* whatever an earlier operation has left */
	slot.state = SLOT_FREE;
	begin(&slot, buffer, c->length);
	check_blocks(&slot);
	for (;; step++) {
		assert_in_range(step - c->steps, 0, STEPS_MAX - 1);
		assert_int_equal(slot_event(&slot, &step->event), step->action);
		check_step(&slot, step);
		if (step->action == SLOT_ACTION_NONE)
			break;
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

/* How what is left is cut. */
static const struct {
	uint32_t length;
	uint32_t block_size;
	uint32_t copied;
	unsigned blocks;
	uint32_t first;
	uint32_t last;
} block_cases[] = {
	{ 1, 1, 0, 1, 1, 1 },
	{ 1, 1000, 0, 1, 1, 1 },
	{ 1000, 1000, 0, 1, 1000, 1000 },
	{ 1001, 1000, 0, 2, 1000, 1 },
	{ 3500, 1000, 0, 4, 1000, 500 },
	{ 3500, 1000, 1, 4, 1000, 499 },
	{ 3500, 1000, 500, 3, 1000, 1000 },
	{ 3500, 1000, 501, 3, 1000, 999 },
	{ 3500, 1000, 2500, 1, 1000, 1000 },
	{ 3500, 1000, 3499, 1, 1, 1 },
	{ 3500, 1000, 3500, 0, 0, 0 },
	{ SLOT_BLOCKS_MAX * HUGE_BLOCK, HUGE_BLOCK, 0, SLOT_BLOCKS_MAX, HUGE_BLOCK, HUGE_BLOCK },
	{ SLOT_BLOCKS_MAX * HUGE_BLOCK, HUGE_BLOCK, 1, SLOT_BLOCKS_MAX, HUGE_BLOCK,
	  HUGE_BLOCK - 1 },
	{ UINT32_MAX, 256 * MIB, 0, SLOT_BLOCKS_MAX, 256 * MIB, 256 * MIB - 1 },
	{ UINT32_MAX, UINT32_MAX, 0, 1, UINT32_MAX, UINT32_MAX },
};

static void test_slot_blocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(block_cases); i++) {
		const struct io_slot slot = {
			.state = SLOT_COPYING,
			.length = block_cases[i].length,
			.block_size = block_cases[i].block_size,
			.copied = block_cases[i].copied,
		};
		unsigned blocks = block_cases[i].blocks;

		print_message("  %u in blocks of %u, from %u on\n", slot.length, slot.block_size,
			      slot.copied);
		assert_int_equal(slot_blocks(&slot), blocks);
		if (blocks == 0)
			continue;
		assert_int_equal(slot_block(&slot, slot.copied), block_cases[i].first);
		assert_int_equal(slot_block(&slot, slot.copied + (blocks - 1) * slot.block_size),
				 block_cases[i].last);
	}
}

/* What a file system refuses is given up, and what it was asked for is done without. */
static const struct {
	const char *name;
	unsigned flags;
	struct slot_event event;
	enum slot_action action; /* expected, and so on */
	uint32_t copied;
	unsigned flags_left;
} refusals[] = {
	{ "direct read of the first block",
	  SLOT_READ_DIRECT | SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED, READ(0, -EINVAL), COPY, 0,
	  SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED },
	{ "direct read of a middle block", SLOT_READ_DIRECT, READ(2000, -EINVAL), COPY, 2000, 0 },
	{ "direct write", SLOT_READ_DIRECT | SLOT_WRITE_DIRECT, WRITE(0, -EINVAL), FLUSH, 0,
	  SLOT_READ_DIRECT },
	{ "direct write of the last block", SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED,
	  WRITE(3000, -EINVAL), FLUSH, 3000, SLOT_WRITE_UNCACHED },
	{ "uncached write of a middle block", SLOT_READ_DIRECT | SLOT_WRITE_UNCACHED,
	  WRITE(1000, -EOPNOTSUPP), FLUSH, 1000, SLOT_READ_DIRECT },
	{ "a read that was not direct", SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED, READ(0, -EINVAL),
	  NONE, 0, SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED },
	{ "a write that was not direct", SLOT_READ_DIRECT | SLOT_WRITE_UNCACHED, WRITE(0, -EINVAL),
	  NONE, 0, SLOT_READ_DIRECT | SLOT_WRITE_UNCACHED },
	{ "a write that was not uncached", SLOT_READ_DIRECT | SLOT_WRITE_DIRECT,
	  WRITE(0, -EOPNOTSUPP), NONE, 0, SLOT_READ_DIRECT | SLOT_WRITE_DIRECT },
	{ "a direct write that fails for another reason", SLOT_WRITE_DIRECT, WRITE(1000, -ENOSPC),
	  NONE, 1000, SLOT_WRITE_DIRECT },
};

static void check_ways(const struct io_slot *slot, unsigned given_up)
{
	assert_int_equal(slot_src_fd(slot), slot->flags & SLOT_READ_DIRECT ? 13 : 3);
	assert_int_equal(slot_dst_fd(slot), slot->flags & SLOT_WRITE_DIRECT ? 14 : 4);
	assert_int_equal(slot_write_flags(slot) != 0, (slot->flags & SLOT_WRITE_UNCACHED) != 0);
	/* The registered files may be the direct ones. */
	if (given_up & SLOT_READ_DIRECT)
		assert_true(slot->src_fixed < 0);
	if (given_up & SLOT_WRITE_DIRECT)
		assert_true(slot->dst_fixed < 0);
}

static void test_slot_event_refused(void **state)
{
	uint8_t buffer[1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct slot_event *event = &refusals[i].event;
		struct io_slot slot = { 0 };

		print_message("  %s\n", refusals[i].name);
		begin_with(&slot, buffer, 3500, refusals[i].flags);
		check_ways(&slot, 0);
		assert_int_equal(slot_event(&slot, event), refusals[i].action);
		assert_int_equal(slot.copied, refusals[i].copied);
		assert_int_equal(slot.flags, refusals[i].flags_left);
		check_ways(&slot, refusals[i].flags & ~slot.flags);
		if (refusals[i].action == SLOT_ACTION_NONE) {
			assert_int_equal(slot.error, event->result);
			continue;
		}
		/* Refused once more, it is an error. */
		assert_int_equal(slot_event(&slot, event), SLOT_ACTION_NONE);
		assert_int_equal(slot.error, event->result);
		assert_int_equal(slot.copied, refusals[i].copied);
	}
}

/*
 * A method without files, which performs what the slot asks for in memory and goes wrong where a
 * test wants it to.
 */
#define FAKE_BLOCK 4
#define FAKE_LENGTH (3 * FAKE_BLOCK + 2) /* four blocks, the last one shorter */

/* What becomes of an operation: what is left of a request of @length bytes, or -errno. */
struct fault {
	const char *name;
	int (*result)(uint32_t length);
	bool is_fatal; /* to a write, and an end of file to a read */
};

static int interrupted(uint32_t length)
{
	(void)length;
	return -EINTR;
}

static int try_again(uint32_t length)
{
	(void)length;
	return -EAGAIN;
}

static int one_byte(uint32_t length)
{
	(void)length;
	return 1;
}

static int all_but_one(uint32_t length)
{
	return length > 1 ? (int)length - 1 : 1;
}

static int nothing(uint32_t length)
{
	(void)length;
	return 0;
}

static int fails(uint32_t length)
{
	(void)length;
	return -EDQUOT;
}

static const struct fault faults[] = {
	{ "interrupted", interrupted, false }, { "to be tried again", try_again, false },
	{ "one byte", one_byte, false },       { "all but one byte", all_but_one, false },
	{ "nothing", nothing, true },	       { "fails", fails, true },
};

struct fake {
	const struct fault *faults[2];
	unsigned at[2];	     /* the how-manieth operations they befall, from 0 */
	unsigned performed;  /* operations */
	bool is_fatal;	     /* one that was met */
	bool fatal_is_write; /* and was a write */
	uint8_t src[FAKE_LENGTH];
	uint8_t dst[FAKE_LENGTH];
};

static int perform(struct fake *fake, enum slot_operation operation, uint8_t *to,
		   const uint8_t *from, uint32_t length)
{
	int result = (int)length;

	assert_in_range(length, 1, FAKE_BLOCK);
	for (unsigned i = 0; i < ARRAY_SIZE(fake->faults); i++) {
		if (fake->at[i] != fake->performed || !fake->faults[i])
			continue;
		result = fake->faults[i]->result(length);
		fake->is_fatal = fake->is_fatal || fake->faults[i]->is_fatal;
		fake->fatal_is_write = operation == SLOT_WRITE;
	}
	fake->performed++;
	if (result > 0)
		memcpy(to, from, (size_t)result);
	return result;
}

/* As the methods do it. */
static struct slot_event fake_copy(struct fake *fake, const struct io_slot *slot)
{
	struct slot_event event = { .at = slot->copied };

	for (;;) {
		uint32_t length = slot_block(slot, event.at);

		event.operation = SLOT_READ;
		event.result = perform(fake, SLOT_READ, slot->buffer, fake->src + event.at, length);
		if (event.result < (int)length)
			return event;
		event.operation = SLOT_WRITE;
		event.result =
			perform(fake, SLOT_WRITE, fake->dst + event.at, slot->buffer, length);
		if (event.result < (int)length || event.at + length == slot->length)
			return event;
		event.at += length;
	}
}

static struct slot_event fake_perform(struct fake *fake, const struct io_slot *slot,
				      enum slot_action action)
{
	struct slot_event event = { SLOT_WRITE, 0, 0 };

	if (action == SLOT_ACTION_COPY)
		return fake_copy(fake, slot);
	assert_int_equal(action, SLOT_ACTION_WRITE);
	assert_in_range(slot->written_at + slot->unwritten, 1, FAKE_BLOCK);
	event.result = perform(fake, SLOT_WRITE, fake->dst + slot->copied,
			       slot->buffer + slot->written_at, slot->unwritten);
	return event;
}

/* What is said to be copied is there and right; all of it, unless something was fatal. */
static void run_fake(struct fake *fake)
{
	uint8_t buffer[FAKE_BLOCK] = { 0 };
	const struct slot_copy copy = {
		.length = FAKE_LENGTH,
		.block_size = FAKE_BLOCK,
		.buffer = buffer,
		.done = done,
	};
	struct io_slot slot = { 0 };
	enum slot_action action = slot_begin_copy(&slot, &copy);
	struct slot_event event;

	for (unsigned i = 0; i < FAKE_LENGTH; i++)
		fake->src[i] = (uint8_t)(i + 1);
	while (action != SLOT_ACTION_NONE) {
		assert_in_range(fake->performed, 0, 3 * FAKE_LENGTH);
		event = fake_perform(fake, &slot, action);
		action = slot_event(&slot, &event);
	}
	assert_int_equal(slot.state, SLOT_DONE);
	assert_in_range(slot.copied, 0, FAKE_LENGTH);
	assert_memory_equal(fake->src, fake->dst, slot.copied);
	assert_int_equal(slot.copied == FAKE_LENGTH, !fake->is_fatal);
	assert_int_equal(slot.error != 0 || slot.eof, fake->is_fatal);
	if (slot.eof)
		assert_int_equal(slot.error, 0);
	if (fake->is_fatal && fake->fatal_is_write)
		assert_int_not_equal(slot.error, 0);
}

/* Every operation meets every fault, and one behind it another. */
static void test_slot_event_any_two_faults(void **state)
{
	const unsigned operations = 2 * 4 + 4; /* those that short ones add included */

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		print_message("  %s\n", faults[i].name);
		for (size_t k = 0; k < ARRAY_SIZE(faults); k++)
			for (unsigned first = 0; first < 2 * 4; first++)
				for (unsigned second = first + 1; second < operations; second++) {
					struct fake fake = {
						.faults = { &faults[i], &faults[k] },
						.at = { first, second },
					};

					run_fake(&fake);
				}
	}
}

static void test_slot_begin_copy_takes_all(void **state)
{
	uint8_t buffer[1];
	struct io_slot slot = { 0 };

	(void)state;
	begin_with(&slot, buffer, 3500, SLOT_WRITE_DIRECT);
	assert_int_equal(slot.src_fd, 3);
	assert_int_equal(slot.dst_fd, 4);
	assert_int_equal(slot.direct_src_fd, 13);
	assert_int_equal(slot.direct_dst_fd, 14);
	assert_int_equal(slot.flags, SLOT_WRITE_DIRECT);
	assert_int_equal(slot.src_fixed, 5);
	assert_int_equal(slot.dst_fixed, 6);
	assert_int_equal(slot.src_offset, 7000);
	assert_int_equal(slot.dst_offset, 8000);
	assert_int_equal(slot.length, 3500);
	assert_int_equal(slot.block_size, BLOCK);
	assert_ptr_equal(slot.buffer, buffer);
	assert_ptr_equal(slot.owner, &slot);
	assert_true(slot.done == done);
	assert_int_equal(slot.tag, 9);
}

/* The results of an fsync, or of the flush of a range, in order; 1 ends the list. */
static void run_fsync(uint32_t length, const int *results, int error)
{
	const struct slot_fsync fsync = { .fd = 4, .offset = 7, .length = length, .done = done };
	enum slot_action action = length > 0 ? SLOT_ACTION_FLUSH : SLOT_ACTION_FSYNC;
	struct io_slot slot = { 0 };

	assert_int_equal(slot_begin_fsync(&slot, &fsync), action);
	assert_int_equal(slot.state, state_after(action));
	assert_int_equal(slot.dst_fd, 4);
	assert_int_equal(slot.dst_offset, 7);
	assert_int_equal(slot.length, length);
	assert_true(slot.dst_fixed < 0);
	for (; results[1] != 1; results++) {
		assert_int_equal(report(&slot, SLOT_FSYNC, 0, results[0]), action);
		assert_int_equal(slot.state, state_after(action));
	}
	assert_int_equal(report(&slot, SLOT_FSYNC, 0, results[0]), SLOT_ACTION_NONE);
	assert_int_equal(slot.state, SLOT_DONE);
	assert_int_equal(slot.error, error);
}

static void test_slot_event_fsync(void **state)
{
	(void)state;
	for (uint32_t length = 0; length < 2; length++) {
		run_fsync(length, (const int[]){ 0, 1 }, 0);
		run_fsync(length, (const int[]){ -EINTR, -EAGAIN, 0, 1 }, 0);
		run_fsync(length, (const int[]){ -EIO, 1 }, -EIO);
		run_fsync(length, (const int[]){ -EAGAIN, -ENOSPC, 1 }, -ENOSPC);
	}
}

static enum slot_action not_begun(struct io_slot *slot, int error)
{
	const struct slot_event failure = slot_failure(slot, error);

	return slot_event(slot, &failure);
}

/* An action that could not be begun, whichever it was: what is copied already stays. */
static void test_slot_failure(void **state)
{
	const struct slot_fsync fsync = { .fd = 4, .done = done };
	uint8_t buffer[1];
	struct io_slot slot = { 0 };

	(void)state;
	print_message("  at the beginning\n");
	begin(&slot, buffer, 3500);
	assert_int_equal(not_begun(&slot, -EPERM), SLOT_ACTION_NONE);
	assert_int_equal(slot.state, SLOT_DONE);
	assert_int_equal(slot.error, -EPERM);
	assert_int_equal(slot.copied, 0);
	assert_false(slot.eof);
	slot_release(&slot);

	print_message("  of the copy behind a part of a block\n");
	begin(&slot, buffer, 3500);
	assert_int_equal(report(&slot, SLOT_READ, 1000, 300), SLOT_ACTION_WRITE);
	assert_int_equal(report(&slot, SLOT_WRITE, 0, 300), SLOT_ACTION_COPY);
	assert_int_equal(not_begun(&slot, -ENOMEM), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, -ENOMEM);
	assert_int_equal(slot.copied, 1300);
	slot_release(&slot);

	print_message("  of the write of the rest\n");
	begin(&slot, buffer, 3500);
	assert_int_equal(report(&slot, SLOT_WRITE, 1000, 400), SLOT_ACTION_WRITE);
	assert_int_equal(not_begun(&slot, -ENOMEM), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, -ENOMEM);
	assert_int_equal(slot.copied, 1400);
	slot_release(&slot);

	print_message("  of the write of the rest, and to be tried again\n");
	begin(&slot, buffer, 3500);
	assert_int_equal(report(&slot, SLOT_WRITE, 1000, 400), SLOT_ACTION_WRITE);
	assert_int_equal(not_begun(&slot, -EAGAIN), SLOT_ACTION_WRITE);
	assert_int_equal(slot.copied, 1400);
	assert_int_equal(slot.unwritten, 600);
	assert_int_equal(slot.written_at, 400);
	assert_int_equal(report(&slot, SLOT_WRITE, 0, 600), SLOT_ACTION_COPY);
	assert_int_equal(not_begun(&slot, -EAGAIN), SLOT_ACTION_COPY);
	assert_int_equal(slot.copied, 2000);
	assert_int_equal(report(&slot, SLOT_WRITE, 3000, 500), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, 0);
	assert_int_equal(slot.copied, 3500);
	slot_release(&slot);

	print_message("  of an fsync\n");
	assert_int_equal(slot_begin_fsync(&slot, &fsync), SLOT_ACTION_FSYNC);
	assert_int_equal(not_begun(&slot, -EAGAIN), SLOT_ACTION_FSYNC);
	assert_int_equal(not_begun(&slot, -EPERM), SLOT_ACTION_NONE);
	assert_int_equal(slot.state, SLOT_DONE);
	assert_int_equal(slot.error, -EPERM);
}

/* What one operation leaves must not reach the next. */
static void test_slot_release_forgets(void **state)
{
	const struct slot_fsync fsync = { .fd = 4, .done = done };
	uint8_t buffer[1];
	struct io_slot slot = { 0 };

	(void)state;
	begin(&slot, buffer, 3500);
	assert_int_equal(report(&slot, SLOT_READ, 1000, 300), SLOT_ACTION_WRITE);
	assert_int_equal(report(&slot, SLOT_WRITE, 0, 300), SLOT_ACTION_COPY);
	assert_int_equal(report(&slot, SLOT_READ, 1300, -EIO), SLOT_ACTION_NONE);
	slot_release(&slot);
	assert_int_equal(slot.state, SLOT_FREE);
	assert_null(slot.owner);
	assert_null(slot.chunk);

	begin(&slot, buffer, 2 * BLOCK);
	assert_int_equal(report(&slot, SLOT_WRITE, BLOCK, BLOCK), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, 0);
	assert_int_equal(slot.copied, 2 * BLOCK);
	slot_release(&slot);

	assert_int_equal(slot_begin_fsync(&slot, &fsync), SLOT_ACTION_FSYNC);
	assert_null(slot.chunk);
	assert_int_equal(report(&slot, SLOT_FSYNC, 0, 0), SLOT_ACTION_NONE);
	assert_int_equal(slot.error, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_event_copy),
		cmocka_unit_test(test_slot_blocks),
		cmocka_unit_test(test_slot_event_refused),
		cmocka_unit_test(test_slot_event_any_two_faults),
		cmocka_unit_test(test_slot_begin_copy_takes_all),
		cmocka_unit_test(test_slot_event_fsync),
		cmocka_unit_test(test_slot_failure),
		cmocka_unit_test(test_slot_release_forgets),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
