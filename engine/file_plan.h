/* SPDX-License-Identifier: MIT */
/*
 * file_plan.h - what is looked at before a file copy, and before each of its regions: sizes, what
 * can be cloned, holes, space in the destination, the route. All of it may call the file system.
 *
 * Thread: the worker that plans the copy, as the identity of its job, with no lock held.
 */
#ifndef ENGINE_FILE_PLAN_H
#define ENGINE_FILE_PLAN_H

#include "file_copy.h"

/**
 * Looks at both files, clips the range to the source, clones what can be cloned (the prefix then)
 * and sets up what the planning needs. -errno: the copy has failed.
 */
int file_plan_begin(struct file_copy *copy);

/** The next region, or NULL: with *ret_error 0 when all is planned. */
struct region *file_plan_next(struct file_copy *copy, int *ret_error);

/** Begins anew, from the beginning, as there is little space: one region of one block at a time. */
void file_plan_tight(struct file_copy *copy);

#endif /* ENGINE_FILE_PLAN_H */
