/* SPDX-License-Identifier: MIT */
/*
 * node_id.c - see node_id.h.
 *
 * Where inode number and generation are in a handle is the file system's affair: the layouts below are
 * those of ext4 and f2fs (generic_encode_ino32_fh()), XFS (xfs_fs_encode_fh()), tmpfs
 * (shmem_encode_fh()) and btrfs (btrfs_encode_fh()). A number is lasting only if the handle that it
 * leads to is the very handle that it was made of, so a file system that has other handles of the same
 * size and type loses nothing but lasting numbers.
 */
#include "node_id.h"

#include <string.h>

#include "arsync/base.h"

#define PASSING (UINT64_C(1) << 63)
#define PASSING_STEP (UINT64_C(1) << 40) /* the bits below are the digest */
#define PASSING_DIGEST (PASSING_STEP - 1)
#define INO_BITS 31

/* Little-endian machines: a number that needs fewer bytes than it has is at its beginning. */
struct node_id_layout {
	int type;
	unsigned size;
	unsigned ino_at, ino_size;
	unsigned generation_at;
};

void node_ids_init(struct node_ids *ids, const struct backing_key *root, bool by_handle)
{
	static const struct node_id_layout layouts[] = {
		{ .type = 1, .size = 8, .ino_at = 0, .ino_size = 4, .generation_at = 4 },
		{ .type = 1, .size = 12, .ino_at = 4, .ino_size = 8, .generation_at = 0 },
		{ .type = 0x81, .size = 12, .ino_at = 0, .ino_size = 8, .generation_at = 8 },
		{ .type = 0x4d, .size = 20, .ino_at = 0, .ino_size = 8, .generation_at = 16 },
	};

	ids->root = *root;
	ids->layout = NULL;
	if (!by_handle || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		if (layouts[i].type == root->type && layouts[i].size == root->size)
			ids->layout = &layouts[i];
}

int node_id_key(const struct node_ids *ids, uint64_t id, struct backing_key *ret)
{
	const struct node_id_layout *layout = ids->layout;
	uint32_t generation = (uint32_t)(id >> INO_BITS);
	uint64_t ino = node_id_ino(id);

	if (!layout || !node_id_lasts(id))
		return -ESTALE;
	*ret = ids->root;
	memcpy(ret->bytes + layout->ino_at, &ino, layout->ino_size);
	memcpy(ret->bytes + layout->generation_at, &generation, sizeof(generation));
	return 0;
}

/* The inode number and generation in @key as a number that lasts, or 0. */
static uint64_t lasting(const struct node_ids *ids, const struct backing_key *key)
{
	const struct node_id_layout *layout = ids->layout;
	struct backing_key again;
	uint32_t generation;
	uint64_t ino = 0;
	uint64_t id;

	if (!layout || key->mount != ids->root.mount || key->size != layout->size)
		return 0;
	memcpy(&ino, key->bytes + layout->ino_at, layout->ino_size);
	memcpy(&generation, key->bytes + layout->generation_at, sizeof(generation));
	if (ino >> INO_BITS)
		return 0;
	id = (uint64_t)generation << INO_BITS | ino;
	if (id <= NODE_ID_ROOT || node_id_key(ids, id, &again) < 0 ||
	    !backing_key_equal(&again, key))
		return 0;
	return id;
}

/* FNV-1a */
static uint64_t digest(const struct backing_key *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)key->mount->id;

	for (unsigned i = 0; i < key->size; i++)
		hash = (hash ^ key->bytes[i]) * UINT64_C(0x100000001b3);
	return hash ^ (hash >> 29);
}

uint64_t node_id_of(const struct node_ids *ids, const struct backing_key *key)
{
	uint64_t id = lasting(ids, key);

	return id ? id : PASSING | (digest(key) & PASSING_DIGEST);
}

bool node_id_lasts(uint64_t id)
{
	return id > NODE_ID_ROOT && !(id & PASSING);
}

uint64_t node_id_ino(uint64_t id)
{
	return id & ((UINT64_C(1) << INO_BITS) - 1);
}

uint64_t node_id_next(uint64_t id)
{
	return PASSING | (id + PASSING_STEP);
}

uint64_t node_id_hash(uint64_t id)
{
	uint64_t hash = id & PASSING ? id & PASSING_DIGEST : id;

	/* The finalizer of MurmurHash3: both halves are about to be used. */
	hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
	hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return hash ^ hash >> 33;
}
