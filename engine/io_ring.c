/* SPDX-License-Identifier: MIT */
/*
 * io_ring.c - the io_uring method: one ring a worker, made inside the worker's thread.
 *
 *  - A read and its write are linked: one submission, and one completion, because a read that
 *    succeeds in full posts none (IOSQE_CQE_SKIP_SUCCESS). When it falls short the kernel drops the
 *    linked write without a completion and posts the read's (io_fail_links() in the kernel).
 *  - The wake-up eventfd is read through the ring, so that there is one place to wait.
 *  - SINGLE_ISSUER and DEFER_TASKRUN: completions run when this thread asks for them, not as
 *    interruptions; kernels before 6.1 lack them and get a plain ring.
 *  - Every operation carries the identity of its job as a registered personality, because the
 *    kernel may run it later, on a thread of its own, and would take the credentials that this
 *    thread has then.
 *  - Registered buffers and files are optimisations: refused (RLIMIT_MEMLOCK), plain ones serve.
 */
#include <assert.h>
#include <liburing.h>
#include <string.h>
#include <sys/uio.h>

#include "arsync/base.h"
#include "io_method.h"

#define RING_ENTRIES 256

/* io_uring_sqe::user_data: a slot with one of these in its lowest bits, or the wake-up. */
#define USER_DATA_WAKE UINT64_C(0)
#define USER_DATA_READ UINT64_C(1)    /* a read that fell short */
#define USER_DATA_FAILURE UINT64_C(2) /* the operation could not be queued: io_slot::read_result */
#define USER_DATA_BITS UINT64_C(3)

#define PERSONALITIES_MAX 8 /* identities that a ring remembers; others are registered anew */

struct personality {
	struct cred *cred; /* a reference; NULL: the daemon */
	int id;		   /* 0: unused */
};

struct io {
	struct io_uring ring;
	struct cred_thread *thread;
	struct personality personalities[PERSONALITIES_MAX];
	unsigned next_victim;
	bool fixed_buffers;
	bool fixed_files;
	bool wake_armed;
	int wake_fd;
	uint64_t wake_value; /* where the ring reads the eventfd's count into */
	uint64_t *enters;
	const struct log *log;
};

static void count_enter(struct io *io)
{
	__atomic_add_fetch(io->enters, 1, __ATOMIC_RELAXED);
}

int io_ring_probe(void)
{
	struct io_uring ring;
	int r = io_uring_queue_init(2, &ring, 0);

	if (r < 0)
		return r;
	r = ring.features & IORING_FEAT_CQE_SKIP ? 0 : -ENOSYS;
	io_uring_queue_exit(&ring);
	return r;
}

/* No completion finds the queue full: there is room for one a slot, and for the wake-up. */
static int init_ring(struct io *io, unsigned n_slots)
{
	const unsigned cq_entries = MAX(n_slots + 1, (unsigned)RING_ENTRIES);
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = cq_entries,
	};
	int r = io_uring_queue_init_params(RING_ENTRIES, &io->ring, &params);

	if (r == -EINVAL) {
		params = (struct io_uring_params){
			.flags = IORING_SETUP_CQSIZE,
			.cq_entries = cq_entries,
		};
		r = io_uring_queue_init_params(RING_ENTRIES, &io->ring, &params);
	}
	if (r < 0)
		return r;
	if (!(io->ring.features & IORING_FEAT_CQE_SKIP)) {
		io_uring_queue_exit(&io->ring);
		return -ENOSYS;
	}
	return 0;
}

static int register_personality(struct io *io, struct cred *cred)
{
	struct personality *place = &io->personalities[io->next_victim++ % PERSONALITIES_MAX];
	int r = cred_adopt(io->thread, cred);

	if (r < 0)
		return r;
	r = io_uring_register_personality(&io->ring);
	if (r < 0)
		return r;
	/* What is in flight keeps the credentials it was submitted with. */
	if (place->id > 0)
		(void)io_uring_unregister_personality(&io->ring, place->id);
	cred_unref(place->cred);
	*place = (struct personality){ cred_ref(cred), r };
	return r;
}

