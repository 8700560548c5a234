/* SPDX-License-Identifier: MIT */
/*
 * handle.h - open files and directories, and kernel passthrough.
 *
 * fuse_file_info::fh is a pointer to one of these.
 */
#ifndef ARSYNCFS_HANDLE_H
#define ARSYNCFS_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "inode.h"
#include "readahead_tree.h"

struct session;
struct fuse_req;
struct fuse_file_info;

enum handle_passthrough {
	HANDLE_PASSTHROUGH_OFF,
	HANDLE_PASSTHROUGH_UNTRIED, /* the kernel offers it */
	HANDLE_PASSTHROUGH_ON,
};

/* open(2)'s flags as the kernel's FUSE hands them on: execve(2) has opened the file (FMODE_EXEC in linux/fs.h). */
#define HANDLE_EXEC 0x20

/* An open file. Set once. */
struct open_file {
	struct inode_opener opener;
	struct inode *inode; /* a reference */
	int fd;		     /* opener.fd's */
	int flags;	     /* of open(2), as far as fd has them, and HANDLE_EXEC */
	uid_t uid;	     /* who has opened it */
	bool direct_io;	     /* the kernel keeps nothing of it: FOPEN_DIRECT_IO */
	bool passthrough;    /* the kernel reads its file, but for what direct_io brings here */
};

/* An open directory. */
struct open_dir {
	/* Set once. */
	struct inode_opener opener;
	struct inode *inode; /* a reference */
	int fd;
	/* Atomic: a request that reads it owns the rest. */
	atomic_bool busy;
	/* The reader's. */
	char *buffer;	 /* of getdents64(2), or NULL */
	size_t used, at; /* bytes in buffer, and taken out of it */
	struct readahead_tree_list ahead;
	off_t next;	   /* the offset of the entry at @at, or of what is to be read next */
	uint64_t began_ms; /* when what was read without a gap so far began; 0: not at the beginning */
};

/**
 * An open file of @inode. Takes ownership of @fd, also when it fails. -ENOMEM.
 * To be closed with handle_close().
 */
int handle_new(struct session *session, struct inode *inode, int fd, int flags,
	       struct open_file **ret);

/** Fills @fi for the reply, with passthrough where it is to be had. Runs as the daemon. */
void handle_reply_info(struct session *session, struct fuse_req *req, struct open_file *handle,
		       struct fuse_file_info *fi);

/**
 * Whether the kernel would let it store through a mapping of what can only be appended to: somebody has had
 * the file open, with passthrough, since before that. After handle_reply_info().
 */
bool handle_may_overwrite(const struct open_file *handle);

/** @req gives a backing id back; NULL: the kernel has gone, and dropped them all. */
void handle_close(struct session *session, struct fuse_req *req, struct open_file *handle);

/** The same for directories. */
int handle_new_dir(struct session *session, struct inode *inode, int fd, struct open_dir **ret);
void handle_close_dir(struct session *session, struct open_dir *handle);

struct open_file *handle_file(const struct fuse_file_info *fi);
struct open_dir *handle_dir(const struct fuse_file_info *fi);

/** Whether somebody has @inode, a regular file, open for writing. */
bool handle_open_for_writing(struct session *session, struct inode *inode);

/**
 * Whether @inode, a regular file, is being executed. It may have ended just now: the kernel tells later.
 */
bool handle_executed(struct session *session, struct inode *inode);

bool handle_passthrough_works(const struct session *session);

#endif /* ARSYNCFS_HANDLE_H */
