/* SPDX-License-Identifier: MIT */
/*
 * ops_namespace.c - names: lookup and forget, making, linking, moving and removing.
 *
 * What is made is made as the caller (caller.h), then looked up. Hints of files that are not opened
 * by handle follow links and renames.
 */
#include "ops.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "arsync/base.h"
#include "caller.h"
#include "inode_path.h"
#include "inode_pool.h"
#include "inode_table.h"
#include "waiting.h"

/* However long names are believed that are there. */
#define NEGATIVE_SECONDS 1.0

/* From the question for a name to the end of that time, also where an answer takes its time. */
#define MISSING_MS 10000
#define LOOKED_EVERY_MS 100 /* closer questions are not noted one by one */

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif
#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT (1 << 2)
#endif

/*
 * A name that is not there may be remembered only if no other spelling of it can come into being. What a
 * tree copy makes appears at once all the same (notify.h).
 */
static bool names_are_exact(struct session *session, struct inode *directory)
{
	enum inode_names names = atomic_load_explicit(&directory->names, memory_order_relaxed);
	_cleanup_close_ int fd = -1;
	int flags = 0;

	if (names != INODE_NAMES_UNKNOWN)
		return names == INODE_NAMES_EXACT;
	/* Of ext4, XFS, btrfs, tmpfs and f2fs it is known how they tell. */
	names = INODE_NAMES_FOLDED;
	if (directory->mount->safe_close)
		fd = inode_path_open_io(session->inodes, directory, O_RDONLY | O_DIRECTORY);
	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_CASEFOLD_FL))
		names = INODE_NAMES_EXACT;
	atomic_store_explicit(&directory->names, names, memory_order_relaxed);
	return names == INODE_NAMES_EXACT;
}

static void reply_no_entry(struct session *session, fuse_req_t req, struct inode *directory)
{
	const struct fuse_entry_param none = { .entry_timeout =
						       MIN(session->timeout, NEGATIVE_SECONDS) };

	if (none.entry_timeout > 0 && names_are_exact(session, directory))
		fuse_reply_entry(req, &none);
	else
		fuse_reply_err(req, ENOENT);
}

/* Before the directory is asked: who makes a name after that sees that it may be remembered as missing. */
static void note_lookup(struct inode *directory)
{
	uint64_t now = waiting_now_ms();
	uint64_t before = atomic_load_explicit(&directory->looked_ms, memory_order_relaxed);

	if (before == 0 || now - before > LOOKED_EVERY_MS)
		atomic_store(&directory->looked_ms, now);
}

bool ops_remembers_missing(const struct session *session, const struct inode *directory)
{
	uint64_t looked = atomic_load(&directory->looked_ms);

	return session->timeout > 0 && looked != 0 && waiting_now_ms() - looked < MISSING_MS;
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct session *session = ops_begin(req, STATS_LOOKUP);
	struct inode *directory = inode_from_id(session->inodes, parent);
	struct inode *inode;
	struct statx stx;
	int r;

	/*
	 * Paths have no such names by now: the kernel wants to know what a file handle stands for
	 * (fuse_get_dentry(), fuse_get_parent() in fs/fuse/inode.c).
	 */
	if (strcmp(name, ".") == 0) {
		r = inode_lookup_id(session->inodes, parent, &stx, &inode);
	} else if (strcmp(name, "..") == 0) {
		r = inode_lookup_parent(session->inodes, directory, &stx, &inode);
	} else {
		note_lookup(directory);
		r = inode_lookup(session->inodes, directory, name, &stx, &inode);
	}
	if (r == -ENOENT && ops_is_dot(name))
		fuse_reply_err(req, ESTALE); /* no name that could be remembered as missing */
	else if (r == -ENOENT)
		reply_no_entry(session, req, directory);
	else if (r < 0)
		fuse_reply_err(req, -r);
	else
		ops_reply_entry(session, req, inode, &stx);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct session *session = ops_begin(req, STATS_FORGET);

	inode_forget(session->inodes, inode_from_id(session->inodes, ino), nlookup);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct session *session = ops_begin(req, STATS_FORGET);

	for (size_t i = 0; i < count; i++)
		inode_forget(session->inodes, inode_from_id(session->inodes, forgets[i].ino),
			     forgets[i].nlookup);
	fuse_reply_none(req);
}

static int open_directory(struct session *session, fuse_ino_t ino, struct fd_ref **ret)
{
	return inode_path_open(session->inodes, inode_from_id(session->inodes, ino), ret);
}

/* One new name. */
struct making {
	fuse_ino_t parent;
	const char *name;
	mode_t mode;	    /* with the file's type */
	dev_t rdev;	    /* of devices */
	const char *target; /* of symbolic links */
};

