/* SPDX-License-Identifier: MIT */
/*
 * trigger.c - from the value of user.arsync.copy to a tree job and its answer.
 *
 * trigger_copy() finds out, as the caller, where the copy is to go (struct place), and starts the
 * job. Two may answer: tree_done(), when the job ends, and watch(), at the deadline. Whoever takes
 * the trigger out of the list of waiting ones, under the lock, answers. The trigger lives until
 * tree_done() and, while it is answering, watch() have let go of it.
 *
 * Before the answer the interrupt callback is taken off: that waits for one that is running
 * (find_interrupted() in lib/fuse_lowlevel.c holds the request's lock meanwhile), after which
 * nobody but us knows the request.
 */
#include "trigger.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "arsync/base.h"
#include "caller.h"
#include "control.h"
#include "inode_path.h"
#include "mountinfo.h"
#include "notify.h"
#include "ops.h"
#include "ring.h"

#define ANNOUNCE_WAIT_MS 100
#define NO_LIMIT (1000L * 1000 * 1000) /* seconds: trigger_wait=0 */

/* One request and its job. */
struct trigger {
	/* Set once. */
	struct session *session;
	fuse_req_t req; /* of whoever answers */
	struct job *job;
	struct inode *parent; /* of the copy, if the kernel knows it: a reference */
	char *name;	      /* of the copy, for the log */
	atomic_uint refs;
	/* Under triggers::lock. */
	struct timespec deadline;
	bool waiting; /* for an answer */
	bool ended;   /* the job, well; the kernel is being told */
	struct trigger *prev, *next;
};

struct triggers {
	/* Set once. */
	pthread_t thread;
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct trigger *first, *last; /* by deadline */
	bool stop;
};

/* Where the copy is to go. */
struct place {
	int parent_fd;
	char *name;
};

static void place_destroy(struct place *place)
{
	close_keep_errno(place->parent_fd);
	free(place->name);
}

static void trigger_unref(struct trigger *trigger)
{
	if (!trigger || atomic_fetch_sub_explicit(&trigger->refs, 1, memory_order_acq_rel) != 1)
		return;
	inode_unref(trigger->session->inodes, trigger->parent);
	job_unref(trigger->job);
	free(trigger->name);
	free(trigger);
}

static void unlink_locked(struct triggers *triggers, struct trigger *trigger)
{
	*(trigger->prev ? &trigger->prev->next : &triggers->first) = trigger->next;
	*(trigger->next ? &trigger->next->prev : &triggers->last) = trigger->prev;
	trigger->waiting = false;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* Most come last: all jobs wait equally long. */
static void link_locked(struct triggers *triggers, struct trigger *trigger)
{
	struct trigger *before = triggers->last;

	while (before && is_before(&trigger->deadline, &before->deadline))
		before = before->prev;
	trigger->prev = before;
	trigger->next = before ? before->next : triggers->first;
	*(before ? &before->next : &triggers->first) = trigger;
	*(trigger->next ? &trigger->next->prev : &triggers->last) = trigger;
	trigger->waiting = true;
	pthread_cond_signal(&triggers->changed);
}

static void enqueue(struct triggers *triggers, struct trigger *trigger)
{
	pthread_mutex_lock(&triggers->lock);
	link_locked(triggers, trigger);
	pthread_mutex_unlock(&triggers->lock);
}

/* True: the answer is the calling thread's to give. */
static bool claim(struct triggers *triggers, struct trigger *trigger)
{
	bool mine;

	pthread_mutex_lock(&triggers->lock);
	mine = trigger->waiting;
	if (mine)
		unlink_locked(triggers, trigger);
	pthread_mutex_unlock(&triggers->lock);
	return mine;
}

static void answer(struct trigger *trigger, int r)
{
	fuse_req_interrupt_func(trigger->req, NULL, NULL);
	ops_reply_result(trigger->req, r);
}

static struct timespec time_in(time_t seconds, long milliseconds)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time); /* cannot fail */
	time.tv_sec += seconds;
	time.tv_nsec += milliseconds * 1000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_sec++;
		time.tv_nsec -= 1000000000;
	}
	return time;
}

