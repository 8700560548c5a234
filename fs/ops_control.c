/* SPDX-License-Identifier: MIT */
/*
 * ops_control.c - the control attributes as requests; see docs/arsyncfs.8 for what users see.
 *
 * Values change from one moment to the next, so that a question for the length (getxattr(2) with
 * size 0) is answered with more than there is now: who then asks with a buffer of that size gets the
 * value, not ERANGE.
 *
 * user.arsync.wait.ID is a long poll. No thread waits: struct poll is on the list of waiting.c and
 * with the job's watchers, and whoever takes it off the list answers.
 */
#include "ops_control.h"

#include <limits.h>
#include <linux/xattr.h>
#include <string.h>

#include "arsync/base.h"
#include "control.h"
#include "job_json.h"
#include "jobs.h"
#include "ops.h"
#include "ring.h"
#include "stats.h"
#include "trigger.h"
#include "waiting.h"

#define POLL_MS 1000
#define ROOM_TO_GROW 512 /* bytes, besides a quarter */

/* What fits into an attribute, for getxattr(2) takes no more. */
static void reply_text(fuse_req_t req, const char *text, size_t size)
{
	size_t length = strlen(text);

	if (size == 0)
		fuse_reply_xattr(req,
				 MIN(length + length / 4 + ROOM_TO_GROW, (size_t)XATTR_SIZE_MAX));
	else if (length > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, text, length);
}

/* Takes ownership of @text, which is there if @r is 0. */
static void reply_json(fuse_req_t req, int r, char *text, size_t size)
{
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_text(req, text, size);
	if (r == 0)
		free(text);
}

static void reply_job(struct session *session, fuse_req_t req, struct jobs_entry *entry,
		      size_t size)
{
	char *text;
	int r = job_json(session->jobs, entry, &text);

	reply_json(req, r, text, size);
}

static void reply_jobs(struct session *session, fuse_req_t req, uint64_t before, size_t size)
{
	struct jobs_entry **list;
	char *text;
	size_t n;
	int r;

	r = jobs_list(session->jobs, fuse_req_ctx(req)->uid, before, &list, &n);
	if (r == 0) {
		r = job_json_list(session->jobs, list, n, XATTR_SIZE_MAX, &text);
		jobs_list_free(list, n);
	}
	reply_json(req, r, text, size);
}

/* Somebody waits for the end of a job. */
struct poll {
	/* Set once. */
	struct session *session;
	fuse_req_t req; /* of whoever answers */
	size_t size;
	struct jobs_entry *entry;
	struct waiter waiter;
	struct jobs_watcher watcher;
	/* Atomic. */
	atomic_uint refs; /* of both lists, and of who puts it there */
};

static void poll_unref(struct poll *poll)
{
	if (atomic_fetch_sub_explicit(&poll->refs, 1, memory_order_acq_rel) != 1)
		return;
	jobs_unref(poll->entry);
	free(poll);
}

/* The caller has taken it off the list of those who wait. */
static void poll_answer(struct poll *poll)
{
	fuse_req_interrupt_func(poll->req, NULL, NULL);
	reply_job(poll->session, poll->req, poll->entry, poll->size);
	poll_unref(poll);
}

/* waiter::due */
static void poll_due(struct waiter *waiter)
{
	struct poll *poll = CONTAINER_OF(waiter, struct poll, waiter);

	if (jobs_unwatch(poll->session->jobs, poll->entry, &poll->watcher))
		poll_unref(poll);
	poll_answer(poll);
}

/* jobs_watcher::ended */
static void poll_ended(struct jobs_watcher *watcher)
{
	struct poll *poll = CONTAINER_OF(watcher, struct poll, watcher);

	if (waiting_claim(poll->session->waiting, &poll->waiter))
		poll_answer(poll);
	poll_unref(poll);
}

/* fuse_interrupt_func_t: who waits gets the answer of the moment. poll_answer() waits for us. */
static void poll_interrupted(fuse_req_t req, void *data)
{
	struct poll *poll = data;

	(void)req;
	waiting_hasten(poll->session->waiting, &poll->waiter, 0);
}

/* Takes ownership of a reference to @entry, on success. */
static int poll_start(struct session *session, fuse_req_t req, struct jobs_entry *entry,
		      size_t size)
{
	struct poll *poll = calloc(1, sizeof(*poll));

	if (!poll)
		return -ENOMEM;
	poll->session = session;
	poll->req = req;
	poll->size = size;
	poll->entry = entry;
	poll->watcher.ended = poll_ended;
	waiting_prepare(&poll->waiter, poll_due);
	atomic_init(&poll->refs, 3);
	/* Before the list: from then on the request may be answered and gone. */
	fuse_req_interrupt_func(req, poll_interrupted, poll);
	/* An entry of the ring that others wait for is not to be kept. */
	waiting_add(session->waiting, &poll->waiter, ring_is_crowded(session->ring) ? 0 : POLL_MS);
	if (!jobs_watch(session->jobs, entry, &poll->watcher))
		poll_ended(&poll->watcher);
	poll_unref(poll);
	return 0;
}

