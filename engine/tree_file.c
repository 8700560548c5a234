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
#include "file_copy.h"
#include "inode_flags.h"
#include "tree.h"
#include "tree_batch.h"
#include "tree_dir.h"
#include "tree_link.h"
#include "tree_open.h"
#include "tree_verify.h"
#include "worker.h"

#define SMALL_MAX (512 * KIB) /* larger files are copied as regions */

struct large {
	struct tree_job *tree;
	struct tree_batch *batch; /* NULL: the root of the copy */
	struct tree_file file;
	struct file_copy copy;
	struct task verify_task;
	uint64_t verified; /* bytes */
};

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
	/* The ring would answer EAGAIN instead of waiting for the disk. */
	file->call = "fcntl";
	return fcntl(file->src_fd, F_SETFL, 0) < 0 ? negative_errno() : 0;
}

/*
 * setxattr(2) of user.* asks for write permission, whatever the descriptor may. What has a name in a
 * directory of others gets a group and an ACL from there, whom it is closed to until it has its own.
 */
static mode_t created_mode(const struct tree_file *file)
{
	return (file->st.st_mode & (file->inherits ? 0700 : 0777)) | S_IWUSR;
}

int tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir, const char *name)
{
	int flags = tree->options.verify ? O_RDWR | O_NOATIME : O_WRONLY;
	int fd;

	file->call = "openat";
	if (tree->merging) {
		fd = tree_merge_create(&file->merge, dst_dir, flags, created_mode(file));
	} else {
		fd = openat(dst_dir, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    created_mode(file));
		fd = fd < 0 ? negative_errno() : fd;
		file->in_staging = fd >= 0;
	}
	if (fd < 0)
		return fd;
	file->dst_fd = fd;
	inode_flags_begin(fd, file->flags);
	file->call = "fremovexattr";
	return file->inherits ? metadata_drop_acls(fd) : 0;
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
	/* The source, and not the copy? */
	if (r == -EIO && fstat(file->src_fd, &now) == 0 && !is_same_content(&now, &file->st))
		r = -EBUSY;
	file->error = r;
	file->call = "verify";
}

int tree_file_restart(struct tree_job *tree, struct tree_file *file)
{
	struct timespec atime = file->st.st_atim;

	file->retried = true;
	file->call = "fstat";
	if (fstat(file->src_fd, &file->st) < 0)
		return negative_errno();
	file->st.st_atim = atime;
	file->call = "ftruncate";
	if (ftruncate(file->dst_fd, 0) < 0)
		return negative_errno();
	__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file->st.st_size, __ATOMIC_RELAXED);
	return 0;
}

