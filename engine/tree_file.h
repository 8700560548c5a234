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
	struct tree_link *link; /* it is the first of several names; else NULL */
	int error;
	const char *call;
};

/** Opens and looks at the source. -errno; tree_file::call says of what. */
int tree_file_open(struct tree_file *file, int src_dir);

/** Makes the destination, which must not exist. */
int tree_file_create(struct tree_file *file, int dst_dir, const char *name);

/** Owner, attributes, mode and times, when the data is there. */
int tree_file_set_metadata(struct tree_job *tree, struct tree_file *file);

/**
 * Everything was tried, tree_file::error is the outcome: closes the file, tells further links, and
 * accounts for it in @dir (NULL: it is the root).
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