static bool is_due(const struct trigger *trigger)
{
	struct timespec now = time_in(0, 0);

	return !is_before(&now, &trigger->deadline);
}

/* The first trigger that is due, with a reference, or NULL: it is time to stop. */
static struct trigger *wait_for_deadline(struct triggers *triggers, bool *ret_ended)
{
	struct trigger *due = NULL;

	pthread_mutex_lock(&triggers->lock);
	while (!triggers->stop && !due) {
		if (!triggers->first) {
			pthread_cond_wait(&triggers->changed, &triggers->lock);
		} else if (is_due(triggers->first)) {
			due = triggers->first;
			*ret_ended = due->ended;
			unlink_locked(triggers, due);
			atomic_fetch_add_explicit(&due->refs, 1, memory_order_relaxed);
		} else {
			/* woken early: looks again */
			(void)pthread_cond_timedwait(&triggers->changed, &triggers->lock,
						     &triggers->first->deadline);
		}
	}
	pthread_mutex_unlock(&triggers->lock);
	return due;
}

static void *watch(void *data)
{
	struct triggers *triggers = data;
	struct trigger *due;
	bool ended;

	while ((due = wait_for_deadline(triggers, &ended))) {
		if (!ended)
			log_info(due->session->log, "copy to \"%s\" goes on in the background",
				 due->name);
		answer(due, ended ? 0 : -EINPROGRESS);
		trigger_unref(due);
	}
	return NULL;
}

int trigger_start_watch(struct session *session)
{
	struct triggers *triggers = calloc(1, sizeof(*triggers));
	pthread_condattr_t attributes;
	int r;

	if (!triggers)
		return -ENOMEM;
	pthread_mutex_init(&triggers->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&triggers->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	r = -pthread_create(&triggers->thread, NULL, watch, triggers);
	if (r < 0) {
		pthread_cond_destroy(&triggers->changed);
		pthread_mutex_destroy(&triggers->lock);
		free(triggers);
		return r;
	}
	session->triggers = triggers;
	return 0;
}

void trigger_stop_watch(struct session *session)
{
	struct triggers *triggers = TAKE_PTR(session->triggers);

	if (!triggers)
		return;
	pthread_mutex_lock(&triggers->lock);
	triggers->stop = true;
	pthread_cond_signal(&triggers->changed);
	pthread_mutex_unlock(&triggers->lock);
	(void)pthread_join(triggers->thread, NULL); /* ours, and joined once */
	pthread_cond_destroy(&triggers->changed);
	pthread_mutex_destroy(&triggers->lock);
	free(triggers);
}

static void log_end(const struct trigger *trigger, const struct job_result *result)
{
	const struct log *log = trigger->session->log;
	const char *path = result->failed_path ? result->failed_path : "";
	const char *call = result->failed_call ? result->failed_call : "";

	if (result->error == 0)
		log_info(log, "copy to \"%s\" is complete: %llu files, %llu bytes", trigger->name,
			 (unsigned long long)result->files, (unsigned long long)result->bytes);
	else
		log_info(log, "copy to \"%s\" failed: %s%s%s%s%s", trigger->name,
			 strerror(-result->error), *path ? " at " : "", path, *call ? " in " : "",
			 call);
}

static void end(struct trigger *trigger, int error)
{
	if (claim(trigger->session->triggers, trigger))
		answer(trigger, error == -ECANCELED ? ops_job_error(trigger->req, error) : error);
	trigger_unref(trigger);
}

/* notify_done_fn: the kernel looks the name up again now. */
static void told(void *userdata)
{
	end(userdata, 0);
}

/*
 * The copy is there. The answer waits until the kernel forgets what it knew of the name, but not
 * for long: who holds the directory's lock may be waiting for the source's, which the caller holds
 * until the answer.
 */
static void announce(struct trigger *trigger)
{
	struct triggers *triggers = trigger->session->triggers;

	pthread_mutex_lock(&triggers->lock);
	trigger->ended = true;
	if (trigger->waiting) {
		unlink_locked(triggers, trigger);
		trigger->deadline = time_in(0, ANNOUNCE_WAIT_MS);
		link_locked(triggers, trigger);
	}
	pthread_mutex_unlock(&triggers->lock);
	if (notify_expire_entry(trigger->session, trigger->parent, trigger->name, told, trigger) <
	    0)
		told(trigger);
}

/* job_done_fn */
static void tree_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct trigger *trigger = userdata;
	struct session *session = trigger->session;

	(void)job;
	log_end(trigger, result);
	/* A new name is in there. Attributes only: takes no lock. -ENOENT: the kernel forgot it. */
	if (trigger->parent)
		(void)fuse_lowlevel_notify_inval_inode(
			session->fuse, inode_to_id(session->inodes, trigger->parent), -1, 0);
	if (result->error == 0 && trigger->parent)
		announce(trigger);
	else
		end(trigger, result->error);
}

