/* SPDX-License-Identifier: MIT */
/*
 * options.c - one table of our own options, one of mount options, and fuse_opt to take arguments
 * apart.
 *
 * fuse_opt_parse() hands each argument, and each part of -o a,b,c, to take_argument(). Ours are in
 * `rules`, or the engine's, and look the same on the command line (--name=value) and in fstab
 * (name=value). Mount options are either passed to libfuse, which knows what mount(2) and
 * fusermount3 want, or dropped, because they speak to mount(8) and systemd. Everything else is
 * refused: an option without effect would be a lie.
 */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"

#define RULE_NAME_MAX 32

struct choice {
	const char *name;
	int value;
};

struct rule {
	const char *name;
	int (*set)(struct options *options, const char *name, const char *value);
};

__attribute__((format(printf, 2, 3))) static int fail(struct options *options, const char *format,
						      ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(options->error, sizeof(options->error), format,
			arguments); /* may be cut off */
	va_end(arguments);
	return -EINVAL;
}

static int parse_number(struct options *options, const char *name, const char *value,
			unsigned long min, unsigned long max, unsigned *ret)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || number < min || number > max)
		return fail(options, "%s=%s: expected a number from %lu to %lu", name, value, min,
			    max);
	*ret = (unsigned)number;
	return 0;
}

static int parse_choice(struct options *options, const char *name, const char *value,
			const struct choice *choices, size_t n_choices, int *ret)
{
	char list[128] = "";

	for (size_t i = 0; i < n_choices; i++) {
		size_t length = strlen(list);

		if (strcmp(choices[i].name, value) == 0) {
			*ret = choices[i].value;
			return 0;
		}
		(void)snprintf(list + length, sizeof(list) - length, "%s%s", i ? ", " : "",
			       choices[i].name); /* the lists below are short */
	}
	return fail(options, "%s=%s: expected one of %s", name, value, list);
}

static int set_cache(struct options *options, const char *name, const char *value)
{
	static const struct choice choices[] = {
		{ "auto", OPTIONS_CACHE_AUTO },
		{ "always", OPTIONS_CACHE_ALWAYS },
		{ "never", OPTIONS_CACHE_NEVER },
	};
	int chosen = 0;
	int r = parse_choice(options, name, value, choices, ARRAY_SIZE(choices), &chosen);

	options->cache = (enum options_cache)chosen;
	return r;
}

/* What is done where it is to be had, or not at all. */
static int choose_auto(struct options *options, const char *name, const char *value, bool *ret)
{
	static const struct choice choices[] = { { "auto", true }, { "never", false } };
	int chosen = 0;
	int r = parse_choice(options, name, value, choices, ARRAY_SIZE(choices), &chosen);

	*ret = chosen;
	return r;
}

static int set_passthrough(struct options *options, const char *name, const char *value)
{
	return choose_auto(options, name, value, &options->passthrough);
}

static int set_cpu_latency(struct options *options, const char *name, const char *value)
{
	return choose_auto(options, name, value, &options->cpu_latency);
}

static int set_readahead_tree(struct options *options, const char *name, const char *value)
{
	return choose_auto(options, name, value, &options->readahead_tree);
}

static int set_transport(struct options *options, const char *name, const char *value)
{
	static const struct choice choices[] = {
		{ "auto", OPTIONS_TRANSPORT_AUTO },
		{ "ring", OPTIONS_TRANSPORT_RING },
		{ "dev", OPTIONS_TRANSPORT_DEV },
	};
	int chosen = 0;
	int r = parse_choice(options, name, value, choices, ARRAY_SIZE(choices), &chosen);

	options->transport = (enum options_transport)chosen;
	return r;
}

static int set_trigger_wait(struct options *options, const char *name, const char *value)
{
	return parse_number(options, name, value, 0, OPTIONS_TRIGGER_WAIT_MAX,
			    &options->trigger_wait);
}

