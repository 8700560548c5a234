/* SPDX-License-Identifier: MIT */
/*
 * tree_batch.h - names of one directory that a worker copies one after the other.
 *
 * A batch is a task: up to TREE_BATCH_NAMES names. A worker opens its small files until its buffer or
 * the group is full, starts them all at once, and queues the batch again for the names that are left.
 * Large files become file copies; symbolic links and special files are made at once.
 */
#ifndef ENGINE_TREE_BATCH_H
#define ENGINE_TREE_BATCH_H

struct task;
struct tree_batch;
struct tree_dir;
struct worker;

/* Besides DT_*, which is DT_UNKNOWN then: */
#define TREE_COPY_ANEW 0x80 /* to be copied even if it has other links */
#define TREE_RETRIED 0x40   /* the second attempt */

/**
 * Adds a name to *batch (NULL: a new one), pushing the batch when it is full. Counts in @dir's
 * pending. @type: DT_*, TREE_*. -ENOMEM.
 */
int tree_batch_add(struct tree_dir *dir, struct tree_batch **batch, const char *name,
		   unsigned char type, struct worker *worker);

/** What to tree_push() when there are no more names to add. */
struct task *tree_batch_task(struct tree_batch *batch);

/** Any thread. The names stay as long as there is a reference; the task has one. */
void tree_batch_ref(struct tree_batch *batch);
/** Accepts NULL. */
void tree_batch_unref(struct tree_batch *batch);
struct tree_dir *tree_batch_dir(const struct tree_batch *batch);

#endif /* ENGINE_TREE_BATCH_H */
