/* SPDX-License-Identifier: MIT */
/*
 * place.h - paths of control attributes: what they lead to below the backing directory.
 *
 * Everything is looked up as the caller, with openat2(2) below the backing's root: neither "..",
 * symbolic links nor races lead out of it, and nobody gets at what they could not reach themselves.
 */
#ifndef ARSYNCFS_PLACE_H
#define ARSYNCFS_PLACE_H

#include "session.h"

/* Where a copy is to go. */
struct place {
	int parent_fd;	 /* O_PATH; -1: none */
	char *name;	 /* one component */
	char *directory; /* where parent_fd really is, relative to the root; NULL: not known */
	char *shown;	 /* that of the copy */
};

void place_destroy(struct place *place);

/**
 * Finds the directory @below the root, for a copy under @name. Unless it @may_exist that is -EEXIST.
 * -errno of openat2(2).
 */
int place_find(struct session *session, struct cred *cred, const char *below, const char *name,
	       bool may_exist, struct place *ret);

/** The same in a directory that is open already, which is duplicated. */
int place_find_in(struct session *session, struct cred *cred, int directory_fd, const char *name,
		  bool may_exist, struct place *ret);

/**
 * Opens a source @below the root with O_PATH. A symbolic link at its end is followed only where it
 * has to be a @directory. Returns an fd or -errno.
 */
int place_open_source(struct session *session, struct cred *cred, const char *below,
		      bool directory);

/**
 * The path of @fd relative to the mount's root, as far as it is known: the last name where it was
 * reached in another way, "" where it has none. -ENOMEM; -errno of readlink(2).
 */
int place_path_of(struct session *session, int fd, char **ret);

#endif /* ARSYNCFS_PLACE_H */
