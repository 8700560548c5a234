/* SPDX-License-Identifier: MIT */
/*
 * ring_slot.c - one thread of one queue: it makes its ring, registers its entry, and then
 *
 *	fetch()		gives the kernel the last answer and waits for a request, in one system call
 *	handle()	runs the handler
 *	wait_for_answer()	if the handler has left the answer to another thread
 *
 * The request is laid out in one piece for libfuse, without copying the payload: the kernel writes
 * it to the beginning of a page, and the headers are put right before it.
 *
 * The thread is pinned to the processor whose requests it serves: the caller sleeps meanwhile, so
 * that a round trip needs no other processor.
 */
#include "ring_slot.h"

#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "arsync/base.h"

#define URING_ENTRIES 2 /* the entry, and the poll for the end */

enum cookie {
	COOKIE_ENTRY = 1,
	COOKIE_STOP,
};

/* Both fit at any time. */
static struct io_uring_sqe *get_sqe(struct ring_slot *slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&slot->uring);

	if (!sqe)
		abort();
	memset(sqe, 0, 2 * sizeof(*sqe)); /* IORING_SETUP_SQE128 */
	return sqe;
}

static struct io_uring_sqe *make_command(struct ring_slot *slot, enum ring_command command,
					 uint64_t commit_id)
{
	struct io_uring_sqe *sqe = get_sqe(slot);
	struct ring_command_data data = {
		.commit_id = commit_id,
		.queue = slot->queue->number,
	};

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->cmd_op = command;
	memcpy(sqe->cmd, &data, sizeof(data));
	io_uring_sqe_set_data64(sqe, COOKIE_ENTRY);
	return sqe;
}

static int make_uring(struct ring_slot *slot)
{
	/* One thread and one ring: the kernel need not interrupt anybody to hand a request over. */
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
	};
	struct io_uring_sqe *sqe;
	int r;

	r = io_uring_queue_init_params(URING_ENTRIES, &slot->uring, &params);
	if (r < 0)
		return r;
	r = io_uring_register_files(&slot->uring, &slot->ring->fuse_fd, 1);
	if (r < 0) {
		io_uring_queue_exit(&slot->uring);
		return r;
	}
	sqe = get_sqe(slot);
	io_uring_prep_poll_add(sqe, slot->ring->stop_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, COOKIE_STOP);
	return 0;
}

/* Completions that are there. 1: a request came, 0: none yet; -ECANCELED: time to stop. -errno. */
static int reap(struct ring_slot *slot)
{
	struct io_uring_cqe *cqe;
	int r = 0;

	while (r == 0 && io_uring_peek_cqe(&slot->uring, &cqe) == 0) {
		if (cqe->user_data == COOKIE_STOP)
			r = -ECANCELED;
		else
			r = cqe->res == 0 ? 1 : cqe->res;
		io_uring_cqe_seen(&slot->uring, cqe);
	}
	return r;
}

/* 0: the kernel has the entry; a request may have come, too. */
static int register_entry(struct ring_slot *slot, bool *ret_fetched)
{
	const struct iovec parts[] = {
		{ .iov_base = slot->header, .iov_len = sizeof(*slot->header) },
		{ .iov_base = slot->payload, .iov_len = slot->ring->payload_size },
	};
	struct io_uring_sqe *sqe;
	int r;

	sqe = make_command(slot, RING_COMMAND_REGISTER, 0);
	/* The kernel copies the vector while we submit. */
	sqe->addr = (uint64_t)(uintptr_t)parts;
	sqe->len = ARRAY_SIZE(parts);
	do
		r = io_uring_submit(&slot->uring);
	while (r == -EINTR);
	if (r < 0)
		return r;
	r = reap(slot);
	*ret_fetched = r == 1;
	return MIN(r, 0);
}

/* The answer goes with the next system call. */
static void commit(struct ring_slot *slot)
{
	(void)make_command(slot, RING_COMMAND_COMMIT_AND_FETCH, slot->header->commit_id);
}

