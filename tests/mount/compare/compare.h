/* SPDX-License-Identifier: MIT */
/*
 * compare.h - the same calls in a directory of the mount and in a raw one, and what came of them.
 *
 * A group is a function that makes system calls relative to its working directory and writes down what
 * they returned. It runs twice, each time in a process of its own: in a raw directory, then in one of the
 * mount. The two transcripts must be equal, line by line, and so must listings of everything that the
 * groups left behind, the mount's as the mount and as the backing directory show it.
 *
 * So nothing may be written down that differs by nature: numbers of inodes and descriptors, times of
 * day. Groups write relations instead ("mtime moved", "same inode").
 *
 * What is known to differ and therefore not compared:
 *  - FICLONE and fallocate() modes other than KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE: the kernel's FUSE
 *    refuses them itself;
 *  - setuid and setgid bits that a file got while it was open with kernel passthrough: then writes of root
 *    take them away, too;
 *  - O_APPEND and O_DIRECT that a file was opened with and lost by F_SETFL: with kernel passthrough the
 *    backing file keeps them (fuse_passthrough_open() in fs/fuse/passthrough.c);
 *  - copy_file_range() of odd ranges with O_DIRECT, which the mount does nevertheless;
 *  - F_SETFL of append-only files (chattr(1)), of which the kernel's FUSE knows nothing;
 *  - RWF_NOWAIT, FIEMAP and SEEK_DATA on directories, which the kernel's FUSE answers itself;
 *  - when a file counts as closed that is still mapped: with passthrough the mapping is the backing file's;
 *  - offsets beyond what the backing file system can seek to;
 *  - files that are unlinked and held by nothing but an O_PATH descriptor.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#define TRANSCRIPT_MAX (8 * 1024 * 1024)
#define USER_UID 4321 /* somebody */
#define USER_GID 4322
#define OTHER_UID 4323 /* somebody else */
#define OTHER_GID 4324

/* In memory that all processes of a comparison share. */
struct transcript {
	size_t used;
	char text[TRANSCRIPT_MAX];
};

/* One of the two runs of a group. */
struct side {
	struct transcript *out;
	bool raw;	   /* not the mount */
	bool exact_blocks; /* the file system allocates nothing in advance: compare st_blocks */
	bool passthrough; /* the kernel reads and writes files of the mount directly, where it can */
	bool old_attributes; /* it keeps them for an hour */
	const char *behind;  /* the group's directory without the mount */
	uint64_t seed;	     /* of random calls; the same on both sides */
};

struct call_group {
	const char *name;
	void (*run)(struct side *side);
};

/** Adds a line. */
__attribute__((format(printf, 2, 3))) void say(struct side *side, const char *format, ...);

/** Writes down a call and its result, "open(...) = -1 ENOENT". Returns @result. */
long say_result(struct side *side, const char *call, long result);
/** The same without the number, where that is a descriptor. */
int say_fd(struct side *side, const char *call, long result);

#define CALL(side, call)                                                                           \
	say_result(side, #call, ({                                                                 \
			   errno = 0;                                                              \
			   (long)(call);                                                           \
		   }))
#define CALL_FD(side, call)                                                                        \
	say_fd(side, #call, ({                                                                     \
		       errno = 0;                                                                  \
		       (long)(call);                                                               \
	       }))

/** Type, mode, links, owner, size, device: what lstat(2) says, and the content or target. */
void show(struct side *side, const char *path);
/** The same of an open file, without content. */
void show_fd(struct side *side, int fd);
/** show() of everything below, sorted by name, with all extended attributes. */
void show_tree(struct side *side, const char *directory);
/** All extended attributes, sorted by name. */
void show_xattrs(struct side *side, const char *path);
/** How much of a file is allocated: exactly, or whether it is sparse. Writes it to storage first. */
void show_blocks(struct side *side, const char *path);

/** Writes down that a copy is sparse, which the mount must keep, and the raw file system may. */
void show_holes_kept(struct side *side, const char *path);

/** Makes a file of @size bytes of a known pattern. */
void make_file(struct side *side, const char *path, size_t size);
/** The same with a text. */
void make_text(struct side *side, const char *path, const char *text);
/** Byte @offset of the pattern. */
unsigned char pattern(uint64_t offset);

/** Sleeps long enough that a file system sees another time. */
void let_time_pass(void);

struct moments {
	struct timespec atime, mtime, ctime;
};

struct moments moments_of(const char *path);
/** Which times are not those of @before. */
void show_moved(struct side *side, const char *path, const struct moments *before);

/** Runs @run in a process with these ids and no other groups, or with @group as well. */
void as_user(struct side *side, uid_t uid, gid_t gid, gid_t group, void (*run)(struct side *));
#define NO_GROUP ((gid_t)-1)

extern const struct call_group groups_attr[];
extern const struct call_group groups_calls[];
extern const struct call_group groups_copy[];
extern const struct call_group groups_data[];
extern const struct call_group groups_dir[];
extern const struct call_group groups_flags[];
extern const struct call_group groups_lock[];
extern const struct call_group groups_matrix[];
extern const struct call_group groups_name[];
extern const struct call_group groups_open[];
extern const struct call_group groups_random[];
extern const struct call_group groups_setid[];
extern const struct call_group groups_times[];
extern const struct call_group groups_user[];
extern const struct call_group groups_xattr[];

#endif /* COMPARE_H */
