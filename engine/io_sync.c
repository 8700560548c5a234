/* SPDX-License-Identifier: MIT */
/*
 * io_sync.c - the synchronous method: the fallback where there is no io_uring, and a debugging aid.
 *
 * queue() performs the operation at once and keeps the result; wait() reports it. So events come in
 * the order of submission and never from within queue(), as with the ring. What the kernel does not
 * perform in a ring, that one has performed by io_sync_perform(), too.
 */
#include <assert.h>
#include <poll.h>
#include <sys/uio.h>

#include "arsync/base.h"
#include "io_method.h"

/* An operation that was performed and whose event is still to come. */
struct sync_result {
	TAILQ_ENTRY(sync_result) link;
	struct io_slot *slot;
	struct slot_event event;
};

struct io {
	int wake_fd;
	struct cred_thread *thread;
	struct sync_result *memory;		       /* one a slot */
	TAILQ_HEAD(sync_results, sync_result) results; /* oldest first */
	struct sync_results unused;
};

static int sync_open(const struct io_params *params, struct io **ret)
{
	_cleanup_free_ struct io *io = calloc(1, sizeof(*io));

	if (!io)
		return -ENOMEM;
	io->wake_fd = params->wake_fd;
	io->thread = params->thread;
	TAILQ_INIT(&io->results);
	TAILQ_INIT(&io->unused);
	io->memory = calloc(params->n_slots, sizeof(*io->memory));
	if (!io->memory)
		return -ENOMEM;
	for (unsigned i = 0; i < params->n_slots; i++)
		TAILQ_INSERT_TAIL(&io->unused, &io->memory[i], link);
	for (unsigned i = 0; i < params->n_chunks; i++)
		params->chunks[i].fixed = -1;
	*ret = TAKE_PTR(io);
	return 0;
}

static void sync_close(struct io *io)
{
	if (!io)
		return;
	assert(TAILQ_EMPTY(&io->results));
	free(io->memory);
	free(io);
}

/* ECANCELED, which a FUSE server may answer, would say to those above that the job is cancelled. */
static int as_result(ssize_t n)
{
	int r = n < 0 ? negative_errno() : (int)n;

	return r == -ECANCELED ? -EIO : r;
}

/* @length bytes of the buffer from @from on to @at of the slot's range. */
static int write_buffer(const struct io_slot *slot, uint32_t from, uint32_t length, uint32_t at)
{
	const struct iovec vector = { slot->buffer + from, length };

	return as_result(pwritev2(slot_dst_fd(slot), &vector, 1, (off_t)(slot->dst_offset + at),
				  slot_write_flags(slot)));
}

/* Block after block, up to the first operation that falls short. */
static struct slot_event copy_blocks(const struct io_slot *slot)
{
	struct slot_event event = { .at = slot->copied };
	uint32_t length;

	for (;;) {
		length = slot_block(slot, event.at);
		event.operation = SLOT_READ;
		event.result = as_result(pread(slot_src_fd(slot), slot->buffer, length,
					       (off_t)(slot->src_offset + event.at)));
		if (event.result < 0 || (uint32_t)event.result < length)
			return event;
		event.operation = SLOT_WRITE;
		event.result = write_buffer(slot, 0, length, event.at);
		if (event.result < 0 || (uint32_t)event.result < length ||
		    event.at + length == slot->length)
			return event;
		event.at += length;
	}
}

static struct slot_event perform(const struct io_slot *slot, enum slot_action action)
{
	struct slot_event event = { 0 };

	switch (action) {
	case SLOT_ACTION_COPY:
		return copy_blocks(slot);
	case SLOT_ACTION_WRITE:
		event.operation = SLOT_WRITE;
		event.result = write_buffer(slot, slot->written_at, slot->unwritten, slot->copied);
		return event;
	case SLOT_ACTION_FSYNC:
		event.operation = SLOT_FSYNC;
		event.result = as_result(fsync(slot->dst_fd));
		return event;
	case SLOT_ACTION_FLUSH:
		event.operation = SLOT_FSYNC;
		event.result = as_result(sync_file_range(slot->dst_fd, (off_t)slot->dst_offset,
							 (off_t)slot->length, SLOT_FLUSH_FLAGS));
		return event;
	case SLOT_ACTION_NONE:
		break;
	}
	assert(!"nothing to perform");
	return event;
}

struct slot_event io_sync_perform(struct cred_thread *thread, const struct io_slot *slot,
				  enum slot_action action)
{
	int r = cred_adopt(thread, slot->cred);

	return r < 0 ? slot_failure(slot, r) : perform(slot, action);
}

static void sync_queue(struct io *io, struct io_slot *slot, enum slot_action action)
{
	struct sync_result *result = TAILQ_FIRST(&io->unused);

	assert(result);
	TAILQ_REMOVE(&io->unused, result, link);
	result->slot = slot;
	result->event = io_sync_perform(io->thread, slot, action);
	TAILQ_INSERT_TAIL(&io->results, result, link);
}

static void wait_for_wake(int wake_fd)
{
	struct pollfd poller = { .fd = wake_fd, .events = POLLIN };
	uint64_t count;

	/*
	 * EINTR is as good as a wake: the worker looks again. Nobody else reads, so read() has its
	 * 8 bytes.
	 */
	if (poll(&poller, 1, -1) == 1)
		(void)!read(wake_fd, &count, sizeof(count));
}

static void sync_wait(struct io *io)
{
	struct sync_result *result;
	struct slot_event event;
	struct io_slot *slot;
	enum slot_action action;

	if (TAILQ_EMPTY(&io->results)) {
		wait_for_wake(io->wake_fd);
		return;
	}
	/* Only what is there now: done() may queue more, which the worker's next turn reports. */
	for (struct sync_result *last = TAILQ_LAST(&io->results, sync_results); last;) {
		result = TAILQ_FIRST(&io->results);
		TAILQ_REMOVE(&io->results, result, link);
		if (result == last)
			last = NULL;
		slot = result->slot;
		event = result->event;
		TAILQ_INSERT_HEAD(&io->unused, result, link);
		action = slot_event(slot, &event);
		if (action != SLOT_ACTION_NONE)
			sync_queue(io, slot, action);
		else
			slot->done(slot);
	}
}

static int sync_register_files(struct io *io, unsigned index, int first, int second)
{
	(void)io;
	(void)index;
	(void)first;
	(void)second;
	return -EOPNOTSUPP; /* plain descriptors serve */
}

static void sync_unregister_files(struct io *io, unsigned index)
{
	(void)io;
	(void)index;
}

const struct io_method io_sync_method = {
	.name = "sync",
	.way = COPY_WAY_SYNC,
	.open = sync_open,
	.close = sync_close,
	.queue = sync_queue,
	.wait = sync_wait,
	.register_files = sync_register_files,
	.unregister_files = sync_unregister_files,
};
