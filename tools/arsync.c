/* SPDX-License-Identifier: MIT */
/*
 * arsync.c - the command line of the copy engine.
 *
 *	arsync copy [options] SRC DEST
 *
 * runs the engine in this process: the same copy that a mount makes, without the mount. Exit codes:
 * 0 copied, 1 the copy failed, 2 the command line is wrong, 130 cancelled by a signal.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "arsync/base.h"
#include "arsync/engine.h"

enum exit_code {
	EXIT_COPIED = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CANCELLED = 130,
};

/* What the job's end leaves for the main thread, behind the eventfd. */
struct outcome {
	int event_fd;
	int error;
	char failed[PATH_MAX + 64];
	struct job_result result;
};

static void write_log(void *userdata, enum log_level level, const char *message)
{
	(void)userdata;
	(void)level;
	(void)fprintf(stderr, "arsync: %s\n", message); /* nowhere else to complain */
}

static void print_help(void)
{
	(void)puts(
		"usage: arsync copy [options] SRC DEST\n"
		"\n"
		"Copies a file or a tree with the copy engine of arsyncfs, in this process. DEST must not\n"
		"exist; where it is a directory, the copy goes into it under SRC's name.\n"
		"\n"
		"  -v, --verbose             say what was copied, how, and how long it took\n"
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
		"  --fsync=never|file|tree   what is made sure to be on stable storage (never)\n"
		"  -h, --help                this text\n"
		"  -V, --version             the version");
}

static void job_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct outcome *outcome = userdata;
	const uint64_t one = 1;

	(void)job;
	outcome->result = *result;
	outcome->error = result->error;
	(void)snprintf(outcome->failed, sizeof(outcome->failed), "%s%s%s", result->failed_call,
		       *result->failed_path ? " " : "", result->failed_path); /* may be cut */
	(void)RETRY_EINTR(write(outcome->event_fd, &one, sizeof(one)));
}

