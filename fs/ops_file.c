/* SPDX-License-Identifier: MIT */
/*
 * ops_file.c - open files: open, create, read, write, and what else is done to an open file.
 *
 * Where the kernel passes reads and writes through, only the rest arrives here. Descriptors are
 * opened without O_APPEND: it belongs to the caller's file, may change there (F_SETFL), and comes
 * with every write. The engine could not use an appending descriptor either.
 */
#include "ops.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "arsync/base.h"
#include "caller.h"
#include "inode_path.h"
#include "inode_pool.h"
#include "setid.h"

#ifndef RWF_APPEND
#define RWF_APPEND 0x10 /* linux/fs.h, since Linux 4.16 */
#endif

/*
 * Who opens to write, the kernel keeps off a running program. Of who only truncates it says so when we have
 * truncated (handle_truncate() comes behind the open). It is not told at once that the program has ended.
 */
static bool truncates_executed(struct session *session, struct inode *inode,
			       const struct fuse_file_info *fi)
{
	return (fi->flags & O_TRUNC) && (fi->flags & O_ACCMODE) == O_RDONLY &&
	       handle_executed(session, inode);
}

/* Returns an fd. */
static int open_io(struct session *session, fuse_req_t req, struct inode *inode,
		   const struct fuse_file_info *fi)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int flags = fi->flags & ~(O_APPEND | HANDLE_EXEC);
	int fd;
	int r = 0;

	if (truncates_executed(session, inode, fi))
		return -ETXTBSY;
	if (flags & O_TRUNC)
		r = setid_begin(session, req, inode, fi->kill_suidgid, &thread);
	if (r < 0)
		return r;
	fd = inode_path_open_io(session->inodes, inode, flags);
	/* An append-only file (chattr(1)) opens no other way. */
	if (fd == -EPERM && (fi->flags & O_APPEND))
		fd = inode_path_open_io(session->inodes, inode, flags | O_APPEND);
	return fd;
}

/* Returns an fd. */
static int open_checked(struct session *session, fuse_req_t req, struct inode *inode,
			const struct fuse_file_info *fi)
{
	_cleanup_close_ int fd = open_io(session, req, inode, fi);
	int r;

	if (fd < 0)
		return fd;
	r = ops_check_opened(session, inode, fd);
	return r < 0 ? r : TAKE_FD(fd);
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_OPEN);
	struct inode *inode = inode_from_id(session->inodes, ino);
	struct open_file *handle;
	int flags = fi->flags & ~O_APPEND;
	int fd;
	int r;

	fd = open_checked(session, req, inode, fi);
	r = fd < 0 ? fd : handle_new(session, inode, fd, flags, &handle);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if ((flags & (O_ACCMODE | O_DIRECT)) == O_RDONLY)
		readahead_tree_opened(session->readahead_tree, inode, fd);
	handle->uid = fuse_req_ctx(req)->uid;
	handle_reply_info(session, req, handle, fi);
	if (handle_may_overwrite(handle)) {
		handle_close(session, req, handle);
		fuse_reply_err(req, EBUSY);
		return;
	}
	/* What the kernel remembers from before may not be believed any more. */
	if (session->timeout != ops_attr_timeout(session, inode))
		ops_expire_attributes(session, inode);
	if (fuse_reply_open(req, fi) < 0)
		handle_close(session, NULL, handle);
}

/* What create and tmpfile make: a new file, open. */
struct creation {
	fuse_ino_t parent;
	const char *name; /* NULL: none */
	mode_t mode;
	int flags;
};

/* Returns an fd. */
static int create_file(struct session *session, fuse_req_t req, const struct creation *creation)
{
	_cleanup_fd_ref_ struct fd_ref *parent = NULL;
	_cleanup_caller_ struct cred_thread *thread = NULL;
	struct inode *directory = inode_from_id(session->inodes, creation->parent);
	int fd;
	int r;

	r = inode_path_open(session->inodes, directory, &parent);
	if (r < 0)
		return r;
	r = caller_begin_create(session, req, creation->mode, &thread);
	if (r < 0)
		return r;
	fd = openat(parent->fd, creation->name ? creation->name : ".", creation->flags | O_CLOEXEC,
		    creation->mode);
	if (fd < 0 && errno == EMFILE) {
		inode_pool_trim(session->inodes);
		fd = openat(parent->fd, creation->name ? creation->name : ".",
			    creation->flags | O_CLOEXEC, creation->mode);
	}
	return fd < 0 ? negative_errno() : fd;
}

