/* SPDX-License-Identifier: MIT */
/*
 * tree_error.h - what fails in a tree copy: counted, the first ones kept, and whether the copy goes
 * on.
 *
 * Threads: any worker; tree_job::lock protects the list.
 */
#ifndef ENGINE_TREE_ERROR_H
#define ENGINE_TREE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

struct job;
struct job_failure;
struct tree_dir;
struct tree_job;

/**
 * Records a failure. It ends the copy with on_error=stop, where there is no memory, and where it
 * concerns the root of the copy. @dir: NULL: the root of the copy is a file; @name may be NULL: the
 * directory itself. @call: a literal.
 */
void tree_fail(struct tree_job *tree, const struct tree_dir *dir, const char *name,
	       const char *call, int error);

/** Records what ends the copy whatever on_error says. */
void tree_abort(struct tree_job *tree, const char *call, int error);

/** The copy has no name, and ends with what has kept it from getting one: a cancel or a failure. */
void tree_error_settle(struct tree_job *tree);

/** Whether a source has vanished or become something else: worth another look. */
bool tree_error_may_pass(int error);

/** job_ops::get_failures */
size_t tree_error_get_failures(struct job *job, struct job_failure *failures, size_t size);

void tree_error_destroy(struct tree_job *tree);

#endif /* ENGINE_TREE_ERROR_H */
