/* SPDX-License-Identifier: MIT */
/*
 * trigger.c - from the value of an attribute to a tree job, and from the job's end to the answer.
 *
 *	trigger_set()	reads the order as the caller (control.c, place.c), starts the job (jobs.c)
 *	changed()	something has a new name: the kernel is to forget what it knew (changes.c)
 *	tree_done()	the copy is complete, or has failed
 *	announce()	waits until the kernel has heard of all changes
 *	finish()	the job is over for everybody
 *	job_ended()	answers who still waits: then, or when a cancelled job takes long to end
 *
 * Who waits for an answer is on the list of waiting.c, and is answered by whoever takes it off
 * there: job_ended(), or answer_due() at the deadline. Before the answer the interrupt callback is
 * taken off: that waits for one that is running (find_interrupted() in lib/fuse_lowlevel.c holds
 * the request's lock meanwhile), after which nobody but us knows the request.
 *
 * A trigger is referenced by its job until finish(), by each list that it is on, and by the notifier
 * when it has a barrier there.
 */
#include "trigger.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "arsync/base.h"
#include "caller.h"
#include "changes.h"
#include "inode_path.h"
#include "jobs.h"
#include "notify.h"
#include "ops.h"
#include "place.h"
#include "ring.h"
#include "waiting.h"

/*
 * How long an announcement is waited for: who holds a directory's lock may be waiting for the lock
 * that the caller holds until the answer.
 */
#define ANNOUNCE_WAIT_MS 100

/* One order and its job. */
struct trigger {
	/* Set once. */
	struct session *session;
	fuse_req_t req; /* of whoever answers; background: answered from the beginning */
	bool background;
	struct inode *held; /* whose lock the kernel holds until the answer: a reference, or NULL */
	struct jobs_entry *entry;
	struct inode *parent; /* of the copy, if the kernel knows it: a reference */
	char *name;	      /* of the copy */
	struct waiter answer;
	struct jobs_watcher watcher; /* for the answer */
	struct waiter announcement;
	/* Set by tree_done(), before anybody else looks. */
	struct job_result result; /* without what is valid during done() only */
	/* Atomic. */
	atomic_uint refs;
	atomic_bool armed; /* started: it may be cancelled */
	atomic_bool interrupted;
	atomic_bool noticed; /* something was left to the notifier */
	atomic_bool over;    /* the result is there; the kernel is being told */
};

static struct trigger *trigger_ref(struct trigger *trigger)
{
	atomic_fetch_add_explicit(&trigger->refs, 1, memory_order_relaxed);
	return trigger;
}

static void trigger_unref(struct trigger *trigger)
{
	if (!trigger || atomic_fetch_sub_explicit(&trigger->refs, 1, memory_order_acq_rel) != 1)
		return;
	inode_unref(trigger->session->inodes, trigger->parent);
	inode_unref(trigger->session->inodes, trigger->held);
	jobs_unref(trigger->entry);
	free(trigger->name);
	free(trigger);
}

/*
 * What the kernel takes for something else: after ENOSYS it asks for no attribute any more
 * (fuse_setxattr()), of EAGAIN it makes EOPNOTSUPP (vfs_setxattr()).
 */
static int error_for_kernel(int error)
{
	return error == -ENOSYS || error == -EAGAIN ? -EIO : error;
}

/* The caller has taken it off the list. */
static void answer(struct trigger *trigger, int r)
{
	fuse_req_interrupt_func(trigger->req, NULL, NULL);
	if (r == -ECANCELED)
		r = ops_job_error(trigger->req, r);
	ops_reply_result(trigger->req, error_for_kernel(r));
	notify_release(trigger->session, trigger->held);
}

/* waiter::due, with the list's reference */
static void answer_due(struct waiter *waiter)
{
	struct trigger *trigger = CONTAINER_OF(waiter, struct trigger, answer);

	if (atomic_load(&trigger->over)) {
		answer(trigger, trigger->result.error);
	} else {
		log_info(trigger->session->log, "job %llu to \"%s\" goes on in the background",
			 (unsigned long long)jobs_id(trigger->entry), trigger->name);
		answer(trigger, -EINPROGRESS);
	}
	trigger_unref(trigger);
}

