/* SPDX-License-Identifier: MIT */
/*
 * tree_link.h - keeping hard links.
 *
 *	COPYING --tree_link_copied--> COPIED (further names are linked to the first)
 *	        \--tree_link_failed--> forgotten: the next name is a first one
 *
 * The first name of an inode copies it. Who comes while that goes on leaves a note and goes on with
 * something else: no worker waits. An entry is dropped when all names that the inode has were seen.
 *
 * Threads: any worker; the table is protected by tree_job::lock.
 */
#ifndef ENGINE_TREE_LINK_H
#define ENGINE_TREE_LINK_H

#include <sys/stat.h>

struct tree_dir;
struct tree_job;
struct tree_link;
struct worker;

enum tree_link_claim {
	TREE_LINK_OWN, /* the caller copies the file, then calls tree_link_copied() or _failed() */
	TREE_LINK_QUEUED, /* who copies it links it, and calls tree_dir_done() for it */
	TREE_LINK_READY,  /* the caller calls tree_link_make() */
};

/*
 * Which inode it is. Device and number alone do not tell: who removes a file while the tree is copied may
 * get its number for the next one.
 */
struct tree_link_inode {
	dev_t dev;
	ino_t ino;
	struct timespec born; /* or, where the file system does not know: last modified, */
	off_t size;	      /* and the size; else 0 */
};

/** Of @name in @fd, or of @fd itself ("", may be O_PATH), which has @st. -ESTALE: it is another one now. */
int tree_link_identify(int fd, const char *name, const struct stat *st,
		       struct tree_link_inode *ret);

/** @nlink: the names that the inode has. -ENOMEM. *ret_link is set for OWN and READY. */
int tree_link_claim(struct tree_dir *dir, const char *name, const struct tree_link_inode *inode,
		    nlink_t nlink, enum tree_link_claim *ret_claim, struct tree_link **ret_link);

/** The first name is complete: links those that wait. @link is no longer the caller's. */
void tree_link_copied(struct tree_link *link, struct worker *worker);

/** The first name could not be copied: those that wait are tried on their own. */
void tree_link_failed(struct tree_link *link, struct worker *worker);

/** Links one more name and drops the caller's hold. 0; -errno, *ret_call; -EMLINK: copy it anew. */
int tree_link_make(struct tree_link *link, struct tree_dir *dir, const char *name,
		   const char **ret_call);

/** Frees what is left, with the job. */
void tree_link_table_destroy(struct tree_job *tree);

#endif /* ENGINE_TREE_LINK_H */
