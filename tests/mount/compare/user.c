/* SPDX-License-Identifier: MIT */
/*
 * user.c - what users may do, who owns what they make, and what happens to setuid bits.
 *
 * The mount must have been made with allow_other. as_user() enters by the working directory, so the path
 * to it does not matter.
 */
#include "compare.h"

#include <sys/syscall.h>
#include <sys/xattr.h>

#include "acl.h"

/* btrfs shows users the names of trusted.* attributes, the mount does not: only ask for one. */
static long lists(const char *path, const char *name)
{
	char names[1000];
	ssize_t length = listxattr(path, names, sizeof(names));

	return length < 0 ? -1 : memmem(names, (size_t)length, name, strlen(name) + 1) != NULL;
}

static void try_roots_files(struct side *side)
{
	CALL_FD(side, open("root", O_RDONLY));
	CALL_FD(side, open("root", O_WRONLY));
	CALL_FD(side, open("root", O_RDONLY | O_NOATIME));
	CALL_FD(side, open("readable", O_RDONLY | O_NOATIME));
	CALL(side, close(CALL_FD(side, open("readable", O_RDONLY))));
	CALL_FD(side, open("readable", O_RDWR));
	CALL_FD(side, open("readable", O_RDONLY | O_TRUNC));
	CALL_FD(side, open("new", O_WRONLY | O_CREAT, 0644));
	CALL(side, access("root", R_OK));
	CALL(side, access("readable", R_OK));
	CALL(side, access("readable", W_OK));
	CALL(side, truncate("root", 0));
	CALL(side, truncate("readable", 0));
	CALL(side, chmod("readable", 0666));
	CALL(side, chown("readable", USER_UID, USER_GID));
	CALL(side, utimensat(AT_FDCWD, "readable", NULL, 0));
	CALL(side, utimensat(AT_FDCWD, "writable", NULL, 0));
	CALL(side, utimensat(AT_FDCWD, "writable",
			     (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 2 } }, 0));
	CALL(side, mkdir("d", 0755));
	CALL(side, unlink("readable"));
	CALL(side, rename("readable", "renamed"));
	CALL(side, link("readable", "linked"));
	CALL(side, symlink("x", "link"));
	CALL(side, rmdir("closed"));
	CALL(side, access("closed/inside", F_OK));
	CALL_FD(side, open("closed/inside", O_RDONLY));
	CALL_FD(side, open("closed", O_RDONLY | O_DIRECTORY));
	CALL(side, access("searchable/inside", R_OK));
	CALL_FD(side, open("searchable", O_RDONLY | O_DIRECTORY));
	CALL(side, close(CALL_FD(side, open("searchable/inside", O_RDONLY))));
	CALL(side, setxattr("root", "user.a", "x", 1, 0));
	CALL(side, setxattr("readable", "user.a", "x", 1, 0));
	CALL(side, setxattr("writable", "user.a", "x", 1, 0));
	CALL(side, setxattr("writable", "trusted.a", "x", 1, 0));
	CALL(side, getxattr("readable", "user.b", NULL, 0));
	CALL(side, getxattr("root", "user.b", NULL, 0));
	CALL(side, getxattr("readable", "trusted.b", NULL, 0));
	CALL(side, removexattr("readable", "user.b"));
	CALL(side, lists("readable", "user.b"));
	CALL(side, lists("root", "user.b"));
	CALL(side, mknod("device", S_IFCHR | 0666, 0x103));
	CALL(side, chmod("writable", 0777));
}

static void denied(struct side *side)
{
	static const struct {
		const char *name;
		mode_t mode;
	} files[] = { { "root", 0600 }, { "readable", 0644 }, { "writable", 0666 } };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		make_text(side, files[i].name, "text");
		CALL(side, chmod(files[i].name, files[i].mode));
		CALL(side, setxattr(files[i].name, "user.b", "root's", 6, 0));
		CALL(side, setxattr(files[i].name, "trusted.b", "root's", 6, 0));
	}
	CALL(side, mkdir("closed", 0700));
	make_text(side, "closed/inside", "text");
	CALL(side, chmod("closed/inside", 0666));
	CALL(side, mkdir("searchable", 0711));
	make_text(side, "searchable/inside", "text");
	show(side, "closed/inside"); /* now cached */
	as_user(side, USER_UID, USER_GID, NO_GROUP, try_roots_files);
}

