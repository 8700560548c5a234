/* SPDX-License-Identifier: MIT */
/*
 * control.h - the language of the control attributes: their names, and the values written to them.
 *
 * Pure functions: no file system is touched. What a path leads to is place.c's business.
 */
#ifndef ARSYNCFS_CONTROL_H
#define ARSYNCFS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arsync/engine.h"

#define CONTROL_PREFIX "user.arsync."
#define CONTROL_REASON_MAX 256
#define CONTROL_TAG_MAX 64

enum control_name {
	CONTROL_NONE, /* an attribute like any other */
	/* These are set: orders. */
	CONTROL_COPY,
	CONTROL_SUBMIT,
	CONTROL_COPY_FROM,
	CONTROL_SUBMIT_FROM,
	CONTROL_CANCEL,
	/* These are read. */
	CONTROL_JOBS,
	CONTROL_JOBS_BEFORE, /* jobs.ID */
	CONTROL_JOB,	     /* job.ID */
	CONTROL_WAIT,	     /* wait.ID */
	CONTROL_STATS,
	CONTROL_UNKNOWN, /* ours, and without meaning */
};

/** @ret_id: of the names that have one, else 0. */
enum control_name control_classify(const char *name, uint64_t *ret_id);

/** Whether the answer comes at once, and the copy goes on in the background. */
bool control_is_background(enum control_name name);
/** Whether it is set on the directory that receives the copy, with the source as value. */
bool control_is_from(enum control_name name);

/*
 * What is to be copied, or where to. @path has no empty and no "." components, no ".." and no slash
 * at either end; it is "" for the root that the path counts from.
 */
struct control_order {
	char *path;
	bool absolute;	   /* as the caller sees it: begins with the mount point */
	bool is_directory; /* a trailing slash. A destination: it exists, and receives the copy */
	char *name;	   /* name=: of the copy, with *_from; NULL: as the source */
	char *tag;	   /* tag=: what the caller knows the job by; NULL: nothing */
	struct tree_options options; /* all other lines: tree_options_set() */
};

/**
 * Parses the value of an attribute that orders a copy: a path, then lines key=value. On failure
 * @reason says why, in words.
 * -EINVAL: empty, a NUL, an option that does not exist; -EXDEV: ".."; -ENAMETOOLONG; -ENOMEM.
 */
int control_parse_order(enum control_name kind, const char *value, size_t size,
			struct control_order *ret, char reason[CONTROL_REASON_MAX]);
void control_order_destroy(struct control_order *order);

/**
 * What is left of the path below @mountpoint, which is absolute and without symbolic links. A
 * pointer into @order. NULL: it is not below.
 */
const char *control_below(const struct control_order *order, const char *mountpoint);

/** The value of user.arsync.cancel: a number, and perhaps a newline. -EINVAL. */
int control_parse_id(const char *value, size_t size, uint64_t *ret);

#endif /* ARSYNCFS_CONTROL_H */
