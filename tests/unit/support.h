/* SPDX-License-Identifier: MIT */
/*
 * support.h - what the unit tests share: bounded waits, a temporary directory, files with known
 * content.
 *
 * A failing assertion jumps out of the test, so everything here that owns something belongs to a
 * fixture and is released by its teardown. What checks something is for the main thread only.
 */
#ifndef UNIT_SUPPORT_H
#define UNIT_SUPPORT_H

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#define TEST_WAIT_S 20	   /* no wait of a test takes longer: it fails then */
#define TEST_PROGRAM_S 240 /* nor does a whole program */
#define TEST_DIR_FDS_MAX 1024

/**
 * First in main(): of the program's tests, runs those that match its argument, a pattern such as
 * "*hole*". From now on SIGALRM ends the program if something waits that no test can bound.
 */
void test_begin(int argc, char **argv);

/** sem_wait(3) for at most TEST_WAIT_S; false: it was not posted. Any thread. */
bool test_sem_wait(sem_t *semaphore);

void test_sleep_ms(unsigned ms);

struct staging_remover;
/** Prepares to remove what has that name now. */
void test_remover_init(struct staging_remover *remover, int parent_fd, const char *name);

/* A temporary directory below $TMPDIR or /var/tmp, and the files that a test has open. */
struct test_dir {
	char path[256];
	int fd; /* -1: none */
	int fds[TEST_DIR_FDS_MAX];
	unsigned n_fds;
	const char *mounted; /* test_dir_mount()'s name; NULL: none */
};

/** 0, or -1 with errno. */
int test_dir_make(struct test_dir *dir);
/** Closes the files and removes the directory and all in it. Accepts a half-made one. */
void test_dir_remove(struct test_dir *dir);
/** Takes ownership of @fd and answers it; fails the test when it is negative. */
int test_dir_keep(struct test_dir *dir, int fd);
/** A file of the directory, made where it does not exist. */
int test_dir_open(struct test_dir *dir, const char *name, int flags);
/** The file of @fd once more; the directory closes it. */
int test_dir_reopen(struct test_dir *dir, int fd, int flags);
/**
 * Mounts a tmpfs on the new directory @name, which the directory keeps, in a mount namespace of the
 * program's own; once a directory. @options are tmpfs's. Skips the test where that is not to be had.
 */
void test_dir_mount(struct test_dir *dir, const char *name, const char *options);
/** A new file with no name: in the directory, or with @in_memory on tmpfs. */
int test_dir_file(struct test_dir *dir, bool in_memory);

/* Content that differs at every offset and between seeds. */
void test_write_pattern(int fd, uint64_t at, uint64_t length, unsigned seed);
/** Makes a hole; skips the test where the file system has none. */
void test_punch(int fd, uint64_t at, uint64_t length);
uint64_t test_size(int fd);
uint64_t test_allocated(int fd);

/** [at, at + length) of @fd is what @seed has at @pattern_at. */
#define assert_pattern(fd, at, length, seed, pattern_at)                                           \
	test_check_pattern((fd), (at), (length), (seed), (pattern_at), __FILE__, __LINE__)
void test_check_pattern(int fd, uint64_t at, uint64_t length, unsigned seed, uint64_t pattern_at,
			const char *file, int line);

#define assert_zeros(fd, at, length) test_check_zeros((fd), (at), (length), __FILE__, __LINE__)
void test_check_zeros(int fd, uint64_t at, uint64_t length, const char *file, int line);

#endif /* UNIT_SUPPORT_H */
