/* SPDX-License-Identifier: MIT */
/*
 * test_node_id.c - node ids and back, for each way that handles look.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "node_id.h"

#define INO 0x12345678U
#define GENERATION 0xfedcba98U

struct sample {
	const char *name;
	int type;
	unsigned size;
	unsigned ino_at, generation_at;
	unsigned wide_at; /* a byte of the inode number that a lasting number cannot hold */
};

static const struct sample samples[] = {
	{ "ext4", 1, 8, 0, 4, 3 },
	{ "tmpfs", 1, 12, 4, 0, 8 },
	{ "xfs", 0x81, 12, 0, 8, 4 },
	{ "btrfs", 0x4d, 20, 0, 16, 4 },
};

static struct backing_mount mount_a = { .id = 1, .by_handle = true };
static struct backing_mount mount_b = { .id = 2, .by_handle = true };

static struct backing_key key_of(const struct sample *sample, uint32_t ino, uint32_t generation)
{
	struct backing_key key = {
		.mount = &mount_a,
		.type = sample->type,
		.size = sample->size,
	};

	if (sample->size == 20)
		key.bytes[8] = 5; /* the subvolume */
	memcpy(key.bytes + sample->ino_at, &ino, sizeof(ino));
	memcpy(key.bytes + sample->generation_at, &generation, sizeof(generation));
	return key;
}

static struct node_ids ids_of(const struct sample *sample)
{
	struct backing_key root = key_of(sample, 2, 0);
	struct node_ids ids;

	node_ids_init(&ids, &root, true);
	return ids;
}

static void test_node_id_leads_back_to_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct node_ids ids = ids_of(&samples[i]);
		struct backing_key key = key_of(&samples[i], INO, GENERATION), again;
		uint64_t id = node_id_of(&ids, &key);

		print_message("%s: %llx\n", samples[i].name, (unsigned long long)id);
		assert_true(node_id_lasts(id));
		assert_int_equal(node_id_key(&ids, id, &again), 0);
		assert_true(backing_key_equal(&key, &again));
		key = key_of(&samples[i], INO, GENERATION + 1);
		assert_int_not_equal(node_id_of(&ids, &key), id);
		key = key_of(&samples[i], INO + 1, GENERATION);
		assert_int_not_equal(node_id_of(&ids, &key), id);
	}
}

static void test_node_id_of_what_does_not_fit(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct node_ids ids = ids_of(&samples[i]);
		struct backing_key key = key_of(&samples[i], INO, GENERATION), again;

		key.bytes[samples[i].wide_at] |= 0x80;
		assert_false(node_id_lasts(node_id_of(&ids, &key)));
		assert_int_equal(node_id_key(&ids, node_id_of(&ids, &key), &again), -ESTALE);
		key = key_of(&samples[i], INO, GENERATION);
		key.mount = &mount_b;
		assert_false(node_id_lasts(node_id_of(&ids, &key)));
		key = key_of(&samples[i], INO, GENERATION);
		key.type++;
		assert_false(node_id_lasts(node_id_of(&ids, &key)));
		key = key_of(&samples[i], NODE_ID_ROOT, 0);
		assert_false(node_id_lasts(node_id_of(&ids, &key)));
	}
}

static void test_node_id_of_another_subvolume(void **state)
{
	struct node_ids ids = ids_of(&samples[3]);
	struct backing_key key = key_of(&samples[3], INO, GENERATION);

	(void)state;
	key.bytes[9] = 1;
	assert_false(node_id_lasts(node_id_of(&ids, &key)));
}

static void test_node_id_without_handles(void **state)
{
	struct backing_key root = key_of(&samples[0], 2, 0), key = key_of(&samples[0], 7, 8);
	struct node_ids ids;

	(void)state;
	node_ids_init(&ids, &root, false);
	assert_false(node_id_lasts(node_id_of(&ids, &key)));
}

static void test_node_id_next_is_another_of_the_same_hash(void **state)
{
	struct node_ids ids = ids_of(&samples[0]);
	struct backing_key key = key_of(&samples[0], UINT32_MAX, GENERATION);
	uint64_t first = node_id_of(&ids, &key);
	uint64_t id = first;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t next = node_id_next(id);

		assert_int_not_equal(next, id);
		assert_int_not_equal(next, first);
		assert_false(node_id_lasts(next));
		assert_int_equal(node_id_hash(next), node_id_hash(first));
		id = next;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_id_leads_back_to_key),
		cmocka_unit_test(test_node_id_of_what_does_not_fit),
		cmocka_unit_test(test_node_id_of_another_subvolume),
		cmocka_unit_test(test_node_id_without_handles),
		cmocka_unit_test(test_node_id_next_is_another_of_the_same_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
