/* SPDX-License-Identifier: MIT */
/*
 * metadata.c - see metadata.h. Open files are worked on through their descriptors. What cannot be
 * opened without side effects: the source by name below its directory's /proc/self/fd entry with the
 * l*xattr() calls, which do not follow the last component; the copy by the /proc/self/fd entry of an
 * O_PATH descriptor, which leads to the very inode, even if that is a symbolic link.
 */
#include "metadata.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "arsync/base.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define FD_PATH_SIZE 32

/*
 * One side of a copy of attributes: an open file; a source whose last component is not followed; a
 * destination that is.
 */
struct place {
	int fd; /* -1: the path */
	const char *path;
};

struct metadata metadata_from_stat(const struct stat *st)
{
	return (struct metadata){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
	};
}

static ssize_t list_xattrs(const struct place *place, char *list, size_t size)
{
	return place->fd >= 0 ? flistxattr(place->fd, list, size) :
				llistxattr(place->path, list, size);
}

static ssize_t get_xattr(const struct place *place, const char *name, void *value, size_t size)
{
	return place->fd >= 0 ? fgetxattr(place->fd, name, value, size) :
				lgetxattr(place->path, name, value, size);
}

static int set_xattr(const struct place *place, const char *name, const void *value, size_t size)
{
	return place->fd >= 0 ? fsetxattr(place->fd, name, value, size, 0) :
				setxattr(place->path, name, value, size, 0);
}

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_acl(const char *name)
{
	return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

/* Attributes that belong to privileged users and security modules: kept where we may. */
static bool is_privileged(const char *name)
{
	return has_prefix(name, "trusted.") || has_prefix(name, "security.");
}

/*
 * Attributes that a file system makes up itself (system.nfs4_acl of another kind, btrfs.*) cannot
 * be copied.
 */
static bool is_copied(const char *name)
{
	return has_prefix(name, "user.") || is_privileged(name) || is_acl(name);
}

static int copy_xattr(const struct place *src, const struct place *dst, const char *name,
		      char *value)
{
	ssize_t size = get_xattr(src, name, value, XATTR_SIZE_MAX);

	if (size < 0) {
		if (errno == ENODATA || (is_privileged(name) && errno == EPERM))
			return 0; /* removed since it was listed, or not for us to see */
		return negative_errno();
	}
	if (set_xattr(dst, name, value, (size_t)size) == 0)
		return 0;
	if (is_privileged(name) && (errno == EPERM || errno == EACCES || errno == EOPNOTSUPP))
		return 0;
	return negative_errno();
}

static int copy_xattr_list(const struct place *src, const struct place *dst, const char *list,
			   size_t size)
{
	_cleanup_free_ char *value = malloc(XATTR_SIZE_MAX);
	int r;

	if (!value)
		return -ENOMEM;
	for (const char *name = list; name < list + size; name += strlen(name) + 1) {
		if (!is_copied(name))
			continue;
		r = copy_xattr(src, dst, name, value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Most files have none: one call then. */
static int copy_xattrs(const struct place *src, const struct place *dst)
{
	char small[1024];
	_cleanup_free_ char *large = NULL;
	char *list = small;
	ssize_t size = list_xattrs(src, small, sizeof(small));

	if (size < 0 && errno == ERANGE) {
		list = large = malloc(XATTR_LIST_MAX);
		if (!large)
			return -ENOMEM;
		size = list_xattrs(src, large, XATTR_LIST_MAX);
	}
	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : negative_errno();
	return size == 0 ? 0 : copy_xattr_list(src, dst, list, (size_t)size);
}

/* 1: the owner could not be kept, which an unprivileged user has to live with. */
static int own(int dir_fd, const char *name, const struct metadata *source,
	       const struct metadata_made *made)
{
	if (source->uid == made->uid && source->gid == made->gid)
		return 0;
	if (fchownat(dir_fd, name, source->uid, source->gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ==
	    0)
		return 0;
	if (errno != EPERM)
		return negative_errno();
	/* The group may be one of ours at least. */
	if (source->gid != made->gid)
		(void)fchownat(dir_fd, name, (uid_t)-1, source->gid,
			       AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
	return 1;
}

static mode_t wanted_mode(const struct metadata *source, bool owner_lost)
{
	return source->mode & (owner_lost ? 01777 : 07777);
}

/* Whether chmod(2) would change nothing. */
static bool mode_is_made(const struct metadata *source, const struct metadata_made *made,
			 mode_t mode)
{
	return mode == made->mode && source->uid == made->uid && source->gid == made->gid;
}

int metadata_copy_fd(int src_fd, int dst_fd, const struct metadata *source,
		     const struct metadata_made *made, const char **ret_call)
{
	const struct place src = { .fd = src_fd };
	const struct place dst = { .fd = dst_fd };
	const struct timespec times[2] = { source->atime, source->mtime };
	mode_t mode;
	int r;

	*ret_call = "fchown";
	r = own(dst_fd, "", source, made);
	if (r < 0)
		return r;
	mode = wanted_mode(source, r == 1);
	*ret_call = "fsetxattr";
	r = copy_xattrs(&src, &dst);
	if (r < 0)
		return r;
	*ret_call = "fchmod";
	if (!mode_is_made(source, made, mode) && fchmod(dst_fd, mode) < 0)
		return negative_errno();
	*ret_call = "futimens";
	return futimens(dst_fd, times) < 0 ? negative_errno() : 0;
}

/* Following it leads to what the descriptor is of. */
static void fd_path(int fd, char path[FD_PATH_SIZE])
{
	(void)snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

int metadata_copy_at(const struct metadata_at *at, const struct metadata *source,
		     const struct metadata_made *made, const char **ret_call)
{
	char src_path[PATH_MAX], dst_path[FD_PATH_SIZE];
	const struct place src = { .fd = -1, .path = src_path };
	const struct place dst = { .fd = -1, .path = dst_path };
	const struct timespec times[2] = { source->atime, source->mtime };
	bool owner_lost;
	int r;

	/* A name has at most NAME_MAX bytes, so it fits. */
	(void)snprintf(src_path, sizeof(src_path), "/proc/self/fd/%d/%s", at->src_dir,
		       at->src_name);
	fd_path(at->dst_fd, dst_path);
	*ret_call = "fchownat";
	r = own(at->dst_fd, "", source, made);
	if (r < 0)
		return r;
	owner_lost = r == 1;
	*ret_call = "setxattr";
	r = copy_xattrs(&src, &dst);
	if (r < 0)
		return r;
	*ret_call = "chmod";
	if (!S_ISLNK(source->mode) && chmod(dst_path, wanted_mode(source, owner_lost)) < 0)
		return negative_errno();
	*ret_call = "utimensat";
	return utimensat(AT_FDCWD, dst_path, times, 0) < 0 ? negative_errno() : 0;
}

static int drop_acl(int fd, const char *name)
{
	if (fremovexattr(fd, name) == 0 || errno == ENODATA || errno == EOPNOTSUPP)
		return 0;
	return negative_errno();
}

int metadata_drop_acl_path(int fd)
{
	char path[FD_PATH_SIZE];

	fd_path(fd, path);
	if (removexattr(path, ACL_ACCESS) == 0 || errno == ENODATA || errno == EOPNOTSUPP)
		return 0;
	return negative_errno();
}

int metadata_drop_acls(int fd)
{
	int r = drop_acl(fd, ACL_DEFAULT);

	return r < 0 && r != -EACCES ? r : drop_acl(fd, ACL_ACCESS);
}