static int make(struct session *session, fuse_req_t req, const struct making *making)
{
	_cleanup_fd_ref_ struct fd_ref *parent = NULL;
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int r;

	r = open_directory(session, making->parent, &parent);
	if (r < 0)
		return r;
	r = caller_begin_create(session, req, making->mode, &thread);
	if (r < 0)
		return r;
	if (S_ISDIR(making->mode))
		r = mkdirat(parent->fd, making->name, making->mode & ~(mode_t)S_IFMT);
	else if (S_ISLNK(making->mode))
		r = symlinkat(making->target, parent->fd, making->name);
	else
		r = mknodat(parent->fd, making->name, making->mode, making->rdev);
	return r == 0 ? 0 : negative_errno();
}

static void make_and_reply(struct session *session, fuse_req_t req, const struct making *making)
{
	struct inode *inode;
	struct statx stx;
	int r;

	r = make(session, req, making);
	if (r == 0)
		r = inode_lookup(session->inodes, inode_from_id(session->inodes, making->parent),
				 making->name, &stx, &inode);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		ops_reply_entry(session, req, inode, &stx);
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	const struct making making = { .parent = parent, .name = name, .mode = mode, .rdev = rdev };

	make_and_reply(ops_begin(req, STATS_MKNOD), req, &making);
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct making making = { .parent = parent, .name = name, .mode = mode | S_IFDIR };

	make_and_reply(ops_begin(req, STATS_MKDIR), req, &making);
}

static void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	const struct making making = {
		.parent = parent, .name = name, .mode = S_IFLNK, .target = target
	};

	make_and_reply(ops_begin(req, STATS_SYMLINK), req, &making);
}

/*
 * What loses its last name can only be reached by a descriptor, and somebody may have it all the same: as working
 * directory, or by O_PATH. So there must be one before. Returns it, or -errno, which is no failure.
 */
static int open_victim(struct session *session, fuse_ino_t parent, const struct fd_ref *directory,
		       const char *name)
{
	/* A server's file goes all the same. */
	if (!inode_from_id(session->inodes, parent)->mount->safe_close)
		return -EOPNOTSUPP;
	return inode_path_openat(session->inodes, directory->fd, name, O_PATH | O_NOFOLLOW);
}

/* One of its names was removed. Takes ownership of @fd. */
static void keep_victim(struct session *session, int fd)
{
	struct fd_ref *path;
	struct inode *inode;
	struct stat st;

	if (fstat(fd, &st) < 0 || (!S_ISDIR(st.st_mode) && st.st_nlink > 0) ||
	    inode_find(session->inodes, fd, &inode) < 0) {
		close_keep_errno(fd);
		return;
	}
	if (fd_ref_new(fd, &path) == 0)
		inode_pool_keep(session->inodes, inode, path);
	inode_unref(session->inodes, inode);
}

static int remove_name(struct session *session, fuse_ino_t ino, const char *name, int flags)
{
	_cleanup_fd_ref_ struct fd_ref *parent = NULL;
	_cleanup_close_ int victim = -1;
	int r;

	r = open_directory(session, ino, &parent);
	if (r < 0)
		return r;
	victim = open_victim(session, ino, parent, name);
	atomic_fetch_add(&session->removing, 1);
	r = unlinkat(parent->fd, name, flags) == 0 ? 0 : negative_errno();
	if (r == 0 && victim >= 0)
		keep_victim(session, TAKE_FD(victim));
	atomic_fetch_sub(&session->removing, 1);
	return r;
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	ops_reply_result(req, remove_name(ops_begin(req, STATS_UNLINK), parent, name, 0));
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	ops_reply_result(req, remove_name(ops_begin(req, STATS_RMDIR), parent, name, AT_REMOVEDIR));
}

/* Whoever is @name in @parent now: if the kernel knows it by path, that is where it is found. */
static void refresh_hint(struct session *session, fuse_ino_t ino, int parent_fd, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct inode *inode;

	if (session->inodes->root->by_handle)
		return; /* mounts below without handles look up again after ESTALE */
	fd = inode_path_openat(session->inodes, parent_fd, name, O_PATH | O_NOFOLLOW);
	if (fd < 0 || inode_find(session->inodes, fd, &inode) < 0)
		return;
	inode_set_hint(session->inodes, inode, inode_from_id(session->inodes, ino), name);
	inode_unref(session->inodes, inode);
}

/* Two names of two directories. */
struct moving {
	fuse_ino_t parent, new_parent;
	const char *name, *new_name;
	unsigned flags;
};

