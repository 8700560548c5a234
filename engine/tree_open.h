/* SPDX-License-Identifier: MIT */
/*
 * tree_open.h - the directories of a tree copy that are open: a bounded number, two descriptors each.
 *
 *	closed --tree_open_acquire, tree_open_add--> in use --last release--> idle
 *	idle --acquire--> in use;  idle --too many are open, or the last reference is gone--> closed
 *
 * A closed one is found again by name from its nearest open ancestor, or through a child that is open,
 * and has to be what was copied so far: device and inode numbers of both sides. More than the bound
 * are open only while all of them are in use.
 *
 * Ownership: the descriptors belong to the directory (tree_dir::src_fd, dst_fd); users borrow them.
 * Threads: any. tree_job::lock protects the books; nothing is opened or closed while it is held. What
 * is opened is opened as the job's user, whom the calling thread acts as.
 */
#ifndef ENGINE_TREE_OPEN_H
#define ENGINE_TREE_OPEN_H

#include <stdbool.h>

struct tree_dir;

/**
 * Its descriptors, opened again if need be; until tree_open_release(). -errno; -ESTALE: it was
 * replaced.
 */
int tree_open_acquire(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd);
void tree_open_release(struct tree_dir *dir);

/**
 * One side, below the parent's descriptor @at, or, of the root, below the job's. @path_only: with
 * O_PATH, otherwise for reading. The caller's descriptor, or -errno.
 */
int tree_open_src(const struct tree_dir *dir, int at, bool path_only);
int tree_open_dst(const struct tree_dir *dir, int at, bool path_only);

/**
 * Makes @dir open with these, and the longest unused one closed when there are too many; the caller
 * becomes a user. Takes ownership of the descriptors.
 */
void tree_open_add(struct tree_dir *dir, int src_fd, int dst_fd);

/**
 * Opens @dir, if it was closed because the way down to @child was long, through the child. From the
 * root down it would be as many steps as the tree is deep, and all of that again one level higher. Is
 * best effort.
 */
void tree_open_from_child(struct tree_dir *dir, struct tree_dir *child);

/** Takes it out of the open ones; nobody uses it. The caller closes what is answered. */
void tree_open_take_locked(struct tree_dir *dir, int *ret_src_fd, int *ret_dst_fd);

#endif /* ENGINE_TREE_OPEN_H */
