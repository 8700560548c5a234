/* SPDX-License-Identifier: MIT */
/*
 * test_route.c - copies that the file system makes by itself, copies past the page cache, and copies
 * for which there is no space ahead: every case with both io methods.
 *
 * This program is linked with --wrap for what it makes fail. What a stand-in is not told to do it
 * leaves to the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"
#include "arsync/page_cache.h"

#define B TEST_BLOCK

/* The patterns of source and destination. */
#define SRC TEST_SRC
#define DST TEST_DST

/* Of several regions. */
#define SIZE (24 * MIB)
/* In a region that is neither the first nor the last, and in the middle of a block. */
#define ODD (9 * MIB + 12345)

#define NO_LIMIT UINT64_MAX

/* The stand-in for the kernel. Counters are atomic, the rest is set before the engine runs. */
static struct kernel {
	uint64_t offload_end;	/* copy_file_range(2) works up to this source offset, */
	int offload_error;	/* then it fails with this; 0: it answers 0 */
	size_t offload_most;	/* bytes it copies at once */
	unsigned offload_delay; /* ms a call */
	unsigned offload_calls;
	uint64_t space_end; /* fallocate(2) works up to this offset, */
	int space_error;    /* then it fails with this */
	unsigned space_calls;
	bool no_direct_open;
	bool no_direct_io;
	uint32_t fs_type; /* what fstatfs(2) says; 0: the truth */
	uint64_t dirty_limit;
} kernel;

ssize_t __real_copy_file_range(int src, loff_t *src_at, int dst, loff_t *dst_at, size_t length,
			       unsigned flags);
ssize_t __wrap_copy_file_range(int src, loff_t *src_at, int dst, loff_t *dst_at, size_t length,
			       unsigned flags);
int __real_fallocate64(int fd, int mode, off_t at, off_t length);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t length);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_pread64(int fd, void *buffer, size_t length, off_t at);
ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t at);
ssize_t __real_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags);
int __real_fstatfs64(int fd, struct statfs *ret);
int __wrap_fstatfs64(int fd, struct statfs *ret);
uint64_t __wrap_page_cache_dirty_limit(void);

ssize_t __wrap_copy_file_range(int src, loff_t *src_at, int dst, loff_t *dst_at, size_t length,
			       unsigned flags)
{
	uint64_t at = (uint64_t)*src_at;

	if (length == 0) /* whether it is a swap file, where there is swap */
		return __real_copy_file_range(src, src_at, dst, dst_at, length, flags);
	__atomic_add_fetch(&kernel.offload_calls, 1, __ATOMIC_RELAXED);
	if (kernel.offload_delay)
		test_sleep_ms(kernel.offload_delay);
	if (at >= kernel.offload_end) {
		errno = kernel.offload_error;
		return kernel.offload_error ? -1 : 0;
	}
	length = (size_t)MIN((uint64_t)length, kernel.offload_end - at);
	return __real_copy_file_range(src, src_at, dst, dst_at, MIN(length, kernel.offload_most),
				      flags);
}

int __wrap_fallocate64(int fd, int mode, off_t at, off_t length)
{
	if (mode != FALLOC_FL_KEEP_SIZE)
		return __real_fallocate64(fd, mode, at, length);
	__atomic_add_fetch(&kernel.space_calls, 1, __ATOMIC_RELAXED);
	if ((uint64_t)(at + length) <= kernel.space_end)
		return __real_fallocate64(fd, mode, at, length);
	errno = kernel.space_error;
	return -1;
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list arguments;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(arguments, flags);
		mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	if (!(flags & O_DIRECT) || !kernel.no_direct_open)
		return __real_open64(path, flags, mode);
	errno = EINVAL;
	return -1;
}

static bool is_refused(int fd)
{
	if (!kernel.no_direct_io || !(fcntl(fd, F_GETFL) & O_DIRECT))
		return false;
	errno = EINVAL;
	return true;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t at)
{
	return is_refused(fd) ? -1 : __real_pread64(fd, buffer, length, at);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags)
{
	return is_refused(fd) ? -1 : __real_pwritev64v2(fd, vector, n, at, flags);
}

int __wrap_fstatfs64(int fd, struct statfs *ret)
{
	int r = __real_fstatfs64(fd, ret);

	if (r == 0 && kernel.fs_type)
		ret->f_type = kernel.fs_type;
	return r;
}

