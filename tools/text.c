/* SPDX-License-Identifier: MIT */
/*
 * text.c - see text.h.
 */
#include "text.h"

#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "arsync/utf8.h"

void text_add_path(json_object *object, const char *key, const char *path)
{
	_cleanup_free_ char *text = malloc(strlen(UTF8_REPLACEMENT) * strlen(path) + 1);
	char *out = text;

	if (!text)
		return;
	while (*path) {
		size_t length = utf8_length(path);

		out = length ? mempcpy(out, path, length) : stpcpy(out, UTF8_REPLACEMENT);
		path += MAX(length, (size_t)1);
	}
	*out = '\0';
	json_object_object_add(object, key, json_object_new_string(text));
}

void text_print_json(json_object *object)
{
	(void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)fflush(stdout); /* errors are seen at the end */
}
