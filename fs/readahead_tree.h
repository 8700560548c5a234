/* SPDX-License-Identifier: MIT */
/*
 * readahead_tree.h - reads what the next files of a directory hold before they are asked for.
 *
 * Who copies, packs or searches a tree lists a directory and then opens its files, most programs in the
 * order of their inode numbers. Each is read when its turn comes, so that a disk has one request at a
 * time. Here listings are remembered for a while; when files of one are opened and turn out not to be in
 * page cache, threads ask for those behind them, and look into its subdirectories, so that their
 * inodes are in memory, too. Nothing is waited for, and nothing is read twice: page cache is where it
 * goes.
 *
 * Only files that can be found by their number are read ahead (node_id.h): on ext4, XFS, btrfs and
 * tmpfs, by a daemon that may open by file handle.
 */
#ifndef ARSYNCFS_READAHEAD_TREE_H
#define ARSYNCFS_READAHEAD_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "inode.h"

#define READAHEAD_TREE_FILES_MAX 2048 /* of one directory; those behind are read when asked for */

/* What a listing tells of a regular file or a directory. */
struct readahead_tree_entry {
	uint64_t id;
	uint32_t size; /* of a file; 0: a directory */
};

/* A listing while it is made. */
struct readahead_tree_list {
	struct readahead_tree_entry *entries;
	size_t n;
};

struct readahead_tree;

/** Threads start when there is something to read. -ENOMEM. */
int readahead_tree_new(struct inode_table *inodes, struct readahead_tree **ret);

/** Ends the threads. No request may come any more. Accepts NULL. */
void readahead_tree_free(struct readahead_tree *ahead);

/** Adds what a listing has come upon. Without memory, nothing is read ahead. Accepts @ahead NULL. */
void readahead_tree_add(struct readahead_tree *ahead, struct readahead_tree_list *list,
			const struct inode *inode, uint64_t size);

/** The directory has been listed: takes over @list's entries. Any thread. Accepts @ahead NULL. */
void readahead_tree_listed(struct readahead_tree *ahead, struct readahead_tree_list *list);

/** @inode, a regular file, has been opened for reading as @fd. Any thread. Accepts @ahead NULL. */
void readahead_tree_opened(struct readahead_tree *ahead, const struct inode *inode, int fd);

/** Files and directories that have been read ahead. Accepts NULL. */
uint64_t readahead_tree_count(const struct readahead_tree *ahead);

#endif /* ARSYNCFS_READAHEAD_TREE_H */
