/* SPDX-License-Identifier: MIT */
/*
 * leftover_remove.c - what one note tells of.
 *
 * The way to it is as long as what leads there can be anybody's: only directories, no symbolic links,
 * nothing above the root, and no other mount but of file systems that need nobody else: a server that
 * never answers would stop the thread, and it could be ourselves. The last step is the noted name, which
 * must be the noted inode.
 */
#include "leftover_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "arsync/base.h"
#include "staging.h"

#define REMOVE_AT_ONCE 256		       /* entries, between two looks at whether to stop */
#define KEPT_SECONDS (90 * INT64_C(24) * 3600) /* a note whose place is not to be found */

/* What is to be found. */
struct leftover {
	const struct note_read *note;
	int parent_fd; /* O_PATH */
	struct stat st;
	bool replaced; /* it was at the copy's place before the copy took it */
};

/* @path relative to @root, which is the same or above it; NULL: it is not. */
static const char *path_below(const char *path, const char *root)
{
	size_t length = strlen(root);

	while (length > 0 && root[length - 1] == '/')
		length--;
	if (strncmp(path, root, length) != 0 || (path[length] && path[length] != '/'))
		return NULL;
	return path + length + strspn(path + length, "/");
}

/* The parent, from our root on. -ENOENT: it does not lie below that. */
static int find_below(const struct leftovers *leftovers, const struct note_read *note, char *ret,
		      size_t room)
{
	const char *way = "";

	if (!inode_identity_is_sure(&note->head.root) ||
	    !inode_identity_equal(&note->head.root, &leftovers->root)) {
		way = *note->root_path && *leftovers->root_path ?
			      path_below(note->root_path, leftovers->root_path) :
			      NULL;
		if (!way)
			return -ENOENT;
	}
	if (strlen(way) + strlen(note->below) + 2 > room)
		return -ENAMETOOLONG;
	ret = stpcpy(ret, way);
	if (*way && *note->below)
		*ret++ = '/';
	(void)strcpy(ret, note->below);
	return 0;
}

/* Something is mounted there. The kernel says where a descriptor is without asking the file system. */
static int open_mounted(const struct leftovers *leftovers, int at, const char *name)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	int fd;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
	n = readlink(link, path, sizeof(path));
	if (n < 0)
		return negative_errno();
	if ((size_t)n + 1 + strlen(name) >= sizeof(path))
		return -ENAMETOOLONG;
	if (n > 1)
		path[n++] = '/'; /* it is not the root */
	(void)strcpy(path + n, name);
	if (!leftovers->may_enter || !leftovers->may_enter(path, leftovers->userdata))
		return -EXDEV;
	fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? negative_errno() : fd;
}

int leftover_open_dir(const struct leftovers *leftovers, int at, const char *name)
{
	int fd = staging_open_same_mount(at, name, O_DIRECTORY);

	return fd == -EXDEV ? open_mounted(leftovers, at, name) : fd;
}

/* An O_PATH descriptor, or -errno. */
static int open_parent(const struct leftovers *leftovers, const struct note_read *note)
{
	_cleanup_close_ int fd = -1;
	char path[2 * PATH_MAX];
	char *cursor = NULL;
	int r = find_below(leftovers, note, path, sizeof(path));

	if (r < 0)
		return r;
	fd = openat(leftovers->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	for (char *name = strtok_r(path, "/", &cursor); name; name = strtok_r(NULL, "/", &cursor)) {
		int next = strcmp(name, "..") == 0 ? -EXDEV :
						     leftover_open_dir(leftovers, fd, name);

		if (next < 0)
			return next;
		close_keep_errno(fd);
		fd = next;
	}
	return TAKE_FD(fd);
}

/*
 * The copy was interrupted between making something and noting what: it is empty then, and
 * nobody loses anything.
 */
static int remove_empty(const struct leftover *left)
{
	const char *name = left->note->staging;
	bool is_dir = S_ISDIR(left->st.st_mode);

	if (left->st.st_uid != left->note->head.uid || (!is_dir && left->st.st_size > 0))
		return 1;
	if (unlinkat(left->parent_fd, name, is_dir ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT ||
	    errno == ENOTEMPTY || errno == EEXIST)
		return 1;
	return negative_errno();
}

/* Whether that is what the note tells of. */
static bool is_the_one(struct leftover *left, int fd)
{
	const struct note_head *head = &left->note->head;
	struct inode_identity now;

	if (inode_identity_of(fd, &now) < 0)
		return false;
	if (inode_identity_is_sure(&head->made) && inode_identity_equal(&now, &head->made))
		return left->st.st_uid == head->uid || left->st.st_uid == head->source_uid;
	/*
	 * The copy has its name, and what was there before was being removed. After a power cut the
	 * copy may not be whole, and this would be the only one that is.
	 */
	left->replaced = inode_identity_is_sure(&head->replaced) &&
			 inode_identity_equal(&now, &head->replaced) &&
			 (head->durable || note_is_of_this_boot(head));
	return left->replaced;
}

/* Whether that is the directory of the copy, and not one of the same path. */
static bool is_the_parent(const struct leftover *left)
{
	const struct inode_identity *parent = &left->note->head.parent;
	struct inode_identity now;

	return inode_identity_of(left->parent_fd, &now) == 0 && inode_identity_is_sure(parent) &&
	       inode_identity_equal(&now, parent);
}

/* 1: it is there; 0: it is not, or something else; -errno. */
static int look(struct leftover *left)
{
	_cleanup_close_ int fd = staging_open_same_mount(left->parent_fd, left->note->staging, 0);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &left->st) < 0)
		return negative_errno();
	return left->note->head.made.ino == 0 || is_the_one(left, fd);
}

