/* SPDX-License-Identifier: MIT */
/*
 * ops.h - what the request handlers share, and where they are put together.
 *
 * A handler calls ops_begin(), lets helpers work that return 0 or -errno, and replies exactly once.
 * Positive errno only inside fuse_reply_err(). Each ops_*.c fills in its part of fuse_lowlevel_ops.
 */
#ifndef ARSYNCFS_OPS_H
#define ARSYNCFS_OPS_H

#include "session.h"

/** The whole table. */
void ops_register(struct fuse_lowlevel_ops *ops);

void ops_attr_register(struct fuse_lowlevel_ops *ops);
void ops_copy_register(struct fuse_lowlevel_ops *ops);
void ops_dir_register(struct fuse_lowlevel_ops *ops);
void ops_file_register(struct fuse_lowlevel_ops *ops);
void ops_namespace_register(struct fuse_lowlevel_ops *ops);
void ops_xattr_register(struct fuse_lowlevel_ops *ops);

/** Counts a request. */
struct session *ops_begin(fuse_req_t req, enum stats_request request);

/** Replies with 0 or -errno. */
void ops_reply_result(fuse_req_t req, int r);

/**
 * The error of a job for its caller. A cancelled one is EINTR only where a signal is pending:
 * without, cp would ask again for ever.
 */
int ops_job_error(fuse_req_t req, int error);

/** The entry that tells the kernel about @inode. @stx is translated. */
void ops_fill_entry(struct session *session, struct inode *inode, const struct statx *stx,
		    struct fuse_entry_param *ret);

/** Replies with an entry, whose lookup is taken back if nobody gets it. */
void ops_reply_entry(struct session *session, fuse_req_t req, struct inode *inode,
		     const struct statx *stx);

/** Remembers what the kernel is told about @inode. */
void ops_note_told(struct inode *inode, const struct statx *stx);

/**
 * Makes the kernel ask anew for the attributes of @inode if they are not what it was told: the file
 * was changed behind the mount. Close-to-open: who opens a file and stats it sees its true size,
 * however long attributes are cached.
 */
void ops_refresh_if_changed(struct session *session, struct inode *inode, int fd);

#endif /* ARSYNCFS_OPS_H */
