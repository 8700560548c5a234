/* SPDX-License-Identifier: MIT */
/*
 * tree_publish.h - the last step of a tree copy: what has grown under the staging name takes its own.
 *
 *	fsync=tree: all of it is on stable storage
 *	nothing there: renamed; existing=replace: the two change places, and the old one is checked
 *	fsync=tree: so is the name, or it is taken back
 *	flags that would have kept it from being renamed
 *
 * With tree_job::merging the files have their names already, and only the rest is done.
 *
 * Ownership: the job's descriptors are borrowed. Thread: a worker that acts as the job's user, once a
 * job, when no task of it is left. No lock is held.
 */
#ifndef ENGINE_TREE_PUBLISH_H
#define ENGINE_TREE_PUBLISH_H

struct tree_job;

/**
 * Sets tree_job::published when the copy has its name. With tree_job::replacing, what was there is
 * under the staging name then, to be removed; where nothing is left of it, replacing is false. An error
 * fails the job by tree_abort(): of renameat2(2), syncfs(2), fsync(2) and FS_IOC_SETFLAGS; -ESTALE:
 * somebody has put something else in the place of one of the two.
 */
void tree_publish(struct tree_job *tree);

#endif /* ENGINE_TREE_PUBLISH_H */