/* Waits only if the answer will fit as it is now, so that who has to come again comes soon. */
static void reply_wait(struct session *session, fuse_req_t req, struct jobs_entry *entry,
		       size_t size)
{
	_cleanup_free_ char *text = NULL;
	int r = job_json(session->jobs, entry, &text);

	if (r == 0 && strlen(text) <= size) {
		r = poll_start(session, req, jobs_ref(entry), size);
		if (r == 0)
			return;
		jobs_unref(entry);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_text(req, text, size);
}

static void get_job(struct session *session, fuse_req_t req, enum control_name kind, uint64_t id,
		    size_t size)
{
	struct jobs_entry *entry = jobs_find(session->jobs, id, fuse_req_ctx(req)->uid);

	if (!entry)
		fuse_reply_err(req, ENODATA);
	else if (kind == CONTROL_WAIT)
		reply_wait(session, req, entry, size);
	else
		reply_job(session, req, entry, size);
	jobs_unref(entry);
}

bool ops_control_get(struct session *session, fuse_req_t req, fuse_ino_t ino, const char *name,
		     size_t size)
{
	uint64_t id;
	enum control_name kind = control_classify(name, &id);
	char *text;
	int r;

	if (kind == CONTROL_NONE)
		return false;
	if (ino != FUSE_ROOT_ID)
		kind = CONTROL_UNKNOWN;
	switch (kind) {
	case CONTROL_JOBS:
	case CONTROL_JOBS_BEFORE:
		reply_jobs(session, req, id, size);
		break;
	case CONTROL_JOB:
	case CONTROL_WAIT:
		get_job(session, req, kind, id, size);
		break;
	case CONTROL_STATS:
		r = stats_to_json(session, &text);
		reply_json(req, r, text, size);
		break;
	case CONTROL_COPY:
	case CONTROL_SUBMIT:
	case CONTROL_COPY_FROM:
	case CONTROL_SUBMIT_FROM:
	case CONTROL_CANCEL:
	case CONTROL_UNKNOWN:
	case CONTROL_NONE:
		fuse_reply_err(req, EOPNOTSUPP);
		break;
	}
	return true;
}

static int set_cancel(struct session *session, fuse_req_t req, fuse_ino_t ino,
		      const struct ops_control_value *value)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	uint64_t id;
	int r;

	if (inode_from_id(session->inodes, ino)->format != S_IFDIR)
		return -EOPNOTSUPP;
	r = control_parse_id(value->value, value->size, &id);
	if (r == 0)
		r = jobs_cancel(session->jobs, id, uid);
	if (r < 0)
		log_info(session->log, "cancel refused: %s (for uid %u)",
			 r == -EINVAL ? "the value is not the number of a job" :
			 r == -ESRCH  ? "no such job, or it has ended" :
					"the job is somebody else's",
			 (unsigned)uid);
	else
		log_info(session->log, "job %llu is cancelled (by uid %u)", (unsigned long long)id,
			 (unsigned)uid);
	return r;
}

bool ops_control_set(struct session *session, fuse_req_t req, fuse_ino_t ino,
		     const struct ops_control_value *value)
{
	uint64_t id;
	enum control_name kind = control_classify(value->name, &id);

	if (kind == CONTROL_NONE)
		return false;
	/* They never exist, so there is nothing to replace. */
	if ((value->flags & XATTR_REPLACE) && kind <= CONTROL_CANCEL) {
		fuse_reply_err(req, ENODATA);
		return true;
	}
	switch (kind) {
	case CONTROL_COPY:
	case CONTROL_SUBMIT:
	case CONTROL_COPY_FROM:
	case CONTROL_SUBMIT_FROM:
		trigger_set(session, req, inode_from_id(session->inodes, ino), kind, value->value,
			    value->size);
		break;
	case CONTROL_CANCEL:
		ops_reply_result(req, set_cancel(session, req, ino, value));
		break;
	case CONTROL_JOBS:
	case CONTROL_JOBS_BEFORE:
	case CONTROL_JOB:
	case CONTROL_WAIT:
	case CONTROL_STATS:
	case CONTROL_UNKNOWN:
	case CONTROL_NONE:
		fuse_reply_err(req, EOPNOTSUPP);
		break;
	}
	return true;
}
