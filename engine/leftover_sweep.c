/* SPDX-License-Identifier: MIT */
/*
 * leftover_sweep.c - what a merge has left.
 *
 * A merge gives files hidden names for a moment, in whatever directory they belong to, and notes only what
 * all these names begin with: 64 random bits that nobody else has. They are looked for in all of the
 * destination, depth first, with one open directory. Who could have put something else under such a
 * name could have removed it, too: it is one name of a file, no directory, and where users copy a file
 * of theirs.
 */
#include "leftover_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "getdents.h"
#include "staging.h"

/* A directory above the one that the sweep is in, and where its listing goes on. */
struct level {
	dev_t dev;
	ino_t ino;
	int64_t next;
};

struct sweep {
	const struct leftovers *leftovers;
	const char *name;
	uid_t uid;
	int fd; /* the directory */
	struct level *levels;
	unsigned depth;
	unsigned room;
	unsigned removed;
	int error; /* the first; 0: none */
};

static void fail(struct sweep *sweep, int r)
{
	if (sweep->error == 0)
		sweep->error = r;
}

static void remove_part(struct sweep *sweep, const char *name)
{
	struct stat st;

	if (fstatat(sweep->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			fail(sweep, negative_errno());
		return;
	}
	if (S_ISDIR(st.st_mode) || (sweep->uid != 0 && st.st_uid != sweep->uid))
		return;
	if (unlinkat(sweep->fd, name, 0) == 0)
		sweep->removed++;
	else if (errno != ENOENT)
		fail(sweep, negative_errno());
}

static int push_level(struct sweep *sweep, int64_t next)
{
	struct level *levels = sweep->levels;
	struct stat st;

	if (sweep->depth == sweep->room) {
		unsigned room = MAX(2 * sweep->room, 16U);

		levels = reallocarray(levels, room, sizeof(*levels));
		if (!levels)
			return -ENOMEM;
		sweep->levels = levels;
		sweep->room = room;
	}
	if (fstat(sweep->fd, &st) < 0)
		return negative_errno();
	levels[sweep->depth++] = (struct level){ st.st_dev, st.st_ino, next };
	return 0;
}

/* Whether it is no directory, or none that the merge could have been in. */
static bool is_none(int error)
{
	return error == -ENOTDIR || error == -ENOENT || error == -ELOOP || error == -EACCES ||
	       error == -EXDEV;
}

/* Into what may be a directory. False: it stays out. */
static bool descend(struct sweep *sweep, const struct getdents_entry *entry)
{
	_cleanup_close_ int path = leftover_open_dir(sweep->leftovers, sweep->fd, entry->name);
	_cleanup_close_ int fd = -1;
	int r = MIN(path, 0);

	if (r == 0) {
		fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? negative_errno() : push_level(sweep, entry->next);
	}
	if (r < 0) {
		if (!is_none(r))
			fail(sweep, r);
		return false;
	}
	close_keep_errno(sweep->fd);
	sweep->fd = TAKE_FD(fd);
	return true;
}

/* 1: in the directory above, behind this one; 0: that was the first one; -errno: the way is lost. */
static int ascend(struct sweep *sweep)
{
	_cleanup_close_ int below = TAKE_FD(sweep->fd);
	const struct level *above;
	struct stat st;

	if (sweep->depth == 0)
		return 0;
	above = &sweep->levels[--sweep->depth];
	sweep->fd = openat(below, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sweep->fd < 0 || fstat(sweep->fd, &st) < 0)
		return negative_errno();
	if (st.st_dev != above->dev || st.st_ino != above->ino)
		return -ESTALE; /* somebody has moved what we are in */
	return lseek(sweep->fd, above->next, SEEK_SET) < 0 ? negative_errno() : 1;
}

/* A buffer of entries, until a directory is entered. As ascend(). */
static int sweep_some(struct sweep *sweep)
{
	const struct getdents_entry *entry;
	struct getdents list;
	int r = getdents_read(&list, sweep->fd);

	if (r < 0)
		fail(sweep, r);
	if (r <= 0)
		return ascend(sweep);
	while ((entry = getdents_next(&list))) {
		if (staging_is_part(entry->name, sweep->name))
			remove_part(sweep, entry->name);
		else if ((entry->type == DT_DIR || entry->type == DT_UNKNOWN) &&
			 descend(sweep, entry))
			return 1;
	}
	return 1;
}

int leftover_sweep(struct leftovers *leftovers, int dir_fd, const char *name, uid_t uid)
{
	struct sweep sweep = { .leftovers = leftovers, .name = name, .uid = uid };
	int r = 1;

	sweep.fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sweep.fd < 0)
		return negative_errno();
	while (r == 1 && !__atomic_load_n(&leftovers->stopping, __ATOMIC_RELAXED))
		r = sweep_some(&sweep);
	if (r < 0)
		fail(&sweep, r);
	else if (r == 1)
		fail(&sweep, -ECANCELED);
	if (sweep.removed > 0)
		log_info(leftovers->log,
			 "removed %u files of names %s-*, which an interrupted copy has left",
			 sweep.removed, name);
	close_keep_errno(sweep.fd);
	free(sweep.levels);
	return sweep.error;
}
