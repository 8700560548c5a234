/* SPDX-License-Identifier: MIT */
/*
 * notify.c - see notify.h. See fuse_reverse_inval_entry() in the kernel's fs/fuse/dir.c for the
 * lock.
 */
#include "notify.h"

#include <string.h>
#include <sys/queue.h>

#include "arsync/base.h"

struct notice {
	STAILQ_ENTRY(notice) link;
	struct inode *parent; /* a reference */
	notify_done_fn done;
	void *userdata;
	char name[];
};

struct notifier {
	/* Set once. */
	struct session *session;
	pthread_t thread;
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	STAILQ_HEAD(, notice) notices;
	bool stop;
};

/* The next one; NULL: nothing is left and it is time to stop. */
static struct notice *take(struct notifier *notifier)
{
	struct notice *notice;

	pthread_mutex_lock(&notifier->lock);
	while (STAILQ_EMPTY(&notifier->notices) && !notifier->stop)
		pthread_cond_wait(&notifier->changed, &notifier->lock);
	notice = STAILQ_FIRST(&notifier->notices);
	if (notice)
		STAILQ_REMOVE_HEAD(&notifier->notices, link);
	pthread_mutex_unlock(&notifier->lock);
	return notice;
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

	while ((notice = take(notifier))) {
		tell(notifier->session, notice);
		notice->done(notice->userdata);
		inode_unref(notifier->session->inodes, notice->parent);
		free(notice);
	}
	return NULL;
}

static void notifier_free(struct notifier *notifier)
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
	r = -pthread_create(&notifier->thread, NULL, run, notifier);
	if (r < 0) {
		notifier_free(notifier);
		return r;
	}
	session->notifier = notifier;
	return 0;
}

void notify_stop(struct session *session)
{
	struct notifier *notifier = TAKE_PTR(session->notifier);

	if (!notifier)
		return;
	pthread_mutex_lock(&notifier->lock);
	notifier->stop = true;
	pthread_cond_signal(&notifier->changed);
	pthread_mutex_unlock(&notifier->lock);
	(void)pthread_join(notifier->thread, NULL); /* ours, and joined once */
	notifier_free(notifier);
}

int notify_expire_entry(struct session *session, struct inode *parent, const char *name,
			notify_done_fn done, void *userdata)
{
	struct notifier *notifier = session->notifier;
	size_t size = strlen(name) + 1;
	struct notice *notice = calloc(1, sizeof(*notice) + size);

	if (!notice)
		return -ENOMEM;
	notice->parent = inode_ref(parent);
	notice->done = done;
	notice->userdata = userdata;
	memcpy(notice->name, name, size);
	pthread_mutex_lock(&notifier->lock);
	STAILQ_INSERT_TAIL(&notifier->notices, notice, link);
	pthread_cond_signal(&notifier->changed);
	pthread_mutex_unlock(&notifier->lock);
	return 0;
}
