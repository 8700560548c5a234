/* SPDX-License-Identifier: MIT */
/*
 * ops_xattr.c - extended attributes; the control attributes among them are ops_control.c's.
 *
 * getxattr(2) and its kin take no O_PATH descriptor, so they go through the magic link of one, by a
 * name relative to the working directory (backing_enter_process()). The link jumps to the very
 * inode: also a symbolic link's own trusted.* and security.* attributes are reached.
 *
 * The kernel has checked user.*, trusted.* and security.* by its rules before they come here, but
 * lets any name of system.* through: only ACLs are served.
 */
#include "ops.h"

#include <limits.h>
#include <linux/xattr.h>
#include <string.h>
#include <sys/xattr.h>

#include "arsync/base.h"
#include "caller.h"
#include "control.h"
#include "inode_path.h"
#include "ops_control.h"
#include "setid.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

static bool is_control(const char *name)
{
	uint64_t id;

	return control_classify(name, &id) != CONTROL_NONE;
}

/* Control attributes and those of system.* that are no ACLs: 0 or -EOPNOTSUPP. */
static int check_name(const char *name)
{
	if (is_control(name))
		return -EOPNOTSUPP;
	if (strncmp(name, "system.", 7) == 0 && strcmp(name, ACL_ACCESS) != 0 &&
	    strcmp(name, ACL_DEFAULT) != 0)
		return -EOPNOTSUPP;
	return 0;
}

static int open_subject(struct session *session, fuse_ino_t ino, struct fd_ref **ret)
{
	return inode_path_open(session->inodes, inode_from_id(session->inodes, ino), ret);
}

/* One attribute to set. */
struct setting {
	const char *name;
	const char *value;
	size_t size;
	int flags;
};

/*
 * An access ACL is a mode, too: it takes setgid away from who is not a member of the file's group, on
 * tmpfs also when it is removed. Our threads, without CAP_FSETID, count as members if and only if the
 * caller is one. (The kernel would say so with FUSE_SETXATTR_EXT, but libfuse 3.18 does not hand that
 * flag on.)
 */
static int begin_change(struct session *session, fuse_req_t req, int fd, const char *name,
			struct cred_thread **ret)
{
	struct statx stx;
	int r;

	if (strcmp(name, ACL_ACCESS) != 0)
		return 0;
	r = backing_stat(fd, &stx);
	return r == 0 && (stx.stx_mode & S_ISGID) ? setid_begin_member(session, req, fd, ret) : r;
}

static int set_attribute(struct session *session, fuse_req_t req, int fd,
			 const struct setting *setting)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	char name[BACKING_FD_NAME_MAX];
	int r = begin_change(session, req, fd, setting->name, &thread);

	if (r < 0)
		return r;
	return setxattr(backing_fd_name(fd, name), setting->name, setting->value, setting->size,
			setting->flags) == 0 ?
		       0 :
		       negative_errno();
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			 size_t size, int flags)
{
	struct session *session = ops_begin(req, STATS_SETXATTR);
	const struct setting setting = {
		.name = name, .value = value, .size = size, .flags = flags
	};
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	int r;

	if (ops_control_set(session, req, ino,
			    &(struct ops_control_value){ name, value, size, flags }))
		return;
	r = check_name(name);
	if (r == 0)
		r = open_subject(session, ino, &path);
	if (r == 0)
		r = set_attribute(session, req, path->fd, &setting);
	ops_reply_result(req, r);
}

/* Answers getxattr and listxattr: @size 0 asks how much there is. */
static void reply_value(fuse_req_t req, const char *value, size_t length, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, length);
	else if (length > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, length);
}

/* Returns the length, or -errno. @size 0: the length only. */
static ssize_t get_attribute(struct session *session, fuse_ino_t ino, const char *name, char *value,
			     size_t size)
{
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	char link[BACKING_FD_NAME_MAX];
	ssize_t length;
	int r;

	r = check_name(name);
	if (r < 0)
		return r;
	r = open_subject(session, ino, &path);
	if (r < 0)
		return r;
	length = getxattr(backing_fd_name(path->fd, link), name, value, size);
	return length < 0 ? negative_errno() : length;
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct session *session = ops_begin(req, STATS_GETXATTR);
	_cleanup_free_ char *value = NULL;
	ssize_t length;

	if (ops_control_get(session, req, ino, name, size))
		return;
	size = MIN(size, (size_t)XATTR_SIZE_MAX);
	value = size ? malloc(size) : NULL;
	if (size && !value) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	length = get_attribute(session, ino, name, value, size);
	if (length < 0)
		fuse_reply_err(req, (int)-length);
	else
		reply_value(req, value, (size_t)length, size);
}

/*
 * Takes out what must not be seen, in place: control attributes, should the backing have some of
 * that name, and trusted.*, which others than root do not see on the backing either.
 */
static size_t filter_names(char *names, size_t length, bool root)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t n = strlen(names + at) + 1;

		if (!is_control(names + at) && (root || strncmp(names + at, "trusted.", 8) != 0)) {
			memmove(names + kept, names + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct session *session = ops_begin(req, STATS_LISTXATTR);
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	_cleanup_free_ char *names = NULL;
	char link[BACKING_FD_NAME_MAX];
	ssize_t length;
	int r;

	r = open_subject(session, ino, &path);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	/* Mostly there are none. */
	length = listxattr(backing_fd_name(path->fd, link), NULL, 0);
	if (length > 0) {
		names = malloc(XATTR_LIST_MAX);
		length = names ? listxattr(link, names, XATTR_LIST_MAX) : (errno = ENOMEM, -1);
	}
	if (length < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	length = (ssize_t)filter_names(names, (size_t)length, fuse_req_ctx(req)->uid == 0);
	reply_value(req, names, (size_t)length, size);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct session *session = ops_begin(req, STATS_REMOVEXATTR);
	_cleanup_fd_ref_ struct fd_ref *path = NULL;
	_cleanup_caller_ struct cred_thread *thread = NULL;
	char link[BACKING_FD_NAME_MAX];
	int r;

	r = check_name(name);
	if (r == 0)
		r = open_subject(session, ino, &path);
	if (r == 0)
		r = begin_change(session, req, path->fd, name, &thread);
	if (r == 0 && removexattr(backing_fd_name(path->fd, link), name) < 0)
		r = negative_errno();
	ops_reply_result(req, r);
}

void ops_xattr_register(struct fuse_lowlevel_ops *ops)
{
	ops->setxattr = ops_setxattr;
	ops->getxattr = ops_getxattr;
	ops->listxattr = ops_listxattr;
	ops->removexattr = ops_removexattr;
}