uint64_t __wrap_page_cache_dirty_limit(void)
{
	return kernel.dirty_limit;
}

static int setup(void **state)
{
	kernel = (struct kernel){
		.offload_end = NO_LIMIT,
		.offload_most = SIZE_MAX,
		.space_end = NO_LIMIT,
		.dirty_limit = NO_LIMIT,
	};
	return harness_setup(state);
}

static enum copy_way byte_way(const struct harness *h)
{
	return h->options.io == ENGINE_IO_URING ? COPY_WAY_RING : COPY_WAY_SYNC;
}

static unsigned offload_calls(void)
{
	return __atomic_load_n(&kernel.offload_calls, __ATOMIC_RELAXED);
}

static const struct job_result *copy_all(struct harness *h, int src, int dst, uint64_t length)
{
	return harness_copy(h,
			    (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = length });
}

/* --- The file system copies by itself --------------------------------------------------------- */

/* offload=always; skips the test where the file system of the directory has no copy_file_range(2). */
static struct harness *offload_harness(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 1), dst = test_dir_file(&h->dir, false);
	loff_t from = 0, to = 0;

	if (__real_copy_file_range(src, &from, dst, &to, 1, 0) != 1) {
		print_message("no copy_file_range(2) here: %s\n", strerror(errno));
		skip();
	}
	h->options.offload = ENGINE_OFFLOAD_ALWAYS;
	return h;
}

/* offload=auto, on what looks like a network file system. */
static struct harness *network_harness(void **state)
{
	struct harness *h = offload_harness(state);

	h->options.offload = ENGINE_OFFLOAD_AUTO;
	kernel.fs_type = NFS_SUPER_MAGIC;
	return h;
}

static void test_offload_sizes(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 4095, B, B + 1, 37 * B + 4097, SIZE, SIZE + 1 };
	struct harness *h = offload_harness(state);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int src = harness_src(h, false, sizes[i]), dst = test_dir_file(&h->dir, false);
		const struct job_result *result = copy_all(h, src, dst, sizes[i]);

		assert_result(result, 0, sizes[i]);
		assert_int_equal(result->bytes_by_way[COPY_WAY_OFFLOAD], sizes[i]);
		assert_int_equal(ways_sum(result), sizes[i]);
		assert_int_equal(test_size(dst), sizes[i]);
		assert_pattern(dst, 0, sizes[i], SRC, 0);
	}
	assert_true(harness_stats(h).ways[COPY_WAY_OFFLOAD] > 0);
	assert_int_equal(harness_stats(h).bytes[byte_way(h)], 0);
}

static void test_offload_odd_offsets_into_the_middle(void **state)
{
	struct harness *h = offload_harness(state);
	const uint64_t length = SIZE - 2 * B;

	harness_check_range(h, B + 13, 3 * B + 7, length);
	assert_int_equal(harness_stats(h).bytes[COPY_WAY_OFFLOAD], length);
}

static void test_offload_keeps_holes(void **state)
{
	struct harness *h = offload_harness(state);
	int src = harness_src(h, false, 6 * MIB), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	test_punch(src, 2 * MIB, 2 * MIB);
	test_punch(src, 5 * MIB, MIB); /* the size comes from it */
	result = copy_all(h, src, dst, 6 * MIB);
	assert_result(result, 0, 6 * MIB);
	assert_int_equal(result->bytes_by_way[COPY_WAY_HOLE], 3 * MIB);
	assert_int_equal(result->bytes_by_way[COPY_WAY_OFFLOAD], 3 * MIB);
	assert_int_equal(test_size(dst), 6 * MIB);
	assert_pattern(dst, 0, 2 * MIB, SRC, 0);
	assert_zeros(dst, 2 * MIB, 2 * MIB);
	assert_pattern(dst, 4 * MIB, MIB, SRC, 4 * MIB);
	assert_zeros(dst, 5 * MIB, MIB);
}

static void test_offload_short_counts(void **state)
{
	struct harness *h = offload_harness(state);
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	kernel.offload_most = 54321;
	result = copy_all(h, src, dst, SIZE);
	assert_result(result, 0, SIZE);
	assert_int_equal(result->bytes_by_way[COPY_WAY_OFFLOAD], SIZE);
	assert_true(offload_calls() >= SIZE / 54321);
	assert_int_equal(test_size(dst), SIZE);
	assert_pattern(dst, 0, SIZE, SRC, 0);
}

