/* SPDX-License-Identifier: MIT */
/*
 * control.c - control_parse_order() takes a value apart: lines, then the path's components, one by
 * one.
 */
#include "control.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"

#define OPTION_TEXT_MAX 64 /* of a key or value of the engine, as far as it is looked at */

/* Digits only, without leading zeros, so that a job has one name. */
static bool parse_digits(const char *at, const char *end, uint64_t *ret)
{
	uint64_t id = 0;

	if (at == end || *at == '0')
		return false;
	for (; at < end; at++) {
		if (*at < '0' || *at > '9' || __builtin_mul_overflow(id, UINT64_C(10), &id) ||
		    __builtin_add_overflow(id, (uint64_t)(*at - '0'), &id))
			return false;
	}
	*ret = id;
	return true;
}

enum control_name control_classify(const char *name, uint64_t *ret_id)
{
	static const struct {
		const char *name;
		enum control_name kind;
	} plain[] = {
		{ "copy", CONTROL_COPY },	    { "submit", CONTROL_SUBMIT },
		{ "copy_from", CONTROL_COPY_FROM }, { "submit_from", CONTROL_SUBMIT_FROM },
		{ "cancel", CONTROL_CANCEL },	    { "jobs", CONTROL_JOBS },
		{ "stats", CONTROL_STATS },
	};
	static const struct {
		const char *prefix;
		enum control_name kind;
	} numbered[] = {
		{ "jobs.", CONTROL_JOBS_BEFORE },
		{ "job.", CONTROL_JOB },
		{ "wait.", CONTROL_WAIT },
	};
	const size_t ours = sizeof(CONTROL_PREFIX) - 1;

	*ret_id = 0;
	if (strncmp(name, CONTROL_PREFIX, ours) != 0)
		return CONTROL_NONE;
	name += ours;
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (strcmp(name, plain[i].name) == 0)
			return plain[i].kind;
	for (size_t i = 0; i < ARRAY_SIZE(numbered); i++) {
		size_t length = strlen(numbered[i].prefix);

		if (strncmp(name, numbered[i].prefix, length) == 0 &&
		    parse_digits(name + length, name + strlen(name), ret_id))
			return numbered[i].kind;
	}
	return CONTROL_UNKNOWN;
}

bool control_is_background(enum control_name name)
{
	return name == CONTROL_SUBMIT || name == CONTROL_SUBMIT_FROM;
}

bool control_is_from(enum control_name name)
{
	return name == CONTROL_COPY_FROM || name == CONTROL_SUBMIT_FROM;
}

