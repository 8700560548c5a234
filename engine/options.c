/* SPDX-License-Identifier: MIT */
/*
 * options.c - the engine's options: defaults, bounds, and their form as text, which the daemon and
 * the command line share.
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

static int parse_choice(const char *value, const struct choice *choices, int *ret)
{
	for (; choices->name; choices++) {
		if (strcmp(choices->name, value) != 0)
			continue;
		*ret = choices->value;
		return 0;
	}
	return -EINVAL;
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

static int set_reflink(struct engine_options *options, const char *value,
		       const struct complaint *complaint)
{
	static const struct choice choices[] = {
		{ "auto", ENGINE_REFLINK_AUTO },
		{ "always", ENGINE_REFLINK_ALWAYS },
		{ "never", ENGINE_REFLINK_NEVER },
		{ NULL, 0 },
	};
	int chosen = 0;

	if (parse_choice(value, choices, &chosen) < 0)
		return fail(complaint, "reflink=%s: expected auto, always or never", value);
	options->reflink = (enum engine_reflink)chosen;
	return 0;
}

static int set_offload(struct engine_options *options, const char *value,
		       const struct complaint *complaint)
{
	static const struct choice choices[] = {
		{ "auto", ENGINE_OFFLOAD_AUTO },
		{ "always", ENGINE_OFFLOAD_ALWAYS },
		{ "never", ENGINE_OFFLOAD_NEVER },
		{ NULL, 0 },
	};
	int chosen = 0;

	if (parse_choice(value, choices, &chosen) < 0)
		return fail(complaint, "offload=%s: expected auto, always or never", value);
	options->offload = (enum engine_offload)chosen;
	return 0;
}

static int set_direct(struct engine_options *options, const char *value,
		      const struct complaint *complaint)
{
	static const struct choice choices[] = {
		{ "auto", ENGINE_DIRECT_AUTO },
		{ "always", ENGINE_DIRECT_ALWAYS },
		{ "never", ENGINE_DIRECT_NEVER },
		{ NULL, 0 },
	};
	int chosen = 0;

	if (parse_choice(value, choices, &chosen) < 0)
		return fail(complaint, "direct=%s: expected auto, always or never", value);
	options->direct = (enum engine_direct)chosen;
	return 0;
}

static int set_io(struct engine_options *options, const char *value,
		  const struct complaint *complaint)
{
	static const struct choice choices[] = {
		{ "auto", ENGINE_IO_AUTO },
		{ "uring", ENGINE_IO_URING },
		{ "sync", ENGINE_IO_SYNC },
		{ NULL, 0 },
	};
	int chosen = 0;

	if (parse_choice(value, choices, &chosen) < 0)
		return fail(complaint, "io=%s: expected auto, uring or sync", value);
	options->io = (enum engine_io)chosen;
	return 0;
}

static int set_fsync(struct engine_options *options, const char *value,
		     const struct complaint *complaint)
{
	static const struct choice choices[] = {
		{ "never", ENGINE_FSYNC_NEVER },
		{ "file", ENGINE_FSYNC_FILE },
		{ "tree", ENGINE_FSYNC_TREE },
		{ NULL, 0 },
	};
	int chosen = 0;

	if (parse_choice(value, choices, &chosen) < 0)
		return fail(complaint, "fsync=%s: expected never, file or tree", value);
	options->fsync = (enum engine_fsync)chosen;
	return 0;
}

static const struct rule rules[] = {
	{ "workers", set_workers },	  { "queue_depth", set_queue_depth },
	{ "block_size", set_block_size }, { "depth", set_depth },
	{ "reflink", set_reflink },	  { "offload", set_offload },
	{ "direct", set_direct },	  { "io", set_io },
	{ "fsync", set_fsync },
};

int engine_options_set(struct engine_options *options, const char *name, const char *value,
		       char *error, size_t error_size)
{
	const struct complaint complaint = { error, error_size };

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (strcmp(rules[i].name, name) == 0)
			return rules[i].set(options, value, &complaint);
	return -ENOENT;
}