/* fuse_interrupt_func_t. The trigger lives: answer() waits for us. */
static void interrupted(fuse_req_t req, void *data)
{
	struct trigger *trigger = data;

	(void)req;
	job_cancel(trigger->job);
}

/* Returns an fd. glibc has no wrapper. */
static int openat2_below(int root, const char *path, const struct open_how *how)
{
	long fd = syscall(SYS_openat2, root, path, how, sizeof(*how));

	return fd < 0 ? negative_errno() : (int)fd;
}

/*
 * Opens a directory below the backing's root, as whoever the thread is now. A walk into a mount of
 * our own would wait for us, so mounts may be crossed only while there is no second one of ours.
 */
static int open_below(struct session *session, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int root = session->backing.root_fd;
	int fd;

	if (!*path)
		path = ".";
	fd = openat2_below(root, path, &how);
	if (fd == -EXDEV &&
	    mountinfo_count_device(session->backing.proc_fd, session->backing.own_dev) <= 1) {
		how.resolve &= ~(uint64_t)RESOLVE_NO_XDEV;
		fd = openat2_below(root, path, &how);
	}
	return fd;
}

/* The name that @inode was last seen under. */
static int source_name(struct session *session, struct inode *inode, int fd, char **ret)
{
	char link[BACKING_FD_NAME_MAX];
	char path[PATH_MAX];
	const char *slash;
	ssize_t length;

	if (inode == session->inodes->root)
		return -EINVAL;
	length = readlinkat(session->backing.self_fds, backing_fd_name(fd, link), path,
			    sizeof(path) - 1);
	if (length < 0)
		return negative_errno();
	path[length] = '\0';
	slash = strrchr(path, '/');
	/* opened by handle, and its name not in memory */
	if (path[0] != '/' || !slash || !slash[1])
		return -EINVAL;
	*ret = strdup(slash + 1);
	return *ret ? 0 : -ENOMEM;
}

/* Splits @below into the directory to open, which is cut out of it in place, and the name in it. */
static int split(struct session *session, struct inode *inode, int src_fd, char *below,
		 bool into_directory, char **ret_name)
{
	char *slash;

	if (into_directory)
		return source_name(session, inode, src_fd, ret_name);
	if (!*below)
		return -EEXIST; /* the mount's root */
	slash = strrchr(below, '/');
	*ret_name = strdup(slash ? slash + 1 : below);
	if (!*ret_name)
		return -ENOMEM;
	*(slash ? slash : below) = '\0';
	return 0;
}

static int find_place(struct session *session, struct cred *cred, const char *directory,
		      struct place *place)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	struct cred_thread *own;
	struct stat st;
	int r;

	r = caller_thread(session, &own);
	if (r < 0)
		return r;
	r = cred_adopt(own, cred);
	if (r < 0)
		return r;
	thread = own;
	place->parent_fd = open_below(session, directory);
	if (place->parent_fd < 0)
		return place->parent_fd;
	if (fstatat(place->parent_fd, place->name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0)
		return -EEXIST;
	return errno == ENOENT ? 0 : negative_errno();
}

