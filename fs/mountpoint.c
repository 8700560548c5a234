/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.c - /dev/fuse, dead and occupied mount points, and a mount point inside the backing.
 *
 * Nothing is asked of a file system that may be a mount without a daemon: mountinfo is read first.
 */
#include "mountpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arsync/base.h"
#include "arsync/mountinfo.h"

#define DEPTH_MAX PATH_MAX

static int check_device(const struct log *log)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int r;

	if (fd >= 0)
		return 0;
	r = negative_errno();
	if (r == -ENOENT || r == -ENODEV || r == -ENXIO)
		log_error(log, "/dev/fuse is missing: load the kernel module fuse (modprobe fuse)");
	else
		log_error(log, "cannot open /dev/fuse: %s", strerror(-r));
	return r;
}

/* realpath(3) asks a dead mount nothing but what the kernel itself answers. */
static int canonicalize(const char *path, const struct log *log, char **ret)
{
	char *canonical = realpath(path, NULL);
	int r;

	if (canonical) {
		*ret = canonical;
		return 0;
	}
	r = negative_errno();
	if (r == -ENOTCONN)
		log_error(log,
			  "%s is a mount whose daemon is gone: unmount it with fusermount3 -u %s",
			  path, path);
	else
		log_error(log, "mount point %s: %s", path, strerror(-r));
	return r;
}

static int check_occupied(const struct backing *backing, const char *path, const struct log *log)
{
	struct mountinfo info;
	int r = mountinfo_find_path(backing->proc_fd, path, &info);

	if (r == -ENOENT)
		return 0;
	if (r < 0) {
		log_error(log, "cannot read /proc/self/mountinfo: %s", strerror(-r));
		return r;
	}
	if (!mountinfo_is_fuse(&info))
		return 0;
	log_error(log, "%s is a %s mount already, alive or left behind: fusermount3 -u %s ends it",
		  path, info.type, path);
	return -EBUSY;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Climbs from @fd, a directory, to /. 1: an ancestor is the backing's root. Takes ownership of @fd.
 */
static int climb(int fd, const struct stat *backing)
{
	struct stat here, up;

	if (fstat(fd, &here) < 0)
		goto fail;
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (parent < 0 || fstat(parent, &up) < 0) {
			close_keep_errno(parent);
			goto fail;
		}
		close_keep_errno(fd);
		fd = parent;
		if (same_file(&here, &up))
			break; /* the root directory is its own parent */
		if (same_file(&up, backing)) {
			close_keep_errno(fd);
			return 1;
		}
		here = up;
	}
	close_keep_errno(fd);
	return 0;
fail:
	close_keep_errno(fd);
	return negative_errno();
}

/* The mount must not appear inside what it shows: the daemon would walk into itself. */
static int check_nesting(const struct backing *backing, const char *path, const struct log *log)
{
	struct stat st;
	int fd;
	int r;

	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		r = negative_errno();
		log_error(log, "mount point %s: %s", path, strerror(-r));
		return r;
	}
	if (fstat(backing->root_fd, &st) < 0) {
		close_keep_errno(fd);
		r = negative_errno();
		log_error(log, "cannot look at the backing directory: %s", strerror(-r));
		return r;
	}
	r = climb(fd, &st);
	if (r < 0)
		log_error(log, "cannot find out where mount point %s lies: %s", path, strerror(-r));
	if (r <= 0)
		return r;
	log_error(log,
		  "mount point %s lies inside the backing directory: mount elsewhere, or over the "
		  "backing directory itself",
		  path);
	return -ELOOP;
}

int mountpoint_check(const struct backing *backing, const char *path, const struct log *log,
		     char **ret_canonical)
{
	_cleanup_free_ char *canonical = NULL;
	int r;

	r = check_device(log);
	if (r < 0)
		return r;
	r = canonicalize(path, log, &canonical);
	if (r < 0)
		return r;
	r = check_occupied(backing, canonical, log);
	if (r < 0)
		return r;
	r = check_nesting(backing, canonical, log);
	if (r < 0)
		return r;
	*ret_canonical = TAKE_PTR(canonical);
	return 0;
}
