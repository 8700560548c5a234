/* SPDX-License-Identifier: MIT */
/*
 * test_io.c - the io methods by themselves: one or many slots, driven event by event.
 *
 * It is linked with --wrap for what makes the kernel, or a server, cancel requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "harness.h"

#include "arsync/base.h"
#include "arsync/page_cache.h"
#include "io_method.h"

#define PAGE 4096
#define BLOCK (16 * 1024)
#define CHUNK (64 * 1024)
#define CHUNKS 4
#define SLOTS 400 /* more pairs than a ring has entries */
#define SMALL (CHUNK * CHUNKS / SLOTS)
#define SRC 1
#define SRC_AT 4321 /* where a copy begins */
#define DST_AT 10
#define UNLIMITED UINT32_MAX
#define FUSE_TYPE 0x65735546 /* FUSE_SUPER_MAGIC; older headers lack it */

struct fixture {
	const struct io_method *method;
	struct test_dir dir;
	struct io *io;
	struct cred_thread thread;
	struct chunk chunks[CHUNKS];
	struct io_slot slots[SLOTS];
	unsigned done;	       /* calls of done() */
	unsigned dones[SLOTS]; /* of them for each slot */
	uint64_t enters;
	int wake_fd;
	int src;
	int dst;
	bool limited; /* by limit_size() */
	struct rlimit old_limit;
	sigset_t old_mask;
	void *map; /* by map_source() */
	size_t map_length;
};

/* Set while nothing is in flight. */
static struct {
	struct fixture *fixture; /* errors from the ring become ECANCELED, once this is mended: */
	void (*mend)(struct fixture *f);
	bool cancels_syncs; /* and so does the 0 of an fsync, or of a flush */
	unsigned cancelled;
	bool write_fails; /* pwritev2() with ECANCELED */
	uint32_t fs_type; /* what fstatfs(2) says; 0: the truth */
} faults;

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
ssize_t __real_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags);
int __real_fstatfs64(int fd, struct statfs *ret);
int __wrap_fstatfs64(int fd, struct statfs *ret);

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
	int r = __real_io_uring_submit_and_wait(ring, n);
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(ring, head, cqe) {
		if (!faults.fixture || cqe->res > 0 || (cqe->res == 0 && !faults.cancels_syncs))
			continue;
		cqe->res = -ECANCELED;
		faults.cancelled++;
		if (faults.mend)
			faults.mend(faults.fixture);
	}
	return r;
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *vector, int n, off_t at, int flags)
{
	if (!faults.write_fails)
		return __real_pwritev64v2(fd, vector, n, at, flags);
	errno = ECANCELED;
	return -1;
}

int __wrap_fstatfs64(int fd, struct statfs *ret)
{
	int r = __real_fstatfs64(fd, ret);

	if (r == 0 && faults.fs_type)
		ret->f_type = faults.fs_type;
	return r;
}

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(SLOT_ALIGNMENT, sizeof(*f));
	uint8_t *memory = aligned_alloc(PAGE, (size_t)CHUNKS * CHUNK);

	if (!f || !memory) {
		free(f);
		free(memory);
		return -1;
	}
	memset(f, 0, sizeof(*f));
	memset(memory, 0, (size_t)CHUNKS * CHUNK);
	f->method = strcmp(*state, "sync") == 0 ? &io_sync_method : &io_ring_method;
	for (unsigned i = 0; i < CHUNKS; i++)
		f->chunks[i].memory = memory + (size_t)i * CHUNK;
	if (test_dir_make(&f->dir) < 0)
		return -1;
	*state = f;
	return 0;
}

/* Files of this process cannot grow beyond @size, until unlimit_size(). */
static void limit_size(struct fixture *f, uint64_t size)
{
	struct rlimit limited;
	sigset_t set;

	/* The methods run on this thread, which does not block the signal as workers do. */
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &f->old_limit), 0);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &f->old_mask), 0);
	f->limited = true;
	limited = f->old_limit;
	limited.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
}

