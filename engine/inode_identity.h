/* SPDX-License-Identifier: MIT */
/*
 * inode_identity.h - what makes a file the same file, also after the system was started anew.
 *
 * Device numbers change, inode numbers are given again. A file handle (name_to_handle_at(2)) holds a
 * generation besides the inode number, and nobody can choose when an inode was born. What the file
 * system tells of these is compared, all of it.
 */
#ifndef ENGINE_INODE_IDENTITY_H
#define ENGINE_INODE_IDENTITY_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

/* Without pointers and, once made, without undefined bytes: it is written to files as it is. */
struct inode_identity {
	uint64_t ino; /* 0: nobody's */
	int64_t born; /* seconds; 0: not known */
	uint32_t born_ns;
	int32_t handle_type;
	uint32_t handle_size; /* bytes; 0: there is none */
	unsigned char handle[MAX_HANDLE_SZ];
};

/** Who is @fd, which may be O_PATH? -errno of statx(2). */
int inode_identity_of(int fd, struct inode_identity *ret);

/** False for what could be somebody else after a restart: there is neither a handle nor a birth. */
bool inode_identity_is_sure(const struct inode_identity *identity);

bool inode_identity_equal(const struct inode_identity *a, const struct inode_identity *b);

#endif /* ENGINE_INODE_IDENTITY_H */
