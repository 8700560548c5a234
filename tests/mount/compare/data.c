/* SPDX-License-Identifier: MIT */
/*
 * data.c - reading, writing, allocating, mapping, and files without a name.
 */
#include "compare.h"

#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static void reading(struct side *side)
{
	char a[100], b[100];
	void *volatile nowhere = NULL; /* the compiler must not know */
	struct iovec vector[2] = { { a, 100 }, { b, 100 } };
	int fd;

	make_file(side, "f", 150);
	CALL(side, mkdir("d", 0755));
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, read(fd, a, 100));
	CALL(side, read(fd, a, 100));
	CALL(side, read(fd, a, 100));
	CALL(side, lseek(fd, 0, SEEK_CUR));
	CALL(side, pread(fd, a, 100, 149));
	CALL(side, pread(fd, a, 100, 150));
	CALL(side, pread(fd, a, 100, 1000000));
	CALL(side, pread(fd, a, 100, -1));
	CALL(side, pread(fd, a, 0, 0));
	CALL(side, pread(fd, nowhere, 100, 0));
	CALL(side, lseek(fd, 10, SEEK_SET));
	CALL(side, readv(fd, vector, 2));
	say(side, "%d", (unsigned char)b[39] == pattern(149));
	CALL(side, preadv(fd, vector, 2, 140));
	CALL(side, lseek(fd, -10, SEEK_END));
	CALL(side, lseek(fd, -200, SEEK_END));
	CALL(side, lseek(fd, 1000, SEEK_SET));
	CALL(side, read(fd, a, 100));
	CALL(side, lseek(fd, -5, SEEK_SET));
	CALL(side, lseek(fd, 0, 99));
	CALL(side, readahead(fd, 0, 150));
	CALL(side, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	CALL(side, pread(fd, a, 100, 0));
	CALL(side, close(fd));
}

static void writing(struct side *side)
{
	char *bytes = malloc(300000);
	void *volatile nowhere = NULL;
	int fd, other, pipe_fds[2];

	if (!bytes)
		abort();
	for (size_t i = 0; i < 300000; i++)
		bytes[i] = (char)pattern(i);
	fd = CALL_FD(side, open("f", O_RDWR | O_CREAT, 0644));
	CALL(side, write(fd, bytes, 300000));
	CALL(side, write(fd, bytes, 0));
	CALL(side, pwrite(fd, bytes, 5000, 298000));
	CALL(side, pwrite(fd, bytes, 10, 1000000)); /* a hole before */
	CALL(side, pwrite(fd, bytes, 10, -1));
	CALL(side, pwrite(fd, nowhere, 10, 0));
	CALL(side, lseek(fd, 0, SEEK_CUR));
	CALL(side, writev(fd, (struct iovec[]){ { bytes, 3 }, { bytes + 9, 0 }, { bytes, 5 } }, 3));
	CALL(side, lseek(fd, 2000000, SEEK_SET));
	CALL(side, write(fd, "end", 3));
	show_fd(side, fd);
	other = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, pread(other, bytes, 10, 1000000));
	say(side, "%d", (unsigned char)bytes[9] == pattern(9));
	CALL(side, fsync(fd));
	CALL(side, fdatasync(other));
	CALL(side, sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	CALL(side, syncfs(fd));
	CALL(side, pipe(pipe_fds));
	CALL(side, splice(other, &(off_t){ 100 }, pipe_fds[1], NULL, 4000, 0));
	CALL(side, splice(pipe_fds[0], NULL, fd, &(off_t){ 500000 }, 4000, 0));
	CALL(side, sendfile(fd, other, &(off_t){ 0 }, 30000));
	CALL(side, close(pipe_fds[0]));
	CALL(side, close(pipe_fds[1]));
	CALL(side, close(other));
	CALL(side, close(fd));
	CALL(side, write(fd, bytes, 1));
	free(bytes);
	show(side, "f");
	show_blocks(side, "f");
}

static void allocation(struct side *side)
{
	int fd;

	fd = CALL_FD(side, open("f", O_RDWR | O_CREAT, 0644));
	CALL(side, fallocate(fd, 0, 0, 100000));
	show_fd(side, fd);
	CALL(side, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 400000));
	show_fd(side, fd);
	CALL(side, close(fd));
	show_blocks(side, "f");

	make_file(side, "g", 300000);
	fd = CALL_FD(side, open("g", O_RDWR));
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 262144));
	CALL(side, pread(fd, (char[10]){ 0 }, 10, 10000));
	show(side, "g");
	show_blocks(side, "g");
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 10));
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	CALL(side, fallocate(fd, FALLOC_FL_ZERO_RANGE, 290000, 20000));
	show(side, "g");
	CALL(side, fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 305000, 20000));
	show(side, "g");
	CALL(side, fallocate(fd, 0, 0, 0));
	CALL(side, fallocate(fd, 0, -1, 10));
	CALL(side, fallocate(fd, 0, 0, (off_t)1 << 62));
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000000, 4096));
	CALL(side, posix_fallocate(fd, 350000, 1000));
	CALL(side, close(fd));
	show(side, "g");
}

