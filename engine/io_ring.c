/* SPDX-License-Identifier: MIT */
/*
 * io_ring.c - the io_uring method: one ring a worker, made inside the worker's thread.
 *
 *  - The reads and writes of a slot's blocks are linked: one submission, and one completion, because
 *    all but the last post none when they succeed in full (IOSQE_CQE_SKIP_SUCCESS). When one falls
 *    short the kernel posts its completion and drops what is linked behind it without any
 *    (io_fail_links() in the kernel). Where the kernel hands a link to a thread of its own, as it
 *    does for buffered writes to ext4, the rest of it stays there.
 *  - The wake-up eventfd is read through the ring, so that there is one place to wait.
 *  - SINGLE_ISSUER and DEFER_TASKRUN: completions run when this thread asks for them, not as
 *    interruptions; kernels before 6.1 lack them and get a plain ring.
 *  - Every operation carries the identity of its job as a registered personality, because the
 *    kernel may run it later, on a thread of its own, and would take the credentials that this
 *    thread has then.
 *  - Nobody here cancels an operation: ECANCELED is the kernel's, which has got no thread for it (pids.max,
 *    RLIMIT_NPROC), or a server's. The worker performs it itself then, but for an fsync that a server may have
 *    failed: it has told of what was lost, and the next one would succeed.
 *  - Registered buffers and files are optimisations: refused (RLIMIT_MEMLOCK), plain ones serve.
 */
#include <assert.h>
#include <liburing.h>
#include <string.h>
#include <sys/uio.h>

#include "arsync/base.h"
#include "fs_type.h"
#include "io_method.h"

#define RING_ENTRIES 256

/*
 * io_uring_sqe::user_data: 0 for the wake-up, or a slot, which leaves the lowest bits free: one of
 * these and the number of the block.
 */
#define USER_DATA_WAKE UINT64_C(0)
#define USER_DATA_WRITE UINT64_C(0)
#define USER_DATA_READ UINT64_C(1)    /* one that fell short */
#define USER_DATA_FAILURE UINT64_C(2) /* it could not be queued: io_slot::queue_error */
#define USER_DATA_KIND UINT64_C(3)
#define USER_DATA_BLOCK_SHIFT 2
#define USER_DATA_BITS (SLOT_ALIGNMENT - 1)
static_assert(SLOT_BLOCKS_MAX << USER_DATA_BLOCK_SHIFT <= SLOT_ALIGNMENT, "no room for the block");
static_assert(2 * SLOT_BLOCKS_MAX <= RING_ENTRIES, "a slot's link must fit");

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

static int register_personality(struct io *io, struct cred *cred)
{
	struct personality *place = &io->personalities[io->next_victim++ % PERSONALITIES_MAX];
	int r = cred_adopt(io->thread, cred);

	if (r < 0)
		return r;
	r = io_uring_register_personality(&io->ring);
	if (r < 0)
		return r;
	/* What is in flight keeps the credentials it was submitted with; what is queued does not. */
	if (place->id > 0) {
		if (io_uring_sq_ready(&io->ring) > 0)
			submit(io);
		(void)io_uring_unregister_personality(&io->ring, place->id);
	}
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

static uint64_t user_data(const struct io_slot *slot, uint64_t kind, unsigned block)
{
	return (uintptr_t)slot | kind | block << USER_DATA_BLOCK_SHIFT;
}

/* Reads @length bytes at @at of the slot's range into its buffer. */
static struct io_uring_sqe *queue_read(struct io *io, const struct io_slot *slot, uint32_t at,
				       uint32_t length)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	uint64_t offset = slot->src_offset + at;

	if (slot->chunk->fixed >= 0)
		io_uring_prep_read_fixed(sqe, slot_src_fd(slot), slot->buffer, length, offset,
					 slot->chunk->fixed);
	else
		io_uring_prep_read(sqe, slot_src_fd(slot), slot->buffer, length, offset);
	set_file(sqe, slot->src_fixed);
	return sqe;
}

/* Writes @length bytes of the buffer from @from on to @at of the slot's range. */
static struct io_uring_sqe *queue_write(struct io *io, const struct io_slot *slot, uint32_t at,
					uint32_t from, uint32_t length)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	uint64_t offset = slot->dst_offset + at;

	if (slot->chunk->fixed >= 0)
		io_uring_prep_write_fixed(sqe, slot_dst_fd(slot), slot->buffer + from, length,
					  offset, slot->chunk->fixed);
	else
		io_uring_prep_write(sqe, slot_dst_fd(slot), slot->buffer + from, length, offset);
	sqe->rw_flags = slot_write_flags(slot);
	set_file(sqe, slot->dst_fixed);
	return sqe;
}

