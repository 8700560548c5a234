/* SPDX-License-Identifier: MIT */
/*
 * tree_count.h - counting the files and bytes of a tree ahead of its copy.
 */
#ifndef ENGINE_TREE_COUNT_H
#define ENGINE_TREE_COUNT_H

struct job;

/**
 * job_ops::count of a tree_job. Adds what it finds to job::files_ahead and bytes_ahead, while it
 * goes. What cannot be read is left out: to report it is the copy's business. Stops when the job
 * ends. 0: all was counted; -errno.
 */
int tree_count(struct job *job);

#endif /* ENGINE_TREE_COUNT_H */
