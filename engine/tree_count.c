/* SPDX-License-Identifier: MIT */
/*
 * tree_count.c - a walk that only looks; see tree_count.h.
 *
 * One directory is open at a time, however deep the tree is: the walk goes down by name, and back
 * up by "..", where it must find the directory that it came from. A stack holds the names of
 * subdirectories that are still to be visited. Files with several names count once, as they are
 * copied once.
 */
#include "tree_count.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "getdents.h"
#include "tree.h"

/* A directory on the way down. */
struct level {
	dev_t dev;
	ino_t ino;
	char *names; /* of its subdirectories, each with its NUL */
	size_t size;
	size_t room;
	size_t at; /* the next to be visited */
};

struct identity {
	dev_t dev;
	ino_t ino; /* 0: free */
};

struct walk {
	struct tree_job *tree;
	int fd; /* the directory of the top level */
	struct level *levels;
	size_t n_levels;
	size_t levels_room;
	struct identity *linked; /* an open hash table of files with several names */
	size_t n_linked;
	size_t linked_room; /* a power of two, or 0 */
	struct getdents list;
};

static bool is_over(const struct tree_job *tree)
{
	return tree_is_stopping(tree) || __atomic_load_n(&tree->job.ended, __ATOMIC_RELAXED);
}

static struct identity *find_place(struct identity *table, size_t room, const struct stat *st)
{
	uint64_t hash = ((uint64_t)st->st_ino * UINT64_C(0x9e3779b97f4a7c15)) ^ st->st_dev;
	size_t at = (size_t)(hash >> 32) & (room - 1);

	while (table[at].ino != 0 && (table[at].ino != st->st_ino || table[at].dev != st->st_dev))
		at = (at + 1) & (room - 1);
	return &table[at];
}

static int grow_linked(struct walk *walk)
{
	size_t room = MAX(walk->linked_room * 2, (size_t)64);
	struct identity *table = calloc(room, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < walk->linked_room; i++) {
		const struct identity *old = &walk->linked[i];
		const struct stat st = { .st_dev = old->dev, .st_ino = old->ino };

		if (old->ino != 0)
			*find_place(table, room, &st) = *old;
	}
	free(walk->linked);
	walk->linked = table;
	walk->linked_room = room;
	return 0;
}

/* 1: the first name of this file; 0: a further one; -ENOMEM. */
static int is_first_name(struct walk *walk, const struct stat *st)
{
	struct identity *place;

	if (st->st_nlink <= 1)
		return 1;
	if (walk->n_linked * 2 >= walk->linked_room && grow_linked(walk) < 0)
		return -ENOMEM;
	place = find_place(walk->linked, walk->linked_room, st);
	if (place->ino != 0)
		return 0;
	*place = (struct identity){ st->st_dev, st->st_ino };
	walk->n_linked++;
	return 1;
}

static int add_file(struct walk *walk, const struct stat *st)
{
	struct job *job = &walk->tree->job;
	int r = is_first_name(walk, st);

	if (r != 1)
		return r;
	__atomic_add_fetch(&job->bytes_ahead, (uint64_t)st->st_size, __ATOMIC_RELAXED);
	__atomic_add_fetch(&job->files_ahead, 1, __ATOMIC_RELAXED);
	return 0;
}

static int add_subdir(struct level *level, const char *name)
{
	size_t size = strlen(name) + 1;
	size_t room = MAX(level->room, (size_t)256);
	char *names = level->names;

	while (room < level->size + size)
		room *= 2;
	if (room > level->room) {
		names = realloc(level->names, room);
		if (!names)
			return -ENOMEM;
		level->names = names;
		level->room = room;
	}
	memcpy(level->names + level->size, name, size);
	level->size += size;
	return 0;
}

