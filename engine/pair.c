/* SPDX-License-Identifier: MIT */
/*
 * pair.c - a small table: machines have few file systems; see pair.h.
 */
#include "pair.h"

#include "arsync/base.h"
#include "region.h"

/* About how long a region is to take. */
#define REGION_LONG_NS (60 * UINT64_C(1000000))
#define REGION_SHORT_NS (15 * UINT64_C(1000000))
#define REGION_LENGTH_MAX (64 * MIB)

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

void pair_learn(struct pair *pair, uint64_t length, uint32_t block, uint64_t took_ns)
{
	uint64_t longest = MIN(REGION_LENGTH_MAX, (uint64_t)block * REGION_STRIDES_MAX);

	if (length != pair->region_length)
		return;
	if (took_ns > REGION_LONG_NS)
		pair->region_length = MAX(length / 2 / block * block, (uint64_t)block);
	else if (took_ns < REGION_SHORT_NS)
		pair->region_length = MIN(length * 2, longest);
}
