/* SPDX-License-Identifier: MIT */
/*
 * fs_type.h - what can be known of a file system by its type.
 */
#ifndef ENGINE_FS_TYPE_H
#define ENGINE_FS_TYPE_H

#include <stdbool.h>
#include <sys/statfs.h>

/** Whether a server, or a FUSE daemon, answers for its files: it copies by itself, and errors are its own. */
bool fs_type_has_server(const struct statfs *fs);

#endif /* ENGINE_FS_TYPE_H */
