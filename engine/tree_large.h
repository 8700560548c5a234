/* SPDX-License-Identifier: MIT */
/*
 * tree_large.h - a regular file of a tree copy that is copied on its own, as regions (file_copy.h): a large
 * one, one with holes, one that is to be cloned, or the root of the copy.
 *
 * A bounded number is open (engine::large_open): a worker does not open a further one while regions of the last
 * wait for one, but what is copied on a server, or waits for an fsync, keeps no worker busy. When the bound is
 * reached, the tasks that open files wait, in their order, until half of them are closed.
 */
#ifndef ENGINE_TREE_LARGE_H
#define ENGINE_TREE_LARGE_H

#include <stdbool.h>
#include <stdint.h>

#include "tree_file.h"

struct task;
struct tree_batch;

/** Whether it is to be copied by tree_large_start(). */
bool tree_large_is_wanted(const struct tree_job *tree, const struct stat *st);

/** No file for which that is not so has more bytes. */
uint64_t tree_large_small_max(const struct tree_job *tree);

/** Whether @task, which would open more, is to wait: it is queued again. Else it goes on. */
bool tree_large_waits(struct tree_job *tree, struct task *task);

/** Takes @file over and copies it; @batch (or NULL: the root) is held meanwhile. -ENOMEM. */
int tree_large_start(struct tree_job *tree, struct tree_batch *batch, struct tree_file *file,
		     struct worker *worker);

#endif /* ENGINE_TREE_LARGE_H */
