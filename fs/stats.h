/* SPDX-License-Identifier: MIT */
/*
 * stats.h - request counters, and the JSON of user.arsync.stats.
 */
#ifndef ARSYNCFS_STATS_H
#define ARSYNCFS_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/* X(name): one counter a kind of request, named as the FUSE protocol names it. */
#define STATS_REQUESTS(X)                                                                          \
	X(LOOKUP)                                                                                  \
	X(FORGET)                                                                                  \
	X(GETATTR)                                                                                 \
	X(SETATTR)                                                                                 \
	X(STATX)                                                                                   \
	X(READLINK)                                                                                \
	X(SYMLINK)                                                                                 \
	X(MKNOD)                                                                                   \
	X(MKDIR)                                                                                   \
	X(UNLINK)                                                                                  \
	X(RMDIR)                                                                                   \
	X(RENAME)                                                                                  \
	X(LINK)                                                                                    \
	X(OPEN)                                                                                    \
	X(CREATE)                                                                                  \
	X(TMPFILE)                                                                                 \
	X(READ)                                                                                    \
	X(WRITE)                                                                                   \
	X(FLUSH)                                                                                   \
	X(RELEASE)                                                                                 \
	X(FSYNC)                                                                                   \
	X(FALLOCATE)                                                                               \
	X(LSEEK)                                                                                   \
	X(COPY_FILE_RANGE)                                                                         \
	X(IOCTL)                                                                                   \
	X(OPENDIR)                                                                                 \
	X(READDIR)                                                                                 \
	X(READDIRPLUS)                                                                             \
	X(RELEASEDIR)                                                                              \
	X(FSYNCDIR)                                                                                \
	X(STATFS)                                                                                  \
	X(SETXATTR)                                                                                \
	X(GETXATTR)                                                                                \
	X(LISTXATTR)                                                                               \
	X(REMOVEXATTR)

enum stats_request {
#define STATS_ENUM(name) STATS_##name,
	STATS_REQUESTS(STATS_ENUM)
#undef STATS_ENUM
	STATS_REQUEST_COUNT,
};

struct stats {
	_Atomic uint64_t requests[STATS_REQUEST_COUNT];
};

struct session;

static inline void stats_count(struct stats *stats, enum stats_request request)
{
	atomic_fetch_add_explicit(&stats->requests[request], 1, memory_order_relaxed);
}

/** The JSON text, to be freed by the caller. -ENOMEM. */
int stats_to_json(struct session *session, char **ret);

#endif /* ARSYNCFS_STATS_H */