static void unlimit_size(struct fixture *f)
{
	sigset_t set;

	if (!f->limited)
		return;
	f->limited = false;
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	(void)setrlimit(RLIMIT_FSIZE, &f->old_limit);
	(void)sigtimedwait(&set, NULL, &(struct timespec){ 0 }); /* takes it back */
	(void)pthread_sigmask(SIG_SETMASK, &f->old_mask, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memset(&faults, 0, sizeof(faults));
	unlimit_size(f);
	if (f->map)
		(void)munmap(f->map, f->map_length);
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
		.n_slots = SLOTS,
		.n_files = 4,
		.thread = &f->thread,
		.enters = &f->enters,
	};

	if (f->method == &io_ring_method && io_ring_probe() < 0)
		skip();
	f->wake_fd = test_dir_keep(&f->dir, eventfd(0, EFD_CLOEXEC));
	params.wake_fd = f->wake_fd;
	assert_int_equal(f->method->open(&params, &f->io), 0);
	f->src = test_dir_file(&f->dir, false);
	f->dst = test_dir_file(&f->dir, false);
	return f;
}

static void done(struct io_slot *slot)
{
	struct fixture *f = slot->owner;

	assert_int_equal(slot->state, SLOT_DONE);
	f->done++;
	f->dones[slot - f->slots]++;
}

/* A copy of the front of src, as many bytes as a chunk has, in one block; tests change it. */
static struct slot_copy copy_of(struct fixture *f)
{
	return (struct slot_copy){
		.src_fd = f->src,
		.dst_fd = f->dst,
		.direct_src_fd = -1,
		.direct_dst_fd = -1,
		.src_fixed = -1,
		.dst_fixed = -1,
		.dst_offset = DST_AT,
		.length = CHUNK,
		.block_size = CHUNK,
		.buffer = f->chunks[1].memory,
		.chunk = &f->chunks[1],
		.done = done,
		.owner = f,
	};
}

/* The first slot performs it. */
static struct io_slot *queue_copy(struct fixture *f, const struct slot_copy *copy)
{
	struct io_slot *slot = &f->slots[0];

	if (slot->state == SLOT_DONE)
		slot_release(slot);
	f->done = 0;
	f->dones[0] = 0;
	f->method->queue(f->io, slot, slot_begin_copy(slot, copy));
	assert_int_equal(f->done, 0); /* nothing is reported from there */
	return slot;
}

/* wait() until the first @n slots are done, each once; a hang is the watchdog's. */
static void wait_done(struct fixture *f, unsigned n)
{
	const uint64_t one = 1;

	while (f->done < n)
		f->method->wait(f->io);
	/* Nothing more comes. */
	assert_int_equal(write(f->wake_fd, &one, sizeof(one)), sizeof(one));
	f->method->wait(f->io);
	assert_int_equal(f->done, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(f->dones[i], 1);
}

static void wait_state(struct fixture *f, struct io_slot *slot, enum slot_state state)
{
	while (slot->state != state && slot->state != SLOT_DONE)
		f->method->wait(f->io);
	assert_int_equal(slot->state, state);
}

/* What has come of a copy of @copy, of which @copied bytes are to be there, and nothing else. */
static void check_copy(struct fixture *f, const struct slot_copy *copy, uint32_t copied)
{
	assert_int_equal(f->slots[0].state, SLOT_DONE);
	assert_int_equal(f->slots[0].copied, copied);
	/* What was in the buffer behind it did not get out. */
	assert_int_equal(test_size(f->dst), copied > 0 ? copy->dst_offset + copied : 0);
	assert_pattern(f->dst, copy->dst_offset, copied, SRC, copy->src_offset);
}

static void test_io_copy(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = copy_of(f);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, 2 * CHUNK, SRC);
	slot = queue_copy(f, &copy);
	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_false(slot->eof);
	check_copy(f, &copy, CHUNK);
}

static void test_io_source_shorter(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = copy_of(f);
	struct io_slot *slot;

	test_write_pattern(f->src, 0, 5001, SRC);
	slot = queue_copy(f, &copy);
	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_true(slot->eof);
	check_copy(f, &copy, 5001);
}

static void test_io_source_empty(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = copy_of(f);
	struct io_slot *slot = queue_copy(f, &copy);

	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	assert_true(slot->eof);
	check_copy(f, &copy, 0);
}

