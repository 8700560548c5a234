/* SPDX-License-Identifier: MIT */
/*
 * job.c - `arsync wait`, `arsync cancel` and `arsync stats`.
 */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arsync.h"
#include "arsync/base.h"
#include "attribute.h"
#include "progress.h"
#include "text.h"

enum {
	OPTION_JSON = 256,
};

struct settings {
	bool json;
	uint64_t timeout_ms; /* 0: none */
	char **operands;
	int n_operands;
};

static bool parse_seconds(const char *text, uint64_t *ret_ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.001) || seconds > 1e9)
		return false;
	*ret_ms = (uint64_t)(seconds * 1000);
	return true;
}

/* argp_parser_t, for all three */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct settings *settings = state->input;

	switch (key) {
	case OPTION_JSON:
		settings->json = true;
		return 0;
	case 't':
		if (!parse_seconds(value, &settings->timeout_ms))
			argp_error(state, "--timeout wants a number of seconds");
		return 0;
	case ARGP_KEY_ARGS:
		settings->operands = state->argv + state->next;
		settings->n_operands = state->argc - state->next;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int find_root(const char *mount, char **ret)
{
	int r = attribute_find_root(mount, ret, NULL, NULL);

	if (r < 0)
		complain("%s: %s", mount,
			 r == -ENOTTY ? "is not in an arsyncfs mount" : strerror(-r));
	return r;
}

static bool parse_id(const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (*text >= '1' && *text <= '9' && *end == '\0' && errno == 0)
		return true;
	complain("\"%s\" is not the number of a job", text);
	return false;
}

/* MOUNT ID...: all numbers are right, and the mount is one. An exit code. */
static enum exit_code check_operands(const struct settings *settings, char **ret_root)
{
	uint64_t id;

	if (settings->n_operands < 2) {
		complain("which mount, and which jobs? MOUNT ID...");
		return EXIT_USAGE;
	}
	for (int i = 1; i < settings->n_operands; i++)
		if (!parse_id(settings->operands[i], &id))
			return EXIT_USAGE;
	return find_root(settings->operands[0], ret_root) < 0 ? EXIT_FAILED : EXIT_GOOD;
}

static enum exit_code report_end(const struct settings *settings, json_object *job)
{
	const char *state = attribute_text(job, "state");
	json_object *errors = NULL, *first = NULL;
	uint64_t more;

	if (settings->json)
		text_print_json(job);
	if (strcmp(state, "done") == 0)
		return EXIT_GOOD;
	if (strcmp(state, "cancelled") == 0) {
		complain("job %" PRIu64 " was cancelled", attribute_number(job, "id"));
		return EXIT_CANCELLED;
	}
	if (json_object_object_get_ex(job, "errors", &errors))
		first = json_object_array_get_idx(errors, 0);
	more = attribute_number(job, "failures");
	complain("job %" PRIu64 " failed: %s%s%s", attribute_number(job, "id"),
		 first ? attribute_text(first, "message") : "for a reason that is not known",
		 first && *attribute_text(first, "path") ? ": " : "",
		 first ? attribute_text(first, "path") : "");
	if (more > 1)
		complain("and %" PRIu64 " more failures (--json lists the first)", more - 1);
	return EXIT_FAILED;
}

/* Long polls of a second each. @until: CLOCK_MONOTONIC, 0: for ever. */
static enum exit_code wait_for(const struct settings *settings, const char *root, uint64_t id,
			       uint64_t until)
{
	for (;;) {
		_cleanup_json_ json_object *job = NULL;
		bool late = until && progress_now_ms() + 1000 > until;
		/* Not longer than one is willing to wait. */
		int r = attribute_get_job(root, late ? "job" : "wait", id, &job);

		if (r == -EINTR)
			continue;
		if (r < 0) {
			complain("job %" PRIu64 ": %s", id,
				 r == -ENODATA ? "there is no such job, or it is somebody else's" :
						 strerror(-r));
			return EXIT_FAILED;
		}
		if (attribute_job_has_ended(job))
			return report_end(settings, job);
		if (until && progress_now_ms() >= until) {
			complain("job %" PRIu64 " is still %s", id, attribute_text(job, "state"));
			return EXIT_TIMEOUT;
		}
		if (late)
			(void)usleep(20000); /* returning early does no harm */
	}
}

int command_wait(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "timeout", 't', "SECONDS", 0, "wait no longer than this for all of them", 0 },
		{ "json", OPTION_JSON, NULL, 0,
		  "print each job as a line of JSON when it has ended", 0 },
		{ 0 },
	};
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "MOUNT ID...",
		.doc = "Waits until the jobs ID of an arsyncfs mount have ended."
		       "\vExit status: 0 all were completed; 1 one failed; 2 wrong usage; 3 one was cancelled; "
		       "4 the time was up.",
	};
	struct settings settings = { 0 };
	_cleanup_free_ char *root = NULL;
	enum exit_code worst;
	uint64_t until;

	if (argp_parse(&argp, argc, argv, 0, NULL, &settings) != 0)
		return EXIT_USAGE;
	worst = check_operands(&settings, &root);
	if (worst != EXIT_GOOD)
		return worst;
	until = settings.timeout_ms ? progress_now_ms() + settings.timeout_ms : 0;
	for (int i = 1; i < settings.n_operands; i++) {
		enum exit_code code =
			wait_for(&settings, root, strtoull(settings.operands[i], NULL, 10), until);

		if (worst == EXIT_GOOD || code == EXIT_FAILED)
			worst = code;
	}
	return worst;
}