int control_parse_id(const char *value, size_t size, uint64_t *ret)
{
	if (size > 0 && value[size - 1] == '\n')
		size--;
	return parse_digits(value, value + size, ret) ? 0 : -EINVAL;
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

static int set_text(char **text, const char *at, const char *end, char reason[CONTROL_REASON_MAX])
{
	free(*text);
	*text = strndup(at, (size_t)(end - at));
	return *text ? 0 : fail(reason, -ENOMEM, "out of memory");
}

static int set_name(struct control_order *order, const char *at, const char *end,
		    char reason[CONTROL_REASON_MAX])
{
	size_t length = (size_t)(end - at);

	if (length > NAME_MAX)
		return fail(reason, -ENAMETOOLONG, "name= has more than %d bytes", NAME_MAX);
	if (length == 0 || memchr(at, '/', length) || (length == 1 && at[0] == '.') ||
	    (length == 2 && at[0] == '.' && at[1] == '.'))
		return fail(reason, -EINVAL, "name= wants the name of a file");
	return set_text(&order->name, at, end, reason);
}

static int set_tag(struct control_order *order, const char *at, const char *end,
		   char reason[CONTROL_REASON_MAX])
{
	for (const char *c = at; c < end; c++)
		if (*c <= ' ' || *c > '~')
			return fail(reason, -EINVAL, "tag= wants printable ASCII without spaces");
	if (end == at || end - at > CONTROL_TAG_MAX)
		return fail(reason, -EINVAL, "tag= wants 1 to %d characters", CONTROL_TAG_MAX);
	return set_text(&order->tag, at, end, reason);
}

/* What the engine knows. Longer keys and values than any it has are cut off. */
static int set_tree_option(enum control_name kind, struct control_order *order, const char *at,
			   const char *equals, const char *end, char reason[CONTROL_REASON_MAX])
{
	char key[OPTION_TEXT_MAX], value[OPTION_TEXT_MAX], known[CONTROL_REASON_MAX / 2 + 64];
	int r;

	(void)snprintf(key, sizeof(key), "%.*s", (int)MIN(equals - at, (ptrdiff_t)sizeof(key)), at);
	(void)snprintf(value, sizeof(value), "%.*s",
		       (int)MIN(end - equals - 1, (ptrdiff_t)sizeof(value)), equals + 1);
	r = tree_options_set(&order->options, key, value, known, sizeof(known));
	if (r == -ENOENT)
		return fail(reason, -EINVAL, "%s; or %stag", known,
			    control_is_from(kind) ? "name, " : "");
	return r < 0 ? fail(reason, r, "%s", known) : 0;
}

/* One line key=value. Unknown ones are refused: an option without effect would be a lie. */
static int set_option(enum control_name kind, struct control_order *order, const char *at,
		      const char *end, char reason[CONTROL_REASON_MAX])
{
	const char *equals = memchr(at, '=', (size_t)(end - at));
	ptrdiff_t length = (equals ? equals : end) - at;

	if (!equals)
		return fail(reason, -EINVAL, "line \"%.*s\" is not of the form key=value",
			    (int)MIN(length, (ptrdiff_t)OPTION_TEXT_MAX), at);
	if (length == 4 && strncmp(at, "name", 4) == 0 && control_is_from(kind))
		return set_name(order, equals + 1, end, reason);
	if (length == 3 && strncmp(at, "tag", 3) == 0)
		return set_tag(order, equals + 1, end, reason);
	return set_tree_option(kind, order, at, equals, end, reason);
}

static int set_options(enum control_name kind, struct control_order *order, const char *at,
		       const char *end, char reason[CONTROL_REASON_MAX])
{
	int r = 0;

	while (r == 0 && at < end) {
		const char *stop = line_end(at, end);

		if (stop > at)
			r = set_option(kind, order, at, stop, reason);
		at = stop + 1;
	}
	return r;
}

/* Appends the component @at to @path, whose next free byte is *@used. */
static int add_component(char *path, size_t *used, const char *at, size_t length,
			 char reason[CONTROL_REASON_MAX])
{
	if (length == 0 || (length == 1 && at[0] == '.'))
		return 0;
	if (length == 2 && at[0] == '.' && at[1] == '.')
		return fail(reason, -EXDEV, "the path must not contain \"..\"");
	if (length > NAME_MAX)
		return fail(reason, -ENAMETOOLONG, "a name in the path has more than %d bytes",
			    NAME_MAX);
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

static int parse_path(struct control_order *order, const char *value, const char *stop,
		      char reason[CONTROL_REASON_MAX])
{
	if (stop == value)
		return fail(reason, -EINVAL, "the path is empty");
	if (stop - value >= PATH_MAX)
		return fail(reason, -ENAMETOOLONG, "the path has more than %d bytes", PATH_MAX - 1);
	order->path = malloc((size_t)(stop - value) + 1);
	if (!order->path)
		return fail(reason, -ENOMEM, "out of memory");
	order->absolute = value[0] == '/';
	order->is_directory = names_directory(value, stop);
	return normalise(order->path, value, stop, reason);
}

int control_parse_order(enum control_name kind, const char *value, size_t size,
			struct control_order *ret, char reason[CONTROL_REASON_MAX])
{
	struct control_order order = { 0 };
	const char *stop;
	int r;

	reason[0] = '\0';
	tree_options_init(&order.options);
	if (size == 0)
		return fail(reason, -EINVAL, "the value is empty");
	if (memchr(value, '\0', size))
		return fail(reason, -EINVAL, "the value contains a NUL byte");
	stop = line_end(value, value + size);
	r = parse_path(&order, value, stop, reason);
	if (r == 0)
		r = set_options(kind, &order, stop, value + size, reason);
	if (r < 0) {
		control_order_destroy(&order);
		return r;
	}
	*ret = order;
	return 0;
}

void control_order_destroy(struct control_order *order)
{
	free(order->path);
	free(order->name);
	free(order->tag);
	*order = (struct control_order){ 0 };
}

const char *control_below(const struct control_order *order, const char *mountpoint)
{
	const char *top = mountpoint + strspn(mountpoint, "/"); /* the path has none */
	size_t length = strlen(top);

	if (!order->absolute || length == 0)
		return order->path;
	if (strncmp(order->path, top, length) != 0)
		return NULL;
	if (order->path[length] == '\0')
		return order->path + length;
	return order->path[length] == '/' ? order->path + length + 1 : NULL;
}
