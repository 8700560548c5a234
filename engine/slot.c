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
#include <sys/uio.h>

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80 /* linux/fs.h of 6.14 */
#endif

static enum slot_action slot_enter(struct io_slot *slot, enum slot_state state)
{
	slot->state = state;
	switch (state) {
	case SLOT_COPYING:
		return SLOT_ACTION_COPY;
	case SLOT_WRITING:
		return SLOT_ACTION_WRITE;
	case SLOT_SYNCING:
		return SLOT_ACTION_FSYNC;
	case SLOT_FLUSHING:
		return SLOT_ACTION_FLUSH;
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
	assert(copy->length > 0 && copy->block_size > 0);
	assert(copy->length <= (uint64_t)copy->block_size * SLOT_BLOCKS_MAX);
	slot->src_fd = copy->src_fd;
	slot->dst_fd = copy->dst_fd;
	slot->direct_src_fd = copy->direct_src_fd;
	slot->direct_dst_fd = copy->direct_dst_fd;
	slot->flags = copy->flags;
	slot->src_fixed = copy->src_fixed;
	slot->dst_fixed = copy->dst_fixed;
	slot->src_offset = copy->src_offset;
	slot->dst_offset = copy->dst_offset;
	slot->length = copy->length;
	slot->block_size = copy->block_size;
	slot->buffer = copy->buffer;
	slot->chunk = copy->chunk;
	slot->cred = copy->cred;
	slot->done = copy->done;
	slot->owner = copy->owner;
	slot->tag = copy->tag;
	slot->copied = 0;
	slot->unwritten = 0;
	slot->error = 0;
	slot->eof = false;
	return slot_enter(slot, SLOT_COPYING);
}

enum slot_action slot_begin_fsync(struct io_slot *slot, const struct slot_fsync *fsync)
{
	assert(slot->state == SLOT_FREE);
	slot->dst_fd = fsync->fd;
	slot->dst_offset = fsync->offset;
	slot->length = fsync->length;
	slot->flags = 0;
	slot->dst_fixed = -1;
	slot->chunk = NULL;
	slot->cred = fsync->cred;
	slot->done = fsync->done;
	slot->owner = fsync->owner;
	slot->tag = fsync->tag;
	slot->error = 0;
	return slot_enter(slot, fsync->length > 0 ? SLOT_FLUSHING : SLOT_SYNCING);
}

static bool is_transient(int result)
{
	return result == -EINTR || result == -EAGAIN;
}

uint32_t slot_block(const struct io_slot *slot, uint32_t at)
{
	uint32_t left = slot->length - at;

	return left < slot->block_size ? left : slot->block_size;
}

unsigned slot_blocks(const struct io_slot *slot)
{
	uint32_t left = slot->length - slot->copied;

	return left / slot->block_size + (left % slot->block_size != 0);
}

int slot_src_fd(const struct io_slot *slot)
{
	return slot->flags & SLOT_READ_DIRECT ? slot->direct_src_fd : slot->src_fd;
}

int slot_dst_fd(const struct io_slot *slot)
{
	return slot->flags & SLOT_WRITE_DIRECT ? slot->direct_dst_fd : slot->dst_fd;
}

int slot_write_flags(const struct io_slot *slot)
{
	return slot->flags & SLOT_WRITE_UNCACHED ? RWF_DONTCACHE : 0;
}

/* Whether the operation is to be tried again without @flag, because it was refused with it. */
static bool give_up(struct io_slot *slot, unsigned flag, int *fixed)
{
	if (!(slot->flags & flag))
		return false;
	slot->flags &= ~flag;
	*fixed = -1;
	return true;
}

static bool is_write_refused(struct io_slot *slot, int result)
{
	if (result == -EINVAL)
		return give_up(slot, SLOT_WRITE_DIRECT, &slot->dst_fixed);
	if (result == -EOPNOTSUPP)
		return give_up(slot, SLOT_WRITE_UNCACHED, &slot->dst_fixed);
	return false;
}

static enum slot_action write_event(struct io_slot *slot, int result)
{
	if (is_transient(result) || is_write_refused(slot, result))
		return slot_enter(slot, SLOT_WRITING);
	if (result < 0)
		return fail(slot, result);
	if (result == 0)
		return fail(slot,
			    -EIO); /* write(2) of a regular file never answers 0 without an error */
	assert((uint32_t)result <= slot->unwritten);
	slot->copied += (uint32_t)result;
	slot->unwritten -= (uint32_t)result;
	slot->written_at += (uint32_t)result;
	if (slot->unwritten > 0)
		return slot_enter(slot, SLOT_WRITING);
	return slot_enter(slot, slot->copied < slot->length ? SLOT_COPYING : SLOT_DONE);
}

/* The read fell short, so that its write was not tried. */
static enum slot_action read_event(struct io_slot *slot, int result)
{
	if (is_transient(result) ||
	    (result == -EINVAL && give_up(slot, SLOT_READ_DIRECT, &slot->src_fixed)))
		return slot_enter(slot, SLOT_COPYING);
	if (result < 0)
		return fail(slot, result);
	if (result == 0) {
		slot->eof = true;
		return slot_enter(slot, SLOT_DONE);
	}
	slot->unwritten = (uint32_t)result;
	slot->written_at = 0;
	return slot_enter(slot, SLOT_WRITING);
}

static enum slot_action copy_event(struct io_slot *slot, const struct slot_event *event)
{
	assert(event->at >= slot->copied && event->at < slot->length);
	slot->copied = event->at;
	if (event->operation == SLOT_READ)
		return read_event(slot, event->result);
	slot->unwritten = slot_block(slot, event->at);
	slot->written_at = 0;
	return write_event(slot, event->result);
}

static enum slot_action sync_event(struct io_slot *slot, int result)
{
	if (is_transient(result))
		return slot_enter(slot, slot->state); /* once more */
	if (result < 0)
		return fail(slot, result);
	return slot_enter(slot, SLOT_DONE);
}

enum slot_action slot_event(struct io_slot *slot, const struct slot_event *event)
{
	switch (slot->state) {
	case SLOT_COPYING:
		return copy_event(slot, event);
	case SLOT_WRITING:
		return write_event(slot, event->result);
	case SLOT_SYNCING:
	case SLOT_FLUSHING:
		return sync_event(slot, event->result);
	case SLOT_FREE:
	case SLOT_DONE:
		break;
	}
	assert(!"an event for a slot that has nothing in flight");
	return SLOT_ACTION_NONE;
}

struct slot_event slot_failure(const struct io_slot *slot, int error)
{
	return (struct slot_event){ SLOT_READ, slot->copied, error };
}

void slot_release(struct io_slot *slot)
{
	assert(slot->state == SLOT_DONE);
	memset(slot, 0, sizeof(*slot));
	(void)slot_enter(slot, SLOT_FREE);
}
