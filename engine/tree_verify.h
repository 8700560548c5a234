/* SPDX-License-Identifier: MIT */
/*
 * tree_verify.h - verify=yes: a copied file is read again, past the page cache, and compared.
 *
 * The copy must be on stable storage (fsync), or what the cache holds of it cannot be dropped. Holes that
 * both have are not read. A file system in memory has nothing behind the cache; there it is a comparison.
 *
 * Thread: any, one at a time a file. Blocks while it reads: a bounded number of bytes a call.
 */
#ifndef ENGINE_TREE_VERIFY_H
#define ENGINE_TREE_VERIFY_H

#include <stdint.h>

#define TREE_VERIFY_AT_ONCE (8 * UINT64_C(1024) * 1024) /* before other jobs have their turn */

/**
 * Compares from *at on, @size bytes in all, up to TREE_VERIFY_AT_ONCE. 1: there is more, *at has moved;
 * 0: all is the same; -EIO: it is not; -errno.
 */
int tree_verify_some(int src_fd, int dst_fd, uint64_t size, uint64_t *at);

/** The same to the end. */
int tree_verify_all(int src_fd, int dst_fd, uint64_t size);

#endif /* ENGINE_TREE_VERIFY_H */