/* The ring's number for @cred; 0 where the daemon cannot be anybody else anyhow; -errno. */
static int personality(struct io *io, struct cred *cred)
{
	if (!io->thread->can_switch)
		return 0;
	for (unsigned i = 0; i < PERSONALITIES_MAX; i++)
		if (io->personalities[i].id > 0 && io->personalities[i].cred == cred)
			return io->personalities[i].id;
	return register_personality(io, cred);
}

static int register_buffers(struct io *io, const struct io_params *params)
{
	struct iovec iovecs[ENGINE_QUEUE_DEPTH_MAX];
	int r;

	assert(params->n_chunks <= ARRAY_SIZE(iovecs));
	for (unsigned i = 0; i < params->n_chunks; i++)
		iovecs[i] = (struct iovec){ params->chunks[i].memory, params->chunk_size };
	r = io_uring_register_buffers(&io->ring, iovecs, params->n_chunks);
	for (unsigned i = 0; i < params->n_chunks; i++)
		params->chunks[i].fixed = r < 0 ? -1 : (int)i;
	return r;
}

static int ring_open(const struct io_params *params, struct io **ret)
{
	_cleanup_free_ struct io *io = calloc(1, sizeof(*io));
	int r;

	if (!io)
		return -ENOMEM;
	io->wake_fd = params->wake_fd;
	io->thread = params->thread;
	io->enters = params->enters;
	io->log = params->log;
	r = init_ring(io, params->n_slots);
	if (r < 0)
		return r;
	r = register_buffers(io, params);
	io->fixed_buffers = r >= 0;
	if (r < 0)
		log_debug(params->log, "buffers could not be registered with the ring: %s",
			  strerror(-r));
	r = io_uring_register_files_sparse(&io->ring, params->n_files);
	io->fixed_files = r >= 0;
	if (r < 0)
		log_debug(params->log, "no table of files could be registered with the ring: %s",
			  strerror(-r));
	*ret = TAKE_PTR(io);
	return 0;
}

static void ring_close(struct io *io)
{
	if (!io)
		return;
	io_uring_queue_exit(&io->ring); /* cancels the read of the eventfd */
	for (unsigned i = 0; i < PERSONALITIES_MAX; i++)
		cred_unref(io->personalities[i].cred);
	free(io);
}

static void submit(struct io *io)
{
	int r;

	do {
		count_enter(io);
		r = io_uring_submit(&io->ring);
	} while (r == -EINTR || r == -EAGAIN);
	/*
	 * The ring is ours alone and no larger than its completion queue: nothing else can go
	 * wrong.
	 */
	assert(r >= 0 || r == -EBUSY);
}

/* Makes room for @n entries that must go in one submission. */
static void reserve_entries(struct io *io, unsigned n)
{
	while (io_uring_sq_space_left(&io->ring) < n)
		submit(io);
}

static void set_file(struct io_uring_sqe *sqe, int fixed)
{
	if (fixed < 0)
		return;
	sqe->fd = fixed;
	sqe->flags |= IOSQE_FIXED_FILE;
}

static void queue_read(struct io *io, struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	uint8_t *buffer = slot->buffer + slot->filled;
	uint32_t length = slot->length - slot->filled;
	uint64_t offset = slot->src_offset + slot->filled;

	if (slot->chunk->fixed >= 0)
		io_uring_prep_read_fixed(sqe, slot->src_fd, buffer, length, offset,
					 slot->chunk->fixed);
	else
		io_uring_prep_read(sqe, slot->src_fd, buffer, length, offset);
	set_file(sqe, slot->src_fixed);
	sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	sqe->personality = (uint16_t)identity;
	sqe->user_data = (uintptr_t)slot | USER_DATA_READ;
}

static void queue_write(struct io *io, struct io_slot *slot, uint32_t filled, int identity)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	uint8_t *buffer = slot->buffer + slot->flushed;
	uint32_t length = filled - slot->flushed;
	uint64_t offset = slot->dst_offset + slot->flushed;

	if (slot->chunk->fixed >= 0)
		io_uring_prep_write_fixed(sqe, slot->dst_fd, buffer, length, offset,
					  slot->chunk->fixed);
	else
		io_uring_prep_write(sqe, slot->dst_fd, buffer, length, offset);
	set_file(sqe, slot->dst_fixed);
	sqe->personality = (uint16_t)identity;
	sqe->user_data = (uintptr_t)slot;
}

