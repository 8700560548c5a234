/* SPDX-License-Identifier: MIT */
/*
 * copy_report.h - what `arsync copy` says of a copy that has ended.
 */
#ifndef TOOLS_COPY_REPORT_H
#define TOOLS_COPY_REPORT_H

#include "arsync.h"
#include "copy.h"

struct copy_report {
	bool json;
	bool verbose;
	int signal; /* that has cancelled the copy, or came too late; 0: none */
};

/** On standard error, with @report->json also on standard output. */
enum exit_code copy_report(const struct copy_report *report, const struct copy_task *task,
			   const struct copy_outcome *outcome);

/** The same of one that could not be started: -errno. @note: what is said behind the error. */
enum exit_code copy_report_refused(bool json, const char *source, const char *destination,
				   int error, const char *note);

#endif /* TOOLS_COPY_REPORT_H */