static void test_offload_cancelled_in_the_middle(void **state)
{
	struct harness *h = offload_harness(state);
	int src = harness_src(h, false, SIZE);
	unsigned caught = 0;

	kernel.offload_most = MIB;
	kernel.offload_delay = 5;
	for (int attempt = 0; attempt < 10 && caught < 3; attempt++)
		caught += harness_cancel_once(
			h, (struct copy_spec){ .src_fd = src,
					       .dst_fd = test_dir_file(&h->dir, false),
					       .dst_offset = caught % 2 * (3 * B + 1),
					       .length = SIZE });
	assert_true(caught > 0);
	harness_assert_ended_once(h);
}

static void test_offload_answer_within(void **state)
{
	struct harness *h = offload_harness(state);
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);

	kernel.offload_most = 2 * MIB;
	kernel.offload_delay = 2;
	assert_true(harness_copy_in_answers(h, src, dst, SIZE) > 1); /* the limit was kept */
}

static void test_offload_source_truncated_meanwhile(void **state)
{
	struct harness *h = offload_harness(state);
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;
	struct run *run;

	kernel.offload_most = MIB;
	kernel.offload_delay = 10;
	run = harness_start(h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = SIZE });
	assert_true(harness_wait_progress(h, run));
	assert_int_equal(ftruncate(src, B), 0);
	result = harness_wait(h, run);
	assert_int_equal(result->error, 0);
	assert_true(result->bytes >= B && result->bytes < SIZE);
	assert_int_equal(test_size(dst), result->bytes);
	assert_pattern(dst, 0, result->bytes, SRC, 0);
}

/* What only means that the file system does not copy this by itself; 0: it answers so. */
static const int refusals[] = { EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, EPERM, ETXTBSY, 0 };
static const uint64_t refused_at[] = { 0, 4096, 4 * MIB, ODD, SIZE - 1 };

static void check_rest_is_read_and_written(struct harness *h, uint64_t at)
{
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	kernel.offload_end = at;
	result = copy_all(h, src, dst, SIZE);
	assert_result(result, 0, SIZE);
	assert_true(result->bytes_by_way[COPY_WAY_OFFLOAD] <= at);
	assert_true(at == 0 || result->bytes_by_way[COPY_WAY_OFFLOAD] > 0);
	assert_true(result->bytes_by_way[byte_way(h)] >= SIZE - at);
	assert_int_equal(ways_sum(result), SIZE);
	assert_int_equal(test_size(dst), SIZE);
	assert_pattern(dst, 0, SIZE, SRC, 0);
}

static void test_offload_refused_half_way(void **state)
{
	struct harness *h = network_harness(state);

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		kernel.offload_error = refusals[i];
		for (size_t k = 0; k < ARRAY_SIZE(refused_at); k++) {
			check_rest_is_read_and_written(h, refused_at[k]);
			harness_engine_free(h); /* it has learned that it need not ask */
		}
	}
}

static void test_offload_short_counts_then_refused(void **state)
{
	struct harness *h = network_harness(state);

	kernel.offload_most = 54321;
	kernel.offload_error = EXDEV;
	check_rest_is_read_and_written(h, ODD);
}

static void test_offload_refused_into_the_middle(void **state)
{
	struct harness *h = network_harness(state);

	kernel.offload_error = EOPNOTSUPP;
	kernel.offload_end = ODD;
	harness_check_range(h, 5, 3 * B + 7, SIZE - 100);
}

static void test_offload_refusal_is_remembered(void **state)
{
	struct harness *h = network_harness(state);
	unsigned calls;

	kernel.offload_error = EXDEV;
	check_rest_is_read_and_written(h, 0);
	calls = offload_calls();
	assert_true(calls > 0);
	check_rest_is_read_and_written(h, 0);
	assert_int_equal(offload_calls(), calls);
}

/* Refused for one file is not refused for the next. */
static void test_offload_refusal_for_one_file(void **state)
{
	static const int errors[] = { ETXTBSY, EPERM, EINVAL };
	struct harness *h = network_harness(state);
	uint64_t before;

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);

		kernel.offload_error = errors[i];
		kernel.offload_end = 0;
		assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
		before = harness_stats(h).bytes[COPY_WAY_OFFLOAD];
		kernel.offload_end = NO_LIMIT;
		assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
		assert_int_equal(harness_stats(h).bytes[COPY_WAY_OFFLOAD], before + SIZE);
		assert_pattern(dst, 0, SIZE, SRC, 0);
	}
}

