/* SPDX-License-Identifier: MIT */
/*
 * open.c - open(2) and its flags.
 */
#include "compare.h"

#include <sys/uio.h>

/* Flags that belong to the open file; the others differ in what the kernel adds by itself. */
#define FLAGS_SEEN (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_SYNC | O_DSYNC | O_PATH)

static void say_flags(struct side *side, int fd)
{
	say(side, "flags %o", (unsigned)fcntl(fd, F_GETFL) & FLAGS_SEEN);
}

static void create(struct side *side)
{
	int fd;

	fd = CALL_FD(side, open("new", O_WRONLY | O_CREAT | O_EXCL, 0640));
	CALL(side, write(fd, "hello", 5));
	say_flags(side, fd);
	CALL(side, close(fd));
	CALL_FD(side, open("new", O_WRONLY | O_CREAT | O_EXCL, 0640));
	fd = CALL_FD(side, open("new", O_WRONLY | O_CREAT, 0600)); /* the mode stays */
	CALL(side, close(fd));
	CALL_FD(side, open("none", O_RDONLY));
	CALL_FD(side, open("none/new", O_WRONLY | O_CREAT, 0640));
	CALL_FD(side, open("new/below", O_WRONLY | O_CREAT, 0640));
	CALL_FD(side, open("new/", O_RDONLY));
	CALL_FD(side, open("other/", O_WRONLY | O_CREAT, 0640));
	CALL_FD(side, open("", O_RDONLY));
	CALL(side, close(CALL_FD(side, open("all", O_WRONLY | O_CREAT, 07777))));
	CALL(side, close(CALL_FD(side, open("nothing", O_RDWR | O_CREAT, 0))));
	fd = CALL_FD(side, open("readonly", O_RDWR | O_CREAT, 0444));
	CALL(side, write(fd, "x", 1));
	CALL(side, fchmod(fd, 0400));
	CALL(side, write(fd, "y", 1));
	CALL(side, pread(fd, (char[2]){ 0 }, 2, 0));
	CALL(side, close(fd));
	CALL(side, close(CALL_FD(side, creat("created", 0606))));
	CALL(side, umask(0));
	CALL(side, close(CALL_FD(side, open("umask0", O_WRONLY | O_CREAT, 0666))));
	CALL(side, umask(077));
	CALL(side, close(CALL_FD(side, open("umask077", O_WRONLY | O_CREAT, 0666))));
	CALL(side, mkdir("umask077dir", 0777));
	CALL(side, mknod("umask077fifo", S_IFIFO | 0666, 0));
	CALL(side, umask(022));
}

static void directories(struct side *side)
{
	int dir, fd;

	CALL(side, mkdir("d", 0755));
	make_text(side, "f", "text");
	CALL_FD(side, open("f", O_RDONLY | O_DIRECTORY));
	CALL_FD(side, open("d", O_WRONLY));
	CALL_FD(side, open("d", O_RDWR));
	CALL_FD(side, open("d", O_RDONLY | O_CREAT, 0644));
	CALL_FD(side, open("d", O_RDONLY | O_TRUNC));
	CALL_FD(side, open("d/", O_RDONLY | O_CREAT, 0644));
	dir = CALL_FD(side, open("d", O_RDONLY | O_DIRECTORY));
	CALL(side, read(dir, (char[4]){ 0 }, 4));
	CALL(side, ftruncate(dir, 0));
	fd = CALL_FD(side, openat(dir, "in", O_WRONLY | O_CREAT, 0644));
	CALL(side, write(fd, "in", 2));
	CALL(side, close(fd));
	CALL_FD(side, openat(fd, "in", O_RDONLY)); /* closed */
	CALL(side, fsync(dir));
	CALL(side, fdatasync(dir));
	CALL(side, syncfs(dir));
	CALL(side, close(dir));
}

