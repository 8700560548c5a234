/* SPDX-License-Identifier: MIT */
/*
 * log.h - one place where messages go.
 *
 * A log is a level and a function. The daemon writes to standard error or syslog, tests record.
 * Threads: log_message() may be called from any thread; log::write must be thread-safe.
 */
#ifndef ARSYNC_LOG_H
#define ARSYNC_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

struct log {
	enum log_level level; /* messages above it are dropped */
	/*
	 * @message is one line without control characters, has no trailing newline and is the
	 * callee's only during the call.
	 */
	void (*write)(void *userdata, enum log_level level, const char *message);
	void *userdata;
};

/** Formats and writes one message; a NULL @log drops it. Keeps errno. */
void log_message(const struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Whether a message of @level would be written: for those that take work to compose. */
static inline bool log_wants(const struct log *log, enum log_level level)
{
	return log && level <= log->level;
}

#define log_error(log, ...) log_message((log), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_message((log), LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_message((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_message((log), LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif /* ARSYNC_LOG_H */
