/* SPDX-License-Identifier: MIT */
/*
 * resume.c - a small ring of entries; see resume.h.
 */
#include "resume.h"

#include "arsync/base.h"

void resume_table_init(struct resume_table *table)
{
	*table = (struct resume_table){ 0 };
	pthread_mutex_init(&table->lock, NULL); /* never fails with default attributes */
}

void resume_table_destroy(struct resume_table *table)
{
	pthread_mutex_destroy(&table->lock);
}

static bool is_same(const struct resume_point *a, const struct resume_point *b)
{
	return a->dst_ino == b->dst_ino && a->dst_offset == b->dst_offset &&
	       a->src_ino == b->src_ino && a->src_offset == b->src_offset &&
	       a->dst_dev == b->dst_dev && a->src_dev == b->src_dev;
}

void resume_put(struct resume_table *table, const struct resume_point *point, bool is_huge)
{
	pthread_mutex_lock(&table->lock);
	table->entries[table->next++ % RESUME_MAX] = (struct resume_entry){
		.used = true,
		.point = *point,
		.is_huge = is_huge,
	};
	pthread_mutex_unlock(&table->lock);
}

bool resume_take(struct resume_table *table, const struct resume_point *point)
{
	bool is_huge = false;

	pthread_mutex_lock(&table->lock);
	for (unsigned i = 0; i < RESUME_MAX; i++) {
		struct resume_entry *entry = &table->entries[i];

		if (!entry->used || !is_same(&entry->point, point))
			continue;
		is_huge = entry->is_huge;
		entry->used = false;
		break;
	}
	pthread_mutex_unlock(&table->lock);
	return is_huge;
}
