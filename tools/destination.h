/* SPDX-License-Identifier: MIT */
/*
 * destination.h - where `arsync copy` copies to, by the habits of cp(1).
 */
#ifndef TOOLS_DESTINATION_H
#define TOOLS_DESTINATION_H

#include <stdbool.h>
#include <sys/stat.h>

#include "copy.h"

enum destination_kind {
	DESTINATION_AUTO,      /* into it where it is a directory */
	DESTINATION_DIRECTORY, /* -t: it must be one */
	DESTINATION_NAME,      /* -T: it is the copy's own name */
};

/**
 * What @kind means for @dest: whether copies go into it. -ENOTDIR: it should be a directory and is
 * none; -errno of stat(2).
 */
int destination_is_directory(const char *dest, enum destination_kind kind, bool several,
			     bool *ret_into);

/**
 * Finds directory and name of the copy of @source. -ENOENT and others of stat(2): the source;
 * -EINVAL: the copy has no name ("/", or @source is "." and goes into @dest); -ENAMETOOLONG; -ENOTDIR: a file to "new/".
 */
int destination_find(const char *source, const char *dest, bool into, struct copy_task *ret);
/**
 * Whether a copy of @source may go where @existing is. -EEXIST: not with these options; -EINVAL: they are
 * the same; -EISDIR, -ENOTDIR: one of them only is a directory.
 */
int destination_check(const struct stat *source, const struct stat *existing,
		      enum tree_existing how);

void destination_destroy(struct copy_task *task);

#endif /* TOOLS_DESTINATION_H */
