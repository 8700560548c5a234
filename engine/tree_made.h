/* SPDX-License-Identifier: MIT */
/*
 * tree_made.h - whether what has been made by name is what is found under it.
 *
 * mkdir(2), symlink(2) and mknod(2) give no descriptor. In a directory that others may write to, such
 * as that of a copy, the name may lead to something else by the time it is opened: something of
 * ours from elsewhere, which is not to be written to, or something of theirs, which they can read.
 * Regular files are made open, and need none of this.
 */
#ifndef ENGINE_TREE_MADE_H
#define ENGINE_TREE_MADE_H

#include <sys/types.h>

/** A directory that is open for reading: ours, and empty. Otherwise -ESTALE; -errno. */
int tree_made_check_dir(int fd);

/**
 * Opens (O_PATH) a symbolic link or special file of that type and device number. -ESTALE: it is
 * something else, or somebody else's.
 */
int tree_made_open(int dir_fd, const char *name, mode_t mode, dev_t rdev);

#endif /* ENGINE_TREE_MADE_H */
