/* SPDX-License-Identifier: MIT */
/*
 * options.c - the options of the engine and of one tree copy: defaults, bounds, and their form as
 * text, which the daemon and the command line share.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "engine_private.h"

/* Measured on two cores; docs/BENCHMARKS.md has the figures. */
#define DEFAULT_QUEUE_DEPTH 4
#define DEFAULT_BLOCK_SIZE (1024 * 1024)

#define BLOCK_ALIGNMENT 4096 /* pages, and what direct I/O may ask for */

#define CHOICES_MAX 6 /* words of one option */

struct choice {
	const char *name;
	int value;
};

/* Where an error in words goes. */
struct complaint {
	char *text;
	size_t size;
};

struct rule {
	const char *name;
	int (*set)(struct engine_options *options, const char *value,
		   const struct complaint *complaint);
};

void engine_options_init(struct engine_options *options)
{
	*options = (struct engine_options){
		.queue_depth = DEFAULT_QUEUE_DEPTH,
		.block_size = DEFAULT_BLOCK_SIZE,
		.depth = ENGINE_DEPTH_AUTO,
	};
}

int engine_options_check(struct engine_options *options)
{
	if (options->queue_depth == 0)
		options->queue_depth = DEFAULT_QUEUE_DEPTH;
	if (options->block_size == 0)
		options->block_size = DEFAULT_BLOCK_SIZE;
	if (options->workers > ENGINE_WORKERS_MAX ||
	    options->queue_depth > ENGINE_QUEUE_DEPTH_MAX ||
	    options->block_size < ENGINE_BLOCK_SIZE_MIN ||
	    options->block_size > ENGINE_BLOCK_SIZE_MAX ||
	    options->block_size % BLOCK_ALIGNMENT != 0 || options->depth < ENGINE_DEPTH_AUTO ||
	    options->depth > ENGINE_DEPTH_MAX)
		return -EINVAL;
	return options->io == ENGINE_IO_URING ? io_ring_probe() : 0;
}

__attribute__((format(printf, 2, 3))) static int fail(const struct complaint *complaint,
						      const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(complaint->text, complaint->size, format, arguments); /* may be cut off */
	va_end(arguments);
	return -EINVAL;
}

static int parse_number(const char *value, unsigned long min, unsigned long max, unsigned *ret)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || number < min || number > max)
		return -EINVAL;
	*ret = (unsigned)number;
	return 0;
}

static int set_workers(struct engine_options *options, const char *value,
		       const struct complaint *complaint)
{
	if (parse_number(value, 1, ENGINE_WORKERS_MAX, &options->workers) < 0)
		return fail(complaint, "workers=%s: expected a number from 1 to %d", value,
			    ENGINE_WORKERS_MAX);
	return 0;
}

static int set_queue_depth(struct engine_options *options, const char *value,
			   const struct complaint *complaint)
{
	if (parse_number(value, 1, ENGINE_QUEUE_DEPTH_MAX, &options->queue_depth) < 0)
		return fail(complaint, "queue_depth=%s: expected a number from 1 to %d", value,
			    ENGINE_QUEUE_DEPTH_MAX);
	return 0;
}

static int set_block_size(struct engine_options *options, const char *value,
			  const struct complaint *complaint)
{
	static const char suffixes[] = "KMG";
	unsigned long long size;
	const char *suffix;
	char *end;

	errno = 0;
	size = strtoull(value, &end, 10);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		size = size > ENGINE_BLOCK_SIZE_MAX ? ULLONG_MAX :
						      size << (10 * (suffix - suffixes + 1));
		end++;
	}
	if (value[0] < '0' || value[0] > '9' || *end || errno || size < ENGINE_BLOCK_SIZE_MIN ||
	    size > ENGINE_BLOCK_SIZE_MAX || size % BLOCK_ALIGNMENT)
		return fail(complaint, "block_size=%s: expected a multiple of 4K from %dK to %dM",
			    value, ENGINE_BLOCK_SIZE_MIN / 1024,
			    ENGINE_BLOCK_SIZE_MAX / 1024 / 1024);
	options->block_size = (uint32_t)size;
	return 0;
}

static int set_depth(struct engine_options *options, const char *value,
		     const struct complaint *complaint)
{
	unsigned depth = 0;

	if (strcmp(value, "auto") == 0)
		options->depth = ENGINE_DEPTH_AUTO;
	else if (parse_number(value, 0, ENGINE_DEPTH_MAX, &depth) == 0)
		options->depth = (int)depth;
	else
		return fail(complaint, "depth=%s: expected auto or a number from 0 to %d", value,
			    ENGINE_DEPTH_MAX);
	return 0;
}

/* Options that are one word of several; the value is an int or an enum. */
struct choice_rule {
	const char *name;
	size_t offset; /* of the value in its struct */
	struct choice choices[CHOICES_MAX];
};

