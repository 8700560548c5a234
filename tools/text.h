/* SPDX-License-Identifier: MIT */
/*
 * text.h - names, which may be any bytes, for JSON.
 */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <json-c/json.h>

/** Adds a path; what is not UTF-8 in it becomes U+FFFD, and its bytes follow as @key_hex. */
void text_add_path(json_object *object, const char *key, const char *path);

/**
 * One of a job's errors, as a mount tells it: @path is relative to the source, @error is -errno. To be put by
 * the caller.
 */
json_object *text_error(const char *path, const char *operation, int error);

/** One JSON object on a line of standard output. */
void text_print_json(json_object *object);

#endif /* TOOLS_TEXT_H */
