/* SPDX-License-Identifier: MIT */
/*
 * test_reflink.c - what is cloned, in which pieces, and what the kernel's refusals mean.
 *
 * The rules are tested on a stand-in: this program is linked with --wrap=ioctl. One test clones on
 * the file system of the temporary directory, or sees it refused.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "support.h"

#include "arsync/base.h"
#include "reflink.h"

#define BLOCK 4096
#define CALLS_MAX 16
#define SRC_FD 1001
#define DST_FD 1002

/* The stand-in for the kernel. One test at a time, on one thread. */
static struct kernel {
	bool real;
	unsigned n_calls;
	struct file_clone_range calls[CALLS_MAX];
	int errors[CALLS_MAX]; /* positive errno for the n-th call; 0: it succeeds */
	bool bad_call;
	uint64_t dirty;	     /* of all files */
	unsigned stop_after; /* want_stop() says so from this call on */
} kernel;

int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument);

int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
	unsigned n = kernel.n_calls;

	if (kernel.real)
		return __real_ioctl(fd, request, argument);
	if (request != FICLONERANGE || fd != DST_FD || n == CALLS_MAX) {
		kernel.bad_call = true;
		errno = EINVAL;
		return -1;
	}
	kernel.calls[n] = *(struct file_clone_range *)argument;
	kernel.n_calls++;
	errno = kernel.errors[n];
	return kernel.errors[n] ? -1 : 0;
}

uint64_t __wrap_page_cache_dirty(void);

uint64_t __wrap_page_cache_dirty(void)
{
	return kernel.dirty;
}

static bool want_stop(void *userdata)
{
	assert_ptr_equal(userdata, &kernel);
	return kernel.n_calls >= kernel.stop_after;
}

static int setup(void **state)
{
	(void)state;
	kernel = (struct kernel){ .stop_after = UINT32_MAX, .dirty = GIB };
	return 0;
}

/* A range of a file of 1 TiB. */
static struct reflink range(uint64_t src_offset, uint64_t dst_offset, uint64_t length)
{
	return (struct reflink){
		.src_fd = SRC_FD,
		.dst_fd = DST_FD,
		.src_offset = src_offset,
		.dst_offset = dst_offset,
		.length = length,
		.src_size = 1024 * GIB,
		.block_size = BLOCK,
	};
}

static int clone(struct reflink reflink, uint64_t *ret_cloned)
{
	int r;

	*ret_cloned = 12345; /* it must be set, whatever comes */
	r = reflink_range(&reflink, want_stop, &kernel, ret_cloned);
	assert_false(kernel.bad_call);
	return r;
}

static void assert_call(unsigned n, uint64_t src_offset, uint64_t dst_offset, uint64_t length)
{
	assert_true(n < kernel.n_calls);
	assert_int_equal(kernel.calls[n].src_fd, SRC_FD);
	assert_int_equal(kernel.calls[n].src_offset, src_offset);
	assert_int_equal(kernel.calls[n].dest_offset, dst_offset);
	assert_int_equal(kernel.calls[n].src_length, length);
}

static void test_reflink_range_aligned(void **state)
{
	uint64_t cloned;

	(void)state;
	assert_int_equal(clone(range(BLOCK, 5 * BLOCK, 3 * BLOCK), &cloned), 0);
	assert_int_equal(cloned, 3 * BLOCK);
	assert_int_equal(kernel.n_calls, 1);
	assert_call(0, BLOCK, 5 * BLOCK, 3 * BLOCK);
}

static void test_reflink_range_unaligned_offsets(void **state)
{
	uint64_t cloned;

	(void)state;
	assert_int_equal(clone(range(1, 0, 10 * BLOCK), &cloned), 0);
	assert_int_equal(cloned, 0);
	assert_int_equal(clone(range(0, BLOCK + 512, 10 * BLOCK), &cloned), 0);
	assert_int_equal(cloned, 0);
	/* Both off by the same does not help: the blocks' edges count. */
	assert_int_equal(clone(range(512, 512, 10 * BLOCK), &cloned), 0);
	assert_int_equal(cloned, 0);
	assert_int_equal(kernel.n_calls, 0);
}

