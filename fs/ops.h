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
void ops_ioctl_register(struct fuse_lowlevel_ops *ops);
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

/**
 * How long the kernel may believe attributes of @inode. Not at all while somebody may store into a
 * mapping of it: with passthrough the kernel does not notice that the times change.
 */
double ops_attr_timeout(struct session *session, const struct inode *inode);

/** Whether the kernel may remember that some name is not in @directory. From any thread. */
bool ops_remembers_missing(const struct session *session, const struct inode *directory);

/**
 * Makes the kernel ask for attributes of @inode again, and for the names in a directory when that is opened
 * next. From any thread.
 */
void ops_expire_attributes(struct session *session, struct inode *inode);

/** Remembers what the kernel is told about @inode. */
void ops_note_told(struct inode *inode, const struct statx *stx);

/**
 * Close-to-open: who opens a file sees what is there, however long names and attributes are cached.
 * @fd was opened for @inode just now. Makes the kernel ask anew for attributes that are not what it
 * was told. -ESTALE: the file has no name any more and nobody has it open, so it was deleted or
 * replaced behind the mount; the kernel then looks its name up again.
 */
int ops_check_opened(struct session *session, struct inode *inode, int fd);

/** Whether @name is "." or "..". */
static inline bool ops_is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

#endif /* ARSYNCFS_OPS_H */