static void cancel(struct trigger *trigger)
{
	struct session *session = trigger->session;

	jobs_cancel_entry(session->jobs, trigger->entry);
	/* Behind job_ended(). So this is for a copy that has its name, but is not over. */
	waiting_hasten(session->waiting, &trigger->answer, JOBS_CANCEL_MS);
}

/* jobs_watcher::ended */
static void job_ended(struct jobs_watcher *watcher)
{
	struct trigger *trigger = CONTAINER_OF(watcher, struct trigger, watcher);
	struct session *session = trigger->session;

	if (waiting_claim(session->waiting, &trigger->answer)) {
		answer(trigger, jobs_error(session->jobs, trigger->entry));
		trigger_unref(trigger);
	}
	trigger_unref(trigger);
}

/* fuse_interrupt_func_t. The trigger lives: answer() waits for us. */
static void interrupted(fuse_req_t req, void *data)
{
	struct trigger *trigger = data;

	(void)req;
	atomic_store(&trigger->interrupted, true);
	if (atomic_load(&trigger->armed))
		cancel(trigger);
}

static void log_end(const struct trigger *trigger, const struct job_result *result)
{
	const struct log *log = trigger->session->log;
	const char *path = result->failed_path ? result->failed_path : "";
	const char *call = result->failed_call ? result->failed_call : "";
	unsigned long long id = jobs_id(trigger->entry);

	if (result->error == -ECANCELED)
		log_info(log, "job %llu to \"%s\" was cancelled", id, trigger->name);
	else if (result->error == 0)
		log_info(
			log,
			"job %llu to \"%s\" is complete: %llu files, %llu bytes, %llu left as they were",
			id, trigger->name, (unsigned long long)result->files,
			(unsigned long long)result->bytes, (unsigned long long)result->skipped);
	else
		log_info(log, "job %llu to \"%s\" failed (%llu failures): %s%s%s%s%s", id,
			 trigger->name, (unsigned long long)result->failures,
			 strerror(-result->error), *path ? " at " : "", path, *call ? " in " : "",
			 call);
}

/* With the job's reference. */
static void finish(struct trigger *trigger, const struct job_result *result)
{
	jobs_end(trigger->session->jobs, trigger->entry, result);
	trigger_unref(trigger);
}

/* waiter::due */
static void announcement_due(struct waiter *waiter)
{
	struct trigger *trigger = CONTAINER_OF(waiter, struct trigger, announcement);

	finish(trigger, &trigger->result);
	trigger_unref(trigger);
}

/* notify_done_fn: the kernel looks the names up again now. */
static void told(void *userdata)
{
	struct trigger *trigger = userdata;

	if (waiting_claim(trigger->session->waiting, &trigger->announcement))
		announcement_due(&trigger->announcement);
	trigger_unref(trigger);
}

/* tree_changed_fn */
static void changed(const struct tree_change *change, void *userdata)
{
	struct trigger *trigger = userdata;

	bool surely = change->name && strcmp(change->name, trigger->name) == 0;

	if (changes_tell(trigger->session, change, surely))
		atomic_store(&trigger->noticed, true);
}

/* The job is not over until the kernel forgets what it knew of the names that have changed. */
static void announce(struct trigger *trigger)
{
	struct session *session = trigger->session;

	atomic_store(&trigger->over, true);
	trigger_ref(trigger); /* the list's */
	trigger_ref(trigger); /* told()'s */
	waiting_add(session->waiting, &trigger->announcement, ANNOUNCE_WAIT_MS);
	if (notify_barrier(session, told, trigger) < 0)
		told(trigger);
}

/* job_done_fn */
static void tree_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct trigger *trigger = userdata;
	struct session *session = trigger->session;

	(void)job;
	log_end(trigger, result);
	/* Also what failed has made and removed something there. */
	if (trigger->parent)
		ops_expire_attributes(session, trigger->parent);
	trigger->result = *result;
	trigger->result.failed_path = trigger->result.failed_call = NULL;
	if (atomic_load(&trigger->noticed))
		announce(trigger);
	else
		finish(trigger, &trigger->result);
}