static void test_offload_auto_only_where_a_server_copies(void **state)
{
	struct harness *h = network_harness(state);
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);

	assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
	assert_int_equal(harness_stats(h).bytes[COPY_WAY_OFFLOAD], SIZE);
	harness_engine_free(h);

	kernel.fs_type = EXT4_SUPER_MAGIC;
	assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
	assert_int_equal(harness_stats(h).bytes[COPY_WAY_OFFLOAD], 0);
	harness_engine_free(h);

	kernel.fs_type = NFS_SUPER_MAGIC;
	h->options.offload = ENGINE_OFFLOAD_NEVER;
	assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
	assert_int_equal(harness_stats(h).bytes[COPY_WAY_OFFLOAD], 0);
	assert_pattern(dst, 0, SIZE, SRC, 0);
}

/* What is answered when the file system fails at kernel::offload_end with @error. */
static void check_prefix_is_answered(struct harness *h, int error)
{
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);
	const uint64_t end = kernel.offload_end;

	assert_result(copy_all(h, src, dst, SIZE), end > 0 ? 0 : error, end);
	assert_int_equal(harness_stats(h).bytes[byte_way(h)], 0);
	assert_int_equal(test_size(dst), end);
	assert_pattern(dst, 0, end, SRC, 0);
}

static void test_offload_error_answers_the_prefix(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT, EFBIG, ENOMEM };
	struct harness *h = network_harness(state);

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		kernel.offload_error = errors[i];
		for (size_t k = 0; k < ARRAY_SIZE(refused_at); k++) {
			kernel.offload_end = refused_at[k];
			check_prefix_is_answered(h, -errors[i]);
		}
	}
}

static void test_offload_always_refused_is_an_error(void **state)
{
	struct harness *h = offload_harness(state);

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		kernel.offload_error = refusals[i];
		for (size_t k = 0; k < ARRAY_SIZE(refused_at); k++) {
			kernel.offload_end = refused_at[k];
			check_prefix_is_answered(h, refusals[i] ? -refusals[i] : -EOPNOTSUPP);
		}
	}
}

/* --- Past the page cache ---------------------------------------------------------------------- */

/* Whether files of the directory can be opened for direct I/O at all. */
static bool has_direct(const struct harness *h, int fd)
{
	char path[32];
	int direct;

	(void)h;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	close_keep_errno(direct);
	return direct >= 0;
}

static void check_odd_ranges(struct harness *h)
{
	static const uint64_t offsets[] = { 0, 512, 4096, B + 4096, MIB + 1 };
	static const uint64_t lengths[] = { 1,	   511,	  4095,	   4096,	  4097,
					    B - 1, B + 1, 3 * MIB, 3 * MIB + 4097 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		for (size_t k = 0; k < ARRAY_SIZE(offsets); k++) {
			harness_check_range(h, offsets[k], offsets[k], lengths[i]);
			harness_check_range(h, offsets[k], 4096, lengths[i]);
			harness_check_range(h, 4096, offsets[k], lengths[i]);
		}
}

static void test_direct_always_odd_ranges(void **state)
{
	struct harness *h = harness_of(state);

	h->options.direct = ENGINE_DIRECT_ALWAYS;
	check_odd_ranges(h);
}

static void test_direct_always_passes_by_the_cache(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, SIZE + 12345), dst = test_dir_file(&h->dir, false);

	if (!has_direct(h, src))
		skip();
	h->options.direct = ENGINE_DIRECT_ALWAYS;
	assert_result(copy_all(h, src, dst, SIZE + 12345), 0, SIZE + 12345);
	assert_int_equal(harness_stats(h).direct_reads, SIZE + 12288); /* all but the odd end */
	assert_int_equal(harness_stats(h).direct_writes, SIZE + 12288);
	assert_int_equal(test_size(dst), SIZE + 12345);
	assert_pattern(dst, 0, SIZE + 12345, SRC, 0);
}

static void test_direct_refused_at_open(void **state)
{
	struct harness *h = harness_of(state);

	h->options.direct = ENGINE_DIRECT_ALWAYS;
	kernel.no_direct_open = true;
	check_odd_ranges(h);
	assert_int_equal(harness_stats(h).direct_reads, 0);
	assert_int_equal(harness_stats(h).direct_writes, 0);
}