/* The map of holes. File systems report it in their own units; the mount must say the same. */
static void holes(struct side *side)
{
	off_t at = 0;
	int fd;

	fd = CALL_FD(side, open("f", O_RDWR | O_CREAT, 0644));
	CALL(side, ftruncate(fd, 10 << 20));
	for (off_t offset = 1 << 20; offset < 10 << 20; offset += 2 << 20)
		CALL(side, pwrite(fd, "data in the middle", 18, offset + 5000));
	CALL(side, fsync(fd));
	while (at < 10 << 20) {
		at = CALL(side, lseek(fd, at, SEEK_DATA));
		if (at < 0)
			break;
		at = CALL(side, lseek(fd, at, SEEK_HOLE));
	}
	CALL(side, lseek(fd, 10 << 20, SEEK_DATA));
	CALL(side, lseek(fd, 10 << 20, SEEK_HOLE));
	CALL(side, lseek(fd, -1, SEEK_DATA));
	CALL(side, lseek(fd, 0, SEEK_HOLE));
	CALL(side, read(fd, (char[4]){ 0 }, 4));
	CALL(side, ftruncate(fd, 0));
	CALL(side, lseek(fd, 0, SEEK_DATA));
	CALL(side, lseek(fd, 0, SEEK_HOLE));
	CALL(side, close(fd));
}

static void mapped(struct side *side)
{
	char *shared, *private, *later;
	char text[16] = "";
	int fd;

	make_file(side, "f", 10000);
	fd = CALL_FD(side, open("f", O_RDWR));
	shared = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	say(side, "mapped %d %d", shared != MAP_FAILED, private != MAP_FAILED);
	if (shared == MAP_FAILED || private == MAP_FAILED)
		return;
	say(side, "pattern %d %d", (unsigned char)shared[9999] == pattern(9999),
	    (unsigned char)private[4096] == pattern(4096));
	memcpy(shared + 100, "shared", 6);
	memcpy(private + 200, "private", 7);
	CALL(side, pread(fd, text, 10, 100));
	say(side, "read '%.6s'", text);
	CALL(side, pread(fd, text, 7, 200));
	say(side, "read %d", memcmp(text, "private", 7));
	CALL(side, pwrite(fd, "written", 7, 5000));
	say(side, "mapped '%.7s'", shared + 5000);
	CALL(side, pwrite(fd, "more", 4, 11000));
	say(side, "mapped '%.4s'", shared + 11000);
	CALL(side, msync(shared, 12288, MS_SYNC));
	CALL(side, close(fd)); /* the mappings stay */
	memcpy(shared + 300, "after close", 11);
	later = mmap(NULL, 4096, PROT_READ, MAP_SHARED, open("f", O_RDONLY), 0);
	say(side, "mapped again '%.11s'", later == MAP_FAILED ? "failed" : later + 300);
	CALL(side, munmap(shared, 12288));
	CALL(side, munmap(private, 12288));
	if (later != MAP_FAILED)
		CALL(side, munmap(later, 4096));
	fd = CALL_FD(side, open("f", O_RDONLY));
	say(side, "refused %d",
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
		    errno == EACCES);
	CALL(side, close(fd));
	show(side, "f");
}

