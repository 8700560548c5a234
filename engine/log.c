/* SPDX-License-Identifier: MIT */
/*
 * log.c - formats a message and gives it to the log's function.
 */
#include "arsync/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_MESSAGE_MAX 1024 /* longer messages are cut */

/* Names may hold anything: a line break would forge a line, and terminals obey what begins with ESC. */
static void make_printable(char *message)
{
	for (unsigned char *at = (unsigned char *)message; *at; at++) {
		bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0; /* U+0080 to U+009F */

		if (c1)
			at[1] = '?';
		if (c1 || at[0] < ' ' || at[0] == 0x7f)
			at[0] = '?';
	}
}

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
	make_printable(message);
	log->write(log->userdata, level, message);
	errno = saved;
}
