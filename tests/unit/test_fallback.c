/* SPDX-License-Identifier: MIT */
/*
 * test_fallback.c - the engine where io_uring is forbidden, as containers do: io_uring_setup(2) fails.
 *
 * A seccomp filter cannot be taken off again, so it is this program's own, for all of its tests.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "harness.h"

#include "arsync/base.h"

#define SRC 1

static unsigned warnings; /* atomic */

static void count_warning(void *userdata, enum log_level level, const char *message)
{
	(void)userdata;
	if (level == LOG_LEVEL_WARN && strstr(message, "io_uring"))
		__atomic_add_fetch(&warnings, 1, __ATOMIC_RELAXED);
}

static const struct log counting_log = { .level = LOG_LEVEL_WARN, .write = count_warning };

static int forbid_io_uring(void **state)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	(void)state;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static struct harness *harness_with_log(void **state)
{
	struct harness *h = *state;

	__atomic_store_n(&warnings, 0, __ATOMIC_RELAXED);
	h->options.log = &counting_log;
	return h;
}

static void test_fallback_auto_copies_with_one_warning(void **state)
{
	const uint64_t size = 100 * TEST_BLOCK + 7;
	struct harness *h = harness_with_log(state);
	int src = test_dir_file(&h->dir, false), dst = test_dir_file(&h->dir, false);
	const struct job_result *result;

	h->options.io = ENGINE_IO_AUTO;
	test_write_pattern(src, 0, size, SRC);
	result =
		harness_copy(h, (struct copy_spec){ .src_fd = src, .dst_fd = dst, .length = size });
	assert_int_equal(result->error, 0);
	assert_int_equal(result->bytes_by_way[COPY_WAY_SYNC], size);
	assert_pattern(dst, 0, size, SRC, 0);
	assert_string_equal(harness_stats(h).io, "sync");
	assert_int_equal(harness_stats(h).workers, 2); /* each has tried, one has said so */
	assert_int_equal(warnings, 1);
}

static void test_fallback_uring_is_refused(void **state)
{
	struct harness *h = harness_with_log(state);
	struct engine *engine;

	h->options.io = ENGINE_IO_URING;
	assert_int_equal(engine_new(&h->options, &engine), -EPERM);
}

static void test_fallback_sync_warns_of_nothing(void **state)
{
	struct harness *h = harness_with_log(state);
	int src = test_dir_file(&h->dir, false), dst = test_dir_file(&h->dir, false);

	test_write_pattern(src, 0, TEST_BLOCK, SRC);
	assert_int_equal(harness_copy(h, (struct copy_spec){ .src_fd = src,
							     .dst_fd = dst,
							     .length = TEST_BLOCK })
				 ->error,
			 0);
	assert_int_equal(warnings, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_WITH_METHOD(test_fallback_auto_copies_with_one_warning, "sync"),
		TEST_WITH_METHOD(test_fallback_uring_is_refused, "sync"),
		TEST_WITH_METHOD(test_fallback_sync_warns_of_nothing, "sync"),
	};

	return cmocka_run_group_tests_name("fallback", tests, forbid_io_uring, NULL);
}
