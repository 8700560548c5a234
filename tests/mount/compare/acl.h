/* SPDX-License-Identifier: MIT */
/*
 * acl.h - access control lists as system.posix_acl_* has them, without libacl.
 *
 * The kernel's header for user space has the structs, but not the tags (include/linux/posix_acl.h).
 */
#ifndef COMPARE_ACL_H
#define COMPARE_ACL_H

#include <endian.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>

#include "compare.h"

#define ACCESS XATTR_NAME_POSIX_ACL_ACCESS
#define DEFAULT XATTR_NAME_POSIX_ACL_DEFAULT

enum acl_tag {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

/* Permissions of each. */
struct acl_spec {
	unsigned owner, user, group, mask, other; /* user: USER_UID */
};

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[5];
};

static inline struct posix_acl_xattr_entry acl_entry(enum acl_tag tag, unsigned permissions,
						     uint32_t id)
{
	return (struct posix_acl_xattr_entry){
		.e_tag = htole16((uint16_t)tag),
		.e_perm = htole16((uint16_t)permissions),
		.e_id = htole32(id),
	};
}

static inline struct acl acl_of(const struct acl_spec *spec)
{
	const uint32_t no_id = (uint32_t)-1;

	return (struct acl){
		.header.a_version = htole32(POSIX_ACL_XATTR_VERSION),
		.entries = {
			acl_entry(ACL_USER_OBJ, spec->owner, no_id),
			acl_entry(ACL_USER, spec->user, USER_UID),
			acl_entry(ACL_GROUP_OBJ, spec->group, no_id),
			acl_entry(ACL_MASK, spec->mask, no_id),
			acl_entry(ACL_OTHER, spec->other, no_id),
		},
	};
}

/* Owner, group and others only: as good as a mode. */
struct small_acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[3];
};

static inline struct small_acl small_acl_of(mode_t mode)
{
	const uint32_t no_id = (uint32_t)-1;

	return (struct small_acl){
		.header.a_version = htole32(POSIX_ACL_XATTR_VERSION),
		.entries = {
			acl_entry(ACL_USER_OBJ, mode >> 6 & 7, no_id),
			acl_entry(ACL_GROUP_OBJ, mode >> 3 & 7, no_id),
			acl_entry(ACL_OTHER, mode & 7, no_id),
		},
	};
}

#endif /* COMPARE_ACL_H */
