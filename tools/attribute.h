/* SPDX-License-Identifier: MIT */
/*
 * attribute.h - an arsyncfs mount from outside: its control attributes.
 */
#ifndef TOOLS_ATTRIBUTE_H
#define TOOLS_ATTRIBUTE_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

/**
 * The root of the arsyncfs mount that @path, an existing file, is on. @ret_below, if not NULL: the
 * path below it, a pointer into @ret_real, which is @path without symbolic links. -ENOTTY: it is on
 * no such mount; -errno of realpath(3).
 */
int attribute_find_root(const char *path, char **ret_root, char **ret_real, const char **ret_below);

/** Reads user.arsync.NAME of @path. -errno of getxattr(2). */
int attribute_get(const char *path, const char *name, char **ret);
/** The same, parsed. -EPROTO: it is no JSON. To be freed with json_object_put(). */
int attribute_get_json(const char *path, const char *name, json_object **ret);
/** user.arsync.WHAT.ID */
int attribute_get_job(const char *root, const char *what, uint64_t id, json_object **ret);

/** Sets user.arsync.NAME. -errno of setxattr(2). */
int attribute_set(const char *path, const char *name, const char *value);

/** Cancels a job. @path: a directory of the mount, perhaps one that the user may write. */
int attribute_cancel(const char *root, const char *path, uint64_t id);

/* Of a JSON object; 0, "" or false where there is no such thing. */
uint64_t attribute_number(json_object *object, const char *key);
const char *attribute_text(json_object *object, const char *key);
bool attribute_flag(json_object *object, const char *key);

/** Whether a job's state is one that it stays in. */
bool attribute_job_has_ended(json_object *job);

static inline void cleanup_json(json_object **object)
{
	json_object_put(*object); /* accepts NULL */
}

#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

#endif /* TOOLS_ATTRIBUTE_H */
