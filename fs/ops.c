/* SPDX-License-Identifier: MIT */
/*
 * ops.c - shared parts of the request handlers; init(), which negotiates with the kernel.
 */
#include "ops.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>

#include "arsync/base.h"
#include "cpu_latency.h"
#include "ring.h"
#include "setid.h"
#include "waiting.h"

/* RELEASE, readahead and the like: enough that closed files do not pile up as open descriptors. */
#define MAX_BACKGROUND 512

struct session *ops_begin(fuse_req_t req, enum stats_request request)
{
	struct session *session = fuse_req_userdata(req);

	stats_count(&session->stats, request);
	cpu_latency_note(session->cpu_latency);
	engine_note_served(session->engine);
	return session;
}

void ops_reply_result(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? -r : 0);
}

int ops_job_error(fuse_req_t req, int error)
{
	return error == -ECANCELED && fuse_req_interrupted(req) ? -EINTR : error;
}

double ops_attr_timeout(struct session *session, const struct inode *inode)
{
	bool stores = atomic_load_explicit(&inode->mappers, memory_order_seq_cst) > 0;

	return stores && handle_passthrough_works(session) ? 0 : session->timeout;
}

void ops_fill_entry(struct session *session, struct inode *inode, const struct statx *stx,
		    struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = inode_to_id(session->inodes, inode),
		.generation = inode->generation,
		.attr_timeout = ops_attr_timeout(session, inode),
		.entry_timeout = session->timeout,
	};
	backing_to_stat(stx, &ret->attr);
	ops_note_told(inode, stx);
}

void ops_reply_entry(struct session *session, fuse_req_t req, struct inode *inode,
		     const struct statx *stx)
{
	struct fuse_entry_param entry;

	ops_fill_entry(session, inode, stx, &entry);
	if (fuse_reply_entry(req, &entry) < 0)
		inode_forget(session->inodes, inode, 1);
}

/* Never 0, which stands for "not told". */
static uint64_t digest(const struct statx *stx)
{
	uint64_t mtime =
		(uint64_t)stx->stx_mtime.tv_sec * UINT64_C(1000000000) + stx->stx_mtime.tv_nsec;

	return (stx->stx_size * UINT64_C(0x9e3779b97f4a7c15) ^ mtime) | 1;
}

/* What decides who reads and writes it. */
static void note_kind(struct inode *inode, const struct statx *stx)
{
	setid_note(inode, stx);
	atomic_store_explicit(&inode->append_only,
			      S_ISREG(stx->stx_mode) && (stx->stx_attributes & STATX_ATTR_APPEND),
			      memory_order_relaxed);
}

void ops_note_told(struct inode *inode, const struct statx *stx)
{
	atomic_store_explicit(&inode->told, digest(stx), memory_order_relaxed);
	note_kind(inode, stx);
}

void ops_expire_attributes(struct session *session, struct inode *inode)
{
	/* The next one to open it is not given the listing that the kernel has, or is just taking down. */
	if (S_ISDIR(inode->format))
		atomic_store_explicit(&inode->changed_ms, waiting_now_ms(), memory_order_relaxed);
	/*
	 * A negative offset touches attributes only and takes no lock. Zero would drop the listing, too, but
	 * wait for whoever reads it: for as long as a page of their buffer is missing, which may be ours or
	 * nobody's to bring. -ENOENT: none are cached, all the better.
	 */
	(void)fuse_lowlevel_notify_inval_inode(session->fuse, inode_to_id(session->inodes, inode),
					       -1, 0);
}

/*
 * Whether somebody may have @inode, which has no name. While one is being removed through the mount that may be
 * this one, which is not known yet (ops_namespace.c); so that is looked at first.
 */
static bool is_held(struct session *session, const struct inode *inode)
{
	bool held;

	if (atomic_load(&session->removing) > 0)
		return true;
	inode_lock(session->inodes, inode);
	held = inode->opens || (inode->nameless && inode->cached);
	inode_unlock(session->inodes, inode);
	return held;
}

int ops_check_opened(struct session *session, struct inode *inode, int fd)
{
	uint64_t told = atomic_load_explicit(&inode->told, memory_order_relaxed);
	struct statx stx;
	int r;

	if (session->timeout == 0)
		return 0;
	r = backing_stat(fd, &stx);
	if (r < 0)
		return r;
	note_kind(inode, &stx);
	if (stx.stx_nlink == 0 && !is_held(session, inode))
		return -ESTALE;
	if (told && digest(&stx) != told)
		ops_expire_attributes(session, inode);
	return 0;
}

static bool has_sys_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}

static void negotiate(struct session *session, struct fuse_conn_info *conn)
{
	static const uint64_t wanted[] = {
		FUSE_CAP_ASYNC_READ,	     FUSE_CAP_ATOMIC_O_TRUNC,	FUSE_CAP_AUTO_INVAL_DATA,
		FUSE_CAP_CACHE_SYMLINKS,     FUSE_CAP_DONT_MASK,	FUSE_CAP_EXPORT_SUPPORT,
		FUSE_CAP_HANDLE_KILLPRIV_V2, FUSE_CAP_PARALLEL_DIROPS,	FUSE_CAP_POSIX_ACL,
		FUSE_CAP_READDIRPLUS,	     FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_SPLICE_MOVE,
		FUSE_CAP_SPLICE_WRITE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!fuse_set_feature_flag(conn, wanted[i]))
			log_debug(session->log, "the kernel does not offer FUSE capability 0x%llx",
				  (unsigned long long)wanted[i]);
	/* The kernel would not ask again for what a link says. */
	if (backing_counts_links(&session->backing))
		fuse_unset_feature_flag(conn, FUSE_CAP_CACHE_SYMLINKS);
	/*
	 * Splicing requests out of the device costs every small request one more system call, and
	 * the bulk of writes goes through the kernel. libfuse's own FUSE over io_uring delivers no
	 * interrupts and lets long requests keep short ones waiting: see ring.h.
	 */
	fuse_unset_feature_flag(conn, FUSE_CAP_SPLICE_READ);
	fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	/*
	 * The parts of a large direct write would be sent at once, and appended in any order. (Only where
	 * they come here at all.)
	 */
	fuse_unset_feature_flag(conn, FUSE_CAP_ASYNC_DIO);
	/* The kernel drops passthrough where it is asked for writeback caching, too. */
	fuse_unset_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	struct session *session = userdata;
	bool passthrough = session->options->passthrough && has_sys_admin();

	negotiate(session, conn);
	if (passthrough && fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
		conn->max_backing_stack_depth = backing_is_stacked(&session->backing) ? 1 : 0;
		atomic_store(&session->passthrough, HANDLE_PASSTHROUGH_UNTRIED);
	} else if (session->options->passthrough) {
		log_info(session->log, "no kernel passthrough: %s",
			 passthrough ? "this kernel has none" : "it needs CAP_SYS_ADMIN");
	}
	if (session->ring)
		ring_want(session->ring, conn->capable_ext & FUSE_CAP_OVER_IO_URING);
	conn->max_background = MAX_BACKGROUND;
	conn->time_gran = 1;
}

void ops_register(struct fuse_lowlevel_ops *ops)
{
	*ops = (struct fuse_lowlevel_ops){ .init = ops_init };
	ops_attr_register(ops);
	ops_copy_register(ops);
	ops_dir_register(ops);
	ops_file_register(ops);
	ops_ioctl_register(ops);
	ops_namespace_register(ops);
	ops_xattr_register(ops);
}
