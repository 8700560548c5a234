/* SPDX-License-Identifier: MIT */
/*
 * tree_made.c - see tree_made.h.
 */
#include "tree_made.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "arsync/base.h"
#include "getdents.h"

/* Of linux/magic.h; older ones lack some. */
#define EXFAT_TYPE 0x2011bab0
#define NTFS_TYPE 0x5346544e
#define NTFS3_TYPE 0x7366746e
#define CIFS_TYPE 0xff534d42
#define SMB2_TYPE 0xfe534d42
#define FUSE_TYPE 0x65735546
#define VBOXSF_TYPE 0x786f4256
#define UDF_TYPE 0x15013346
#define AFS_TYPE 0x5346414f
#define LUSTRE_TYPE 0x0bd00bd0

/* The mount or the server says who owns what is made, and it may be somebody else. */
static bool gives_owners(int fd)
{
	static const uint32_t types[] = {
		MSDOS_SUPER_MAGIC, EXFAT_TYPE, NTFS_TYPE,   NTFS3_TYPE, NFS_SUPER_MAGIC,
		CIFS_TYPE,	   SMB2_TYPE,  FUSE_TYPE,   V9FS_MAGIC, VBOXSF_TYPE,
		UDF_TYPE,	   AFS_TYPE,   LUSTRE_TYPE,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((uint32_t)fs.f_type == types[i])
			return true;
	return false;
}

static bool is_ours(int fd, const struct stat *st)
{
	return st->st_uid == geteuid() || gives_owners(fd);
}

int tree_made_check_dir(int fd)
{
	struct getdents list;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (!is_ours(fd, &st))
		return -ESTALE;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return negative_errno();
	/* One buffer tells: "." and ".." do not fill it. */
	r = getdents_read(&list, fd);
	if (r < 0)
		return r;
	return r > 0 && getdents_next(&list) ? -ESTALE : 0;
}

int tree_made_open(int dir_fd, const char *name, mode_t mode, dev_t rdev)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : negative_errno();
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if ((st.st_mode & S_IFMT) != (mode & S_IFMT) || st.st_nlink > 1 || !is_ours(fd, &st))
		return -ESTALE;
	if ((S_ISCHR(mode) || S_ISBLK(mode)) && st.st_rdev != rdev)
		return -ESTALE;
	return TAKE_FD(fd);
}
