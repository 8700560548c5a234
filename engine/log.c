/* SPDX-License-Identifier: MIT */
/*
 * log.c - formats a message and gives it to the log's function.
 */
#include "arsync/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_MESSAGE_MAX 1024 /* longer messages are cut */

void log_message(const struct log *log, enum log_level level, const char *format, ...)
{
	char message[LOG_MESSAGE_MAX];
	int saved = errno;
	va_list args;

	if (!log || level > log->level)
		return;
	va_start(args, format);
	errno = saved;						 /* for %m */
	(void)vsnprintf(message, sizeof(message), format, args); /* a cut message is still one */
	va_end(args);
	log->write(log->userdata, level, message);
	errno = saved;
}
