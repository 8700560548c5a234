/* SPDX-License-Identifier: MIT */
/*
 * tree_source.h - trees to be copied: files, links, owners, attributes and times, one by one, and whole
 * trees of which several tests copy one.
 *
 * Paths are below the harness's directory. What cannot be made fails the test. For the main thread.
 */
#ifndef UNIT_TREE_SOURCE_H
#define UNIT_TREE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tree_snapshot.h"

/* Somebody who is not root, with a further group. */
#define USER 1234
#define USER_GROUP 4321

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

struct cred;
struct fixture;

void make_dir(struct fixture *f, const char *path);
/* Of @size bytes, of which none is like another file's. */
void make_file(struct fixture *f, const char *path, uint64_t size);
/* Data where c is 'd', a hole where it is '.'; 256 KiB each. */
void make_sparse(struct fixture *f, const char *path, const char *layout);
void make_link(struct fixture *f, const char *from, const char *to);
void make_symlink(struct fixture *f, const char *target, const char *path);
void set_mode(struct fixture *f, const char *path, mode_t mode);
void set_owner(struct fixture *f, const char *path, uid_t uid, gid_t gid);
/* False: this file system has none of the kind. */
bool set_xattr(struct fixture *f, const char *path, const char *name, const void *value,
	       size_t size);
bool set_acl(struct fixture *f, const char *path, const char *name);
void stamp_all(struct fixture *f, const char *path);
/* Everything below @path, and it, to a user. */
int give(int at, const char *name, uid_t uid);

/* Directories in one another, with files of sizes around everything that has a bound. */
void make_sizes(struct fixture *f);
/* "src/d/d/d", @depth of them. */
void deep_path(char *path, unsigned depth);
/* Below the path, in which there is room. */
const char *with_name(char *path, const char *name);
/* Something to be in the middle of. */
void make_lengthy(struct fixture *f);
void make_simple(struct fixture *f);
/* The user, and a directory "home" that is the user's. */
struct cred *make_user(struct fixture *f);
/* What the copy of the source should be when it is the user's. */
void expect_given_to_user(struct snapshot *s);

#endif /* UNIT_TREE_SOURCE_H */
