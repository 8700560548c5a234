/* SPDX-License-Identifier: MIT */
/*
 * stop.h - SIGHUP, SIGINT and SIGTERM end the mount.
 *
 * What has to be done while requests are still served (notify_close()) takes locks and time, which a
 * signal handler has not. So a thread waits for the signals, and all others have them blocked.
 */
#ifndef ARSYNCFS_STOP_H
#define ARSYNCFS_STOP_H

#include "session.h"

struct stop;

/**
 * Blocks the signals in the calling thread, and so in those that it starts from now on. Those that are
 * ignored stay so (nohup(1)). -ENOMEM.
 */
int stop_new(struct session *session, struct stop **ret);

/** Starts the thread, after notify_start(). It takes what has come since stop_new(), too. -EAGAIN. */
int stop_start(struct stop *stop);

/** When the loop has ended. Signals stay blocked: what is left to do is not to be interrupted. Accepts NULL. */
void stop_free(struct stop *stop);

#endif /* ARSYNCFS_STOP_H */
