/* SPDX-License-Identifier: MIT */
/*
 * test_io.c - the io methods by themselves: one or many slots, driven event by event.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"
#include "io_method.h"

#define CHUNK (64 * 1024)
#define CHUNKS 4
#define SLOTS 400 /* more pairs than a ring has entries */
#define SMALL (CHUNK * CHUNKS / SLOTS)
#define SRC 1

struct fixture {
	const struct io_method *method;
	struct test_dir dir;
	struct io *io;
	struct cred_thread thread;
	struct chunk chunks[CHUNKS];
	struct io_slot slots[SLOTS];
	unsigned done; /* calls of done() */
	uint64_t enters;
	int src;
	int dst;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t *memory = calloc(CHUNKS, CHUNK);

	if (!f || !memory) {
		free(f);
		free(memory);
		return -1;
	}
	f->method = strcmp(*state, "sync") == 0 ? &io_sync_method : &io_ring_method;
	for (unsigned i = 0; i < CHUNKS; i++)
		f->chunks[i].memory = memory + (size_t)i * CHUNK;
	if (test_dir_make(&f->dir) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->io)
		f->method->close(f->io);
	free(f->thread.own_groups);
	test_dir_remove(&f->dir);
	free(f->chunks[0].memory);
	free(f);
	return 0;
}

/* Opens the method; skips the test where it is not to be had. */
static struct fixture *fixture_of(void **state)
{
	struct fixture *f = *state;
	struct io_params params = {
		.n_chunks = CHUNKS,
		.chunks = f->chunks,
		.chunk_size = CHUNK,
		.n_files = 4,
		.thread = &f->thread,
		.enters = &f->enters,
	};

	if (f->method == &io_ring_method && io_ring_probe() < 0)
		skip();
	params.wake_fd = test_dir_keep(&f->dir, eventfd(0, EFD_CLOEXEC));
	assert_int_equal(f->method->open(&params, &f->io), 0);
	f->src = test_dir_file(&f->dir, false);
	f->dst = test_dir_file(&f->dir, false);
	return f;
}

static void done(struct io_slot *slot)
{
	struct fixture *f = slot->owner;

	f->done++;
}

/* One slot that copies the front of src, as many bytes as a chunk has. */
static struct io_slot *queue_copy(struct fixture *f, int src_fd, int dst_fd)
{
	const struct slot_copy copy = {
		.src_fd = src_fd,
		.dst_fd = dst_fd,
		.src_fixed = -1,
		.dst_fixed = -1,
		.dst_offset = 10,
		.length = CHUNK,
		.buffer = f->chunks[1].memory,
		.chunk = &f->chunks[1],
		.done = done,
		.owner = f,
	};

	f->method->queue(f->io, &f->slots[0], slot_begin_copy(&f->slots[0], &copy));
	assert_int_equal(f->done, 0); /* nothing is reported from there */
	return &f->slots[0];
}

/* wait() until @n slots are done; a hang is the watchdog's. */
static void wait_done(struct fixture *f, unsigned n)
{
	while (f->done < n)
		f->method->wait(f->io);
	assert_int_equal(f->done, n);
}

static void wait_state(struct fixture *f, struct io_slot *slot, enum slot_state state)
{
	while (slot->state != state && slot->state != SLOT_DONE)
		f->method->wait(f->io);
	assert_int_equal(slot->state, state);
}

static void test_io_copy(void **state)
{
	struct fixture *f = fixture_of(state);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, 2 * CHUNK, SRC);
	slot = queue_copy(f, f->src, f->dst);
	wait_done(f, 1);
	assert_int_equal(slot->state, SLOT_DONE);
	assert_int_equal(slot->error, 0);
	assert_int_equal(slot->flushed, CHUNK);
	assert_int_equal(test_size(f->dst), 10 + CHUNK);
	assert_pattern(f->dst, 10, CHUNK, SRC, 0);
}

static void test_io_source_shorter(void **state)
{
	struct fixture *f = fixture_of(state);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, 5001, SRC);
	slot = queue_copy(f, f->src, f->dst);
	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_true(slot->eof);
	assert_int_equal(slot->flushed, 5001);
	/* What was in the buffer behind it did not get out. */
	assert_int_equal(test_size(f->dst), 10 + 5001);
	assert_pattern(f->dst, 10, 5001, SRC, 0);
}

