/* SPDX-License-Identifier: MIT */
/*
 * text.c - see text.h.
 */
#include "text.h"

#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "arsync/utf8.h"

#define KEY_MAX 32

static void add_hex(json_object *object, const char *key, const char *path)
{
	size_t size = strlen(path);
	_cleanup_free_ char *hex = malloc(2 * size + 1);
	char name[KEY_MAX];

	if (!hex)
		return;
	for (size_t i = 0; i <= size; i++)
		(void)snprintf(hex + 2 * i, 3, path[i] ? "%02x" : "", (unsigned char)path[i]);
	(void)snprintf(name, sizeof(name), "%s_hex", key); /* keys are ours, and short */
	json_object_object_add(object, name, json_object_new_string(hex));
}

void text_add_path(json_object *object, const char *key, const char *path)
{
	_cleanup_free_ char *text = malloc(strlen(UTF8_REPLACEMENT) * strlen(path) + 1);
	const char *from = path;
	char *out = text;
	bool valid = true;

	if (!text)
		return;
	while (*path) {
		size_t length = utf8_length(path);

		valid = valid && length > 0;
		out = length ? mempcpy(out, path, length) : stpcpy(out, UTF8_REPLACEMENT);
		path += MAX(length, (size_t)1);
	}
	*out = '\0';
	json_object_object_add(object, key, json_object_new_string(text));
	if (!valid)
		add_hex(object, key, from);
}

json_object *text_error(const char *path, const char *operation, int error)
{
	json_object *object = json_object_new_object();
	const char *name = strerrorname_np(-error);

	text_add_path(object, "path", path);
	json_object_object_add(object, "operation", json_object_new_string(operation));
	json_object_object_add(object, "errno", json_object_new_string(name ? name : "unknown"));
	json_object_object_add(object, "message", json_object_new_string(strerror(-error)));
	return object;
}

void text_print_json(json_object *object)
{
	(void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)fflush(stdout); /* errors are seen at the end */
}