static int set_log(struct options *options, const char *name, const char *value)
{
	static const struct choice choices[] = {
		{ "error", LOG_LEVEL_ERROR },
		{ "warn", LOG_LEVEL_WARN },
		{ "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG },
	};
	int chosen = 0;
	int r = parse_choice(options, name, value, choices, ARRAY_SIZE(choices), &chosen);

	options->log_level = (enum log_level)chosen;
	return r;
}

/* Those of the mount; the engine knows its own. */
static const struct rule rules[] = {
	{ "cache", set_cache },
	{ "passthrough", set_passthrough },
	{ "transport", set_transport },
	{ "cpu_latency", set_cpu_latency },
	{ "readahead_tree", set_readahead_tree },
	{ "trigger_wait", set_trigger_wait },
	{ "log", set_log },
};

/* Passed to libfuse. A trailing '=' stands for any value. */
static const char *const passed[] = {
	"allow_other", "allow_root", "auto_unmount", "ro",	     "rw",	  "suid",
	"nosuid",      "dev",	     "nodev",	     "exec",	     "noexec",	  "async",
	"sync",	       "dirsync",    "noatime",	     "nodiratime",   "symfollow", "nosymfollow",
	"context=",    "fscontext=", "defcontext=",  "rootcontext=", "fsname=",
};

/*
 * For mount(8), fstab and systemd, or already so: default_permissions is always on, the subtype is
 * ours, and access times are not for the kernel's FUSE to set (atime.h).
 */
static const char *const dropped[] = {
	"defaults", "auto",  "noauto", "nofail", "_netdev",  "user",	 "nouser",
	"users",    "owner", "group",  "user=",	 "comment=", "subtype=", "default_permissions",
	"x-*",	    "X-*",
};

static bool listed(const char *const *list, size_t n, const char *argument)
{
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(list[i]);
		char last = list[i][length - 1];

		if (last == '*' ? strncmp(list[i], argument, length - 1) == 0 :
		    last == '=' ? strncmp(list[i], argument, length) == 0 :
				  strcmp(list[i], argument) == 0)
			return true;
	}
	return false;
}

/* 1: not ours. */
static int take_rule(struct options *options, const char *argument)
{
	const char *name = strncmp(argument, "--", 2) == 0 ? argument + 2 : argument;
	size_t length = strcspn(name, "=");
	const char *value = name[length] ? name + length + 1 : "";
	char key[RULE_NAME_MAX];
	int r;

	if (length >= sizeof(key))
		return 1;
	memcpy(key, name, length);
	key[length] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (strcmp(rules[i].name, key) == 0)
			return rules[i].set(options, key, value);
	r = engine_options_set(&options->engine, key, value, options->error,
			       sizeof(options->error));
	return r == -ENOENT ? 1 : r;
}

/* 1: not one of these. */
static int take_flag(struct options *options, const char *argument)
{
	if (strcmp(argument, "-h") == 0 || strcmp(argument, "--help") == 0) {
		options->action = OPTIONS_HELP;
		return 0;
	}
	if (strcmp(argument, "-V") == 0 || strcmp(argument, "--version") == 0) {
		options->action = OPTIONS_VERSION;
		return 0;
	}
	if (strcmp(argument, "-f") == 0) {
		options->foreground = true;
		return 0;
	}
	return 1;
}

static int take_path(struct options *options, const char *argument)
{
	char **place = !options->backing ? &options->backing : &options->mountpoint;

	if (*place)
		return fail(options, "too many arguments: %s (expected BACKING and MOUNTPOINT)",
			    argument);
	*place = strdup(argument);
	return *place ? 0 : fail(options, "out of memory");
}

/* fuse_opt_proc_t: 1 keeps the argument for libfuse, 0 drops it, -1 fails. */
static int take_argument(void *data, const char *argument, int key, struct fuse_args *out)
{
	struct options *options = data;
	int r;

	(void)out;
	if (key == FUSE_OPT_KEY_NONOPT)
		return take_path(options, argument) < 0 ? -1 : 0;
	r = take_flag(options, argument);
	if (r == 1)
		r = take_rule(options, argument);
	if (r <= 0)
		return r < 0 ? -1 : 0;
	if (atime_take_option(&options->atime, argument))
		return listed(passed, ARRAY_SIZE(passed), argument);
	if (!*argument || listed(dropped, ARRAY_SIZE(dropped), argument))
		return 0;
	if (listed(passed, ARRAY_SIZE(passed), argument)) {
		options->has_fsname |= strncmp(argument, "fsname=", 7) == 0;
		if (strcmp(argument, "ro") == 0 || strcmp(argument, "rw") == 0)
			options->read_only = argument[1] == 'o';
		return 1;
	}
	if (strcmp(argument, "remount") == 0)
		(void)fail(options, "remounting is the kernel's: mount -i -o remount,... %s",
			   options->mountpoint ? options->mountpoint : "MOUNTPOINT");
	else
		(void)fail(options, "unknown option %s (arsyncfs --help lists them)", argument);
	return -1;
}

