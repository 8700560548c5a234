/* SPDX-License-Identifier: MIT */
/*
 * tree_file.h - one regular file of a tree copy: opened, made, given its metadata, accounted for.
 *
 * What is copied in between is done by a group (tree_group.h) for small files, and here, as a file
 * copy, for large ones and those with holes.
 */
#ifndef ENGINE_TREE_FILE_H
#define ENGINE_TREE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "metadata.h"
#include "tree_merge.h"

struct tree_batch;
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

/** Makes the destination: under its name, which must not exist, or when merging without one. */
int tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir, const char *name);

/**
 * The data is there: owner, attributes, mode and times. -EBUSY: the source has changed since it was
 * opened.
 */
int tree_file_settle(struct tree_file *file, const struct metadata_made *owner);

/** What @file is created with, as far as it matters to tree_file_settle(). */
struct metadata_made tree_file_owner(const struct tree_job *tree, const struct tree_file *file);

/** What tree_verify.h has answered becomes the file's outcome. */
void tree_file_verified(struct tree_file *file, int r);

/** A source that has changed is to be copied again: empties the copy, looks at the source. */
int tree_file_restart(struct tree_job *tree, struct tree_file *file);

/**
 * tree_file::error is the outcome: gives the file its name or removes it, or queues it once more, closes
 * it, tells further links, and accounts for it in @dir (NULL: it is the root).
 */
void tree_file_finish(struct tree_job *tree, struct tree_dir *dir, struct tree_file *file,
		      struct worker *worker);

/** Whether it is to be copied by tree_file_start_large(). */
bool tree_file_is_large(const struct tree_job *tree, const struct stat *st);

/** No file that is not large has more bytes. */
uint64_t tree_file_small_max(const struct tree_job *tree);

/** Takes @file over and copies it; @batch (or NULL: the root) is held meanwhile. -ENOMEM. */
int tree_file_start_large(struct tree_job *tree, struct tree_batch *batch, struct tree_file *file,
			  struct worker *worker);

/** The source is a regular file: copies it to the staging name. Ends in tree_walked(). */
void tree_file_copy_root(struct tree_job *tree, struct worker *worker);

#endif /* ENGINE_TREE_FILE_H */
