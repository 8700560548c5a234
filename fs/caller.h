/* SPDX-License-Identifier: MIT */
/*
 * caller.h - doing things as the one who asks.
 *
 * The kernel has checked permissions before a request comes here (default_permissions). What is
 * created must belong to the caller, though, with the caller's umask, so that setgid directories,
 * default ACLs and quota come out as on the backing file system. Threads that serve requests keep a
 * cred_thread each.
 */
#ifndef ARSYNCFS_CALLER_H
#define ARSYNCFS_CALLER_H

#include <pthread.h>

#include "session.h"

int caller_init(struct session *session);
void caller_destroy(struct session *session);

/** The calling thread's cred_thread, made when first asked for. -errno. */
int caller_thread(struct session *session, struct cred_thread **ret);

/**
 * From now on the calling thread creates files as the caller of @req, with its umask; @mode is theirs. On
 * success to be ended with caller_end(); a _cleanup_caller_ variable does that.
 */
int caller_begin_create(struct session *session, fuse_req_t req, mode_t mode,
			struct cred_thread **ret);

/** From now on the calling thread keeps setgid bits where root would. Ends like the others. */
int caller_begin_root(struct session *session, struct cred_thread **ret);

/**
 * From now on changes by the calling thread count as made by a member of group @gid, by user @uid:
 * whether setgid bits survive depends on that. Ends like caller_begin_create().
 */
int caller_begin_member(struct session *session, uid_t uid, gid_t gid, struct cred_thread **ret);

/**
 * From now on what the calling thread writes to files that are open takes the space of @uid: a
 * user has quotas, and no reserved blocks. Ends like the others.
 */
int caller_begin_space(struct session *session, uid_t uid, struct cred_thread **ret);

/** Whether the daemon is the caller of @req, or can act as the caller. */
bool caller_can_be_served(struct session *session, fuse_req_t req);

/** Accepts NULL. */
void caller_end(struct cred_thread *thread);

/**
 * The full identity of the caller of @req; NULL for root, who is the daemon. -EACCES: its groups
 * could not be read, so that it is not known what it may do.
 */
int caller_identity(fuse_req_t req, struct cred **ret);

/** Whether the caller of @req is a member of @gid. Not if that cannot be read. */
bool caller_in_group(fuse_req_t req, gid_t gid);

static inline void cleanup_caller(struct cred_thread **thread)
{
	caller_end(*thread);
}

#define _cleanup_caller_ _cleanup_(cleanup_caller)

#endif /* ARSYNCFS_CALLER_H */