/* Copies of several blocks through a buffer of one. */
static const struct {
	const char *name;
	uint32_t length;
	uint32_t src_length; /* from SRC_AT on */
	uint32_t limit;	     /* how much of the copy the destination takes */
	uint32_t copied;     /* expected, and so on */
	int error;
	bool eof;
} chains[] = {
	{ "two blocks", 2 * BLOCK, 3 * BLOCK, UNLIMITED, 2 * BLOCK, 0, false },
	{ "whole blocks", 4 * BLOCK, 4 * BLOCK, UNLIMITED, 4 * BLOCK, 0, false },
	{ "the last one shorter", 3 * BLOCK + 777, 4 * BLOCK, UNLIMITED, 3 * BLOCK + 777, 0,
	  false },
	{ "the last one a byte", 3 * BLOCK + 1, 4 * BLOCK, UNLIMITED, 3 * BLOCK + 1, 0, false },
	{ "as many as there can be", SLOT_BLOCKS_MAX *BLOCK, SLOT_BLOCKS_MAX *BLOCK, UNLIMITED,
	  SLOT_BLOCKS_MAX *BLOCK, 0, false },

	{ "empty source", 4 * BLOCK, 0, UNLIMITED, 0, 0, true },
	{ "source ends within the first block", 4 * BLOCK, 5001, UNLIMITED, 5001, 0, true },
	{ "source ends within a middle block", 4 * BLOCK, BLOCK + 5001, UNLIMITED, BLOCK + 5001, 0,
	  true },
	{ "source ends a byte into a middle block", 4 * BLOCK, 2 * BLOCK + 1, UNLIMITED,
	  2 * BLOCK + 1, 0, true },
	{ "source ends between blocks", 4 * BLOCK, 2 * BLOCK, UNLIMITED, 2 * BLOCK, 0, true },
	{ "source ends within the last block", 3 * BLOCK + 777, 3 * BLOCK + 776, UNLIMITED,
	  3 * BLOCK + 776, 0, true },
	{ "source ends before the last block", 3 * BLOCK + 777, 3 * BLOCK, UNLIMITED, 3 * BLOCK, 0,
	  true },
	{ "source ends in the middle of as many as there can be", SLOT_BLOCKS_MAX *BLOCK,
	  SLOT_BLOCKS_MAX / 2 * BLOCK + 1, UNLIMITED, SLOT_BLOCKS_MAX / 2 * BLOCK + 1, 0, true },

	{ "destination takes nothing", 4 * BLOCK, 4 * BLOCK, 0, 0, -EFBIG, false },
	{ "destination ends within the first block", 4 * BLOCK, 4 * BLOCK, 5001, 5001, -EFBIG,
	  false },
	{ "destination ends between blocks", 4 * BLOCK, 4 * BLOCK, 2 * BLOCK, 2 * BLOCK, -EFBIG,
	  false },
	{ "destination ends within a middle block", 4 * BLOCK, 4 * BLOCK, BLOCK + 5001,
	  BLOCK + 5001, -EFBIG, false },
	{ "destination ends before the last block", 3 * BLOCK + 777, 4 * BLOCK, 3 * BLOCK,
	  3 * BLOCK, -EFBIG, false },
	{ "destination ends within the last block", 3 * BLOCK + 777, 4 * BLOCK, 3 * BLOCK + 776,
	  3 * BLOCK + 776, -EFBIG, false },
	{ "destination takes just that", 3 * BLOCK + 777, 4 * BLOCK, 3 * BLOCK + 777,
	  3 * BLOCK + 777, 0, false },
	{ "destination ends in the middle of as many as there can be", SLOT_BLOCKS_MAX *BLOCK,
	  SLOT_BLOCKS_MAX *BLOCK, SLOT_BLOCKS_MAX / 2 * BLOCK + 1, SLOT_BLOCKS_MAX / 2 * BLOCK + 1,
	  -EFBIG, false },

	{ "source ends first", 4 * BLOCK, BLOCK + 5001, 2 * BLOCK, BLOCK + 5001, 0, true },
	{ "destination ends first", 4 * BLOCK, 2 * BLOCK + 5001, BLOCK + 5001, BLOCK + 5001, -EFBIG,
	  false },
	/* The short read is written, shorter still. */
	{ "both end within one block, the destination first", 4 * BLOCK, BLOCK + 5001, BLOCK + 5000,
	  BLOCK + 5000, -EFBIG, false },
	{ "both end together", 4 * BLOCK, BLOCK + 5001, BLOCK + 5001, BLOCK + 5001, 0, true },
};

/* A copy of several blocks, through a buffer in the middle of a chunk. */
static struct slot_copy chain_of(struct fixture *f, uint32_t length)
{
	struct slot_copy copy = copy_of(f);

