/* SPDX-License-Identifier: MIT */
/*
 * name.c - making, linking, moving and removing names.
 */
#include "compare.h"

#include <limits.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#define RENAME_WHITEOUT (1 << 2)
#endif

static void directories(struct side *side)
{
	CALL(side, mkdir("d", 0750));
	CALL(side, mkdir("d", 0750));
	CALL(side, mkdir("d/e", 01777));
	CALL(side, mkdir("d/e/", 0755));
	CALL(side, mkdir("slash/", 0755));
	CALL(side, mkdir("none/e", 0755));
	make_text(side, "f", "text");
	CALL(side, mkdir("f", 0755));
	CALL(side, mkdir("f/e", 0755));
	CALL(side, symlink("nowhere", "dangling"));
	CALL(side, mkdir("dangling", 0755));
	CALL(side, mkdir(".", 0755));
	CALL(side, mkdir("d/..", 0755));
	show(side, "d");
	CALL(side, rmdir("d"));
	CALL(side, rmdir("f"));
	CALL(side, rmdir("none"));
	CALL(side, rmdir("d/e/."));
	CALL(side, rmdir("d/e/.."));
	CALL(side, rmdir("dangling"));
	CALL(side, rmdir("d/e"));
	show(side, "d");
	CALL(side, rmdir("d"));
	CALL(side, rmdir("slash/"));
	CALL(side, mkdir("setgid", 02775));
	CALL(side, mkdir("setgid/below", 0755));
	CALL(side, rmdir("setgid/below"));
}

static void removal(struct side *side)
{
	CALL(side, mkdir("d", 0755));
	make_text(side, "f", "text");
	make_text(side, "d/f", "text");
	CALL(side, symlink("d", "link"));
	CALL(side, unlink("d"));
	CALL(side, unlink("none"));
	CALL(side, unlink("none/f"));
	CALL(side, unlink("f/f"));
	CALL(side, unlink("f/"));
	CALL(side, unlink("link/"));
	CALL(side, unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
	CALL(side, unlinkat(AT_FDCWD, "f", 0x8000));
	CALL(side, unlink("link/f"));
	CALL(side, unlink("link"));
	CALL(side, unlink("f"));
	CALL(side, unlink("f"));
	CALL(side, remove("d"));
	CALL(side, access("d", F_OK));
	/* Names come back at once, as something else. */
	CALL(side, mkdir("f", 0755));
	make_text(side, "d", "a file now");
}

static void long_names(struct side *side)
{
	char name[300];
	char *path = malloc(5000);

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	CALL(side, close(CALL_FD(side, open(name, O_CREAT | O_WRONLY, 0644))));
	CALL(side, mkdir(name, 0755));
	CALL(side, access(name, F_OK));
	CALL(side, unlink(name));
	CALL(side, mkdir(name, 0755));
	CALL(side, rename(name, "short"));
	CALL(side, symlink(name, "short/link"));
	CALL(side, link("short/link", name));
	name[255] = 'n';
	name[256] = '\0';
	CALL_FD(side, open(name, O_CREAT | O_WRONLY, 0644));
	CALL(side, mkdir(name, 0755));
	CALL(side, access(name, F_OK));
	CALL(side, unlink(name));
	CALL(side, rmdir(name));
	CALL(side, symlink("x", name));
	CALL(side, mknod(name, S_IFIFO | 0644, 0));
	CALL(side, rename("short", name));
	CALL(side, link("short/link", name));
	if (!path)
		abort();
	memset(path, 0, 5000);
	for (size_t i = 0; i < 4200; i++)
		path[i] = i % 2 ? '/' : '.';
	CALL(side, access(path, F_OK));
	path[4094] = '\0'; /* PATH_MAX with the final NUL */
	CALL(side, access(path, F_OK));
	free(path);
	CALL(side, mkdir("\xff\xfe not UTF-8 \x80", 0755));
	CALL(side, mkdir("line\nbreak\ttab", 0755));
	CALL(side, mkdir("-rf", 0755));
	CALL(side, mkdir("...", 0755));
	CALL(side, mkdir(" ", 0755));
	CALL(side, mkdir("back\\slash", 0755));
}

static void symbolic_links(struct side *side)
{
	char target[PATH_MAX + 10];
	char text[PATH_MAX + 10];

	CALL(side, symlink("relative/target", "r"));
	CALL(side, symlink("/absolute/target", "a"));
	CALL(side, symlink("", "empty"));
	CALL(side, symlink("x", "r"));
	CALL(side, symlink("x", "none/r"));
	CALL(side, readlink("r", text, sizeof(text)));
	CALL(side, readlink("r", text, 3));
	say(side, "'%.3s'", text);
	CALL(side, readlink("r", text, 0));
	make_text(side, "f", "text");
	CALL(side, readlink("f", text, sizeof(text)));
	CALL(side, readlink(".", text, sizeof(text)));
	CALL(side, readlink("none", text, sizeof(text)));
	memset(target, 't', sizeof(target));
	/* The longest differs: XFS 1023, btrfs and ext4 up to a block less one. */
	target[1000] = '\0';
	CALL(side, symlink(target, "long"));
	CALL(side, readlink("long", text, sizeof(text)));
	target[1000] = 't';
	target[PATH_MAX] = '\0';
	CALL(side, symlink(target, "too long"));
	CALL(side, symlink("loop", "loop"));
	CALL(side, access("loop", F_OK));
	CALL(side, chdir("loop"));
	CALL(side, symlink("f", "to f"));
	CALL(side, lchown("to f", USER_UID, USER_GID));
	CALL(side, fchmodat(AT_FDCWD, "to f", 0600, 0));
	CALL(side, unlink("to f"));
	show(side, "f");
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("d", "to d"));
	CALL(side, mkdir("to d/e", 0755));
	CALL(side, rmdir("to d"));
	/* A link that is replaced must be read anew. */
	CALL(side, symlink("first", "changing"));
	CALL(side, readlink("changing", text, sizeof(text)));
	CALL(side, unlink("changing"));
	CALL(side, symlink("the second", "changing"));
	CALL(side, readlink("changing", text, sizeof(text)));
}