/* Hands over the last answer. If that does not bring the next request with it, none is queued. */
static void prove(struct ring_slot *slot)
{
	unsigned n_begun = ring_queue_begun(slot->queue);

	if (io_uring_submit_and_get_events(&slot->uring) < 0 || io_uring_cq_ready(&slot->uring) > 0)
		return; /* fetch() sees what there is */
	ring_queue_prove(slot->queue, n_begun);
}

/* Hands over the last answer, if it has not been, and waits for a request. */
static int fetch(struct ring_slot *slot)
{
	int r;

	do {
		r = io_uring_submit_and_wait(&slot->uring, 1);
		if (r < 0 && r != -EINTR && r != -EAGAIN)
			return r;
		r = reap(slot);
		if (r == -EAGAIN || r == -EINTR) {
			commit(slot);
			r = 0;
		}
	} while (r == 0);
	return MIN(r, 0);
}

ssize_t ring_slot_answer(struct ring_slot *slot, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct ring_header *header = slot->header;
	bool own = pthread_getspecific(slot->ring->own_slot) == slot;
	size_t size = 0;
	int error = out->error;

	for (int i = 1; i < count && error == 0; i++) {
		if (iov[i].iov_len > slot->ring->payload_size - size) {
			log_error(slot->ring->log, "an answer is larger than a request allows");
			error = -EIO;
			size = 0;
			break;
		}
		memcpy(slot->payload + size, iov[i].iov_base, iov[i].iov_len);
		size += iov[i].iov_len;
	}
	header->in_out.out = (struct fuse_out_header){
		.len = (uint32_t)(sizeof(*out) + size),
		.error = error,
		.unique = header->commit_id, /* the kernel's own number */
	};
	header->payload_size = (uint32_t)size;
	if (own) {
		atomic_store_explicit(&slot->answered, true, memory_order_release);
	} else {
		pthread_mutex_lock(&slot->lock);
		atomic_store_explicit(&slot->answered, true, memory_order_release);
		pthread_cond_signal(&slot->changed);
		pthread_mutex_unlock(&slot->lock);
	}
	return (ssize_t)(sizeof(*out) + size);
}

/* False: the end came first. */
static bool wait_for_answer(struct ring_slot *slot)
{
	struct ring *ring = slot->ring;

	if (atomic_load_explicit(&slot->answered, memory_order_acquire))
		return true;
	/* From now on it can be interrupted. See find_waiting() in ring.c for the order. */
	atomic_store(&slot->unique, slot->header->commit_id);
	if (atomic_load(&ring->has_early))
		ring_deliver_early(slot);
	pthread_mutex_lock(&slot->lock);
	while (!atomic_load(&slot->answered) && !atomic_load(&ring->stop))
		pthread_cond_wait(&slot->changed, &slot->lock);
	pthread_mutex_unlock(&slot->lock);
	atomic_store(&slot->unique, 0);
	return atomic_load(&slot->answered);
}

/* @error: -errno, or 0. */
static void answer_empty(struct ring_slot *slot, int error)
{
	struct fuse_out_header out = { .error = error };
	const struct iovec iov = { .iov_base = &out, .iov_len = sizeof(out) };

	(void)ring_slot_answer(slot, &iov, 1); /* the bytes of an answer that fits */
}

static void process(struct ring_slot *slot)
{
	const struct ring_header *header = slot->header;
	struct fuse_in_header in = header->in_out.in;
	size_t op_size = in.len - sizeof(in) - header->payload_size;
	char *start = slot->payload - op_size - sizeof(in);
	struct fuse_buf buf = { .size = in.len, .mem = start };

	if (in.len < sizeof(in) + header->payload_size || op_size > sizeof(header->op_in)) {
		log_error(slot->ring->log, "a request of opcode %u that makes no sense", in.opcode);
		answer_empty(slot, -EIO);
		return;
	}
	if (ring_queue_is_probe(&in)) {
		answer_empty(slot, 0);
		return;
	}
	in.unique = atomic_load_explicit(&slot->id, memory_order_relaxed);
	memcpy(start, &in, sizeof(in));
	memcpy(start + sizeof(in), header->op_in, op_size);
	fuse_session_process_buf(slot->ring->session->fuse, &buf);
	/*
	 * Nobody answers it, but the listing that gave the file back waits until the entry is free
	 * again (fuse_force_forget() in fs/fuse/readdir.c).
	 */
	if (in.opcode == FUSE_FORGET)
		answer_empty(slot, 0);
}