static void test_reflink_range_unaligned_end(void **state)
{
	struct reflink tail = range(2 * BLOCK, 0, 3 * BLOCK + 5);
	uint64_t cloned;

	(void)state;
	/* In the middle of the source: down to a block. */
	assert_int_equal(clone(tail, &cloned), 0);
	assert_int_equal(cloned, 3 * BLOCK);
	assert_call(0, 2 * BLOCK, 0, 3 * BLOCK);
	assert_int_equal(clone(range(0, 0, BLOCK - 1), &cloned), 0);
	assert_int_equal(cloned, 0);
	assert_int_equal(kernel.n_calls, 1);
	/* At the source's end: all. */
	tail.src_size = 5 * BLOCK + 5;
	assert_int_equal(clone(tail, &cloned), 0);
	assert_int_equal(cloned, 3 * BLOCK + 5);
	assert_call(1, 2 * BLOCK, 0, 3 * BLOCK + 5);
	/* One byte before it: not. */
	tail.src_size++;
	assert_int_equal(clone(tail, &cloned), 0);
	assert_int_equal(cloned, 3 * BLOCK);
}

static void test_reflink_range_in_pieces(void **state)
{
	uint64_t cloned, at = 0;

	(void)state;
	assert_int_equal(clone(range(BLOCK, 0, 100 * GIB), &cloned), 0);
	assert_int_equal(cloned, 100 * GIB);
	assert_true(kernel.n_calls > 1 && kernel.n_calls <= 8);
	for (unsigned i = 0; i < kernel.n_calls; i++) {
		assert_call(i, BLOCK + at, at, kernel.calls[i].src_length);
		/* 0 would mean "to the end" to the kernel */
		assert_true(kernel.calls[i].src_length > 0);
		at += kernel.calls[i].src_length;
	}
	assert_int_equal(at, 100 * GIB);
}

/* Nothing can have to be written back first: as much as can be cloned while nobody waits. */
static void test_reflink_range_clean(void **state)
{
	uint64_t cloned;

	(void)state;
	kernel.dirty = 15 * MIB;
	assert_int_equal(clone(range(0, 0, GIB), &cloned), 0);
	assert_int_equal(cloned, GIB);
	assert_int_equal(kernel.n_calls, 1);
	assert_int_equal(clone(range(0, 0, 2 * GIB), &cloned), 0);
	assert_int_equal(kernel.n_calls, 3);
	assert_call(1, 0, 0, GIB);
}

/* Behind the source's end a length that is no multiple of a block would cut the destination's data. */
static void test_reflink_range_unaligned_end_inside(void **state)
{
	struct reflink inside = range(0, 0, 10 * BLOCK + 5);
	uint64_t cloned;

	(void)state;
	inside.src_size = 10 * BLOCK + 5;
	inside.dst_size = 10 * BLOCK + 6;
	assert_int_equal(clone(inside, &cloned), 0);
	assert_int_equal(cloned, 10 * BLOCK);
	inside.dst_size--;
	assert_int_equal(clone(inside, &cloned), 0);
	assert_int_equal(cloned, 10 * BLOCK + 5);
}

static void test_reflink_range_stopped(void **state)
{
	uint64_t cloned;

	(void)state;
	kernel.stop_after = 2;
	assert_int_equal(clone(range(0, 0, 100 * GIB), &cloned), 0);
	assert_int_equal(kernel.n_calls, 2);
	assert_int_equal(cloned, kernel.calls[0].src_length + kernel.calls[1].src_length);
	kernel.stop_after = 0;
	assert_int_equal(clone(range(0, 0, 100 * GIB), &cloned), 0);
	assert_int_equal(cloned, 0);
	assert_int_equal(kernel.n_calls, 2);
}

static void test_reflink_range_interrupted(void **state)
{
	uint64_t cloned;

	(void)state;
	kernel.errors[0] = EINTR;
	kernel.errors[1] = EINTR;
	assert_int_equal(clone(range(0, 0, BLOCK), &cloned), 0);
	assert_int_equal(cloned, BLOCK);
	assert_int_equal(kernel.n_calls, 3);
	assert_call(2, 0, 0, BLOCK);
}

