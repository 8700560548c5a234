/* SPDX-License-Identifier: MIT */
/*
 * destination.c - see destination.h.
 */
#include "destination.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"

int destination_is_directory(const char *dest, enum destination_kind kind, bool several,
			     bool *ret_into)
{
	struct stat st;
	bool exists = stat(dest, &st) == 0;
	bool is_directory = exists && S_ISDIR(st.st_mode);

	switch (kind) {
	case DESTINATION_AUTO:
		if (several && !is_directory)
			return exists ? -ENOTDIR : negative_errno();
		*ret_into = is_directory;
		return 0;
	case DESTINATION_DIRECTORY:
		if (!is_directory)
			return exists ? -ENOTDIR : negative_errno();
		*ret_into = true;
		return 0;
	case DESTINATION_NAME:
		*ret_into = false;
		return several ? -EINVAL : 0;
	}
	return -EINVAL;
}

/* A copy without slashes at the end, but for "/". */
static char *without_slashes(const char *path)
{
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	return strndup(path, length);
}

static bool is_name(const char *name)
{
	return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* What "." and ".." at the end of @path are called; NULL: they are not, or nothing is there. */
static char *real_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return is_name(slash ? slash + 1 : path) ? NULL : realpath(path, NULL);
}

/* Takes @path apart. */
static int split(const char *path, char **ret_directory, char **ret_name)
{
	_cleanup_free_ char *real = real_name(path);
	const char *slash;

	path = real ? real : path;
	slash = strrchr(path, '/');
	if (!slash)
		*ret_directory = strdup(".");
	else
		*ret_directory = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	*ret_name = strdup(slash ? slash + 1 : path);
	return *ret_directory && *ret_name ? 0 : -ENOMEM;
}

static int find(const char *source, const char *dest, bool into, struct copy_task *task)
{
	_cleanup_free_ char *src = without_slashes(source);
	_cleanup_free_ char *dst = without_slashes(dest);
	const char *slash;
	int r;

	if (!src || !dst)
		return -ENOMEM;
	if (into) {
		slash = strrchr(src, '/');
		task->directory = strdup(dst);
		task->name = strdup(slash ? slash + 1 : src);
		r = task->directory && task->name ? 0 : -ENOMEM;
	} else {
		r = split(dst, &task->directory, &task->name);
	}
	if (r < 0)
		return r;
	if (!is_name(task->name))
		return -EINVAL;
	if (strlen(task->name) > NAME_MAX)
		return -ENAMETOOLONG;
	if (asprintf(&task->shown, "%s%s%s",
		     strcmp(task->directory, ".") == 0 ? "" : task->directory,
		     strcmp(task->directory, ".") == 0 || strcmp(task->directory, "/") == 0 ? "" :
											      "/",
		     task->name) < 0) {
		task->shown = NULL;
		return -ENOMEM;
	}
	return 0;
}

int destination_find(const char *source, const char *dest, bool into, struct copy_task *ret)
{
	struct copy_task task = { .source = source };
	size_t length = strlen(dest);
	struct stat st;
	int r;

	if (stat(source, &st) < 0)
		return negative_errno();
	if (!into && length > 0 && dest[length - 1] == '/' && !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	r = find(source, dest, into, &task);
	if (r < 0) {
		destination_destroy(&task);
		return r;
	}
	*ret = task;
	return 0;
}

int destination_check(const struct stat *source, const struct stat *existing,
		      enum tree_existing how)
{
	if (how == TREE_EXISTING_FAIL)
		return -EEXIST;
	if (source->st_dev == existing->st_dev && source->st_ino == existing->st_ino)
		return -EINVAL;
	if (S_ISDIR(source->st_mode) != S_ISDIR(existing->st_mode))
		return S_ISDIR(existing->st_mode) ? -EISDIR : -ENOTDIR;
	return 0;
}

void destination_destroy(struct copy_task *task)
{
	free(task->directory);
	free(task->name);
	free(task->shown);
	*task = (struct copy_task){ 0 };
}