static const struct choice_rule engine_choices[] = {
	{ "reflink",
	  offsetof(struct engine_options, reflink),
	  { { "auto", ENGINE_REFLINK_AUTO },
	    { "always", ENGINE_REFLINK_ALWAYS },
	    { "never", ENGINE_REFLINK_NEVER } } },
	{ "offload",
	  offsetof(struct engine_options, offload),
	  { { "auto", ENGINE_OFFLOAD_AUTO },
	    { "always", ENGINE_OFFLOAD_ALWAYS },
	    { "never", ENGINE_OFFLOAD_NEVER } } },
	{ "direct",
	  offsetof(struct engine_options, direct),
	  { { "auto", ENGINE_DIRECT_AUTO },
	    { "always", ENGINE_DIRECT_ALWAYS },
	    { "never", ENGINE_DIRECT_NEVER } } },
	{ "io",
	  offsetof(struct engine_options, io),
	  { { "auto", ENGINE_IO_AUTO }, { "uring", ENGINE_IO_URING }, { "sync", ENGINE_IO_SYNC } } },
	{ "fsync",
	  offsetof(struct engine_options, fsync),
	  { { "never", ENGINE_FSYNC_NEVER },
	    { "file", ENGINE_FSYNC_FILE },
	    { "tree", ENGINE_FSYNC_TREE } } },
};

static const struct choice_rule tree_choices[] = {
	{ "existing",
	  offsetof(struct tree_options, existing),
	  { { "fail", TREE_EXISTING_FAIL },
	    { "merge", TREE_EXISTING_MERGE },
	    { "skip", TREE_EXISTING_SKIP },
	    { "replace", TREE_EXISTING_REPLACE },
	    { "update", TREE_EXISTING_UPDATE } } },
	{ "on_error",
	  offsetof(struct tree_options, on_error),
	  { { "stop", TREE_ON_ERROR_STOP }, { "continue", TREE_ON_ERROR_CONTINUE } } },
	{ "fsync",
	  offsetof(struct tree_options, fsync),
	  { { "never", ENGINE_FSYNC_NEVER },
	    { "file", ENGINE_FSYNC_FILE },
	    { "tree", ENGINE_FSYNC_TREE } } },
	{ "reflink",
	  offsetof(struct tree_options, reflink),
	  { { "auto", ENGINE_REFLINK_AUTO },
	    { "always", ENGINE_REFLINK_ALWAYS },
	    { "never", ENGINE_REFLINK_NEVER } } },
	{ "one_file_system",
	  offsetof(struct tree_options, one_file_system),
	  { { "no", false }, { "yes", true } } },
	{ "verify", offsetof(struct tree_options, verify), { { "no", false }, { "yes", true } } },
};

/* A list in words: "auto, always or never". It may be cut off. */
struct list {
	char text[128];
	size_t length;
};

static void list_add(struct list *list, const char *name, bool is_last)
{
	const char *between = list->length == 0 ? "" : is_last ? " or " : ", ";

	if (list->length < sizeof(list->text))
		list->length += (size_t)snprintf(list->text + list->length,
						 sizeof(list->text) - list->length, "%s%s", between,
						 name);
}

static int set_choice(void *options, const struct choice_rule *rule, const char *value,
		      const struct complaint *complaint)
{
	struct list list = { .text = "" };

	_Static_assert(sizeof(enum engine_reflink) == sizeof(int), "enums are stored as int");
	for (size_t i = 0; i < CHOICES_MAX && rule->choices[i].name; i++) {
		if (strcmp(rule->choices[i].name, value) != 0)
			continue;
		memcpy((char *)options + rule->offset, &rule->choices[i].value, sizeof(int));
		return 0;
	}
	for (size_t i = 0; i < CHOICES_MAX && rule->choices[i].name; i++)
		list_add(&list, rule->choices[i].name,
			 i + 1 == CHOICES_MAX || !rule->choices[i + 1].name);
	return fail(complaint, "%s=%s: expected %s", rule->name, value, list.text);
}

static const struct choice_rule *find_choice(const struct choice_rule *table, size_t n,
					     const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

static const struct rule rules[] = {
	{ "workers", set_workers },
	{ "queue_depth", set_queue_depth },
	{ "block_size", set_block_size },
	{ "depth", set_depth },
};

int engine_options_set(struct engine_options *options, const char *name, const char *value,
		       char *error, size_t error_size)
{
	const struct complaint complaint = { error, error_size };
	const struct choice_rule *rule =
		find_choice(engine_choices, ARRAY_SIZE(engine_choices), name);

	if (rule)
		return set_choice(options, rule, value, &complaint);
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (strcmp(rules[i].name, name) == 0)
			return rules[i].set(options, value, &complaint);
	return -ENOENT;
}

void tree_options_init(struct tree_options *options)
{
	*options = (struct tree_options){ .fsync = TREE_AS_ENGINE, .reflink = TREE_AS_ENGINE };
}

int tree_options_set(struct tree_options *options, const char *name, const char *value, char *error,
		     size_t error_size)
{
	const struct complaint complaint = { error, error_size };
	const struct choice_rule *rule = find_choice(tree_choices, ARRAY_SIZE(tree_choices), name);
	struct list list = { .text = "" };

	if (rule)
		return set_choice(options, rule, value, &complaint);
	for (size_t i = 0; i < ARRAY_SIZE(tree_choices); i++)
		list_add(&list, tree_choices[i].name, i + 1 == ARRAY_SIZE(tree_choices));
	(void)fail(&complaint, "there is no option \"%s\": expected %s", name, list.text);
	return -ENOENT;
}
