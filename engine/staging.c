/* SPDX-License-Identifier: MIT */
/*
 * staging.c - see staging.h.
 */
#include "staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "arsync/base.h"
#include "getdents.h"
#include "inode_flags.h"

/* A directory that the removal is in. */
struct staging_level {
	char *name;
	dev_t dev;
	ino_t ino;
};

static int make_name(const char *prefix, char *name)
{
	uint64_t number;

	if (RETRY_EINTR(getrandom(&number, sizeof(number), 0)) != (ssize_t)sizeof(number))
		return negative_errno();
	(void)snprintf(name, STAGING_NAME_SIZE, "%s%016" PRIx64, prefix, number); /* fits */
	return 0;
}

int staging_name(char *name)
{
	return make_name(STAGING_PREFIX, name);
}

void staging_part_name(const char *name, uint64_t number, char *ret)
{
	(void)snprintf(ret, STAGING_PART_SIZE, "%s-%016" PRIx64, name, number); /* fits */
}

bool staging_is_part(const char *part, const char *name)
{
	size_t size = strlen(name);

	return strncmp(part, name, size) == 0 && part[size] == '-' &&
	       strlen(part + size + 1) == STAGING_DIGITS &&
	       strspn(part + size + 1, "0123456789abcdef") == STAGING_DIGITS;
}

int staging_name_aside(char *name)
{
	return make_name(STAGING_PREFIX_ASIDE, name);
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

int staging_exchange(int dir_fd, const char *one, const char *other)
{
	return renameat2(dir_fd, one, dir_fd, other, RENAME_EXCHANGE) < 0 ? negative_errno() : 0;
}

void staging_remover_init(struct staging_remover *remover, int parent_fd, const char *name)
{
	*remover = (struct staging_remover){ .parent_fd = parent_fd, .name = name, .dir_fd = -1 };
}

void staging_remover_expect(struct staging_remover *remover, dev_t dev, ino_t ino)
{
	remover->root_dev = dev;
	remover->root_ino = ino;
}

void staging_remover_destroy(struct staging_remover *remover)
{
	close_keep_errno(remover->dir_fd);
	for (unsigned i = 0; i < remover->depth; i++)
		free(remover->levels[i].name);
	free(remover->levels);
}

static int push_level(struct staging_remover *remover, const char *name, const struct stat *st)
{
	struct staging_level *levels = remover->levels;

	if (remover->depth == remover->n_levels) {
		unsigned n = MAX(2 * remover->n_levels, 16U);

		levels = reallocarray(levels, n, sizeof(*levels));
		if (!levels)
			return -ENOMEM;
		remover->levels = levels;
		remover->n_levels = n;
	}
	levels[remover->depth] = (struct staging_level){ strdup(name), st->st_dev, st->st_ino };
	if (!levels[remover->depth].name)
		return -ENOMEM;
	remover->depth++;
	return 0;
}

/* Whether it was one of its flags that kept a file from being removed, and it is removed now. */
static bool unlock_and_remove(const struct staging_remover *remover, int dir_fd, const char *name)
{
	_cleanup_close_ int fd = -1;

	return remover->unlock && inode_flags_unlock_at(dir_fd, name, &fd) != 0 &&
	       unlinkat(dir_fd, name, 0) == 0;
}

int staging_open_same_mount(int at, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_PATH | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_NO_XDEV | RESOLVE_BENEATH,
	};
	long fd = syscall(SYS_openat2, at, name, &how, sizeof(how)); /* glibc has no wrapper */

	/* Where there is no openat2(2), another device has to do. */
	if (fd < 0 && errno == ENOSYS)
		fd = openat(at, name, (int)how.flags);
	return fd < 0 ? negative_errno() : (int)fd;
}

/*
 * Whether @st is the root that is expected; below it, whether it is on the root's device. Checked
 * before anything is done to it.
 */
static bool is_expected(const struct staging_remover *remover, const struct stat *st)
{
	if (remover->depth > 0)
		return st->st_dev == remover->root_dev;
	return st->st_dev == remover->root_dev && st->st_ino == remover->root_ino;
}

