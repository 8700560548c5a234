/* SPDX-License-Identifier: MIT */
/*
 * test_page_cache.c - what is in memory of a file, as cachestat(2) says and as mincore(2) says, and
 * what /proc says of all.
 *
 * For the second half cachestat(2) is forbidden by a seccomp filter. That cannot be taken off again,
 * so these tests come last.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"

#include "arsync/base.h"
#include "arsync/page_cache.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#define SRC 1
#define SIZE (8 * MIB)

static uint64_t page; /* its size */

static const char *meminfo;    /* what /proc/meminfo says; NULL: what the kernel does */
static unsigned meminfo_reads; /* with it */

FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__real_fopen64(const char *path, const char *mode);

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	if (!meminfo || strcmp(path, "/proc/meminfo") != 0)
		return __real_fopen64(path, mode);
	meminfo_reads++;
	return fmemopen((char *)(uintptr_t)meminfo, strlen(meminfo), "r");
}

static int setup(void **state)
{
	struct test_dir *dir = calloc(1, sizeof(*dir));

	if (!dir)
		return -1;
	meminfo = NULL;
	meminfo_reads = 0;
	page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (test_dir_make(dir) < 0) {
		test_dir_remove(dir);
		free(dir);
		return -1;
	}
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	test_dir_remove(*state);
	free(*state);
	return 0;
}

static bool has_cachestat(void)
{
	return syscall(SYS_cachestat, -1, NULL, NULL, 0) < 0 && errno == EBADF;
}

/* Without a disk nothing leaves memory. */
static void need_disk(const struct test_dir *dir)
{
	struct statfs fs;

	assert_int_equal(fstatfs(dir->fd, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		print_message("the temporary directory is in memory\n");
		skip();
	}
}

static int make_file(struct test_dir *dir, uint64_t size)
{
	int fd = test_dir_file(dir, false);

	test_write_pattern(fd, 0, size, SRC);
	return fd;
}

static struct page_cache_range query(int fd, uint64_t offset, uint64_t length)
{
	struct page_cache_range range = { 12345, 12345 }; /* it must be set */

	assert_int_equal(page_cache_query(fd, offset, length, &range), 0);
	return range;
}

/* Takes a range that is on the disk out of memory. Whoever looks at its pages just now delays that. */
static void drop(int fd, uint64_t offset, uint64_t length)
{
	assert_int_equal(fsync(fd), 0);
	for (int attempt = 0; attempt < 50; attempt++) {
		assert_int_equal(
			posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_DONTNEED), 0);
		if (query(fd, offset, length).cached == 0)
			return;
		test_sleep_ms(10);
	}
}

static void test_page_cache_query_cached(void **state)
{
	int fd = make_file(*state, SIZE + 5);

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(query(fd, 0, SIZE + 5).cached, SIZE + page);
	assert_int_equal(query(fd, 0, SIZE + 5).dirty, 0);
	assert_int_equal(query(fd, 0, 1).cached, page);
	assert_int_equal(query(fd, 3 * page, 2 * page).cached, 2 * page);
	assert_int_equal(query(fd, SIZE, 5).cached, page);
}

/* Pages that are touched count as a whole. */
static void test_page_cache_query_odd_range(void **state)
{
	int fd = make_file(*state, SIZE);

	assert_int_equal(query(fd, page + 1, 1).cached, page);
	assert_int_equal(query(fd, page - 1, 2).cached, 2 * page);
	assert_int_equal(query(fd, 5 * page + 7, 3 * page).cached, 4 * page);
}

static void test_page_cache_query_beyond_the_end(void **state)
{
	int fd = make_file(*state, SIZE);

	assert_int_equal(query(fd, 2 * SIZE, SIZE).cached, 0);
	assert_int_equal(query(fd, 0, 2 * SIZE).cached, SIZE);
}

static void test_page_cache_query_nothing(void **state)
{
	struct page_cache_range range = { 12345, 12345 };
	int fd = make_file(*state, SIZE);

	assert_int_equal(page_cache_query(fd, 0, 0, &range), 0);
	assert_int_equal(range.cached, 0);
	assert_int_equal(range.dirty, 0);
	assert_int_equal(query(fd, page, 0).cached, 0);
	assert_int_equal(query(test_dir_file(*state, false), 0, SIZE).cached, 0); /* empty */
}

static void test_page_cache_query_dropped(void **state)
{
	int fd;

	need_disk(*state);
	fd = make_file(*state, SIZE);
	drop(fd, 0, SIZE);
	assert_int_equal(query(fd, 0, SIZE).cached, 0);
	assert_int_equal(query(fd, 0, SIZE).dirty, 0);
	assert_pattern(fd, 0, SIZE, SRC, 0); /* reads it again */
	assert_int_equal(query(fd, 0, SIZE).cached, SIZE);
}

static void test_page_cache_query_half_cached(void **state)
{
	int fd;

	need_disk(*state);
	fd = make_file(*state, SIZE);
	drop(fd, 0, SIZE / 2);
	assert_int_equal(query(fd, 0, SIZE).cached, SIZE / 2);
	assert_int_equal(query(fd, 0, SIZE / 2).cached, 0);
	assert_int_equal(query(fd, SIZE / 2, SIZE / 2).cached, SIZE / 2);
}