	copy.src_offset = SRC_AT;
	copy.length = length;
	copy.block_size = BLOCK;
	copy.buffer = f->chunks[1].memory + BLOCK;
	return copy;
}

/* Empties both files and fills the source anew. */
static void renew_files(struct fixture *f, uint64_t src_length)
{
	assert_int_equal(ftruncate(f->src, 0), 0);
	assert_int_equal(ftruncate(f->dst, 0), 0);
	test_write_pattern(f->src, 0, src_length, SRC);
}

static void test_io_chain(void **state)
{
	struct fixture *f = fixture_of(state);
	uint8_t *memory = f->chunks[1].memory;

	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		struct slot_copy copy = chain_of(f, chains[i].length);
		struct io_slot *slot;

		print_message("  %s\n", chains[i].name);
		renew_files(f, SRC_AT + chains[i].src_length);
		memset(memory, 0x5a, CHUNK);
		if (chains[i].limit != UNLIMITED)
			limit_size(f, DST_AT + chains[i].limit);
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		unlimit_size(f);
		assert_int_equal(slot->error, chains[i].error);
		assert_int_equal(slot->eof, chains[i].eof);
		check_copy(f, &copy, chains[i].copied);
		/* No other part of the chunk was used. */
		for (unsigned k = 0; k < CHUNK; k++)
			if (k < BLOCK || k >= 2 * BLOCK)
				assert_int_equal(memory[k], 0x5a);
	}
}

/* The source grows after a short read: the rest is read from where it stopped. */
static void test_io_source_grows(void **state)
{
	struct fixture *f = fixture_of(state);
	static const uint32_t lengths[] = {
		5001,
		BLOCK + 5001,
		2 * BLOCK + 1,
		3 * BLOCK + 776,
	};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);
		struct io_slot *slot;

		print_message("  from %u on\n", lengths[i]);
		renew_files(f, SRC_AT + lengths[i]);
		slot = queue_copy(f, &copy);
		wait_state(f, slot, SLOT_WRITING);
		assert_int_equal(slot->copied, lengths[i] / BLOCK * BLOCK);
		test_write_pattern(f->src, SRC_AT + lengths[i], 4 * BLOCK, SRC);
		wait_done(f, 1);
		assert_int_equal(slot->error, 0);
		assert_false(slot->eof);
		check_copy(f, &copy, copy.length);
	}
}

/*
 * There is room again for the rest of a short write, which the ring has queued and not submitted:
 * it must come from the right place of the buffer and go to the right one of the file, and the
 * blocks behind it after it. The sync method has tried already.
 */
static void test_io_write_short(void **state)
{
	struct fixture *f = fixture_of(state);
	static const uint32_t limits[] = { 1, 5000, BLOCK + 5001, 3 * BLOCK - 1, 3 * BLOCK + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);
		struct io_slot *slot;

		print_message("  at %u\n", limits[i]);
		renew_files(f, SRC_AT + copy.length);
		limit_size(f, DST_AT + limits[i]);
		slot = queue_copy(f, &copy);
		wait_state(f, slot, SLOT_WRITING);
		assert_int_equal(slot->copied, limits[i]);
		unlimit_size(f);
		wait_done(f, 1);
		if (f->method == &io_ring_method) {
			assert_int_equal(slot->error, 0);
			check_copy(f, &copy, copy.length);
		} else {
			assert_int_equal(slot->error, -EFBIG);
			check_copy(f, &copy, limits[i]);
		}
	}
}

/* The same without the race: a short write that never was, and what follows it. */
static void test_io_rest(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct slot_event event = { SLOT_WRITE, BLOCK, 5001 };
	struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);
	struct io_slot *slot = &f->slots[0];

	copy.src_offset = DST_AT;
	renew_files(f, DST_AT + copy.length);
	test_write_pattern(f->dst, DST_AT, BLOCK + 5001, SRC);
	assert_int_equal(pread(f->src, copy.buffer, BLOCK, DST_AT + BLOCK), BLOCK);
	assert_int_equal(slot_begin_copy(slot, &copy), SLOT_ACTION_COPY);
	assert_int_equal(slot_event(slot, &event), SLOT_ACTION_WRITE);
	f->method->queue(f->io, slot, SLOT_ACTION_WRITE);
	wait_done(f, 1);
	assert_int_equal(slot->error, 0);
	check_copy(f, &copy, copy.length);
	assert_zeros(f->dst, 0, DST_AT);
}

