/* SPDX-License-Identifier: MIT */
/*
 * pair.c - a small table: machines have few file systems; see pair.h.
 */
#include "pair.h"

void pair_table_init(struct pair_table *table)
{
	*table = (struct pair_table){ 0 };
	pthread_mutex_init(&table->lock, NULL); /* never fails with default attributes */
}

void pair_table_destroy(struct pair_table *table)
{
	pthread_mutex_destroy(&table->lock);
}

static struct pair *find_locked(struct pair_table *table, dev_t src_dev, dev_t dst_dev)
{
	for (unsigned i = 0; i < PAIRS_MAX; i++) {
		struct pair *pair = &table->pairs[i];

		if (pair->used && pair->src_dev == src_dev && pair->dst_dev == dst_dev)
			return pair;
	}
	return NULL;
}

struct pair pair_get(struct pair_table *table, dev_t src_dev, dev_t dst_dev)
{
	struct pair result = { .src_dev = src_dev, .dst_dev = dst_dev, .used = true };
	struct pair *found;

	pthread_mutex_lock(&table->lock);
	found = find_locked(table, src_dev, dst_dev);
	if (found)
		result = *found;
	pthread_mutex_unlock(&table->lock);
	return result;
}

void pair_put(struct pair_table *table, const struct pair *pair)
{
	struct pair *place;

	pthread_mutex_lock(&table->lock);
	place = find_locked(table, pair->src_dev, pair->dst_dev);
	if (!place)
		place = &table->pairs[table->next_victim++ % PAIRS_MAX];
	*place = *pair;
	pthread_mutex_unlock(&table->lock);
}
