/* SPDX-License-Identifier: MIT */
/*
 * tree_merge.h - copying into a directory that exists: what is left as it is, what is replaced, and
 * how a name gets its new file in one step.
 *
 * A regular file grows without a name (O_TMPFILE) where the file system can do that, and gets one when
 * it is complete; everything else is made under a hidden name and renamed. So that whoever looks sees the
 * old file or the new one, and a crash leaves the old one.
 *
 * Who uses DEST while a file is copied may write to what is to be replaced: it is decided again when the copy
 * is complete (tree_file.c, tree_publish.c). What is written between that look and the rename is lost.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef ENGINE_TREE_MERGE_H
#define ENGINE_TREE_MERGE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "arsync/engine.h"
#include "staging.h"

struct tree_job;

enum tree_merge_action {
	TREE_MERGE_MAKE,      /* there is nothing of that name */
	TREE_MERGE_REPLACE,   /* there is something else */
	TREE_MERGE_UNCHANGED, /* it is taken for the same: size and time of modification */
	TREE_MERGE_LEAVE,     /* it may differ, and is not to be touched */
};

/** What becomes of @dst, for a source with @src. -EISDIR: a directory is in the way; -ENOTDIR: none is. */
int tree_merge_judge(enum tree_existing existing, const struct stat *src, const struct stat *dst,
		     enum tree_merge_action *ret_action);

/** What becomes of @name in @dir_fd: tree_merge_judge(), or there is nothing. -errno of fstatat(2). */
int tree_merge_decide(enum tree_existing existing, int dir_fd, const char *name,
		      const struct stat *src, enum tree_merge_action *ret_action);

/* A file that has no place yet. */
struct tree_merge_file {
	bool replace;		      /* something is there that gives way */
	char temp[STAGING_PART_SIZE]; /* its hidden name; "": none */
};

/** Creates a regular file. Answers the descriptor or -errno. */
int tree_merge_create(struct tree_job *tree, struct tree_merge_file *file, int dir_fd, int flags,
		      mode_t mode);

/** A hidden name to make something under: a part of the job's, by which it is found after a crash. */
void tree_merge_name(struct tree_job *tree, struct tree_merge_file *file);

/** Gives the complete file its name, and says so. @fd: the regular file's; -1: something else. */
int tree_merge_publish(struct tree_job *tree, struct tree_merge_file *file, int dir_fd, int fd,
		       const char *name);

/** Removes what was made, if it has a name. */
void tree_merge_discard(struct tree_merge_file *file, int dir_fd);

#endif /* ENGINE_TREE_MERGE_H */
