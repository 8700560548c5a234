/* SPDX-License-Identifier: MIT */
/*
 * trigger.h - user.arsync.copy: a whole tree is copied while the one who asked waits.
 *
 * The kernel holds the source's inode lock until the answer, so after options::trigger_wait seconds
 * the answer is EINPROGRESS and the job goes on alone.
 */
#ifndef ARSYNCFS_TRIGGER_H
#define ARSYNCFS_TRIGGER_H

#include "session.h"

/** Starts the thread that watches deadlines, if there are any. -errno. */
int trigger_start_watch(struct session *session);
/** After engine_drain(). Accepts a session without. */
void trigger_stop_watch(struct session *session);

/** Handles setting user.arsync.copy on @inode; replies, now or later. */
void trigger_copy(struct session *session, fuse_req_t req, struct inode *inode, const char *value,
		  size_t size);

#endif /* ARSYNCFS_TRIGGER_H */
