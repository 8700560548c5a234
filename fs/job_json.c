/* SPDX-License-Identifier: MIT */
/*
 * job_json.c - see job_json.h.
 */
#include "job_json.h"

#include <stdio.h>
#include <string.h>

#include "jobs_view.h"
#include "json.h"

/* How much is said of what has failed, so that all fits into an attribute. */
struct detail {
	size_t errors_max;
	size_t errors_size; /* bytes of JSON */
};

static const struct detail of_one = { JOB_FAILURES_KEPT, 32 * 1024 };
static const struct detail of_many = { 3, 1024 };

/* {"path":"a/b","operation":"openat","errno":"EACCES","message":"Permission denied"} */
static json_object *error_to_json(const struct job_failure *failure)
{
	json_object *object = json_object_new_object();
	const char *name = strerrorname_np(-failure->error);
	const char *message = strerrordesc_np(-failure->error);

	json_add_path(object, "path", failure->path);
	if (*failure->call)
		json_add_text(object, "operation", failure->call);
	json_add_text(object, "errno", name ? name : "unknown");
	json_add_text(object, "message", message ? message : "unknown error");
	return object;
}

/* The first failures, as many as there is room for; one in any case. */
static json_object *errors_to_json(const struct jobs_view *view, const struct detail *detail)
{
	json_object *errors = json_object_new_array();
	size_t used = 0;

	for (size_t i = 0; errors && i < MIN(view->n_kept, detail->errors_max); i++) {
		json_object *error = error_to_json(&view->failures[i]);
		const char *text =
			error ? json_object_to_json_string_ext(error, JSON_C_TO_STRING_PLAIN) :
				NULL;

		used += text ? strlen(text) : 0;
		if (!text || (i > 0 && used > detail->errors_size) ||
		    json_object_array_add(errors, error) < 0) {
			json_object_put(error); /* says less then */
			break;
		}
	}
	return errors;
}

/* Seconds with three digits behind the point. */
static json_object *seconds(int64_t ms)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld.%03d", (long long)(ms / 1000),
		       (int)(ms % 1000)); /* fits */
	return json_object_new_double_s((double)ms / 1000, text);
}

static json_object *view_to_json(const struct jobs_view *view, const struct detail *detail)
{
	json_object *object = json_object_new_object();

	json_add_number(object, "id", view->id);
	json_add_text(object, "state", jobs_state_name(view->state));
	json_add_number(object, "uid", view->uid);
	json_add(object, "background", json_object_new_boolean(view->background));
	json_add_path(object, "source", view->source);
	json_add_path(object, "destination", view->destination);
	if (view->tag)
		json_add_text(object, "tag", view->tag);
	json_add_number(object, "files", view->files);
	json_add_number(object, "files_total", view->files_total);
	json_add_number(object, "bytes", view->bytes);
	json_add_number(object, "bytes_total", view->bytes_total);
	if (view->verifies)
		json_add_number(object, "bytes_verified", view->bytes_verified);
	json_add(object, "totals_estimated", json_object_new_boolean(!view->totals_known));
	json_add_number(object, "skipped", view->skipped);
	json_add_number(object, "files_skipped", view->files_skipped);
	json_add_number(object, "bytes_skipped", view->bytes_skipped);
	if (jobs_state_is_final(view->state)) {
		json_add_number(object, "directories", view->directories);
		json_add_number(object, "others", view->others);
		json_add(object, "published", json_object_new_boolean(view->published));
		json_add(object, "removing", json_object_new_boolean(view->removing));
	}
	json_add_number(object, "rate", view->rate);
	json_add(object, "eta", view->eta_ms < 0 ? NULL : seconds(view->eta_ms));
	json_add(object, "submitted", seconds(view->submitted_ms));
	json_add(object, "elapsed", seconds((int64_t)view->elapsed_ms));
	json_add_number(object, "failures", MAX(view->n_failures, (uint64_t)view->n_kept));
	json_add(object, "errors", errors_to_json(view, detail));
	return object;
}

static int to_text(struct jobs *jobs, struct jobs_entry *entry, const struct detail *detail,
		   char **ret)
{
	_cleanup_json_ json_object *object = NULL;
	struct jobs_view view;

	jobs_view_get(jobs, entry, &view);
	object = view_to_json(&view, detail);
	jobs_view_destroy(&view);
	return object ? json_to_text(object, ret) : -ENOMEM;
}

int job_json(struct jobs *jobs, struct jobs_entry *entry, char **ret)
{
	return to_text(jobs, entry, &of_one, ret);
}

int job_json_list(struct jobs *jobs, struct jobs_entry *const *list, size_t n, size_t max,
		  char **ret)
{
	_cleanup_free_ char *array = malloc(max + 1);
	size_t used = 1;
	int r;

	if (!array)
		return -ENOMEM;
	array[0] = '[';
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;
		size_t length;

		r = to_text(jobs, list[i], &of_many, &text);
		if (r < 0)
			return r;
		length = strlen(text);
		if (used + length + 2 > max) /* a comma and the end */
			break;
		if (used > 1)
			array[used++] = ',';
		memcpy(array + used, text, length);
		used += length;
	}
	array[used++] = ']';
	array[used] = '\0';
	*ret = TAKE_PTR(array);
	return 0;
}
