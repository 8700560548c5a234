/* SPDX-License-Identifier: MIT */
/*
 * session.h - one mount, from the checks before it to the unmount, and what every request handler
 * needs.
 *
 * struct session is libfuse's userdata. It is complete before the first request arrives and stays
 * so until the last job has answered.
 */
#ifndef ARSYNCFS_SESSION_H
#define ARSYNCFS_SESSION_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 318
#endif

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "arsync/engine.h"
#include "backing.h"
#include "handle.h"
#include "inode.h"
#include "logsink.h"
#include "options.h"
#include "stats.h"

#ifndef SESSION_VERSION
#ifdef ARSYNCFS_VERSION
#define SESSION_VERSION ARSYNCFS_VERSION
#else
#define SESSION_VERSION "0.1.0"
#endif
#endif

struct cpu_latency;
struct jobs;
struct notifier;
struct ring;
struct stop;
struct waiting;

struct session {
	/* Set once, before the first request. */
	const struct options *options;
	const struct log *log;
	struct logsink *sink;
	char *mountpoint; /* absolute, without symbolic links */
	double timeout;	  /* seconds that names and attributes stay valid in the kernel */
	struct backing backing;
	struct inode_table *inodes;
	struct engine *engine;
	char *backing_path;	     /* absolute; "": not known */
	struct leftovers *leftovers; /* NULL: crashes are not remembered */
	struct jobs *jobs;
	struct waiting *waiting;
	struct notifier *notifier;
	struct stop *stop;
	struct fuse_session *fuse;
	struct readahead_tree *readahead_tree; /* NULL: not wanted */
	struct ring *ring;		       /* NULL: not to be tried */
	struct cpu_latency *cpu_latency;       /* NULL: not to be had */
	pthread_key_t callers;		       /* caller.c: struct cred_thread of each thread */
	/* Atomic. */
	_Atomic enum handle_passthrough passthrough;
	atomic_uint removing; /* names being removed, by unlink(2), rmdir(2) or rename(2), just now */
	struct stats stats;
};

/**
 * Mounts, goes to the background unless told otherwise, and serves until it is unmounted or told to
 * end. Returns the exit status; what went wrong was logged.
 */
int session_run(const struct options *options, struct logsink *sink);

#endif /* ARSYNCFS_SESSION_H */
