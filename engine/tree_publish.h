/* SPDX-License-Identifier: MIT */
/*
 * tree_publish.h - the last step of a tree copy: what has grown under the staging name takes its own.
 *
 *	tree_publish_watch()	fsync=tree: before any data is written
 *	tree_publish_begin()	all of it gets to stable storage
 *	tree_publish()
 *	nothing there: renamed; otherwise the two change places, and the old one is checked
 *	fsync=file, tree: so is the name, or it is taken back where it can be
 *	flags that would have kept it from being renamed
 *
 * With tree_job::merging the files have their names already, and only the rest is done.
 *
 * Ownership: the job's descriptors are borrowed. Thread: a worker that acts as the job's user, once a
 * job, when no other task of it is there yet or none is left. No lock is held.
 */
#ifndef ENGINE_TREE_PUBLISH_H
#define ENGINE_TREE_PUBLISH_H

#include <stdbool.h>

struct job;
struct stat;
struct tree_job;
struct worker;

/** What DEST is that is to give way. */
void tree_publish_expect(struct tree_job *tree, const struct stat *old);

/**
 * The copy's root is there: opens what syncfs(2) is to be called with, for it tells of what could not be written
 * since then, and of earlier errors only if nobody else was told. Does nothing without fsync=tree, or a second
 * time. -errno of openat(2).
 */
int tree_publish_watch(struct tree_job *tree);

/**
 * True: tree_job::end_task will be queued when syncfs(2) is done, or the job is cancelled. False: there is
 * nothing to wait for, or the job has failed (tree_abort()).
 */
bool tree_publish_begin(struct tree_job *tree, struct worker *worker);

/** What syncfs(2) has said. An error fails the job. */
void tree_publish_synced(struct tree_job *tree);

/** job_ops::cancelled: the copy does not wait for syncfs(2) any more. */
void tree_publish_cancelled(struct job *job);

/**
 * Sets tree_job::published when the copy has its name. With tree_job::replacing, what was there is
 * under the staging name then, to be removed; where nothing is left of it, replacing is false. Where DEST was
 * written to meanwhile and existing= says that what it is now stays, the copy is what is to be removed. An error
 * fails the job by tree_abort(): of renameat2(2), fsync(2) and FS_IOC_SETFLAGS; -ESTALE: somebody has put
 * something else in the place of one of the two. A job that was cancelled gets no name.
 */
void tree_publish(struct tree_job *tree);

#endif /* ENGINE_TREE_PUBLISH_H */