/* A mapping of @length bytes, of which those behind the first @good cannot be read. */
static void map_source(struct fixture *f, size_t good, size_t length)
{
	if (f->map)
		assert_int_equal(munmap(f->map, f->map_length), 0);
	f->map = NULL;
	renew_files(f, good);
	f->map_length = length;
	f->map = mmap(NULL, length, PROT_READ, MAP_SHARED, f->src, 0);
	if (f->map == MAP_FAILED)
		f->map = NULL;
	assert_non_null(f->map);
}

/* Errors of reads, which are those of this process's own memory. */
static void test_io_read_fails(void **state)
{
	struct fixture *f = fixture_of(state);
	static const uint32_t good[] = {
		0, PAGE, BLOCK, BLOCK + 3 * PAGE, 2 * BLOCK, 3 * BLOCK, 3 * BLOCK + PAGE,
	};
	int fd = test_dir_keep(&f->dir, open("/proc/self/mem", O_RDONLY | O_CLOEXEC));

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct slot_copy copy = chain_of(f, 3 * BLOCK + 2 * PAGE);
		struct io_slot *slot;

		print_message("  at %u\n", good[i]);
		map_source(f, good[i], copy.length);
		copy.src_fd = fd;
		copy.src_offset = (uintptr_t)f->map;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		assert_int_equal(slot->error, -EIO);
		assert_false(slot->eof);
		copy.src_offset = 0; /* of the pattern */
		check_copy(f, &copy, good[i]);
	}
}

static void test_io_errors(void **state)
{
	struct fixture *f = fixture_of(state);
	const uint32_t block_sizes[] = { CHUNK, BLOCK };

	test_write_pattern(f->src, 0, CHUNK, SRC);
	for (size_t i = 0; i < ARRAY_SIZE(block_sizes); i++) {
		struct slot_copy copy = copy_of(f);
		struct io_slot *slot;

		copy.block_size = block_sizes[i];
		copy.src_fd = -1;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		assert_int_equal(slot->error, -EBADF);
		check_copy(f, &copy, 0);

		copy.src_fd = f->src;
		copy.dst_fd = -1;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		assert_int_equal(slot->error, -EBADF);
		check_copy(f, &copy, 0);
	}
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

/* Of a range only; a character device has nothing to be flushed. */
static void test_io_flush(void **state)
{
	struct fixture *f = fixture_of(state);
	int null = test_dir_keep(&f->dir, open("/dev/null", O_WRONLY | O_CLOEXEC));
	struct slot_fsync flush = {
		.fd = f->dst, .offset = 4096, .length = 4096, .done = done, .owner = f
	};
	struct page_cache_range range;

	test_write_pattern(f->dst, 0, 12288, 1);
	f->method->queue(f->io, &f->slots[0], slot_begin_fsync(&f->slots[0], &flush));
	flush.fd = null;
	f->method->queue(f->io, &f->slots[1], slot_begin_fsync(&f->slots[1], &flush));
	wait_done(f, 2);
	assert_int_equal(f->slots[0].error, 0);
	assert_int_equal(f->slots[1].error, -ESPIPE);
	assert_int_equal(page_cache_query(f->dst, 4096, 4096, &range), 0);
	assert_int_equal(range.dirty, 0);
}

/* The kernel has no thread for a write: the same bytes, from where it stopped. */
static void test_io_write_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	static const uint32_t limits[] = { 0, 5000, 2 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK };

	if (f->method == &io_sync_method)
		return;
	faults.fixture = f;
	faults.mend = unlimit_size;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);
		struct io_slot *slot;

		print_message("  at %u\n", limits[i]);
		renew_files(f, SRC_AT + copy.length);
		limit_size(f, DST_AT + limits[i]);
		faults.cancelled = 0;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		unlimit_size(f);
		assert_int_equal(faults.cancelled, 1);
		assert_int_equal(slot->error, 0);
		check_copy(f, &copy, copy.length);
	}
}

static void fill_source(struct fixture *f)
{
	test_write_pattern(f->src, 0, 4 * BLOCK, SRC);
}

