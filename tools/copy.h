/* SPDX-License-Identifier: MIT */
/*
 * copy.h - one copy of `arsync copy`, and the two ways to make it.
 */
#ifndef TOOLS_COPY_H
#define TOOLS_COPY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "arsync/engine.h"
#include "progress.h"

/* What to copy, and where to. */
struct copy_task {
	const char *source; /* as given */
	char *directory;    /* an existing one */
	char *name;	    /* of the copy in there */
	char *shown;	    /* DIRECTORY/NAME as users would write it */
	const struct tree_options *options;
	const char *lines; /* the options for a mount: "\nkey=value" each */
};

/* What became of it. */
struct copy_outcome {
	int error;	  /* 0 or -errno; -ECANCELED */
	json_object *job; /* as user.arsync.job.ID says it; NULL: it was never a job */
};

/* A copy under way. */
struct copy_running {
	const struct copy_method *method;
	int event_fd; /* readable when it has ended */
};

struct copy_method {
	/**
	 * Starts the copy. -EOPNOTSUPP: this way cannot make it, and another may try. -errno: it is
	 * refused.
	 */
	int (*start)(const struct copy_task *task, void *context, struct copy_running **ret);
	void (*look)(struct copy_running *running, struct progress_state *ret);
	void (*cancel)(struct copy_running *running);
	/* After event_fd has become readable. Frees @running. */
	void (*end)(struct copy_running *running, struct copy_outcome *ret);
	/* Lets a copy that was started for the background go on. NULL: it cannot. Frees @running. */
	void (*leave)(struct copy_running *running, uint64_t *ret_id);
};

/** In this process. The context: a struct engine. */
extern const struct copy_method copy_local;
/** By the arsyncfs mount that both are in. The context: a bool, whether nobody will wait for the end. */
extern const struct copy_method copy_mount;

#endif /* TOOLS_COPY_H */
