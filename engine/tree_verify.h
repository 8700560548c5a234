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

struct tree_job;

/* A file while it is compared. */
struct tree_verify {
	struct tree_job *tree;
	int src_fd;
	int dst_fd;
	uint64_t size;
	uint64_t at; /* up to here it has been */
};

/**
 * Goes on with the comparison, up to TREE_VERIFY_AT_ONCE, and counts it as the job's progress. 1: there is
 * more; 0: all is the same; -EIO: it is not; -ECANCELED: the copy is stopping; -errno.
 */
int tree_verify_some(struct tree_verify *verify);

/** The same to the end. */
int tree_verify_all(struct tree_verify *verify);

#endif /* ENGINE_TREE_VERIFY_H */
