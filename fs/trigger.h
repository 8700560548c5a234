/* SPDX-License-Identifier: MIT */
/*
 * trigger.h - the attributes that order a tree copy: user.arsync.copy, submit, copy_from and
 * submit_from.
 *
 * The kernel holds an inode lock of what the attribute is set on until the answer, so after
 * options::trigger_wait seconds the answer to copy and copy_from is EINPROGRESS, and the job goes on
 * alone.
 */
#ifndef ARSYNCFS_TRIGGER_H
#define ARSYNCFS_TRIGGER_H

#include "control.h"
#include "session.h"

/** Handles setting such an attribute on @inode; replies, now or later. */
void trigger_set(struct session *session, fuse_req_t req, struct inode *inode,
		 enum control_name kind, const char *value, size_t size);

#endif /* ARSYNCFS_TRIGGER_H */
