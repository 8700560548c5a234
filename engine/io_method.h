/* SPDX-License-Identifier: MIT */
/*
 * io_method.h - how a worker performs the operations of its slots.
 *
 * Two methods: io_ring.c (io_uring: nothing blocks but the wait) and io_sync.c (pread/pwrite, at
 * once, on the worker's thread). Both report through slot_event() and run the slot's done() when it
 * is DONE, from io_method::wait only, so that the code above cannot tell them apart.
 *
 * Thread: an io belongs to the worker's thread that opened it; only io_method::wake may be called
 * from others.
 */
#ifndef ENGINE_IO_METHOD_H
#define ENGINE_IO_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arsync/engine.h"
#include "slot.h"

struct io;

/* A buffer of block_size bytes that one large operation or many small ones share. Worker only. */
struct chunk {
	TAILQ_ENTRY(chunk) link; /* free list */
	uint8_t *memory;
	int fixed;     /* index among the registered buffers, or -1 */
	unsigned refs; /* slots that use it */
};

struct io_params {
	unsigned n_chunks;
	struct chunk *chunks; /* memory set, fixed to be filled in */
	size_t chunk_size;
	unsigned n_slots;	    /* operations in flight at once, at most */
	unsigned n_files;	    /* size of the table of registered files */
	int wake_fd;		    /* an eventfd: ends a wait; borrowed */
	struct cred_thread *thread; /* to act with a slot's identity; borrowed */
	uint64_t *enters;	    /* atomic: counts io_uring_enter calls */
	const struct log *log;
};

struct io_method {
	const char *name;
	enum copy_way way;

	/**
	 * Makes an io in the calling thread. Registers buffers and files if the kernel lets it.
	 * -ENOSYS, -EPERM, -EACCES: not to be had here; -ENOMEM; any -errno of io_uring_setup(2).
	 */
	int (*open)(const struct io_params *params, struct io **ret);

	/** Frees. No slot may be in flight. Accepts NULL. */
	void (*close)(struct io *io);

	/**
	 * Takes up @action for @slot, as slot::cred. Nothing is reported from here: results and
	 * failures come through wait. May change the identity that the thread has adopted.
	 */
	void (*queue)(struct io *io, struct io_slot *slot, enum slot_action action);

	/**
	 * Submits what is queued and, unless something has completed already, waits until an
	 * operation completes or the wake_fd is written. Then runs the events.
	 */
	void (*wait)(struct io *io);

	/**
	 * Puts two files into the table of registered files at @index and @index + 1. -errno: use
	 * the fds.
	 */
	int (*register_files)(struct io *io, unsigned index, int first, int second);

	/**
	 * Takes them out, so that the ring does not keep the files open. Nothing for them is in
	 * flight.
	 */
	void (*unregister_files)(struct io *io, unsigned index);
};

extern const struct io_method io_ring_method;
extern const struct io_method io_sync_method;

/**
 * Performs @action at once, on the calling worker's @thread, which then has slot::cred as its identity. The
 * event is for slot_event(), and never -ECANCELED.
 */
struct slot_event io_sync_perform(struct cred_thread *thread, const struct io_slot *slot,
				  enum slot_action action);

/** Whether the kernel offers io_uring to this process: 0, or -ENOSYS, -EPERM, ... */
int io_ring_probe(void);

#endif /* ENGINE_IO_METHOD_H */
