/* SPDX-License-Identifier: MIT */
/*
 * atime.h - access times: as the mount options say, not only as the backing directory is mounted.
 */
#ifndef ARSYNCFS_ATIME_H
#define ARSYNCFS_ATIME_H

#include <stdbool.h>

#include "arsync/log.h"
#include "backing.h"

/* What the mount options ask for. */
struct atime {
	enum atime_policy {
		ATIME_AS_BACKING,
		ATIME_NEVER,	/* noatime */
		ATIME_RELATIVE, /* relatime */
		ATIME_ALWAYS,	/* strictatime */
	} policy;
	bool no_directories; /* nodiratime */
};

/** Whether @option is about access times; then it is taken into account. */
bool atime_take_option(struct atime *atime, const char *option);

/**
 * Lets @backing look at its directory through a mount of its own that treats access times so. Before
 * anything else was opened there, but after what needs the path. -errno: it goes on as it is mounted.
 */
int atime_apply(const struct atime *atime, struct backing *backing);

#endif /* ARSYNCFS_ATIME_H */
