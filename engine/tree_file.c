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
#include "tree.h"
#include "tree_batch.h"
#include "tree_dir.h"
#include "tree_link.h"
#include "worker.h"

#define SMALL_MAX (512 * KIB) /* larger files are copied as regions */

struct large {
	struct tree_job *tree;
	struct tree_batch *batch; /* NULL: the root of the copy */
	struct tree_file file;
	struct file_copy copy;
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
	/* The ring would answer EAGAIN instead of waiting for the disk. */
	file->call = "fcntl";
	return fcntl(file->src_fd, F_SETFL, 0) < 0 ? negative_errno() : 0;
}

/* setxattr(2) of user.* asks for write permission, whatever the descriptor may. */
static mode_t created_mode(const struct tree_file *file)
{
	return (file->st.st_mode & 0777) | S_IWUSR;
}

int tree_file_create(struct tree_file *file, int dst_dir, const char *name)
{
	file->call = "openat";
	file->dst_fd = openat(dst_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			      created_mode(file));
	return file->dst_fd < 0 ? negative_errno() : 0;
}

int tree_file_set_metadata(struct tree_job *tree, struct tree_file *file)
{
	struct metadata source = metadata_from_stat(&file->st);
	struct metadata_made made = tree->made;

	made.mode = created_mode(file);
	return metadata_copy_fd(file->src_fd, file->dst_fd, &source, &made, &file->call);
}

/* Everything was tried: closes the file and accounts for it. */
void tree_file_finish(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		      struct worker *worker)
{
	int r;

	close_keep_errno(TAKE_FD(file->src_fd));
	if (file->dst_fd >= 0) {
		r = close_checked(TAKE_FD(file->dst_fd));
		if (r < 0 && file->error == 0) {
			file->error = r;
			file->call = "close";
		}
	}
	if (file->error < 0) {
		tree_fail(tree, dir, file->name, file->call, file->error);
	} else if (!tree_is_stopping(tree)) {
		__atomic_add_fetch(&tree->job.files, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&tree->job.engine->files, 1, __ATOMIC_RELAXED);
	}
	if (file->link && tree_is_stopping(tree))
		tree_link_failed(TAKE_PTR(file->link), worker);
	else if (file->link)
		tree_link_copied(TAKE_PTR(file->link), worker);
	if (dir)
		tree_dir_done(dir, 1, worker);
}

static void large_done(struct file_copy *copy, const struct file_copy_result *result,
		       struct worker *worker)
{
	struct large *large = CONTAINER_OF(copy, struct large, copy);
	struct tree_job *tree = large->tree;
	struct tree_batch *batch = large->batch;
	struct tree_file *file = &large->file;

	file->error = result->error;
	file->call = "copy";
	if (file->error == 0 && !tree_is_stopping(tree) && tree_adopt(tree, worker) == 0)
		file->error = tree_file_set_metadata(tree, file);
	if (file->error == -ECANCELED)
		file->error = 0; /* the job says so itself */
	pthread_mutex_lock(&tree->lock);
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		tree->bytes_by_way[way] += result->bytes_by_way[way];
	pthread_mutex_unlock(&tree->lock);
	tree_file_finish(tree, batch ? tree_batch_dir(batch) : NULL, file, worker);
	file_copy_destroy(&large->copy);
	free(large);
	if (batch)
		tree_batch_unref(batch);
	else
		tree_walked(tree, worker);
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
	file_copy_init(&large->copy,
		       &(struct file_copy_spec){
			       .job = &tree->job,
			       .src_fd = file->src_fd,
			       .dst_fd = file->dst_fd,
			       .length = (uint64_t)file->st.st_size,
			       .fsync = tree->job.engine->options.fsync == ENGINE_FSYNC_FILE,
			       .push_first = true,
			       .done = large_done,
		       });
	file_copy_start(&large->copy, worker);
	return 0;
}

uint64_t tree_file_small_max(const struct tree_job *tree)
{
	return MIN(SMALL_MAX, (uint64_t)tree->job.engine->options.block_size / 2);
}

/* A file for regions: large, or with holes, or to be cloned. */
bool tree_file_is_large(const struct tree_job *tree, const struct stat *st)
{
	const struct engine_options *options = &tree->job.engine->options;
	uint64_t size = (uint64_t)st->st_size;

	return size > tree_file_small_max(tree) || (uint64_t)st->st_blocks * 512 < size ||
	       (options->reflink == ENGINE_REFLINK_ALWAYS && size > 0);
}

void tree_file_copy_root(struct tree_job *tree, struct worker *worker)
{
	struct tree_file file = { .name = NULL, .src_fd = -1, .dst_fd = -1, .call = "openat" };
	struct stat made;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tree->src_fd);
	file.src_fd = open(path, O_RDONLY | O_CLOEXEC);
	r = file.src_fd < 0 || fstat(file.src_fd, &file.st) < 0 ? negative_errno() : 0;
	if (r == 0)
		r = tree_file_create(&file, tree->dst_parent_fd, tree->staging);
	if (r == 0) {
		tree->staged = true;
		/* The directory is not ours: it may hand its group and ACLs down. */
		tree->made = (struct metadata_made){ (uid_t)-1, (gid_t)-1, (mode_t)-1 };
		r = metadata_drop_acls(file.dst_fd);
	}
	if (r == 0 && fstat(file.dst_fd, &made) < 0)
		r = negative_errno();
	if (r == 0) {
		tree->staging_dev = made.st_dev;
		tree->staging_ino = made.st_ino;
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
