/* SPDX-License-Identifier: MIT */
/*
 * copy_local.c - the copy engine in this process.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "arsync/base.h"
#include "arsync/leftover.h"
#include "copy.h"
#include "text.h"

#define REMOVAL_WAIT_MS 2000 /* what is left of an earlier copy then is for the next one */

struct local {
	struct copy_running running;
	const struct copy_task *task;
	struct job *job;
	struct leftovers *leftovers; /* of the directory; NULL: no state directory can be used */
	uint64_t started_ms;
	/* Written by the job's end, before it writes to the eventfd. */
	struct job_result result; /* without what is valid during job_done() only */
};

static void local_free(struct local *local)
{
	close_keep_errno(local->running.event_fd);
	job_unref(local->job);
	leftovers_free(local->leftovers);
	free(local);
}

/* job_done_fn */
static void job_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct local *local = userdata;
	const uint64_t one = 1;

	(void)job;
	local->result = *result;
	local->result.failed_path = local->result.failed_call = NULL;
	/* Cannot fail: the counter is 0. */
	(void)RETRY_EINTR(write(local->running.event_fd, &one, sizeof(one)));
}

/*
 * What an earlier copy into this directory has left is removed meanwhile. Who has no state directory
 * copies without.
 */
static void open_leftovers(struct local *local, int parent_fd)
{
	_cleanup_free_ char *path = realpath(local->task->directory, NULL);
	struct leftovers_spec spec = { .root_fd = parent_fd, .root_path = path ? path : "" };

	if (leftovers_open(&spec, &local->leftovers) == 0)
		(void)leftovers_remove(local->leftovers); /* else the next one does */
}

static int start(const struct copy_task *task, void *context, struct copy_running **ret)
{
	_cleanup_close_ int src_fd = open(task->source, O_PATH | O_CLOEXEC);
	_cleanup_close_ int parent_fd = -1;
	struct local *local;
	struct tree_spec spec;
	int r;

	if (src_fd < 0)
		return negative_errno();
	parent_fd = open(task->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd < 0)
		return negative_errno();
	local = calloc(1, sizeof(*local));
	if (!local)
		return -ENOMEM;
	local->running.method = &copy_local;
	local->task = task;
	local->started_ms = progress_now_ms();
	local->running.event_fd = eventfd(0, EFD_CLOEXEC);
	open_leftovers(local, parent_fd);
	spec = (struct tree_spec){
		.src_fd = src_fd,
		.dst_parent_fd = parent_fd,
		.dst_name = task->name,
		.options = task->options,
		.leftovers = local->leftovers,
		.done = job_done,
		.userdata = local,
	};
	r = local->running.event_fd < 0 ? negative_errno() :
					  engine_copy_tree(context, &spec, &local->job);
	if (r < 0) {
		local_free(local);
		return r;
	}
	job_start(local->job);
	*ret = &local->running;
	return 0;
}

static void look(struct copy_running *running, struct progress_state *ret)
{
	struct local *local = CONTAINER_OF(running, struct local, running);
	struct job_progress progress;

	job_want_totals(local->job);
	job_get_progress(local->job, &progress);
	*ret = (struct progress_state){
		.bytes = progress.bytes,
		.bytes_total = progress.bytes_total - progress.bytes_skipped,
		.bytes_verified = progress.bytes_verified,
		.verifies = progress.verifies,
		.files = progress.files,
		.files_total = progress.files_total - progress.files_skipped,
		.totals_known = progress.totals_known,
	};
}

static void cancel(struct copy_running *running)
{
	job_cancel(CONTAINER_OF(running, struct local, running)->job);
}

static const char *state_name(int error)
{
	if (error == 0)
		return "done";
	return error == -ECANCELED ? "cancelled" : "failed";
}

static json_object *ways_to_json(const struct job_result *result)
{
	json_object *object = json_object_new_object();

	for (int way = 0; way < COPY_WAY_COUNT; way++)
		if (result->bytes_by_way[way] > 0)
			json_object_object_add(object, copy_way_name((enum copy_way)way),
					       json_object_new_uint64(result->bytes_by_way[way]));
	return object;
}

static json_object *errors_to_json(const struct local *local)
{
	json_object *errors = json_object_new_array();
	struct job_failure failures[JOB_FAILURES_KEPT];
	size_t n = job_get_failures(local->job, failures, ARRAY_SIZE(failures));

	for (size_t i = 0; i < n; i++)
		json_object_array_add(errors, text_error(failures[i].path, failures[i].call,
							 failures[i].error));
	return errors;
}

/* With three digits behind the point. */
static json_object *seconds(uint64_t ms)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.3f", (double)ms / 1000); /* fits */
	return json_object_new_double_s((double)ms / 1000, text);
}

/* As a mount tells it, with how it was copied besides. */
static json_object *to_json(const struct local *local)
{
	const struct job_result *result = &local->result;
	uint64_t ms = MAX(progress_now_ms() - local->started_ms, UINT64_C(1));
	json_object *object = json_object_new_object();
	struct job_progress progress;

	job_get_progress(local->job, &progress);
	json_object_object_add(object, "state", json_object_new_string(state_name(result->error)));
	text_add_path(object, "source", local->task->source);
	text_add_path(object, "destination", local->task->shown);
	json_object_object_add(object, "files", json_object_new_uint64(result->files));
	json_object_object_add(object, "files_total", json_object_new_uint64(progress.files_total));
	json_object_object_add(object, "directories", json_object_new_uint64(result->directories));
	json_object_object_add(object, "others", json_object_new_uint64(result->others));
	json_object_object_add(object, "bytes", json_object_new_uint64(result->bytes));
	json_object_object_add(object, "bytes_total", json_object_new_uint64(progress.bytes_total));
	json_object_object_add(object, "skipped", json_object_new_uint64(result->skipped));
	json_object_object_add(object, "files_skipped",
			       json_object_new_uint64(progress.files_skipped));
	json_object_object_add(object, "bytes_skipped",
			       json_object_new_uint64(progress.bytes_skipped));
	json_object_object_add(object, "published", json_object_new_boolean(result->published));
	json_object_object_add(object, "ways", ways_to_json(result));
	json_object_object_add(object, "rate", json_object_new_uint64(result->bytes * 1000 / ms));
	json_object_object_add(object, "elapsed", seconds(ms));
	json_object_object_add(object, "failures", json_object_new_uint64(result->failures));
	json_object_object_add(object, "errors", errors_to_json(local));
	return object;
}

static void end(struct copy_running *running, struct copy_outcome *ret)
{
	struct local *local = CONTAINER_OF(running, struct local, running);

	*ret = (struct copy_outcome){ .error = local->result.error, .job = to_json(local) };
	if (local->leftovers)
		(void)leftovers_wait(local->leftovers, REMOVAL_WAIT_MS);
	local_free(local);
}

const struct copy_method copy_local = {
	.start = start,
	.look = look,
	.cancel = cancel,
	.end = end,
	.leave = NULL,
};
