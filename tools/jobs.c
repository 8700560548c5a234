/* SPDX-License-Identifier: MIT */
/*
 * jobs.c - `arsync jobs`: the copies of a mount as a table.
 */
#include <argp.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arsync.h"
#include "arsync/base.h"
#include "attribute.h"
#include "progress.h"
#include "text.h"

#define WATCH_MS 1000
#define ROWS_USUAL 24
#define COLUMNS_USUAL 80
#define LINE_MAX_BYTES 4096

enum {
	OPTION_JSON = 256,
	OPTION_ALL,
};

static const struct argp_option options[] = {
	{ "watch", 'w', NULL, 0, "show the table again every second, until Ctrl-C", 0 },
	{ "all", OPTION_ALL, NULL, 0, "all jobs that are remembered, not only the most recent", 0 },
	{ "json", OPTION_JSON, NULL, 0, "an array of JSON; with --watch one a line", 0 },
	{ 0 },
};

struct settings {
	const char *mount;
	bool watch;
	bool all;
	bool json;
};

/* argp_parser_t */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct settings *settings = state->input;

	switch (key) {
	case 'w':
		settings->watch = true;
		break;
	case OPTION_ALL:
		settings->all = true;
		break;
	case OPTION_JSON:
		settings->json = true;
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			argp_error(state, "one mount only");
		settings->mount = value;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* Page after page, the newest first. */
static int read_all(const char *root, json_object **ret)
{
	json_object *all = json_object_new_array();
	uint64_t before = UINT64_MAX;
	size_t n;
	int r;

	do {
		_cleanup_json_ json_object *page = NULL;

		r = attribute_get_job(root, "jobs", before, &page);
		n = r == 0 ? json_object_array_length(page) : 0;
		for (size_t i = 0; i < n; i++) {
			json_object *job = json_object_array_get_idx(page, i);

			before = attribute_number(job, "id");
			json_object_array_add(all, json_object_get(job));
		}
	} while (n > 0);
	if (r < 0) {
		json_object_put(all);
		return r;
	}
	*ret = all;
	return 0;
}

static void user_name(uint64_t uid, char text[PROGRESS_TEXT_MAX])
{
	const struct passwd *user = getpwuid((uid_t)uid);

	if (user)
		(void)snprintf(text, PROGRESS_TEXT_MAX, "%.12s", user->pw_name);
	else
		(void)snprintf(text, PROGRESS_TEXT_MAX, "%" PRIu64, uid);
}

static void how_far(json_object *job, char text[PROGRESS_TEXT_MAX])
{
	uint64_t bytes = attribute_number(job, "bytes");
	uint64_t total =
		attribute_number(job, "bytes_total") - attribute_number(job, "bytes_skipped");

	if (json_object_object_get_ex(job, "bytes_verified", NULL)) { /* each is handled twice */
		bytes += attribute_number(job, "bytes_verified");
		total *= 2;
	}

	if (strcmp(attribute_text(job, "state"), "done") == 0)
		(void)strcpy(text, "100%");
	else if (attribute_flag(job, "totals_estimated") || total == 0)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, PROGRESS_TEXT_MAX, "%u%%",
			       (unsigned)((double)bytes / (double)total * 100));
}

/* Source and destination, and what went wrong. */
static void describe(json_object *job, char *text, size_t size)
{
	json_object *errors = NULL, *first = NULL;

	if (json_object_object_get_ex(job, "errors", &errors))
		first = json_object_array_get_idx(errors, 0);
	(void)snprintf(text, size, "%s -> %s%s%s%s%s", attribute_text(job, "source"),
		       attribute_text(job, "destination"), first ? ": " : "",
		       first ? attribute_text(first, "message") : "",
		       first && *attribute_text(first, "path") ? ": " : "",
		       first ? attribute_text(first, "path") : ""); /* may be cut */
}

static void print_line(const char *line, unsigned columns)
{
	char text[4 * LINE_MAX_BYTES];

	(void)progress_printable(line, columns, text, sizeof(text));
	(void)puts(text);
}

