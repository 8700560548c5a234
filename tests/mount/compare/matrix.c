/* SPDX-License-Identifier: MIT */
/*
 * matrix.c - every kind of file, below every kind of directory, by root, the owner and a stranger: what
 * each call on names answers. The directory is made anew before each call.
 */
#include "compare.h"

#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

static const char *const names[] = { "file",  "exec", "dir",  "full", "link", "dangling", "loop",
				     "dlink", "fifo", "sock", "chr",  "blk",  "none" };

#define TEXT_MAX 256
#define NAMES (sizeof(names) / sizeof(names[0]))

/* Directories around them: who owns it and its mode, and who owns what is in it. */
struct surroundings {
	const char *title;
	uid_t owner;
	mode_t mode;
	uid_t entry_owner;
	mode_t entry_mode;
};

static const struct surroundings all_surroundings[] = {
	{ "own", USER_UID, 0755, USER_UID, 0644 },
	{ "open", 0, 0777, OTHER_UID, 0666 },
	{ "sticky", 0, 01777, OTHER_UID, 0666 },
	{ "own sticky", USER_UID, 01777, OTHER_UID, 0600 },
	{ "sticky with own", OTHER_UID, 01777, USER_UID, 0400 },
	{ "read only", 0, 0755, USER_UID, 0200 },
	{ "closed", 0, 0711, OTHER_UID, 0000 },
	{ "unsearchable", 0, 0766, USER_UID, 0644 },
};

#define SURROUNDINGS (sizeof(all_surroundings) / sizeof(all_surroundings[0]))

static const struct {
	const char *title;
	uid_t uid;
	gid_t gid;
} identities[] = { { "root", 0, 0 }, { "user", USER_UID, USER_GID } };

static void become(uid_t uid, gid_t gid)
{
	if (setresuid((uid_t)-1, 0, (uid_t)-1) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid((gid_t)-1, gid, (gid_t)-1) < 0 || setresuid((uid_t)-1, uid, (uid_t)-1) < 0)
		abort();
}

static bool at_kind(const char *name, const char *kind)
{
	return strcmp(name, kind) == 0;
}

