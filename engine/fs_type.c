/* SPDX-License-Identifier: MIT */
/*
 * fs_type.c - see fs_type.h.
 */
#include "fs_type.h"

#include <linux/magic.h>
#include <stdint.h>

#include "arsync/base.h"

/* From the kernel's sources; linux/magic.h of older headers lacks them. */
#define LUSTRE_SUPER_MAGIC 0x0bd00bd0
#ifndef SMB2_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif
#ifndef CEPH_SUPER_MAGIC
#define CEPH_SUPER_MAGIC 0x00c36400
#define FUSE_SUPER_MAGIC 0x65735546
#endif

bool fs_type_has_server(const struct statfs *fs)
{
	static const uint32_t types[] = {
		NFS_SUPER_MAGIC,  CIFS_SUPER_MAGIC,   SMB2_SUPER_MAGIC,
		CEPH_SUPER_MAGIC, LUSTRE_SUPER_MAGIC, FUSE_SUPER_MAGIC,
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)fs->f_type == types[i])
			return true;
	return false;
}
