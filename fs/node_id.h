/* SPDX-License-Identifier: MIT */
/*
 * node_id.h - the numbers under which the kernel knows files.
 *
 * A file handle that open_by_handle_at(2) gets of the mount holds a node id, and nothing else that
 * comes back to us. So that such a handle is good after the kernel has forgotten the file, and in the
 * next mount of the same directory, the number says which file it is: inode number and generation,
 * which with the handle of the root make the file's own handle again. Most files have such a lasting
 * number: those on the root's mount whose inode number is below 2^31, on ext4, XFS, btrfs, tmpfs.
 *
 * All others have a number that is made up when they are looked up, and dies with the inode. It has the
 * highest bit set and ends in a digest of the file's key, which is what the inode table sorts by.
 */
#ifndef ARSYNCFS_NODE_ID_H
#define ARSYNCFS_NODE_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "backing.h"

#define NODE_ID_ROOT 1 /* FUSE_ROOT_ID */

/* How handles look on the root's mount. Set once. */
struct node_ids {
	struct backing_key root;
	const struct node_id_layout *layout; /* or NULL: no lasting numbers */
};

/** @root is the key of the root directory. @by_handle: files of its mount can be opened by theirs. */
void node_ids_init(struct node_ids *ids, const struct backing_key *root, bool by_handle);

/**
 * The number of @key. One that does not last (node_id_lasts()) is a beginning: it may be another
 * file's, and node_id_next() is the next one to try.
 */
uint64_t node_id_of(const struct node_ids *ids, const struct backing_key *key);
bool node_id_lasts(uint64_t id);

/** The inode number in a lasting number. */
uint64_t node_id_ino(uint64_t id);

uint64_t node_id_next(uint64_t id);

/** The key of a lasting number, whether or not there is such a file. -ESTALE: it is none. */
int node_id_key(const struct node_ids *ids, uint64_t id, struct backing_key *ret);

/** A hash, the same for all numbers that node_id_next() leads to. */
uint64_t node_id_hash(uint64_t id);

#endif /* ARSYNCFS_NODE_ID_H */
