/* SPDX-License-Identifier: MIT */
/*
 * pair.h - what was learned about copying from one file system to another.
 *
 * Learned once and kept for the engine's life: what the pair cannot do, and how long a region
 * may be so that it takes 15 to 60 ms. Values are hints: a race loses one lesson, never
 * data.
 */
#ifndef ENGINE_PAIR_H
#define ENGINE_PAIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PAIRS_MAX 64 /* further pairs share the last entry's place: oldest out */

struct pair {
	dev_t src_dev;
	dev_t dst_dev;
	bool used;
	bool no_clone;		/* FICLONERANGE is not supported */
	bool no_offload;	/* nor a copy_file_range(2) that does more than copy pages */
	bool no_uncached;	/* RWF_DONTCACHE is not supported */
	uint64_t region_length; /* bytes; 0: not known yet */
};

struct pair_table {
	pthread_mutex_t lock;
	/* protected by lock */
	struct pair pairs[PAIRS_MAX];
	unsigned next_victim;
};

void pair_table_init(struct pair_table *table);
void pair_table_destroy(struct pair_table *table);

/** A copy of what is known; zeros for a new pair. */
struct pair pair_get(struct pair_table *table, dev_t src_dev, dev_t dst_dev);
/** Keeps @pair. */
void pair_put(struct pair_table *table, const struct pair *pair);

/**
 * A region of @length bytes (a multiple of @block, unless it was the last) took @took_ns: lengthens
 * or shortens pair::region_length, so that an answer that cannot wait loses little work beyond its
 * prefix.
 */
void pair_learn(struct pair *pair, uint64_t length, uint32_t block, uint64_t took_ns);

#endif /* ENGINE_PAIR_H */
