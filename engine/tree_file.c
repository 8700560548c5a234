/* SPDX-License-Identifier: MIT */
/*
 * tree_file.c - see tree_file.h.
 */
#include "tree_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "inode_flags.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_dir.h"
#include "tree_large.h"
#include "tree_link.h"
#include "tree_note.h"
#include "tree_open.h"
#include "tree_publish.h"
#include "worker.h"

#define UNSIZED_READ (16 * KIB)

/* The ring would answer EAGAIN instead of waiting for the disk. What has no size is read by read_unsized(). */
static int make_blocking(struct tree_file *file)
{
	file->call = "fcntl";
	if (file->st.st_size == 0)
		return 0;
	return fcntl(file->src_fd, F_SETFL, 0) < 0 ? negative_errno() : 0;
}

/* Opens the source. A FIFO that took the file's place must not make us wait for a writer. */
int tree_file_open(struct tree_file *file, int src_dir)
{
	file->call = "openat";
	file->src_fd = openat(src_dir, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file->src_fd < 0)
		return negative_errno();
	file->call = "fstat";
	if (fstat(file->src_fd, &file->st) < 0)
		return negative_errno();
	if (!S_ISREG(file->st.st_mode))
		return -ESTALE; /* it is not what the directory said any more */
	file->flags = inode_flags_get(file->src_fd);
	return make_blocking(file);
}

static void count_unsized(struct tree_job *tree, uint64_t bytes)
{
	__atomic_add_fetch(&tree->job.bytes_total, bytes, __ATOMIC_RELAXED);
	job_add_bytes(&tree->job, bytes);
	job_add_verified(&tree->job, bytes); /* nothing of it will be */
	engine_count(tree->job.engine, COPY_WAY_SYNC, bytes);
	pthread_mutex_lock(&tree->lock);
	tree->bytes_by_way[COPY_WAY_SYNC] += bytes;
	pthread_mutex_unlock(&tree->lock);
}

/*
 * Files of procfs and the like say that they are empty, and have contents: they are read to their end.
 * Without waiting, for some have none until something happens. What is really empty costs one read(2).
 */
static int read_unsized(struct tree_job *tree, struct tree_file *file)
{
	char buffer[UNSIZED_READ];
	ssize_t n, written;

	if (file->st.st_size != 0)
		return 0;
	while (!tree_is_stopping(tree)) {
		file->call = "read";
		n = RETRY_EINTR(read(file->src_fd, buffer, sizeof(buffer)));
		if (n <= 0)
			return n < 0 ? negative_errno() : 0;
		file->call = "write";
		for (ssize_t at = 0; at < n; at += written) {
			written = RETRY_EINTR(write(file->dst_fd, buffer + at, (size_t)(n - at)));
			if (written < 0)
				return negative_errno();
		}
		count_unsized(tree, (uint64_t)n);
	}
	return 0;
}

/*
 * setxattr(2) of user.* asks for write permission, whatever the descriptor may. What has a name in a
 * directory of others gets a group and an ACL from there, whom it is closed to until it has its own.
 */
static mode_t created_mode(const struct tree_file *file)
{
	return (file->st.st_mode & (file->inherits ? 0700 : 0777)) | S_IWUSR;
}

/*
 * The rereading of verify=yes is to leave the time of access alone. Best effort, and not when it is opened: on
 * vfat, sshfs and NFS with all_squash the owner is somebody else, and EPERM would come when it has been made.
 */
static void keep_atime(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NOATIME); /* best effort */
}

int tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir, const char *name)
{
	int flags = tree->options.verify ? O_RDWR : O_WRONLY;
	int fd, r;

	file->call = "openat";
	if (tree->merging) {
		fd = tree_merge_create(tree, &file->merge, dst_dir, flags, created_mode(file));
	} else {
		fd = openat(dst_dir, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    created_mode(file));
		fd = fd < 0 ? negative_errno() : fd;
		file->in_staging = fd >= 0;
	}
	if (fd < 0)
		return fd;
	file->dst_fd = fd;
	if (tree->options.verify)
		keep_atime(fd);
	inode_flags_begin(fd, file->flags);
	file->call = "fremovexattr";
	r = file->inherits ? metadata_drop_acls(fd) : 0;
	return r < 0 ? r : read_unsized(tree, file);
}

struct metadata_made tree_file_owner(const struct tree_job *tree, const struct tree_file *file)
{
	struct metadata_made made = tree->made;

	made.mode = created_mode(file);
	return file->inherits ? (struct metadata_made){ (uid_t)-1, (gid_t)-1, (mode_t)-1 } : made;
}

