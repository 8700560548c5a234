/* SPDX-License-Identifier: MIT */
/*
 * notify.c - see notify.h. See fuse_reverse_inval_entry() in the kernel's fs/fuse/dir.c for the
 * lock.
 */
#include "notify.h"

#include <string.h>
#include <sys/queue.h>

#include "arsync/base.h"

#define NOTICES_MAX 65536 /* names; some MiB */

/* A name, or a barrier. */
struct notice {
	STAILQ_ENTRY(notice) link;
	struct inode *parent; /* a reference; NULL: a barrier */
	notify_done_fn done;  /* of a barrier */
	void *userdata;
	char name[];
};

STAILQ_HEAD(notice_list, notice);

struct notifier {
	/* Set once. */
	struct session *session;
	pthread_t thread;
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct notice_list notices;
	struct notice_list put_off; /* see notify_hold() */
	unsigned n_names;	    /* in both */
	bool overflowed;	    /* since it was empty */
	bool telling;		    /* the kernel is being told of a name */
	bool closed;		    /* it is told of no more */
	bool stop;
};

/* The next one that is not to be put off, or NULL. */
static struct notice *next_locked(struct notifier *notifier)
{
	struct notice *notice;

	while ((notice = STAILQ_FIRST(&notifier->notices))) {
		STAILQ_REMOVE_HEAD(&notifier->notices, link);
		if (!notice->parent || atomic_load(&notice->parent->held) == 0)
			return notice;
		STAILQ_INSERT_TAIL(&notifier->put_off, notice, link);
	}
	return NULL;
}

/* The next one; NULL: nothing is left and it is time to stop. *ret_tell: the kernel is to hear of it. */
static struct notice *take(struct notifier *notifier, bool *ret_tell)
{
	struct notice *notice;

	pthread_mutex_lock(&notifier->lock);
	while (!(notice = next_locked(notifier)) && !notifier->stop)
		pthread_cond_wait(&notifier->changed, &notifier->lock);
	if (notice) {
		notifier->n_names -= notice->parent != NULL;
		notifier->overflowed = notifier->overflowed && notifier->n_names > 0;
		notifier->telling = notice->parent && !notifier->closed;
		*ret_tell = notifier->telling;
	}
	pthread_mutex_unlock(&notifier->lock);
	return notice;
}

static void told(struct notifier *notifier)
{
	pthread_mutex_lock(&notifier->lock);
	notifier->telling = false;
	pthread_cond_broadcast(&notifier->changed);
	pthread_mutex_unlock(&notifier->lock);
}

static void tell(struct session *session, const struct notice *notice)
{
	uint64_t parent = inode_to_id(session->inodes, notice->parent);
	int r = fuse_lowlevel_notify_expire_entry(session->fuse, parent, notice->name,
						  strlen(notice->name));

	if (r == -ENOSYS) /* kernels before 6.2 */
		r = fuse_lowlevel_notify_inval_entry(session->fuse, parent, notice->name,
						     strlen(notice->name));
	/* -ENOENT: it remembers nothing; -ENODEV, -ENOTCONN: the mount goes. */
	if (r < 0 && r != -ENOENT && r != -ENODEV && r != -ENOTCONN)
		log_debug(session->log, "the kernel could not be told of \"%s\": %s", notice->name,
			  strerror(-r));
}

static void *run(void *data)
{
	struct notifier *notifier = data;
	struct notice *notice;
	bool is_told;

	while ((notice = take(notifier, &is_told))) {
		if (is_told) {
			tell(notifier->session, notice);
			told(notifier);
		} else if (!notice->parent) {
			notice->done(notice->userdata);
		}
		inode_unref(notifier->session->inodes, notice->parent);
		free(notice);
	}
	return NULL;
}

static void destroy(struct notifier *notifier)
{
	pthread_cond_destroy(&notifier->changed);
	pthread_mutex_destroy(&notifier->lock);
	free(notifier);
}

