/* SPDX-License-Identifier: MIT */
/*
 * mountpoint.h - can we mount there? Asked before anything is done, so that a user gets one clear
 * sentence.
 */
#ifndef ARSYNCFS_MOUNTPOINT_H
#define ARSYNCFS_MOUNTPOINT_H

#include "arsync/log.h"
#include "backing.h"

/**
 * Checks /dev/fuse and @path and returns @path's canonical form, to be freed. On failure the reason
 * was logged.
 */
int mountpoint_check(const struct backing *backing, const char *path, const struct log *log,
		     char **ret_canonical);

#endif /* ARSYNCFS_MOUNTPOINT_H */
