/* SPDX-License-Identifier: MIT */
/*
 * setid.h - who may change a file and leave its setuid and setgid bits.
 *
 * Threads that serve requests have no CAP_FSETID, so that whatever they write or truncate loses the bits,
 * as it does for everybody. Who has that capability keeps them; and a setgid bit without execution by the
 * group stays for the group's members (setattr_should_drop_sgid() in fs/attr.c). So a change of a file with
 * such bits is made with the rights that its caller has in this matter.
 */
#ifndef ARSYNCFS_SETID_H
#define ARSYNCFS_SETID_H

#include "session.h"

struct cred_thread;

/** Remembers whether @inode has such a bit. Any thread. */
void setid_note(struct inode *inode, const struct statx *stx);

/** Whether @inode had such a bit when it was last looked at. */
bool setid_has_bits(const struct inode *inode);

/** Whether the kernel would strip the bits from a file that the caller of @req changes, where it does not say. */
bool setid_caller_strips(struct session *session, fuse_req_t req);

/**
 * Before the content of @inode is changed for the caller of @req, who @strips or not. Leaves NULL in @ret
 * where there is no such bit. To be ended with caller_end(). -errno.
 */
int setid_begin(struct session *session, fuse_req_t req, struct inode *inode, bool strips,
		struct cred_thread **ret);

/**
 * Whether @stx has a setgid bit that the caller of @req keeps: one without execution by the group, and the
 * caller is root or a member.
 */
bool setid_keeps_setgid(struct session *session, fuse_req_t req, const struct statx *stx);

/** Whether a change of @stx by the caller of @req takes such a bit away. Directories keep theirs. */
bool setid_falls(struct session *session, fuse_req_t req, const struct statx *stx);

/**
 * From now on the calling thread counts as a member of the group of the open file @fd if and only if the
 * caller of @req is one. Ends like setid_begin(). -errno.
 */
int setid_begin_member(struct session *session, fuse_req_t req, int fd, struct cred_thread **ret);

#endif /* ARSYNCFS_SETID_H */
