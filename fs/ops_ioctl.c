/* SPDX-License-Identifier: MIT */
/*
 * ops_ioctl.c - the few ioctls that a file system of any kind answers: flags (lsattr(1), chattr(1)),
 * extended ones (xfs_io(8), projects), and the generation.
 *
 * Others never reach the backing file: whoever may open a file could then make the daemon, who is root,
 * do whatever its file system offers.
 *
 * Before flags are set, the kernel has read them and checked that the caller may change those that
 * differ (vfs_fileattr_set()). File systems check more, so the call is made as the caller where that is
 * not root.
 */
#include "ops.h"

#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arsync/base.h"
#include "caller.h"

/* One of them. The size is that of what is handed over, which the number does not always tell. */
struct known {
	unsigned number;
	unsigned size;
	bool sets;
};

static const struct known *find(unsigned number)
{
	static const struct known all[] = {
		{ FS_IOC_GETFLAGS, sizeof(int), false },
		{ FS_IOC_SETFLAGS, sizeof(int), true },
		{ FS_IOC_FSGETXATTR, sizeof(struct fsxattr), false },
		{ FS_IOC_FSSETXATTR, sizeof(struct fsxattr), true },
		{ FS_IOC_GETVERSION, sizeof(int), false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].number == number)
			return &all[i];
	return NULL;
}

static int act_as_caller(struct session *session, fuse_req_t req, struct cred_thread **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return ctx->uid == 0 ? 0 : caller_begin_member(session, ctx->uid, ctx->gid, ret);
}

static int run(struct session *session, fuse_req_t req, int fd, const struct known *known,
	       void *argument)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int r = known->sets ? act_as_caller(session, req, &thread) : 0;

	if (r < 0)
		return r;
	return ioctl(fd, known->number, argument) == 0 ? 0 : negative_errno();
}

static void flags_changed(struct session *session, struct inode *inode)
{
	atomic_store_explicit(&inode->names, INODE_NAMES_UNKNOWN, memory_order_relaxed);
	ops_expire_attributes(session, inode); /* ctime moved */
}

static void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned number, void *arg,
		      struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		      size_t out_size)
{
	struct session *session = ops_begin(req, STATS_IOCTL);
	const struct known *known = find(number);
	struct fsxattr argument = { 0 }; /* the largest */
	int fd;
	int r;

	(void)arg; /* an address of the caller's */
	if (!known || (known->sets ? in_size : out_size) < known->size) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (known->sets)
		memcpy(&argument, in, known->size);
	fd = flags & FUSE_IOCTL_DIR ? handle_dir(fi)->fd : handle_file(fi)->fd;
	r = run(session, req, fd, known, &argument);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if (known->sets)
		flags_changed(session, inode_from_id(session->inodes, ino));
	fuse_reply_ioctl(req, 0, &argument, known->sets ? 0 : known->size);
}

void ops_ioctl_register(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = ops_ioctl;
}