static void test_reflink_range_errors(void **state)
{
	static const struct {
		int error;
		int expected;
	} cases[] = {
		{ EOPNOTSUPP, -EOPNOTSUPP }, { EXDEV, -EOPNOTSUPP }, { ENOTTY, -EOPNOTSUPP },
		{ ENOSYS, -EOPNOTSUPP },     { EPERM, -EINVAL },     { EBADF, -EINVAL },
		{ ETXTBSY, -EINVAL },	     { EINVAL, -EINVAL },    { ENOSPC, -ENOSPC },
		{ EDQUOT, -EDQUOT },	     { EIO, -EIO },	     { EROFS, -EROFS },
		{ EFBIG, -EFBIG },
	};
	uint64_t cloned;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		(void)setup(state);
		kernel.errors[0] = cases[i].error;
		assert_int_equal(clone(range(0, 0, BLOCK), &cloned), cases[i].expected);
		assert_int_equal(cloned, 0);
		assert_int_equal(kernel.n_calls, 1);
	}
	/* After progress: what was cloned is told. */
	(void)setup(state);
	kernel.errors[1] = ENOSPC;
	assert_int_equal(clone(range(0, 0, 100 * GIB), &cloned), -ENOSPC);
	assert_int_equal(cloned, kernel.calls[0].src_length);
}

static int setup_dir(void **state)
{
	struct test_dir *dir = calloc(1, sizeof(*dir));

	(void)setup(state);
	kernel.real = true;
	if (!dir || test_dir_make(dir) < 0) {
		free(dir);
		return -1;
	}
	*state = dir;
	return 0;
}

static int teardown_dir(void **state)
{
	test_dir_remove(*state);
	free(*state);
	return 0;
}

static void test_reflink_range_for_real(void **state)
{
	struct test_dir *dir = *state;
	int src = test_dir_file(dir, false), dst = test_dir_file(dir, false);
	struct reflink reflink = {
		.src_fd = src,
		.dst_fd = dst,
		.length = 200 * KIB + 5,
		.src_size = 200 * KIB + 5,
	};
	struct statfs fs;
	uint64_t cloned;
	int r;

	assert_int_equal(fstatfs(dst, &fs), 0);
	reflink.block_size = (uint64_t)fs.f_bsize;
	test_write_pattern(src, 0, reflink.length, 1);
	r = clone(reflink, &cloned);
	if (r < 0) {
		/* This is how a file system without reflinks must be told. */
		assert_int_equal(r, -EOPNOTSUPP);
		assert_int_equal(cloned, 0);
		assert_int_equal(test_size(dst), 0);
		print_message("no reflinks in %s: only the refusal was tested\n", dir->path);
		return;
	}
	assert_int_equal(cloned, reflink.length);
	assert_int_equal(test_size(dst), reflink.length);
	assert_pattern(dst, 0, reflink.length, 1, 0);
	/* From then on they are apart. */
	test_write_pattern(src, 0, 10, 2);
	assert_pattern(dst, 0, 10, 1, 0);
}

static void test_reflink_range_not_on_tmpfs(void **state)
{
	struct test_dir *dir = *state;
	int src = test_dir_file(dir, true), dst = test_dir_file(dir, true);
	const struct reflink reflink = {
		.src_fd = src,
		.dst_fd = dst,
		.length = 2 * BLOCK,
		.src_size = 2 * BLOCK,
		.block_size = BLOCK,
	};
	uint64_t cloned;

	test_write_pattern(src, 0, 2 * BLOCK, 1);
	assert_int_equal(clone(reflink, &cloned), -EOPNOTSUPP);
	assert_int_equal(cloned, 0);
	assert_int_equal(test_size(dst), 0);
}

#define TEST(function) cmocka_unit_test_setup(function, setup)
#define TEST_DIR(function) cmocka_unit_test_setup_teardown(function, setup_dir, teardown_dir)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reflink_range_aligned),
		TEST(test_reflink_range_unaligned_offsets),
		TEST(test_reflink_range_unaligned_end),
		TEST(test_reflink_range_in_pieces),
		TEST(test_reflink_range_clean),
		TEST(test_reflink_range_unaligned_end_inside),
		TEST(test_reflink_range_stopped),
		TEST(test_reflink_range_interrupted),
		TEST(test_reflink_range_errors),
		TEST_DIR(test_reflink_range_for_real),
		TEST_DIR(test_reflink_range_not_on_tmpfs),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("reflink", tests, NULL, NULL);
}
