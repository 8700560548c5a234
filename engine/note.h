/* SPDX-License-Identifier: MIT */
/*
 * note.h - a file that says where a copy grows, as long as it does.
 *
 * Who makes the copy holds a lock on its note (flock(2)), which ends with the process however that
 * ends: a note that can be locked is of a copy that nobody makes any more. A note is made before what
 * it tells of, and removed after it. Its first part has a fixed size; the groups of the copy's user
 * and three strings follow.
 *
 * A note is written and read by one version of this program on one machine: another layout has
 * another magic number, and is not understood.
 */
#ifndef ENGINE_NOTE_H
#define ENGINE_NOTE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "arsync/cred.h"
#include "inode_identity.h"

#define NOTE_PREFIX "copy-"
#define NOTE_NAME_SIZE (sizeof(NOTE_PREFIX) + 16)
#define NOTE_BOOT_SIZE 40

/* The first part. */
struct note_head {
	uint64_t magic;
	uint32_t size; /* of the whole note */
	uint32_t uid;  /* who copies */
	uint32_t gid;
	uint32_t source_uid; /* whom the copy belongs to in the end, where that may be */
	uint32_t n_groups;
	uint32_t parts;			/* a merge: hidden names are anywhere below parent */
	uint32_t durable;		/* the copy is on stable storage before it takes its name */
	char boot[NOTE_BOOT_SIZE];	/* which start of the system */
	struct inode_identity root;	/* the directory that paths are relative to */
	struct inode_identity parent;	/* the directory of the copy */
	struct inode_identity made;	/* what grows under the staging name */
	struct inode_identity replaced; /* what it changes places with at the end */
};

/* What is known before anything is made. */
struct note_place {
	const struct cred *cred; /* NULL: the process's own */
	uid_t source_uid;
	bool durable;
	bool parts;
	bool at_once; /* the copy is brought to stable storage as it grows: the note has to be there first */
	struct inode_identity root;
	struct inode_identity parent;
	const char *root_path; /* absolute; "": not known */
	const char *below;     /* the directory of the copy, relative to the root; "": the root */
	const char *name;      /* the staging name, or what those of a merge begin with */
};

/* A copy's own note. fd -1: none. */
struct note {
	int fd;
	bool at_once;
	char name[NOTE_NAME_SIZE];
};

/** -errno; -EINVAL: the strings are too long. With note_place::at_once it is on stable storage then. */
int note_create(int state_fd, const struct note_place *place, struct note *ret);

/** Adds what has been made, or (@replaced) what it will change places with; as durably. -errno. */
int note_add(const struct note *note, int fd, bool replaced);

/** Removes it; what it told of is gone. Accepts none. */
void note_drop(int state_fd, struct note *note);

/** Gives up the lock only: the next one who looks takes care of it. */
void note_leave(struct note *note);

/* Somebody else's, of a copy that is not made any more; locked. */
struct note_read {
	int fd;
	char name[NOTE_NAME_SIZE];
	int64_t written; /* seconds since the epoch */
	struct note_head head;
	struct cred *cred;
	char root_path[PATH_MAX];
	char below[PATH_MAX];
	char staging[NAME_MAX + 1];
};

/**
 * Reads and locks a note. -EAGAIN: its copy is being made, or has just ended; -EBADMSG: it is none
 * that could be understood, but locked, to be dropped; -EPERM: it is not ours; -errno. On -EBADMSG
 * and 0 the caller calls note_read_destroy().
 */
int note_read(int state_fd, const char *name, struct note_read *ret);
/** Removes the note itself. */
void note_read_drop(int state_fd, struct note_read *note);
void note_read_destroy(struct note_read *note);

/** Whether the system has not been started anew since the note was written. */
bool note_is_of_this_boot(const struct note_head *head);

#endif /* ENGINE_NOTE_H */