/* One link of reads and writes; only the last of them posts a completion when all goes well. */
static void queue_copy(struct io *io, const struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe = NULL;
	uint32_t length;
	unsigned block = 0;

	for (uint32_t at = slot->copied; at < slot->length; at += length, block++) {
		if (sqe)
			sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
		length = slot_block(slot, at);
		sqe = queue_read(io, slot, at, length);
		sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
		sqe->personality = (uint16_t)identity;
		sqe->user_data = user_data(slot, USER_DATA_READ, block);
		sqe = queue_write(io, slot, at, 0, length);
		sqe->personality = (uint16_t)identity;
		sqe->user_data = user_data(slot, USER_DATA_WRITE, block);
	}
}

static void queue_rest(struct io *io, const struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe =
		queue_write(io, slot, slot->copied, slot->written_at, slot->unwritten);

	sqe->personality = (uint16_t)identity;
	sqe->user_data = user_data(slot, USER_DATA_WRITE, 0);
}

static void queue_fsync(struct io *io, struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	io_uring_prep_fsync(sqe, slot->dst_fd, 0);
	sqe->personality = (uint16_t)identity;
	sqe->user_data = (uintptr_t)slot;
}

static void queue_flush(struct io *io, struct io_slot *slot, int identity)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	io_uring_prep_sync_file_range(sqe, slot->dst_fd, slot->length, slot->dst_offset,
				      SLOT_FLUSH_FLAGS);
	sqe->personality = (uint16_t)identity;
	sqe->user_data = (uintptr_t)slot;
}

/* Reports @error for @slot as the result of a no-op, so that it arrives where all results do. */
static void queue_failure(struct io *io, struct io_slot *slot, int error)
{
	struct io_uring_sqe *sqe;

	slot->queue_error = error;
	reserve_entries(io, 1);
	sqe = io_uring_get_sqe(&io->ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = user_data(slot, USER_DATA_FAILURE, 0);
}

static void ring_queue(struct io *io, struct io_slot *slot, enum slot_action action)
{
	int identity = personality(io, slot->cred);

	if (identity < 0) {
		queue_failure(io, slot, identity);
		return;
	}
	/* A link must not be cut by a submission. */
	reserve_entries(io, action == SLOT_ACTION_COPY ? 2 * slot_blocks(slot) : 1);
	switch (action) {
	case SLOT_ACTION_COPY:
		queue_copy(io, slot, identity);
		break;
	case SLOT_ACTION_WRITE:
		queue_rest(io, slot, identity);
		break;
	case SLOT_ACTION_FSYNC:
		queue_fsync(io, slot, identity);
		break;
	case SLOT_ACTION_FLUSH:
		queue_flush(io, slot, identity);
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

/* What a completion says of its slot. */
static struct slot_event decode(const struct io_slot *slot, const struct io_uring_cqe *cqe)
{
	uint64_t bits = cqe->user_data & USER_DATA_BITS;
	struct slot_event event = {
		.at = slot->copied + (uint32_t)(bits >> USER_DATA_BLOCK_SHIFT) * slot->block_size,
		.result = cqe->res,
	};

	if ((bits & USER_DATA_KIND) == USER_DATA_FAILURE)
		return slot_failure(slot, slot->queue_error);
	event.operation = (bits & USER_DATA_KIND) == USER_DATA_READ ? SLOT_READ : SLOT_WRITE;
	return event;
}

/* Whether it may be a server's answer to an fsync. Where the file system cannot be asked, too. */
static bool is_failed_fsync(const struct io_slot *slot)
{
	struct statfs fs;

	if (slot->state != SLOT_SYNCING && slot->state != SLOT_FLUSHING)
		return false;
	return fstatfs(slot->dst_fd, &fs) < 0 || fs_type_has_server(&fs);
}

/* As if it were to be tried again, but without the ring. */
static enum slot_action perform_cancelled(struct io *io, struct io_slot *slot,
					  struct slot_event *event)
{
	if (is_failed_fsync(slot)) {
		event->result = -EIO;
		return slot_event(slot, event);
	}
	event->result = -EAGAIN;
	*event = io_sync_perform(io->thread, slot, slot_event(slot, event));
	return slot_event(slot, event);
}

static void run_event(struct io *io, const struct io_uring_cqe *cqe)
{
	struct io_slot *slot = (struct io_slot *)(uintptr_t)(cqe->user_data & ~USER_DATA_BITS);
	struct slot_event event;
	enum slot_action action;

	if (cqe->user_data == USER_DATA_WAKE) {
		io->wake_armed = false;
		return;
	}
	event = decode(slot, cqe);
	action = event.result == -ECANCELED ? perform_cancelled(io, slot, &event) :
					      slot_event(slot, &event);
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
