/* SPDX-License-Identifier: MIT */
/*
 * base.h - ownership and error helpers that every part of arsyncfs uses.
 *
 * Functions return 0 or -errno. A local that owns something says so with a _cleanup_* attribute
 * and hands it on with TAKE_FD()/TAKE_PTR().
 */
#ifndef ARSYNC_BASE_H
#define ARSYNC_BASE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _min_a = (a);                                                        \
		__typeof__(b) _min_b = (b);                                                        \
		_min_a < _min_b ? _min_a : _min_b;                                                 \
	})

#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _max_a = (a);                                                        \
		__typeof__(b) _max_b = (b);                                                        \
		_max_a > _max_b ? _max_a : _max_b;                                                 \
	})

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/** Repeats a system call that answers -1/EINTR. */
#define RETRY_EINTR(expression)                                                                    \
	({                                                                                         \
		__typeof__(expression) _retry_result;                                              \
		do                                                                                 \
			_retry_result = (expression);                                              \
		while (_retry_result == -1 && errno == EINTR);                                     \
		_retry_result;                                                                     \
	})

/** -errno after a failed call; never 0, so that a failure is never taken for success. */
static inline int negative_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

/**
 * Closes @fd when it is open; keeps errno. Close errors matter only after writes: see
 * close_checked().
 */
static inline void close_keep_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd); /* nothing was written through it, or the writer checked before */
	errno = saved;
}

/** Closes @fd, which was written to: ENOSPC, EDQUOT and EIO may come only now. */
static inline int close_checked(int fd)
{
	/* EINTR: Linux has closed the descriptor all the same (close(2)). */
	return close(fd) == 0 || errno == EINTR ? 0 : negative_errno();
}

static inline void cleanup_close_fd(int *fd)
{
	close_keep_errno(*fd);
}

static inline void cleanup_free_ptr(void *ptr)
{
	free(*(void **)ptr);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_close_ _cleanup_(cleanup_close_fd)
#define _cleanup_free_ _cleanup_(cleanup_free_ptr)

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int _taken_fd = (fd);                                                              \
		(fd) = -1;                                                                         \
		_taken_fd;                                                                         \
	})

#define TAKE_PTR(ptr)                                                                              \
	({                                                                                         \
		__typeof__(ptr) _taken_ptr = (ptr);                                                \
		(ptr) = NULL;                                                                      \
		_taken_ptr;                                                                        \
	})

#endif /* ARSYNC_BASE_H */