/* By every read and write; only system calls can be wrapped, so with one method. */
static void test_direct_refused_by_reads_and_writes(void **state)
{
	struct harness *h = harness_of(state);

	h->options.direct = ENGINE_DIRECT_ALWAYS;
	kernel.no_direct_io = true;
	check_odd_ranges(h);
	harness_check_range(h, 0, 0, SIZE);
	assert_int_equal(harness_stats(h).direct_reads, 0);
	assert_int_equal(harness_stats(h).direct_writes, 0);
}

/* Takes [0, length) of @fd out of the page cache; skips the test where that cannot be. */
static void drop(struct harness *h, int fd, uint64_t length)
{
	struct page_cache_range range;
	struct statfs fs;

	assert_int_equal(__real_fstatfs64(h->dir.fd, &fs), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, (off_t)length, POSIX_FADV_DONTNEED), 0);
	if (fs.f_type == TMPFS_MAGIC || !has_direct(h, fd) ||
	    page_cache_query(fd, 0, length, &range) < 0 || range.cached > 0) {
		print_message("nothing can be taken out of the page cache here\n");
		skip();
	}
}

static void test_direct_auto_reads_what_is_not_cached(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, SIZE + 1), dst = test_dir_file(&h->dir, false);
	uint64_t reads;

	assert_result(copy_all(h, src, dst, SIZE + 1), 0, SIZE + 1); /* cached */
	assert_int_equal(harness_stats(h).direct_reads, 0);
	drop(h, src, SIZE + 1);
	assert_result(copy_all(h, src, dst, SIZE + 1), 0, SIZE + 1);
	reads = harness_stats(h).direct_reads;
	assert_true(reads > 0 && reads <= SIZE);
	assert_int_equal(harness_stats(h).direct_writes, 0);
	assert_int_equal(test_size(dst), SIZE + 1);
	assert_pattern(dst, 0, SIZE + 1, SRC, 0);
}

static void test_direct_auto_half_cached(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, 2 * SIZE), dst = test_dir_file(&h->dir, false);
	uint64_t reads;

	drop(h, src, SIZE);
	assert_result(copy_all(h, src, dst, 2 * SIZE), 0, 2 * SIZE);
	reads = harness_stats(h).direct_reads;
	assert_true(reads > 0 && reads < 2 * SIZE);
	assert_pattern(dst, 0, 2 * SIZE, SRC, 0);
}

static void test_direct_never(void **state)
{
	struct harness *h = harness_of(state);
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);

	h->options.direct = ENGINE_DIRECT_NEVER;
	kernel.dirty_limit = MIB;
	drop(h, src, SIZE);
	assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
	assert_int_equal(harness_stats(h).direct_reads, 0);
	assert_int_equal(harness_stats(h).direct_writes, 0);
	assert_int_equal(harness_stats(h).uncached_writes, 0);
	assert_pattern(dst, 0, SIZE, SRC, 0);
}

/* Larger than memory may hold dirty. Kernels and file systems that refuse it get plain writes. */
static void test_uncached_writes(void **state)
{
	struct harness *h = harness_of(state);
	const uint64_t size = 300 * MIB;
	int src = harness_src(h, false, 8 * MIB + 5), dst = test_dir_file(&h->dir, false);
	uint64_t writes;

	assert_int_equal(ftruncate(src, (off_t)size), 0);
	kernel.dirty_limit = MIB;
	assert_result(copy_all(h, src, dst, size), 0, size);
	writes = harness_stats(h).uncached_writes;
	assert_true(writes == 0 || writes >= 8 * MIB + 5);
	assert_int_equal(test_size(dst), size);
	assert_pattern(dst, 0, 8 * MIB + 5, SRC, 0);
	assert_zeros(dst, 8 * MIB + 5, MIB);
}

/* --- No space ahead --------------------------------------------------------------------------- */

