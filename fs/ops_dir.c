/* SPDX-License-Identifier: MIT */
/*
 * ops_dir.c - reading directories.
 *
 * A handle keeps what getdents64(2) gave and where it stands in it. Offsets given to the kernel are
 * the backing file system's own (d_off), so seekdir() and telldir() mean what they mean there. A
 * request whose offset is not where the handle stands seeks and starts afresh.
 *
 * readdirplus looks each entry up; one that cannot be looked up now (no descriptor left, just
 * deleted) is told without attributes (node id 0), never left out.
 *
 * The kernel keeps a listing for as long as it may believe the names and attributes that came with it,
 * so that who walks a tree again asks for nothing but the open directory. It checks the time of
 * modification before it uses what it has (fuse_readdir_cached() in fs/fuse/readdir.c), which only tells
 * when that is older than the clock's tick.
 */
#include "ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "arsync/base.h"
#include "inode_path.h"
#include "waiting.h"

#define DIRENT_BUFFER (32 * KIB)
/* A file system's clock may tick as rarely, and some; one of whole seconds, or of two as that of FAT. */
#define SETTLED_MS 100
#define SETTLED_COARSE_MS 2100

/* Whether a change from now on shows in the time of modification. */
static bool is_settled(int fd)
{
	struct timespec now;
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MTIME, &stx) < 0 || !(stx.stx_mask & STATX_MTIME))
		return false;
	(void)clock_gettime(CLOCK_REALTIME, &now); /* always there */
	return (now.tv_sec - stx.stx_mtime.tv_sec) * 1000 +
		       (now.tv_nsec - (long)stx.stx_mtime.tv_nsec) / 1000000 >
	       (stx.stx_mtime.tv_nsec == 0 ? SETTLED_COARSE_MS : SETTLED_MS);
}

static bool was_listed(const struct session *session, const struct inode *inode)
{
	uint64_t listed = atomic_load_explicit(&inode->listed_ms, memory_order_relaxed);
	uint64_t changed = atomic_load_explicit(&inode->changed_ms, memory_order_relaxed);

	return listed > changed && (double)(waiting_now_ms() - listed) < session->timeout * 1000;
}

static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_OPENDIR);
	struct inode *inode = inode_from_id(session->inodes, ino);
	struct open_dir *handle;
	int fd;
	int r;

	fd = inode_path_open_io(session->inodes, inode, O_RDONLY | O_DIRECTORY);
	r = fd < 0 ? fd : handle_new_dir(session, inode, fd, &handle);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)handle;
	fi->cache_readdir = session->timeout > 0 && !inode->mount->counts_reads && is_settled(fd);
	fi->keep_cache = fi->cache_readdir && was_listed(session, inode);
	if (fuse_reply_open(req, fi) < 0)
		handle_close_dir(session, handle);
}

/* Makes sure that the buffer holds the entry at @offset. 0: no more entries. */
static int fill(struct open_dir *dir, off_t offset)
{
	ssize_t n;

	if (!dir->buffer) {
		dir->buffer = malloc(DIRENT_BUFFER);
		if (!dir->buffer)
			return -ENOMEM;
	}
	if (offset != dir->next || (offset == 0 && dir->at == 0 && dir->used == 0)) {
		if (lseek(dir->fd, offset, SEEK_SET) < 0)
			return negative_errno();
		dir->used = dir->at = 0;
		dir->next = offset;
	}
	if (dir->at < dir->used)
		return 1;
	n = getdents64(dir->fd, dir->buffer, DIRENT_BUFFER);
	if (n < 0)
		return negative_errno();
	dir->used = (size_t)n;
	dir->at = 0;
	return n > 0;
}

/* What plain readdir tells, and readdirplus where it cannot tell more. */
static void describe(struct session *session, const struct open_dir *dir,
		     const struct dirent64 *entry, struct stat *ret)
{
	*ret = (struct stat){
		.st_ino = backing_ino(&session->backing, dir->inode->dev, entry->d_ino),
		.st_mode = DTTOIF(entry->d_type),
	};
}

/* One reply. */
struct listing {
	char *text;
	size_t size, used;
	bool plus;
};

