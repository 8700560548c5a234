/* SPDX-License-Identifier: MIT */
/*
 * support.c - see support.h.
 */
#include "support.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arsync/base.h"
#include "staging.h"

#define BUFFER_SIZE (256 * 1024)

void test_begin(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	(void)alarm(TEST_PROGRAM_S); /* there was none before */
}

bool test_sem_wait(sem_t *semaphore)
{
	struct timespec deadline;

	if (clock_gettime(CLOCK_REALTIME, &deadline) < 0)
		return false;
	deadline.tv_sec += TEST_WAIT_S;
	return RETRY_EINTR(sem_timedwait(semaphore, &deadline)) == 0;
}

void test_sleep_ms(unsigned ms)
{
	struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&time, NULL); /* a shorter sleep does no harm */
}

void test_remover_init(struct staging_remover *remover, int parent_fd, const char *name)
{
	struct stat st;

	staging_remover_init(remover, parent_fd, name);
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		staging_remover_expect(remover, st.st_dev, st.st_ino);
}

int test_dir_make(struct test_dir *dir)
{
	const char *parent = getenv("TMPDIR");
	int n;

	dir->n_fds = 0;
	dir->fd = -1;
	dir->mounted = NULL;
	n = snprintf(dir->path, sizeof(dir->path), "%s/arsync-unit-XXXXXX",
		     parent && *parent ? parent : "/var/tmp");
	if (n < 0 || (size_t)n >= sizeof(dir->path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (!mkdtemp(dir->path))
		return -1;
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir->fd < 0 ? -1 : 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Lazily, for a hung engine may still hold files. */
static void unmount(struct test_dir *dir)
{
	char path[sizeof(dir->path) + NAME_MAX + 1];

	if (!dir->mounted)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s", dir->path, TAKE_PTR(dir->mounted)); /* fits */
	if (umount2(path, MNT_DETACH) < 0)
		print_error("%s stays mounted: %s\n", path, strerror(errno));
}

void test_dir_remove(struct test_dir *dir)
{
	if (dir->fd < 0)
		return;
	for (unsigned i = 0; i < dir->n_fds; i++)
		close_keep_errno(dir->fds[i]);
	dir->n_fds = 0;
	unmount(dir);
	close_keep_errno(TAKE_FD(dir->fd));
	if (nftw(dir->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
		print_error("%s is left behind: %s\n", dir->path, strerror(errno));
}

int test_dir_keep(struct test_dir *dir, int fd)
{
	if (fd < 0)
		fail_msg("no file: %s", strerror(errno));
	if (dir->n_fds == TEST_DIR_FDS_MAX) {
		close_keep_errno(fd);
		fail_msg("a test opens more than %d files", TEST_DIR_FDS_MAX);
	}
	dir->fds[dir->n_fds++] = fd;
	return fd;
}

int test_dir_open(struct test_dir *dir, const char *name, int flags)
{
	return test_dir_keep(dir, openat(dir->fd, name, flags | O_CREAT | O_CLOEXEC, 0644));
}

int test_dir_reopen(struct test_dir *dir, int fd, int flags)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
	return test_dir_keep(dir, open(path, flags | O_CLOEXEC));
}

/* A directory's descriptor of before does not show what is mounted in the new namespace. */
static void reopen_dir(struct test_dir *dir)
{
	int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s: %s", dir->path, strerror(errno));
	close_keep_errno(dir->fd);
	dir->fd = fd;
}

void test_dir_mount(struct test_dir *dir, const char *name, const char *options)
{
	char path[sizeof(dir->path) + NAME_MAX + 1];

	assert_null(dir->mounted);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("no mount namespace of our own: %s\n", strerror(errno));
		skip();
	}
	reopen_dir(dir);
	assert_int_equal(mkdirat(dir->fd, name, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", dir->path, name); /* fits */
	if (mount("tmpfs", path, "tmpfs", 0, options) < 0) {
		print_message("no tmpfs: %s\n", strerror(errno));
		skip();
	}
	dir->mounted = name;
}

int test_dir_file(struct test_dir *dir, bool in_memory)
{
	char name[32];
	int fd;

	if (in_memory)
		return test_dir_keep(dir, memfd_create("arsync-unit", MFD_CLOEXEC));
	(void)snprintf(name, sizeof(name), "unnamed-%u", dir->n_fds); /* fits */
	fd = test_dir_open(dir, name, O_RDWR | O_EXCL);
	assert_int_equal(unlinkat(dir->fd, name, 0), 0);
	return fd;
}

static uint64_t pattern_word(unsigned seed, uint64_t index)
{
	uint64_t x = index * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)(seed + 1) * 0x7f4a7c15;

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ (x >> 31);
}

/* @size bytes of the pattern from @at on. */
static void fill(uint8_t *buffer, size_t size, unsigned seed, uint64_t at)
{
	while (size > 0) {
		uint64_t word = pattern_word(seed, at / 8);
		size_t skip = at % 8;
		size_t n = MIN(size, 8 - skip);

		memcpy(buffer, (uint8_t *)&word + skip, n);
		buffer += n;
		size -= n;
		at += n;
	}
}

void test_write_pattern(int fd, uint64_t at, uint64_t length, unsigned seed)
{
	static uint8_t buffer[BUFFER_SIZE]; /* the main thread's */

	for (uint64_t end = at + length; at < end;) {
		size_t n = (size_t)MIN(end - at, (uint64_t)BUFFER_SIZE);

		fill(buffer, n, seed, at);
		assert_int_equal(pwrite(fd, buffer, n, (off_t)at), n);
		at += n;
	}
}

void test_punch(int fd, uint64_t at, uint64_t length)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length) ==
	    0)
		return;
	print_message("no holes on this file system: %s\n", strerror(errno));
	skip();
}

uint64_t test_size(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

uint64_t test_allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* Compares @fd at @at with @expected; fails the test at @file and @line. */
static void check_bytes(int fd, uint64_t at, const uint8_t *expected, size_t n, const char *file,
			int line)
{
	static uint8_t buffer[BUFFER_SIZE]; /* the main thread's */
	ssize_t got = pread(fd, buffer, n, (off_t)at);

	if (got != (ssize_t)n) {
		print_error("read %zd of %zu bytes at offset %llu\n", got, n,
			    (unsigned long long)at);
		_fail(file, line);
	}
	if (memcmp(buffer, expected, n) == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (buffer[i] == expected[i])
			continue;
		print_error("byte %llu is 0x%02x instead of 0x%02x\n", (unsigned long long)(at + i),
			    buffer[i], expected[i]);
		_fail(file, line);
	}
}

void test_check_pattern(int fd, uint64_t at, uint64_t length, unsigned seed, uint64_t pattern_at,
			const char *file, int line)
{
	static uint8_t expected[BUFFER_SIZE]; /* the main thread's */

	for (uint64_t done = 0; done < length;) {
		size_t n = (size_t)MIN(length - done, (uint64_t)BUFFER_SIZE);

		fill(expected, n, seed, pattern_at + done);
		check_bytes(fd, at + done, expected, n, file, line);
		done += n;
	}
}

void test_check_zeros(int fd, uint64_t at, uint64_t length, const char *file, int line)
{
	static const uint8_t expected[BUFFER_SIZE];

	for (uint64_t end = at + length; at < end;) {
		size_t n = (size_t)MIN(end - at, (uint64_t)BUFFER_SIZE);

		check_bytes(fd, at, expected, n, file, line);
		at += n;
	}
}
