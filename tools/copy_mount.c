/* SPDX-License-Identifier: MIT */
/*
 * copy_mount.c - a copy inside one arsyncfs mount, by its control attributes.
 *
 * The order is set on the directory that gets the copy, which its user may write to, or else on the
 * source. It carries a tag by which the job is found. A thread waits for the job's end by long
 * polls, so that the main one can look after signals and the terminal.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "arsync/mountinfo.h"
#include "attribute.h"
#include "copy.h"

struct mounted {
	struct copy_running running;
	char *root;
	char *directory; /* that gets the copy */
	uint64_t id;
	bool has_thread; /* not where nobody waits */
	pthread_t thread;
	/* Written by the thread, before it writes to the eventfd. */
	json_object *job; /* as it ended; NULL: that is not known */
	int error;
};

static void mounted_free(struct mounted *mounted)
{
	close_keep_errno(mounted->running.event_fd);
	json_object_put(mounted->job);
	free(mounted->root);
	free(mounted->directory);
	free(mounted);
}

/* Where both are, when they are in one mount. */
struct places {
	char *root, *src_root;
	char *src_real, *dir_real;
	const char *src_below, *dir_below;
};

static void places_destroy(struct places *places)
{
	free(places->root);
	free(places->src_root);
	free(places->src_real);
	free(places->dir_real);
}

