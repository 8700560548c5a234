/* SPDX-License-Identifier: MIT */
/*
 * leftover.c - the state directory, and the thread; see arsync/leftover.h.
 *
 * Where the copy brings what it makes to stable storage (fsync=), its note is there before. Of others it
 * is not fsynced at once: most are over before a disk has written it. When a copy takes longer, the
 * thread does it, so that the note survives a power cut as what is staged does.
 */
#include "leftover_private.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "arsync/base.h"
#include "getdents.h"

#define LATE_NS UINT64_C(1000000000) /* a copy that takes longer has its note fsynced */

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The path of @variable with @below, if it is set and absolute. */
static int join_variable(const char *variable, const char *below, char **ret)
{
	const char *value = getenv(variable);
	char *path;

	if (!value || *value != '/')
		return -ENOENT;
	if (asprintf(&path, "%s%s", value, below) < 0)
		return -ENOMEM;
	*ret = path;
	return 0;
}

static int usual_path(char **ret)
{
	int r = join_variable("STATE_DIRECTORY", "", ret);

	if (r == 0)
		(*ret)[strcspn(*ret, ":")] = '\0'; /* systemd.exec(5): several, with colons */
	if (r != -ENOENT)
		return r;
	if (geteuid() == 0) {
		*ret = strdup("/var/lib/arsyncfs");
		return *ret ? 0 : -ENOMEM;
	}
	r = join_variable("XDG_STATE_HOME", "/arsyncfs", ret);
	return r == -ENOENT ? join_variable("HOME", "/.local/state/arsyncfs", ret) : r;
}

/* As mkdir -p, for ourselves only. */
static int make_path(char *path)
{
	for (char *at = path + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES) {
			*at = '/';
			return negative_errno();
		}
		*at = '/';
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? negative_errno() : 0;
}

static int open_state(const char *given)
{
	_cleanup_free_ char *path = given ? strdup(given) : NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r = given ? (path ? 0 : -ENOMEM) : usual_path(&path);

	if (r == 0)
		r = make_path(path);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return negative_errno();
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	return faccessat(fd, ".", W_OK, AT_EACCESS) < 0 ? negative_errno() : TAKE_FD(fd);
}