static void test_io_source_empty(void **state)
{
	struct fixture *f = fixture_of(state);
	struct io_slot *slot = queue_copy(f, f->src, f->dst);

	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_true(slot->eof);
	assert_int_equal(slot->flushed, 0);
	assert_int_equal(test_size(f->dst), 0);
}

/* The source grows after a short read: the rest is read from where it stopped. */
static void test_io_source_grows(void **state)
{
	struct fixture *f = fixture_of(state);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, 5001, SRC);
	slot = queue_copy(f, f->src, f->dst);
	wait_state(f, slot, SLOT_WRITING);
	test_write_pattern(f->src, 5001, 2 * CHUNK, SRC);
	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_false(slot->eof);
	assert_int_equal(slot->flushed, CHUNK);
	assert_int_equal(test_size(f->dst), 10 + CHUNK);
	assert_pattern(f->dst, 10, CHUNK, SRC, 0);
}

static void test_io_write_short(void **state)
{
	struct fixture *f = fixture_of(state);
	struct rlimit old, limited;
	struct io_slot *slot;
	sigset_t set, old_set;

	test_write_pattern(f->src, 0, CHUNK, SRC);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limited = old;
	limited.rlim_cur = 20010;
	/* The methods run on this thread, which does not block the signal as workers do. */
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &old_set), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
	slot = queue_copy(f, f->src, f->dst);
	wait_state(f, slot, SLOT_WRITING);
	assert_int_equal(slot->flushed, 20000);
	/*
	 * Room again for the rest, which the ring has queued and not submitted: it must come from
	 * the right place of the buffer and go to the right one of the file. The sync method has
	 * tried already.
	 */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	wait_done(f, 1);
	(void)sigtimedwait(&set, NULL, &(struct timespec){ 0 }); /* takes it back */
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &old_set, NULL), 0);
	if (f->method == &io_ring_method) {
		assert_int_equal(slot->error, 0);
		assert_int_equal(slot->flushed, CHUNK);
	} else {
		assert_int_equal(slot->error, -EFBIG);
		assert_int_equal(slot->flushed, 20000);
	}
	assert_int_equal(test_size(f->dst), 10 + slot->flushed);
	assert_pattern(f->dst, 10, slot->flushed, SRC, 0);
}

static void test_io_errors(void **state)
{
	struct fixture *f = fixture_of(state);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, CHUNK, SRC);
	slot = queue_copy(f, -1, f->dst);
	wait_done(f, 1);
	assert_int_equal(slot->error, -EBADF);
	assert_int_equal(slot->flushed, 0);
	assert_int_equal(test_size(f->dst), 0);

	slot_release(slot);
	f->done = 0;
	slot = queue_copy(f, f->src, -1);
	wait_done(f, 1);
	assert_int_equal(slot->error, -EBADF);
	assert_int_equal(slot->flushed, 0);
}

static void test_io_fsync(void **state)
{
	struct fixture *f = fixture_of(state);
	int null = test_dir_keep(&f->dir, open("/dev/null", O_WRONLY | O_CLOEXEC));
	struct slot_fsync fsync = { .fd = f->dst, .done = done, .owner = f };

	f->method->queue(f->io, &f->slots[0], slot_begin_fsync(&f->slots[0], &fsync));
	fsync.fd = null; /* it has no fsync */
	f->method->queue(f->io, &f->slots[1], slot_begin_fsync(&f->slots[1], &fsync));
	wait_done(f, 2);
	assert_int_equal(f->slots[0].error, 0);
	assert_int_equal(f->slots[1].error, -EINVAL);
}

/*
 * More at once than there is room for in a ring, from pieces of shared buffers, each with its
 * place.
 */
