/* SPDX-License-Identifier: MIT */
/*
 * notify.h - telling the kernel that a name is not what it remembers.
 *
 * Such a notification takes the directory's lock in the kernel, and whoever holds that may be
 * waiting for us. So one thread that serves no requests does nothing else, and nobody waits for it
 * without a limit: neither for an answer nor for room in its queue.
 */
#ifndef ARSYNCFS_NOTIFY_H
#define ARSYNCFS_NOTIFY_H

#include "session.h"

/* On the notifier's thread. */
typedef void (*notify_done_fn)(void *userdata);

/** Starts the thread. -ENOMEM, -EAGAIN. */
int notify_start(struct session *session);

/**
 * The kernel is told of no more names, and when this returns of none. While requests are served yet: who
 * holds the lock of the name's directory may be waiting for one, and would wait for ever.
 */
void notify_close(struct session *session);

/** Ends it, when what is queued is done. Accepts a session that has none. */
void notify_stop(struct session *session);
/** When nobody calls any more. Accepts a session that has none. */
void notify_free(struct session *session);

/**
 * Queues: @name in @parent is to be looked up again at its next use; mounts below it stay. A
 * reference to @parent is taken, @name is copied. -ENOMEM, -ENOBUFS (too much is queued): the name is
 * believed until its time is over.
 */
int notify_expire_entry(struct session *session, struct inode *parent, const char *name);

/**
 * The kernel holds @inode's lock until a request is answered, which may take long: names in it are put
 * off until then, and do not keep others waiting.
 */
void notify_hold(struct inode *inode);
/** The request has been answered. Once for each notify_hold(). */
void notify_release(struct session *session, struct inode *inode);

/** Queues: @done is called when all is told that was queued before and not put off. -ENOMEM: it will not be. */
int notify_barrier(struct session *session, notify_done_fn done, void *userdata);

#endif /* ARSYNCFS_NOTIFY_H */