static bool same_inode(const char *a, const char *b)
{
	struct stat x, y;

	return lstat(a, &x) == 0 && lstat(b, &y) == 0 && x.st_ino == y.st_ino &&
	       x.st_dev == y.st_dev;
}

static void hard_links(struct side *side)
{
	struct moments before;
	char name[32];
	int fd;

	make_text(side, "f", "text");
	before = moments_of("f");
	CALL(side, link("f", "g"));
	show_moved(side, "f", &before);
	say(side, "same inode: %d", same_inode("f", "g"));
	show(side, "f");
	show(side, "g");
	CALL(side, link("f", "g"));
	CALL(side, link("none", "h"));
	CALL(side, link("f", "none/h"));
	CALL(side, mkdir("d", 0755));
	CALL(side, link("d", "e"));
	CALL(side, link("f", "d"));
	CALL(side, link("f", "d/h"));
	CALL(side, symlink("f", "s"));
	CALL(side, link("s", "s2"));
	CALL(side, linkat(AT_FDCWD, "s", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
	say(side, "same inode: %d %d", same_inode("s", "s2"), same_inode("f", "followed"));
	fd = CALL_FD(side, open("g", O_WRONLY | O_APPEND));
	CALL(side, write(fd, " more", 5));
	show(side, "f");
	CALL(side, chmod("d/h", 0600));
	show(side, "f");
	before = moments_of("g");
	CALL(side, unlink("f"));
	show_moved(side, "g", &before);
	show(side, "g");
	show_fd(side, fd);
	CALL(side, close(fd));
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "d/many%d", i);
		if (link("g", name) < 0)
			say(side, "%s: %s", name, strerror(errno));
	}
	show(side, "g");
	CALL(side, mknod("fifo", S_IFIFO | 0644, 0));
	CALL(side, link("fifo", "fifo2"));
	show(side, "fifo2");
}

