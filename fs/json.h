/* SPDX-License-Identifier: MIT */
/*
 * json.h - what the values of control attributes are made with, on top of json-c.
 *
 * Without memory json-c gives NULL. These functions then drop the value, and the text says less;
 * only a missing text as a whole is an error.
 */
#ifndef ARSYNCFS_JSON_H
#define ARSYNCFS_JSON_H

#include <json-c/json.h>
#include <stdint.h>

#include "arsync/base.h"

/** Takes ownership of @value. */
void json_add(json_object *object, const char *key, json_object *value);
void json_add_number(json_object *object, const char *key, uint64_t value);
void json_add_text(json_object *object, const char *key, const char *text);

/**
 * Adds a name or path, which may be any bytes. What is not UTF-8 in it becomes U+FFFD, and all its
 * bytes follow as KEY_hex then: nothing is lost, and every reader of JSON can read it.
 */
void json_add_path(json_object *object, const char *key, const char *path);

/** The text in one line, to be freed by the caller. -ENOMEM. */
int json_to_text(json_object *object, char **ret);

static inline void cleanup_json(json_object **object)
{
	json_object_put(*object); /* accepts NULL */
}

#define _cleanup_json_ _cleanup_(cleanup_json)

#endif /* ARSYNCFS_JSON_H */