static bool is_same_content(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int tree_file_settle(struct tree_file *file, const struct metadata_made *owner)
{
	struct metadata source;
	struct stat now;
	bool changed;
	int r;

	file->call = "fstat";
	if (fstat(file->src_fd, &now) < 0)
		return negative_errno();
	changed = !is_same_content(&now, &file->st);
	if (changed && !file->retried)
		return -EBUSY;
	source = metadata_from_stat(&now);
	source.atime = file->st.st_atim; /* before we read it */
	r = metadata_copy_fd(file->src_fd, file->dst_fd, &source, owner, &file->call);
	if (r < 0)
		return r;
	file->settled = true;
	if (changed)
		file->call = "read of a file that is being written";
	return changed ? -EBUSY : 0;
}

void tree_file_verified(struct tree_file *file, int r)
{
	struct stat now;

	if (r == 0)
		return;
	if (r == -ECANCELED)
		file->settled = false; /* nobody knows */
	/* The source, and not the copy? */
	if (r == -EIO && fstat(file->src_fd, &now) == 0 && !is_same_content(&now, &file->st))
		r = -EBUSY;
	file->error = r;
	file->call = "verify";
}

int tree_file_restart(struct tree_job *tree, struct tree_file *file)
{
	struct timespec atime = file->st.st_atim;
	int r;

	file->retried = true;
	job_add_verified(&tree->job, (uint64_t)file->st.st_size); /* it was counted, and is not */
	file->call = "fstat";
	if (fstat(file->src_fd, &file->st) < 0)
		return negative_errno();
	file->st.st_atim = atime;
	file->call = "ftruncate";
	if (ftruncate(file->dst_fd, 0) < 0)
		return negative_errno();
	__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file->st.st_size, __ATOMIC_RELAXED);
	file->call = "lseek";
	if (lseek(file->src_fd, 0, SEEK_SET) < 0 || lseek(file->dst_fd, 0, SEEK_SET) < 0)
		return negative_errno();
	r = make_blocking(file);
	return r < 0 ? r : read_unsized(tree, file);
}

bool tree_file_is_kept(const struct tree_job *tree, const struct tree_file *file)
{
	/* What has changed while it was copied is not what it should be, but better than nothing. */
	return file->error == 0 || (file->error == -EBUSY && file->settled &&
				    tree->options.on_error == TREE_ON_ERROR_CONTINUE);
}

/*
 * The copy may have taken long: what is there is looked at again, and stays if the options say so of what it is
 * now.
 */
static int publish_merged(struct tree_job *tree, struct tree_file *file, int dst_dir)
{
	enum tree_merge_action action = TREE_MERGE_MAKE;
	int r = 0;

	if (file->merge.replace)
		r = tree_merge_decide(tree->options.existing, dst_dir, file->name, &file->st,
				      &action);
	if (r < 0)
		return r;
	if (action == TREE_MERGE_UNCHANGED || action == TREE_MERGE_LEAVE) {
		file->settled = false; /* nor does a further link become one of it */
		if (file->error == 0)
			tree_left(tree);
		return 0;
	}
	file->merge.replace = action == TREE_MERGE_REPLACE;
	return tree_merge_publish(tree, &file->merge, dst_dir, file->dst_fd, file->name);
}

/* Gives the file its name, or takes it away again. */
static int place(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file)
{
	bool keep = tree_file_is_kept(tree, file);
	int src_dir, dst_dir, r;

	if (!dir || file->dst_fd < 0 || (file->in_staging && (keep || tree_is_stopping(tree))))
		return 0; /* as it should be, or removed with all that is staged */
	r = tree_open_acquire(dir, &src_dir, &dst_dir);
	if (r < 0)
		return r;
	if (file->in_staging)
		r = unlinkat(dst_dir, file->name, 0) < 0 ? negative_errno() : 0;
	else if (keep && file->settled)
		r = publish_merged(tree, file, dst_dir);
	tree_merge_discard(&file->merge, dst_dir);
	tree_open_release(dir);
	return r;
}

/* Looks at the name once more, as if it had just been listed. */
static bool queue_again(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
			struct worker *worker)
{
	struct tree_batch *batch = NULL;
	unsigned char type = TREE_RETRIED | (file->anew ? TREE_COPY_ANEW : 0);

	if (!dir || file->retried || file->dst_fd >= 0 || !tree_error_may_pass(file->error) ||
	    tree_is_stopping(tree))
		return false;
	if (tree_batch_add(dir, &batch, file->name, type, worker) < 0)
		return false;
	tree_push(tree, tree_batch_task(batch), worker);
	return true;
}