static int add_entry(struct walk *walk, struct level *level, const struct getdents_entry *entry)
{
	struct stat st;

	if (entry->type == DT_DIR)
		return add_subdir(level, entry->name);
	if (entry->type != DT_REG && entry->type != DT_UNKNOWN)
		return 0;
	if (fstatat(walk->fd, entry->name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return 0; /* gone: the copy may see it differently */
	if (S_ISDIR(st.st_mode))
		return add_subdir(level, entry->name);
	return S_ISREG(st.st_mode) ? add_file(walk, &st) : 0;
}

/* Enters @fd, which is walk::fd from now on: counts its files, remembers its subdirectories. */
static int enter(struct walk *walk, const struct stat *st)
{
	const struct getdents_entry *entry;
	struct level *level;
	int r;

	if (walk->n_levels == walk->levels_room) {
		size_t room = MAX(walk->levels_room * 2, (size_t)32);

		level = reallocarray(walk->levels, room, sizeof(*level));
		if (!level)
			return -ENOMEM;
		walk->levels = level;
		walk->levels_room = room;
	}
	level = &walk->levels[walk->n_levels++];
	*level = (struct level){ .dev = st->st_dev, .ino = st->st_ino };
	while ((r = getdents_read(&walk->list, walk->fd)) > 0) {
		while (r >= 0 && (entry = getdents_next(&walk->list)))
			r = add_entry(walk, level, entry);
		if (r >= 0 && is_over(walk->tree))
			r = -ECANCELED;
		if (r < 0)
			return r;
	}
	return 0; /* what cannot be listed is left out */
}

static int open_directory(int at, const char *name, struct stat *ret_st)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return negative_errno();
	if (fstat(fd, ret_st) < 0) {
		close_keep_errno(fd);
		return negative_errno();
	}
	return fd;
}

/* What the copy does not go into. */
static bool is_left_out(const struct walk *walk, const struct stat *st)
{
	const struct tree_job *tree = walk->tree;

	if (tree->forbidden_dev != 0 && st->st_dev == tree->forbidden_dev)
		return true;
	return tree->options.one_file_system && st->st_dev != walk->levels[0].dev;
}

static int go_down(struct walk *walk, struct level *level)
{
	const char *name = level->names + level->at;
	struct stat st;
	int fd;

	level->at += strlen(name) + 1;
	fd = open_directory(walk->fd, name, &st);
	if (fd < 0)
		return 0;
	if (is_left_out(walk, &st)) {
		close_keep_errno(fd);
		return 0;
	}
	close_keep_errno(walk->fd);
	walk->fd = fd;
	return enter(walk, &st);
}

static int go_up(struct walk *walk)
{
	const struct level *above;
	struct stat st;
	int fd;

	free(walk->levels[--walk->n_levels].names);
	if (walk->n_levels == 0)
		return 0;
	above = &walk->levels[walk->n_levels - 1];
	fd = open_directory(walk->fd, "..", &st);
	if (fd < 0)
		return fd;
	close_keep_errno(walk->fd);
	walk->fd = fd;
	/* Moved meanwhile: what is there is not ours to count. */
	return st.st_dev == above->dev && st.st_ino == above->ino ? 0 : -ESTALE;
}

static int count_directory(struct walk *walk)
{
	struct stat st;
	int r;

	walk->fd = open_directory(walk->tree->src_fd, ".", &st);
	if (walk->fd < 0)
		return walk->fd;
	r = enter(walk, &st);
	while (r == 0 && walk->n_levels > 0) {
		struct level *level = &walk->levels[walk->n_levels - 1];

		if (is_over(walk->tree))
			r = -ECANCELED;
		else
			r = level->at < level->size ? go_down(walk, level) : go_up(walk);
	}
	return r;
}

int tree_count(struct job *job)
{
	struct tree_job *tree = CONTAINER_OF(job, struct tree_job, job);
	struct walk *walk;
	struct stat st;
	int r;

	if (fstat(tree->src_fd, &st) < 0)
		return negative_errno();
	walk = calloc(1, sizeof(*walk));
	if (!walk)
		return -ENOMEM;
	walk->tree = tree;
	walk->fd = -1;
	if (S_ISDIR(st.st_mode)) {
		r = count_directory(walk);
	} else {
		st.st_nlink = 1;
		r = add_file(walk, &st);
	}
	close_keep_errno(walk->fd);
	while (walk->n_levels > 0)
		free(walk->levels[--walk->n_levels].names);
	free(walk->levels);
	free(walk->linked);
	free(walk);
	return r;
}