/* A directory that is append-only or immutable. Only root has made such, who needs no mode to open it. */
static void unlock_dir(int path)
{
	_cleanup_close_ int fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)inode_flags_unlock(fd); /* mostly there are none */
}

/* Opens a directory; one that has its final mode already may be closed to us, and is opened up. */
static int open_up(const struct staging_remover *remover, int at, const char *name,
		   struct stat *ret_st)
{
	_cleanup_close_ int path = staging_open_same_mount(at, name, O_DIRECTORY);
	char link[64];
	int fd;

	if (path < 0)
		return path;
	if (fstat(path, ret_st) < 0)
		return negative_errno();
	if (!is_expected(remover, ret_st))
		return remover->depth > 0 ? -EXDEV : -ESTALE;
	if (remover->unlock)
		unlock_dir(path);
	if ((ret_st->st_mode & 0700) != 0700) {
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d",
			       path); /* the very directory */
		if (chmod(link, 0700) < 0)
			return negative_errno();
	}
	fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? negative_errno() : fd;
}

/* Into the directory @name below @at. */
static int descend(struct staging_remover *remover, int at, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	fd = open_up(remover, at, name, &st);
	if (fd < 0)
		return fd;
	r = push_level(remover, name, &st);
	if (r < 0)
		return r;
	close_keep_errno(remover->dir_fd);
	remover->dir_fd = TAKE_FD(fd);
	return 0;
}

/* Out of the directory, which is empty, and away with it. 0: that was the root. */
static int ascend(struct staging_remover *remover)
{
	struct staging_level left = remover->levels[--remover->depth];
	_cleanup_free_ char *name = left.name;
	_cleanup_close_ int below = TAKE_FD(remover->dir_fd);
	const struct staging_level *above;
	struct stat st;

	if (remover->depth == 0)
		return unlinkat(remover->parent_fd, name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
	above = &remover->levels[remover->depth - 1];
	remover->dir_fd = openat(below, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (remover->dir_fd < 0 || fstat(remover->dir_fd, &st) < 0)
		return negative_errno();
	if (st.st_dev != above->dev || st.st_ino != above->ino)
		return -ESTALE; /* somebody has moved what we are in */
	return unlinkat(remover->dir_fd, name, AT_REMOVEDIR) < 0 ? negative_errno() : 1;
}

/* One entry. 1: it was a directory, and we are in it now; 0: removed. */
static int remove_entry(struct staging_remover *remover, const char *name, unsigned char type)
{
	int r = 0;

	if (type != DT_DIR) {
		if (unlinkat(remover->dir_fd, name, 0) == 0 || errno == ENOENT)
			return 0;
		r = negative_errno();
		if (r != -EISDIR && r != -EPERM)
			return r;
		if (r == -EPERM && unlock_and_remove(remover, remover->dir_fd, name))
			return 0;
	}
	/* EPERM: a directory whose type the listing did not tell, or a file that is not to be removed. */
	if (r == -EPERM && type != DT_UNKNOWN)
		return r;
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

/* The root. 1: it is a directory, and we are in it now; 0: it is gone. */
static int begin(struct staging_remover *remover)
{
	struct stat st;
	int r;

	if (fstatat(remover->parent_fd, remover->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : negative_errno();
	if (!is_expected(remover, &st))
		return -ESTALE;
	if (!S_ISDIR(st.st_mode)) {
		if (unlinkat(remover->parent_fd, remover->name, 0) == 0 || errno == ENOENT ||
		    (errno == EPERM &&
		     unlock_and_remove(remover, remover->parent_fd, remover->name)))
			return 0;
		return negative_errno();
	}
	r = descend(remover, remover->parent_fd, remover->name);
	return r < 0 ? r : 1;
}

int staging_remove_some(struct staging_remover *remover, unsigned budget)
{
	int r;

	if (remover->dir_fd < 0) {
		r = begin(remover);
		if (r <= 0)
			return r;
	}
	do
		r = remove_chunk(remover, &budget);
	while (r == 1 && budget > 0);
	return r;
}
