/* SPDX-License-Identifier: MIT */
/*
 * ops_copy.c - COPY_FILE_RANGE: what cp(1) asks for becomes a job of the engine, unless it is so
 * short that it is copied at once.
 *
 * The handler prepares a job and returns; no thread waits. The kernel holds the destination's inode
 * lock until the answer, so the job stops after ANSWER_WITHIN_MS and answers with what it has: cp
 * asks again.
 *
 * An interrupt (Ctrl-C) cancels the job. The callback is set before the job starts and taken off
 * before the answer, which waits for one that is running (find_interrupted() in lib/fuse_lowlevel.c
 * holds the request's lock meanwhile): after that nobody else knows the copy, and it can be freed.
 *
 * The kernel holds both files open until the answer, so their handles stay.
 */
#include "ops.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "caller.h"
#include "ring.h"
#include "setid.h"

#define ANSWER_WITHIN_MS 220
#define CROWDED_ANSWER_WITHIN_MS 10 /* others wait for the entry */

struct copy {
	/* Set once. */
	struct session *session;
	fuse_req_t req;
	struct job *job;
	struct inode *src;
	int src_fd, dst_fd;	    /* the job's: opened for it, or a handle's */
	int own_src_fd, own_dst_fd; /* to be closed with it, or -1 */
	uint64_t src_offset;
	uint64_t length;
};

static void copy_free(struct copy *copy)
{
	if (!copy)
		return;
	job_unref(copy->job);
	close_keep_errno(copy->own_src_fd);
	close_keep_errno(copy->own_dst_fd);
	free(copy);
}

static void cleanup_copy(struct copy **copy)
{
	copy_free(*copy);
}

/*
 * The kernel cuts requests at the source's size as it knows it. If there is more, cp would take the
 * cut for the end: make the kernel ask for the size again.
 */
static void refresh_source_size(struct session *session, struct inode *src, int src_fd,
				uint64_t end)
{
	struct stat st;

	if (fstat(src_fd, &st) < 0 || (uint64_t)st.st_size <= end)
		return;
	/* A negative offset touches attributes only and takes no lock. */
	(void)fuse_lowlevel_notify_inval_inode(session->fuse, inode_to_id(session->inodes, src), -1,
					       0);
}

/*
 * The kernel takes these errors for "do it yourself" and splices the data (vfs_copy_file_range()):
 * that is not what reflink=always or offload=always ask for.
 */
static int final_error(const struct copy *copy, int error)
{
	const struct engine_options *options = &copy->session->options->engine;
	bool insists = options->reflink == ENGINE_REFLINK_ALWAYS ||
		       options->offload == ENGINE_OFFLOAD_ALWAYS;

	return insists && (error == -EOPNOTSUPP || error == -EXDEV) ? -EIO : error;
}

/* job_done_fn */
static void copy_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct copy *copy = userdata;

	(void)job;
	fuse_req_interrupt_func(copy->req, NULL, NULL);
	if (result->bytes > 0 || result->error == 0) {
		if (result->bytes == copy->length)
			refresh_source_size(copy->session, copy->src, copy->src_fd,
					    copy->src_offset + copy->length);
		fuse_reply_write(copy->req, result->bytes);
	} else {
		ops_reply_result(copy->req,
				 ops_job_error(copy->req, final_error(copy, result->error)));
	}
	copy_free(copy);
}

/* fuse_interrupt_func_t */
static void interrupted(fuse_req_t req, void *data)
{
	struct copy *copy = data;

	(void)req;
	job_cancel(copy->job);
}

/* The handle's descriptor, or, where that is for direct I/O, another one without. */
static int plain_fd(struct session *session, const struct open_file *handle, int access,
		    int *ret_own_fd)
{
	if (!(handle->flags & O_DIRECT))
		return handle->fd;
	*ret_own_fd = backing_reopen(&session->backing, handle->fd, access);
	return *ret_own_fd;
}

/* Where from and where to. */
struct range {
	const struct open_file *src, *dst;
	uint64_t src_offset, dst_offset;
	uint64_t length;
};

static void cleanup_cred(struct cred **cred)
{
	cred_unref(*cred);
}

/*
 * Both files are open: what counts is whose quota and reserved blocks are used. NULL: the daemon's
 * own.
 */
static int quota_identity(fuse_req_t req, struct cred **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	*ret = NULL;
	return ctx->uid == 0 ? 0 : cred_new(ctx->uid, ctx->gid, NULL, 0, ret);
}