static void make_own(struct side *side)
{
	int fd;

	make_text(side, "open/file", "text");
	CALL(side, mkdir("open/dir", 0755));
	CALL(side, symlink("x", "open/link"));
	CALL(side, mknod("open/fifo", S_IFIFO | 0640, 0));
	CALL(side, mknod("open/regular", S_IFREG | 0640, 0));
	CALL(side, mknod("open/device", S_IFCHR | 0640, 0x103));
	fd = CALL_FD(side, open("open", O_TMPFILE | O_RDWR, 0644));
	show_fd(side, fd);
	CALL(side, close(fd));
	fd = CALL_FD(side, open("open/readonly", O_RDWR | O_CREAT | O_EXCL, 0400));
	CALL(side, write(fd, "by the creator", 14));
	CALL(side, close(fd));
	CALL_FD(side, open("open/readonly", O_WRONLY));
	CALL(side, truncate("open/readonly", 0));
	CALL(side, chmod("open/file", 0600));
	CALL(side, utimensat(AT_FDCWD, "open/file",
			     (struct timespec[2]){ { .tv_sec = 1, .tv_nsec = 2 },
						   { .tv_sec = 3, .tv_nsec = 4 } },
			     0));
	CALL(side, chown("open/file", (uid_t)-1, USER_GID));
	CALL(side, chown("open/file", OTHER_UID, (gid_t)-1));
	CALL(side, chown("open/file", (uid_t)-1, OTHER_GID));
	CALL(side, close(CALL_FD(side, open("open/file", O_RDONLY | O_NOATIME))));
	make_text(side, "setgid/file", "text");
	CALL(side, mkdir("setgid/dir", 0755));
	CALL(side, close(CALL_FD(side, open("setgid/executable", O_CREAT | O_WRONLY, 02777))));
	CALL(side, chmod("setgid/file", 02755)); /* not a member: goes */
	CALL(side, umask(077));
	make_text(side, "open/umask", "text");
	CALL(side, mkdir("open/umaskdir", 0777));
}

static void owned(struct side *side)
{
	CALL(side, mkdir("open", 0755));
	CALL(side, chmod("open", 0777));
	CALL(side, mkdir("setgid", 0755));
	CALL(side, chown("setgid", 0, OTHER_GID));
	CALL(side, chmod("setgid", 02777));
	as_user(side, USER_UID, USER_GID, NO_GROUP, make_own);
}

static void in_sticky(struct side *side)
{
	CALL(side, unlink("sticky/others"));
	CALL(side, rename("sticky/others", "sticky/stolen"));
	CALL(side, rename("sticky/mine", "sticky/others"));
	CALL(side, rename("sticky/mine", "sticky/still mine"));
	CALL(side, unlink("sticky/still mine"));
	CALL(side, rmdir("sticky/dir"));
	make_text(side, "sticky/new", "text");
	CALL(side, rename("sticky/new", "sticky/newer"));
	CALL(side, setxattr("sticky", "user.a", "x", 1, 0));
}

static void sticky(struct side *side)
{
	CALL(side, mkdir("sticky", 0755));
	CALL(side, chmod("sticky", 01777));
	make_text(side, "sticky/others", "text");
	CALL(side, chown("sticky/others", OTHER_UID, OTHER_GID));
	make_text(side, "sticky/mine", "text");
	CALL(side, chown("sticky/mine", USER_UID, USER_GID));
	CALL(side, mkdir("sticky/dir", 0777));
	as_user(side, USER_UID, USER_GID, NO_GROUP, in_sticky);
}

static void rename_with_whiteouts(struct side *side)
{
	static const unsigned whiteout = 1 << 2; /* RENAME_WHITEOUT */

	CALL(side, syscall(SYS_renameat2, AT_FDCWD, "mine/a", AT_FDCWD, "mine/b", whiteout));
	CALL(side, syscall(SYS_renameat2, AT_FDCWD, "setgid/a", AT_FDCWD, "mine/c", whiteout));
	CALL(side, syscall(SYS_renameat2, AT_FDCWD, "roots/a", AT_FDCWD, "mine/d", whiteout));
	CALL(side, syscall(SYS_renameat2, AT_FDCWD, "sticky/a", AT_FDCWD, "mine/e", whiteout));
}

/* What RENAME_WHITEOUT leaves behind is the caller's. */
static void whiteouts(struct side *side)
{
	static const char *const directories[] = { "mine", "setgid", "roots", "sticky" };
	static const mode_t modes[] = { 0755, 02777, 0755, 01777 };
	char path[16];

	for (size_t i = 0; i < 4; i++) {
		CALL(side, mkdir(directories[i], 0755));
		(void)snprintf(path, sizeof(path), "%s/a", directories[i]);
		make_text(side, path, "text");
		CALL(side, chown(directories[i], i == 0 ? USER_UID : 0, OTHER_GID));
		CALL(side, chmod(directories[i], modes[i]));
	}
	as_user(side, USER_UID, USER_GID, NO_GROUP, rename_with_whiteouts);
}

static void try_group_files(struct side *side)
{
	CALL(side, close(CALL_FD(side, open("group", O_RDWR))));
	CALL(side, access("group", W_OK));
	make_text(side, "dir/file", "text");
	CALL(side, chown("dir/file", (uid_t)-1, OTHER_GID)); /* to a group of ours */
	CALL(side, chmod("dir/file", 02755));
	show(side, "dir/file");
	make_text(side, "setgid/file", "text");
	CALL(side, chmod("setgid/file", 02755));
	CALL(side, close(CALL_FD(side, open("setgid/executable", O_CREAT | O_WRONLY, 02777))));
	CALL(side, mkdir("setgid/dir", 0755));
}