int leftovers_open(const struct leftovers_spec *spec, struct leftovers **ret)
{
	_cleanup_free_ struct leftovers *leftovers = calloc(1, sizeof(*leftovers));
	_cleanup_close_ int state_fd = -1, root_fd = -1;
	pthread_condattr_t monotonic;
	int r;

	if (!leftovers)
		return -ENOMEM;
	if (strlen(spec->root_path) >= sizeof(leftovers->root_path))
		return -ENAMETOOLONG;
	state_fd = open_state(spec->state_dir);
	if (state_fd < 0)
		return state_fd;
	root_fd = fcntl(spec->root_fd, F_DUPFD_CLOEXEC, 0);
	r = root_fd < 0 ? negative_errno() : inode_identity_of(root_fd, &leftovers->root);
	if (r < 0)
		return r;
	(void)strcpy(leftovers->root_path, spec->root_path); /* it fits */
	leftovers->log = spec->log;
	leftovers->may_enter = spec->may_enter;
	leftovers->userdata = spec->userdata;
	leftovers->state_fd = TAKE_FD(state_fd);
	leftovers->root_fd = TAKE_FD(root_fd);
	/* These never fail on Linux. */
	pthread_mutex_init(&leftovers->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&leftovers->work, &monotonic);
	pthread_cond_init(&leftovers->removed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*ret = TAKE_PTR(leftovers);
	return 0;
}

void leftovers_free(struct leftovers *leftovers)
{
	if (!leftovers)
		return;
	__atomic_store_n(&leftovers->stopping, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&leftovers->lock);
	pthread_cond_signal(&leftovers->work);
	pthread_mutex_unlock(&leftovers->lock);
	if (leftovers->has_thread)
		pthread_join(leftovers->thread, NULL);
	for (unsigned i = 0; i < leftovers->n_late; i++)
		close_keep_errno(leftovers->late[i].fd);
	pthread_cond_destroy(&leftovers->removed);
	pthread_cond_destroy(&leftovers->work);
	pthread_mutex_destroy(&leftovers->lock);
	close_keep_errno(leftovers->state_fd);
	close_keep_errno(leftovers->root_fd);
	free(leftovers);
}

static bool is_stopping(struct leftovers *leftovers)
{
	return __atomic_load_n(&leftovers->stopping, __ATOMIC_RELAXED);
}

static void look_at(struct leftovers *leftovers, struct cred_thread *thread, const char *name)
{
	struct note_read note;
	int r = note_read(leftovers->state_fd, name, &note);

	if (r < 0 && r != -EBADMSG) {
		if (r != -EAGAIN)
			log_debug(leftovers->log, "the note %s of a copy is left: %s", name,
				  strerror(-r));
		return;
	}
	if (r == 0)
		r = leftover_remove(leftovers, thread, &note);
	else
		r = 1;
	if (r < 0)
		log_warn(leftovers->log,
			 "what an interrupted copy has left as %s in \"%s\" of %s cannot be "
			 "removed now: %s",
			 note.staging, note.below, note.root_path, strerror(-r));
	if (r == 1)
		note_read_drop(leftovers->state_fd, &note);
	note_read_destroy(&note);
}

/* Every note that there is now. */
static int look_at_all(struct leftovers *leftovers, struct cred_thread *thread)
{
	_cleanup_close_ int fd =
		openat(leftovers->state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct getdents_entry *entry;
	struct getdents list;
	int r;

	if (fd < 0)
		return negative_errno();
	while ((r = getdents_read(&list, fd)) > 0)
		while ((entry = getdents_next(&list)) && !is_stopping(leftovers))
			if (strncmp(entry->name, NOTE_PREFIX, strlen(NOTE_PREFIX)) == 0)
				look_at(leftovers, thread, entry->name);
	return r;
}

static void remove_all(struct leftovers *leftovers)
{
	struct cred_thread thread;
	int r = cred_thread_init(&thread, false);

	if (r == 0)
		r = look_at_all(leftovers, &thread);
	if (r < 0)
		log_warn(leftovers->log, "what interrupted copies have left is not removed: %s",
			 strerror(-r));
	cred_thread_destroy(&thread);
}

/* Its copy is not over: the note, and its name. */
static void sync_note(struct leftovers *leftovers, int fd)
{
	struct stat st;

	/* Nobody can do anything about an error: without the note, there is nothing to be removed. */
	if (fstat(fd, &st) == 0 && st.st_nlink > 0 && fdatasync(fd) == 0)
		(void)fsync(leftovers->state_fd);
}

/* Waits for something to do. Takes a note out of the late ones, or answers -1. */
static int wait_locked(struct leftovers *leftovers)
{
	int fd;

	while (!is_stopping(leftovers) && !leftovers->to_remove) {
		uint64_t due = leftovers->late[0].due_ns;
		struct timespec until = { .tv_sec = (time_t)(due / 1000000000),
					  .tv_nsec = (long)(due % 1000000000) };

		if (leftovers->n_late == 0) {
			pthread_cond_wait(&leftovers->work, &leftovers->lock);
		} else if (due > now_ns()) {
			(void)pthread_cond_timedwait(&leftovers->work, &leftovers->lock, &until);
		} else {
			fd = leftovers->late[0].fd;
			leftovers->n_late--;
			memmove(leftovers->late, leftovers->late + 1,
				leftovers->n_late * sizeof(*leftovers->late));
			return fd;
		}
	}
	return -1;
}

static void *leftovers_main(void *argument)
{
	struct leftovers *leftovers = argument;

	(void)pthread_setname_np(pthread_self(), "arsync-leftover"); /* for humans only */
	pthread_mutex_lock(&leftovers->lock);
	while (!is_stopping(leftovers)) {
		int fd = wait_locked(leftovers);
		bool to_remove = leftovers->to_remove;

		pthread_mutex_unlock(&leftovers->lock);
		if (fd >= 0)
			sync_note(leftovers, fd);
		else if (to_remove)
			remove_all(leftovers);
		close_keep_errno(fd);
		pthread_mutex_lock(&leftovers->lock);
		if (fd < 0)
			leftovers->to_remove = false;
		pthread_cond_broadcast(&leftovers->removed);
	}
	leftovers->to_remove = false;
	pthread_cond_broadcast(&leftovers->removed);
	pthread_mutex_unlock(&leftovers->lock);
	return NULL;
}

/* Signals are for the program's own threads. */
static int start_locked(struct leftovers *leftovers)
{
	sigset_t all, old;
	int r;

	if (leftovers->has_thread)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&leftovers->thread, NULL, leftovers_main, leftovers);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	leftovers->has_thread = r == 0;
	return -r;
}

int leftovers_remove(struct leftovers *leftovers)
{
	int r;

	pthread_mutex_lock(&leftovers->lock);
	leftovers->to_remove = true;
	r = start_locked(leftovers);
	if (r < 0)
		leftovers->to_remove = false;
	pthread_cond_signal(&leftovers->work);
	pthread_mutex_unlock(&leftovers->lock);
	return r;
}

bool leftovers_wait(struct leftovers *leftovers, unsigned timeout_ms)
{
	uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000;
	struct timespec until = { .tv_sec = (time_t)(end / 1000000000),
				  .tv_nsec = (long)(end % 1000000000) };
	bool done;
	int r = 0;

	pthread_mutex_lock(&leftovers->lock);
	while (leftovers->to_remove && r == 0)
		r = pthread_cond_timedwait(&leftovers->removed, &leftovers->lock, &until);
	done = !leftovers->to_remove;
	pthread_mutex_unlock(&leftovers->lock);
	return done;
}

/* Takes out the notes whose copies have ended, so that there is room for a longer one. */
static void forget_ended_locked(struct leftovers *leftovers)
{
	unsigned n = 0;
	struct stat st;

	for (unsigned i = 0; i < leftovers->n_late; i++) {
		struct leftovers_late *late = &leftovers->late[i];

		if (fstat(late->fd, &st) == 0 && st.st_nlink > 0)
			leftovers->late[n++] = *late;
		else
			close_keep_errno(late->fd);
	}
	leftovers->n_late = n;
}

/* Without room, memory or a thread the note is not safe from a power cut, but from a crash. */
static void sync_later(struct leftovers *leftovers, const struct note *note)
{
	struct leftovers_late late = { .fd = fcntl(note->fd, F_DUPFD_CLOEXEC, 0),
				       .due_ns = now_ns() + LATE_NS };

	pthread_mutex_lock(&leftovers->lock);
	if (leftovers->n_late == LEFTOVERS_LATE_MAX)
		forget_ended_locked(leftovers);
	if (late.fd >= 0 && leftovers->n_late < LEFTOVERS_LATE_MAX &&
	    start_locked(leftovers) == 0) {
		leftovers->late[leftovers->n_late++] = late;
		late.fd = -1;
		if (leftovers->n_late == 1)
			pthread_cond_signal(&leftovers->work);
	}
	pthread_mutex_unlock(&leftovers->lock);
	close_keep_errno(late.fd);
}

void leftovers_note(struct leftovers *leftovers, struct note_place *place, struct note *ret)
{
	int r;

	*ret = (struct note){ .fd = -1 };
	if (!leftovers)
		return;
	place->root = leftovers->root;
	place->root_path = leftovers->root_path;
	r = note_create(leftovers->state_fd, place, ret);
	if (r < 0 && !__atomic_exchange_n(&leftovers->warned, true, __ATOMIC_RELAXED))
		log_warn(leftovers->log,
			 "copies cannot be noted in the state directory, what a crash leaves will "
			 "stay: %s",
			 strerror(-r));
	if (r == 0 && !place->at_once)
		sync_later(leftovers, ret);
}

void leftovers_note_end(struct leftovers *leftovers, struct note *note, bool gone)
{
	if (note->fd < 0)
		return;
	if (gone)
		note_drop(leftovers->state_fd, note);
	else
		note_leave(note);
}
