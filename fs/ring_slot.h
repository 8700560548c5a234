/* SPDX-License-Identifier: MIT */
/*
 * ring_slot.h - private to ring.c, ring_queue.c and ring_slot.c: a thread, its ring and its entry.
 */
#ifndef ARSYNCFS_RING_SLOT_H
#define ARSYNCFS_RING_SLOT_H

#include <liburing.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "ring.h"
#include "session.h"

#define RING_SLOTS_MAX 4096	 /* of all queues */
#define RING_QUEUE_SLOTS_MAX 128 /* a queue's, where there are few processors */
#define RING_QUEUE_SLOTS_MIN 4	 /* a queue's, where there are many */
#define RING_QUEUES_MAX (RING_SLOTS_MAX / RING_QUEUE_SLOTS_MIN)
#define RING_RESERVE 3	   /* idle threads of a queue, besides one that is busy */
#define RING_RESERVE_MIN 1 /* where there are many processors */
#define RING_FEW_QUEUES 16
#define RING_EARLY_MAX 64

/* Marks a request of ours for libfuse: the kernel's numbers, which count up, do not get there. */
#define RING_ID_MARK (UINT64_C(1) << 63)
#define RING_ID_SLOT(id) ((size_t)((id) & (UINT64_C(0xffff))))
#define RING_ID_STEP (UINT64_C(1) << 16) /* what the next request of the same slot adds */

/*
 * The kernel's interface, include/uapi/linux/fuse.h since 6.14: headers of that age are not to be
 * expected.
 */
#define RING_FLAG2_OVER_IO_URING (UINT32_C(1) << 9) /* FUSE_OVER_IO_URING, bit 41, in flags2 */

enum ring_command {
	RING_COMMAND_REGISTER = 1,
	RING_COMMAND_COMMIT_AND_FETCH = 2,
};

