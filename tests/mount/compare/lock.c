/* SPDX-License-Identifier: MIT */
/*
 * lock.c - flock(2) and fcntl(2) locks between two processes.
 */
#include "compare.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>

/* A second process that holds a lock, and lets go when told to. */
struct holder {
	pid_t pid;
	int to, from;
};

static void on_alarm(int signal_number)
{
	(void)signal_number;
}

/* Interrupts what blocks, in 100 ms. */
static void alarm_soon(void)
{
	const struct sigaction action = { .sa_handler = on_alarm }; /* without SA_RESTART */
	const struct itimerval timer = { .it_value.tv_usec = 100000 };

	(void)sigaction(SIGALRM, &action, NULL); /* a valid signal */
	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

static long set_lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock lock = { .l_type = type, .l_start = start, .l_len = length };

	return fcntl(fd, command, &lock);
}

static void hold(int fd, bool whole_file, short type)
{
	if (whole_file)
		(void)flock(fd, type == F_WRLCK ? LOCK_EX : LOCK_SH);
	else
		(void)set_lock(fd, F_SETLK, type, 100, 50);
}

static struct holder holder_start(const char *path, bool whole_file, short type)
{
	struct holder holder;
	int to[2], from[2];
	char byte;

	(void)signal(SIGPIPE, SIG_IGN);
	if (pipe(to) < 0 || pipe(from) < 0)
		abort();
	holder.pid = fork();
	if (holder.pid == 0) {
		int fd = open(path, O_RDWR);

		(void)close(to[1]);
		hold(fd, whole_file, type);
		if (write(from[1], "x", 1) != 1)
			_exit(1);
		(void)!read(to[0], &byte, 1); /* or the parent is gone */
		_exit(0);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	if (read(from[0], &byte, 1) != 1)
		abort();
	holder.to = to[1];
	holder.from = from[0];
	return holder;
}

static void holder_end(struct holder *holder)
{
	int status;

	/* Processes forked meanwhile have the pipe open: closing it says nothing. */
	(void)!write(holder->to, "x", 1); /* EPIPE: it has ended already */
	(void)close(holder->to);
	(void)close(holder->from);
	(void)waitpid(holder->pid, &status, 0);
}

static void records(struct side *side)
{
	struct flock lock = { .l_type = F_WRLCK };
	struct holder holder;
	int fd, readonly;

	make_file(side, "f", 1000);
	fd = CALL_FD(side, open("f", O_RDWR));
	holder = holder_start("f", false, F_WRLCK);
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 0, 1000));
	CALL(side, set_lock(fd, F_SETLK, F_RDLCK, 149, 1));
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 150, 0));
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 0, 100));
	CALL(side, fcntl(fd, F_GETLK, &lock));
	say(side, "held: type %d from %lld for %lld by the other %d", lock.l_type,
	    (long long)lock.l_start, (long long)lock.l_len, lock.l_pid == holder.pid);
	alarm_soon();
	CALL(side, set_lock(fd, F_SETLKW, F_WRLCK, 0, 1000));
	CALL(side, kill(holder.pid, SIGKILL));
	CALL(side, set_lock(fd, F_SETLKW, F_WRLCK, 0, 1000));
	holder_end(&holder);
	CALL(side, set_lock(fd, F_SETLK, F_UNLCK, 0, 0));

	holder = holder_start("f", false, F_RDLCK);
	CALL(side, set_lock(fd, F_SETLK, F_RDLCK, 0, 1000));
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 0, 1000));
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 0, 50)); /* splits */
	CALL(side, set_lock(fd, F_OFD_SETLK, F_WRLCK, 100, 1));
	CALL(side, set_lock(fd, F_OFD_SETLK, F_WRLCK, 900, 1)); /* against our own read lock */
	holder_end(&holder);
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 0, 1000));
	readonly = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, set_lock(readonly, F_SETLK, F_WRLCK, 0, 1));
	CALL(side, set_lock(fd, F_SETLK, 99, 0, 1));
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, -1, 1));
	CALL(side, close(readonly)); /* which drops all of our locks */
	holder = holder_start("f", false, F_WRLCK);
	CALL(side, set_lock(fd, F_SETLK, F_WRLCK, 100, 1));
	holder_end(&holder);
	CALL(side, close(fd));
}

static void whole_files(struct side *side)
{
	struct holder holder;
	int fd, again;

	make_file(side, "f", 1000);
	CALL(side, mkdir("d", 0755));
	fd = CALL_FD(side, open("f", O_RDONLY));
	holder = holder_start("f", true, F_WRLCK);
	CALL(side, flock(fd, LOCK_SH | LOCK_NB));
	CALL(side, flock(fd, LOCK_EX | LOCK_NB));
	alarm_soon();
	CALL(side, flock(fd, LOCK_SH));
	CALL(side, kill(holder.pid, SIGKILL));
	CALL(side, flock(fd, LOCK_SH));
	holder_end(&holder);
	again = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, flock(again, LOCK_SH | LOCK_NB));
	CALL(side, flock(again, LOCK_EX | LOCK_NB));
	CALL(side, flock(fd, LOCK_UN));
	CALL(side, flock(again, LOCK_EX | LOCK_NB));
	CALL(side, flock(fd, LOCK_SH | LOCK_NB));
	CALL(side, set_lock(fd, F_SETLK, F_RDLCK, 0, 0)); /* the other kind: independent */
	CALL(side, flock(fd, 99));
	CALL(side, close(again));
	CALL(side, flock(fd, LOCK_EX | LOCK_NB));
	holder = holder_start("f", false, F_RDLCK);
	CALL(side, unlink("f")); /* nothing holds a name */
	holder_end(&holder);
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d", O_RDONLY));
	CALL(side, flock(fd, LOCK_EX | LOCK_NB));
	again = CALL_FD(side, open("d", O_RDONLY));
	CALL(side, flock(again, LOCK_EX | LOCK_NB));
	CALL(side, close(fd));
	CALL(side, close(again));
}

/* A blocked lock of one process must not keep the others from working. */
static void while_blocked(struct side *side)
{
	struct holder holder;
	pid_t waiting[20];
	int status;

	make_file(side, "f", 1000);
	holder = holder_start("f", true, F_WRLCK);
	for (int i = 0; i < 20; i++) {
		waiting[i] = fork();
		if (waiting[i] == 0) {
			int fd = open("f", O_RDWR);

			_exit(flock(fd, LOCK_SH) < 0);
		}
	}
	let_time_pass();
	for (int i = 0; i < 40; i++) {
		char path[16];

		(void)snprintf(path, sizeof(path), "file%d", i);
		make_text(side, path, "made meanwhile");
	}
	holder_end(&holder);
	for (int i = 0; i < 20; i++)
		if (waitpid(waiting[i], &status, 0) != waiting[i] || status != 0)
			say(side, "process %d: status %d", i, status);
}

const struct call_group groups_lock[] = {
	{ "lock_records", records },
	{ "lock_whole_files", whole_files },
	{ "lock_while_blocked", while_blocked },
	{ NULL, NULL },
};
