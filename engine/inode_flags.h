/* SPDX-License-Identifier: MIT */
/*
 * inode_flags.h - flags of files and directories (FS_IOC_GETFLAGS, chattr(1)) that a copy keeps.
 *
 * nocow must be set while the file is empty; append-only and immutable last of all, for nothing can be
 * changed, linked or renamed after that. Who may not set a flag copies without it, as with owners.
 */
#ifndef ENGINE_INODE_FLAGS_H
#define ENGINE_INODE_FLAGS_H

#include <stdbool.h>

/** Those that are kept; 0 where there are none or the file system does not know of any. */
unsigned inode_flags_get(int fd);

/** To an empty file that is to get @flags in the end: those that are to be set now. */
void inode_flags_begin(int fd, unsigned flags);

/** To a complete file or directory. -errno of ioctl(2), but not for want of permission or support. */
int inode_flags_set(int fd, unsigned flags);

/** Whether it has some that forbid to change its attributes. */
bool inode_flags_is_locked(int fd);

/**
 * Takes those away that forbid to link, to rename and to remove. Answers what was taken, for
 * inode_flags_set(); 0: there were none, or they cannot be taken.
 */
unsigned inode_flags_unlock(int fd);
/** The same by name; *ret_fd: open if the answer is not 0. */
unsigned inode_flags_unlock_at(int dir_fd, const char *name, int *ret_fd);

#endif /* ENGINE_INODE_FLAGS_H */
