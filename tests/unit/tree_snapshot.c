/* SPDX-License-Identifier: MIT */
/*
 * tree_snapshot.c - see tree_snapshot.h.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "arsync/base.h"
#include "tree_snapshot.h"

void snapshot_clear(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].path);
	free(s->items);
	*s = (struct snapshot){ 0 };
}

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t word;

	hash ^= size;
	while (size > 0) {
		size_t n = MIN(size, sizeof(word));

		word = 0;
		memcpy(&word, bytes, n);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
		bytes += n;
		size -= n;
	}
	return hash;
}

static int hash_xattrs(int at, const char *name, uint64_t *ret)
{
	char path[PATH_MAX], list[4096], value[4096];
	uint64_t sum = 0;
	ssize_t size, n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name); /* fits */
	size = llistxattr(path, list, sizeof(list));
	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : negative_errno();
	for (const char *x = list; x < list + size; x += strlen(x) + 1) {
		if (strncmp(x, "security.", 9) == 0)
			continue;
		n = lgetxattr(path, x, value, sizeof(value));
		if (n < 0)
			return negative_errno();
		sum += mix(mix(1, x, strlen(x)), value, (size_t)n);
	}
	*ret = sum;
	return 0;
}

static int hash_file(int at, const char *name, uint64_t *ret)
{
	static uint8_t buffer[64 * 1024]; /* the main thread's */
	_cleanup_close_ int fd =
		openat(at, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
	uint64_t hash = 0;
	ssize_t n;

	if (fd < 0)
		return negative_errno();
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		hash = mix(hash, buffer, (size_t)n);
	*ret = hash;
	return n < 0 ? negative_errno() : 0;
}

static int hash_target(int at, const char *name, uint64_t *ret)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(at, name, target, sizeof(target));

	if (n < 0)
		return negative_errno();
	*ret = mix(0, target, (size_t)n);
	return 0;
}

static int hash_content(struct snapshot *s, struct item *item, int at, const char *name)
{
	const struct item *other = s->items;
	int r = 0;

	/* What has many names is read once. */
	for (; item->st.st_nlink > 1 && other < s->items + s->n; other++) {
		if (other->st.st_ino != item->st.st_ino || other->st.st_dev != item->st.st_dev)
			continue;
		item->content = other->content;
		item->st = other->st; /* as it was before it was read */
		return 0;
	}
	if (S_ISREG(item->st.st_mode))
		return hash_file(at, name, &item->content);
	if (!S_ISLNK(item->st.st_mode))
		return 0;
	r = hash_target(at, name, &item->content);
	/* There is no reading a link without its access time: what the copy will find. */
	if (r == 0 && s->of_source)
		r = fstatat(at, name, &item->st, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
	return r;
}

/* Takes ownership of @path. */
static int add_item(struct snapshot *s, char *path, int at, const char *name)
{
	struct item item = { .path = path };
	struct item *items = s->items;
	int r = 0;

	if (s->n == s->room) {
		items = reallocarray(items, 2 * s->room + 16, sizeof(*items));
		if (!items) {
			free(path);
			return -ENOMEM;
		}
		s->items = items;
		s->room = 2 * s->room + 16;
	}
	if (fstatat(at, name, &item.st, AT_SYMLINK_NOFOLLOW) < 0)
		r = negative_errno();
	if (r == 0)
		r = hash_content(s, &item, at, name);
	if (r == 0)
		r = hash_xattrs(at, name, &item.xattrs);
	s->items[s->n++] = item;
	return r;
}

void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir); /* only read */
}

int open_dir(int at, const char *name, DIR **ret)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

	*ret = fd < 0 ? NULL : fdopendir(fd);
	return *ret ? 0 : negative_errno(); /* fdopendir() fails for want of memory only */
}

bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Recursive: the trees are our own. */
static int take(struct snapshot *s, int at, const char *name, const char *path)
{
	char *copy = strdup(path), *below;
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = copy ? add_item(s, copy, at, name) : -ENOMEM;

	if (r < 0 || !S_ISDIR(s->items[s->n - 1].st.st_mode))
		return r;
	r = open_dir(at, name, &dir);
	while (r == 0 && (entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
			return -ENOMEM;
		r = take(s, dirfd(dir), entry->d_name, below);
		free(below);
	}
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->path, ((const struct item *)b)->path);
}

