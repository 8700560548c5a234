/* SPDX-License-Identifier: MIT */
/*
 * ops_control.h - the control attributes as requests: who may, where, and what is answered.
 */
#ifndef ARSYNCFS_OPS_CONTROL_H
#define ARSYNCFS_OPS_CONTROL_H

#include "session.h"

/* One setxattr. */
struct ops_control_value {
	const char *name;
	const char *value;
	size_t size;
	int flags; /* of setxattr(2) */
};

/** True: it is an attribute of ours, and is answered, now or later. */
bool ops_control_set(struct session *session, fuse_req_t req, fuse_ino_t ino,
		     const struct ops_control_value *value);
bool ops_control_get(struct session *session, fuse_req_t req, fuse_ino_t ino, const char *name,
		     size_t size);

#endif /* ARSYNCFS_OPS_CONTROL_H */