/* One region of one block at a time, and all of them right. */
static void check_tight(struct harness *h, uint64_t end, int error, uint64_t dst_size)
{
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);
	uint64_t pieces = harness_stats(h).ways[byte_way(h)];

	assert_int_equal(ftruncate(dst, (off_t)dst_size), 0);
	kernel.space_end = end;
	kernel.space_error = error;
	kernel.space_calls = 0;
	assert_result(copy_all(h, src, dst, SIZE), 0, SIZE);
	assert_true(kernel.space_calls > 0);
	assert_int_equal(test_size(dst), MAX(dst_size, SIZE));
	assert_pattern(dst, 0, SIZE, SRC, 0);
	if (dst_size > SIZE)
		assert_zeros(dst, SIZE, dst_size - SIZE);
	pieces = harness_stats(h).ways[byte_way(h)] - pieces;
	if (error == ENOSPC || error == EDQUOT)
		assert_true(pieces >= (SIZE - MIN(end, SIZE)) / B);
	else
		assert_int_equal(kernel.space_calls, 1); /* and not asked for again */
}

static void test_no_space_ahead_of_growth(void **state)
{
	struct harness *h = harness_of(state);

	kernel.fs_type = EXT4_SUPER_MAGIC; /* which is asked for space */
	check_tight(h, 0, ENOSPC, 0);
	check_tight(h, 8 * MIB, ENOSPC, 0);
	check_tight(h, 8 * MIB, EDQUOT, 0);
	check_tight(h, 0, EOPNOTSUPP, 0);
}

static void test_no_space_ahead_in_holes(void **state)
{
	struct harness *h = harness_of(state);

	check_tight(h, 0, ENOSPC, 2 * SIZE);
	check_tight(h, 8 * MIB, ENOSPC, SIZE);
	check_tight(h, 8 * MIB, EDQUOT, 2 * SIZE);
	check_tight(h, 0, EOPNOTSUPP, SIZE);
}

static void test_no_space_ahead_odd_range(void **state)
{
	struct harness *h = harness_of(state);
	const uint64_t from = 777, to = 3 * B + 5, length = SIZE - 1000;
	int src = harness_src(h, false, SIZE), dst = test_dir_file(&h->dir, false);

	assert_int_equal(ftruncate(dst, (off_t)(2 * SIZE)), 0);
	kernel.space_end = 0;
	kernel.space_error = ENOSPC;
	assert_result(harness_copy(h, (struct copy_spec){ .src_fd = src,
							  .dst_fd = dst,
							  .src_offset = from,
							  .dst_offset = to,
							  .length = length }),
		      0, length);
	assert_zeros(dst, 0, to);
	assert_pattern(dst, to, length, SRC, from);
	assert_zeros(dst, to + length, 2 * SIZE - to - length);
}

#define TEST_ROUTE_WITH(function, method)                                                          \
	{                                                                                          \
#function " (" method ")", function, setup, harness_teardown,                      \
			(void *)(uintptr_t)method                                                  \
	}
#define TEST_ROUTE(function) TEST_ROUTE_WITH(function, "uring"), TEST_ROUTE_WITH(function, "sync")

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_ROUTE(test_offload_sizes),
		TEST_ROUTE(test_offload_odd_offsets_into_the_middle),
		TEST_ROUTE(test_offload_keeps_holes),
		TEST_ROUTE(test_offload_short_counts),
		TEST_ROUTE(test_offload_cancelled_in_the_middle),
		TEST_ROUTE(test_offload_answer_within),
		TEST_ROUTE(test_offload_source_truncated_meanwhile),
		TEST_ROUTE(test_offload_refused_half_way),
		TEST_ROUTE(test_offload_short_counts_then_refused),
		TEST_ROUTE(test_offload_refused_into_the_middle),
		TEST_ROUTE(test_offload_refusal_is_remembered),
		TEST_ROUTE(test_offload_refusal_for_one_file),
		TEST_ROUTE(test_offload_auto_only_where_a_server_copies),
		TEST_ROUTE(test_offload_error_answers_the_prefix),
		TEST_ROUTE(test_offload_always_refused_is_an_error),
		TEST_ROUTE(test_direct_always_odd_ranges),
		TEST_ROUTE(test_direct_always_passes_by_the_cache),
		TEST_ROUTE(test_direct_refused_at_open),
		TEST_ROUTE_WITH(test_direct_refused_by_reads_and_writes, "sync"),
		TEST_ROUTE(test_direct_auto_reads_what_is_not_cached),
		TEST_ROUTE(test_direct_auto_half_cached),
		TEST_ROUTE(test_direct_never),
		TEST_ROUTE(test_uncached_writes),
		TEST_ROUTE(test_no_space_ahead_of_growth),
		TEST_ROUTE(test_no_space_ahead_in_holes),
		TEST_ROUTE(test_no_space_ahead_odd_range),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
