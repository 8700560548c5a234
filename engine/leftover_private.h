/* SPDX-License-Identifier: MIT */
/*
 * leftover_private.h - the parts of leftovers.
 *
 *	leftover.c	  the state directory, the thread, notes of copies that are being made
 *	leftover_remove.c what one note tells of: found, checked and removed
 *	leftover_sweep.c  what a merge has left, anywhere below a directory
 *
 * leftovers::lock is a leaf.
 */
#ifndef ENGINE_LEFTOVER_PRIVATE_H
#define ENGINE_LEFTOVER_PRIVATE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arsync/leftover.h"
#include "note.h"

#define LEFTOVERS_LATE_MAX 16 /* notes that wait for their fsync, a descriptor each */

/* A note to be on stable storage when its copy takes long. */
struct leftovers_late {
	int fd; /* a duplicate */
	uint64_t due_ns;
};

struct leftovers {
	/* set once */
	const struct log *log;
	bool (*may_enter)(const char *path, void *userdata); /* or NULL */
	void *userdata;
	int state_fd;
	int root_fd;
	struct inode_identity root;
	char root_path[PATH_MAX];

	pthread_mutex_t lock;
	pthread_cond_t work; /* for the thread */
	pthread_cond_t removed;
	/* protected by lock */
	pthread_t thread;
	bool has_thread;
	bool to_remove; /* asked for, and not done */
	unsigned n_late;
	struct leftovers_late late[LEFTOVERS_LATE_MAX]; /* the first due first */

	/* atomic */
	bool stopping;
	bool warned;
};

struct cred_thread;

/**
 * Removes what a note tells of, as the copy's user. 1: the note is not needed any more; 0: it is for
 * another time, or another mount; -errno: it could not be removed now.
 */
int leftover_remove(struct leftovers *leftovers, struct cred_thread *thread,
		    const struct note_read *note);

/**
 * Opens a directory with O_PATH. -EXDEV: something is mounted there that leftovers::may_enter does not know;
 * -errno.
 */
int leftover_open_dir(const struct leftovers *leftovers, int at, const char *name);

/**
 * Removes every name of a merge (staging_is_part() of @name) below @dir_fd, as who the thread acts as; of
 * a user, only what belongs to them. No directory. -errno of what kept something from
 * being looked at or removed; -ECANCELED: told to stop.
 */
int leftover_sweep(struct leftovers *leftovers, int dir_fd, const char *name, uid_t uid);

/* For tree copies. No note is kept with NULL; without one, copies are made all the same. */

/**
 * Notes where a copy is going to grow. Its root is filled in here. The calling thread acts as the
 * process. ret->fd -1: there is no note.
 */
void leftovers_note(struct leftovers *leftovers, struct note_place *place, struct note *ret);

/** The copy has ended. @gone: with nothing left. The calling thread acts as the process. */
void leftovers_note_end(struct leftovers *leftovers, struct note *note, bool gone);

#endif /* ENGINE_LEFTOVER_PRIVATE_H */