/* Gives the file its name, or takes it away again. */
static int place(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file)
{
	/* What has changed while it was copied is not what it should be, but better than nothing. */
	bool keep = file->error == 0 || (file->error == -EBUSY && file->settled &&
					 tree->options.on_error == TREE_ON_ERROR_CONTINUE);
	int src_dir, dst_dir, r;

	if (!dir || file->dst_fd < 0 || (file->in_staging && (keep || tree_is_stopping(tree))))
		return 0; /* as it should be, or removed with all that is staged */
	r = tree_open_acquire(dir, &src_dir, &dst_dir);
	if (r < 0)
		return r;
	if (file->in_staging)
		r = unlinkat(dst_dir, file->name, 0) < 0 ? negative_errno() : 0;
	else if (keep && file->settled)
		r = tree_merge_publish(tree, &file->merge, dst_dir, file->dst_fd, file->name);
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

/* The name, and writes that were late. */
static void complete(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		     struct worker *worker)
{
	int r = file->dst_fd >= 0 ? tree_adopt(tree, worker) : 0;

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

static void start_copy(struct large *large, struct worker *worker);

static void end_large(struct large *large, struct worker *worker)
{
	struct tree_job *tree = large->tree;
	struct tree_batch *batch = large->batch;

	if (large->file.error == -ECANCELED)
		large->file.error = 0; /* the job says so itself */
	tree_file_finish(tree, batch ? tree_batch_dir(batch) : NULL, &large->file, worker);
	free(large);
	if (batch)
		tree_batch_unref(batch);
	else
		tree_walked(tree, worker);
}

static void verify_task(struct task *task, struct worker *worker)
{
	struct large *large = CONTAINER_OF(task, struct large, verify_task);
	struct tree_job *tree = large->tree;
	struct tree_file *file = &large->file;
	int r = 0;

	if (!tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		r = tree_verify_some(file->src_fd, file->dst_fd, (uint64_t)file->st.st_size,
				     &large->verified);
	if (r == 1) {
		tree_push(tree, &large->verify_task, worker);
		return;
	}
	tree_file_verified(file, r);
	end_large(large, worker);
}

static void large_done(struct file_copy *copy, const struct file_copy_result *result,
		       struct worker *worker)
{
	struct large *large = CONTAINER_OF(copy, struct large, copy);
	struct tree_job *tree = large->tree;
	struct tree_file *file = &large->file;
	struct metadata_made owner = tree_file_owner(tree, file);

	file->error = result->error;
	file->call = "copy";
	pthread_mutex_lock(&tree->lock);
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		tree->bytes_by_way[way] += result->bytes_by_way[way];
	pthread_mutex_unlock(&tree->lock);
	file_copy_destroy(&large->copy);
	if (file->error == 0 && !tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		file->error = tree_file_settle(file, &owner);
	if (file->error == -EBUSY && !file->retried && !tree_is_stopping(tree)) {
		file->error = tree_file_restart(tree, file);
		if (file->error == 0) {
			start_copy(large, worker);
			return;
		}
	}
	if (file->error == 0 && tree->options.verify && !tree_is_stopping(tree))
		tree_push(tree, &large->verify_task, worker);
	else
		end_large(large, worker);
}

static void start_copy(struct large *large, struct worker *worker)
{
	struct tree_job *tree = large->tree;

	file_copy_init(&large->copy, &(struct file_copy_spec){
					     .job = &tree->job,
					     .src_fd = large->file.src_fd,
					     .dst_fd = large->file.dst_fd,
					     .length = (uint64_t)large->file.st.st_size,
					     .reflink = (enum engine_reflink)tree->options.reflink,
					     .fsync = tree->options.verify ||
						      tree->options.fsync == ENGINE_FSYNC_FILE,
					     .push_first = true,
					     .done = large_done,
				     });
	file_copy_start(&large->copy, worker);
}

/* Takes @file over. -ENOMEM. */
int tree_file_start_large(struct tree_job *tree, struct tree_batch *batch, struct tree_file *file,
			  struct worker *worker)
{
	struct large *large = calloc(1, sizeof(*large));

	if (!large) {
		file->call = "malloc";
		return -ENOMEM;
	}
	if (batch)
		tree_batch_ref(batch);
	large->tree = tree;
	large->batch = batch;
	large->file = *file;
	large->verify_task.run = verify_task;
	start_copy(large, worker);
	return 0;
}

uint64_t tree_file_small_max(const struct tree_job *tree)
{
	return MIN(SMALL_MAX, (uint64_t)tree->job.engine->options.block_size / 2);
}

/* A file for regions: large, or with holes, or to be cloned. */
bool tree_file_is_large(const struct tree_job *tree, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	return size > tree_file_small_max(tree) || (uint64_t)st->st_blocks * 512 < size ||
	       (tree->options.reflink == ENGINE_REFLINK_ALWAYS && size > 0);
}

void tree_file_copy_root(struct tree_job *tree, struct worker *worker)
{
	struct tree_file file = { .name = NULL, .src_fd = -1, .dst_fd = -1, .call = "openat" };
	struct stat made;
	char path[64];
	int r;

	file.inherits = true; /* the directory is not ours: it may hand its group and ACLs down */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tree->src_fd);
	file.src_fd = open(path, O_RDONLY | O_CLOEXEC);
	r = file.src_fd < 0 || fstat(file.src_fd, &file.st) < 0 ? negative_errno() : 0;
	if (r == 0)
		tree->root_flags = file.flags = inode_flags_get(file.src_fd);
	if (r == 0)
		r = tree_file_create(tree, &file, tree->dst_parent_fd, tree->staging);
	tree->staged = file.dst_fd >= 0;
	if (r == 0 && fstat(file.dst_fd, &made) < 0)
		r = negative_errno();
	if (r == 0) {
		tree->staging_dev = made.st_dev;
		tree->staging_ino = made.st_ino;
		tree_note_add(tree, file.dst_fd, false);
		__atomic_add_fetch(&tree->job.bytes_total, (uint64_t)file.st.st_size,
				   __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.files_total, 1, __ATOMIC_RELAXED);
		r = tree_file_start_large(tree, NULL, &file, worker);
	}
	if (r == 0)
		return;
	file.error = r;
	tree_file_finish(tree, NULL, &file, worker);
	tree_walked(tree, worker);
}
