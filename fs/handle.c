/* SPDX-License-Identifier: MIT */
/*
 * handle.c - open files: who has an inode open, and who moves its bytes.
 *
 * Kernel passthrough is decided once an inode, by its first opener, and holds until its last handle
 * is closed: opens of one inode with and without it, or with two backing ids, do not mix (EIO, see
 * fuse_file_io_open() in fs/fuse/iomode.c). The decision and the id live in struct inode_opens,
 * which exists as long as there are openers.
 *
 * Asking the kernel is an ioctl and so cannot be done under the lock. Two first openers may both
 * ask; decide() lets the first answer stand and gives the other's id back.
 *
 * Backing ids belong to the thread's credentials at registration: threads that serve requests have
 * no CAP_FSETID, so that writes through the kernel strip setuid and setgid bits. Files that have such
 * bits when they are opened are therefore none of the kernel's: whether a write strips them depends on
 * who writes (setid.h). Space is taken as the first opener takes it: a user has quotas and no reserved
 * blocks.
 *
 * Nor are files that can only be appended to (chattr +a): who could store through a shared mapping must
 * get none, and the kernel's FUSE does not know that. FOPEN_DIRECT_IO without passthrough refuses them.
 * Where somebody has had the file open since before, with passthrough, they are not opened at all.
 *
 * Where a file has passthrough already (by others, and by who has closed it: that is told us later), a
 * new handle must have it, too. If its writes have to be the caller's own, they come to us all the same
 * for FOPEN_DIRECT_IO, which goes first (fuse_file_write_iter() in fs/fuse/file.c).
 */
#include "handle.h"

#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "caller.h"
#include "session.h"
#include "setid.h"

static void opener_link(struct inode_opens *opens, struct inode_opener *opener)
{
	opener->prev = NULL;
	opener->next = opens->first;
	if (opens->first)
		opens->first->prev = opener;
	opens->first = opener;
}

static void opener_unlink(struct inode_opens *opens, struct inode_opener *opener)
{
	*(opener->prev ? &opener->prev->next : &opens->first) = opener->next;
	if (opener->next)
		opener->next->prev = opener->prev;
}

/* Takes ownership of @fd, also when it fails. */
static int opener_add(struct inode_table *table, struct inode *inode, int fd,
		      struct inode_opener *opener)
{
	struct inode_opens *spare;
	int r;

	r = fd_ref_new(fd, &opener->fd);
	if (r < 0)
		return r;
	spare = calloc(1, sizeof(*spare));
	if (!spare) {
		fd_ref_put(opener->fd);
		return -ENOMEM;
	}
	inode_ref(inode);
	inode_lock(table, inode);
	if (!inode->opens)
		inode->opens = TAKE_PTR(spare);
	opener_link(inode->opens, opener);
	inode_unlock(table, inode);
	free(spare);
	return 0;
}

/* Unlinks and frees. Returns the backing id that the last opener leaves behind, or 0. */
static int opener_remove(struct inode_table *table, struct inode *inode,
			 struct inode_opener *opener)
{
	struct inode_opens *last = NULL;
	int backing_id = 0;

	inode_lock(table, inode);
	opener_unlink(inode->opens, opener);
	if (!inode->opens->first)
		last = TAKE_PTR(inode->opens);
	inode_unlock(table, inode);
	if (last)
		backing_id = last->backing_id;
	free(last);
	fd_ref_put(opener->fd);
	opener->free(opener);
	inode_unref(table, inode);
	return backing_id;
}

static void free_file(struct inode_opener *opener)
{
	free(CONTAINER_OF(opener, struct open_file, opener));
}

static void free_dir(struct inode_opener *opener)
{
	struct open_dir *dir = CONTAINER_OF(opener, struct open_dir, opener);

	free(dir->buffer);
	free(dir->ahead.entries);
	free(dir);
}

/* A shared mapping can be written through if its file is open for reading, too (mmap(2)). */
static bool may_store(const struct open_file *handle)
{
	return S_ISREG(handle->inode->format) && (handle->flags & O_ACCMODE) == O_RDWR;
}

