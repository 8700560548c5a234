/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line of arsyncfs.
 */
#ifndef ARSYNCFS_OPTIONS_H
#define ARSYNCFS_OPTIONS_H

#include <fuse_opt.h>
#include <stdbool.h>

#include "arsync/engine.h"
#include "atime.h"

#define OPTIONS_TRIGGER_WAIT_MAX 86400
#define OPTIONS_ERROR_MAX 512

enum options_action {
	OPTIONS_MOUNT,
	OPTIONS_HELP,
	OPTIONS_VERSION,
};

enum options_cache {
	OPTIONS_CACHE_AUTO,   /* attributes and names for a second */
	OPTIONS_CACHE_ALWAYS, /* for an hour */
	OPTIONS_CACHE_NEVER,
};

enum options_transport {
	OPTIONS_TRANSPORT_AUTO, /* what the kernel offers */
	OPTIONS_TRANSPORT_RING, /* FUSE over io_uring, or no mount */
	OPTIONS_TRANSPORT_DEV,	/* /dev/fuse */
};

struct options {
	enum options_action action;
	struct engine_options engine; /* log is not set */
	enum options_cache cache;
	enum options_transport transport;
	struct atime atime;
	bool passthrough;      /* where it is to be had */
	bool cpu_latency;      /* the same */
	bool readahead_tree;   /* the same */
	unsigned trigger_wait; /* seconds; 0: no limit */
	enum log_level log_level;
	bool foreground;
	char *backing;	       /* as given */
	char *mountpoint;      /* as given */
	struct fuse_args fuse; /* what libfuse and the kernel are to see; without fsname */
	bool has_fsname;       /* the user chose one */
	bool read_only;
	char error[OPTIONS_ERROR_MAX]; /* one sentence, after a failure */
};

/**
 * Parses @argv. -EINVAL or -ENOMEM: options::error says why, in one sentence. Always to be followed
 * by options_destroy().
 */
int options_parse(struct options *options, int argc, char **argv);
void options_destroy(struct options *options);

/** Text for --help. */
const char *options_help(void);

#endif /* ARSYNCFS_OPTIONS_H */
