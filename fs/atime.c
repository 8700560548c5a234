/* SPDX-License-Identifier: MIT */
/*
 * atime.c - a private mount of the backing directory.
 *
 * The kernel's FUSE never sets access times, and a passthrough read sets them as the mount says that
 * the backing file was opened through. So the options have an effect only if that mount has them: a
 * clone that nobody else sees (open_tree(2)), with the same mounts below it as there are now.
 */
#include "atime.h"

#include <string.h>
#include <sys/mount.h>

#include "arsync/base.h"

bool atime_take_option(struct atime *atime, const char *option)
{
	static const struct {
		const char *name;
		enum atime_policy policy;
	} policies[] = {
		{ "noatime", ATIME_NEVER },
		{ "relatime", ATIME_RELATIVE },
		{ "strictatime", ATIME_ALWAYS },
		{ "atime", ATIME_AS_BACKING },
		{ "nostrictatime", ATIME_AS_BACKING },
	};

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		if (strcmp(option, policies[i].name) == 0) {
			atime->policy = policies[i].policy;
			return true;
		}
	if (strcmp(option, "nodiratime") != 0 && strcmp(option, "diratime") != 0)
		return false;
	atime->no_directories = option[0] == 'n';
	return true;
}

static unsigned long long policy_attribute(enum atime_policy policy)
{
	switch (policy) {
	case ATIME_AS_BACKING:
	case ATIME_RELATIVE:
		return MOUNT_ATTR_RELATIME; /* is 0 */
	case ATIME_NEVER:
		return MOUNT_ATTR_NOATIME;
	case ATIME_ALWAYS:
		return MOUNT_ATTR_STRICTATIME;
	}
	return 0;
}

int atime_apply(const struct atime *atime, struct backing *backing)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };
	_cleanup_close_ int tree = -1;
	int root;

	if (atime->policy == ATIME_AS_BACKING && !atime->no_directories)
		return 0;
	if (atime->policy != ATIME_AS_BACKING) {
		attr.attr_clr = MOUNT_ATTR__ATIME;
		attr.attr_set = policy_attribute(atime->policy);
	}
	if (atime->no_directories)
		attr.attr_set |= MOUNT_ATTR_NODIRATIME;
	tree = open_tree(backing->root_fd, "",
			 AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return negative_errno();
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return negative_errno();
	root = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return negative_errno();
	close_keep_errno(backing->root_fd);
	backing->root_fd = root;
	backing->tree_fd = TAKE_FD(tree); /* closing it would take the mounts below apart */
	return 0;
}