/*
 * NFS and FUSE servers say at a close that data does not fit. For a merge the last close is too late: the name
 * is given by then, and what had it is gone. Also of what is synced: a FUSE server need not know of fsync(2).
 */
static void flush_merged(const struct tree_job *tree, struct tree_file *file)
{
	int fd, r;

	if (!tree->merging || !tree_file_is_kept(tree, file))
		return;
	fd = fcntl(file->dst_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0 && errno == EMFILE) /* what is complete is not lost for that */
		return;
	r = fd < 0 ? negative_errno() : close_checked(fd);
	if (r == 0)
		return;
	file->error = r;
	file->call = "close";
	file->settled = false;
}

/* The name, and writes that were late. */
static void complete(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		     struct worker *worker)
{
	int r = file->dst_fd >= 0 ? tree_adopt(tree, worker) : 0;

	if (r == 0 && file->settled && !job_is_cancelled(&tree->job))
		flush_merged(tree, file);
	/* Who has cancelled was told that nothing more appears. Behind the close, which may take long. */
	if (job_is_cancelled(&tree->job))
		file->settled = false;
	if (r == 0)
		r = place(tree, dir, file);
	if (r < 0 && file->error == 0) {
		file->error = r;
		file->call = "linkat";
	}
	if (dir && file->error == 0 && file->settled) {
		file->error = inode_flags_set(file->dst_fd, file->flags);
		file->call = "ioctl(FS_IOC_SETFLAGS)";
	}
	close_keep_errno(TAKE_FD(file->src_fd));
	if (file->dst_fd < 0)
		return;
	r = close_checked(TAKE_FD(file->dst_fd));
	if (r < 0 && file->error == 0) {
		file->error = r;
		file->call = "close";
	}
}

void tree_file_finish(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		      struct worker *worker)
{
	bool again = queue_again(tree, dir, file, worker);

	if (!dir)
		tree->copied = file->st;
	complete(tree, dir, file, worker);
	if (file->error < 0 && !again) {
		tree_fail(tree, dir, file->name, file->call, file->error);
	} else if (!again && file->settled) {
		__atomic_add_fetch(&tree->job.files, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.engine->files, 1, __ATOMIC_RELAXED);
	}
	if (file->link && file->error == 0 && file->settled)
		tree_link_copied(TAKE_PTR(file->link), worker);
	else if (file->link)
		tree_link_failed(TAKE_PTR(file->link), worker);
	if (dir)
		tree_dir_done(dir, 1, worker);
}

bool tree_file_is_verified(const struct tree_job *tree, const struct tree_file *file)
{
	return tree->options.verify && file->st.st_size > 0;
}

struct tree_verify tree_file_verification(struct tree_job *tree, const struct tree_file *file)
{
	return (struct tree_verify){
		.tree = tree,
		.src_fd = file->src_fd,
		.dst_fd = file->dst_fd,
		.size = (uint64_t)file->st.st_size,
	};
}

/* Notes what the copy of a single file is, so that it is found again whatever happens to it. */
static int identify_root(struct tree_job *tree, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return negative_errno();
	tree->staging_dev = st.st_dev;
	tree->staging_ino = st.st_ino;
	tree_note_add(tree, fd, false);
	(void)tree_publish_watch(tree); /* else at the end */
	return 0;
}

void tree_file_copy_root(struct tree_job *tree, struct worker *worker)
{
	struct tree_file file = { .name = NULL, .src_fd = -1, .dst_fd = -1, .call = "openat" };
	char path[64];
	int r, identified = 0;

	file.inherits = true; /* the directory is not ours: it may hand its group and ACLs down */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tree->src_fd);
	file.src_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	r = file.src_fd < 0 || fstat(file.src_fd, &file.st) < 0 ? negative_errno() : 0;
	if (r == 0)
		r = make_blocking(&file);
	if (r == 0)
		tree->root_flags = file.flags = inode_flags_get(file.src_fd);
	if (r == 0)
		r = tree_file_create(tree, &file, tree->dst_parent_fd, tree->staging);
	tree->staged = file.dst_fd >= 0;
	if (tree->staged)
		identified = identify_root(tree, file.dst_fd);
	if (r == 0 && identified < 0) {
		file.call = "fstat";
		r = identified;
	}
	if (r == 0) {
		__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file.st.st_size,
				   __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
		r = tree_large_start(tree, NULL, &file, worker);
	}
	if (r == 0)
		return;
	file.error = r;
	tree_file_finish(tree, NULL, &file, worker);
	tree_walked(tree, worker);
}