static void test_io_read_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	static const uint32_t good[] = { 0, BLOCK, 2 * BLOCK + PAGE, 3 * BLOCK };
	int fd = test_dir_keep(&f->dir, open("/proc/self/mem", O_RDONLY | O_CLOEXEC));

	if (f->method == &io_sync_method)
		return;
	faults.fixture = f;
	faults.mend = fill_source;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct slot_copy copy = chain_of(f, 3 * BLOCK + 2 * PAGE);
		struct io_slot *slot;

		print_message("  at %u\n", good[i]);
		map_source(f, good[i], copy.length);
		copy.src_fd = fd;
		copy.src_offset = (uintptr_t)f->map;
		faults.cancelled = 0;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		assert_int_equal(faults.cancelled, 1);
		assert_int_equal(slot->error, 0);
		copy.src_offset = 0; /* of the pattern */
		check_copy(f, &copy, copy.length);
	}
}

/* What it says when it is done without the ring. */
static void test_io_fsync_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	int null = test_dir_keep(&f->dir, open("/dev/null", O_WRONLY | O_CLOEXEC));
	struct slot_fsync sync = { .fd = null, .done = done, .owner = f };

	if (f->method == &io_sync_method)
		return;
	faults.fixture = f;
	f->method->queue(f->io, &f->slots[0], slot_begin_fsync(&f->slots[0], &sync));
	sync.length = PAGE;
	f->method->queue(f->io, &f->slots[1], slot_begin_fsync(&f->slots[1], &sync));
	wait_done(f, 2);
	assert_int_equal(faults.cancelled, 2);
	assert_int_equal(f->slots[0].error, -EINVAL);
	assert_int_equal(f->slots[1].error, -ESPIPE);
}

/* What a server may have said is not asked for again: it has told of what was lost, and says 0 then. */
static void test_io_fsync_cancelled_by_server(void **state)
{
	static const struct {
		uint32_t fs_type;
		int error;
	} cases[] = { { FUSE_TYPE, -EIO }, { EXT4_SUPER_MAGIC, 0 } };
	struct fixture *f = fixture_of(state);

	if (f->method == &io_sync_method)
		return;
	test_write_pattern(f->dst, 0, PAGE, SRC);
	faults.fixture = f;
	faults.cancels_syncs = true;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slot_fsync sync = { .fd = f->dst, .done = done, .owner = f };

		faults.fs_type = cases[i].fs_type;
		faults.cancelled = f->done = f->dones[0] = f->dones[1] = 0;
		f->method->queue(f->io, &f->slots[0], slot_begin_fsync(&f->slots[0], &sync));
		sync.length = PAGE;
		f->method->queue(f->io, &f->slots[1], slot_begin_fsync(&f->slots[1], &sync));
		wait_done(f, 2);
		assert_int_equal(faults.cancelled, 2);
		for (unsigned j = 0; j < 2; j++) {
			assert_int_equal(f->slots[j].error, cases[i].error);
			slot_release(&f->slots[j]);
		}
	}
}

/* A server's ECANCELED does not look like a cancel of ours. */
static void test_io_server_cancels(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);

	renew_files(f, SRC_AT + copy.length);
	limit_size(f, DST_AT);
	faults.fixture = f;
	faults.write_fails = true;
	(void)queue_copy(f, &copy);
	wait_done(f, 1);
	assert_int_equal(f->slots[0].error, -EIO);
	check_copy(f, &copy, 0);
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
		struct slot_copy copy = copy_of(f);

		copy.src_offset = (uint64_t)i * SMALL;
		copy.dst_offset = (uint64_t)(SLOTS - 1 - i) * SMALL;
		copy.length = SMALL;
		copy.block_size = SMALL;
		copy.chunk = &f->chunks[i / per_chunk];
		copy.buffer = copy.chunk->memory + (size_t)(i % per_chunk) * SMALL;
		f->method->queue(f->io, &f->slots[i], slot_begin_copy(&f->slots[i], &copy));
	}
	assert_int_equal(f->done, 0);
	/* Many operations a system call: as many as a ring has entries. */
	assert_true(f->enters <= 8);
	assert_int_equal(f->enters > 0, f->method == &io_ring_method);
	wait_done(f, SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(f->slots[i].error, 0);
		assert_int_equal(f->slots[i].copied, SMALL);
		assert_pattern(f->dst, (uint64_t)(SLOTS - 1 - i) * SMALL, SMALL, SRC,
			       (uint64_t)i * SMALL);
	}
}

/*
 * Chains of many lengths, more than there is room for in a ring, where a submission must not cut
 * any. The source ends within one of them; some have no source or no destination, which is theirs
 * alone.
 */