static long rename_with(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void renames(struct side *side)
{
	struct moments before;
	int fd;

	make_text(side, "f", "text of f");
	make_text(side, "g", "text of g");
	CALL(side, mkdir("d", 0755));
	CALL(side, mkdir("d/full", 0755));
	CALL(side, mkdir("e", 0755));
	CALL(side, symlink("f", "s"));
	before = moments_of("f");
	CALL(side, rename("f", "h"));
	show_moved(side, "h", &before);
	CALL(side, access("f", F_OK));
	fd = CALL_FD(side, open("g", O_RDWR));
	CALL(side, rename("h", "g"));
	show(side, "g");
	show_fd(side, fd); /* the one that lost its name */
	CALL(side, pread(fd, (char[9]){ 0 }, 9, 0));
	CALL(side, write(fd, "lost", 4));
	CALL(side, close(fd));
	CALL(side, rename("none", "x"));
	CALL(side, rename("g", "none/x"));
	CALL(side, rename("g", "d"));
	CALL(side, rename("d", "g"));
	CALL(side, rename("e", "d"));
	CALL(side, rename("d", "d/full/x"));
	CALL(side, rename("d", "d/full"));
	CALL(side, rename("d/full", "d"));
	CALL(side, rename("d", "e"));
	CALL(side, access("d", F_OK));
	CALL(side, rename("e/.", "x"));
	CALL(side, rename("e/..", "x"));
	CALL(side, rename("g/", "x"));
	CALL(side, rename("e/", "x/"));
	CALL(side, rename("s", "x/s"));
	CALL(side, rename("g", "x/g"));
	show(side, "x");
	CALL(side, link("x/g", "x/same"));
	CALL(side, rename("x/g", "x/same")); /* does nothing */
	CALL(side, access("x/g", F_OK));
	CALL(side, rename("x/g", "x/g"));
	CALL(side, mkdir("y", 0755));
	CALL(side, rename("x/full", "y/full"));
	show(side, "x");
	show(side, "y");
	/* What is open or the working directory moves along. */
	fd = CALL_FD(side, open("y/full/file", O_RDWR | O_CREAT, 0644));
	CALL(side, chdir("y/full"));
	CALL(side, rename("../../y", "../../z"));
	CALL(side, write(fd, "moved", 5));
	CALL(side, fchmod(fd, 0600));
	CALL(side, close(fd));
	make_text(side, "here", "made in a moved directory");
	CALL(side, access("../../z/full/here", F_OK));
	CALL(side, access("../../y/full/here", F_OK));
	CALL(side, chdir("../.."));
}

static void rename_flags(struct side *side)
{
	make_text(side, "f", "text of f");
	make_text(side, "g", "text of g");
	CALL(side, mkdir("d", 0755));
	make_text(side, "d/below", "text");
	CALL(side, rename_with("f", "g", RENAME_NOREPLACE));
	CALL(side, rename_with("f", "d", RENAME_NOREPLACE));
	CALL(side, rename_with("f", "h", RENAME_NOREPLACE));
	CALL(side, rename_with("f", "i", RENAME_NOREPLACE));
	CALL(side, rename_with("h", "g", RENAME_EXCHANGE));
	show(side, "h");
	show(side, "g");
	CALL(side, rename_with("h", "d", RENAME_EXCHANGE));
	show(side, "h");
	show(side, "h/below");
	show(side, "d");
	CALL(side, rename_with("h", "none", RENAME_EXCHANGE));
	CALL(side, rename_with("none", "h", RENAME_EXCHANGE));
	CALL(side, rename_with("h/below", "g", RENAME_EXCHANGE));
	CALL(side, rename_with("h", "h/below", RENAME_EXCHANGE));
	CALL(side, rename_with("g", "x", RENAME_NOREPLACE | RENAME_EXCHANGE));
	CALL(side, rename_with("g", "x", 0x80));
	CALL(side, rename_with("g", "whited", RENAME_WHITEOUT));
	show(side, "g");
	show(side, "whited");
	CALL(side, rename_with("h", "h2", RENAME_WHITEOUT | RENAME_NOREPLACE));
	show(side, "h");
}

static long make_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long r;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address));
	if (r == 0)
		r = listen(fd, 1);
	return r < 0 ? r : fd;
}

static long connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

static void special_files(struct side *side)
{
	int fd, other;

	CALL(side, mknod("regular", S_IFREG | 0640, 0));
	CALL(side, mknod("regular", S_IFREG | 0640, 0));
	CALL(side, mknod("fifo", S_IFIFO | 0622, 0));
	CALL(side, mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	CALL(side, mknod("block", S_IFBLK | 0600, makedev(250, 100000)));
	CALL(side, mknod("directory", S_IFDIR | 0755, 0));
	CALL(side, mknod("typeless", 0644, 0));
	CALL(side, mknod("none/fifo", S_IFIFO | 0644, 0));
	fd = CALL_FD(side, make_socket("socket"));
	CALL(side, make_socket("socket"));
	CALL_FD(side, open("socket", O_RDONLY));
	CALL(side, connect_to("socket"));
	CALL(side, rename("socket", "moved"));
	CALL(side, connect_to("moved"));
	CALL(side, close(fd));
	CALL(side, connect_to("moved"));
	fd = CALL_FD(side, open("fifo", O_RDONLY | O_NONBLOCK));
	other = CALL_FD(side, open("fifo", O_WRONLY | O_NONBLOCK));
	CALL(side, write(other, "through", 7));
	CALL(side, read(fd, (char[10]){ 0 }, 10));
	CALL(side, close(fd));
	CALL(side, close(other));
	CALL_FD(side, open("fifo", O_WRONLY | O_NONBLOCK));
	CALL(side, truncate("fifo", 0));
	CALL(side, chmod("fifo", 0600));
	CALL(side, chown("null", USER_UID, USER_GID));
	fd = CALL_FD(side, open("null", O_RDWR));
	CALL(side, write(fd, "gone", 4));
	CALL(side, read(fd, (char[4]){ 0 }, 4));
	CALL(side, close(fd));
	CALL(side, unlink("block"));
}

const struct call_group groups_name[] = {
	{ "name_directories", directories },
	{ "name_removal", removal },
	{ "name_long", long_names },
	{ "name_symlinks", symbolic_links },
	{ "name_hard_links", hard_links },
	{ "name_rename", renames },
	{ "name_rename_flags", rename_flags },
	{ "name_special", special_files },
	{ NULL, NULL },
};
