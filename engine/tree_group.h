/* SPDX-License-Identifier: MIT */
/*
 * tree_group.h - small files that are copied together: one buffer, one submission.
 *
 *	filled --tree_group_start--> copying --last file--> metadata --(fsync=file)--> syncing, freed
 *
 * Thread: the worker that made it.
 */
#ifndef ENGINE_TREE_GROUP_H
#define ENGINE_TREE_GROUP_H

#include <stdbool.h>

struct tree_batch;
struct tree_file;
struct tree_group;
struct worker;

/** An empty group with a buffer of @worker's; holds @batch. NULL: no memory. */
struct tree_group *tree_group_new(struct tree_batch *batch, struct worker *worker);

/** Takes over a file that is open on both sides and not large. The group is not full. */
void tree_group_add(struct tree_group *group, const struct tree_file *file);
bool tree_group_is_full(const struct tree_group *group);

/** Copies what it has, finishes each file, and frees itself; an empty one at once. */
void tree_group_start(struct tree_group *group);

#endif /* ENGINE_TREE_GROUP_H */
