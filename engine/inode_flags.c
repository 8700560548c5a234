/* SPDX-License-Identifier: MIT */
/*
 * inode_flags.c - see inode_flags.h.
 */
#include "inode_flags.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "arsync/base.h"

#define LOCKS (FS_IMMUTABLE_FL | FS_APPEND_FL)
#define KEPT (LOCKS | FS_NODUMP_FL | FS_NOCOW_FL)

/* The kernel reads and writes an int, whatever the ioctl's number says. */
static int get_all(int fd, unsigned *ret)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return negative_errno();
	*ret = (unsigned)flags;
	return 0;
}

static int set_all(int fd, unsigned all)
{
	int flags = (int)all;

	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? negative_errno() : 0;
}

unsigned inode_flags_get(int fd)
{
	unsigned all = 0;

	return get_all(fd, &all) < 0 ? 0 : all & KEPT;
}

void inode_flags_begin(int fd, unsigned flags)
{
	unsigned all;

	if (!(flags & FS_NOCOW_FL) || get_all(fd, &all) < 0)
		return;
	(void)set_all(fd, all | FS_NOCOW_FL); /* btrfs only; the others store the data their way */
}

/* Not for us to set, or not known here. */
static bool is_refused(int error)
{
	return error == -EPERM || error == -EACCES || error == -EOPNOTSUPP || error == -ENOTTY ||
	       error == -EINVAL || error == -ENOSYS;
}

int inode_flags_set(int fd, unsigned flags)
{
	unsigned all;
	int r;

	if (flags == 0 || get_all(fd, &all) < 0 || (all & flags) == flags)
		return 0;
	r = set_all(fd, all | flags);
	/* One that is refused must not keep the others off. */
	for (unsigned flag = 1; is_refused(r) && flag != 0; flag <<= 1) {
		if (!(flags & flag))
			continue;
		if (set_all(fd, all | flag) == 0)
			all |= flag;
	}
	return is_refused(r) ? 0 : r;
}

bool inode_flags_is_locked(int fd)
{
	return inode_flags_get(fd) & LOCKS;
}

unsigned inode_flags_unlock(int fd)
{
	unsigned all = 0;

	if (get_all(fd, &all) < 0 || !(all & LOCKS))
		return 0;
	return set_all(fd, all & ~(unsigned)LOCKS) < 0 ? 0 : all & LOCKS;
}

unsigned inode_flags_unlock_at(int dir_fd, const char *name, int *ret_fd)
{
	_cleanup_close_ int fd =
		openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	unsigned taken = fd < 0 ? 0 : inode_flags_unlock(fd);

	if (taken != 0)
		*ret_fd = TAKE_FD(fd);
	return taken;
}
