/* SPDX-License-Identifier: MIT */
/*
 * resume.h - what a long copy keeps between the answers it is given in.
 *
 * Who copies a large file through the mount is answered after a part of it and asks for the rest,
 * which is a job of its own. A small table remembers where such copies will go on, and which way
 * they went: what was too large for the page cache as a whole is so to its end.
 *
 * Thread: any; resume_table::lock is a leaf.
 */
#ifndef ENGINE_RESUME_H
#define ENGINE_RESUME_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RESUME_MAX 64 /* long copies at once; further ones take the oldest one's place */

/* Where a copy begins, or will go on. */
struct resume_point {
	dev_t src_dev;
	ino_t src_ino;
	dev_t dst_dev;
	ino_t dst_ino;
	uint64_t src_offset;
	uint64_t dst_offset;
};

struct resume_entry {
	bool used;
	struct resume_point point;
	bool is_huge;
};

struct resume_table {
	pthread_mutex_t lock;
	/* protected by lock */
	struct resume_entry entries[RESUME_MAX];
	unsigned next;
};

void resume_table_init(struct resume_table *table);
void resume_table_destroy(struct resume_table *table);

/** Keeps @is_huge for the copy that will begin at @point. */
void resume_put(struct resume_table *table, const struct resume_point *point, bool is_huge);

/** What was kept, false when nothing was; forgets it. */
bool resume_take(struct resume_table *table, const struct resume_point *point);

#endif /* ENGINE_RESUME_H */