static int remove_tree(struct leftovers *leftovers, const struct leftover *left)
{
	struct staging_remover remover;
	int r;

	staging_remover_init(&remover, left->parent_fd, left->note->staging);
	staging_remover_expect(&remover, left->st.st_dev, left->st.st_ino);
	remover.unlock = !left->replaced;
	do
		r = staging_remove_some(&remover, REMOVE_AT_ONCE);
	while (r == 1 && !__atomic_load_n(&leftovers->stopping, __ATOMIC_RELAXED));
	staging_remover_destroy(&remover);
	return r;
}

/* A note whose place is not to be found is for another mount, or what was mounted there is not. */
static int keep_or_drop(const struct note_read *note)
{
	return note->written + KEPT_SECONDS < (int64_t)time(NULL) ? 1 : 0;
}

/* A merge had hidden names in it. It must be the very directory, for they have no identity but their names. */
static int remove_parts(struct leftovers *leftovers, const struct leftover *left)
{
	const struct note_read *note = left->note;
	int r;

	if (!is_the_parent(left))
		return keep_or_drop(note);
	r = leftover_sweep(leftovers, left->parent_fd, note->staging, note->head.uid);
	if (r == -ECANCELED)
		return 0;
	/* All of it is looked at each time, so not for ever. */
	return r < 0 && keep_or_drop(note) == 0 ? r : 1;
}

static int remove_found(struct leftovers *leftovers, struct leftover *left)
{
	const struct note_read *note = left->note;
	int r = look(left);

	if (r == 0)
		return is_the_parent(left) ? 1 : keep_or_drop(note);
	if (r < 0)
		return r;
	if (note->head.made.ino == 0)
		return remove_empty(left);
	r = remove_tree(leftovers, left);
	if (r != 0)
		return MIN(r, 0); /* 1: told to stop */
	log_info(leftovers->log, "removed %s in \"%s\", which an interrupted copy has left",
		 note->staging, note->below);
	return 1;
}

/* As the copy's user. */
static int remove_as_user(struct leftovers *leftovers, const struct note_read *note)
{
	struct leftover left = { .note = note, .parent_fd = open_parent(leftovers, note) };
	int r;

	if (left.parent_fd < 0)
		return keep_or_drop(note);
	r = note->head.parts ? remove_parts(leftovers, &left) : remove_found(leftovers, &left);
	close_keep_errno(left.parent_fd);
	return r;
}

/* A name as copies make them, and no other. */
static bool is_staging_name(const char *name)
{
	size_t prefix = strlen(STAGING_PREFIX);

	return strncmp(name, STAGING_PREFIX, prefix) == 0 &&
	       strlen(name + prefix) == STAGING_DIGITS &&
	       strspn(name + prefix, "0123456789abcdef") == STAGING_DIGITS;
}

int leftover_remove(struct leftovers *leftovers, struct cred_thread *thread,
		    const struct note_read *note)
{
	int r;

	if (!is_staging_name(note->staging))
		return 1;
	if (!thread->can_switch && note->head.uid != thread->own_uid)
		return 0;
	r = cred_adopt(thread, note->cred);
	if (r < 0)
		return r;
	r = remove_as_user(leftovers, note);
	return cred_adopt(thread, NULL) < 0 ? -EPERM : r;
}