/* An order as it was read: everything that a job needs. */
struct reading {
	/* Given. */
	struct session *session;
	fuse_req_t req;
	struct inode *inode; /* that the attribute is set on */
	enum control_name kind;
	/* Found. */
	struct control_order order;
	const char *below; /* the order's path below the mount's root */
	struct fd_ref *subject;
	struct cred *cred;
	int own_src_fd; /* to be closed, or -1 */
	int src_fd;
	char *source; /* as users see it */
	struct place place;
	char reason[CONTROL_REASON_MAX]; /* may say more than the errno */
};

static void reading_destroy(struct reading *reading)
{
	control_order_destroy(&reading->order);
	fd_ref_put(reading->subject);
	cred_unref(reading->cred);
	close_keep_errno(reading->own_src_fd);
	free(reading->source);
	place_destroy(&reading->place);
}

__attribute__((format(printf, 3, 4))) static int refuse(struct reading *reading, int error,
							const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reading->reason, sizeof(reading->reason), format,
			arguments); /* may be cut */
	va_end(arguments);
	return error;
}

/* The last component of @path. */
static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The attribute is set on the source, and names the destination. */
static int find_destination(struct reading *reading)
{
	bool may_exist = reading->order.options.existing != TREE_EXISTING_FAIL;
	_cleanup_free_ char *directory = strdup(reading->below);
	const char *name = reading->source;
	char *slash;

	if (!directory)
		return -ENOMEM;
	if (reading->order.is_directory) {
		name = last_name(name);
		if (!*name)
			return refuse(reading, -EINVAL, "the source has no name of its own");
		return place_find(reading->session, reading->cred, directory, name, may_exist,
				  &reading->place);
	}
	if (!*directory)
		return refuse(reading, may_exist ? -EINVAL : -EEXIST,
			      "the root of the mount cannot be the copy itself");
	name = last_name(reading->below);
	slash = strrchr(directory, '/');
	*(slash ? slash : directory) = '\0';
	return place_find(reading->session, reading->cred, directory, name, may_exist,
			  &reading->place);
}

/* The attribute is set on the directory that gets the copy, and names the source. */
static int find_source(struct reading *reading)
{
	const char *name = reading->order.name;

	if (reading->inode->format != S_IFDIR)
		return refuse(reading, -ENOTDIR, "this is to be set on a directory");
	if (!name)
		name = last_name(reading->below);
	if (!*name)
		return refuse(reading, -EINVAL,
			      "the source has no name of its own: name= gives one");
	reading->own_src_fd = place_open_source(reading->session, reading->cred, reading->below,
						reading->order.is_directory);
	if (reading->own_src_fd < 0)
		return reading->own_src_fd;
	reading->src_fd = reading->own_src_fd;
	reading->source = strdup(reading->below);
	if (!reading->source)
		return -ENOMEM;
	return place_find_in(reading->session, reading->cred, reading->subject->fd, name,
			     reading->order.options.existing != TREE_EXISTING_FAIL,
			     &reading->place);
}

static int read_caller(struct reading *reading)
{
	int r;

	if (!caller_can_be_served(reading->session, reading->req))
		return refuse(reading, -EPERM, "only root's mount can copy trees for other users");
	r = caller_identity(reading->req, &reading->cred);
	return r < 0 ? refuse(reading, r, "the caller's groups cannot be read") : 0;
}

static int read_order(struct reading *reading, const char *value, size_t size)
{
	struct session *session = reading->session;
	bool from = control_is_from(reading->kind);
	int r;

	r = control_parse_order(reading->kind, value, size, &reading->order, reading->reason);
	if (r < 0)
		return r;
	reading->below = control_below(&reading->order, session->mountpoint);
	if (!reading->below)
		return refuse(reading, -EXDEV, "the path is not below %s", session->mountpoint);
	r = inode_path_open(session->inodes, reading->inode, &reading->subject);
	if (r < 0)
		return r;
	if (!from) {
		reading->src_fd = reading->subject->fd;
		r = place_path_of(session, reading->src_fd, &reading->source);
	}
	if (r == 0)
		r = read_caller(reading);
	if (r < 0)
		return r;
	return from ? find_source(reading) : find_destination(reading);
}