struct ring_header {
	union {
		char room[128];
		struct fuse_in_header in;
		struct fuse_out_header out;
	} in_out;
	char op_in[128];
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

struct ring_command_data {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t padding[6];
};

struct ring_queue {
	/* Set once. */
	uint16_t number;
	/* Atomic. */
	atomic_uint n_slots;
	atomic_uint n_handling;	   /* handlers that run */
	atomic_bool registered;	   /* the kernel has an entry */
	_Atomic uint64_t retry_ms; /* no thread is started before; 0: the last one was */
	/* Under the lock; a leaf. Threads that wait for a request, see ring_queue.c. */
	pthread_mutex_t lock;
	unsigned n_proven;
	unsigned n_fresh;
	unsigned n_begun;  /* how often one became fresh */
	unsigned n_proofs; /* how often all fresh ones became proven */
};

struct ring_slot {
	/* Set once. */
	struct ring *ring;
	struct ring_queue *queue;
	bool first; /* waits until the kernel has the INIT reply */
	pthread_t thread;
	/* The slot's thread's. While a request is unanswered: whoever answers it may write. */
	struct io_uring uring;
	char *memory; /* header page, page for what precedes the payload, payload */
	struct ring_header *header;
	char *payload;
	/* The slot's thread's. See ring_queue.c. */
	bool fresh;
	unsigned n_proofs; /* of the queue, when it was fresh and became idle */
	bool crowded;	   /* the request is to be answered early */
	/* Under ring::lock. */
	bool started; /* or it could not be */
	int start_error;
	/* Atomic. */
	_Atomic uint64_t id;	 /* as libfuse knows the request that is being served */
	_Atomic uint64_t unique; /* as the kernel knows it, while it waits for an answer; or 0 */
	atomic_bool answered;
	/* For answers of other threads. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

enum ring_state {
	RING_OFF,
	RING_WANTED,	  /* INIT is being answered. By ring_want() */
	RING_STARTING,	  /* threads make their rings. By the answer to INIT */
	RING_REGISTERING, /* the kernel is being told of the entries. By the answer to INIT */
	RING_ON,	  /* every queue has an entry. By the last queue's thread */
	RING_FAILED,	  /* the kernel uses /dev/fuse. By whoever saw the failure */
};

struct ring {
	/* Set once. */
	struct session *session;
	const struct log *log;
	int fuse_fd;
	int stop_fd; /* readable: all threads are to end */
	pthread_key_t own_slot;
	size_t n_queues;
	unsigned queue_slots_max;
	unsigned queue_reserve;
	struct ring_queue *queues;
	/* Set once, before the first thread. */
	size_t payload_size;
	/* Atomic. */
	_Atomic enum ring_state state;
	_Atomic(struct ring_slot *) slots[RING_SLOTS_MAX];
	atomic_size_t n_slots;
	atomic_bool closing; /* no handler is to be started */
	atomic_bool stop;
	_Atomic uint64_t next_warning_ms; /* that threads cannot be had */
	_Atomic uint64_t next_probe;
	/* Under the lock; a leaf. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t n_made;	/* first threads that have a ring, or failed */
	int make_error; /* of one that failed, or 0 */
	bool released;	/* they may register, or are to stop */
	/* Interrupts of requests that do not wait for an answer yet, as the kernel knows them. */
	uint64_t early[RING_EARLY_MAX];
	unsigned next_early;
	atomic_bool has_early; /* there was one; never false again */
};

/**
 * Starts a thread for @queue. @first: it calls ring_wait_for_release() before it registers. Others have
 * an entry when this returns; or nothing is left of them. -EBUSY: there are enough. -ECANCELED: it is
 * time to stop. -errno.
 */
int ring_slot_start(struct ring *ring, struct ring_queue *queue, bool first);
/** Accepts NULL. Waits for the thread's end. */
void ring_slot_join(struct ring_slot *slot);
/** Accepts NULL. */
void ring_slot_free(struct ring_slot *slot);

/** From any thread: the answer to the request of @slot. Returns the bytes that were sent. */
ssize_t ring_slot_answer(struct ring_slot *slot, const struct iovec *iov, int count);

/** Whether @error only says that there is nothing to serve any more. */
static inline bool ring_is_end(int error)
{
	return error == -ECANCELED || error == -ENOTCONN || error == -ECONNABORTED;
}

/*
 * Of ring_queue.c, for ring_slot.c.
 */

/** One more thread for the queue of @slot, if it can be had. Waits until it has its entry. */
void ring_queue_grow(struct ring_slot *slot);
/** @slot is about to wait for a request. Whether there are fresh ones beside it. */
bool ring_queue_become_idle(struct ring_slot *slot);
/**
 * @slot has got a request: gets others if they are wanted, sees to what may be queued, and notes whether
 * it is to be answered early.
 */
void ring_queue_become_busy(struct ring_slot *slot);
/** Whether the request is a probe, which wants nothing but an answer. */
bool ring_queue_is_probe(const struct fuse_in_header *in);
/** How often an entry has become fresh, for ring_queue_prove(). */
unsigned ring_queue_begun(struct ring_queue *queue);
/** No request was queued at a time when @n_begun had: those entries that there were by then are proven. */
void ring_queue_prove(struct ring_queue *queue, unsigned n_begun);

/*
 * Of ring.c, for ring_slot.c.
 */

/** A first thread made its ring, or could not. Waits until it may register; false: it may not. */
bool ring_wait_for_release(struct ring *ring, int error);
/** @error 0: the kernel has an entry of @queue. */
void ring_note_registered(struct ring *ring, struct ring_queue *queue, int error);
/** Entries of @queue are lost for ever. */
void ring_note_broken(struct ring *ring, const struct ring_queue *queue, int error);
/** Hands libfuse the interrupt of @slot's request that came too early, if there is one. */
void ring_deliver_early(struct ring_slot *slot);

#endif /* ARSYNCFS_RING_SLOT_H */
