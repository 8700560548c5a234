/* SPDX-License-Identifier: MIT */
/*
 * tree_dir.h - a directory of a tree copy, in the source and in the copy.
 *
 * pending counts what keeps it from being finished: its own listing, each name handed to a batch,
 * each subdirectory. At 0 its owner, mode and times are set (its contents no longer change), and
 * its parent's count goes down. refs keep the struct itself: children need their parents' names,
 * hard links those of the first.
 */
#ifndef ENGINE_TREE_DIR_H
#define ENGINE_TREE_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "dispatcher.h"
#include "metadata.h"

struct tree_job;
struct worker;

struct tree_dir {
	/* set once */
	struct task task; /* lists the next entries */
	struct tree_job *tree;
	struct tree_dir *parent; /* a reference; NULL: the root */

	/* set by the first run of the task: tree_mkdir.h */
	bool made;
	bool existed;		  /* in the destination, before the copy: with tree_job::merging */
	bool opened_up;		  /* existed without what its owner needs to change it */
	mode_t old_mode;	  /* if opened_up */
	bool foreign;		  /* on another file system, with one_file_system: not listed */
	struct metadata metadata; /* of the source */
	dev_t dst_dev;
	ino_t dst_ino;

	int64_t position; /* the task only: where the listing goes on */
	bool retried;	  /* it has been looked at a second time */

	/* protected by tree_job::lock */
	unsigned refs;
	unsigned pending;
	unsigned users; /* of the descriptors: tree_open.h */
	int src_fd;	/* -1: not open */
	int dst_fd;
	TAILQ_ENTRY(tree_dir) idle_link; /* open and users == 0 */

	char name[]; /* set once */
};

/**
 * A directory to be copied; counts in its parent's pending. NULL: no memory. Then tree_push() its
 * task.
 */
struct tree_dir *tree_dir_new(struct tree_job *tree, struct tree_dir *parent, const char *name);

/** What things made in the directory have to begin with. */
struct metadata_made tree_dir_made(const struct tree_dir *dir);

struct tree_dir *tree_dir_ref(struct tree_dir *dir);
void tree_dir_unref(struct tree_dir *dir);

/** @n more things keep it from being finished. */
void tree_dir_add_pending(struct tree_dir *dir, unsigned n);
/**
 * @n of them are done. At 0 it is finished, and so may be those above it; the last one ends the
 * walk.
 */
void tree_dir_done(struct tree_dir *dir, unsigned n, struct worker *worker);

/** "a/b/c" below the root, with @name (or NULL) at the end. Malloc'd; NULL: no memory. */
char *tree_dir_path(const struct tree_dir *dir, const char *name);

#endif /* ENGINE_TREE_DIR_H */
