/* SPDX-License-Identifier: MIT */
/*
 * json.c - see json.h.
 */
#include "json.h"

#include <stdio.h>
#include <string.h>

#include "arsync/utf8.h"

#define KEY_MAX 64

void json_add(json_object *object, const char *key, json_object *value)
{
	if (!object || json_object_object_add(object, key, value) < 0)
		json_object_put(value);
}

void json_add_number(json_object *object, const char *key, uint64_t value)
{
	json_add(object, key, json_object_new_uint64(value));
}

void json_add_text(json_object *object, const char *key, const char *text)
{
	json_add(object, key, json_object_new_string(text));
}

static void add_hex(json_object *object, const char *key, const char *path)
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_free_ char *hex = malloc(2 * strlen(path) + 1);
	char name[KEY_MAX];
	char *out = hex;

	if (!hex)
		return;
	for (const unsigned char *in = (const unsigned char *)path; *in; in++) {
		*out++ = digits[*in >> 4];
		*out++ = digits[*in & 15];
	}
	*out = '\0';
	(void)snprintf(name, sizeof(name), "%s_hex", key); /* keys are ours, and short */
	json_add_text(object, name, hex);
}

void json_add_path(json_object *object, const char *key, const char *path)
{
	_cleanup_free_ char *text = NULL;
	char *out;

	if (utf8_is_valid(path)) {
		json_add_text(object, key, path);
		return;
	}
	text = malloc(strlen(UTF8_REPLACEMENT) * strlen(path) + 1);
	if (!text)
		return;
	out = text;
	for (const char *in = path; *in;) {
		size_t length = utf8_length(in);

		out = length ? mempcpy(out, in, length) : stpcpy(out, UTF8_REPLACEMENT);
		in += MAX(length, (size_t)1);
	}
	*out = '\0';
	json_add_text(object, key, text);
	add_hex(object, key, path);
}

int json_to_text(json_object *object, char **ret)
{
	const char *text = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	char *copy = text ? strdup(text) : NULL;

	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