/* Touching a mapping beyond the end of file is SIGBUS. */
static void mapped_beyond(struct side *side)
{
	int status = 0;
	pid_t pid;

	make_file(side, "f", 5000);
	pid = fork();
	if (pid == 0) {
		int fd = open("f", O_RDWR);
		volatile char *at = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		at[5001] = 'x'; /* in the last page: lost, but no error */
		say(side, "in the last page");
		at[12000] = 'x';
		_exit(0);
	}
	CALL(side, waitpid(pid, &status, 0) == pid);
	say(side, "SIGBUS %d", WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* Programs are mapped, too, and may not be written meanwhile. */
static void executed(struct side *side)
{
	char *const arguments[] = { (char[]){ "./sleep" }, (char[]){ "30" }, NULL };
	struct stat st;
	int status = 0;
	int ends[2];
	pid_t pid;

	CALL(side, system("cp \"$(command -v sleep)\" sleep"));
	CALL(side, chmod("sleep", 0755));
	CALL(side, pipe2(ends, O_CLOEXEC));
	pid = fork();
	if (pid == 0) {
		(void)execv("./sleep", arguments);
		_exit(99);
	}
	CALL(side, close(ends[1]));
	CALL(side, read(ends[0], (char[1]){ 0 }, 1)); /* until exec closes the other end */
	CALL_FD(side, open("sleep", O_WRONLY));
	CALL_FD(side, open("sleep", O_RDONLY | O_TRUNC));
	CALL(side, truncate("sleep", 0));
	CALL(side, stat("sleep", &st) == 0 && st.st_size > 0);
	CALL(side, kill(pid, SIGTERM));
	CALL(side, waitpid(pid, &status, 0) == pid);
	say(side, "SIGTERM %d", WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	CALL(side, close(ends[0]));
	make_text(side, "script", "#!/bin/sh\nexit 7\n");
	CALL(side, system("./script 2>/dev/null") >> 8);
	CALL(side, chmod("script", 0755));
	CALL(side, system("./script") >> 8);
	CALL(side, unlink("sleep")); /* its size is the machine's */
}

/* What nobody has open for reading or writing. Closes @fd. */
static void only_by_path(struct side *side, int fd)
{
	char path[64];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	show_fd(side, fd);
	CALL(side, chmod(path, 0640));
	CALL(side, setxattr(path, "user.name", "value", 5, 0));
	again = CALL_FD(side, open(path, O_RDONLY));
	CALL(side, pread(again, (char[10]){ 0 }, 10, 0));
	CALL(side, close(again));
	CALL(side, truncate(path, 2));
	show_fd(side, fd);
	CALL(side, close(fd));
}

static void without_name(struct side *side)
{
	char path[64];
	int fd, dir;

	make_file(side, "f", 10000);
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, unlink("f"));
	show_fd(side, fd);
	CALL(side, pread(fd, (char[100]){ 0 }, 100, 9950));
	CALL(side, pwrite(fd, "written", 7, 20000));
	CALL(side, ftruncate(fd, 15000));
	CALL(side, fchmod(fd, 0600));
	CALL(side, fchown(fd, 1, 2));
	CALL(side, futimens(fd, (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 2 } }));
	CALL(side, fallocate(fd, 0, 0, 30000));
	CALL(side, fsync(fd));
	CALL(side, fsetxattr(fd, "user.name", "value", 5, 0));
	CALL(side, fgetxattr(fd, "user.name", (char[10]){ 0 }, 10));
	CALL(side, lseek(fd, 0, SEEK_HOLE));
	show_fd(side, fd);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CALL(side, chmod(path, 0640));
	CALL(side, truncate(path, 100));
	CALL(side, linkat(AT_FDCWD, path, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	CALL(side, close(CALL_FD(side, open(path, O_RDWR))));
	CALL(side, mmap(NULL, 100, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	show_fd(side, fd);
	make_text(side, "f", "another of that name");
	show_fd(side, fd);
	CALL(side, close(fd));

	CALL(side, mkdir("d", 0755));
	dir = CALL_FD(side, open("d", O_RDONLY | O_DIRECTORY));
	CALL(side, rmdir("d"));
	show_fd(side, dir);
	CALL_FD(side, openat(dir, "f", O_WRONLY | O_CREAT, 0644));
	CALL(side, mkdirat(dir, "e", 0755));
	CALL(side, faccessat(dir, ".", F_OK, 0));
	CALL(side, faccessat(dir, "..", F_OK, 0));
	CALL(side, fchmod(dir, 0700));
	CALL(side, fsync(dir));
	CALL(side, close(dir));
	make_text(side, "p", "text");
	fd = CALL_FD(side, open("p", O_PATH));
	CALL(side, unlink("p"));
	only_by_path(side, fd);
	make_text(side, "p", "text");
	make_text(side, "q", "other");
	fd = CALL_FD(side, open("p", O_PATH));
	CALL(side, rename("q", "p"));
	only_by_path(side, fd);
	make_text(side, "p", "text");
	CALL(side, link("p", "second"));
	fd = CALL_FD(side, open("p", O_PATH));
	CALL(side, unlink("p"));
	CALL(side, unlink("second"));
	only_by_path(side, fd);
	CALL(side, mkdir("cwd", 0755));
	CALL(side, chdir("cwd"));
	CALL(side, rmdir("../cwd"));
	CALL_FD(side, open("f", O_WRONLY | O_CREAT, 0644));
	CALL_FD(side, open(".", O_RDONLY));
	CALL(side, access(".", F_OK));
	CALL(side, chdir(".."));
}

const struct call_group groups_data[] = {
	{ "data_reading", reading },
	{ "data_writing", writing },
	{ "data_allocation", allocation },
	{ "data_holes", holes },
	{ "data_mapped", mapped },
	{ "data_mapped_beyond", mapped_beyond },
	{ "data_executed", executed },
	{ "data_without_name", without_name },
	{ NULL, NULL },
};