int handle_new(struct session *session, struct inode *inode, int fd, int flags,
	       struct open_file **ret)
{
	struct open_file *handle = calloc(1, sizeof(*handle));
	int r;

	if (!handle) {
		close_keep_errno(fd);
		return -ENOMEM;
	}
	handle->opener.free = free_file;
	handle->inode = inode;
	handle->fd = fd;
	handle->flags = flags;
	r = opener_add(session->inodes, inode, fd, &handle->opener);
	if (r < 0) {
		free(handle);
		return r;
	}
	if (may_store(handle))
		atomic_fetch_add_explicit(&inode->mappers, 1, memory_order_seq_cst);
	*ret = handle;
	return 0;
}

void handle_close(struct session *session, struct fuse_req *req, struct open_file *handle)
{
	int backing_id;

	if (may_store(handle))
		atomic_fetch_sub_explicit(&handle->inode->mappers, 1, memory_order_relaxed);
	backing_id = opener_remove(session->inodes, handle->inode, &handle->opener);

	if (backing_id > 0 && req)
		(void)fuse_passthrough_close(req,
					     backing_id); /* fails only for an id that is none */
}

static bool is_writer(const struct open_file *handle)
{
	return (handle->flags & O_ACCMODE) != O_RDONLY;
}

static bool is_execution(const struct open_file *handle)
{
	return handle->flags & HANDLE_EXEC;
}

/* Whether one of the handles of @inode, a regular file, @matches. */
static bool has_handle(struct session *session, struct inode *inode,
		       bool (*matches)(const struct open_file *handle))
{
	const struct inode_opener *opener;
	bool found = false;

	inode_lock(session->inodes, inode);
	opener = inode->opens ? inode->opens->first : NULL;
	for (; opener && !found; opener = opener->next)
		found = matches(CONTAINER_OF(opener, struct open_file, opener));
	inode_unlock(session->inodes, inode);
	return found;
}

bool handle_open_for_writing(struct session *session, struct inode *inode)
{
	return has_handle(session, inode, is_writer);
}

bool handle_executed(struct session *session, struct inode *inode)
{
	return has_handle(session, inode, is_execution);
}

bool handle_passthrough_works(const struct session *session)
{
	return atomic_load_explicit(&session->passthrough, memory_order_relaxed) ==
	       HANDLE_PASSTHROUGH_ON;
}

/*
 * The kernel's answer to the first registration holds for the session; later ones only for their
 * inode.
 */
static void note_answer(struct session *session, int backing_id, int error)
{
	enum handle_passthrough untried = HANDLE_PASSTHROUGH_UNTRIED;
	enum handle_passthrough now = backing_id > 0 ? HANDLE_PASSTHROUGH_ON :
						       HANDLE_PASSTHROUGH_OFF;

	if (!atomic_compare_exchange_strong(&session->passthrough, &untried, now))
		return;
	if (backing_id > 0)
		log_debug(session->log, "kernel passthrough works");
	else
		log_info(session->log,
			 "no kernel passthrough: %s; reads and writes go through the daemon",
			 strerror(error));
}

/*
 * Returns a backing id, or 0. Reads and writes go with the credentials of this moment: a network file
 * system's server would look at all of them, and of the caller's they have no groups.
 */
static int ask_kernel(struct session *session, struct fuse_req *req, const struct inode *inode,
		      int fd)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int backing_id;

	if (atomic_load_explicit(&session->passthrough, memory_order_relaxed) ==
	    HANDLE_PASSTHROUGH_OFF)
		return 0;
	if (inode->mount->safe_close && /* a local one */
	    caller_begin_space(session, fuse_req_ctx(req)->uid, &thread) < 0)
		return 0; /* writes will meet the error again */
	errno = 0;
	backing_id = fuse_passthrough_open(req, fd); /* 0: failed, errno says why */
	note_answer(session, backing_id, errno);
	return MAX(backing_id, 0);
}

/*
 * Lets the first answer stand. Returns the id that is not needed, or 0, and in @ret the one to use.
 */
