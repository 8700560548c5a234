/* SPDX-License-Identifier: MIT */
/*
 * tree_mkdir.h - making a directory's copy, or taking the one that is there (tree_job::merging).
 *
 * Where others may write to the directory that it is made in, it is claimed: it has to be what was made,
 * is closed to them, and has to be empty still. One that is there is opened up for its owner, where the
 * owner may not write to it; tree_dir_done() puts that right again.
 *
 * Thread: a worker that acts as the job's user, in the first run of the directory's task. No lock is
 * held.
 */
#ifndef ENGINE_TREE_MKDIR_H
#define ENGINE_TREE_MKDIR_H

struct tree_dir;

/**
 * Makes @dir, opens both sides (tree_open.h), and fills in what tree_dir says the first run of the task
 * sets. -errno, and what failed (*ret_call); -ESTALE: what was made is not what is there; -ELOOP: a
 * mount of ourselves; -EINVAL: the copy has been moved into what is copied, or goes into a directory
 * of the source. Then tree_dir::existed, opened_up and tree_job::staged say what there is to put right.
 */
int tree_mkdir(struct tree_dir *dir, const char **ret_call);

#endif /* ENGINE_TREE_MKDIR_H */
