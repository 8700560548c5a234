/* SPDX-License-Identifier: MIT */
/*
 * session.c - the life of a mount.
 *
 *	open_all()	backing, checks, inode table, engine: nothing is visible yet
 *	mount_it()	libfuse mounts; our own device number becomes known
 *	serve()		background, threads, the loop until a signal or an unmount; no handler after it
 *	end_jobs()	every job has called done() and so answered
 *	close_all()	unmount, then take down what open_all() made, in reverse
 *
 * Threads start after the fork(2) into the background. BACKING is open before MOUNTPOINT is
 * covered, and after that no path is used any more, so the two may be the same directory.
 */
#include "session.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "arsync/base.h"
#include "arsync/leftover.h"
#include "arsync/mountinfo.h"
#include "caller.h"
#include "cpu_latency.h"
#include "inode_table.h"
#include "jobs.h"
#include "mountpoint.h"
#include "notify.h"
#include "ops.h"
#include "ring.h"
#include "stop.h"
#include "waiting.h"

/*
 * Threads come when all others are busy, and they may be for long, by one file system of several that hangs
 * or is frozen. What is above the second number ends when it is idle.
 */
#define FUSE_THREADS_MAX 512
#define FUSE_THREADS_IDLE_MAX 32
#define POOL_FDS_MAX 2048
#define POOL_FDS_SHARE                                                                             \
	4 /* of RLIMIT_NOFILE: one part for the pool, the rest for open files and copies */

/* Descriptors that the pool may keep. */
static unsigned pool_fds(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return POOL_FDS_MAX / 16; /* cannot fail on Linux; something small */
	return (unsigned)MIN(limit.rlim_cur / POOL_FDS_SHARE, (rlim_t)POOL_FDS_MAX);
}

/* A job that waits has two descriptors: it may have a quarter of them. */
static unsigned jobs_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return JOBS_LIVE_MAX / 16; /* cannot fail on Linux; something small */
	return (unsigned)MAX(MIN(limit.rlim_cur / 8, (rlim_t)JOBS_LIVE_MAX), (rlim_t)1);
}

static double timeout_of(enum options_cache cache)
{
	switch (cache) {
	case OPTIONS_CACHE_AUTO:
		return 1;
	case OPTIONS_CACHE_ALWAYS:
		return 3600;
	case OPTIONS_CACHE_NEVER:
		return 0;
	}
	return 0;
}

static int open_backing(struct session *session)
{
	const char *path = session->options->backing;
	int r;

	r = backing_open(&session->backing, path, session->log);
	if (r == 0) {
		session->backing_path = realpath(path, NULL);
		if (!session->backing_path) /* only for notes about copies */
			session->backing_path = strdup("");
		if (!session->backing_path) {
			backing_close(&session->backing);
			r = -ENOMEM;
		}
	}
	if (r == -ENOTCONN)
		log_error(session->log,
			  "%s is a mount whose daemon is gone: unmount it with fusermount3 -u %s",
			  path, path);
	else if (r < 0)
		log_error(session->log, "backing directory %s: %s", path, strerror(-r));
	return r;
}

static bool may_enter(const char *path, void *userdata)
{
	const struct session *session = userdata;
	struct mountinfo info;

	return mountinfo_find_path(session->backing.proc_fd, path, &info) == 0 &&
	       mountinfo_is_local(&info);
}

/*
 * Where copies are noted, so that what a crash leaves is removed at the next mount. Before anything
 * is mounted: BACKING may be covered then, and the state directory, too.
 */
static void open_leftovers(struct session *session)
{
	struct leftovers_spec spec = {
		.root_fd = session->backing.root_fd,
		.root_path = session->backing_path,
		.may_enter = may_enter,
		.userdata = session,
		.log = session->log,
	};
	int r = leftovers_open(&spec, &session->leftovers);

	if (r < 0)
		log_warn(session->log,
			 "no state directory can be used, what copies leave when they crash is not "
			 "removed: %s",
			 strerror(-r));
}

static int open_engine(struct session *session)
{
	struct engine_options options = session->options->engine;
	int r;

	options.log = session->log;
	r = engine_new(&options, &session->engine);
	if (r == -ENOSYS || r == -EPERM)
		log_error(session->log,
			  "io=uring: no io_uring on this kernel or in this container (%s)",
			  strerror(-r));
	else if (r < 0)
		log_error(session->log, "cannot start the copy engine: %s", strerror(-r));
	return r;
}

