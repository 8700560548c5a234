/* SPDX-License-Identifier: MIT */
/*
 * control.c - control_parse_dest() takes a value apart: lines, then the path's components, one by
 * one.
 */
#include "control.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"

enum control_name control_classify(const char *name)
{
	const size_t prefix = sizeof(CONTROL_PREFIX) - 1;

	if (strncmp(name, CONTROL_PREFIX, prefix) != 0)
		return CONTROL_NONE;
	if (strcmp(name + prefix, "copy") == 0)
		return CONTROL_COPY;
	if (strcmp(name + prefix, "stats") == 0)
		return CONTROL_STATS;
	return CONTROL_UNKNOWN;
}

__attribute__((format(printf, 3, 4))) static int fail(char reason[CONTROL_REASON_MAX], int error,
						      const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reason, CONTROL_REASON_MAX, format, arguments); /* may be cut off */
	va_end(arguments);
	return error;
}

/* The end of the line that begins at @at. */
static const char *line_end(const char *at, const char *end)
{
	const char *newline = memchr(at, '\n', (size_t)(end - at));

	return newline ? newline : end;
}

/* Options are refused by name until there are some: one without effect would be a lie. */
static int check_options(const char *at, const char *end, char reason[CONTROL_REASON_MAX])
{
	while (at < end) {
		const char *stop = line_end(at, end);
		const char *equals = memchr(at, '=', (size_t)(stop - at));
		int length = (int)MIN((equals ? equals : stop) - at, (ptrdiff_t)64);

		if (stop > at && !equals)
			return fail(reason, -EINVAL, "line \"%.*s\" is not of the form key=value",
				    length, at);
		if (stop > at)
			return fail(reason, -EINVAL, "there is no option \"%.*s\"", length, at);
		at = stop + 1;
	}
	return 0;
}

/* Appends the component @at to @path, whose next free byte is *@used. */
static int add_component(char *path, size_t *used, const char *at, size_t length,
			 char reason[CONTROL_REASON_MAX])
{
	if (length == 0 || (length == 1 && at[0] == '.'))
		return 0;
	if (length == 2 && at[0] == '.' && at[1] == '.')
		return fail(reason, -EXDEV, "the destination must not contain \"..\"");
	if (length > NAME_MAX)
		return fail(reason, -ENAMETOOLONG,
			    "a name of the destination has more than %d bytes", NAME_MAX);
	if (*used)
		path[(*used)++] = '/';
	memcpy(path + *used, at, length);
	*used += length;
	return 0;
}

/* @path has room for the whole text. */
static int normalise(char *path, const char *at, const char *end, char reason[CONTROL_REASON_MAX])
{
	size_t used = 0;
	int r = 0;

	while (r == 0 && at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *stop = slash ? slash : end;

		r = add_component(path, &used, at, (size_t)(stop - at), reason);
		at = stop + 1;
	}
	path[used] = '\0';
	return r;
}

/* "dir/" and "dir/." name a directory that is there; so does "." */
static bool names_directory(const char *at, const char *end)
{
	if (end[-1] == '/')
		return true;
	return end[-1] == '.' && (end - at == 1 || end[-2] == '/');
}

int control_parse_dest(const char *value, size_t size, struct control_dest *ret,
		       char reason[CONTROL_REASON_MAX])
{
	_cleanup_free_ char *path = NULL;
	const char *stop;
	int r;

	reason[0] = '\0';
	if (size == 0)
		return fail(reason, -EINVAL, "the value is empty");
	if (memchr(value, '\0', size))
		return fail(reason, -EINVAL, "the value contains a NUL byte");
	stop = line_end(value, value + size);
	if (stop == value)
		return fail(reason, -EINVAL, "the destination is empty");
	if (stop - value >= PATH_MAX)
		return fail(reason, -ENAMETOOLONG, "the destination has more than %d bytes",
			    PATH_MAX - 1);
	r = check_options(stop, value + size, reason);
	if (r < 0)
		return r;

	path = malloc((size_t)(stop - value) + 1);
	if (!path)
		return fail(reason, -ENOMEM, "out of memory");
	r = normalise(path, value, stop, reason);
	if (r < 0)
		return r;
	*ret = (struct control_dest){
		.path = TAKE_PTR(path),
		.absolute = value[0] == '/',
		.into_directory = names_directory(value, stop),
	};
	return 0;
}

void control_dest_destroy(struct control_dest *dest)
{
	free(dest->path);
	dest->path = NULL;
}

const char *control_below(const struct control_dest *dest, const char *mountpoint)
{
	const char *top =
		mountpoint + strspn(mountpoint, "/"); /* dest->path has no leading slash */
	size_t length = strlen(top);

	if (!dest->absolute || length == 0)
		return dest->path;
	if (strncmp(dest->path, top, length) != 0)
		return NULL;
	if (dest->path[length] == '\0')
		return dest->path + length;
	return dest->path[length] == '/' ? dest->path + length + 1 : NULL;
}