int notify_start(struct session *session)
{
	struct notifier *notifier = calloc(1, sizeof(*notifier));
	int r;

	if (!notifier)
		return -ENOMEM;
	notifier->session = session;
	pthread_mutex_init(&notifier->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&notifier->changed, NULL);
	STAILQ_INIT(&notifier->notices);
	STAILQ_INIT(&notifier->put_off);
	r = -pthread_create(&notifier->thread, NULL, run, notifier);
	if (r < 0) {
		destroy(notifier);
		return r;
	}
	session->notifier = notifier;
	return 0;
}

void notify_close(struct session *session)
{
	struct notifier *notifier = session->notifier;

	pthread_mutex_lock(&notifier->lock);
	notifier->closed = true;
	while (notifier->telling)
		pthread_cond_wait(&notifier->changed, &notifier->lock);
	pthread_mutex_unlock(&notifier->lock);
}

void notify_stop(struct session *session)
{
	struct notifier *notifier = session->notifier;

	if (!notifier)
		return;
	pthread_mutex_lock(&notifier->lock);
	notifier->stop = true;
	pthread_cond_broadcast(&notifier->changed);
	pthread_mutex_unlock(&notifier->lock);
	(void)pthread_join(notifier->thread, NULL); /* ours, and joined once */
}

void notify_free(struct session *session)
{
	struct notifier *notifier = TAKE_PTR(session->notifier);
	struct notice *notice;

	if (!notifier)
		return;
	/* Put off, when the mount went. */
	STAILQ_CONCAT(&notifier->notices, &notifier->put_off);
	while ((notice = STAILQ_FIRST(&notifier->notices))) {
		STAILQ_REMOVE_HEAD(&notifier->notices, link);
		inode_unref(session->inodes, notice->parent);
		free(notice);
	}
	destroy(notifier);
}

/* Takes over @notice, on success. *ret_first: it is the first one that there was no room for. */
static int push(struct notifier *notifier, struct notice *notice, bool *ret_first)
{
	bool full;

	pthread_mutex_lock(&notifier->lock);
	full = notice->parent && notifier->n_names >= NOTICES_MAX;
	*ret_first = full && !notifier->overflowed;
	if (full) {
		notifier->overflowed = true;
	} else {
		STAILQ_INSERT_TAIL(&notifier->notices, notice, link);
		notifier->n_names += notice->parent != NULL;
		pthread_cond_broadcast(&notifier->changed);
	}
	pthread_mutex_unlock(&notifier->lock);
	return full ? -ENOBUFS : 0;
}

void notify_hold(struct inode *inode)
{
	atomic_fetch_add(&inode->held, 1);
}

void notify_release(struct session *session, struct inode *inode)
{
	struct notifier *notifier = session->notifier;

	if (atomic_fetch_sub(&inode->held, 1) != 1)
		return;
	pthread_mutex_lock(&notifier->lock);
	/* Those of other directories are put off again. */
	STAILQ_CONCAT(&notifier->notices, &notifier->put_off);
	pthread_cond_broadcast(&notifier->changed);
	pthread_mutex_unlock(&notifier->lock);
}

int notify_expire_entry(struct session *session, struct inode *parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct notice *notice = calloc(1, sizeof(*notice) + size);
	bool first;
	int r;

	if (!notice)
		return -ENOMEM;
	notice->parent = inode_ref(parent);
	memcpy(notice->name, name, size);
	r = push(session->notifier, notice, &first);
	if (r == 0)
		return 0;
	inode_unref(session->inodes, parent);
	free(notice);
	if (first)
		log_warn(session->log,
			 "the kernel is slow to hear of names that have changed: some old "
			 "ones will be seen for a while");
	return r;
}

int notify_barrier(struct session *session, notify_done_fn done, void *userdata)
{
	struct notice *notice = calloc(1, sizeof(*notice));
	bool first;

	if (!notice)
		return -ENOMEM;
	notice->done = done;
	notice->userdata = userdata;
	return push(session->notifier, notice, &first);
}