/* Returns false when the entry does not fit. */
static bool add_plain(fuse_req_t req, struct listing *listing, const struct dirent64 *entry,
		      const struct stat *st)
{
	size_t room = listing->size - listing->used;
	size_t n = fuse_add_direntry(req, listing->text + listing->used, room, entry->d_name, st,
				     entry->d_off);

	if (n > room)
		return false;
	listing->used += n;
	return true;
}

static bool add_plus(struct session *session, fuse_req_t req, struct listing *listing,
		     struct open_dir *dir, const struct dirent64 *entry, const struct stat *st)
{
	struct fuse_entry_param param = { .attr = *st };
	size_t room = listing->size - listing->used;
	struct inode *inode;
	struct statx stx;

	/* Before the lookup, which would have to be taken back */
	if (fuse_add_direntry_plus(req, NULL, 0, entry->d_name, NULL, 0) > room)
		return false;
	if (!ops_is_dot(entry->d_name) &&
	    inode_lookup(session->inodes, dir->inode, entry->d_name, &stx, &inode) == 0) {
		ops_fill_entry(session, inode, &stx, &param);
		readahead_tree_add(session->readahead_tree, &dir->ahead, inode, stx.stx_size);
	}
	listing->used += fuse_add_direntry_plus(req, listing->text + listing->used, room,
						entry->d_name, &param, entry->d_off);
	return true;
}

static int list(struct session *session, fuse_req_t req, struct open_dir *dir, off_t offset,
		struct listing *listing)
{
	int r;

	if (offset == 0) {
		dir->ahead.n = 0;
		dir->began_ms = waiting_now_ms();
	} else if (offset != dir->next) {
		dir->began_ms = 0;
	}
	while ((r = fill(dir, offset)) > 0) {
		struct dirent64 *entry = (struct dirent64 *)(void *)(dir->buffer + dir->at);
		struct stat st;
		bool fits;

		describe(session, dir, entry, &st);
		fits = listing->plus ? add_plus(session, req, listing, dir, entry, &st) :
				       add_plain(req, listing, entry, &st);
		if (!fits)
			return 0;
		dir->at += entry->d_reclen;
		dir->next = offset = entry->d_off;
	}
	if (r == 0) {
		readahead_tree_listed(session->readahead_tree, &dir->ahead);
		atomic_store_explicit(&dir->inode->listed_ms, dir->began_ms, memory_order_relaxed);
	}
	/*
	 * What was gathered before an error is told first; the next request meets the error again.
	 */
	return listing->used ? 0 : r;
}

/*
 * Lookups that a listing counted, when nobody got it, cannot be told apart any more: the kernel has
 * gone.
 */
static void list_and_reply(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi,
			   bool plus)
{
	struct session *session = ops_begin(req, plus ? STATS_READDIRPLUS : STATS_READDIR);
	struct open_dir *dir = handle_dir(fi);
	_cleanup_free_ char *text = malloc(size);
	struct listing listing = { .text = text, .size = size, .plus = plus };
	int r = -ENOMEM;

	/* The kernel reads one open directory from one thread at a time (f_pos_lock). */
	if (atomic_exchange_explicit(&dir->busy, true, memory_order_acquire)) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	if (text)
		r = list(session, req, dir, offset, &listing);
	atomic_store_explicit(&dir->busy, false, memory_order_release);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, listing.text, listing.used);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			struct fuse_file_info *fi)
{
	(void)ino;
	list_and_reply(req, size, offset, fi, false);
}

static void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			    struct fuse_file_info *fi)
{
	(void)ino;
	list_and_reply(req, size, offset, fi, true);
}

static void ops_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *session = ops_begin(req, STATS_RELEASEDIR);

	(void)ino;
	handle_close_dir(session, handle_dir(fi));
	fuse_reply_err(req, 0);
}

static void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	int fd = handle_dir(fi)->fd;
	int r;

	(void)ino;
	(void)ops_begin(req, STATS_FSYNCDIR);
	r = datasync ? fdatasync(fd) : fsync(fd);
	ops_reply_result(req, r == 0 ? 0 : negative_errno());
}

void ops_dir_register(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = ops_opendir;
	ops->readdir = ops_readdir;
	ops->readdirplus = ops_readdirplus;
	ops->releasedir = ops_releasedir;
	ops->fsyncdir = ops_fsyncdir;
}