static void links(struct side *side)
{
	make_text(side, "target", "text");
	CALL(side, symlink("target", "link"));
	CALL(side, symlink("later", "dangling"));
	CALL(side, symlink("loop2", "loop1"));
	CALL(side, symlink("loop1", "loop2"));
	CALL_FD(side, open("link", O_RDONLY | O_NOFOLLOW));
	CALL_FD(side, open("link", O_WRONLY | O_CREAT | O_EXCL, 0644));
	CALL_FD(side, open("dangling", O_RDONLY));
	CALL_FD(side, open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644));
	CALL_FD(side, open("loop1", O_RDONLY));
	CALL_FD(side, open("loop1/x", O_RDONLY));
	CALL(side, close(CALL_FD(side, open("dangling", O_WRONLY | O_CREAT, 0644))));
	CALL(side, close(CALL_FD(side, open("link", O_WRONLY | O_TRUNC))));
}

static void truncate_and_append(struct side *side)
{
	char text[16];
	int a, b;

	make_text(side, "t", "some text");
	CALL(side, close(CALL_FD(side, open("t", O_WRONLY | O_TRUNC))));
	show(side, "t");
	make_text(side, "t", "some text");
	CALL(side, close(CALL_FD(side, open("t", O_RDONLY | O_TRUNC))));
	show(side, "t");

	a = CALL_FD(side, open("a", O_RDWR | O_CREAT | O_APPEND, 0644));
	b = CALL_FD(side, open("a", O_WRONLY | O_APPEND));
	CALL(side, write(a, "one", 3));
	CALL(side, write(b, "two", 3));
	CALL(side, write(a, "three", 5));
	CALL(side, pwrite(a, "four", 4, 0)); /* appends all the same, see BUGS in pwrite(2) */
	CALL(side, lseek(a, 0, SEEK_CUR));
	CALL(side, lseek(a, 0, SEEK_SET));
	CALL(side, read(a, text, 5));
	CALL(side, write(a, "five", 4));
	CALL(side, lseek(a, 0, SEEK_CUR));
	say_flags(side, a);
	CALL(side, close(a));
	CALL(side, close(b));
	show(side, "a");

	/* Not the reverse, see compare.h. */
	a = CALL_FD(side, open("a", O_RDWR));
	CALL(side, write(a, "start", 5));
	CALL(side, fcntl(a, F_SETFL, O_APPEND));
	say_flags(side, a);
	CALL(side, write(a, "six", 3));
	CALL(side, fcntl(a, F_SETFL, 0));
	CALL(side, pwrite(a, "ONE", 3, 0));
	CALL(side, lseek(a, 0, SEEK_CUR));
	CALL(side,
	     writev(a, (struct iovec[]){ { (char[]){ "v1" }, 2 }, { (char[]){ "v2" }, 2 } }, 2));
	CALL(side, pwritev2(a, (struct iovec[]){ { (char[]){ "end" }, 3 } }, 1, 0, RWF_APPEND));
	CALL(side, close(a));
	show(side, "a");
}

