/* SPDX-License-Identifier: MIT */
/*
 * slot.h - the I/O slot: one copy operation in flight and its piece of buffer.
 *
 *	FREE --slot_begin_copy--> READING --> WRITING --> DONE --owner--> FREE
 *	                             ^           |
 *	                             +-----------+	a short read: write what came, then read on
 *	FREE --slot_begin_fsync--> SYNCING -----------> DONE
 *
 * The slot decides what comes next; an io_method only performs it. A full read is followed by its
 * write without coming back here (linked in the ring), so one event reports both. Short reads and
 * writes are requeued from where they stopped, EINTR and EAGAIN are tried again, nothing is lost.
 *
 * Thread: a slot belongs to one worker and is touched by its thread only.
 */
#ifndef ENGINE_SLOT_H
#define ENGINE_SLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct chunk;
struct cred;
struct io_slot;

enum slot_state {
	SLOT_FREE,    /* on the worker's free list */
	SLOT_READING, /* a read, and behind it its write, are in flight; moved on by slot_event() */
	SLOT_WRITING, /* a write of what is in the buffer is in flight; moved on by slot_event() */
	SLOT_SYNCING, /* an fsync is in flight; moved on by slot_event() */
	SLOT_DONE,    /* finished or failed; its owner looks at the result and frees it */
};

/* What a method is to do next for a slot. */
enum slot_action {
	SLOT_ACTION_READ_WRITE, /* read into buffer + filled, then write it; one event for both */
	SLOT_ACTION_WRITE,	/* write buffer from flushed to filled */
	SLOT_ACTION_FSYNC,
	SLOT_ACTION_NONE, /* DONE: nothing to perform */
};

typedef void (*slot_done_fn)(struct io_slot *slot);

struct io_slot {
	enum slot_state state;
	TAILQ_ENTRY(io_slot) link; /* free list */

	/* Set by slot_begin_*(). */
	int src_fd;
	int dst_fd;
	int src_fixed; /* index among the registered files, or -1 */
	int dst_fixed;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint32_t length;
	uint8_t *buffer;     /* length bytes */
	struct chunk *chunk; /* buffer lies in it; NULL for fsync */
	struct cred *cred;   /* whose operation it is, NULL: the daemon's; borrowed */
	slot_done_fn done;
	void *owner;
	uint64_t tag; /* the owner's: which block, which file */

	/* Progress. */
	uint32_t filled;  /* bytes read so far */
	uint32_t flushed; /* bytes written so far; at the end: bytes copied */
	int error;	  /* 0 or -errno */
	bool eof;	  /* the source ended early */
	int read_result;  /* of the read in flight, when it fell short; SLOT_READ_FULL otherwise */
	int result;	  /* io_sync.c: of the operation performed, until its event */
};

/* The read before a linked write filled its request. */
#define SLOT_READ_FULL INT32_MIN

struct slot_copy {
	int src_fd;
	int dst_fd;
	int src_fixed;
	int dst_fixed;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint32_t length;
	uint8_t *buffer;
	struct chunk *chunk;
	struct cred *cred;
	slot_done_fn done;
	void *owner;
	uint64_t tag;
};

/** FREE -> READING. The answer is SLOT_ACTION_READ_WRITE. */
enum slot_action slot_begin_copy(struct io_slot *slot, const struct slot_copy *copy);

struct slot_fsync {
	int fd;
	struct cred *cred;
	slot_done_fn done;
	void *owner;
	uint64_t tag;
};

/** FREE -> SYNCING. The answer is SLOT_ACTION_FSYNC. */
enum slot_action slot_begin_fsync(struct io_slot *slot, const struct slot_fsync *fsync);

/**
 * One event of the operation in flight: its result as a system call's (bytes or -errno). For
 * SLOT_ACTION_READ_WRITE @result is the write's; -ECANCELED when the write was not tried because
 * the read fell short, which slot->read_result says. Answers what to do next; SLOT_ACTION_NONE
 * means DONE.
 */
enum slot_action slot_event(struct io_slot *slot, int result);

/** DONE -> FREE. */
void slot_release(struct io_slot *slot);

#endif /* ENGINE_SLOT_H */
