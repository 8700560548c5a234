/* SPDX-License-Identifier: MIT */
/*
 * tree_snapshot.h - what a tree consists of, to compare: names, types, content, owners, modes, times,
 * attributes, and which names are links of one another.
 */
#ifndef UNIT_TREE_SNAPSHOT_H
#define UNIT_TREE_SNAPSHOT_H

#include <dirent.h>
#include <sys/stat.h>

#include "support.h"

struct item {
	char *path; /* "" is the root */
	struct stat st;
	uint64_t content; /* a hash: of a file's bytes, or of a symbolic link's target */
	uint64_t xattrs;  /* a hash, whatever their order; without security.* */
	size_t same;	  /* the first item that is the same inode */
	size_t names;	  /* how many are */
};

struct snapshot {
	struct item *items; /* ordered by path */
	size_t n;
	size_t room;
	bool of_source;
};

/* What a result should say. */
struct totals {
	uint64_t files;
	uint64_t directories;
	uint64_t others;
	uint64_t bytes;
};

void snapshot_clear(struct snapshot *s);
void close_dir(DIR **dir);
int open_dir(int at, const char *name, DIR **ret);
bool is_dots(const char *name);
void take_snapshot(struct snapshot *s, int at, const char *path, bool of_source);
void assert_same(const struct snapshot *is, const struct snapshot *should);
struct totals totals_of(const struct snapshot *s);

#endif /* UNIT_TREE_SNAPSHOT_H */