/* The trigger without its job, with one reference. */
static int prepare(struct reading *reading, struct trigger **ret)
{
	struct trigger *trigger = calloc(1, sizeof(*trigger));

	if (!trigger)
		return -ENOMEM;
	trigger->session = reading->session;
	trigger->req = reading->req;
	trigger->background = control_is_background(reading->kind);
	if (!trigger->background)
		trigger->held = inode_ref(reading->inode);
	trigger->name = TAKE_PTR(reading->place.name);
	atomic_init(&trigger->refs, 1);
	waiting_prepare(&trigger->answer, answer_due);
	waiting_prepare(&trigger->announcement, announcement_due);
	if (inode_find(reading->session->inodes, reading->place.parent_fd, &trigger->parent) < 0)
		trigger->parent = NULL;
	*ret = trigger;
	return 0;
}

/* Makes the job, and gives it a number. */
static int add_job(struct reading *reading, struct trigger *trigger)
{
	struct session *session = reading->session;
	struct tree_spec spec = {
		.src_fd = reading->src_fd,
		.dst_parent_fd = reading->place.parent_fd,
		.dst_name = trigger->name,
		.cred = reading->cred,
		.forbidden_dev = session->backing.own_dev,
		.options = &reading->order.options,
		.changed = changed,
		.leftovers = reading->place.directory ? session->leftovers : NULL,
		.dst_parent_below = reading->place.directory,
		.done = tree_done,
		.userdata = trigger,
	};
	struct jobs_spec listed = {
		.uid = fuse_req_ctx(reading->req)->uid,
		.source = reading->source,
		.destination = reading->place.shown,
		.tag = reading->order.tag,
		.background = trigger->background,
	};
	int r;

	r = engine_copy_tree(session->engine, &spec, &listed.job);
	if (r < 0)
		return r;
	r = jobs_add(session->jobs, &listed, &trigger->entry);
	job_unref(listed.job); /* the table has one */
	return r == -EBUSY ? refuse(reading, r, "too many jobs are waiting") : r;
}

/* An entry of the ring that many others wait for is not to be kept: EINPROGRESS at once. */
static uint64_t answer_within_ms(const struct session *session)
{
	unsigned wait = session->options->trigger_wait;

	if (ring_is_crowded(session->ring))
		return 0;
	return wait > 0 ? (uint64_t)wait * 1000 : WAITING_FOREVER;
}

/* From here on the answer comes from job_ended() or answer_due(), or is given here. */
static void start(struct session *session, fuse_req_t req, struct trigger *trigger)
{
	trigger_ref(trigger); /* ours: the job may end at once */
	if (trigger->background) {
		jobs_start(session->jobs, trigger->entry);
		fuse_reply_err(req, 0);
		trigger_unref(trigger);
		return;
	}
	/* Before the list: from then on the request may be answered and gone. */
	fuse_req_interrupt_func(req, interrupted, trigger);
	notify_hold(trigger->held);
	trigger_ref(trigger); /* the list's */
	waiting_add(session->waiting, &trigger->answer, answer_within_ms(session));
	trigger_ref(trigger); /* the watcher's */
	trigger->watcher.ended = job_ended;
	if (!jobs_watch(session->jobs, trigger->entry, &trigger->watcher))
		job_ended(&trigger->watcher); /* cancelled by its number, before it began */
	jobs_start(session->jobs, trigger->entry);
	/* Not before: the callback, which holds the request's lock, must start nothing. */
	atomic_store(&trigger->armed, true);
	if (atomic_load(&trigger->interrupted))
		cancel(trigger);
	trigger_unref(trigger);
}

void trigger_set(struct session *session, fuse_req_t req, struct inode *inode,
		 enum control_name kind, const char *value, size_t size)
{
	_cleanup_(reading_destroy) struct reading reading = {
		.session = session,
		.req = req,
		.inode = inode,
		.kind = kind,
		.own_src_fd = -1,
		.src_fd = -1,
		.place.parent_fd = -1,
	};
	struct trigger *trigger = NULL;
	int r;

	r = read_order(&reading, value, size);
	if (r == 0)
		r = prepare(&reading, &trigger);
	if (r == 0)
		r = add_job(&reading, trigger);
	if (r == 0) {
		start(session, req, trigger);
		return;
	}
	trigger_unref(trigger);
	log_info(session->log, "copy refused: %s%s%s (for uid %u)", reading.reason,
		 *reading.reason ? ": " : "", strerror(-r), (unsigned)fuse_req_ctx(req)->uid);
	fuse_reply_err(req, -r);
}
