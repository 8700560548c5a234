/* SPDX-License-Identifier: MIT */
/*
 * inode_identity.c - see inode_identity.h.
 */
#include "inode_identity.h"

#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"

static void add_handle(int fd, struct inode_identity *identity)
{
	union {
		struct file_handle header;
		unsigned char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} handle = { .header = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount_id;

	/* Not every file system has them, and not every container allows it. */
	if (name_to_handle_at(fd, "", &handle.header, &mount_id, AT_EMPTY_PATH) < 0)
		return;
	identity->handle_type = handle.header.handle_type;
	identity->handle_size = handle.header.handle_bytes;
	memcpy(identity->handle, handle.header.f_handle, handle.header.handle_bytes);
}

int inode_identity_of(int fd, struct inode_identity *ret)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) < 0)
		return negative_errno();
	memset(ret, 0, sizeof(*ret));
	ret->ino = stx.stx_ino;
	if (stx.stx_mask & STATX_BTIME) {
		ret->born = stx.stx_btime.tv_sec;
		ret->born_ns = stx.stx_btime.tv_nsec;
	}
	add_handle(fd, ret);
	return 0;
}

bool inode_identity_is_sure(const struct inode_identity *identity)
{
	return identity->ino != 0 && (identity->born != 0 || identity->handle_size > 0);
}

bool inode_identity_equal(const struct inode_identity *a, const struct inode_identity *b)
{
	return a->ino == b->ino && a->born == b->born && a->born_ns == b->born_ns &&
	       a->handle_type == b->handle_type && a->handle_size == b->handle_size &&
	       memcmp(a->handle, b->handle, a->handle_size) == 0;
}