#define CHAINS 64
#define CHAIN_BLOCK (CHUNK * CHUNKS / CHAINS)
#define CHAIN_MAX (SLOT_BLOCKS_MAX * CHAIN_BLOCK) /* the place of each in both files */
#define CHAIN_CUT (CHAINS - 4)
#define CHAIN_CUT_AT (2 * CHAIN_BLOCK + 333)

static uint32_t chain_length(unsigned i)
{
	uint32_t blocks = 1 + i * 7 % SLOT_BLOCKS_MAX;

	if (i == CHAIN_CUT)
		blocks = SLOT_BLOCKS_MAX;
	return blocks * CHAIN_BLOCK - i * 97 % CHAIN_BLOCK;
}

static bool has_no_source(unsigned i)
{
	return i % 13 == 5;
}

static bool has_no_destination(unsigned i)
{
	return i % 13 == 7;
}

static uint32_t chain_copied(unsigned i)
{
	if (i > CHAIN_CUT || has_no_source(i) || has_no_destination(i))
		return 0;
	return i == CHAIN_CUT ? CHAIN_CUT_AT : chain_length(i);
}

static void test_io_many_chains_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	const unsigned per_chunk = CHAINS / CHUNKS;

	assert_false(has_no_source(CHAIN_CUT) || has_no_destination(CHAIN_CUT));
	test_write_pattern(f->src, 0, CHAIN_CUT * CHAIN_MAX + CHAIN_CUT_AT, SRC);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct slot_copy copy = copy_of(f);

		copy.src_fd = has_no_source(i) ? -1 : f->src;
		copy.dst_fd = has_no_destination(i) ? -1 : f->dst;
		copy.src_offset = (uint64_t)i * CHAIN_MAX;
		copy.dst_offset = (uint64_t)(CHAINS - 1 - i) * CHAIN_MAX;
		copy.length = chain_length(i);
		copy.block_size = CHAIN_BLOCK;
		copy.chunk = &f->chunks[i / per_chunk];
		copy.buffer = copy.chunk->memory + (size_t)(i % per_chunk) * CHAIN_BLOCK;
		f->method->queue(f->io, &f->slots[i], slot_begin_copy(&f->slots[i], &copy));
	}
	assert_int_equal(f->done, 0);
	assert_true(f->enters <= 8);
	assert_int_equal(f->enters > 0, f->method == &io_ring_method);
	wait_done(f, CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		const struct io_slot *slot = &f->slots[i];
		uint64_t at = (uint64_t)(CHAINS - 1 - i) * CHAIN_MAX;
		uint32_t copied = chain_copied(i);

		assert_int_equal(
			slot->error,
			has_no_source(i) || (has_no_destination(i) && i < CHAIN_CUT) ? -EBADF : 0);
		assert_int_equal(slot->eof, i >= CHAIN_CUT && !has_no_source(i));
		assert_int_equal(slot->copied, copied);
		assert_pattern(f->dst, at, copied, SRC, (uint64_t)i * CHAIN_MAX);
		if (i > 0) /* the first is the last in the file, which ends with it */
			assert_zeros(f->dst, at + copied, CHAIN_MAX - copied);
	}
	assert_int_equal(test_size(f->dst), (CHAINS - 1) * CHAIN_MAX + chain_copied(0));
}

/* Registered files are used in place of the descriptors, and let go. */
static void test_io_registered_files(void **state)
{
	struct fixture *f = fixture_of(state);
	struct slot_copy copy = chain_of(f, 3 * BLOCK + 777);
	int r = f->method->register_files(f->io, 2, f->src, f->dst);

	if (f->method == &io_sync_method) {
		assert_int_equal(r, -EOPNOTSUPP);
		return;
	}
	if (r < 0)
		skip();
	copy.src_fd = -1; /* would fail if it were used */
	copy.dst_fd = -1;
	copy.src_fixed = 2;
	copy.dst_fixed = 3;
	test_write_pattern(f->src, 0, SRC_AT + copy.length, SRC);
	f->method->queue(f->io, &f->slots[0], slot_begin_copy(&f->slots[0], &copy));
	wait_done(f, 1);
	assert_int_equal(f->slots[0].error, 0);
	check_copy(f, &copy, copy.length);

	f->method->unregister_files(f->io, 2);
	f->method->queue(f->io, &f->slots[1], slot_begin_copy(&f->slots[1], &copy));
	wait_done(f, 2);
	assert_int_equal(f->slots[1].error, -EBADF);
}