int options_parse(struct options *options, int argc, char **argv)
{
	*options = (struct options){
		.passthrough = true,
		.cpu_latency = true,
		.readahead_tree = true,
		.trigger_wait = 30,
		.log_level = LOG_LEVEL_INFO,
		.fuse = FUSE_ARGS_INIT(argc, argv),
	};
	engine_options_init(&options->engine);

	if (fuse_opt_parse(&options->fuse, options, NULL, take_argument) < 0) {
		/* fuse_opt's own complaint: -o without anything, or no memory */
		if (!options->error[0])
			return fail(options, "option -o needs a value");
		return -EINVAL;
	}
	if (options->action != OPTIONS_MOUNT)
		return 0;
	if (!options->backing || !options->mountpoint)
		return fail(
			options,
			"usage: arsyncfs [options] BACKING MOUNTPOINT (arsyncfs --help says more)");
	if (fuse_opt_add_arg(&options->fuse, "-odefault_permissions,subtype=arsyncfs") < 0)
		return fail(options, "out of memory");
	return 0;
}

void options_destroy(struct options *options)
{
	free(options->backing);
	free(options->mountpoint);
	fuse_opt_free_args(&options->fuse);
}

const char *options_help(void)
{
	return "usage: arsyncfs [options] BACKING MOUNTPOINT\n"
	       "\n"
	       "Shows the directory BACKING at MOUNTPOINT and copies there with a copy engine.\n"
	       "Options are given as --name=value or, as in fstab, as -o name=value[,...].\n"
	       "\n"
	       "  -f                        stay in the foreground, log to standard error\n"
	       "  -h, --help                this text\n"
	       "  -V, --version             the version\n"
	       "  --workers=N               copy threads (the cores it may use)\n"
	       "  --queue_depth=N           buffers a worker\n"
	       "  --block_size=SIZE         bytes of one read and write; 512K, 1M, ...\n"
	       "  --depth=auto|N            2^N regions of a file are copied at once (auto)\n"
	       "  --reflink=auto|always|never\n"
	       "                            share blocks where the file system can (auto)\n"
	       "  --offload=auto|always|never\n"
	       "                            let the file system copy by itself (auto: where it does\n"
	       "                            so on a server)\n"
	       "  --direct=auto|always|never\n"
	       "                            pass by the page cache (auto: sources that are not in it,\n"
	       "                            copies too large for it)\n"
	       "  --io=auto|uring|sync      how the engine reads and writes (auto)\n"
	       "  --fsync=never|file|tree   what a copy makes sure is on stable storage (never)\n"
	       "  --cache=auto|always|never names, attributes: a second, an hour, never (auto)\n"
	       "  --passthrough=auto|never  let the kernel read and write files directly (auto)\n"
	       "  --transport=auto|ring|dev how requests come: FUSE over io_uring, /dev/fuse (auto:\n"
	       "                            io_uring where the kernel has it switched on)\n"
	       "  --cpu_latency=auto|never  let processors not sleep deeply while requests come one\n"
	       "                            after the other (auto: where root may ask for it)\n"
	       "  --readahead_tree=auto|never\n"
	       "                            read the next files of a directory before they are asked\n"
	       "                            for (auto: those that are not in page cache)\n"
	       "  --trigger_wait=SECONDS    after so long user.arsync.copy answers EINPROGRESS\n"
	       "                            and goes on in the background; 0: never (30)\n"
	       "  --log=error|warn|info|debug\n"
	       "                            what is logged (info)\n"
	       "  -o allow_other            let other users in; permissions are always checked\n"
	       "  -o allow_root             let root in\n"
	       "  -o ro,nosuid,nodev,...    as every mount takes them\n";
}