static void groups(struct side *side)
{
	make_text(side, "group", "text");
	CALL(side, chown("group", 0, OTHER_GID));
	CALL(side, chmod("group", 0660));
	CALL(side, mkdir("dir", 0755));
	CALL(side, chown("dir", 0, OTHER_GID));
	CALL(side, chmod("dir", 0775));
	CALL(side, mkdir("setgid", 0755));
	CALL(side, chown("setgid", 0, OTHER_GID));
	CALL(side, chmod("setgid", 02775));
	as_user(side, USER_UID, USER_GID, OTHER_GID, try_group_files);
}

/* Each in a file of its own: a setuid bit goes away once. */
static void use_setuid_files(struct side *side)
{
	char bytes[10000] = "";
	int in = CALL_FD(side, open("source", O_RDONLY));
	int fd;

	fd = CALL_FD(side, open("write", O_RDWR));
	show_fd(side, fd);
	CALL(side, pwrite(fd, bytes, 10, 0));
	show(side, "write");
	CALL(side, close(fd));
	fd = CALL_FD(side, open("ftruncate", O_RDWR));
	CALL(side, ftruncate(fd, 2));
	show(side, "ftruncate");
	CALL(side, close(fd));
	CALL(side, truncate("truncate", 2));
	show(side, "truncate");
	CALL(side, close(CALL_FD(side, open("otrunc", O_WRONLY | O_TRUNC))));
	show(side, "otrunc");
	fd = CALL_FD(side, open("fallocate", O_RDWR));
	CALL(side, fallocate(fd, 0, 0, 10000));
	show(side, "fallocate");
	CALL(side, close(fd));
	fd = CALL_FD(side, open("copy", O_RDWR));
	CALL(side, copy_file_range(in, &(off_t){ 0 }, fd, &(off_t){ 0 }, 1000, 0));
	show(side, "copy");
	CALL(side, close(fd));
	fd = CALL_FD(side, open("append", O_WRONLY | O_APPEND));
	CALL(side, write(fd, bytes, 10));
	show(side, "append");
	CALL(side, close(fd));
	fd = CALL_FD(side, open("nothing", O_WRONLY | O_APPEND));
	CALL(side, write(fd, bytes, 0));
	show(side, "nothing");
	CALL(side, close(fd));
	CALL(side, close(in));
}

static void setuid_files(struct side *side)
{
	static const char *const names[] = { "write",	  "ftruncate", "truncate", "otrunc",
					     "fallocate", "copy",      "append",   "nothing" };

	make_file(side, "source", 1000);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		make_text(side, names[i], "program");
		CALL(side, chown(names[i], OTHER_UID, OTHER_GID));
		CALL(side, chmod(names[i], 06777));
	}
	as_user(side, USER_UID, USER_GID, NO_GROUP, use_setuid_files);
}

static void try_acls(struct side *side)
{
	CALL_FD(side, open("denied", O_RDONLY));
	CALL(side, access("denied", R_OK));
	CALL(side, close(CALL_FD(side, open("allowed", O_RDWR))));
	CALL(side, access("allowed", W_OK));
	CALL_FD(side, open("masked", O_RDWR));
	CALL(side, close(CALL_FD(side, open("masked", O_RDONLY))));
	CALL(side, setxattr("allowed", ACCESS, NULL, 0, 0));
	CALL(side, removexattr("allowed", ACCESS));
	CALL(side, getxattr("allowed", ACCESS, NULL, 0));
	CALL(side, getxattr("closed", ACCESS, NULL, 0));
}

static void give_acl(struct side *side, const char *path, unsigned user, unsigned mask)
{
	const struct acl_spec spec = { .owner = 6, .user = user, .group = 6, .mask = mask };
	const struct acl acl = acl_of(&spec);

	make_text(side, path, "text");
	CALL(side, setxattr(path, ACCESS, &acl, sizeof(acl), 0));
}

/* An entry for the user decides before the owning group does. */
static void acls(struct side *side)
{
	give_acl(side, "denied", 0, 6);
	CALL(side, chown("denied", 0, USER_GID));
	give_acl(side, "allowed", 6, 6);
	give_acl(side, "masked", 6, 4);
	make_text(side, "closed", "text");
	CALL(side, chmod("closed", 0600));
	as_user(side, USER_UID, USER_GID, NO_GROUP, try_acls);
}

const struct call_group groups_user[] = {
	{ "user_denied", denied }, { "user_owned", owned },
	{ "user_sticky", sticky }, { "user_whiteouts", whiteouts },
	{ "user_groups", groups }, { "user_setuid", setuid_files },
	{ "user_acls", acls },	   { NULL, NULL },
};