/* Direct and uncached, and what the kernel refuses of it: the same bytes whichever way. */
static const struct {
	const char *name;
	unsigned flags;
	uint32_t at; /* in both files */
	uint32_t length;
	uint32_t src_length; /* of the file */
} ways[] = {
	{ "direct read", SLOT_READ_DIRECT, 0, 4 * BLOCK, 4 * BLOCK },
	{ "direct read, the last block not aligned", SLOT_READ_DIRECT, 0, 3 * BLOCK + 777,
	  4 * BLOCK },
	{ "direct read, the source shorter", SLOT_READ_DIRECT, 0, 4 * BLOCK, 2 * BLOCK + 777 },
	{ "direct read, nothing aligned", SLOT_READ_DIRECT, 777, 4 * BLOCK, 5 * BLOCK },
	{ "direct write", SLOT_WRITE_DIRECT, 0, 4 * BLOCK, 4 * BLOCK },
	{ "direct write, the last block not aligned", SLOT_WRITE_DIRECT, 0, 3 * BLOCK + 777,
	  4 * BLOCK },
	{ "direct write, the source shorter", SLOT_WRITE_DIRECT, 0, 4 * BLOCK, 2 * BLOCK + 777 },
	{ "direct write, nothing aligned", SLOT_WRITE_DIRECT, 777, 4 * BLOCK, 5 * BLOCK },
	{ "uncached write", SLOT_WRITE_UNCACHED, 777, 3 * BLOCK + 777, 4 * BLOCK },
	{ "all of it", SLOT_READ_DIRECT | SLOT_WRITE_DIRECT | SLOT_WRITE_UNCACHED, 0,
	  3 * BLOCK + 777, 3 * BLOCK + 776 },
};

/* The same file, for direct I/O; -1: its file system has none. */
static int open_direct(struct fixture *f, int fd, int flags)
{
	char path[32];
	int direct;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
	direct = open(path, flags | O_DIRECT | O_CLOEXEC);
	return direct < 0 ? -1 : test_dir_keep(&f->dir, direct);
}

/* @refused: by the destination, whatever is asked for. */
static void run_ways(struct fixture *f, unsigned refused)
{
	int src = open_direct(f, f->src, O_RDONLY);
	int dst = open_direct(f, f->dst, O_WRONLY);

	if (src < 0 || dst < 0)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct slot_copy copy = chain_of(f, ways[i].length);
		uint32_t there = MIN(ways[i].length, ways[i].src_length - ways[i].at);
		struct io_slot *slot;

		print_message("  %s\n", ways[i].name);
		renew_files(f, ways[i].src_length);
		copy.direct_src_fd = src;
		copy.direct_dst_fd = dst;
		copy.flags = ways[i].flags;
		copy.src_offset = ways[i].at;
		copy.dst_offset = ways[i].at;
		slot = queue_copy(f, &copy);
		wait_done(f, 1);
		assert_int_equal(slot->error, 0);
		assert_int_equal(slot->eof, there < copy.length);
		assert_int_equal(slot->flags & ~(ways[i].flags & ~refused), 0);
		check_copy(f, &copy, there);
	}
}

static void test_io_ways(void **state)
{
	run_ways(fixture_of(state), 0);
}

/* tmpfs refuses uncached writes. */
static void test_io_ways_in_memory(void **state)
{
	struct fixture *f = fixture_of(state);

	f->dst = test_dir_file(&f->dir, true);
	run_ways(f, SLOT_WRITE_UNCACHED);
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
	struct waker waker = { .fd = f->wake_fd };
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
		TEST(test_io_chain),
		TEST(test_io_source_grows),
		TEST(test_io_write_short),
		TEST(test_io_rest),
		TEST(test_io_read_fails),
		TEST(test_io_errors),
		TEST(test_io_fsync),
		TEST(test_io_flush),
		TEST(test_io_write_cancelled),
		TEST(test_io_read_cancelled),
		TEST(test_io_fsync_cancelled),
		TEST(test_io_fsync_cancelled_by_server),
		TEST(test_io_server_cancels),
		TEST(test_io_many_at_once),
		TEST(test_io_many_chains_at_once),
		TEST(test_io_registered_files),
		TEST(test_io_ways),
		TEST(test_io_ways_in_memory),
		TEST(test_io_wait_is_woken),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
