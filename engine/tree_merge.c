/* SPDX-License-Identifier: MIT */
/*
 * tree_merge.c - see tree_merge.h.
 */
#include "tree_merge.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "tree.h"

static int compare_times(const struct timespec *a, const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec ? -1 : 1;
	return a->tv_nsec == b->tv_nsec ? 0 : a->tv_nsec < b->tv_nsec ? -1 : 1;
}

static bool is_unchanged(const struct stat *src, const struct stat *dst)
{
	if (src->st_dev == dst->st_dev && src->st_ino == dst->st_ino)
		return true;
	return (src->st_mode & S_IFMT) == (dst->st_mode & S_IFMT) && src->st_size == dst->st_size &&
	       src->st_rdev == dst->st_rdev && compare_times(&src->st_mtim, &dst->st_mtim) == 0;
}

int tree_merge_judge(enum tree_existing existing, const struct stat *src, const struct stat *dst,
		     enum tree_merge_action *ret_action)
{
	if (S_ISDIR(dst->st_mode) != S_ISDIR(src->st_mode))
		return S_ISDIR(dst->st_mode) ? -EISDIR : -ENOTDIR;
	if (is_unchanged(src, dst))
		*ret_action = TREE_MERGE_UNCHANGED;
	else if (existing == TREE_EXISTING_SKIP ||
		 (existing == TREE_EXISTING_UPDATE &&
		  compare_times(&dst->st_mtim, &src->st_mtim) >= 0))
		*ret_action = TREE_MERGE_LEAVE;
	else
		*ret_action = TREE_MERGE_REPLACE;
	return 0;
}

int tree_merge_decide(enum tree_existing existing, int dir_fd, const char *name,
		      const struct stat *src, enum tree_merge_action *ret_action)
{
	struct stat dst;

	if (fstatat(dir_fd, name, &dst, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return negative_errno();
		*ret_action = TREE_MERGE_MAKE;
		return 0;
	}
	return tree_merge_judge(existing, src, &dst, ret_action);
}

void tree_merge_name(struct tree_job *tree, struct tree_merge_file *file)
{
	uint64_t number = __atomic_add_fetch(&tree->n_parts, 1, __ATOMIC_RELAXED);

	staging_part_name(tree->merge_name, number, file->temp);
}

int tree_merge_create(struct tree_job *tree, struct tree_merge_file *file, int dir_fd, int flags,
		      mode_t mode)
{
	int fd, r;

	file->temp[0] = '\0';
	fd = openat(dir_fd, ".", flags | O_TMPFILE | O_CLOEXEC, mode);
	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return negative_errno();
	/* The file system has none. */
	tree_merge_name(tree, file);
	fd = openat(dir_fd, file->temp, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd >= 0)
		return fd;
	r = negative_errno();
	file->temp[0] = '\0';
	return r;
}

static int link_fd(int fd, int dir_fd, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? negative_errno() : 0;
}

static int give_name(struct tree_job *tree, struct tree_merge_file *file, int dir_fd, int fd,
		     const char *name)
{
	int r;

	if (!file->temp[0]) {
		if (!file->replace)
			return link_fd(fd, dir_fd, name);
		tree_merge_name(tree, file);
		r = link_fd(fd, dir_fd, file->temp);
		if (r < 0) {
			file->temp[0] = '\0';
			return r;
		}
	}
	if (file->replace)
		r = renameat(dir_fd, file->temp, dir_fd, name) < 0 ? negative_errno() : 0;
	else
		r = staging_publish(dir_fd, file->temp, name);
	if (r == 0)
		file->temp[0] = '\0';
	return r;
}

int tree_merge_publish(struct tree_job *tree, struct tree_merge_file *file, int dir_fd, int fd,
		       const char *name)
{
	_cleanup_close_ int old = -1;
	int r;

	if (file->replace && tree->changed)
		old = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = give_name(tree, file, dir_fd, fd, name);
	if (r == 0)
		tree_changed(tree, dir_fd, name, old);
	return r;
}

void tree_merge_discard(struct tree_merge_file *file, int dir_fd)
{
	if (file->temp[0])
		(void)unlinkat(dir_fd, file->temp, 0); /* there is nothing else to be done */
	file->temp[0] = '\0';
}
