/* SPDX-License-Identifier: MIT */
/*
 * arsync.h - what the commands of `arsync` share.
 */
#ifndef TOOLS_ARSYNC_H
#define TOOLS_ARSYNC_H

#include <stdbool.h>

/* The program's exit status; arsync(1) tells users. */
enum exit_code {
	EXIT_GOOD = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_CANCELLED = 3, /* the job, by somebody else */
	EXIT_TIMEOUT = 4,
	EXIT_SIGNAL = 128, /* and the signal's number */
};

/* argv[0] is for messages. Return an exit code. */
int command_copy(int argc, char **argv);
int command_jobs(int argc, char **argv);
int command_wait(int argc, char **argv);
int command_cancel(int argc, char **argv);
int command_stats(int argc, char **argv);

/**
 * "arsync: ..." on standard error, on a line of its own. Names may be in it as they are: what cannot
 * be printed becomes "?".
 */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/**
 * SIGINT, SIGTERM, SIGHUP (unless nohup(1) or the like ignores it) and, if @resize, SIGWINCH come through
 * the returned descriptor from now on. -errno.
 */
int signals_open(bool resize);
/** The number of the next signal that has come, 0: none. */
int signals_next(int fd);
/** Whether @signal asks the program to end. */
bool signals_is_end(int signal);

#endif /* TOOLS_ARSYNC_H */
