/* SPDX-License-Identifier: MIT */
/*
 * standard_fds.h - a program may be started with standard input, output or error closed (`>&-`).
 */
#ifndef ARSYNC_STANDARD_FDS_H
#define ARSYNC_STANDARD_FDS_H

#include <fcntl.h>
#include <unistd.h>

#include "arsync/base.h"

/**
 * To be called before anything is opened: what is opened first would get the number of what is
 * closed, messages would go into it, and who becomes a daemon would put /dev/null in its place.
 * What was closed can be neither read nor written afterwards, as before (EBADF). -errno of open(2).
 */
static inline int standard_fds_occupy(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest number that is free is @fd. Not O_CLOEXEC: fusermount3 needs them, too. */
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return negative_errno();
	}
	return 0;
}

#endif /* ARSYNC_STANDARD_FDS_H */
