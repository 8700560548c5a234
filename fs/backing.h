/* SPDX-License-Identifier: MIT */
/*
 * backing.h - the directory tree below: its mounts, its devices, and the identity of its files.
 *
 * A file is identified by the mount that it is reached through and its file handle
 * (name_to_handle_at(2)), which holds a generation: a deleted file's successor in the same inode is
 * another file. Where a file system has no handles, device, inode number and birth time stand in.
 *
 * Threads: everything after backing_open() may be called from any thread. Mounts and devices are
 * only ever added, and read without a lock. A mount seen once stays referenced until
 * backing_close().
 */
#ifndef ARSYNCFS_BACKING_H
#define ARSYNCFS_BACKING_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "arsync/log.h"

#define BACKING_MOUNTS_MAX 1024
#define BACKING_DEVICES_MAX 1024
#define BACKING_KEY_MAX MAX_HANDLE_SZ

struct backing_mount {
	int id;		   /* as statx(2) and name_to_handle_at(2) know it */
	int fd;		   /* for open_by_handle_at(2), or only to hold the mount */
	bool by_handle;	   /* open_by_handle_at(2) works on it */
	bool safe_close;   /* close(2) reports nothing that write(2) and fsync(2) did not */
	bool counts_reads; /* each listing of a directory sets its access time */
};

struct backing {
	/* Set once. */
	int root_fd;
	int tree_fd;  /* holds a private mount of it, or -1: see atime.h */
	int proc_fd;  /* O_PATH, opened before anything can be mounted over it */
	int self_fds; /* /proc/self/fd of the process that serves: see backing_enter_process() */
	bool never_by_handle; /* a debugging and test aid */
	const struct log *log;
	/* Set before the first request. 0: not mounted. */
	dev_t own_dev;
	/* Appended under the lock; entries below the counters never change. */
	pthread_mutex_t lock;
	atomic_uint n_mounts;
	atomic_uint n_devices;
	struct backing_mount mounts[BACKING_MOUNTS_MAX];
	dev_t devices[BACKING_DEVICES_MAX]; /* the first is the root's */
};

/* What makes a file the same file. */
struct backing_key {
	const struct backing_mount *mount;
	int type;      /* of the handle; BACKING_KEY_NO_HANDLE */
	unsigned size; /* of bytes */
	unsigned char bytes[BACKING_KEY_MAX];
};

#define BACKING_KEY_NO_HANDLE (-1)

/**
 * Prepares @backing for the directory @path. On failure nothing is left to close. -errno of
 * open(2).
 */
int backing_open(struct backing *backing, const char *path, const struct log *log);
void backing_close(struct backing *backing);

/**
 * Makes /proc/self/fd usable in this process (after fork(2) it is another directory) and its
 * working directory: getxattr(2) has no *at variant, and takes names relative to it.
 */
int backing_enter_process(struct backing *backing);

/**
 * Who is @fd, which may be O_PATH? Touches no file system that is our own: -ELOOP for its files.
 * -ENFILE: more than BACKING_MOUNTS_MAX mounts.
 */
int backing_identify(struct backing *backing, int fd, struct backing_key *ret);
/** The same by any thread, also one that acts for a user. -ENOENT: on a mount that nobody has come to yet. */
int backing_identify_known(struct backing *backing, int fd, struct backing_key *ret);
bool backing_key_equal(const struct backing_key *a, const struct backing_key *b);

/** statx(2) of @fd, which may be O_PATH: basic attributes and birth time. */
int backing_stat(int fd, struct statx *ret);

/**
 * Rewrites what must be unique in the mount (stx_ino) and drops what is the backing's own affair.
 */
void backing_translate(struct backing *backing, struct statx *stx);
void backing_to_stat(const struct statx *stx, struct stat *ret);

/**
 * The number under which inode @ino of @dev is known in the mount. A FUSE mount has one device, the
 * tree below may have several (mounts, btrfs subvolumes), and two files with one number look like
 * hard links. Files of the root's device keep theirs; for others the device's place in the list is
 * mixed into the upper 16 bits, which is unambiguous as long as inode numbers stay below 2^48.
 */
ino_t backing_ino(struct backing *backing, dev_t dev, ino_t ino);

/**
 * Opens the file of @key by its handle. -ESTALE: it is gone; -EOPNOTSUPP: not by handle. Returns an
 * fd. What @flags of open(2) say about names does not count, here and below.
 */
int backing_open_key(const struct backing_key *key, int flags);

/** Opens anew what @fd refers to, also when that is O_PATH. Returns an fd or -errno. */
int backing_reopen(const struct backing *backing, int fd, int flags);

/**
 * A name for @fd relative to backing::self_fds and to the working directory; following it leads to
 * the very file.
 */
#define BACKING_FD_NAME_MAX 16
const char *backing_fd_name(int fd, char name[BACKING_FD_NAME_MAX]);

/** Whether each reading of a symbolic link sets its access time; mounts below are not looked at. */
bool backing_counts_links(const struct backing *backing);

/**
 * Whether copies of files are below one more layer of stacked file systems (overlayfs, ecryptfs).
 */
bool backing_is_stacked(const struct backing *backing);

#endif /* ARSYNCFS_BACKING_H */
