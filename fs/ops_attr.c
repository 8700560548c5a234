/* SPDX-License-Identifier: MIT */
/*
 * ops_attr.c - getattr, statx, setattr, statfs.
 *
 * Changes go through an open handle where the request names one, else through the inode's O_PATH
 * descriptor: AT_EMPTY_PATH where the call knows it, else the magic link /proc/self/fd/N, which
 * ends at the very inode, also at a symbolic link (it jumps, there is no name left to follow).
 *
 * Threads that serve requests have no CAP_FSETID, so truncating and changing the owner strip setuid
 * and setgid bits, but for those who keep them (setid.h).
 */
#include "ops.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#include "arsync/base.h"
#include "caller.h"
#include "inode_path.h"
#include "setid.h"

/* The file that a request is about: @fd is open for real if @handle is set. */
struct subject {
	struct inode *inode;
	struct open_file *handle; /* or NULL */
	struct fd_ref *path;	  /* without handle */
	int fd;
};

static void subject_destroy(struct subject *subject)
{
	fd_ref_put(subject->path);
}

#define _cleanup_subject_ _cleanup_(subject_destroy)

static int subject_open(struct session *session, fuse_ino_t ino, struct fuse_file_info *fi,
			struct subject *subject)
{
	int r;

	subject->inode = inode_from_id(session->inodes, ino);
	/*
	 * The kernel names handles of regular files only; see fuse_do_getattr() in fs/fuse/dir.c.
	 */
	if (fi && S_ISREG(subject->inode->format)) {
		subject->handle = handle_file(fi);
		subject->fd = subject->handle->fd;
		return 0;
	}
	r = inode_path_open(session->inodes, subject->inode, &subject->path);
	if (r < 0)
		return r;
	subject->fd = subject->path->fd;
	return 0;
}

static int stat_subject(struct session *session, const struct subject *subject, struct statx *ret)
{
	int r = backing_stat(subject->fd, ret);

	if (r < 0)
		return r;
	backing_translate(&session->backing, ret);
	ops_note_told(subject->inode, ret);
	return 0;
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_GETATTR);
	_cleanup_subject_ struct subject subject = { 0 };
	struct statx stx;
	struct stat st;
	int r;

	r = subject_open(session, ino, fi, &subject);
	if (r == 0)
		r = stat_subject(session, &subject, &stx);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	backing_to_stat(&stx, &st);
	fuse_reply_attr(req, &st, ops_attr_timeout(session, subject.inode));
}

static void ops_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask,
		      struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_STATX);
	_cleanup_subject_ struct subject subject = { 0 };
	struct statx stx;
	int r;

	(void)flags; /* about caches of network file systems */
	(void)mask;  /* all of it is at hand */
	r = subject_open(session, ino, fi, &subject);
	if (r == 0)
		r = stat_subject(session, &subject, &stx);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fuse_reply_statx(req, 0, &stx, ops_attr_timeout(session, subject.inode));
}

static int change_mode(const struct session *session, int fd, mode_t mode)
{
	char name[BACKING_FD_NAME_MAX];

	return fchmodat(session->backing.self_fds, backing_fd_name(fd, name), mode, 0) == 0 ?
		       0 :
		       negative_errno();
}

/*
 * The kernel has taken S_ISGID out of @mode where the caller may not set it (setattr_prepare()).
 * What is left is meant, but our threads, without CAP_FSETID, may set it only as members of the
 * file's group.
 */
static int set_mode(struct session *session, int fd, mode_t mode)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	struct statx stx;
	int r;

	mode &= ~(mode_t)S_IFMT;
	if (!(mode & S_ISGID))
		return change_mode(session, fd, mode);
	r = backing_stat(fd, &stx);
	if (r < 0)
		return r;
	r = caller_begin_member(session, stx.stx_uid, stx.stx_gid, &thread);
	if (r < 0)
		return r;
	return change_mode(session, fd, mode);
}

/*
 * A setgid bit without execution (chown(2)) stays when root or a member of the group changes the owner:
 * the only one that somebody with CAP_FSETID keeps here.
 */
static int set_owner(struct session *session, fuse_req_t req, int fd, const struct stat *attr,
		     int to_set)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;
	struct statx stx;
	int r;

	r = backing_stat(fd, &stx);
	if (r == 0 && setid_keeps_setgid(session, req, &stx))
		r = caller_begin_root(session, &thread);
	if (r < 0)
		return r;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0 ? 0 : negative_errno();
}