/* The mount that the root of the arsyncfs mount is on, as /proc/self/mountinfo numbers it. */
static int find_mount(const char *root, int *ret_id)
{
	struct statx stx;

	if (statx(AT_FDCWD, root, AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return negative_errno();
	if (!(stx.stx_mask & STATX_MNT_ID)) /* since Linux 5.8 */
		return -EOPNOTSUPP;
	*ret_id = (int)stx.stx_mnt_id;
	return 0;
}

/*
 * The daemon looks below the backing directory, where it sees nothing of what users have mounted
 * inside the mount. 1: something is mounted over or in one of the two, or above it; 0; -errno.
 */
static int is_covered(const struct places *places, const char *name)
{
	_cleanup_close_ int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *copy = NULL;
	int id;
	int r;

	if (proc_fd < 0)
		return negative_errno();
	if (asprintf(&copy, "%s/%s", places->dir_real[1] ? places->dir_real : "", name) < 0) {
		copy = NULL;
		return -ENOMEM;
	}
	r = find_mount(places->root, &id);
	if (r == 0)
		r = mountinfo_has_upon(proc_fd, id, places->src_real);
	if (r == 0)
		r = mountinfo_has_upon(proc_fd, id, copy);
	return r;
}

static int find_places(const struct copy_task *task, struct places *places)
{
	int r;

	r = attribute_find_root(task->source, &places->src_root, &places->src_real,
				&places->src_below);
	if (r == 0)
		r = attribute_find_root(task->directory, &places->root, &places->dir_real,
					&places->dir_below);
	/* What has no path that a system call would take can only be copied by who is there. */
	if (r < 0)
		return r == -ENOTTY || r == -ENAMETOOLONG ? -EOPNOTSUPP : r;
	if (strcmp(places->root, places->src_root) != 0)
		return -EOPNOTSUPP;
	/* The mount's root has no path of its own, and a value is made of lines. */
	if (!*places->src_below || strchr(places->src_below, '\n') ||
	    strchr(places->dir_below, '\n') || strchr(task->name, '\n'))
		return -EOPNOTSUPP;
	/* Without /proc that is not known. */
	r = is_covered(places, task->name);
	return r == 0 || r == -ENOMEM ? r : -EOPNOTSUPP;
}

/* Who may not set attributes there is refused like that by the kernel. */
static bool is_refused(int r)
{
	return r == -EACCES || r == -EPERM;
}

static int submit(const struct copy_task *task, const struct places *places, const char *tag)
{
	_cleanup_free_ char *from = NULL, *to = NULL;
	int r;

	if (asprintf(&from, "%s\nname=%s\ntag=%s%s", places->src_below, task->name, tag,
		     task->lines) < 0) {
		from = NULL;
		return -ENOMEM;
	}
	if (asprintf(&to, "%s%s%s\ntag=%s%s", places->dir_below, *places->dir_below ? "/" : "",
		     task->name, tag, task->lines) < 0) {
		to = NULL;
		return -ENOMEM;
	}
	r = attribute_set(places->dir_real, "submit_from", from);
	if (is_refused(r) && attribute_set(places->src_real, "submit", to) == 0)
		return 0;
	return r;
}

/* The number of the job that has @tag: among the newest. */
static int find_job(const char *root, const char *tag, uint64_t *ret_id)
{
	uint64_t before = UINT64_MAX;

	for (;;) {
		_cleanup_json_ json_object *jobs = NULL;
		int r = attribute_get_job(root, "jobs", before, &jobs);
		size_t n = r == 0 ? json_object_array_length(jobs) : 0;

		if (n == 0)
			return r < 0 ? r : -ENODATA;
		for (size_t i = 0; i < n; i++) {
			json_object *job = json_object_array_get_idx(jobs, i);

			before = attribute_number(job, "id");
			if (strcmp(attribute_text(job, "tag"), tag) == 0) {
				*ret_id = before;
				return 0;
			}
		}
	}
}

static void *wait_for_end(void *argument)
{
	struct mounted *mounted = argument;
	const uint64_t one = 1;
	int r = 0;

	while (r == 0) {
		json_object *job;

		r = attribute_get_job(mounted->root, "wait", mounted->id, &job);
		if (r == -EINTR)
			r = 0;
		else if (r == 0 && attribute_job_has_ended(job)) {
			mounted->job = job;
			break;
		} else if (r == 0) {
			json_object_put(job);
		}
	}
	mounted->error = r;
	/* Cannot fail: the counter is 0. */
	(void)RETRY_EINTR(write(mounted->running.event_fd, &one, sizeof(one)));
	return NULL;
}

static int make_tag(char tag[32])
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return negative_errno();
	(void)snprintf(tag, 32, "arsync-%016" PRIx64, number); /* fits */
	return 0;
}

static int begin(struct mounted *mounted, bool background)
{
	int r;

	mounted->running.method = &copy_mount;
	mounted->running.event_fd = eventfd(0, EFD_CLOEXEC);
	if (mounted->running.event_fd < 0)
		return negative_errno();
	r = background ? 0 : -pthread_create(&mounted->thread, NULL, wait_for_end, mounted);
	mounted->has_thread = !background && r == 0;
	return r;
}

static int start(const struct copy_task *task, void *context, struct copy_running **ret)
{
	_cleanup_(places_destroy) struct places places = { 0 };
	struct mounted *mounted;
	char tag[32];
	int r;

	r = find_places(task, &places);
	if (r == 0)
		r = make_tag(tag);
	if (r == 0)
		r = submit(task, &places, tag);
	/* Elsewhere this process may try with its own rights. */
	if (r < 0)
		return is_refused(r) ? -EOPNOTSUPP : r;
	mounted = calloc(1, sizeof(*mounted));
	if (!mounted)
		return -ENOMEM;
	mounted->running.event_fd = -1;
	mounted->root = TAKE_PTR(places.root);
	mounted->directory = TAKE_PTR(places.dir_real);
	r = find_job(mounted->root, tag, &mounted->id);
	if (r == 0)
		r = begin(mounted, *(const bool *)context);
	if (r < 0) {
		mounted_free(mounted);
		return r;
	}
	*ret = &mounted->running;
	return 0;
}

static void look(struct copy_running *running, struct progress_state *ret)
{
	struct mounted *mounted = CONTAINER_OF(running, struct mounted, running);
	_cleanup_json_ json_object *job = NULL;

	if (attribute_get_job(mounted->root, "job", mounted->id, &job) < 0)
		return; /* the thread will hear of it */
	*ret = (struct progress_state){
		.bytes = attribute_number(job, "bytes"),
		.bytes_total = attribute_number(job, "bytes_total") -
			       attribute_number(job, "bytes_skipped"),
		.bytes_verified = attribute_number(job, "bytes_verified"),
		.verifies = json_object_object_get_ex(job, "bytes_verified", NULL),
		.files = attribute_number(job, "files"),
		.files_total = attribute_number(job, "files_total") -
			       attribute_number(job, "files_skipped"),
		.totals_known = !attribute_flag(job, "totals_estimated"),
	};
}

static void cancel(struct copy_running *running)
{
	struct mounted *mounted = CONTAINER_OF(running, struct mounted, running);

	/* Should it fail, the job has ended, or is waited for. */
	(void)attribute_cancel(mounted->root, mounted->directory, mounted->id);
}

/* The errno that the name stands for. */
static int error_of(const char *name)
{
	for (int error = 1; error < 200; error++) {
		const char *known = strerrorname_np(error);

		if (known && strcmp(known, name) == 0)
			return -error;
	}
	return -EIO;
}

static void read_outcome(json_object *job, struct copy_outcome *ret)
{
	json_object *errors = NULL, *first = NULL;
	const char *state = attribute_text(job, "state");

	if (strcmp(state, "done") == 0)
		return;
	ret->error = strcmp(state, "cancelled") == 0 ? -ECANCELED : -EIO;
	if (json_object_object_get_ex(job, "errors", &errors))
		first = json_object_array_get_idx(errors, 0);
	if (!first || ret->error == -ECANCELED)
		return;
	ret->error = error_of(attribute_text(first, "errno"));
}

static void end(struct copy_running *running, struct copy_outcome *ret)
{
	struct mounted *mounted = CONTAINER_OF(running, struct mounted, running);

	if (mounted->has_thread)
		(void)pthread_join(mounted->thread, NULL); /* ours, and joined once */
	*ret = (struct copy_outcome){ .error = mounted->error, .job = TAKE_PTR(mounted->job) };
	if (ret->job)
		read_outcome(ret->job, ret);
	mounted_free(mounted);
}

static void leave(struct copy_running *running, uint64_t *ret_id)
{
	struct mounted *mounted = CONTAINER_OF(running, struct mounted, running);

	*ret_id = mounted->id;
	mounted_free(mounted);
}

const struct copy_method copy_mount = {
	.start = start,
	.look = look,
	.cancel = cancel,
	.end = end,
	.leave = leave,
};
