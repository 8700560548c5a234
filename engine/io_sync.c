/* SPDX-License-Identifier: MIT */
/*
 * io_sync.c - the synchronous method: the fallback where there is no io_uring, and a debugging aid.
 *
 * queue() performs the operation at once and keeps the result; wait() reports it. So events come in
 * the order of submission and never from within queue(), as with the ring.
 */
#include <assert.h>
#include <poll.h>

#include "arsync/base.h"
#include "io_method.h"

struct io {
	int wake_fd;
	struct cred_thread *thread;
	/*
	 * Completed operations, oldest first: linked through io_slot::link, which a busy slot does
	 * not use.
	 */
	TAILQ_HEAD(sync_results, io_slot) results;
};

static int sync_open(const struct io_params *params, struct io **ret)
{
	struct io *io = calloc(1, sizeof(*io));

	if (!io)
		return -ENOMEM;
	io->wake_fd = params->wake_fd;
	io->thread = params->thread;
	TAILQ_INIT(&io->results);
	for (unsigned i = 0; i < params->n_chunks; i++)
		params->chunks[i].fixed = -1;
	*ret = io;
	return 0;
}

static void sync_close(struct io *io)
{
	assert(!io || TAILQ_EMPTY(&io->results));
	free(io);
}

static int write_buffer(const struct io_slot *slot, uint32_t filled)
{
	ssize_t n = pwrite(slot->dst_fd, slot->buffer + slot->flushed, filled - slot->flushed,
			   (off_t)(slot->dst_offset + slot->flushed));

	return n < 0 ? negative_errno() : (int)n;
}

static int read_write(struct io_slot *slot)
{
	ssize_t n = pread(slot->src_fd, slot->buffer + slot->filled, slot->length - slot->filled,
			  (off_t)(slot->src_offset + slot->filled));

	if (n < 0 || (uint32_t)n < slot->length - slot->filled) {
		slot->read_result = n < 0 ? negative_errno() : (int)n;
		return -ECANCELED;
	}
	return write_buffer(slot, slot->length);
}

static int perform(struct io_slot *slot, enum slot_action action)
{
	switch (action) {
	case SLOT_ACTION_READ_WRITE:
		return read_write(slot);
	case SLOT_ACTION_WRITE:
		return write_buffer(slot, slot->filled);
	case SLOT_ACTION_FSYNC:
		return fsync(slot->dst_fd) < 0 ? negative_errno() : 0;
	case SLOT_ACTION_NONE:
		break;
	}
	assert(!"nothing to perform");
	return -EINVAL;
}

/* The result waits in a field that the slot does not need until its event. */
static void sync_queue(struct io *io, struct io_slot *slot, enum slot_action action)
{
	int r = cred_adopt(io->thread, slot->cred);

	if (r < 0)
		slot->read_result = r; /* looked at only when the action began with a read */
	slot->result = r < 0 ? r : perform(slot, action);
	TAILQ_INSERT_TAIL(&io->results, slot, link);
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
	struct io_slot *slot;
	enum slot_action action;

	if (TAILQ_EMPTY(&io->results)) {
		wait_for_wake(io->wake_fd);
		return;
	}
	/* Only what is there now: done() may queue more, which the worker's next turn reports. */
	for (struct io_slot *last = TAILQ_LAST(&io->results, sync_results); last;) {
		slot = TAILQ_FIRST(&io->results);
		TAILQ_REMOVE(&io->results, slot, link);
		if (slot == last)
			last = NULL;
		action = slot_event(slot, slot->result);
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