/*
 * Nothing to set is how the kernel says that setuid and setgid bits fall: before a write, and for a
 * chown(2) to nobody else, which only the owner may do to a file with such bits. The two cannot be told
 * apart where somebody is writing the file.
 */
static int strip_bits(struct session *session, fuse_req_t req, const struct subject *subject)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_caller_ struct cred_thread *thread = NULL;
	struct statx stx;
	int r;

	r = backing_stat(subject->fd, &stx);
	if (r < 0)
		return r;
	setid_note(subject->inode, &stx);
	if (setid_falls(session, req, &stx) && ctx->uid != 0 && ctx->uid != stx.stx_uid &&
	    !handle_open_for_writing(session, subject->inode))
		return -EPERM;
	if (stx.stx_mode & (S_ISUID | S_ISGID))
		r = setid_begin_member(session, req, subject->fd, &thread);
	if (r < 0)
		return r;
	return fchownat(subject->fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH) == 0 ?
		       0 :
		       negative_errno();
}

static int set_size(struct session *session, fuse_req_t req, const struct subject *subject,
		    off_t size, bool strips)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	char name[BACKING_FD_NAME_MAX];
	int fd;
	int r = setid_begin(session, req, subject->inode, strips, &thread);

	if (r < 0)
		return r;
	if (subject->handle)
		return ftruncate(subject->fd, size) == 0 ? 0 : negative_errno();
	/* Relative to the working directory: see backing_enter_process(). */
	fd = subject->fd;
	r = truncate(backing_fd_name(fd, name), size);
	return r == 0 ? 0 : negative_errno();
}

static struct timespec time_to_set(const struct timespec *time, bool set, bool now)
{
	if (now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return set ? *time : (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_times(int fd, const struct stat *attr, int to_set)
{
	const struct timespec times[2] = {
		time_to_set(&attr->st_atim, to_set & FUSE_SET_ATTR_ATIME,
			    to_set & FUSE_SET_ATTR_ATIME_NOW),
		time_to_set(&attr->st_mtim, to_set & FUSE_SET_ATTR_MTIME,
			    to_set & FUSE_SET_ATTR_MTIME_NOW),
	};

	/* AT_EMPTY_PATH: since Linux 5.8 */
	return utimensat(fd, "", times, AT_EMPTY_PATH) == 0 ? 0 : negative_errno();
}

/* Owner before mode: chown(2) clears setuid and setgid bits. Times last: the others change them. */
static int set_attributes(struct session *session, fuse_req_t req, const struct subject *subject,
			  const struct stat *attr, int to_set)
{
	/* FATTR_KILL_SUIDGID of linux/fuse.h */
	bool strips = to_set & FUSE_SET_ATTR_KILL_SUID;
	int r = 0;

	if (!(to_set & ~FUSE_SET_ATTR_KILL_SUID))
		return strip_bits(session, req, subject);
	if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		r = set_owner(session, req, subject->fd, attr, to_set);
	if (r == 0 && (to_set & FUSE_SET_ATTR_MODE))
		r = set_mode(session, subject->fd, attr->st_mode);
	if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE))
		r = set_size(session, req, subject, attr->st_size, strips);
	if (r == 0 && (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
				 FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)))
		r = set_times(subject->fd, attr, to_set);
	return r;
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
			struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_SETATTR);
	_cleanup_subject_ struct subject subject = { 0 };
	struct statx stx;
	struct stat st;
	int r;

	r = subject_open(session, ino, fi, &subject);
	if (r == 0)
		r = set_attributes(session, req, &subject, attr, to_set);
	if (r == 0)
		r = stat_subject(session, &subject, &stx);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	backing_to_stat(&stx, &st);
	fuse_reply_attr(req, &st, ops_attr_timeout(session, subject.inode));
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct session *session = ops_begin(req, STATS_STATFS);
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	struct statvfs buffer;
	int r;

	r = inode_path_open(session->inodes, inode_from_id(session->inodes, ino), &path);
	if (r == 0 && fstatvfs(path->fd, &buffer) < 0)
		r = negative_errno();
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_statfs(req, &buffer);
}

void ops_attr_register(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = ops_getattr;
	ops->statx = ops_statx;
	ops->setattr = ops_setattr;
	ops->statfs = ops_statfs;
}
