/* SPDX-License-Identifier: MIT */
/*
 * slot.c - the slot's state machine; see slot.h for the picture.
 *
 * slot_enter() is the only place where a state changes.
 */
#include "slot.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static enum slot_action slot_enter(struct io_slot *slot, enum slot_state state)
{
	slot->state = state;
	switch (state) {
	case SLOT_READING:
		slot->read_result = SLOT_READ_FULL;
		return SLOT_ACTION_READ_WRITE;
	case SLOT_WRITING:
		return SLOT_ACTION_WRITE;
	case SLOT_SYNCING:
		return SLOT_ACTION_FSYNC;
	case SLOT_FREE:
	case SLOT_DONE:
		return SLOT_ACTION_NONE;
	}
	assert(!"a state outside the enum");
	return SLOT_ACTION_NONE;
}

static enum slot_action fail(struct io_slot *slot, int error)
{
	slot->error = error;
	return slot_enter(slot, SLOT_DONE);
}

enum slot_action slot_begin_copy(struct io_slot *slot, const struct slot_copy *copy)
{
	assert(slot->state == SLOT_FREE);
	assert(copy->length > 0);
	slot->src_fd = copy->src_fd;
	slot->dst_fd = copy->dst_fd;
	slot->src_fixed = copy->src_fixed;
	slot->dst_fixed = copy->dst_fixed;
	slot->src_offset = copy->src_offset;
	slot->dst_offset = copy->dst_offset;
	slot->length = copy->length;
	slot->buffer = copy->buffer;
	slot->chunk = copy->chunk;
	slot->cred = copy->cred;
	slot->done = copy->done;
	slot->owner = copy->owner;
	slot->tag = copy->tag;
	slot->filled = 0;
	slot->flushed = 0;
	slot->error = 0;
	slot->eof = false;
	return slot_enter(slot, SLOT_READING);
}

enum slot_action slot_begin_fsync(struct io_slot *slot, const struct slot_fsync *fsync)
{
	assert(slot->state == SLOT_FREE);
	slot->dst_fd = fsync->fd;
	slot->dst_fixed = -1;
	slot->chunk = NULL;
	slot->cred = fsync->cred;
	slot->done = fsync->done;
	slot->owner = fsync->owner;
	slot->tag = fsync->tag;
	slot->error = 0;
	return slot_enter(slot, SLOT_SYNCING);
}

static bool is_transient(int result)
{
	return result == -EINTR || result == -EAGAIN;
}

/* What the write of the bytes between flushed and filled has done. */
static enum slot_action write_event(struct io_slot *slot, int result)
{
	if (is_transient(result))
		return slot_enter(slot, SLOT_WRITING);
	if (result < 0)
		return fail(slot, result);
	if (result == 0)
		return fail(slot,
			    -EIO); /* write(2) of a regular file never answers 0 without an error */
	slot->flushed += (uint32_t)result;
	assert(slot->flushed <= slot->filled);
	if (slot->flushed < slot->filled)
		return slot_enter(slot, SLOT_WRITING);
	if (slot->filled < slot->length)
		return slot_enter(slot, SLOT_READING);
	return slot_enter(slot, SLOT_DONE);
}

/* The read fell short, so that its write was not tried. */
static enum slot_action read_event(struct io_slot *slot, int result)
{
	if (is_transient(result))
		return slot_enter(slot, SLOT_READING);
	if (result < 0)
		return fail(slot, result);
	if (result == 0) {
		slot->eof = true;
		return slot_enter(slot, SLOT_DONE);
	}
	slot->filled += (uint32_t)result;
	assert(slot->filled <= slot->length);
	return slot_enter(slot, SLOT_WRITING);
}

static enum slot_action sync_event(struct io_slot *slot, int result)
{
	if (is_transient(result))
		return slot_enter(slot, SLOT_SYNCING);
	if (result < 0)
		return fail(slot, result);
	return slot_enter(slot, SLOT_DONE);
}

enum slot_action slot_event(struct io_slot *slot, int result)
{
	switch (slot->state) {
	case SLOT_READING:
		if (slot->read_result != SLOT_READ_FULL)
			return read_event(slot, slot->read_result);
		slot->filled = slot->length;
		return write_event(slot, result);
	case SLOT_WRITING:
		return write_event(slot, result);
	case SLOT_SYNCING:
		return sync_event(slot, result);
	case SLOT_FREE:
	case SLOT_DONE:
		break;
	}
	assert(!"an event for a slot that has nothing in flight");
	return SLOT_ACTION_NONE;
}

void slot_release(struct io_slot *slot)
{
	assert(slot->state == SLOT_DONE);
	memset(slot, 0, sizeof(*slot));
	(void)slot_enter(slot, SLOT_FREE);
}