static void test_io_many_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	const unsigned per_chunk = SLOTS / CHUNKS;

	test_write_pattern(f->src, 0, SLOTS * SMALL, SRC);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct chunk *chunk = &f->chunks[i / per_chunk];
		const struct slot_copy copy = {
			.src_fd = f->src,
			.dst_fd = f->dst,
			.src_fixed = -1,
			.dst_fixed = -1,
			.src_offset = (uint64_t)i * SMALL,
			.dst_offset = (uint64_t)(SLOTS - 1 - i) * SMALL,
			.length = SMALL,
			.buffer = chunk->memory + (size_t)(i % per_chunk) * SMALL,
			.chunk = chunk,
			.done = done,
			.owner = f,
		};

		f->method->queue(f->io, &f->slots[i], slot_begin_copy(&f->slots[i], &copy));
	}
	assert_int_equal(f->done, 0);
	/* Many operations a system call: as many as a ring has entries. */
	assert_true(f->enters <= 8);
	assert_int_equal(f->enters > 0, f->method == &io_ring_method);
	wait_done(f, SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(f->slots[i].error, 0);
		assert_int_equal(f->slots[i].flushed, SMALL);
		assert_pattern(f->dst, (uint64_t)(SLOTS - 1 - i) * SMALL, SMALL, SRC,
			       (uint64_t)i * SMALL);
	}
}

/* Registered files are used in place of the descriptors, and let go. */
static void test_io_registered_files(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = {
		.src_fd = -1, /* would fail if it were used */
		.dst_fd = -1,
		.src_fixed = 2,
		.dst_fixed = 3,
		.length = CHUNK,
		.buffer = f->chunks[0].memory,
		.chunk = &f->chunks[0],
		.done = done,
		.owner = f,
	};
	int r = f->method->register_files(f->io, 2, f->src, f->dst);

	if (f->method == &io_sync_method) {
		assert_int_equal(r, -EOPNOTSUPP);
		return;
	}
	if (r < 0)
		skip();
	test_write_pattern(f->src, 0, CHUNK, SRC);
	f->method->queue(f->io, &f->slots[0], slot_begin_copy(&f->slots[0], &copy));
	wait_done(f, 1);
	assert_int_equal(f->slots[0].error, 0);
	assert_pattern(f->dst, 0, CHUNK, SRC, 0);

	f->method->unregister_files(f->io, 2);
	f->method->queue(f->io, &f->slots[1], slot_begin_copy(&f->slots[1], &copy));
	wait_done(f, 2);
	assert_int_equal(f->slots[1].error, -EBADF);
}

struct waker {
	int fd;
	bool woken; /* atomic: since the last wait that came back */
	sem_t back;
};

static void *waker_main(void *argument)
{
	struct waker *waker = argument;
	const uint64_t one = 1;
	bool ok = true;

	for (unsigned i = 0; i < 3 && ok; i++) {
		test_sleep_ms(10);
		__atomic_store_n(&waker->woken, true, __ATOMIC_RELAXED);
		ok = write(waker->fd, &one, sizeof(one)) == sizeof(one) &&
		     test_sem_wait(&waker->back);
	}
	return ok ? waker : NULL;
}

/* An idle wait ends when the eventfd is written, again and again, and not by itself. */
static void test_io_wait_is_woken(void **state)
{
	struct fixture *f = fixture_of(state);
	struct waker waker = { .fd = f->dir.fds[0] }; /* the first file opened */
	unsigned early = 0;
	pthread_t thread;
	void *ok;

	assert_int_equal(sem_init(&waker.back, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, waker_main, &waker), 0);
	for (unsigned i = 0; i < 3; i++) {
		f->method->wait(f->io); /* a hang is the watchdog's */
		early += !__atomic_exchange_n(&waker.woken, false, __ATOMIC_RELAXED);
		sem_post(&waker.back);
	}
	pthread_join(thread, &ok);
	sem_destroy(&waker.back);
	assert_non_null(ok);
	assert_int_equal(early, 0);
}

#define TEST(function)                                                                             \
	{ #function " (uring)", function, setup, teardown, (void *)(uintptr_t) "uring" },          \
	{                                                                                          \
#function " (sync)", function, setup, teardown, (void *)(uintptr_t) "sync"         \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_io_copy),
		TEST(test_io_source_shorter),
		TEST(test_io_source_empty),
		TEST(test_io_source_grows),
		TEST(test_io_write_short),
		TEST(test_io_errors),
		TEST(test_io_fsync),
		TEST(test_io_many_at_once),
		TEST(test_io_registered_files),
		TEST(test_io_wait_is_woken),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
