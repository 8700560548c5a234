/* SPDX-License-Identifier: MIT */
/*
 * main.c - arsyncfs BACKING MOUNTPOINT.
 */
#include <stdio.h>
#include <stdlib.h>

#include "arsync/standard_fds.h"
#include "logsink.h"
#include "options.h"
#include "session.h"

static int act(const struct options *options, struct logsink *sink)
{
	switch (options->action) {
	case OPTIONS_MOUNT:
		return session_run(options, sink);
	case OPTIONS_HELP:
		return fputs(options_help(), stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	case OPTIONS_VERSION:
		return printf("arsyncfs %s (libfuse %s)\n", SESSION_VERSION, fuse_pkgversion()) <
				       0 ?
			       EXIT_FAILURE :
			       EXIT_SUCCESS;
	}
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options options;
	struct logsink sink;
	int status;

	if (standard_fds_occupy() < 0)
		return EXIT_FAILURE; /* nowhere to complain */
	/* Kept until the options are known: fuse_opt's own messages would be a second sentence. */
	logsink_init(&sink, LOG_LEVEL_INFO);
	logsink_keep(&sink, true);
	if (options_parse(&options, argc, argv) < 0) {
		(void)fprintf(stderr, "arsyncfs: %s\n",
			      options.error); /* nowhere else to complain */
		status = EXIT_FAILURE;
	} else {
		logsink_keep(&sink, false);
		sink.log.level = options.log_level;
		status = act(&options, &sink);
	}
	options_destroy(&options);
	return status;
}