/* False: there is an end to it, and the request stays unanswered. */
static bool handle(struct ring_slot *slot)
{
	struct ring *ring = slot->ring;
	bool may;

	/* ring_quiesce() sets closing, then waits for n_handling. */
	atomic_fetch_add(&slot->queue->n_handling, 1);
	may = !atomic_load(&ring->closing);
	if (may) {
		atomic_store_explicit(&slot->answered, false, memory_order_relaxed);
		atomic_fetch_add_explicit(&slot->id, RING_ID_STEP, memory_order_relaxed);
		process(slot);
	}
	atomic_fetch_sub(&slot->queue->n_handling, 1);
	if (atomic_load(&ring->closing)) {
		pthread_mutex_lock(&ring->lock);
		pthread_cond_broadcast(&ring->changed);
		pthread_mutex_unlock(&ring->lock);
	}
	return may;
}

/* Until the connection or the session ends. It is idle at first. -errno. */
static int serve(struct ring_slot *slot, bool fetched)
{
	bool others_fresh;
	int r;

	for (;;) {
		r = fetched ? 0 : fetch(slot);
		if (r < 0)
			return r;
		fetched = false;
		ring_queue_become_busy(slot);
		if (!handle(slot) || !wait_for_answer(slot))
			return -ECANCELED;
		others_fresh = ring_queue_become_idle(slot);
		commit(slot);
		if (others_fresh)
			prove(slot);
	}
}

static void pin(const struct ring_slot *slot)
{
	cpu_set_t *cpus = CPU_ALLOC(slot->queue->number + 1U);
	size_t size = CPU_ALLOC_SIZE(slot->queue->number + 1U);

	if (!cpus)
		return;
	CPU_ZERO_S(size, cpus);
	CPU_SET_S(slot->queue->number, size, cpus);
	/* Faster with it, correct without: the processor may be offline, or not for us. */
	(void)sched_setaffinity(0, size, cpus);
	CPU_FREE(cpus);
}

/* From now on answers, interrupts and ring_stop() find it. Under ring::lock. */
static void enlist_locked(struct ring_slot *slot)
{
	struct ring *ring = slot->ring;
	size_t index = atomic_load(&ring->n_slots);

	assert(index < RING_SLOTS_MAX); /* queues times what each may have */
	atomic_store(&slot->id, RING_ID_MARK | index);
	atomic_store(&ring->slots[index], slot);
	atomic_store(&ring->n_slots, index + 1);
}

/* Tells wait_for_start(), which takes over the slot when there is an error. */
static void note_started(struct ring_slot *slot, int error)
{
	struct ring *ring = slot->ring;

	pthread_mutex_lock(&ring->lock);
	if (error == 0)
		enlist_locked(slot);
	slot->started = true;
	slot->start_error = error;
	pthread_cond_broadcast(&ring->changed);
	pthread_mutex_unlock(&ring->lock);
}

/* It gets its ring and its entry, and is known to others. The first one starts the queue's reserve. */
static int begin(struct ring_slot *slot, bool *ret_fetched)
{
	struct ring *ring = slot->ring;
	int r = make_uring(slot);
	bool made = r == 0;

	if (slot->first && !ring_wait_for_release(ring, r))
		r = -ECANCELED;
	if (r == 0) {
		slot->fresh = !slot->first;
		r = register_entry(slot, ret_fetched);
		if (slot->first)
			ring_note_registered(ring, slot->queue, r);
	}
	if (r == 0)
		(void)ring_queue_become_idle(slot); /* it has no answer to hand over */
	if (!slot->first)
		note_started(slot, r);
	for (unsigned i = 0; r == 0 && slot->first && i < ring->queue_reserve; i++)
		ring_queue_grow(slot);
	if (r < 0 && made)
		io_uring_queue_exit(&slot->uring);
	return r;
}

