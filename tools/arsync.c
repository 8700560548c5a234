/* SPDX-License-Identifier: MIT */
/*
 * arsync.c - the command line of arsyncfs: which command it is.
 */
#include "arsync.h"

#include <argp.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "arsync/base.h"
#include "arsync/standard_fds.h"
#include "progress.h"

static const struct {
	const char *name;
	const char *title; /* argv[0] of the command */
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "copy", "arsync copy", command_copy },    { "jobs", "arsync jobs", command_jobs },
	{ "wait", "arsync wait", command_wait },    { "cancel", "arsync cancel", command_cancel },
	{ "stats", "arsync stats", command_stats },
};

static const char doc[] =
	"Copies trees, and looks after the copies that an arsyncfs mount makes.\n"
	"\n"
	"  arsync copy SRC... DEST     copy files and trees\n"
	"  arsync jobs [MOUNT]         list the copies of a mount\n"
	"  arsync wait MOUNT ID...     wait for copies to end\n"
	"  arsync cancel MOUNT ID...   cancel copies\n"
	"  arsync stats [MOUNT]        what the mount has done\n"
	"\n"
	"MOUNT is any directory of an arsyncfs mount. `arsync COMMAND --help' says more.";

void complain(const char *format, ...)
{
	_cleanup_free_ char *text = NULL, *shown = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	shown = text ? progress_printable_all(text) : NULL;
	/* nowhere else to complain */
	(void)fprintf(stderr, "arsync: %s\n", shown ? shown : "out of memory");
}

int signals_open(bool resize)
{
	struct sigaction hangup;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	if (resize)
		sigaddset(&set, SIGWINCH);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return negative_errno();
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? negative_errno() : fd;
}

int signals_next(int fd)
{
	struct signalfd_siginfo info;

	return RETRY_EINTR(read(fd, &info, sizeof(info))) == sizeof(info) ? (int)info.ssi_signo : 0;
}

bool signals_is_end(int signal)
{
	return signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
}

/* What a command has printed may not have got where it should. */
static int check_output(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	complain("cannot write to standard output: %s", strerror(errno));
	return code == EXIT_GOOD ? EXIT_FAILED : code;
}

int main(int argc, char **argv)
{
	const struct argp argp = { .args_doc = "COMMAND [OPTION...] ...", .doc = doc };
	static char title[32]; /* argp keeps a pointer to it */

	if (standard_fds_occupy() < 0)
		return EXIT_FAILED;    /* nowhere to complain */
	(void)setlocale(LC_CTYPE, ""); /* names are shown as they are then, else as ASCII */
	argp_program_version = "arsync " ARSYNCFS_VERSION;
	argp_err_exit_status = EXIT_USAGE;
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		(void)snprintf(title, sizeof(title), "%s", commands[i].title); /* fits */
		argv[1] = title;
		return check_output(commands[i].run(argc - 1, argv + 1));
	}
	if (argc > 1 && argv[1][0] == '-')
		(void)argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL,
				 NULL); /* --help, --version */
	complain(argc > 1 ? "there is no command \"%s\" (arsync --help lists them)" :
			    "which command? (arsync --help lists them)%s",
		 argc > 1 ? argv[1] : "");
	return EXIT_USAGE;
}
