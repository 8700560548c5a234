/* SPDX-License-Identifier: MIT */
/*
 * changes.h - what a tree copy changes is no longer what the kernel remembers.
 *
 * Attributes are forgotten at once, which takes no lock in the kernel. Names are left to the notifier
 * (notify.h), and only those that the kernel may remember: names that were looked up and not found a
 * moment ago, and those of files that it knows.
 */
#ifndef ARSYNCFS_CHANGES_H
#define ARSYNCFS_CHANGES_H

#include "arsync/engine.h"
#include "session.h"

/**
 * For tree_spec::changed. @surely: the kernel is told of the name whether or not it is known to
 * remember something of it, as of the copy's own. True: something was left to the notifier;
 * notify_barrier() tells when the kernel knows. Any thread.
 */
bool changes_tell(struct session *session, const struct tree_change *change, bool surely);

#endif /* ARSYNCFS_CHANGES_H */
