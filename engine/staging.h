/* SPDX-License-Identifier: MIT */
/*
 * staging.h - a copy grows under a hidden name and takes its own as the last step, or is removed.
 */
#ifndef ENGINE_STAGING_H
#define ENGINE_STAGING_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STAGING_PREFIX ".arsync-"
#define STAGING_PREFIX_ASIDE ".replaced-"
#define STAGING_DIGITS 16 /* hexadecimal, after the prefix */
#define STAGING_NAME_SIZE (sizeof(STAGING_PREFIX_ASIDE) + STAGING_DIGITS) /* room for either name */
#define STAGING_PART_SIZE (STAGING_NAME_SIZE + 1 + STAGING_DIGITS)	  /* and for a part's */

/**
 * Writes a hidden name that nobody else has. @name has room for STAGING_NAME_SIZE bytes.
 * -errno of getrandom(2).
 */
int staging_name(char *name);

/** Of what has one hidden name after the other, beginning with @name. Room for STAGING_PART_SIZE bytes. */
void staging_part_name(const char *name, uint64_t number, char *ret);

/** Whether @part was made so from @name, or could have been. */
bool staging_is_part(const char *part, const char *name);

/** The same for something of others that is moved out of the way: nobody may take it for a copy. */
int staging_name_aside(char *name);

/**
 * Renames @staging to @name in the same directory, which must not have it: -EEXIST. Atomic where
 * the file system knows RENAME_NOREPLACE; elsewhere a name made in the same instant by somebody
 * else could be replaced (an empty directory or a file).
 */
int staging_publish(int dir_fd, const char *staging, const char *name);

/** Two names of a directory change places. -EINVAL: the file system has no RENAME_EXCHANGE. */
int staging_exchange(int dir_fd, const char *one, const char *other);

/*
 * Removes a tree, a bounded number of entries at a time, without recursion and with one open
 * directory. Neither symbolic links are followed nor other mounts entered (-EXDEV, -EBUSY).
 */
struct staging_remover {
	int parent_fd;		      /* borrowed */
	const char *name;	      /* borrowed */
	int dir_fd;		      /* the directory being emptied; -1: not begun */
	unsigned depth;		      /* of it, below the root of the tree; the root is 1 */
	struct staging_level *levels; /* from the root's on: depth of them */
	unsigned n_levels;	      /* room */
	dev_t root_dev;		      /* what the root must be */
	ino_t root_ino;
	bool unlock; /* append-only and immutable files, too: they are of our making */
};

/**
 * Opens @name with O_PATH and @flags, if it is on the same mount as the directory @at: nothing that is
 * mounted there is asked for anything. Follows no symbolic link. An fd; -EXDEV: another mount.
 */
int staging_open_same_mount(int at, const char *name, int flags);

void staging_remover_init(struct staging_remover *remover, int parent_fd, const char *name);
/** The root must be this file or directory, or nothing is removed: -ESTALE. */
void staging_remover_expect(struct staging_remover *remover, dev_t dev, ino_t ino);
void staging_remover_destroy(struct staging_remover *remover);

/** Removes up to @budget entries. 1: there is more; 0: all is gone (or was never there); -errno. */
int staging_remove_some(struct staging_remover *remover, unsigned budget);

#endif /* ENGINE_STAGING_H */
