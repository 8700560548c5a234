/* SPDX-License-Identifier: MIT */
/*
 * stop.c - see stop.h.
 */
#include "stop.h"

#include <pthread.h>
#include <signal.h>

#include "arsync/base.h"
#include "jobs.h"
#include "notify.h"

static const int signals[] = { SIGHUP, SIGINT, SIGTERM };

struct stop {
	struct session *session;
	pthread_t thread;
	sigset_t set; /* those that are not ignored */
	bool started;
};

static void *run(void *data)
{
	struct stop *stop = data;
	int signal;

	if (sigwait(&stop->set, &signal) != 0) /* where stop_free() ends the thread, too */
		return NULL;		       /* only for a set that is none */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* cannot fail */
	/* The notifier may wait for a directory whose lock somebody has until a copy into it has ended. */
	jobs_stop(stop->session->jobs);
	notify_close(stop->session);
	fuse_session_exit(stop->session->fuse);
	return NULL;
}

static bool is_ignored(int signal)
{
	struct sigaction action;

	return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int stop_new(struct session *session, struct stop **ret)
{
	struct stop *stop = calloc(1, sizeof(*stop));

	if (!stop)
		return -ENOMEM;
	stop->session = session;
	sigemptyset(&stop->set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (!is_ignored(signals[i]))
			sigaddset(&stop->set, signals[i]);
	(void)pthread_sigmask(SIG_BLOCK, &stop->set,
			      NULL); /* fails only for a bad first argument */
	*ret = stop;
	return 0;
}

int stop_start(struct stop *stop)
{
	int r = -pthread_create(&stop->thread, NULL, run, stop);

	stop->started = r == 0;
	return r;
}

void stop_free(struct stop *stop)
{
	if (!stop)
		return;
	if (stop->started) {
		(void)pthread_cancel(stop->thread); /* it may have ended */
		(void)pthread_join(stop->thread, NULL);
	}
	free(stop);
}
