/* SPDX-License-Identifier: MIT */
/*
 * metadata.h - owner, extended attributes, ACLs, mode and times of a copy.
 *
 * The order is fixed: owner (which clears setuid bits and capabilities), extended attributes (among
 * them ACLs and capabilities), mode, times. What an unprivileged user may not keep (another owner;
 * trusted.* and security.* attributes) is left out as cp -a does, and setuid and setgid bits go
 * with the owner; everything else that cannot be kept is an error.
 */
#ifndef ENGINE_METADATA_H
#define ENGINE_METADATA_H

#include <stdbool.h>
#include <sys/stat.h>

/* What is kept of a source without keeping it open. */
struct metadata {
	dev_t dev;
	ino_t ino;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec atime;
	struct timespec mtime;
};

struct metadata metadata_from_stat(const struct stat *st);

/** What the destination was made with: saves the calls that would change nothing. */
struct metadata_made {
	uid_t uid; /* -1: not known */
	gid_t gid;
	mode_t mode; /* permission bits; (mode_t)-1: not known */
};

/**
 * Regular files and directories, both open (not O_PATH). -errno; *ret_call names the system call
 * that failed.
 */
int metadata_copy_fd(int src_fd, int dst_fd, const struct metadata *source,
		     const struct metadata_made *made, const char **ret_call);

/**
 * Anything else (symbolic links, FIFOs, sockets, devices): the source by directory and name, which is
 * not followed, the copy by an O_PATH descriptor, so that it is not another one meanwhile.
 */
struct metadata_at {
	int src_dir;
	const char *src_name;
	int dst_fd;
};

int metadata_copy_at(const struct metadata_at *at, const struct metadata *source,
		     const struct metadata_made *made, const char **ret_call);

/** Takes the ACLs off that a file or directory just made has inherited from its directory. */
int metadata_drop_acls(int fd);
/** The same of a special file, O_PATH. */
int metadata_drop_acl_path(int fd);

#endif /* ENGINE_METADATA_H */