static int prepare(struct session *session, fuse_req_t req, const struct range *range,
		   struct copy **ret)
{
	_cleanup_(cleanup_copy) struct copy *copy = calloc(1, sizeof(*copy));
	_cleanup_(cleanup_cred) struct cred *cred = NULL;
	struct copy_spec spec;
	int r;

	if (!copy)
		return -ENOMEM;
	copy->session = session;
	copy->req = req;
	copy->src = range->src->inode;
	copy->own_src_fd = copy->own_dst_fd = -1;
	copy->src_offset = range->src_offset;
	copy->length = range->length;
	copy->src_fd = plain_fd(session, range->src, O_RDONLY, &copy->own_src_fd);
	if (copy->src_fd < 0)
		return copy->src_fd;
	copy->dst_fd = plain_fd(session, range->dst, O_WRONLY, &copy->own_dst_fd);
	if (copy->dst_fd < 0)
		return copy->dst_fd;

	r = quota_identity(req, &cred);
	if (r < 0)
		return r;
	spec = (struct copy_spec){
		.src_fd = copy->src_fd,
		.dst_fd = copy->dst_fd,
		.src_offset = range->src_offset,
		.dst_offset = range->dst_offset,
		.length = range->length,
		.answer_within_ms = ring_is_crowded(session->ring) ? CROWDED_ANSWER_WITHIN_MS :
								     ANSWER_WITHIN_MS,
		.cred = cred,
		.done = copy_done,
		.userdata = copy,
	};
	r = engine_copy_range(session->engine, &spec, &copy->job);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(copy);
	return 0;
}

/* The bytes copied, or -errno; -EAGAIN: a job is to do it. */
static ssize_t copy_short(struct session *session, fuse_req_t req, const struct range *range)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_caller_ struct cred_thread *thread = NULL;
	const struct copy_spec spec = {
		.src_fd = range->src->fd,
		.dst_fd = range->dst->fd,
		.src_offset = range->src_offset,
		.dst_offset = range->dst_offset,
		.length = range->length,
	};

	if (range->length > ENGINE_SHORT_MAX ||
	    ((range->src->flags | range->dst->flags) & O_DIRECT))
		return -EAGAIN;
	/* As for quota_identity(). */
	if (ctx->uid != 0 && caller_begin_member(session, ctx->uid, ctx->gid, &thread) < 0)
		return -EAGAIN;
	return engine_copy_short(session->engine, &spec);
}

/* Whether the request is answered. */
static bool answer_short(struct session *session, fuse_req_t req, const struct range *range)
{
	ssize_t n = copy_short(session, req, range);

	if (n == -EAGAIN)
		return false;
	if (n < 0) {
		fuse_reply_err(req, (int)-n);
		return true;
	}
	if ((uint64_t)n == range->length)
		refresh_source_size(session, range->src->inode, range->src->fd,
				    range->src_offset + range->length);
	fuse_reply_write(req, (size_t)n);
	return true;
}

static bool is_immutable(const struct open_file *file)
{
	struct statx stx;

	return backing_stat(file->fd, &stx) == 0 && (stx.stx_attributes & STATX_ATTR_IMMUTABLE);
}

static void ops_copy_file_range(fuse_req_t req, fuse_ino_t src_ino, off_t src_offset,
				struct fuse_file_info *src_fi, fuse_ino_t dst_ino, off_t dst_offset,
				struct fuse_file_info *dst_fi, size_t length, int flags)
{
	struct session *session = ops_begin(req, STATS_COPY_FILE_RANGE);
	const struct range range = {
		.src = handle_file(src_fi),
		.dst = handle_file(dst_fi),
		.src_offset = (uint64_t)src_offset,
		.dst_offset = (uint64_t)dst_offset,
		.length = length,
	};
	struct copy *copy;
	struct job *job;
	int r;

	(void)src_ino;
	(void)dst_ino;
	r = flags || src_offset < 0 || dst_offset < 0 ? -EINVAL : 0;
	/* Where the kernel refuses that, the engine would write, as whoever has it open may. */
	if (r == 0 && is_immutable(range.dst))
		r = -EPERM;
	/* Whether setuid and setgid bits fall is for the kernel to tell, write by write. */
	if (r == 0 && setid_has_bits(range.dst->inode))
		r = -EOPNOTSUPP;
	if (r == 0 && answer_short(session, req, &range))
		return;
	if (r == 0)
		r = prepare(session, req, &range, &copy);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	/* Once started, the copy may be answered and gone at any time. */
	job = job_ref(copy->job);
	fuse_req_interrupt_func(req, interrupted, copy);
	job_start(job);
	job_unref(job);
}

void ops_copy_register(struct fuse_lowlevel_ops *ops)
{
	ops->copy_file_range = ops_copy_file_range;
}
