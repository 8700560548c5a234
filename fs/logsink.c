/* SPDX-License-Identifier: MIT */
/*
 * logsink.c - log::write for the daemon, and libfuse's log function.
 */
#define FUSE_USE_VERSION 318
#include "logsink.h"

#include <fuse_log.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "arsync/base.h"

/*
 * libfuse hands its log function no context, so this is the one mutable global of the program: set
 * once, before there is a second thread.
 */
static struct logsink *fuse_sink;

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARN:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		return LOG_DEBUG;
	}
	return LOG_ERR;
}

static void write_message(void *userdata, enum log_level level, const char *message)
{
	const struct logsink *sink = userdata;

	if (sink->to_syslog)
		syslog(syslog_priority(level), "%s", message);
	else
		(void)fprintf(stderr, "arsyncfs: %s\n", message); /* nowhere left to complain */
}

static enum log_level level_from_fuse(enum fuse_log_level level)
{
	switch (level) {
	case FUSE_LOG_EMERG:
	case FUSE_LOG_ALERT:
	case FUSE_LOG_CRIT:
	case FUSE_LOG_ERR:
		return LOG_LEVEL_ERROR;
	case FUSE_LOG_WARNING:
		return LOG_LEVEL_WARN;
	case FUSE_LOG_NOTICE:
	case FUSE_LOG_INFO:
		return LOG_LEVEL_INFO;
	case FUSE_LOG_DEBUG:
		return LOG_LEVEL_DEBUG;
	}
	return LOG_LEVEL_ERROR;
}

__attribute__((format(printf, 2, 0))) static void write_fuse(enum fuse_log_level level,
							     const char *format, va_list arguments)
{
	char message[LOGSINK_KEPT_MAX];
	int saved = errno;

	(void)vsnprintf(message, sizeof(message), format, arguments); /* cut off by design */
	message[strcspn(message, "\n")] = '\0';
	if (fuse_sink->keep)
		memcpy(fuse_sink->kept, message, sizeof(message));
	else if (strncmp(message, "fuse: passthrough_open:", 23) == 0)
		log_debug(&fuse_sink->log, "%s", message); /* handle.c says what follows from it */
	else
		log_message(&fuse_sink->log, level_from_fuse(level), "libfuse: %s", message);
	errno = saved;
}

void logsink_init(struct logsink *sink, enum log_level level)
{
	*sink = (struct logsink){
		.log = { .level = level, .write = write_message, .userdata = sink },
	};
	fuse_sink = sink;
	fuse_set_log_func(write_fuse);
}

void logsink_use_syslog(struct logsink *sink)
{
	openlog("arsyncfs", LOG_PID, LOG_DAEMON);
	sink->to_syslog = true;
}

void logsink_keep(struct logsink *sink, bool keep)
{
	sink->keep = keep;
	sink->kept[0] = '\0';
}
