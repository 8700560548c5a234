/* SPDX-License-Identifier: MIT */
/*
 * copy_report.c - see copy_report.h. What a job's JSON says is the same for both ways to copy.
 */
#include "copy_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "attribute.h"
#include "progress.h"
#include "text.h"

static void print_summary(const struct copy_task *task, json_object *job)
{
	double seconds = json_object_get_double(json_object_object_get(job, "elapsed"));
	json_object *ways = json_object_object_get(job, "ways");
	_cleanup_free_ char *source = progress_printable_all(task->source);
	_cleanup_free_ char *destination = progress_printable_all(task->shown);

	if (!source || !destination)
		return; /* everything was copied all the same */
	(void)fprintf(stderr,
		      "%s -> %s: %" PRIu64 " bytes, %" PRIu64 " files, %" PRIu64
		      " directories in %.3f s (%.1f MB/s)",
		      source, destination, attribute_number(job, "bytes"),
		      attribute_number(job, "files"), attribute_number(job, "directories"), seconds,
		      (double)attribute_number(job, "bytes") / 1e6 / MAX(seconds, 1e-3));
	if (attribute_number(job, "skipped") > 0)
		(void)fprintf(stderr, "; %" PRIu64 " left as they were",
			      attribute_number(job, "skipped"));
	if (ways) {
		json_object_object_foreach(ways, way, bytes) {
			(void)fprintf(stderr, "; %s %" PRIu64, way, json_object_get_uint64(bytes));
		}
	} else {
		(void)fprintf(stderr, "; job %" PRIu64 " of the mount",
			      attribute_number(job, "id"));
	}
	(void)fputc('\n', stderr);
}

/* One a line, as far as they are known. */
static void print_failures(const struct copy_task *task, json_object *job)
{
	json_object *errors = json_object_object_get(job, "errors");
	size_t n = errors ? json_object_array_length(errors) : 0;
	uint64_t all = attribute_number(job, "failures");

	for (size_t i = 0; i < n; i++) {
		json_object *error = json_object_array_get_idx(errors, i);
		const char *path = attribute_text(error, "path");

		complain("%s%s%s: %s%s%s%s", task->source, *path ? "/" : "", path,
			 attribute_text(error, "message"),
			 *attribute_text(error, "operation") ? " (" : "",
			 attribute_text(error, "operation"),
			 *attribute_text(error, "operation") ? ")" : "");
	}
	if (all > n)
		complain("and %" PRIu64 " more", all - n);
}

/* What there is at the destination when a copy was cancelled. */
static const char *describe_rest(const struct copy_task *task)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;
	bool exists;

	if (task->options->existing == TREE_EXISTING_FAIL ||
	    asprintf(&path, "%s/%s", task->directory, task->name) < 0) {
		path = NULL;
		return "nothing is left at";
	}
	exists = lstat(path, &st) == 0;
	if (!exists)
		return "nothing is left at";
	return task->options->existing == TREE_EXISTING_REPLACE || !S_ISDIR(st.st_mode) ?
		       "nothing has changed at" :
		       "to go on with it copy again; complete files are there at";
}

static void report_failure(const struct copy_task *task, const struct copy_outcome *outcome)
{
	json_object *errors = json_object_object_get(outcome->job, "errors");
	json_object *first = errors ? json_object_array_get_idx(errors, 0) : NULL;
	const char *operation = first ? attribute_text(first, "operation") : "";
	const char *path = first ? attribute_text(first, "path") : "";
	bool published = attribute_flag(outcome->job, "published");
	uint64_t failures = attribute_number(outcome->job, "failures");

	if (failures > 1 || (published && failures > 0))
		print_failures(task, outcome->job);
	if (published)
		complain("%s was copied to %s, but for %" PRIu64 " of the things in it",
			 task->source, task->shown, failures);
	else
		complain("cannot copy %s to %s: %s%s%s%s%s%s", task->source, task->shown,
			 strerror(-outcome->error), *operation ? " (" : "", operation,
			 *operation && *path ? " " : "", *operation ? path : "",
			 *operation ? ")" : "");
}

enum exit_code copy_report(const struct copy_report *report, const struct copy_task *task,
			   const struct copy_outcome *outcome)
{
	if (report->json && outcome->job)
		text_print_json(outcome->job);
	if (outcome->error == 0) {
		if (report->verbose && outcome->job)
			print_summary(task, outcome->job);
		if (report->signal)
			complain("%s was complete before it could be cancelled", task->shown);
		return EXIT_GOOD;
	}
	if (outcome->error == -ECANCELED) {
		complain("cancelled%s; %s %s", report->signal ? "" : " by somebody else",
			 describe_rest(task), task->shown);
		return EXIT_CANCELLED;
	}
	if (outcome->job)
		report_failure(task, outcome);
	else
		complain("cannot copy %s to %s: %s", task->source, task->shown,
			 strerror(-outcome->error));
	return EXIT_FAILED;
}

enum exit_code copy_report_refused(bool json, const char *source, const char *destination,
				   int error, const char *note)
{
	_cleanup_json_ json_object *object = NULL;
	json_object *errors;

	complain("cannot copy %s to %s: %s%s", source, destination, strerror(-error), note);
	if (!json)
		return EXIT_FAILED;
	object = json_object_new_object();
	errors = json_object_new_array();
	json_object_object_add(object, "state", json_object_new_string("failed"));
	text_add_path(object, "source", source);
	text_add_path(object, "destination", destination);
	json_object_object_add(object, "published", json_object_new_boolean(false));
	json_object_object_add(object, "failures", json_object_new_int(1));
	json_object_array_add(errors, text_error("", "", error));
	json_object_object_add(object, "errors", errors);
	text_print_json(object);
	return EXIT_FAILED;
}
