/* SPDX-License-Identifier: MIT */
/*
 * tree_source.c - see tree_source.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tree_source.h"

#include "tree_fixture.h"

void make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(root_of(f), path, 0755), 0);
}

/* Of @size bytes, of which none is like another file's. */
void make_file(struct fixture *f, const char *path, uint64_t size)
{
	f->fd = openat(root_of(f), path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (f->fd < 0)
		fail_msg("%s cannot be made: %s", path, strerror(errno));
	test_write_pattern(f->fd, 0, size, f->seed++);
	assert_int_equal(close(TAKE_FD(f->fd)), 0);
}

/* Data where c is 'd', a hole where it is '.'; 256 KiB each. */
void make_sparse(struct fixture *f, const char *path, const char *layout)
{
	const uint64_t piece = 256 * KIB;

	f->fd = openat(root_of(f), path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, (off_t)(strlen(layout) * piece)), 0);
	for (size_t i = 0; layout[i]; i++)
		if (layout[i] != '.')
			test_write_pattern(f->fd, i * piece, piece, f->seed++);
	assert_int_equal(close(TAKE_FD(f->fd)), 0);
}

void make_link(struct fixture *f, const char *from, const char *to)
{
	if (linkat(root_of(f), from, root_of(f), to, 0) < 0)
		fail_msg("%s cannot be linked to %s: %s", to, from, strerror(errno));
}

void make_symlink(struct fixture *f, const char *target, const char *path)
{
	assert_int_equal(symlinkat(target, root_of(f), path), 0);
}

void set_mode(struct fixture *f, const char *path, mode_t mode)
{
	assert_int_equal(fchmodat(root_of(f), path, mode, 0), 0);
}

void set_owner(struct fixture *f, const char *path, uid_t uid, gid_t gid)
{
	assert_int_equal(fchownat(root_of(f), path, uid, gid, AT_SYMLINK_NOFOLLOW), 0);
}

/* False: this file system has none of the kind. */
bool set_xattr(struct fixture *f, const char *path, const char *name, const void *value,
	       size_t size)
{
	char full[PATHS_MAX];

	(void)snprintf(full, sizeof(full), "/proc/self/fd/%d/%s", root_of(f), path);
	if (lsetxattr(full, name, value, size, 0) == 0)
		return true;
	if (errno != EOPNOTSUPP)
		fail_msg("%s of %s cannot be set: %s", name, path, strerror(errno));
	return false;
}

/* linux/posix_acl_xattr.h */
struct acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

struct acl {
	uint32_t version;
	struct acl_entry entries[6];
};

bool set_acl(struct fixture *f, const char *path, const char *name)
{
	const struct acl acl = { 2,
				 { { 0x01, 7, UINT32_MAX },	/* user:: */
				   { 0x02, 6, 2001 },		/* user:2001: */
				   { 0x04, 5, UINT32_MAX },	/* group:: */
				   { 0x08, 7, 2002 },		/* group:2002: */
				   { 0x10, 7, UINT32_MAX },	/* mask:: */
				   { 0x20, 5, UINT32_MAX } } }; /* other:: */

	return set_xattr(f, path, name, &acl, sizeof(acl));
}

/* Times that are nobody else's, deepest first. */
static int stamp(int at, const char *name, unsigned *count)
{
	struct timespec times[2];
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0 && r != -ENOTDIR && r != -ELOOP)
		return r;
	while (dir && (entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : stamp(dirfd(dir), entry->d_name, count);
		if (r < 0)
			return r;
	}
	++*count;
	times[0] = (struct timespec){ 1000000000 + *count * 1001L, *count * 7919001L % 1000000000 };
	times[1] = (struct timespec){ 900000000 + *count * 2003L,
				      999999999 - *count * 7919L % 1000000000 };
	return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
}

void stamp_all(struct fixture *f, const char *path)
{
	unsigned count = 0;

	assert_int_equal(stamp(root_of(f), path, &count), 0);
}

/* Everything below @path, and it, to a user. */
int give(int at, const char *name, uid_t uid)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0 && r != -ENOTDIR && r != -ELOOP)
		return r;
	while (dir && (entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : give(dirfd(dir), entry->d_name, uid);
		if (r < 0)
			return r;
	}
	return fchownat(at, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
}

/* Directories in one another, with files of sizes around everything that has a bound. */
void make_sizes(struct fixture *f)
{
	static const uint64_t sizes[] = {
		0,     1,	  4095,		 B / 2 - 1, B / 2,	   B / 2 + 1, B,
		B + 1, 511 * KIB, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, 3 * B,     3 * MIB,
	};
	char path[256];

	make_dir(f, "src");
	make_dir(f, "src/a");
	make_dir(f, "src/a/b");
	make_dir(f, "src/a/b/empty");
	make_dir(f, "src/c");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		static const char *const dirs[] = { "", "a/", "a/b/", "c/" };

		for (size_t d = 0; d < ARRAY_SIZE(dirs); d++) {
			if (sizes[i] >= MIB && d % 2 == 0)
				continue;
			(void)snprintf(path, sizeof(path), "src/%s%llu", dirs[d],
				       (unsigned long long)sizes[i]);
			make_file(f, path, sizes[i]);
		}
	}
	stamp_all(f, "src");
}

/* "src/d/d/d", @depth of them. */
void deep_path(char *path, unsigned depth)
{
	(void)strcpy(path, "src");
	for (unsigned i = 0; i < depth; i++)
		(void)strcat(path, "/d");
}

/* Below the path, in which there is room. */
const char *with_name(char *path, const char *name)
{
	(void)strcat(path, name);
	return path;
}

void make_lengthy(struct fixture *f)
{
	char path[64];

	make_dir(f, "src");
	make_dir(f, "src/many");
	for (unsigned i = 0; i < 600; i++) {
		(void)snprintf(path, sizeof(path), "src/many/%u", i);
		make_file(f, path, 500 + i % 100);
	}
	make_file(f, "src/large", LARGE);
	make_dir(f, "src/many/dir");
	make_file(f, "src/many/dir/large", LARGE / 4);
}

void make_simple(struct fixture *f)
{
	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/file", 100);
	make_file(f, "src/large", 2 * B);
	make_file(f, "src/dir/closed", 10);
	set_mode(f, "src/dir/closed", 0600);
	set_mode(f, "src/dir", 0700);
	make_symlink(f, "x", "src/dir/symlink");
	stamp_all(f, "src");
}

/* The user, and a directory "home" that is the user's. */
struct cred *make_user(struct fixture *f)
{
	const gid_t group = USER_GROUP;

	need_root("act for others");
	assert_int_equal(cred_new(USER, USER, &group, 1, &f->user), 0);
	make_dir(f, "home");
	set_owner(f, "home", USER, USER);
	set_mode(f, "home", 0700);
	return f->user;
}

/* What the copy of the source should be when it is the user's. */
void expect_given_to_user(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct stat *st = &s->items[i].st;

		if (st->st_uid == USER && (st->st_gid == USER || st->st_gid == USER_GROUP))
			continue;
		st->st_uid = USER;
		if (st->st_gid != USER_GROUP)
			st->st_gid = USER;
		st->st_mode &= (mode_t) ~(S_ISUID | S_ISGID);
	}
}
