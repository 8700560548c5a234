/* SPDX-License-Identifier: MIT */
/*
 * text.h - names, which may be any bytes, for JSON.
 */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <json-c/json.h>

/** Adds a path; what is not UTF-8 in it becomes U+FFFD. */
void text_add_path(json_object *object, const char *key, const char *path);

/** One JSON object on a line of standard output. */
void text_print_json(json_object *object);

#endif /* TOOLS_TEXT_H */
