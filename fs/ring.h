/* SPDX-License-Identifier: MIT */
/*
 * ring.h - requests and answers through FUSE over io_uring instead of /dev/fuse.
 *
 * The kernel has a queue for each processor. A request goes to the queue of the processor that its
 * caller runs on, takes an entry there and holds it until the answer. An entry belongs to the
 * thread that has fetched with it: what the kernel hands over is copied by that thread, whenever it
 * enters the kernel. Hence one rule, from which the rest follows: **a thread has one entry and a
 * ring of its own** (ring_slot.c).
 *
 *  - A thread that is busy, or waits for a copy to be answered, has no entry that the kernel could
 *    give a further request to; another thread of the queue gets it. A queue has some idle threads in
 *    reserve and gets others as they are used, up to a bound. Where there are none in time, the kernel
 *    is told to look again, and where there are none to be had, copies are answered early
 *    (ring_is_crowded()), so that no request waits behind a long one (see ring_queue.c).
 *  - Whoever answers, only the entry's own thread submits to its ring, and it lives as long as the
 *    mount. (libfuse 3.18 shares a ring between threads, and loses answers: its issue 1443.)
 *
 * libfuse sees none of this: it is handed requests as if they had been read from /dev/fuse, and
 * gives its answers to a function of ours (fuse_session_custom_io()). FORGET, INTERRUPT and notices
 * to the kernel keep going through /dev/fuse, as the kernel wants it; INTERRUPTs are told which
 * request they are for. One FORGET comes through the ring: that of a file which READDIRPLUS told of
 * and the kernel cannot take. It is a request as all others there, and must be answered.
 *
 * Kernel: fs/fuse/dev_uring.c, since Linux 6.14; /sys/module/fuse/parameters/enable_uring switches
 * it on.
 */
#ifndef ARSYNCFS_RING_H
#define ARSYNCFS_RING_H

#include <stdbool.h>

struct log;
struct ring;
struct session;

/**
 * 0: the kernel offers it. -ENOSYS: it knows nothing of it, -EOPNOTSUPP: it is switched off there.
 * @ret_advice, which is never freed, says what to do about it.
 */
int ring_check_kernel(const char **ret_advice);

/**
 * Takes over the input and output of session::fuse, which is mounted. Nothing else happens before
 * ring_want(). -ENOTSUP: this libfuse is built without fuse_session_custom_io(). -errno.
 */
int ring_new(struct session *session, struct ring **ret);

/** In the handler of FUSE_INIT: the reply will accept the kernel's offer, if there is one. */
void ring_want(struct ring *ring, bool offered);

/** Accepts NULL. Whether requests come through it. Any thread. */
bool ring_in_use(const struct ring *ring);

/**
 * Accepts NULL. Whether the request that the calling thread serves is to be answered soon: others may
 * wait for that, or few entries are left and no more to be had. False on threads that serve no queue.
 */
bool ring_is_crowded(const struct ring *ring);

/**
 * Accepts NULL. When it returns, no handler is running, and none will: further requests wait for
 * the end of the connection. Answers are still passed on.
 */
void ring_quiesce(struct ring *ring);

/** Accepts NULL. Ends the threads, when every request that had a handler is answered. */
void ring_stop(struct ring *ring);

/** Accepts NULL. After ring_stop(), when no thread can still be answering. */
void ring_free(struct ring *ring);

#endif /* ARSYNCFS_RING_H */
