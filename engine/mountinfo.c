/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.c - reads /proc/self/mountinfo line by line.
 *
 *	36 35     98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 *	id parent dev  root   path  ...                  type
 *
 * scan() reads, parse_line() takes a line apart in place, and a matcher keeps what was asked for.
 */
#include "arsync/mountinfo.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "arsync/base.h"

/* One line; path points into it. */
struct line {
	struct mountinfo info;
	int parent;
	const char *path;
};

/* What a scan looks for, and what it found. */
struct query {
	const char *path; /* or NULL */
	int id;		  /* or -1 */
	dev_t dev;	  /* counted */
	int n_dev;
	const char *near; /* or NULL: what is mounted upon mount @upon at, above or below it */
	int upon;
	bool found;
	struct mountinfo result;
};

/* Undoes mangle(): the kernel writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; out++) {
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
		    in[3] >= '0' && in[3] <= '7') {
			*out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = '\0';
}

static bool parse_line(char *text, struct line *ret)
{
	unsigned major_number, minor_number;
	char *cursor = NULL;
	char *path = NULL;
	char *type;
	int consumed = 0;

	*ret = (struct line){ 0 };
	if (sscanf(text, "%d %d %u:%u %n", &ret->info.id, &ret->parent, &major_number,
		   &minor_number, &consumed) < 4 ||
	    consumed == 0)
		return false;
	ret->info.dev = makedev(major_number, minor_number);

	type = strstr(text, " - ");
	if (!type)
		return false;
	*type = '\0';
	type += 3;

	(void)strtok_r(text + consumed, " ", &cursor); /* the root within its file system */
	path = strtok_r(NULL, " ", &cursor);
	type = strtok_r(type, " ", &cursor);
	if (!path || !type)
		return false;
	unescape(path);
	ret->path = path;
	(void)snprintf(ret->info.type, sizeof(ret->info.type), "%s", type); /* cut off by design */
	return true;
}

/* Whether @path is @above or below it; absolute paths. */
static bool is_within(const char *path, const char *above)
{
	size_t length = strlen(above);

	if (strcmp(above, "/") == 0)
		return true;
	return strncmp(path, above, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static bool is_near(const char *path, const char *other)
{
	return is_within(path, other) || is_within(other, path);
}

static void match(struct query *query, const struct line *line)
{
	if (line->info.dev == query->dev)
		query->n_dev++;
	if ((query->path && strcmp(query->path, line->path) == 0) || query->id == line->info.id ||
	    (query->near && query->upon == line->parent && is_near(query->near, line->path))) {
		query->found = true;
		query->result = line->info; /* the last one is on top */
	}
}

static int scan(int proc_fd, struct query *query)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	FILE *file;
	int fd;
	int r = 0;

	fd = openat(proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	file = fdopen(fd, "r");
	if (!file) {
		r = negative_errno();
		close_keep_errno(fd);
		return r;
	}
	errno = 0;
	while (getline(&text, &size, file) > 0) {
		struct line line;

		if (parse_line(text, &line))
			match(query, &line);
		errno = 0;
	}
	if (ferror(file))
		r = negative_errno();
	(void)fclose(file); /* only read */
	return r;
}

static int find(int proc_fd, struct query *query, struct mountinfo *ret)
{
	int r = scan(proc_fd, query);

	if (r < 0)
		return r;
	if (!query->found)
		return -ENOENT;
	*ret = query->result;
	return 0;
}

int mountinfo_find_path(int proc_fd, const char *path, struct mountinfo *ret)
{
	struct query query = { .path = path, .id = -1 };

	return find(proc_fd, &query, ret);
}

int mountinfo_find_id(int proc_fd, int id, struct mountinfo *ret)
{
	struct query query = { .id = id };

	return find(proc_fd, &query, ret);
}

int mountinfo_count_device(int proc_fd, dev_t dev)
{
	struct query query = { .id = -1, .dev = dev };
	int r = scan(proc_fd, &query);

	return r < 0 ? r : query.n_dev;
}

int mountinfo_has_upon(int proc_fd, int id, const char *path)
{
	struct query query = { .id = -1, .near = path, .upon = id };
	int r = scan(proc_fd, &query);

	return r < 0 ? r : query.found;
}

bool mountinfo_is_local(const struct mountinfo *info)
{
	static const char *const types[] = {
		"btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs"
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strcmp(info->type, types[i]) == 0)
			return true;
	return false;
}

bool mountinfo_is_fuse(const struct mountinfo *info)
{
	return strcmp(info->type, "fuse") == 0 || strcmp(info->type, "fuseblk") == 0 ||
	       strncmp(info->type, "fuse.", 5) == 0;
}