static void create_and_reply(struct session *session, fuse_req_t req,
			     const struct creation *creation, struct fuse_file_info *fi)
{
	struct inode *parent = inode_from_id(session->inodes, creation->parent);
	struct fuse_entry_param entry;
	struct open_file *handle;
	struct inode *inode;
	struct statx stx;
	int fd;
	int r;

	fd = create_file(session, req, creation);
	if (fd < 0) {
		/*
		 * Somebody made it outside since the kernel looked: ESTALE makes it look again and
		 * open.
		 */
		bool retry = fd == -EEXIST && creation->name && !(fi->flags & O_EXCL);

		fuse_reply_err(req, retry ? ESTALE : -fd);
		return;
	}
	r = inode_adopt(session->inodes, fd, parent, creation->name, &stx, &inode);
	if (r < 0) {
		close_keep_errno(fd);
		fuse_reply_err(req, -r);
		return;
	}
	r = handle_new(session, inode, fd, creation->flags, &handle);
	if (r < 0) {
		inode_forget(session->inodes, inode, 1);
		fuse_reply_err(req, -r);
		return;
	}
	handle->uid = fuse_req_ctx(req)->uid;
	ops_note_told(inode, &stx); /* setuid bits, before it is asked for them */
	handle_reply_info(session, req, handle, fi);
	ops_fill_entry(session, inode, &stx, &entry);
	if (fuse_reply_create(req, &entry, fi) < 0) {
		handle_close(session, NULL, handle);
		inode_forget(session->inodes, inode, 1);
	}
}

/*
 * O_EXCL always: the kernel has checked that the caller may make a file, not that it may open this
 * one, and a symbolic link that appeared meanwhile would lead anywhere.
 */
static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		       struct fuse_file_info *fi)
{
	const struct creation creation = {
		.parent = parent,
		.name = name,
		.mode = mode,
		.flags = (fi->flags & ~O_APPEND) | O_CREAT | O_EXCL | O_NOFOLLOW,
	};

	create_and_reply(ops_begin(req, STATS_CREATE), req, &creation, fi);
}

static void ops_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	const struct creation creation = {
		.parent = parent,
		.mode = mode,
		.flags = (fi->flags & ~(O_APPEND | O_CREAT)) | O_TMPFILE,
	};

	create_and_reply(ops_begin(req, STATS_TMPFILE), req, &creation, fi);
}

/*
 * The descriptor to read and write with. F_SETFL can take O_DIRECT away from a file that is open; the
 * kernel tells us with the next request, and that need not be aligned.
 */
static int io_fd(const struct fuse_file_info *fi)
{
	const struct open_file *handle = handle_file(fi);
	int flags;

	if ((handle->flags & O_DIRECT) && !(fi->flags & O_DIRECT)) {
		flags = fcntl(handle->fd, F_GETFL);
		if (flags >= 0)
			(void)fcntl(handle->fd, F_SETFL, flags & ~O_DIRECT); /* may not fail */
	}
	return handle->fd;
}

static void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct fuse_bufvec buffer = FUSE_BUFVEC_INIT(size);
	const struct open_file *handle = handle_file(fi);

	(void)ino;
	(void)ops_begin(req, STATS_READ);
	/*
	 * splice(2) fills the kernel's page cache also here, which nobody keeps true beside passthrough. Such
	 * reads, and no others, have no owner of locks (fuse_do_readfolio(), fuse_send_read() in
	 * fs/fuse/file.c). EINVAL: there is no splice, sendfile(2)'s callers read(2) then.
	 */
	if (handle->direct_io && handle->passthrough && fi->lock_owner == 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	buffer.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	buffer.buf[0].fd = io_fd(fi);
	buffer.buf[0].pos = offset;
	fuse_reply_data(req, &buffer, FUSE_BUF_SPLICE_MOVE);
}

/* libfuse has no flags for pwritev2(2). Data is in memory, because splicing requests in is off. */
static ssize_t append(int fd, const struct fuse_bufvec *in)
{
	struct iovec vector = { .iov_base = in->buf[0].mem, .iov_len = in->buf[0].size };
	ssize_t n;

	if (in->count != 1 || (in->buf[0].flags & FUSE_BUF_IS_FD))
		return -EOPNOTSUPP;
	n = RETRY_EINTR(pwritev2(fd, &vector, 1, 0, RWF_APPEND));
	return n < 0 ? negative_errno() : n;
}

