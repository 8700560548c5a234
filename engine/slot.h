/* SPDX-License-Identifier: MIT */
/*
 * slot.h - the I/O slot: one copy operation in flight and its buffer.
 *
 *	FREE --slot_begin_copy--> COPYING --> WRITING --> DONE --owner--> FREE
 *	                             ^           |
 *	                             +-----------+	a short read: write what came, then read on
 *	FREE --slot_begin_fsync--> SYNCING, FLUSHING -> DONE
 *
 * The slot decides what comes next; an io_method only performs it. What is to be copied may be
 * longer than the buffer: it is cut into blocks, and COPYING reads and writes block after block
 * without coming back here (linked in the ring), so that one event reports them all. Short reads
 * and writes are requeued from where they stopped, EINTR and EAGAIN are tried again, nothing is
 * lost.
 *
 * Thread: a slot belongs to one worker and is touched by its thread only.
 */
#ifndef ENGINE_SLOT_H
#define ENGINE_SLOT_H

#include <fcntl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct chunk;
struct cred;
struct io_slot;

enum slot_state {
	SLOT_FREE,    /* on the worker's free list */
	SLOT_COPYING, /* reads, and behind each its write, are in flight; moved on by slot_event() */
	SLOT_WRITING,  /* a write of what is in the buffer is in flight; moved on by slot_event() */
	SLOT_SYNCING,  /* an fsync is in flight; moved on by slot_event() */
	SLOT_FLUSHING, /* the same of a range, of data only */
	SLOT_DONE,     /* finished or failed; its owner looks at the result and frees it */
};

/* What a method is to do next for a slot. */
enum slot_action {
	SLOT_ACTION_COPY,  /* the blocks from io_slot::copied on; one event for all of them */
	SLOT_ACTION_WRITE, /* io_slot::unwritten bytes of the buffer, to io_slot::copied */
	SLOT_ACTION_FSYNC,
	SLOT_ACTION_FLUSH, /* io_slot::length bytes from io_slot::dst_offset on */
	SLOT_ACTION_NONE,  /* DONE: nothing to perform */
};

/* Blocks of one slot, at most: what an event's place has room for, see io_ring.c. */
#define SLOT_BLOCKS_MAX 16

/* How a slot reads and writes; each is given up by the slot when the kernel refuses it. */
#define SLOT_READ_DIRECT 1U    /* from direct_src_fd */
#define SLOT_WRITE_DIRECT 2U   /* to direct_dst_fd */
#define SLOT_WRITE_UNCACHED 4U /* RWF_DONTCACHE */

/* For sync_file_range(2): all that is dirty now is written when it ends. */
#define SLOT_FLUSH_FLAGS                                                                           \
	(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

typedef void (*slot_done_fn)(struct io_slot *slot);

/* What a slot's address is a multiple of; the bits below carry an event's place, see io_ring.c. */
#define SLOT_ALIGNMENT UINT64_C(64)

struct io_slot {
	alignas(SLOT_ALIGNMENT) enum slot_state state;
	TAILQ_ENTRY(io_slot) link; /* free list */

	/* Set by slot_begin_*(); what is refused is taken out of flags. */
	int src_fd;
	int dst_fd;
	int direct_src_fd; /* with SLOT_READ_DIRECT: the same file, open for direct I/O */
	int direct_dst_fd;
	unsigned flags;
	int src_fixed; /* index among the registered files, or -1 */
	int dst_fixed;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint32_t length;
	uint32_t block_size; /* of all blocks but the last; the last may be shorter */
	uint8_t *buffer;     /* block_size bytes */
	struct chunk *chunk; /* buffer lies in it; NULL for fsync */
	struct cred *cred;   /* whose operation it is, NULL: the daemon's; borrowed */
	slot_done_fn done;
	void *owner;
	uint64_t tag; /* the owner's: which block, which file */

	/* Progress. */
	uint32_t copied;     /* bytes from the beginning on that are read and written */
	uint32_t unwritten;  /* bytes behind them that are in the buffer */
	uint32_t written_at; /* where in the buffer these begin */
	int error;	     /* 0 or -errno */
	bool eof;	     /* the source ended early */
	int queue_error;     /* io_ring.c: why the action could not be queued */
};

struct slot_copy {
	int src_fd;
	int dst_fd;
	int direct_src_fd;
	int direct_dst_fd;
	unsigned flags; /* SLOT_READ_DIRECT and so on */
	int src_fixed;
	int dst_fixed;
	uint64_t src_offset;
	uint64_t dst_offset;
	uint32_t length;
	uint32_t block_size; /* length has at most SLOT_BLOCKS_MAX of them */
	uint8_t *buffer;
	struct chunk *chunk;
	struct cred *cred;
	slot_done_fn done;
	void *owner;
	uint64_t tag;
};

/** FREE -> COPYING. The answer is SLOT_ACTION_COPY. */
enum slot_action slot_begin_copy(struct io_slot *slot, const struct slot_copy *copy);

struct slot_fsync {
	int fd;
	uint64_t offset; /* with length: */
	uint32_t length; /* only the data of this range, as sync_file_range(2) does; 0: an fsync(2) */
	struct cred *cred;
	slot_done_fn done;
	void *owner;
	uint64_t tag;
};

/** FREE -> SYNCING or FLUSHING. The answer is SLOT_ACTION_FSYNC or SLOT_ACTION_FLUSH. */
enum slot_action slot_begin_fsync(struct io_slot *slot, const struct slot_fsync *fsync);

/** COPYING: how long the block at offset @at is, and how many there are from slot::copied on. */
uint32_t slot_block(const struct io_slot *slot, uint32_t at);
unsigned slot_blocks(const struct io_slot *slot);

/** The descriptors to use now, and flags for pwritev2(2). */
int slot_src_fd(const struct io_slot *slot);
int slot_dst_fd(const struct io_slot *slot);
int slot_write_flags(const struct io_slot *slot);

enum slot_operation {
	SLOT_READ,
	SLOT_WRITE,
	SLOT_FSYNC
};

/* What has become of an action. */
struct slot_event {
	enum slot_operation operation; /* the last one performed: what followed was not tried */
	uint32_t at;		       /* SLOT_ACTION_COPY: offset of its block */
	int result;		       /* as a system call's: bytes or -errno */
};

/**
 * Exactly one event follows an action. For SLOT_ACTION_COPY it is that of the first read or write
 * that fell short or failed, and otherwise that of the last block's write: the blocks before
 * slot_event::at are copied. Answers what to do next; SLOT_ACTION_NONE means DONE.
 */
enum slot_action slot_event(struct io_slot *slot, const struct slot_event *event);

/** The event of an action that could not be begun. */
struct slot_event slot_failure(const struct io_slot *slot, int error);

/** DONE -> FREE. */
void slot_release(struct io_slot *slot);

#endif /* ENGINE_SLOT_H */