/* Waits for the end; the first SIGINT or SIGTERM cancels. */
static void wait_for_end(struct job *job, int signal_fd, int event_fd)
{
	struct pollfd pollers[2] = {
		{ .fd = event_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};

	while (!(pollers[0].revents & POLLIN)) {
		if (poll(pollers, 2, -1) < 0)
			continue; /* EINTR: a stop and continue */
		if (pollers[1].revents & POLLIN) {
			job_cancel(job);
			pollers[1].fd = -1;
		}
	}
}

static int block_signals(int *ret_fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return negative_errno();
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return *ret_fd < 0 ? negative_errno() : 0;
}

/* Splits DEST into an open directory and a name in it. */
static int open_destination(const char *src, const char *dest, int *ret_fd, char *name)
{
	char source[PATH_MAX], path[PATH_MAX];
	const char *slash, *last;
	struct stat st;
	size_t length;

	if (strlen(src) >= sizeof(source) || strlen(dest) >= sizeof(path))
		return -ENAMETOOLONG;
	(void)strcpy(path, dest);
	(void)strcpy(source, src);
	for (char *s = path; (length = strlen(s)) > 1 && s[length - 1] == '/';)
		s[length - 1] = '\0';
	for (char *s = source; (length = strlen(s)) > 1 && s[length - 1] == '/';)
		s[length - 1] = '\0';
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		slash = strrchr(source, '/');
		last = slash ? slash + 1 : source;
		*ret_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	} else {
		slash = strrchr(path, '/');
		last = slash ? slash + 1 : path;
		if (slash)
			path[slash == path ? 1 : slash - path] = '\0';
		if (slash == path)
			last = dest + strspn(dest, "/");
		*ret_fd = open(slash ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (*ret_fd < 0)
		return negative_errno();
	if (!*last || strlen(last) > NAME_MAX)
		return -EINVAL;
	(void)strcpy(name, last);
	return 0;
}

static void print_summary(const struct outcome *outcome, double seconds)
{
	const struct job_result *result = &outcome->result;
	char name[NAME_MAX];

	(void)snprintf(name, sizeof(name), "%.1f MB/s", (double)result->bytes / 1e6 / seconds);
	(void)fprintf(stderr,
		      "%" PRIu64 " bytes, %" PRIu64 " files, %" PRIu64
		      " directories in %.3f s (%s);",
		      result->bytes, result->files, result->directories, seconds, name);
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		if (result->bytes_by_way[way] > 0)
			(void)fprintf(stderr, " %s %" PRIu64, copy_way_name((enum copy_way)way),
				      result->bytes_by_way[way]);
	(void)fputc('\n', stderr);
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static enum exit_code complain(const char *what, const char *path, int error)
{
	(void)fprintf(stderr, "arsync: %s %s: %s\n", what, path, strerror(-error));
	return EXIT_FAILED;
}

static enum exit_code run(struct engine *engine, const char *src, const char *dest, bool verbose)
{
	_cleanup_close_ int src_fd = -1, parent_fd = -1, signal_fd = -1, event_fd = -1;
	char name[NAME_MAX + 1];
	struct outcome outcome = { 0 };
	struct tree_spec spec = { .dst_name = name, .done = job_done, .userdata = &outcome };
	struct job *job;
	double start;
	int r;

	r = block_signals(&signal_fd);
	event_fd = eventfd(0, EFD_CLOEXEC);
	if (r < 0 || event_fd < 0)
		return complain("cannot", "wait for signals", r < 0 ? r : negative_errno());
	src_fd = open(src, O_PATH | O_CLOEXEC);
	if (src_fd < 0)
		return complain("cannot open", src, negative_errno());
	r = open_destination(src, dest, &parent_fd, name);
	if (r < 0)
		return complain("cannot copy to", dest, r);
	outcome.event_fd = event_fd;
	spec.src_fd = src_fd;
	spec.dst_parent_fd = parent_fd;
	start = now();
	r = engine_copy_tree(engine, &spec, &job);
	if (r < 0)
		return complain("cannot copy to", dest, r);
	job_start(job);
	wait_for_end(job, signal_fd, event_fd);
	job_unref(job);
	if (outcome.error == -ECANCELED) {
		(void)fprintf(stderr, "arsync: cancelled; nothing is left at %s\n", dest);
		return EXIT_CANCELLED;
	}
	if (outcome.error < 0) {
		(void)fprintf(stderr, "arsync: cannot copy %s to %s: %s (%s)\n", src, dest,
			      strerror(-outcome.error), outcome.failed);
		return EXIT_FAILED;
	}
	if (verbose)
		print_summary(&outcome, now() - start);
	return EXIT_COPIED;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct engine_options *options, bool *verbose)
{
	static const struct option longs[] = {
		{ "workers", required_argument, NULL, 0 },
		{ "queue_depth", required_argument, NULL, 0 },
		{ "block_size", required_argument, NULL, 0 },
		{ "depth", required_argument, NULL, 0 },
		{ "reflink", required_argument, NULL, 0 },
		{ "offload", required_argument, NULL, 0 },
		{ "direct", required_argument, NULL, 0 },
		{ "io", required_argument, NULL, 0 },
		{ "fsync", required_argument, NULL, 0 },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	char error[256] = "";
	int index, c;

	while ((c = getopt_long(argc, argv, "vhV", longs, &index)) != -1) {
		switch (c) {
		case 0:
			if (engine_options_set(options, longs[index].name, optarg, error,
					       sizeof(error)) == 0)
				break;
			(void)fprintf(stderr, "arsync: %s\n", error);
			return EXIT_USAGE;
		case 'v':
			*verbose = true;
			break;
		case 'h':
			print_help();
			return EXIT_COPIED;
		case 'V':
			(void)puts("arsync " ARSYNCFS_VERSION);
			return EXIT_COPIED;
		default:
			return EXIT_USAGE; /* getopt_long() has said why */
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	const struct log log = { .level = LOG_LEVEL_WARN, .write = write_log };
	struct engine_options options;
	struct engine *engine;
	bool verbose = false;
	int code, r;

	engine_options_init(&options);
	options.log = &log;
	code = parse(argc, argv, &options, &verbose);
	if (code >= 0)
		return code;
	if (argc - optind != 3 || strcmp(argv[optind], "copy") != 0) {
		(void)fputs("usage: arsync copy [options] SRC DEST (arsync --help says more)\n",
			    stderr);
		return EXIT_USAGE;
	}
	r = engine_new(&options, &engine);
	if (r < 0) {
		(void)fprintf(stderr, "arsync: the copy engine cannot start: %s\n", strerror(-r));
		return EXIT_FAILED;
	}
	code = run(engine, argv[optind + 1], argv[optind + 2], verbose);
	engine_free(engine);
	return code;
}
