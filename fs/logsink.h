/* SPDX-License-Identifier: MIT */
/*
 * logsink.h - where the daemon's messages go: standard error, later syslog.
 *
 * libfuse's messages come the same way. While the mount is being made they are kept instead of
 * written, so that the one sentence a user gets can say why it failed.
 */
#ifndef ARSYNCFS_LOGSINK_H
#define ARSYNCFS_LOGSINK_H

#include <stdbool.h>

#include "arsync/log.h"

#define LOGSINK_KEPT_MAX 256

struct logsink {
	struct log log; /* what everybody else gets */
	/* Changed only while there is one thread. */
	bool to_syslog;
	bool keep;
	char kept[LOGSINK_KEPT_MAX]; /* libfuse's last message while keep is set; "" */
};

/**
 * Starts with standard error, and makes libfuse's messages come here. @sink must outlive libfuse's
 * use.
 */
void logsink_init(struct logsink *sink, enum log_level level);

/** From now on syslog, as "arsyncfs". */
void logsink_use_syslog(struct logsink *sink);

void logsink_keep(struct logsink *sink, bool keep);

#endif /* ARSYNCFS_LOGSINK_H */
