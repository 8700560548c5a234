/* SPDX-License-Identifier: MIT */
/*
 * place.c - see place.h.
 */
#include "place.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "arsync/base.h"
#include "arsync/mountinfo.h"
#include "caller.h"

void place_destroy(struct place *place)
{
	close_keep_errno(place->parent_fd);
	free(place->name);
	free(place->directory);
	free(place->shown);
}

/* Returns an fd. glibc has no wrapper. */
static int openat2_below(int root, const char *path, const struct open_how *how)
{
	long fd = syscall(SYS_openat2, root, path, how, sizeof(*how));

	return fd < 0 ? negative_errno() : (int)fd;
}

/*
 * Opens something below the backing's root, as whoever the thread is now. A walk into a mount of
 * our own would wait for us, so mounts may be crossed only while there is no second one of ours.
 */
static int open_below(struct session *session, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int root = session->backing.root_fd;
	int fd;

	if (!*path)
		path = ".";
	fd = openat2_below(root, path, &how);
	if (fd == -EXDEV &&
	    mountinfo_count_device(session->backing.proc_fd, session->backing.own_dev) <= 1) {
		how.resolve &= ~(uint64_t)RESOLVE_NO_XDEV;
		fd = openat2_below(root, path, &how);
	}
	return fd;
}

/* The calling thread acts as the caller from now on. */
static int begin(struct session *session, struct cred *cred, struct cred_thread **ret)
{
	struct cred_thread *thread;
	int r;

	r = caller_thread(session, &thread);
	if (r == 0)
		r = cred_adopt(thread, cred);
	if (r == 0)
		*ret = thread;
	return r;
}

static int check_free(int parent_fd, const char *name)
{
	struct stat st;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0)
		return -EEXIST;
	return errno == ENOENT ? 0 : negative_errno();
}

static int join(const char *directory, const char *name, char **ret)
{
	if (asprintf(ret, "%s%s%s", directory, *directory ? "/" : "", name) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Takes ownership of @parent_fd, on success only. @directory: as it is to be shown. */
static int fill(struct session *session, struct place *ret, int parent_fd, const char *directory,
		const char *name)
{
	struct place place = { .parent_fd = -1, .name = strdup(name) };
	int r = place.name ? join(directory, name, &place.shown) : -ENOMEM;

	if (r == 0) {
		r = place_path_of(session, parent_fd, &place.directory);
		r = r == -ENOMEM ? r : 0;
	}
	if (r < 0) {
		place_destroy(&place);
		return r;
	}
	place.parent_fd = parent_fd;
	*ret = place;
	return 0;
}

int place_find(struct session *session, struct cred *cred, const char *below, const char *name,
	       bool may_exist, struct place *ret)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	r = begin(session, cred, &thread);
	if (r < 0)
		return r;
	fd = open_below(session, below, O_DIRECTORY);
	if (fd < 0)
		return fd;
	r = may_exist ? 0 : check_free(fd, name);
	if (r == 0)
		r = fill(session, ret, fd, below, name);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

int place_find_in(struct session *session, struct cred *cred, int directory_fd, const char *name,
		  bool may_exist, struct place *ret)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	_cleanup_free_ char *directory = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	r = place_path_of(session, directory_fd, &directory);
	if (r == 0)
		r = begin(session, cred, &thread);
	if (r < 0)
		return r;
	/* Not a duplicate: @directory_fd may be somebody's open file. */
	fd = openat(directory_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	r = may_exist ? 0 : check_free(fd, name);
	if (r == 0)
		r = fill(session, ret, fd, directory, name);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

int place_open_source(struct session *session, struct cred *cred, const char *below, bool directory)
{
	_cleanup_caller_ struct cred_thread *thread = NULL;
	int r;

	r = begin(session, cred, &thread);
	if (r < 0)
		return r;
	return open_below(session, below, directory ? O_DIRECTORY : O_NOFOLLOW);
}

/* Where the kernel says @fd is. */
static int read_link(struct session *session, int fd, char path[PATH_MAX])
{
	char link[BACKING_FD_NAME_MAX];
	ssize_t length;

	length = readlinkat(session->backing.self_fds, backing_fd_name(fd, link), path,
			    PATH_MAX - 1);
	if (length < 0)
		return negative_errno();
	path[length] = '\0';
	return 0;
}

int place_path_of(struct session *session, int fd, char **ret)
{
	char root[PATH_MAX], path[PATH_MAX];
	const char *shown;
	size_t length;
	int r;

	r = read_link(session, session->backing.root_fd, root);
	if (r == 0)
		r = read_link(session, fd, path);
	if (r < 0)
		return r;
	length = strcmp(root, "/") == 0 ? 0 : strlen(root);
	shown = strrchr(path, '/');
	shown = shown ? shown + 1 : "";
	if (strncmp(path, root, length) == 0 && path[length] == '/')
		shown = path + length + 1;
	else if (strcmp(path, root) == 0)
		shown = "";
	*ret = strdup(shown);
	return *ret ? 0 : -ENOMEM;
}