static void queue_fsync(struct io *io, struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	io_uring_prep_fsync(sqe, slot->dst_fd, 0);
	sqe->personality = (uint16_t)identity;
	sqe->user_data = (uintptr_t)slot;
}

/* Reports @error for @slot as the result of a no-op, so that it arrives where all results do. */
static void queue_failure(struct io *io, struct io_slot *slot, int error)
{
	struct io_uring_sqe *sqe;

	slot->read_result = error;
	reserve_entries(io, 1);
	sqe = io_uring_get_sqe(&io->ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = (uintptr_t)slot | USER_DATA_FAILURE;
}

static void ring_queue(struct io *io, struct io_slot *slot, enum slot_action action)
{
	int identity = personality(io, slot->cred);

	if (identity < 0) {
		queue_failure(io, slot, identity);
		return;
	}
	reserve_entries(io, 2); /* a link must not be cut by a submission */
	switch (action) {
	case SLOT_ACTION_READ_WRITE:
		queue_read(io, slot, identity);
		queue_write(io, slot, slot->length, identity);
		break;
	case SLOT_ACTION_WRITE:
		queue_write(io, slot, slot->filled, identity);
		break;
	case SLOT_ACTION_FSYNC:
		queue_fsync(io, slot, identity);
		break;
	case SLOT_ACTION_NONE:
		assert(!"nothing to queue");
	}
}

/* The eventfd blocks: a non-blocking one would answer EAGAIN instead of arming the ring's poll. */
static void arm_wake(struct io *io)
{
	struct io_uring_sqe *sqe;

	if (io->wake_armed)
		return;
	reserve_entries(io, 1);
	sqe = io_uring_get_sqe(&io->ring);
	io_uring_prep_read(sqe, io->wake_fd, &io->wake_value, sizeof(io->wake_value), 0);
	sqe->user_data = USER_DATA_WAKE;
	io->wake_armed = true;
}

static void run_event(struct io *io, const struct io_uring_cqe *cqe)
{
	struct io_slot *slot = (struct io_slot *)(uintptr_t)(cqe->user_data & ~USER_DATA_BITS);
	enum slot_action action;

	if (cqe->user_data == USER_DATA_WAKE) {
		io->wake_armed = false;
		return;
	}
	if (cqe->user_data & USER_DATA_READ) {
		slot->read_result = cqe->res;
		action = slot_event(slot, -ECANCELED);
	} else if (cqe->user_data & USER_DATA_FAILURE) {
		action = slot_event(slot, slot->read_result);
	} else {
		action = slot_event(slot, cqe->res);
	}
	if (action != SLOT_ACTION_NONE)
		ring_queue(io, slot, action);
	else
		slot->done(slot);
}

static void ring_wait(struct io *io)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r;

	arm_wake(io);
	count_enter(io);
	r = io_uring_submit_and_wait(&io->ring, 1);
	/* EINTR, EAGAIN, EBUSY: the worker comes back. */
	assert(r >= 0 || r == -EINTR || r == -EAGAIN || r == -EBUSY);
	io_uring_for_each_cqe(&io->ring, head, cqe) {
		run_event(io, cqe);
		n++;
	}
	io_uring_cq_advance(&io->ring, n);
}

static int ring_register_files(struct io *io, unsigned index, int first, int second)
{
	int fds[2] = { first, second };
	int r;

	if (!io->fixed_files)
		return -EOPNOTSUPP;
	r = io_uring_register_files_update(&io->ring, index, fds, 2);
	if (r == 2)
		return 0;
	return r < 0 ? r : -EIO;
}

static void ring_unregister_files(struct io *io, unsigned index)
{
	int r = ring_register_files(io, index, -1, -1);

	if (r < 0)
		log_error(io->log, "files could not be taken out of the ring: %s", strerror(-r));
}

const struct io_method io_ring_method = {
	.name = "uring",
	.way = COPY_WAY_RING,
	.open = ring_open,
	.close = ring_close,
	.queue = ring_queue,
	.wait = ring_wait,
	.register_files = ring_register_files,
	.unregister_files = ring_unregister_files,
};