/* The fsname as an option: libfuse takes commas and backslashes apart. */
static char *fsname_option(const char *backing)
{
	_cleanup_free_ char *absolute = realpath(backing, NULL);
	const char *source = *backing == '/' || !absolute ? backing :
							    absolute; /* fstab's own words stay */
	char *option = malloc(strlen("-ofsname=") + 2 * strlen(source) + 1);
	char *out;

	if (!option)
		return NULL;
	out = stpcpy(option, "-ofsname=");
	for (const char *in = source; *in; in++) {
		if (*in == ',' || *in == '\\')
			*out++ = '\\';
		*out++ = *in;
	}
	*out = '\0';
	return option;
}

static int open_fuse(struct session *session)
{
	const struct options *options = session->options;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	_cleanup_free_ char *fsname = NULL;
	struct fuse_lowlevel_ops ops;
	int r = 0;

	/* libfuse consumes its arguments, and they are the options' */
	for (int i = 0; i < options->fuse.argc && r == 0; i++)
		r = fuse_opt_add_arg(&args, options->fuse.argv[i]);
	if (r == 0 && !options->has_fsname) {
		fsname = fsname_option(options->backing);
		r = fsname ? fuse_opt_add_arg(&args, fsname) : -1;
	}
	ops_register(&ops);
	if (r == 0)
		session->fuse = fuse_session_new(&args, &ops, sizeof(ops), session);
	fuse_opt_free_args(&args);
	if (!session->fuse) {
		log_error(session->log, "libfuse refuses the mount options: %s",
			  session->sink->kept);
		return -EINVAL;
	}
	return 0;
}

/* Before anything is mounted: whether what transport=ring insists on is to be had. */
static int check_transport(struct session *session)
{
	const char *advice;
	int r;

	if (session->options->transport != OPTIONS_TRANSPORT_RING)
		return 0;
	r = ring_check_kernel(&advice);
	if (r < 0)
		log_error(session->log, "transport=ring: %s", advice);
	return r;
}

static int open_all(struct session *session)
{
	int r;

	engine_raise_fd_limit(session->log);
	r = check_transport(session);
	if (r < 0)
		return r;
	r = mountpoint_check(&session->backing, session->options->mountpoint, session->log,
			     &session->mountpoint);
	if (r < 0)
		return r;
	r = atime_apply(&session->options->atime, &session->backing);
	if (r < 0)
		log_warn(session->log,
			 "access times stay as the backing directory is mounted, no private mount "
			 "of it can be made: %s",
			 strerror(-r));
	r = inode_table_new(&session->backing, pool_fds(), &session->inodes);
	if (r < 0) {
		log_error(session->log, "cannot identify files below %s: %s",
			  session->options->backing, strerror(-r));
		return r;
	}
	if (session->options->readahead_tree) {
		r = readahead_tree_new(session->inodes, &session->readahead_tree);
		if (r < 0)
			return r;
	}
	r = open_engine(session);
	if (r < 0)
		return r;
	open_leftovers(session);
	logsink_keep(session->sink, true);
	r = open_fuse(session);
	logsink_keep(session->sink, false);
	return r;
}

static int mount_it(struct session *session)
{
	struct mountinfo info;
	int r;

	logsink_keep(session->sink, true);
	r = fuse_session_mount(session->fuse, session->mountpoint);
	session->sink->keep = false;
	if (r < 0) {
		log_error(session->log, "cannot mount on %s: %s", session->mountpoint,
			  session->sink->kept[0] ? session->sink->kept :
						   "fusermount3 refuses, and says why above");
		return -EIO;
	}
	r = mountinfo_find_path(session->backing.proc_fd, session->mountpoint, &info);
	if (r == 0 && mountinfo_is_fuse(&info))
		session->backing.own_dev = info.dev;
	else
		log_warn(session->log,
			 "cannot find the own mount in /proc/self/mountinfo: do not bind it "
			 "into the backing directory");
	return 0;
}

/* In the process that will serve, before it has threads. */
static int enter_background(struct session *session)
{
	int r;

	if (fuse_daemonize(session->options->foreground) < 0) {
		log_error(session->log, "cannot go to the background");
		return -EIO;
	}
	if (!session->options->foreground)
		logsink_use_syslog(session->sink);
	r = backing_enter_process(&session->backing);
	if (r < 0)
		log_error(session->log, "cannot use /proc/self/fd: %s", strerror(-r));
	return r;
}

/*
 * Every thread that libfuse starts descends from this one and inherits that it cannot keep setuid
 * bits.
 */
static int prepare_threads(struct session *session)
{
	struct cred_thread *thread;
	int r;

	r = caller_thread(session, &thread);
	if (r < 0)
		return r;
	r = notify_start(session);
	if (r == 0)
		r = waiting_new(&session->waiting);
	if (r == 0)
		r = jobs_new(jobs_max(), session->waiting, &session->jobs);
	if (r == 0 && session->options->cpu_latency)
		r = cpu_latency_new(session->log, &session->cpu_latency);
	if (r == 0)
		r = stop_start(session->stop);
	if (r < 0)
		log_error(session->log, "cannot start a thread: %s", strerror(-r));
	return r;
}

