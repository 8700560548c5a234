/* SPDX-License-Identifier: MIT */
/*
 * changes.c - see changes.h.
 */
#include "changes.h"

#include "arsync/base.h"
#include "notify.h"
#include "ops.h"

/* Forgets the attributes of the file @fd, where the kernel knows it: with a reference. */
static struct inode *forget_attributes(struct session *session, int fd)
{
	struct inode *inode;

	if (inode_find(session->inodes, fd, &inode) < 0)
		return NULL;
	ops_expire_attributes(session, inode);
	return inode;
}

bool changes_tell(struct session *session, const struct tree_change *change, bool surely)
{
	struct inode *inode = forget_attributes(session, change->fd);
	struct inode *old = NULL;
	bool queued = false;

	if (change->name && change->old_fd >= 0)
		old = forget_attributes(session, change->old_fd);
	if (inode && change->name && (surely || old || ops_remembers_missing(session, inode)))
		queued = notify_expire_entry(session, inode, change->name) == 0;
	inode_unref(session->inodes, old);
	inode_unref(session->inodes, inode);
	return queued;
}
