/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.h - what /proc/self/mountinfo says about a mount (proc_pid_mountinfo(5)).
 *
 * Reading it touches no file system but procfs, so it may be asked about mounts that hang and about
 * our own, which must never be touched from inside.
 */
#ifndef ARSYNC_MOUNTINFO_H
#define ARSYNC_MOUNTINFO_H

#include <stdbool.h>
#include <sys/types.h>

struct mountinfo {
	int id;
	dev_t dev;     /* st_dev of files on it */
	char type[64]; /* "ext4", "fuse.arsyncfs"; cut off where longer */
};

/* @proc_fd: a directory descriptor of /proc. All return 0, -ENOENT (no such mount), or -errno. */

/**
 * The topmost mount whose mount point is exactly @path, which is absolute and free of symbolic
 * links.
 */
int mountinfo_find_path(int proc_fd, const char *path, struct mountinfo *ret);
int mountinfo_find_id(int proc_fd, int id, struct mountinfo *ret);

/** How many mounts show the file system @dev; negative: -errno. */
int mountinfo_count_device(int proc_fd, dev_t dev);

/**
 * Whether something is mounted upon mount @id at @path, above it or below it: 1 or 0; negative:
 * -errno. What is mounted upon that in turn lies below it. @path: as of mountinfo_find_path(), and
 * seen through this mount.
 */
int mountinfo_has_upon(int proc_fd, int id, const char *path);

/** A file system of this machine, which answers by itself. Others may be, too. */
bool mountinfo_is_local(const struct mountinfo *info);

/** "fuse", "fuseblk" or "fuse.something". */
bool mountinfo_is_fuse(const struct mountinfo *info);

#endif /* ARSYNC_MOUNTINFO_H */
