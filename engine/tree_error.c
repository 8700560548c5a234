/* SPDX-License-Identifier: MIT */
/*
 * tree_error.c - see tree_error.h.
 */
#include "tree_error.h"

#include <string.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "tree.h"
#include "tree_dir.h"

/* The first of many is enough to know that the rest cannot go well either. */
static bool is_final(const struct tree_job *tree, const struct tree_dir *dir, int error)
{
	if (tree->options.on_error == TREE_ON_ERROR_STOP || error == -ENOMEM)
		return true;
	return !dir || (!dir->parent && !dir->made);
}

/* Takes over @path. */
static void keep_locked(struct tree_job *tree, char *path, const char *call, int error)
{
	struct job_failure *failure = &tree->failures[tree->n_failures_kept++];

	*failure = (struct job_failure){ .path = path ? path : "", .call = call, .error = error };
}

/* Names are short, so that there is a slash soon. */
static void shorten(char *path)
{
	size_t length = strlen(path);
	const char *tail;

	if (length <= JOB_FAILURE_PATH_MAX)
		return;
	tail = path + length - (JOB_FAILURE_PATH_MAX - sizeof("...") + 1);
	tail = strchr(tail, '/');
	if (!tail)
		return;
	memmove(path + 3, tail, strlen(tail) + 1);
	memcpy(path, "...", 3);
}

/* An ECANCELED that is recorded is a server's: to those above it would say that somebody has cancelled. */
static int own_error(int error)
{
	return error == -ECANCELED ? -EIO : error;
}

static void record(struct tree_job *tree, const struct tree_dir *dir, const char *name,
		   const char *call, int error)
{
	bool full = __atomic_load_n(&tree->job.failures, __ATOMIC_RELAXED) >= JOB_FAILURES_KEPT;
	char *path = dir && !full ? tree_dir_path(dir, name) : NULL;

	if (path && !*path) /* the root */
		free(TAKE_PTR(path));
	if (path)
		shorten(path);
	error = own_error(error);
	pthread_mutex_lock(&tree->lock);
	if (tree->error == 0)
		tree->error = error;
	__atomic_add_fetch(&tree->job.failures, 1, __ATOMIC_RELAXED);
	if (tree->n_failures_kept < JOB_FAILURES_KEPT)
		keep_locked(tree, TAKE_PTR(path), call, error);
	pthread_mutex_unlock(&tree->lock);
	free(path);
}

/* Nothing more is copied; the job ends with the first error. */
static void give_up(struct tree_job *tree)
{
	int error;

	pthread_mutex_lock(&tree->lock);
	error = tree->error;
	pthread_mutex_unlock(&tree->lock);
	job_set_verdict(&tree->job, error);
	/* Who sees it sees the verdict, too: what is given up because of it is no failure of its own. */
	__atomic_store_n(&tree->failed, true, __ATOMIC_RELEASE);
}

void tree_fail(struct tree_job *tree, const struct tree_dir *dir, const char *name,
	       const char *call, int error)
{
	/* What is given up because of a cancel or another failure is none of its own. */
	if (error != -ECANCELED || job_get_verdict(&tree->job) == 0)
		record(tree, dir, name, call, error);
	if (is_final(tree, dir, error))
		give_up(tree);
}

void tree_abort(struct tree_job *tree, const char *call, int error)
{
	record(tree, NULL, NULL, call, error);
	give_up(tree);
}

void tree_error_settle(struct tree_job *tree)
{
	pthread_mutex_lock(&tree->lock);
	tree->error = job_get_verdict(&tree->job);
	pthread_mutex_unlock(&tree->lock);
}

bool tree_error_may_pass(int error)
{
	switch (error) {
	case -ENOENT:
	case -ESTALE:
	case -ELOOP:
	case -ENOTDIR:
	case -EISDIR:
	case -ENXIO:
		return true;
	default:
		return false;
	}
}

size_t tree_error_get_failures(struct job *job, struct job_failure *failures, size_t size)
{
	struct tree_job *tree = CONTAINER_OF(job, struct tree_job, job);
	size_t n;

	pthread_mutex_lock(&tree->lock);
	n = MIN(size, (size_t)tree->n_failures_kept);
	memcpy(failures, tree->failures, n * sizeof(*failures));
	pthread_mutex_unlock(&tree->lock);
	return n;
}

void tree_error_destroy(struct tree_job *tree)
{
	for (unsigned i = 0; i < tree->n_failures_kept; i++)
		if (*tree->failures[i].path)
			free((char *)(uintptr_t)tree->failures[i].path); /* tree_dir_path()'s */
}