/* Before the kernel's first request. ring.c says later whether the kernel agrees. */
static int open_transport(struct session *session)
{
	enum options_transport transport = session->options->transport;
	const char *advice = "transport=dev";
	int r = -EOPNOTSUPP;

	if (transport != OPTIONS_TRANSPORT_DEV)
		r = ring_check_kernel(&advice);
	if (r == 0) {
		r = ring_new(session, &session->ring);
		advice = r == -ENOTSUP ? "this libfuse is built without custom input and output" :
					 strerror(-r);
	}
	if (r == 0)
		return 0;
	if (transport == OPTIONS_TRANSPORT_RING) {
		log_error(session->log, "transport=ring: %s", advice);
		return r;
	}
	log_info(session->log, "requests come through /dev/fuse: %s", advice);
	return 0;
}

static int loop(struct session *session)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, FUSE_THREADS_MAX);
	fuse_loop_cfg_set_idle_threads(config, FUSE_THREADS_IDLE_MAX);
	fuse_loop_cfg_set_clone_fd(config, 0);
	r = fuse_session_loop_mt(session->fuse, config);
	fuse_loop_cfg_destroy(config);
	/* Positive: a signal has ended it, as it should. */
	if (r < 0)
		log_error(session->log, "serving ended with an error: %s", strerror(-r));
	return MIN(r, 0);
}

/* In the background. Nobody who mounts for reading only expects that something is removed. */
static void remove_leftovers(struct session *session)
{
	int r;

	if (!session->leftovers || session->options->read_only)
		return;
	r = leftovers_remove(session->leftovers);
	if (r < 0)
		log_warn(session->log, "what crashed copies have left is not removed: %s",
			 strerror(-r));
}

static int serve(struct session *session)
{
	int r;

	r = enter_background(session);
	if (r < 0)
		return r;
	r = stop_new(session, &session->stop);
	if (r < 0)
		return r;
	r = prepare_threads(session);
	if (r < 0)
		return r;
	log_info(session->log, "%s is mounted on %s", session->options->backing,
		 session->mountpoint);
	remove_leftovers(session);
	r = open_transport(session);
	if (r == 0)
		r = loop(session);
	stop_free(TAKE_PTR(session->stop));
	/*
	 * Before the unmount, so that those who wait get an answer; their answers need the
	 * connection, and the threads of the ring. No handler may start a job any more.
	 */
	ring_quiesce(session->ring);
	jobs_stop(session->jobs);
	engine_drain(session->engine);
	notify_stop(session); /* what it ends are jobs of which the engine knows nothing any more */
	waiting_free(session->waiting);
	notify_free(session);
	ring_stop(session->ring);
	cpu_latency_free(session->cpu_latency);
	log_info(session->log, "%s is unmounted", session->mountpoint);
	return r;
}

static int mount_and_serve(struct session *session)
{
	int r;

	/*
	 * Until stop_new(); then signals are blocked until the end of session_run(): a second SIGTERM must not
	 * leave a dead mount behind.
	 */
	if (fuse_set_signal_handlers(session->fuse) < 0)
		return -EIO;
	/* Who has a limit of file sizes gets EFBIG; the daemon's own limit is not to end it. */
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return negative_errno();
	r = mount_it(session);
	if (r < 0)
		return r;
	r = serve(session);
	fuse_session_unmount(session->fuse);
	return r;
}

int session_run(const struct options *options, struct logsink *sink)
{
	struct session *session = calloc(1, sizeof(*session));
	int r;

	if (!session) {
		log_error(&sink->log, "out of memory");
		return EXIT_FAILURE;
	}
	session->options = options;
	session->sink = sink;
	session->log = &sink->log;
	session->timeout = timeout_of(options->cache);
	r = open_backing(session);
	if (r < 0)
		goto out;
	r = caller_init(session);
	if (r < 0) {
		log_error(session->log, "no thread-specific data left: %s", strerror(-r));
		goto out_backing;
	}
	r = open_all(session);
	if (r == 0)
		r = mount_and_serve(session);

	stop_free(session->stop); /* where serve() did not get to its loop */
	engine_free(session->engine);
	leftovers_free(session->leftovers); /* its jobs have ended */
	ring_free(session->ring);	    /* the engine's threads have answered through it */
	jobs_free(session->jobs);
	readahead_tree_free(session->readahead_tree);
	inode_table_free(session->inodes);
	if (session->fuse) {
		fuse_remove_signal_handlers(session->fuse);
		fuse_session_destroy(session->fuse);
	}
	free(session->mountpoint);
	free(session->backing_path);
	caller_destroy(session);
out_backing:
	backing_close(&session->backing);
out:
	free(session);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