static int make_entry(const char *name)
{
	int fd;

	if (at_kind(name, "none"))
		return 1;
	if (at_kind(name, "dir"))
		return mkdir("m/dir", 0755);
	if (at_kind(name, "full"))
		return mkdir("m/full", 0755) == 0 ? mkdir("m/full/in", 0755) : -1;
	if (at_kind(name, "link"))
		return symlink("file", "m/link");
	if (at_kind(name, "dlink"))
		return symlink("dir", "m/dlink");
	if (at_kind(name, "dangling"))
		return symlink("nowhere", "m/dangling");
	if (at_kind(name, "loop"))
		return symlink("loop", "m/loop");
	if (at_kind(name, "fifo"))
		return mknod("m/fifo", S_IFIFO | 0644, 0);
	if (at_kind(name, "sock"))
		return mknod("m/sock", S_IFSOCK | 0644, 0);
	if (at_kind(name, "chr"))
		return mknod("m/chr", S_IFCHR | 0644, makedev(1, 3));
	if (at_kind(name, "blk"))
		return mknod("m/blk", S_IFBLK | 0644, makedev(7, 250));
	fd = open(at_kind(name, "exec") ? "m/exec" : "m/file", O_WRONLY | O_CREAT | O_CLOEXEC,
		  0755);
	if (fd < 0 || write(fd, "text", 4) != 4)
		return -1;
	return close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

static void remove_all(struct side *side)
{
	if (nftw("m", remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
		say(side, "cannot remove m: %s", strerror(errno));
}

static void give_entry(struct side *side, const struct surroundings *surroundings, const char *name)
{
	char path[TEXT_MAX];
	mode_t mode = surroundings->entry_mode | (at_kind(name, "exec") ? 04111 : 0);
	struct stat st;

	if (make_entry(name) < 0)
		say(side, "cannot make %s: %s", name, strerror(errno));
	(void)snprintf(path, sizeof(path), "m/%s", name);
	if (lstat(path, &st) < 0)
		return;
	if (lchown(path, surroundings->entry_owner, USER_GID) < 0)
		say(side, "cannot give %s away", name);
	if (!S_ISLNK(st.st_mode) && chmod(path, mode) < 0)
		say(side, "cannot chmod %s", name);
}

/* The directory with @name, @other and what links among them lead to. */
static void make_all(struct side *side, const struct surroundings *surroundings, const char *name,
		     const char *other)
{
	become(0, 0);
	remove_all(side);
	if (mkdir("m", 0755) < 0)
		say(side, "cannot make m");
	for (size_t i = 0; i < NAMES; i++)
		if (at_kind(names[i], name) || at_kind(names[i], other) ||
		    (at_kind(names[i], "file") &&
		     (at_kind(name, "link") || at_kind(other, "link"))) ||
		    (at_kind(names[i], "dir") &&
		     (at_kind(name, "dlink") || at_kind(other, "dlink"))))
			give_entry(side, surroundings, names[i]);
	if (chown("m", surroundings->owner, USER_GID) < 0 || chmod("m", surroundings->mode) < 0)
		say(side, "cannot prepare m");
}

static long close_opened(int fd)
{
	if (fd < 0)
		return -1;
	(void)close(fd);
	return 0;
}

static long with_open(const char *path, int flags)
{
	return close_opened(open(path, flags | O_NONBLOCK | O_CLOEXEC, 0640));
}

#define WITH_OPEN(name, flags)                                                                     \
	static long name(const char *path)                                                         \
	{                                                                                          \
		return with_open(path, flags);                                                     \
	}

WITH_OPEN(open_read, O_RDONLY)
WITH_OPEN(open_write, O_WRONLY)
WITH_OPEN(open_both, O_RDWR)
WITH_OPEN(open_create, O_RDWR | O_CREAT)
WITH_OPEN(open_exclusive, O_RDWR | O_CREAT | O_EXCL)
WITH_OPEN(open_truncate, O_WRONLY | O_TRUNC)
WITH_OPEN(open_read_truncate, O_RDONLY | O_TRUNC)
WITH_OPEN(open_directory, O_RDONLY | O_DIRECTORY)
WITH_OPEN(open_nofollow, O_RDONLY | O_NOFOLLOW)
WITH_OPEN(open_path, O_PATH)
WITH_OPEN(open_path_nofollow, O_PATH | O_NOFOLLOW)
WITH_OPEN(open_tmpfile, O_RDWR | O_TMPFILE)
WITH_OPEN(open_noatime, O_RDONLY | O_NOATIME)
WITH_OPEN(open_append, O_WRONLY | O_APPEND)

static long do_unlink(const char *path)
{
	return unlink(path);
}

static long do_rmdir(const char *path)
{
	return rmdir(path);
}

static long do_mkdir(const char *path)
{
	return mkdir(path, 02777);
}

static long do_mkfifo(const char *path)
{
	return mkfifo(path, 0666);
}

static long do_mknod(const char *path)
{
	return mknod(path, S_IFCHR | 0666, makedev(1, 3));
}

static long do_symlink(const char *path)
{
	return symlink("target", path);
}

static long do_chmod(const char *path)
{
	return chmod(path, 06711);
}

static long do_chmod_sticky(const char *path)
{
	return chmod(path, 01644);
}

static long do_chown(const char *path)
{
	return chown(path, OTHER_UID, OTHER_GID);
}

static long do_chown_same(const char *path)
{
	return lchown(path, USER_UID, USER_GID);
}

static long do_chown_nothing(const char *path)
{
	return chown(path, (uid_t)-1, (gid_t)-1);
}

static long do_truncate(const char *path)
{
	return truncate(path, 2);
}

static long do_touch(const char *path)
{
	return utimensat(AT_FDCWD, path, NULL, 0);
}

static long do_set_times(const char *path)
{
	return utimensat(AT_FDCWD, path,
			 (struct timespec[2]){ { .tv_sec = 1000 }, { .tv_sec = 2000 } },
			 AT_SYMLINK_NOFOLLOW);
}

static long do_set_one_time(const char *path)
{
	return utimensat(
		AT_FDCWD, path,
		(struct timespec[2]){ { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } }, 0);
}

static long do_access_read(const char *path)
{
	return faccessat(AT_FDCWD, path, R_OK, AT_EACCESS);
}

static long do_access_write(const char *path)
{
	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
}

static long do_access_execute(const char *path)
{
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

static long do_readlink(const char *path)
{
	return readlink(path, (char[PATH_MAX]){ 0 }, PATH_MAX);
}

static long do_chdir(const char *path)
{
	int fd = open(".", O_PATH | O_CLOEXEC);
	long r = chdir(path);
	int error = errno;

	if (fd < 0 || fchdir(fd) < 0)
		abort();
	(void)close(fd);
	errno = error;
	return r;
}

static long do_set_xattr(const char *path)
{
	return lsetxattr(path, "user.name", "value", 5, 0);
}

static long do_set_trusted(const char *path)
{
	return lsetxattr(path, "trusted.name", "value", 5, 0);
}

static long do_set_capability(const char *path)
{
	static const unsigned char value[20] = { 0, 0, 0, 2, 1 };

	return lsetxattr(path, "security.capability", value, sizeof(value), 0);
}

static long do_get_xattr(const char *path)
{
	return lgetxattr(path, "user.name", NULL, 0);
}

static long do_get_trusted(const char *path)
{
	return lgetxattr(path, "trusted.name", NULL, 0);
}

static long do_list_xattrs(const char *path)
{
	return llistxattr(path, NULL, 0);
}

static long do_remove_xattr(const char *path)
{
	return lremovexattr(path, "user.name");
}

static long do_statvfs(const char *path)
{
	return statvfs(path, &(struct statvfs){ 0 });
}

static long do_stat(const char *path)
{
	return stat(path, &(struct stat){ 0 });
}

#define OF(name)                                                                                   \
	{                                                                                          \
#name, name                                                                        \
	}

static const struct {
	const char *title;
	long (*run)(const char *path);
} calls[] = {
	OF(open_read),
	OF(open_write),
	OF(open_both),
	OF(open_create),
	OF(open_exclusive),
	OF(open_truncate),
	OF(open_read_truncate),
	OF(open_directory),
	OF(open_nofollow),
	OF(open_path),
	OF(open_path_nofollow),
	OF(open_tmpfile),
	OF(open_noatime),
	OF(open_append),
	OF(do_unlink),
	OF(do_rmdir),
	OF(do_mkdir),
	OF(do_mkfifo),
	OF(do_mknod),
	OF(do_symlink),
	OF(do_chmod),
	OF(do_chmod_sticky),
	OF(do_chown),
	OF(do_chown_same),
	OF(do_chown_nothing),
	OF(do_truncate),
	OF(do_touch),
	OF(do_set_times),
	OF(do_set_one_time),
	OF(do_access_read),
	OF(do_access_write),
	OF(do_access_execute),
	OF(do_readlink),
	OF(do_chdir),
	OF(do_set_xattr),
	OF(do_set_trusted),
	OF(do_set_capability),
	OF(do_get_xattr),
	OF(do_get_trusted),
	OF(do_list_xattrs),
	OF(do_remove_xattr),
	OF(do_statvfs),
	OF(do_stat),
};

/* What a call left. Not the sizes of directories. */
static void say_left(struct side *side, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		say(side, "  %s: %s", path, strerror(errno));
	else
		say(side, "  %s: mode %o owner %u:%u links %lu size %lld", path, st.st_mode,
		    st.st_uid, st.st_gid, (unsigned long)st.st_nlink,
		    S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size);
}

static void try_each(struct side *side, const char *suffix, size_t n_surroundings)
{
	char path[TEXT_MAX / 4];
	char text[TEXT_MAX];

	for (size_t s = 0; s < n_surroundings; s++) {
		for (size_t i = 0; i < 2 * NAMES * (sizeof(calls) / sizeof(calls[0])); i++) {
			const char *name = names[i / 2 % NAMES];
			size_t call = i / 2 / NAMES;

			make_all(side, &all_surroundings[s], name, name);
			(void)snprintf(path, sizeof(path), "m/%s%s", name, suffix);
			become(identities[i % 2].uid, identities[i % 2].gid);
			(void)snprintf(text, sizeof(text), "%s: %s %s(%s)",
				       all_surroundings[s].title, identities[i % 2].title,
				       calls[call].title, path);
			errno = 0;
			(void)say_result(side, text, calls[call].run(path));
			become(0, 0);
			(void)snprintf(path, sizeof(path), "m/%s", name);
			say_left(side, path);
		}
	}
}

static void each(struct side *side)
{
	try_each(side, "", SURROUNDINGS);
}

static void each_with_slash(struct side *side)
{
	try_each(side, "/", 2);
}

static void each_above(struct side *side)
{
	try_each(side, "/below", 2);
}

/* rename(2) and link(2) of every kind to every kind. */
static void pairs(struct side *side)
{
	char from[TEXT_MAX / 4], to[TEXT_MAX / 4], text[TEXT_MAX];

	for (size_t s = 0; s < SURROUNDINGS; s++) {
		for (size_t i = 0; i < 4 * NAMES * NAMES; i++) {
			bool link_it = i / 2 % 2;

			make_all(side, &all_surroundings[s], names[i / 4 % NAMES],
				 names[i / 4 / NAMES]);
			(void)snprintf(from, sizeof(from), "m/%s", names[i / 4 % NAMES]);
			(void)snprintf(to, sizeof(to), "m/%s", names[i / 4 / NAMES]);
			(void)snprintf(text, sizeof(text), "%s: %s %s(%s, %s)",
				       all_surroundings[s].title, identities[i % 2].title,
				       link_it ? "link" : "rename", from, to);
			become(identities[i % 2].uid, identities[i % 2].gid);
			errno = 0;
			(void)say_result(side, text, link_it ? link(from, to) : rename(from, to));
			become(0, 0);
			say_left(side, from);
			say_left(side, to);
		}
	}
}

const struct call_group groups_matrix[] = {
	{ "matrix_each", each },
	{ "matrix_slash", each_with_slash },
	{ "matrix_below", each_above },
	{ "matrix_pairs", pairs },
	{ NULL, NULL },
};