/* What a value asks for, in one piece. */
struct order {
	struct inode *inode;
	struct fd_ref *src;
	struct cred *cred;
	struct place place;
};

static void order_destroy(struct order *order)
{
	fd_ref_put(order->src);
	cred_unref(order->cred);
	place_destroy(&order->place);
}

/* On failure @reason may say more than the errno. */
static int read_order(struct session *session, fuse_req_t req, const char *value, size_t size,
		      struct order *order, char reason[CONTROL_REASON_MAX])
{
	_cleanup_(control_dest_destroy) struct control_dest dest = { 0 };
	_cleanup_free_ char *directory = NULL;
	const char *below;
	int r;

	r = control_parse_dest(value, size, &dest, reason);
	if (r < 0)
		return r;
	below = control_below(&dest, session->mountpoint);
	if (!below) {
		(void)snprintf(reason, CONTROL_REASON_MAX, "the destination is not below %s",
			       session->mountpoint); /* may be cut off */
		return -EXDEV;
	}
	directory = strdup(below);
	if (!directory)
		return -ENOMEM;
	r = inode_path_open(session->inodes, order->inode, &order->src);
	if (r < 0)
		return r;
	r = split(session, order->inode, order->src->fd, directory, dest.into_directory,
		  &order->place.name);
	if (r < 0)
		return r;
	if (!caller_can_be_served(session, req)) {
		(void)snprintf(reason, CONTROL_REASON_MAX,
			       "only root's mount can copy trees for other users");
		return -EPERM;
	}
	r = caller_identity(req, &order->cred);
	if (r < 0) {
		(void)snprintf(reason, CONTROL_REASON_MAX, "the caller's groups cannot be read");
		return r;
	}
	return find_place(session, order->cred, directory, &order->place);
}

/* From here on tree_done() or watch() answers. */
static int start(struct session *session, fuse_req_t req, struct order *order)
{
	struct trigger *trigger = calloc(1, sizeof(*trigger));
	struct tree_spec spec = {
		.src_fd = order->src->fd,
		.dst_parent_fd = order->place.parent_fd,
		.dst_name = order->place.name,
		.cred = order->cred,
		.forbidden_dev = session->backing.own_dev,
		.done = tree_done,
		.userdata = trigger,
	};
	unsigned wait = session->options->trigger_wait;
	bool crowded = ring_is_crowded(session->ring);
	struct job *job;
	int r;

	if (!trigger)
		return -ENOMEM;
	trigger->session = session;
	trigger->req = req;
	atomic_init(&trigger->refs, 1);
	r = engine_copy_tree(session->engine, &spec, &trigger->job);
	if (r < 0) {
		trigger_unref(trigger);
		return r;
	}
	trigger->name = TAKE_PTR(order->place.name);
	if (inode_find(session->inodes, order->place.parent_fd, &trigger->parent) < 0)
		trigger->parent = NULL;
	/* An entry of the ring that many others wait for is not to be kept: EINPROGRESS at once. */
	trigger->deadline = time_in(crowded ? 0 : wait > 0 ? wait : NO_LIMIT, 0);
	/* Before the job and the deadline: from then on the request may be answered and gone. */
	fuse_req_interrupt_func(req, interrupted, trigger);
	job = job_ref(trigger->job);
	enqueue(session->triggers, trigger);
	job_start(job);
	job_unref(job);
	return 0;
}

void trigger_copy(struct session *session, fuse_req_t req, struct inode *inode, const char *value,
		  size_t size)
{
	_cleanup_(order_destroy) struct order order = { .inode = inode, .place.parent_fd = -1 };
	char reason[CONTROL_REASON_MAX] = "";
	int r;

	r = read_order(session, req, value, size, &order, reason);
	if (r == 0)
		r = start(session, req, &order);
	if (r == 0)
		return;
	log_info(session->log, "copy refused: %s%s%s (for uid %u)", reason, *reason ? ": " : "",
		 strerror(-r), (unsigned)fuse_req_ctx(req)->uid);
	fuse_reply_err(req, -r);
}
