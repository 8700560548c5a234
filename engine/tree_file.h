/* SPDX-License-Identifier: MIT */
/*
 * tree_file.h - one regular file of a tree copy: opened, made, given its metadata, accounted for.
 *
 * What is copied in between is done by a group (tree_group.h) for small files, and by tree_large.h for large
 * ones and those with holes.
 */
#ifndef ENGINE_TREE_FILE_H
#define ENGINE_TREE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "metadata.h"
#include "tree_merge.h"
#include "tree_verify.h"

struct tree_dir;
struct tree_job;
struct tree_link;
struct worker;

/* A regular file while it is copied. */
struct tree_file {
	const char *name; /* in the batch; NULL: the root of the copy */
	int src_fd;
	int dst_fd;
	struct stat st;
	unsigned flags;		/* inode_flags.h */
	struct tree_link *link; /* it is the first of several names; else NULL */
	int error;
	const char *call;
	bool anew;	 /* it is copied whatever other names it has */
	bool retried;	 /* this is the second attempt */
	bool inherits;	 /* it is made in a directory that was there */
	bool in_staging; /* made under its own name, among what is staged */
	bool settled;	 /* complete, with all its attributes */
	struct tree_merge_file merge;
};

/** Opens and looks at the source. -errno; tree_file::call says of what. */
int tree_file_open(struct tree_file *file, int src_dir);

/**
 * Makes the destination: under its name, which must not exist, or when merging without one. What says that it
 * is empty is copied at once, as far as it has contents all the same.
 */
int tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir, const char *name);

/**
 * The data is there: owner, attributes, mode and times. -EBUSY: the source has changed since it was
 * opened.
 */
int tree_file_settle(struct tree_file *file, const struct metadata_made *owner);

/** What @file is created with, as far as it matters to tree_file_settle(). */
struct metadata_made tree_file_owner(const struct tree_job *tree, const struct tree_file *file);

/** Whether verify=yes compares it: not what was made up while it was read, which may differ each time. */
bool tree_file_is_verified(const struct tree_job *tree, const struct tree_file *file);

/** From the beginning. */
struct tree_verify tree_file_verification(struct tree_job *tree, const struct tree_file *file);

/** What tree_verify.h has answered becomes the file's outcome. */
void tree_file_verified(struct tree_file *file, int r);

/** Whether its outcome is good enough for it to have its name. */
bool tree_file_is_kept(const struct tree_job *tree, const struct tree_file *file);

/** A source that has changed is to be copied again: empties the copy, looks at the source. */
int tree_file_restart(struct tree_job *tree, struct tree_file *file);

/**
 * tree_file::error is the outcome: gives the file its name or removes it, or queues it once more, closes
 * it, tells further links, and accounts for it in @dir (NULL: it is the root).
 */
void tree_file_finish(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		      struct worker *worker);

/** The source is a regular file: copies it to the staging name. Ends in tree_walked(). */
void tree_file_copy_root(struct tree_job *tree, struct worker *worker);

#endif /* ENGINE_TREE_FILE_H */
