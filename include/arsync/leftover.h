/* SPDX-License-Identifier: MIT */
/*
 * leftover.h - what a copy leaves that could not end: the process was killed, or the power failed.
 *
 * A tree copy grows under a hidden name. With leftovers, it notes where, in a file of a state
 * directory, until it has its own name or is removed. After a crash the notes are left, and tell what
 * is to be removed:
 *
 *	leftovers_open(&spec, &leftovers);	// finds the state directory
 *	leftovers_remove(leftovers);		// in the background: what crashed copies have left
 *	... tree_spec::leftovers = leftovers ...
 *	leftovers_free(leftovers);		// when the jobs have ended
 *
 * Removed is only what has the noted name in the noted directory and is the very inode that the copy
 * has made (file handle, time of birth, owner), and only when no living process has the note locked.
 * That is done with the rights of the copy's user, below the root, without following symbolic links
 * and without entering other mounts but those that the caller knows. What cannot be found now, because
 * its file system is not mounted, is looked for the next time.
 *
 * Threads: any, but leftovers_free(). One thread of its own, started when needed.
 */
#ifndef ARSYNC_LEFTOVER_H
#define ARSYNC_LEFTOVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "arsync/log.h"

struct leftovers;

struct leftovers_spec {
	/*
	 * Made where it does not exist. NULL: $STATE_DIRECTORY, else for root /var/lib/arsyncfs, for
	 * others $XDG_STATE_HOME/arsyncfs or ~/.local/state/arsyncfs.
	 */
	const char *state_dir;
	int root_fd; /* directory that everything lies below; O_PATH is enough; duplicated */
	const char *root_path; /* absolute, for notes whose root is another directory; copied */
	/*
	 * Whether what is mounted at @path may be entered: it is there, and answers without anybody
	 * else's help. On the thread of its own, which acts as the copy's user. NULL: nothing may.
	 */
	bool (*may_enter)(const char *path, void *userdata);
	void *userdata;
	const struct log *log; /* borrowed; may be NULL */
};

/**
 * -ENOENT: there is no place for a state directory; -EPERM: others may write to it; -ENOMEM; -errno.
 * The state directory must not lie below the caller's own mount.
 */
int leftovers_open(const struct leftovers_spec *spec, struct leftovers **ret);

/** Starts removing. -errno of pthread_create(3). */
int leftovers_remove(struct leftovers *leftovers);

/** Waits until what leftovers_remove() has found is removed, or was given up. False: not in time. */
bool leftovers_wait(struct leftovers *leftovers, unsigned timeout_ms);

/** Stops removing; the rest is for the next time. Accepts NULL. */
void leftovers_free(struct leftovers *leftovers);

#endif /* ARSYNC_LEFTOVER_H */
