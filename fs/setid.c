/* SPDX-License-Identifier: MIT */
/*
 * setid.c - see setid.h.
 *
 * The kernel says with OPEN, CREATE, WRITE and SETATTR whether the caller strips
 * (FUSE_HANDLE_KILLPRIV_V2), with FALLOCATE and COPY_FILE_RANGE it does not. Capabilities found in
 * /proc count for root alone: a user may have them all in a user namespace, where they mean nothing for
 * this file.
 */
#include "setid.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "caller.h"
#include "inode_path.h"

#define SETID_BITS (S_ISUID | S_ISGID)
#define STATUS_MAX 4096 /* CapEff is in the first lines of /proc/PID/status, behind the groups */

void setid_note(struct inode *inode, const struct statx *stx)
{
	bool bits = S_ISREG(stx->stx_mode) && (stx->stx_mode & SETID_BITS);

	atomic_store_explicit(&inode->setid, bits, memory_order_relaxed);
}

bool setid_has_bits(const struct inode *inode)
{
	return atomic_load_explicit(&inode->setid, memory_order_relaxed);
}

bool setid_caller_strips(struct session *session, fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_close_ int fd = -1;
	char text[STATUS_MAX];
	uint64_t effective;
	const char *line;
	char name[32];
	ssize_t n;

	if (ctx->uid != 0)
		return true;
	(void)snprintf(name, sizeof(name), "%d/status", (int)ctx->pid); /* fits */
	fd = openat(session->backing.proc_fd, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return true; /* nobody knows: the safe side */
	text[n] = '\0';
	line = strstr(text, "\nCapEff:");
	if (!line || sscanf(line + strlen("\nCapEff:"), "%" SCNx64, &effective) != 1)
		return true;
	return !(effective & UINT64_C(1) << CAP_FSETID);
}

/* Is @gid the caller's, or does the caller count as everybody (root with CAP_FSETID)? */
static bool counts_as_member(struct session *session, fuse_req_t req, gid_t gid)
{
	return caller_in_group(req, gid) ||
	       (fuse_req_ctx(req)->uid == 0 && !setid_caller_strips(session, req));
}

bool setid_keeps_setgid(struct session *session, fuse_req_t req, const struct statx *stx)
{
	return (stx->stx_mode & (S_ISGID | S_IXGRP)) == S_ISGID &&
	       counts_as_member(session, req, stx->stx_gid);
}

bool setid_falls(struct session *session, fuse_req_t req, const struct statx *stx)
{
	if (S_ISDIR(stx->stx_mode))
		return false;
	return (stx->stx_mode & S_ISUID) ||
	       ((stx->stx_mode & S_ISGID) && !setid_keeps_setgid(session, req, stx));
}

int setid_begin_member(struct session *session, fuse_req_t req, int fd, struct cred_thread **ret)
{
	struct statx stx;
	gid_t gid;
	int r;

	r = backing_stat(fd, &stx);
	if (r < 0)
		return r;
	gid = counts_as_member(session, req, stx.stx_gid) ? stx.stx_gid : fuse_req_ctx(req)->gid;
	return caller_begin_member(session, stx.stx_uid, gid, ret);
}

int setid_begin(struct session *session, fuse_req_t req, struct inode *inode, bool strips,
		struct cred_thread **ret)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	int r;

	if (!setid_has_bits(inode))
		return 0;
	if (!strips)
		return caller_begin_root(session, ret);
	r = inode_path_open(session->inodes, inode, &path);
	return r < 0 ? r : setid_begin_member(session, req, path->fd, ret);
}