static enum exit_code cancel(const struct settings *settings, const char *root, uint64_t id)
{
	_cleanup_json_ json_object *job = NULL;
	int r = attribute_cancel(root, settings->operands[0], id);

	if (r < 0) {
		complain("cannot cancel job %" PRIu64 ": %s", id,
			 r == -ESRCH ? "there is no such job, or it has ended" : strerror(-r));
		return EXIT_FAILED;
	}
	if (settings->json && attribute_get_job(root, "job", id, &job) == 0)
		text_print_json(job);
	return EXIT_GOOD;
}

int command_cancel(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "json", OPTION_JSON, NULL, 0, "print each job as a line of JSON", 0 },
		{ 0 },
	};
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "MOUNT ID...",
		.doc = "Cancels the jobs ID of an arsyncfs mount; nothing is left of them. Does not wait until "
		       "they have ended: `arsync wait' does. The kernel lets only those cancel who may write to "
		       "MOUNT, to the root of the mount, or to the directory that the job copies to.",
	};
	struct settings settings = { 0 };
	_cleanup_free_ char *root = NULL;
	enum exit_code worst;

	if (argp_parse(&argp, argc, argv, 0, NULL, &settings) != 0)
		return EXIT_USAGE;
	worst = check_operands(&settings, &root);
	for (int i = 1; root && i < settings.n_operands; i++)
		if (cancel(&settings, root, strtoull(settings.operands[i], NULL, 10)) != EXIT_GOOD)
			worst = EXIT_FAILED;
	return worst;
}

/* "jobs.started 12", a line for each number; two levels deep at most. */
static void print_stats(json_object *object, const char *prefix)
{
	json_object_object_foreach(object, key, value) {
		if (!json_object_is_type(value, json_type_object)) {
			(void)printf("%s%s %s\n", prefix, key, json_object_get_string(value));
			continue;
		}
		json_object_object_foreach(value, below, number) {
			if (json_object_is_type(number, json_type_object))
				(void)printf("%s%s.%s %s\n", prefix, key, below,
					     json_object_to_json_string_ext(
						     number, JSON_C_TO_STRING_PLAIN));
			else
				(void)printf("%s%s.%s %s\n", prefix, key, below,
					     json_object_get_string(number));
		}
	}
}

int command_stats(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "json", OPTION_JSON, NULL, 0, "as JSON, in one line", 0 },
		{ 0 },
	};
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "[MOUNT]",
		.doc = "Shows what an arsyncfs mount has done. MOUNT is any directory of the mount, by default "
		       "the working directory.",
	};
	struct settings settings = { 0 };
	_cleanup_free_ char *root = NULL;
	_cleanup_json_ json_object *stats = NULL;
	int r;

	if (argp_parse(&argp, argc, argv, 0, NULL, &settings) != 0)
		return EXIT_USAGE;
	if (settings.n_operands > 1) {
		complain("one mount only");
		return EXIT_USAGE;
	}
	if (find_root(settings.n_operands ? settings.operands[0] : ".", &root) < 0)
		return EXIT_FAILED;
	r = attribute_get_json(root, "stats", &stats);
	if (r < 0) {
		complain("cannot read the statistics of %s: %s", root, strerror(-r));
		return EXIT_FAILED;
	}
	if (settings.json)
		text_print_json(stats);
	else
		print_stats(stats, "");
	return EXIT_GOOD;
}
