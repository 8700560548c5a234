/* SPDX-License-Identifier: MIT */
/*
 * staging.c - see staging.h.
 */
#include "staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "getdents.h"

int staging_name(char *name)
{
	uint64_t number;

	if (RETRY_EINTR(getrandom(&number, sizeof(number), 0)) != (ssize_t)sizeof(number))
		return negative_errno();
	(void)snprintf(name, NAME_MAX + 1, STAGING_PREFIX "%016" PRIx64, number);
	return 0;
}

int staging_publish(int dir_fd, const char *staging, const char *name)
{
	struct stat st;

	if (renameat2(dir_fd, staging, dir_fd, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return negative_errno();
	/* The file system has no RENAME_NOREPLACE. */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (errno != ENOENT)
		return negative_errno();
	return renameat(dir_fd, staging, dir_fd, name) < 0 ? negative_errno() : 0;
}

void staging_remover_init(struct staging_remover *remover, int parent_fd, const char *name)
{
	*remover = (struct staging_remover){ .parent_fd = parent_fd, .name = name, .dir_fd = -1 };
}

void staging_remover_destroy(struct staging_remover *remover)
{
	close_keep_errno(remover->dir_fd);
	for (unsigned i = 0; i < remover->depth; i++)
		free(remover->names[i]);
	free(remover->names);
}

static int push_name(struct staging_remover *remover, const char *name)
{
	char **names = remover->names;

	if (remover->depth == remover->n_names) {
		unsigned n = MAX(2 * remover->n_names, 16U);

		names = reallocarray(names, n, sizeof(char *));
		if (!names)
			return -ENOMEM;
		remover->names = names;
		remover->n_names = n;
	}
	names[remover->depth] = strdup(name);
	if (!names[remover->depth])
		return -ENOMEM;
	remover->depth++;
	return 0;
}

/*
 * Into the directory @name below @at. A directory that the copy has given its final mode already
 * may be closed.
 */
static int descend(struct staging_remover *remover, int at, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(at, name, flags);
	int r;

	if (fd >= 0 || errno == EACCES) {
		close_keep_errno(fd);
		if (fchmodat(at, name, 0700, 0) < 0)
			return negative_errno();
		fd = openat(at, name, flags);
	}
	if (fd < 0)
		return negative_errno();
	r = push_name(remover, name);
	if (r < 0) {
		close_keep_errno(fd);
		return r;
	}
	close_keep_errno(remover->dir_fd);
	remover->dir_fd = fd;
	return 0;
}

/* Out of the directory, which is empty, and away with it. 0: that was the root. */
static int ascend(struct staging_remover *remover)
{
	_cleanup_free_ char *name = remover->names[remover->depth - 1];
	_cleanup_close_ int below = TAKE_FD(remover->dir_fd);

	remover->depth--;
	if (remover->depth == 0)
		return unlinkat(remover->parent_fd, name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
	remover->dir_fd = openat(below, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (remover->dir_fd < 0)
		return negative_errno();
	return unlinkat(remover->dir_fd, name, AT_REMOVEDIR) < 0 ? negative_errno() : 1;
}

/* One entry. 1: it was a directory, and we are in it now; 0: removed. */
static int remove_entry(struct staging_remover *remover, const char *name, unsigned char type)
{
	int r;

	if (type != DT_DIR) {
		if (unlinkat(remover->dir_fd, name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno != EISDIR && errno != EPERM)
			return negative_errno();
	}
	r = descend(remover, remover->dir_fd, name);
	return r < 0 ? r : 1;
}

/* What a buffer tells of the current directory, as far as the budget goes. 1: go on; 0: all is gone. */
static int remove_chunk(struct staging_remover *remover, unsigned *budget)
{
	struct getdents list;
	const struct getdents_entry *entry;
	bool any = false;
	int r;

	r = getdents_read(&list, remover->dir_fd);
	if (r < 0)
		return r;
	while (*budget > 0 && (entry = getdents_next(&list))) {
		any = true;
		--*budget;
		r = remove_entry(remover, entry->name, entry->type);
		if (r != 0)
			return r;
	}
	if (!any)
		return ascend(remover);
	/* Removing moves what follows on some file systems: from the beginning, until nothing is left. */
	return lseek(remover->dir_fd, 0, SEEK_SET) < 0 ? negative_errno() : 1;
}

int staging_remove_some(struct staging_remover *remover, unsigned budget)
{
	int r;

	if (remover->dir_fd < 0) {
		if (unlinkat(remover->parent_fd, remover->name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno != EISDIR && errno != EPERM)
			return negative_errno();
		r = descend(remover, remover->parent_fd, remover->name);
		if (r < 0)
			return r;
	}
	do
		r = remove_chunk(remover, &budget);
	while (r == 1 && budget > 0);
	return r;
}
