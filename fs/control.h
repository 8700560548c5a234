/* SPDX-License-Identifier: MIT */
/*
 * control.h - the language of the control attributes: their names, and the values written to them.
 *
 * Pure functions: no file system is touched. What a path leads to is trigger.c's business.
 */
#ifndef ARSYNCFS_CONTROL_H
#define ARSYNCFS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_PREFIX "user.arsync."
#define CONTROL_REASON_MAX 160

enum control_name {
	CONTROL_NONE, /* an attribute like any other */
	CONTROL_COPY,
	CONTROL_STATS,
	CONTROL_UNKNOWN, /* ours, and without meaning */
};

enum control_name control_classify(const char *name);

/*
 * Where a copy is to go. @path has no empty and no "." components, no ".." and no slash at either
 * end; it is "" for the root that the path counts from.
 */
struct control_dest {
	char *path;
	bool absolute;	     /* as the caller sees it: begins with the mount point */
	bool into_directory; /* a trailing slash: an existing directory that receives the copy */
};

/**
 * Parses the value of user.arsync.copy: DEST, then lines key=value. On failure @reason says why, in
 * words.
 * -EINVAL: empty, a NUL, "..", an option that does not exist; -ENAMETOOLONG; -ENOMEM.
 */
int control_parse_dest(const char *value, size_t size, struct control_dest *ret,
		       char reason[CONTROL_REASON_MAX]);
void control_dest_destroy(struct control_dest *dest);

/**
 * What is left of @dest below @mountpoint, which is absolute and without symbolic links. A pointer
 * into @dest. NULL: it is not below.
 */
const char *control_below(const struct control_dest *dest, const char *mountpoint);

#endif /* ARSYNCFS_CONTROL_H */