static void print_job(json_object *job, unsigned columns)
{
	char user[PROGRESS_TEXT_MAX], far[PROGRESS_TEXT_MAX], size[PROGRESS_TEXT_MAX];
	char rate[PROGRESS_TEXT_MAX], left[PROGRESS_TEXT_MAX], what[LINE_MAX_BYTES];
	char line[2 * LINE_MAX_BYTES];
	json_object *eta = NULL;

	user_name(attribute_number(job, "uid"), user);
	how_far(job, far);
	progress_size(attribute_number(job, "bytes"), size);
	progress_size(attribute_number(job, "rate"), rate);
	(void)json_object_object_get_ex(job, "eta", &eta);
	progress_time(eta && !attribute_job_has_ended(job) ? json_object_get_double(eta) : -1,
		      left);
	describe(job, what, sizeof(what));
	(void)snprintf(line, sizeof(line),
		       "%6" PRIu64 " %-10s %-8s %5s %9s %8" PRIu64 " %9s/s %8s  %s",
		       attribute_number(job, "id"), attribute_text(job, "state"), user, far, size,
		       attribute_number(job, "files"), rate, left, what); /* may be cut */
	print_line(line, columns);
}

static void print_table(json_object *jobs, bool screen)
{
	struct winsize size = { .ws_row = ROWS_USUAL, .ws_col = COLUMNS_USUAL };
	size_t n = json_object_array_length(jobs);
	bool terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
	unsigned columns = terminal ? size.ws_col : LINE_MAX_BYTES;

	if (screen && terminal) {
		(void)fputs("\033[H\033[J", stdout);
		n = MIN(n, (size_t)MAX(size.ws_row - 2, 1));
	}
	print_line(
		"    ID STATE      USER      DONE      SIZE    FILES        RATE      ETA  SOURCE -> DESTINATION",
		columns);
	for (size_t i = 0; i < n; i++)
		print_job(json_object_array_get_idx(jobs, i), columns);
}

static int show(const struct settings *settings, const char *root)
{
	_cleanup_json_ json_object *jobs = NULL;
	int r = settings->all ? read_all(root, &jobs) : attribute_get_json(root, "jobs", &jobs);

	if (r < 0) {
		complain("cannot read the jobs of %s: %s", root, strerror(-r));
		return r;
	}
	if (settings->json)
		text_print_json(jobs);
	else
		print_table(jobs, settings->watch);
	(void)fflush(stdout); /* errors are seen at the end */
	return 0;
}

/* Until a signal. */
static int watch(const struct settings *settings, const char *root)
{
	struct pollfd poller = { .events = POLLIN };
	int signal = 0;
	int r = 0;

	poller.fd = signals_open(true);
	if (poller.fd < 0) {
		complain("cannot wait for signals: %s", strerror(-poller.fd));
		return EXIT_FAILED;
	}
	while (r == 0 && !signals_is_end(signal) && !ferror(stdout)) {
		r = show(settings, root);
		if (r == 0)
			signal = poll(&poller, 1, WATCH_MS) > 0 ? signals_next(poller.fd) : 0;
	}
	close_keep_errno(poller.fd);
	return r < 0 ? EXIT_FAILED : EXIT_GOOD;
}

int command_jobs(int argc, char **argv)
{
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[MOUNT]",
		.doc = "Lists the copies of an arsyncfs mount: those that run, and the last ones that have "
		       "ended. Users see their own, root sees all. MOUNT is any directory of the mount, by "
		       "default the working directory.",
	};
	struct settings settings = { .mount = "." };
	_cleanup_free_ char *root = NULL;
	int r;

	if (argp_parse(&argp, argc, argv, 0, NULL, &settings) != 0)
		return EXIT_USAGE;
	r = attribute_find_root(settings.mount, &root, NULL, NULL);
	if (r < 0) {
		complain("%s: %s", settings.mount,
			 r == -ENOTTY ? "is not in an arsyncfs mount" : strerror(-r));
		return EXIT_FAILED;
	}
	if (settings.watch)
		return watch(&settings, root);
	return show(&settings, root) < 0 ? EXIT_FAILED : EXIT_GOOD;
}
