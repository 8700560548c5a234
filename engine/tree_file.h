/* SPDX-License-Identifier: MIT */
/*
 * tree_file.h - what is in a directory of a tree copy: batches of names, groups of small files,
 * large files.
 *
 * A batch is a task: up to TREE_BATCH_NAMES names of one directory. A worker opens its small files
 * until its buffer or the group is full, starts them all at once (one io_uring_enter for the lot),
 * and when the last is written sets what belongs to them and closes them. Names that are left are a
 * task again.
 */
#ifndef ENGINE_TREE_FILE_H
#define ENGINE_TREE_FILE_H

#include <sys/stat.h>

struct task;
struct tree_batch;
struct tree_dir;
struct tree_file;
struct worker;

/**
 * Adds a name to *batch (NULL: a new one), pushing the batch when it is full. @type: DT_*. -ENOMEM.
 */
int tree_batch_add(struct tree_dir *dir, struct tree_batch **batch, const char *name,
		   unsigned char type, struct worker *worker);

/**
 * The type for tree_batch_add() of a regular file that is to be copied even if it has other links.
 */
#define TREE_COPY_ANEW 255

struct task *tree_batch_task(struct tree_batch *batch);

/**
 * The root of a tree copy that is a regular file: copies it to the staging name. Ends in
 * tree_walked().
 */
struct tree_job;
void tree_file_copy_root(struct tree_job *tree, struct worker *worker);

#endif /* ENGINE_TREE_FILE_H */