/* A whiteout is a file like others, the caller's. */
static int rename_as_caller(struct session *session, fuse_req_t req, const struct moving *moving,
			    const struct fd_ref *parent, const struct fd_ref *new_parent)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int r = 0;

	if (moving->flags & RENAME_WHITEOUT)
		r = caller_begin_create(session, req, S_IFCHR, &thread);
	if (r < 0)
		return r;
	/* renameat2(2) has a wrapper since glibc 2.28, musl has none */
	return syscall(SYS_renameat2, parent->fd, moving->name, new_parent->fd, moving->new_name,
		       moving->flags) == 0 ?
		       0 :
		       negative_errno();
}

/* A directory that has another parent now lists another "..", and its time of modification is the same. */
static void forget_parent(struct session *session, const struct fd_ref *parent, const char *name)
{
	_cleanup_close_ int fd = inode_path_openat(session->inodes, parent->fd, name,
						   O_PATH | O_NOFOLLOW | O_DIRECTORY);
	struct inode *inode;

	if (fd < 0 || inode_find(session->inodes, fd, &inode) < 0)
		return;
	atomic_store(&inode->changed_ms, waiting_now_ms());
	inode_unref(session->inodes, inode);
}

static int move(struct session *session, fuse_req_t req, const struct moving *moving)
{
	_cleanup_fd_ref_ struct fd_ref *parent = NULL;
	_cleanup_fd_ref_ struct fd_ref *new_parent = NULL;
	_cleanup_close_ int victim = -1;
	int r;

	r = open_directory(session, moving->parent, &parent);
	if (r < 0)
		return r;
	r = open_directory(session, moving->new_parent, &new_parent);
	if (r < 0)
		return r;
	if (!(moving->flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)))
		victim = open_victim(session, moving->new_parent, new_parent, moving->new_name);
	atomic_fetch_add(&session->removing, 1);
	r = rename_as_caller(session, req, moving, parent, new_parent);
	if (r == 0 && victim >= 0)
		keep_victim(session, TAKE_FD(victim));
	atomic_fetch_sub(&session->removing, 1);
	if (r < 0)
		return r;
	refresh_hint(session, moving->new_parent, new_parent->fd, moving->new_name);
	if (moving->flags & RENAME_EXCHANGE)
		refresh_hint(session, moving->parent, parent->fd, moving->name);
	if (moving->parent == moving->new_parent)
		return 0;
	forget_parent(session, new_parent, moving->new_name);
	if (moving->flags & RENAME_EXCHANGE)
		forget_parent(session, parent, moving->name);
	return 0;
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		       const char *new_name, unsigned flags)
{
	const struct moving moving = {
		.parent = parent,
		.new_parent = new_parent,
		.name = name,
		.new_name = new_name,
		.flags = flags,
	};

	ops_reply_result(req, move(ops_begin(req, STATS_RENAME), req, &moving));
}

static int make_link(struct session *session, struct inode *inode, fuse_ino_t new_parent,
		     const char *new_name)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	_cleanup_fd_ref_ struct fd_ref *parent = NULL;
	char name[BACKING_FD_NAME_MAX];
	int r;

	r = inode_path_open(session->inodes, inode, &path);
	if (r < 0)
		return r;
	r = open_directory(session, new_parent, &parent);
	if (r < 0)
		return r;
	/*
	 * AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; following the magic link does not (open(2),
	 * O_TMPFILE).
	 */
	if (linkat(session->backing.self_fds, backing_fd_name(path->fd, name), parent->fd, new_name,
		   AT_SYMLINK_FOLLOW) < 0)
		return negative_errno();
	return 0;
}

static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct session *session = ops_begin(req, STATS_LINK);
	struct inode *inode = inode_from_id(session->inodes, ino);
	struct statx stx;
	int r;

	r = make_link(session, inode, new_parent, new_name);
	if (r == 0)
		r = inode_lookup(session->inodes, inode_from_id(session->inodes, new_parent),
				 new_name, &stx, &inode);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		ops_reply_entry(session, req, inode, &stx);
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct session *session = ops_begin(req, STATS_READLINK);
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	char target[PATH_MAX + 1];
	ssize_t length;
	int r;

	r = inode_path_open(session->inodes, inode_from_id(session->inodes, ino), &path);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	length = readlinkat(path->fd, "", target, sizeof(target) - 1);
	if (length < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	target[length] = '\0';
	fuse_reply_readlink(req, target);
}

void ops_namespace_register(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = ops_lookup;
	ops->forget = ops_forget;
	ops->forget_multi = ops_forget_multi;
	ops->mknod = ops_mknod;
	ops->mkdir = ops_mkdir;
	ops->symlink = ops_symlink;
	ops->unlink = ops_unlink;
	ops->rmdir = ops_rmdir;
	ops->rename = ops_rename;
	ops->link = ops_link;
	ops->readlink = ops_readlink;
}