static void find_links(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct item *item = &s->items[i], *first = item;

		if (item->st.st_nlink > 1 && !S_ISDIR(item->st.st_mode))
			for (first = s->items; first->st.st_ino != item->st.st_ino ||
					       first->st.st_dev != item->st.st_dev;)
				first++;
		item->same = (size_t)(first - s->items);
		first->names++;
	}
}

void take_snapshot(struct snapshot *s, int at, const char *path, bool of_source)
{
	int r;

	snapshot_clear(s);
	s->of_source = of_source;
	r = take(s, at, path, "");
	if (r < 0)
		fail_msg("%s%s cannot be read: %s", path, s->n > 0 ? s->items[s->n - 1].path : "",
			 strerror(-r));
	qsort(s->items, s->n, sizeof(*s->items), by_path);
	find_links(s);
}

static void check_equal(const char *path, const char *what, uint64_t is, uint64_t should)
{
	if (is != should)
		fail_msg("%s: %s is 0x%llx instead of 0x%llx", path, what, (unsigned long long)is,
			 (unsigned long long)should);
}

static void check_times(const char *path, const struct stat *is, const struct stat *should)
{
	check_equal(path, "atime", (uint64_t)is->st_atim.tv_sec, (uint64_t)should->st_atim.tv_sec);
	check_equal(path, "atime's ns", (uint64_t)is->st_atim.tv_nsec,
		    (uint64_t)should->st_atim.tv_nsec);
	check_equal(path, "mtime", (uint64_t)is->st_mtim.tv_sec, (uint64_t)should->st_mtim.tv_sec);
	check_equal(path, "mtime's ns", (uint64_t)is->st_mtim.tv_nsec,
		    (uint64_t)should->st_mtim.tv_nsec);
}

static void check_item(const struct item *is, const struct item *should)
{
	const char *path = should->path;

	check_equal(path, "type", is->st.st_mode & S_IFMT, should->st.st_mode & S_IFMT);
	check_equal(path, "mode", is->st.st_mode, should->st.st_mode);
	check_equal(path, "uid", is->st.st_uid, should->st.st_uid);
	check_equal(path, "gid", is->st.st_gid, should->st.st_gid);
	check_equal(path, "device", is->st.st_rdev, should->st.st_rdev);
	check_equal(path, "content", is->content, should->content);
	check_equal(path, "xattrs", is->xattrs, should->xattrs);
	check_equal(path, "first link", is->same, should->same);
	check_times(path, &is->st, &should->st);
	if (S_ISDIR(should->st.st_mode))
		return;
	check_equal(path, "size", (uint64_t)is->st.st_size, (uint64_t)should->st.st_size);
}

void assert_same(const struct snapshot *is, const struct snapshot *should)
{
	for (size_t i = 0; i < is->n && i < should->n; i++) {
		if (strcmp(is->items[i].path, should->items[i].path) != 0)
			fail_msg("there is %s instead of %s", is->items[i].path,
				 should->items[i].path);
		check_item(&is->items[i], &should->items[i]);
		if (!S_ISDIR(is->items[i].st.st_mode))
			check_equal(is->items[i].path, "nlink", is->items[i].st.st_nlink,
				    is->items[is->items[i].same].names);
	}
	assert_int_equal(is->n, should->n);
}

struct totals totals_of(const struct snapshot *s)
{
	struct totals totals = { 0 };

	for (size_t i = 0; i < s->n; i++) {
		const struct item *item = &s->items[i];

		if (S_ISDIR(item->st.st_mode)) {
			totals.directories++;
		} else if (S_ISREG(item->st.st_mode) && item->same == i) {
			totals.files++;
			totals.bytes += (uint64_t)item->st.st_size;
		} else {
			totals.others++;
		}
	}
	return totals;
}
