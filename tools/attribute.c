/* SPDX-License-Identifier: MIT */
/*
 * attribute.c - see attribute.h.
 */
#include "attribute.h"

#include <inttypes.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "arsync/base.h"

#define PREFIX "user.arsync."
#define NAME_ROOM 64
#define FIRST_ROOM 8192 /* for a job; else again with all that an attribute can have */

/* Cuts the last component off; false: it was the root. */
static bool cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || strcmp(path, "/") == 0)
		return false;
	slash[slash == path ? 1 : 0] = '\0';
	return true;
}

/* All files of a FUSE mount have its device number: the highest directory that has it is the root. */
static int climb(char *path)
{
	_cleanup_free_ char *above = strdup(path);
	struct stat st, up;

	if (!above)
		return -ENOMEM;
	if (stat(path, &st) < 0)
		return negative_errno();
	while (cut_last(above) && stat(above, &up) == 0 && up.st_dev == st.st_dev)
		(void)strcpy(path, above); /* it only becomes shorter */
	return 0;
}

int attribute_find_root(const char *path, char **ret_root, char **ret_real, const char **ret_below)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	_cleanup_free_ char *root = NULL;
	size_t length;
	int r;

	if (!real)
		return negative_errno();
	root = strdup(real);
	if (!root)
		return -ENOMEM;
	r = climb(root);
	if (r < 0)
		return r;
	/* Only the root of such a mount has it. */
	if (getxattr(root, PREFIX "stats", NULL, 0) <= 0)
		return -ENOTTY;
	length = strlen(root);
	if (ret_below)
		*ret_below = real + length + (real[length] == '/');
	if (ret_real)
		*ret_real = TAKE_PTR(real);
	*ret_root = TAKE_PTR(root);
	return 0;
}

int attribute_get(const char *path, const char *name, char **ret)
{
	_cleanup_free_ char *value = NULL;
	char full[NAME_ROOM];
	size_t room = FIRST_ROOM;
	ssize_t n;

	(void)snprintf(full, sizeof(full), PREFIX "%s", name); /* our names are short */
	for (;;) {
		free(value);
		value = malloc(room + 1);
		if (!value)
			return -ENOMEM;
		n = getxattr(path, full, value, room);
		if (n >= 0 || errno != ERANGE || room == XATTR_SIZE_MAX)
			break;
		room = XATTR_SIZE_MAX;
	}
	if (n < 0)
		return negative_errno();
	value[n] = '\0';
	*ret = TAKE_PTR(value);
	return 0;
}

int attribute_get_json(const char *path, const char *name, json_object **ret)
{
	_cleanup_free_ char *text = NULL;
	json_object *object;
	int r = attribute_get(path, name, &text);

	if (r < 0)
		return r;
	object = json_tokener_parse(text);
	if (!object)
		return -EPROTO;
	*ret = object;
	return 0;
}

int attribute_get_job(const char *root, const char *what, uint64_t id, json_object **ret)
{
	char name[NAME_ROOM];

	(void)snprintf(name, sizeof(name), "%s.%" PRIu64, what, id); /* fits */
	return attribute_get_json(root, name, ret);
}

int attribute_set(const char *path, const char *name, const char *value)
{
	char full[NAME_ROOM];

	(void)snprintf(full, sizeof(full), PREFIX "%s", name); /* our names are short */
	return setxattr(path, full, value, strlen(value), 0) < 0 ? negative_errno() : 0;
}

/* The directory that the job copies to: its user may write there. */
static int cancel_at_destination(const char *root, uint64_t id, const char *value)
{
	_cleanup_json_ json_object *job = NULL;
	_cleanup_free_ char *path = NULL;
	int r = attribute_get_job(root, "job", id, &job);

	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s", root, attribute_text(job, "destination")) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return cut_last(path) ? attribute_set(path, "cancel", value) : -EACCES;
}

int attribute_cancel(const char *root, const char *path, uint64_t id)
{
	const char *const places[] = { path, root };
	char value[NAME_ROOM];
	int r = -EACCES;

	(void)snprintf(value, sizeof(value), "%" PRIu64, id); /* fits */
	/* The kernel wants who sets user.* attributes to be allowed to write there. */
	for (size_t i = 0; i < ARRAY_SIZE(places) && places[i]; i++) {
		r = attribute_set(places[i], "cancel", value);
		if (r != -EACCES && r != -EPERM && r != -EOPNOTSUPP && r != -EROFS)
			return r;
	}
	if (cancel_at_destination(root, id, value) == 0)
		return 0;
	return r;
}

uint64_t attribute_number(json_object *object, const char *key)
{
	json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_uint64(value) : 0;
}

const char *attribute_text(json_object *object, const char *key)
{
	json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) || !value)
		return "";
	return json_object_get_string(value);
}

bool attribute_flag(json_object *object, const char *key)
{
	json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) && json_object_get_boolean(value);
}

bool attribute_job_has_ended(json_object *job)
{
	const char *state = attribute_text(job, "state");

	return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
	       strcmp(state, "cancelled") == 0;
}