/* More than mincore(2) is asked for at once: data at the beginning, in the middle and at the end. */
static void test_page_cache_query_long_range(void **state)
{
	const uint64_t size = 300 * MIB;
	int fd = make_file(*state, MIB);

	test_write_pattern(fd, size / 2 - MIB, 2 * MIB, SRC);
	test_write_pattern(fd, size - MIB, MIB, SRC);
	assert_int_equal(query(fd, 0, size).cached, 4 * MIB);
	assert_int_equal(query(fd, 5, size - 10).cached, 4 * MIB);
	assert_int_equal(query(fd, MIB, size - 2 * MIB).cached, 2 * MIB);
	assert_int_equal(query(fd, 10 * MIB, 100 * MIB).cached, 0);
}

static void test_page_cache_query_dirty(void **state)
{
	uint64_t dirty = 0;
	int fd;

	if (!has_cachestat())
		skip();
	need_disk(*state);
	/* The kernel may write it back at any time, but not every time. */
	for (int attempt = 0; attempt < 5 && dirty == 0; attempt++) {
		fd = make_file(*state, SIZE);
		dirty = query(fd, 0, SIZE).dirty;
		assert_int_equal(query(fd, 0, SIZE).cached, SIZE);
	}
	assert_true(dirty > 0 && dirty <= SIZE);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(query(fd, 0, SIZE).dirty, 0);
	test_write_pattern(fd, SIZE / 2, 1, SRC);
	assert_int_equal(query(fd, 0, SIZE / 2).dirty, 0);
}

static void test_page_cache_query_refuses(void **state)
{
	struct page_cache_range range = { 12345, 12345 };

	(void)state;
	assert_int_equal(page_cache_query(-1, 0, page, &range), -EBADF);
	assert_int_equal(range.cached, 12345);
	assert_int_equal(range.dirty, 12345);
}

/* mincore(2) does not know. */
static void test_page_cache_query_mincore_has_no_dirty(void **state)
{
	int fd = make_file(*state, SIZE);

	assert_int_equal(query(fd, 0, SIZE).cached, SIZE);
	assert_int_equal(query(fd, 0, SIZE).dirty, 0);
}

/* "Dirty" in two parts, and what is only called like one of them. */
static void test_page_cache_dirty_reads_once(void **state)
{
	(void)state;
	meminfo = "MemAvailable:    1000 kB\nDirty:             12 kB\nWriteback:         30 kB\n"
		  "WritebackTmp:     900 kB\n";
	assert_int_equal(page_cache_dirty(), 42 * KIB);
	assert_int_equal(meminfo_reads, 1);
}

/* One of the two is no answer. */
static void test_page_cache_dirty_not_told(void **state)
{
	(void)state;
	meminfo = "MemAvailable:    1000 kB\nDirty:             12 kB\nWritebackTmp:       0 kB\n";
	assert_true(page_cache_dirty() == UINT64_MAX);
	assert_int_equal(meminfo_reads, 1);
}

static uint64_t number_in(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long number = 0;

	if (file) {
		if (fscanf(file, "%llu", &number) != 1)
			number = 0;
		(void)fclose(file); /* only read */
	}
	return number;
}

static void test_page_cache_dirty_limit(void **state)
{
	const uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * page;
	const uint64_t limit = page_cache_dirty_limit();
	const uint64_t ratio = number_in("/proc/sys/vm/dirty_ratio");

	(void)state;
	assert_true(limit > 0);
	if (limit == UINT64_MAX || ratio == 0 || number_in("/proc/sys/vm/dirty_background_bytes"))
		skip(); /* no /proc, or given in bytes, which may be anything */
	assert_true(limit <= memory / 100 * ratio);
	assert_true(limit >= memory / 10000);
}

static void test_page_cache_dirty_limit_in_bytes(void **state)
{
	const uint64_t background = number_in("/proc/sys/vm/dirty_background_bytes");
	const uint64_t bytes = number_in("/proc/sys/vm/dirty_bytes");

	(void)state;
	if (background == 0 || bytes == 0)
		skip();
	assert_int_equal(page_cache_dirty_limit(), background / 2 + bytes / 2);
}

static int forbid_cachestat(void **state)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_cachestat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	(void)state;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return -1;
	return has_cachestat() ? -1 : 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest by_cachestat[] = {
		TEST(test_page_cache_query_cached),	    TEST(test_page_cache_query_odd_range),
		TEST(test_page_cache_query_beyond_the_end), TEST(test_page_cache_query_nothing),
		TEST(test_page_cache_query_dropped),	    TEST(test_page_cache_query_half_cached),
		TEST(test_page_cache_query_long_range),	    TEST(test_page_cache_query_dirty),
		TEST(test_page_cache_query_refuses),	    TEST(test_page_cache_dirty_limit),
		TEST(test_page_cache_dirty_limit_in_bytes), TEST(test_page_cache_dirty_reads_once),
		TEST(test_page_cache_dirty_not_told),
	};
	const struct CMUnitTest by_mincore[] = {
		TEST(test_page_cache_query_cached),
		TEST(test_page_cache_query_odd_range),
		TEST(test_page_cache_query_beyond_the_end),
		TEST(test_page_cache_query_nothing),
		TEST(test_page_cache_query_dropped),
		TEST(test_page_cache_query_half_cached),
		TEST(test_page_cache_query_long_range),
		TEST(test_page_cache_query_mincore_has_no_dirty),
		TEST(test_page_cache_query_refuses),
	};
	int failed;

	test_begin(argc, argv);
	failed = cmocka_run_group_tests_name("page_cache", by_cachestat, NULL, NULL);
	failed += cmocka_run_group_tests_name("page_cache with mincore", by_mincore,
					      forbid_cachestat, NULL);
	return failed;
}