static int decide(struct inode_opens *opens, int backing_id, bool as_root, int *ret)
{
	switch (opens->io) {
	case INODE_IO_UNDECIDED:
		opens->as_root = as_root;
		opens->io = backing_id ? INODE_IO_KERNEL : INODE_IO_DAEMON;
		opens->backing_id = backing_id;
		*ret = backing_id;
		return 0;
	case INODE_IO_DAEMON:
	case INODE_IO_KERNEL:
		*ret = opens->backing_id;
		return backing_id;
	}
	return 0;
}

static bool is_append_only(const struct inode *inode)
{
	return atomic_load_explicit(&inode->append_only, memory_order_relaxed);
}

static int backing_id_for(struct session *session, struct fuse_req *req, struct open_file *handle)
{
	struct inode *inode = handle->inode;
	enum inode_io io;
	int surplus;
	int id;

	inode_lock(session->inodes, inode);
	io = inode->opens->io;
	id = inode->opens->backing_id;
	inode_unlock(session->inodes, inode);
	if (io != INODE_IO_UNDECIDED)
		return id;

	id = S_ISREG(inode->format) && !setid_has_bits(inode) && !is_append_only(inode) ?
		     ask_kernel(session, req, inode, handle->fd) :
		     0;
	inode_lock(session->inodes, inode);
	surplus = decide(inode->opens, id, fuse_req_ctx(req)->uid == 0, &id);
	inode_unlock(session->inodes, inode);
	if (surplus)
		(void)fuse_passthrough_close(req, surplus); /* fails only for an id that is none */
	return id;
}

/*
 * Whether writes through the kernel would not be what the caller's are. A direct write may become a
 * plain one by F_SETFL, as dd(1) does for its last block; nobody tells the kernel's backing file.
 */
static bool must_write_itself(struct session *session, struct fuse_req *req,
			      const struct open_file *handle)
{
	const struct inode *inode = handle->inode;
	bool as_root;

	if ((handle->flags & O_ACCMODE) == O_RDONLY)
		return false;
	if ((handle->flags & (O_ACCMODE | O_DIRECT)) == (O_WRONLY | O_DIRECT))
		return true;
	inode_lock(session->inodes, inode);
	as_root = inode->opens->as_root;
	inode_unlock(session->inodes, inode);
	return setid_has_bits(inode) || as_root != (fuse_req_ctx(req)->uid == 0);
}

void handle_reply_info(struct session *session, struct fuse_req *req, struct open_file *handle,
		       struct fuse_file_info *fi)
{
	fi->fh = (uint64_t)(uintptr_t)handle;
	fi->backing_id = backing_id_for(session, req, handle);
	handle->passthrough = fi->backing_id > 0;
	handle->direct_io = handle->passthrough ?
				    must_write_itself(session, req, handle) :
				    may_store(handle) && is_append_only(handle->inode);
	fi->direct_io = handle->direct_io;
	fi->noflush = handle->inode->mount->safe_close;
	fi->keep_cache = session->options->cache == OPTIONS_CACHE_ALWAYS && !fi->backing_id;
}

bool handle_may_overwrite(const struct open_file *handle)
{
	return handle->passthrough && may_store(handle) && is_append_only(handle->inode);
}

int handle_new_dir(struct session *session, struct inode *inode, int fd, struct open_dir **ret)
{
	struct open_dir *handle = calloc(1, sizeof(*handle));
	int r;

	if (!handle) {
		close_keep_errno(fd);
		return -ENOMEM;
	}
	handle->opener.free = free_dir;
	r = opener_add(session->inodes, inode, fd, &handle->opener);
	if (r < 0) {
		free(handle);
		return r;
	}
	handle->inode = inode;
	handle->fd = fd;
	atomic_init(&handle->busy, false);
	*ret = handle;
	return 0;
}

void handle_close_dir(struct session *session, struct open_dir *handle)
{
	(void)opener_remove(session->inodes, handle->inode,
			    &handle->opener); /* directories have no id */
}

struct open_file *handle_file(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

struct open_dir *handle_dir(const struct fuse_file_info *fi)
{
	return (struct open_dir *)(uintptr_t)fi->fh;
}