/* Which descriptor may do what. */
static void access_modes(struct side *side)
{
	char byte = 'x';
	int r, w, p, dir;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	make_text(side, "d/f", "below");
	CALL(side, symlink("f", "link"));
	r = CALL_FD(side, open("f", O_RDONLY));
	w = CALL_FD(side, open("f", O_WRONLY));
	p = CALL_FD(side, open("f", O_PATH));
	dir = CALL_FD(side, open("d", O_PATH | O_DIRECTORY));
	CALL(side, write(r, &byte, 1));
	CALL(side, ftruncate(r, 0));
	CALL(side, fallocate(r, 0, 0, 10));
	CALL(side, read(w, &byte, 1));
	CALL(side, read(p, &byte, 1));
	CALL(side, write(p, &byte, 1));
	CALL(side, ftruncate(p, 0));
	CALL(side, fchmod(p, 0600));
	CALL(side, fchown(p, 0, 0));
	CALL(side, fsync(p));
	say_flags(side, p);
	show_fd(side, p);
	CALL(side, close(CALL_FD(side, openat(dir, "f", O_RDONLY))));
	CALL(side, fchmodat(dir, "f", 0611, 0));
	CALL(side, linkat(p, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
	CALL(side, close(p));
	p = CALL_FD(side, open("link", O_PATH | O_NOFOLLOW));
	show_fd(side, p);
	CALL(side, readlinkat(p, "", (char[8]){ 0 }, 8));
	CALL(side, close(p));
	CALL(side, close(r));
	CALL(side, close(w));
	CALL(side, close(dir));
	CALL(side, access("f", R_OK | W_OK));
	CALL(side, access("f", X_OK));
	CALL(side, access("d", X_OK));
	CALL(side, access("none", F_OK));
}

static long link_fd(int fd, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

static void temporary_files(struct side *side)
{
	int fd;

	CALL(side, mkdir("d", 0755));
	make_text(side, "f", "text");
	fd = CALL_FD(side, open("d", O_TMPFILE | O_RDWR, 0640));
	show_fd(side, fd);
	CALL(side, write(fd, "temporary", 9));
	CALL(side, pread(fd, (char[9]){ 0 }, 9, 0));
	CALL(side, fchmod(fd, 0604));
	CALL(side, link_fd(fd, "f"));
	CALL(side, link_fd(fd, "d/linked"));
	show_fd(side, fd);
	CALL(side, write(fd, " no more", 8));
	CALL(side, close(fd));
	show(side, "d/linked");

	fd = CALL_FD(side, open("d", O_TMPFILE | O_WRONLY | O_EXCL, 0640));
	CALL(side, write(fd, "never seen", 10));
	CALL(side, link_fd(fd, "d/unlinkable"));
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d", O_TMPFILE | O_RDWR, 0600));
	CALL(side, ftruncate(fd, 10000));
	CALL(side, fsync(fd));
	show_fd(side, fd);
	CALL(side, close(fd));
	CALL_FD(side, open("d", O_TMPFILE | O_RDONLY, 0600));
	CALL_FD(side, open("f", O_TMPFILE | O_RDWR, 0600));
	CALL_FD(side, open("none", O_TMPFILE | O_RDWR, 0600));
}

/* Opens of one file of every kind at once: they must not get in each other's way. */
static void mixed_opens(struct side *side)
{
	static const int flags[] = { O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_SYNC,
				     O_RDONLY | O_NOATIME };
	char *buffer = NULL;
	int fds[5];
	int direct;

	make_file(side, "f", 10000);
	for (int i = 0; i < 5; i++)
		fds[i] = CALL_FD(side, open("f", flags[i]));
	direct = CALL_FD(side, open("f", O_RDWR | O_DIRECT));
	if (posix_memalign((void **)&buffer, 4096, 8192) != 0)
		abort();
	memset(buffer, 'D', 8192);
	say_flags(side, direct);
	CALL(side, pwrite(direct, buffer, 4096, 4096));
	CALL(side, pread(fds[0], buffer, 8192, 2));
	say(side, "read %02x %02x", (unsigned char)buffer[0], (unsigned char)buffer[4095]);
	CALL(side, pwrite(fds[1], "buffered", 8, 100));
	CALL(side, pread(direct, buffer, 4096, 0));
	say(side, "read %.8s", buffer + 100);
	CALL(side, pread(direct, buffer, 8192, 8192)); /* the last block is short */
	CALL(side, write(fds[2], "end", 3));
	CALL(side, pwrite(fds[3], "sync", 4, 9000));
	for (int i = 0; i < 5; i++)
		CALL(side, close(fds[i]));
	CALL(side, close(direct));
	free(buffer);
	show(side, "f");
}

/* Opening through /proc/self/fd makes another open file of the same inode. */
static void reopen(struct side *side)
{
	char path[64];
	int fd, again;

	make_text(side, "f", "text");
	fd = CALL_FD(side, open("f", O_PATH));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = CALL_FD(side, open(path, O_RDWR));
	CALL(side, write(again, "TEXT", 4));
	CALL(side, rename("f", "g"));
	CALL(side, close(again));
	again = CALL_FD(side, open(path, O_RDWR | O_TRUNC));
	CALL(side, write(again, "new", 3));
	CALL(side, close(again));
	CALL(side, close(fd));
	show(side, "g");
}

const struct call_group groups_open[] = {
	{ "open_create", create },
	{ "open_directories", directories },
	{ "open_links", links },
	{ "open_truncate_append", truncate_and_append },
	{ "open_access_modes", access_modes },
	{ "open_tmpfile", temporary_files },
	{ "open_mixed", mixed_opens },
	{ "open_again", reopen },
	{ NULL, NULL },
};