/*
 * The calling thread writes as the caller, as far as that makes a difference. @strips: setuid and setgid
 * bits fall.
 */
static int begin_write(struct session *session, fuse_req_t req, const struct fuse_file_info *fi,
		       bool strips, struct cred_thread **ret)
{
	const struct open_file *handle = handle_file(fi);

	if (setid_has_bits(handle->inode))
		return setid_begin(session, req, handle->inode, strips, ret);
	/* Pages come from the kernel itself; whoever has stored into them has opened the file. */
	return caller_begin_space(session, fi->writepage ? handle->uid : fuse_req_ctx(req)->uid,
				  ret);
}

/* RWF_DSYNC and RWF_SYNC: an fsync comes from the kernel where it has pages, not with FOPEN_DIRECT_IO. */
static ssize_t sync_written(const struct fuse_file_info *fi, ssize_t n)
{
	const struct open_file *handle = handle_file(fi);
	int missing = fi->flags & ~handle->flags;
	int r;

	if (n < 0 || !handle->direct_io || !(missing & O_SYNC))
		return n;
	r = (missing & (O_SYNC & ~O_DSYNC)) ? fsync(handle->fd) : fdatasync(handle->fd);
	return r < 0 ? negative_errno() : n;
}

static void ops_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
			  struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_WRITE);
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	_cleanup_caller_ struct cred_thread *thread = NULL;
	ssize_t n;

	(void)ino;
	n = begin_write(session, req, fi, fi->kill_suidgid, &thread);
	if (n < 0) {
		fuse_reply_err(req, (int)-n);
		return;
	}
	if (fi->flags & O_APPEND) {
		n = append(io_fd(fi), in);
	} else {
		out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
		out.buf[0].fd = io_fd(fi);
		out.buf[0].pos = offset;
		n = fuse_buf_copy(&out, in, 0);
	}
	n = sync_written(fi, n);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* One of the caller's descriptors is closed: file systems that find errors late tell them now. */
static void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd;

	(void)ino;
	(void)ops_begin(req, STATS_FLUSH);
	fd = fcntl(handle_file(fi)->fd, F_DUPFD_CLOEXEC, 3);
	ops_reply_result(req, fd < 0 ? negative_errno() : close_checked(fd));
}

static void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_RELEASE);

	(void)ino;
	handle_close(session, req, handle_file(fi));
	fuse_reply_err(req, 0);
}

static void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	int fd = handle_file(fi)->fd;
	int r;

	(void)ino;
	(void)ops_begin(req, STATS_FSYNC);
	r = datasync ? fdatasync(fd) : fsync(fd);
	ops_reply_result(req, r == 0 ? 0 : negative_errno());
}

static void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			  struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_FALLOCATE);
	struct inode *inode = inode_from_id(session->inodes, ino);
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int r;

	r = begin_write(session, req, fi,
			setid_has_bits(inode) && setid_caller_strips(session, req), &thread);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	r = RETRY_EINTR(fallocate(handle_file(fi)->fd, mode, offset, length));
	r = r == 0 ? 0 : negative_errno();
	/* It may have done a part, and the kernel looks again only after a success. */
	if (r < 0)
		ops_expire_attributes(session, inode);
	ops_reply_result(req, r);
}

/* Only SEEK_DATA and SEEK_HOLE come here; nobody depends on our descriptor's own position. */
static void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		      struct fuse_file_info *fi)
{
	off_t found;

	(void)ino;
	(void)ops_begin(req, STATS_LSEEK);
	found = lseek(handle_file(fi)->fd, offset, whence);
	if (found < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, found);
}

void ops_file_register(struct fuse_lowlevel_ops *ops)
{
	ops->open = ops_open;
	ops->create = ops_create;
	ops->tmpfile = ops_tmpfile;
	ops->read = ops_read;
	ops->write_buf = ops_write_buf;
	ops->flush = ops_flush;
	ops->release = ops_release;
	ops->fsync = ops_fsync;
	ops->fallocate = ops_fallocate;
	ops->lseek = ops_lseek;
}