/* The slot stays for ring_free(): the kernel may still hold memory of its. */
static void *run(void *data)
{
	struct ring_slot *slot = data;
	struct ring *ring = slot->ring;
	bool fetched = false;
	int r;

	pin(slot);
	(void)pthread_setname_np(pthread_self(), "fuse_ring"); /* for ps(1) */
	(void)pthread_setspecific(ring->own_slot, slot); /* without it answers only take a lock */
	if (begin(slot, &fetched) < 0)
		return NULL;
	r = serve(slot, fetched);
	if (!ring_is_end(r))
		ring_note_broken(ring, slot->queue, r);
	io_uring_queue_exit(&slot->uring);
	return NULL;
}

static int make_thread(struct ring_slot *slot)
{
	sigset_t all, before;
	int r;

	/* Signals are for the main thread. */
	(void)sigfillset(&all); /* fails for bad pointers only */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&slot->thread, NULL, run, slot);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int allocate(struct ring *ring, struct ring_slot **ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct ring_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	slot->memory = mmap(NULL, 2 * page + ring->payload_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slot->memory == MAP_FAILED) {
		int r = negative_errno();

		free(slot);
		return r;
	}
	slot->header = (struct ring_header *)(void *)slot->memory;
	slot->payload = slot->memory + 2 * page;
	slot->ring = ring;
	pthread_mutex_init(&slot->lock, NULL);
	pthread_cond_init(&slot->changed, NULL);
	*ret = slot;
	return 0;
}

void ring_slot_free(struct ring_slot *slot)
{
	if (!slot)
		return;
	(void)munmap(slot->memory, 2 * (size_t)sysconf(_SC_PAGESIZE) + slot->ring->payload_size);
	pthread_cond_destroy(&slot->changed);
	pthread_mutex_destroy(&slot->lock);
	free(slot);
}

void ring_slot_join(struct ring_slot *slot)
{
	if (slot)
		(void)pthread_join(slot->thread, NULL); /* ours, and joined once */
}

/* 0: it has its entry. -errno: its thread ends. */
static int wait_for_start(struct ring_slot *slot)
{
	struct ring *ring = slot->ring;
	int r;

	pthread_mutex_lock(&ring->lock);
	while (!slot->started)
		pthread_cond_wait(&ring->changed, &ring->lock);
	r = slot->start_error;
	pthread_mutex_unlock(&ring->lock);
	return r;
}

int ring_slot_start(struct ring *ring, struct ring_queue *queue, bool first)
{
	struct ring_slot *slot = NULL;
	int r = -EBUSY;

	/* Numbers are taken first and given back, so that the bound is never exceeded. */
	if (atomic_fetch_add(&queue->n_slots, 1) >= ring->queue_slots_max)
		goto fail;
	r = atomic_load(&ring->stop) ? -ECANCELED : allocate(ring, &slot);
	if (r < 0)
		goto fail;
	slot->queue = queue;
	slot->first = first;
	r = make_thread(slot);
	if (r < 0)
		goto fail;
	if (first) {
		pthread_mutex_lock(&ring->lock);
		enlist_locked(slot);
		pthread_mutex_unlock(&ring->lock);
		return 0;
	}
	r = wait_for_start(slot);
	if (r == 0)
		return 0;
	/* Nobody else knows of it, and the kernel has nothing of it. */
	ring_slot_join(slot);
fail:
	ring_slot_free(slot);
	atomic_fetch_sub(&queue->n_slots, 1);
	return r;
}
