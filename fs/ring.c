/* SPDX-License-Identifier: MIT */
/*
 * ring.c - from the kernel's offer to a session that is served through its queues; libfuse's input
 * and output; interrupts.
 *
 *	ring_new()	read_request() and write_answer() take the place of read(2) and writev(2)
 *	ring_want()	the next answer is the one to FUSE_INIT:
 *	answer_init()	a thread for each queue makes its ring; the answer says that there are some;
 *			the threads register. If a ring cannot be made, the answer says nothing
 *	ring_note_registered()	when every queue has an entry, the kernel leaves /dev/fuse
 *
 * Between the last two the kernel holds requests back (fuse_block_alloc() in fs/fuse/dev.c); when
 * it refuses an entry, it lets them go through /dev/fuse, where libfuse's threads wait for them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "arsync/base.h"
#include "ring_slot.h"

#define SWITCH "/sys/module/fuse/parameters/enable_uring"
#define PROCESSORS "/sys/devices/system/cpu/possible"
#define FDS_SHARE 16 /* of RLIMIT_NOFILE: one part is for rings */

/* What FUSE_INTERRUPT looks like. */
struct interrupt {
	struct fuse_in_header in;
	struct fuse_interrupt_in arg;
};

int ring_check_kernel(const char **ret_advice)
{
	FILE *file = fopen(SWITCH, "re");
	int value;

	if (!file) {
		*ret_advice = "this kernel has no FUSE over io_uring (Linux 6.14 and later may)";
		return -ENOSYS;
	}
	value = fgetc(file);
	(void)fclose(file); /* was only read */
	if (value != 'Y') {
		*ret_advice = "FUSE over io_uring is switched off in this kernel; as root: "
			      "echo Y > " SWITCH;
		return -EOPNOTSUPP;
	}
	*ret_advice = "";
	return 0;
}

bool ring_in_use(const struct ring *ring)
{
	return ring && atomic_load(&ring->state) == RING_ON;
}

bool ring_is_crowded(const struct ring *ring)
{
	const struct ring_slot *slot = ring ? pthread_getspecific(ring->own_slot) : NULL;

	return slot && slot->crowded;
}

/* --- The start ----------------------------------------------------------------------------------
 */

/* The kernel uses /dev/fuse, or nothing at all when the session insists on the ring. */
static void give_up(struct ring *ring, int error)
{
	struct session *session = ring->session;

	if (atomic_exchange(&ring->state, RING_FAILED) == RING_FAILED)
		return;
	if (session->options->transport == OPTIONS_TRANSPORT_RING) {
		log_error(ring->log, "transport=ring: FUSE over io_uring does not start: %s",
			  strerror(-error));
		fuse_session_exit(session->fuse);
		return;
	}
	log_warn(ring->log,
		 "requests come through /dev/fuse: FUSE over io_uring does not start: %s",
		 strerror(-error));
}

bool ring_wait_for_release(struct ring *ring, int error)
{
	bool may;

	pthread_mutex_lock(&ring->lock);
	ring->n_made++;
	if (error < 0)
		ring->make_error = error;
	pthread_cond_broadcast(&ring->changed);
	while (!ring->released)
		pthread_cond_wait(&ring->changed, &ring->lock);
	may = atomic_load(&ring->state) == RING_REGISTERING;
	pthread_mutex_unlock(&ring->lock);
	return may;
}

void ring_note_registered(struct ring *ring, struct ring_queue *queue, int error)
{
	enum ring_state expected = RING_REGISTERING;

	if (error < 0) {
		/* The kernel has seen the refusal, too. An end of the connection is no failure. */
		if (error != -ENOTCONN && error != -ECONNABORTED)
			give_up(ring, error);
		return;
	}
	atomic_store(&queue->registered, true);
	for (size_t i = 0; i < ring->n_queues; i++)
		if (!atomic_load(&ring->queues[i].registered))
			return;
	if (atomic_compare_exchange_strong(&ring->state, &expected, RING_ON))
		log_info(ring->log, "requests come through FUSE over io_uring, %zu queues",
			 ring->n_queues);
}

void ring_note_broken(struct ring *ring, const struct ring_queue *queue, int error)
{
	if (!ring_in_use(ring))
		return; /* give_up() has said it */
	log_error(ring->log, "the kernel and queue %u of FUSE over io_uring disagree: %s",
		  queue->number, strerror(-error));
	/* Requests may be lost: better an end than a mount that hangs. */
	fuse_session_exit(ring->session->fuse);
}

/* The first threads, one a queue. 0: all of them wait to be released. */
static int start_threads(struct ring *ring)
{
	size_t n_started = 0;
	int r = 0;

	atomic_store(&ring->state, RING_STARTING);
	while (r == 0 && n_started < ring->n_queues) {
		r = ring_slot_start(ring, &ring->queues[n_started], true);
		if (r == 0)
			n_started++;
	}
	pthread_mutex_lock(&ring->lock);
	while (ring->n_made < n_started)
		pthread_cond_wait(&ring->changed, &ring->lock);
	if (r == 0)
		r = ring->make_error;
	pthread_mutex_unlock(&ring->lock);
	return r;
}

static void release_threads(struct ring *ring)
{
	pthread_mutex_lock(&ring->lock);
	ring->released = true;
	pthread_cond_broadcast(&ring->changed);
	pthread_mutex_unlock(&ring->lock);
}

/* As the kernel counts it in fuse_uring_create(), or more. */
static size_t payload_size(const struct fuse_init_out *init)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t pages = MAX(init->max_pages, 32); /* FUSE_DEFAULT_MAX_PAGES_PER_REQ */
	size_t size = MAX((size_t)init->max_write, pages * page);

	size = MAX(size, (size_t)FUSE_MIN_READ_BUFFER);
	return (size + page - 1) / page * page;
}

static ssize_t answer_init(struct ring *ring, int fd, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct fuse_init_out *init = count == 2 ? iov[1].iov_base : NULL;
	ssize_t n;
	int r;

	if (out->error || !init || iov[1].iov_len < sizeof(*init) ||
	    !(init->flags & FUSE_INIT_EXT)) {
		give_up(ring, -EPROTO);
		return writev(fd, iov, count);
	}
	ring->payload_size = payload_size(init);
	r = start_threads(ring);
	if (r == 0) {
		init->flags2 |= RING_FLAG2_OVER_IO_URING;
		atomic_store(&ring->state, RING_REGISTERING);
	} else {
		give_up(ring, r);
	}
	n = writev(fd, iov, count);
	if (n < 0 && r == 0) {
		int saved = errno;

		give_up(ring, -saved);
		errno = saved;
	}
	release_threads(ring);
	return n;
}

void ring_want(struct ring *ring, bool offered)
{
	if (offered)
		atomic_store(&ring->state, RING_WANTED);
	else
		give_up(ring, -EOPNOTSUPP);
}

/* --- libfuse's input and output -----------------------------------------------------------------
 */

/* The slot whose request, as the kernel knows it, waits for an answer; its id for libfuse, or 0. */
static uint64_t find_waiting(struct ring *ring, uint64_t unique)
{
	size_t n_slots = atomic_load(&ring->n_slots);

	for (size_t i = 0; i < n_slots; i++) {
		struct ring_slot *slot = atomic_load(&ring->slots[i]);
		uint64_t id;

		if (!slot || atomic_load(&slot->unique) != unique)
			continue;
		id = atomic_load(&slot->id);
		/* Else it has got another request meanwhile, and this one is answered. */
		return atomic_load(&slot->unique) == unique ? id : 0;
	}
	return 0;
}

/*
 * What the kernel calls a request to what libfuse calls it. A handler may be about to leave the
 * request waiting: the interrupt is noted first and looked for again, while wait_for_answer() says
 * that the request waits, and then looks for notes. One of them sees the other.
 */
static bool translate(struct ring *ring, struct interrupt *message)
{
	uint64_t unique = message->arg.unique;
	uint64_t id = find_waiting(ring, unique);

	if (!id) {
		pthread_mutex_lock(&ring->lock);
		ring->early[ring->next_early++ % RING_EARLY_MAX] = unique;
		atomic_store(&ring->has_early, true);
		pthread_mutex_unlock(&ring->lock);
		id = find_waiting(ring, unique);
	}
	message->arg.unique = id;
	return id != 0;
}

void ring_deliver_early(struct ring_slot *slot)
{
	struct ring *ring = slot->ring;
	uint64_t unique = atomic_load(&slot->unique);
	struct interrupt message = {
		.in.len = sizeof(message),
		.in.opcode = FUSE_INTERRUPT,
		.in.unique = unique | 1, /* FUSE_INT_REQ_BIT: nobody waits for an answer to it */
		.arg.unique = atomic_load(&slot->id),
	};
	struct fuse_buf buf = { .size = sizeof(message), .mem = &message };
	bool found = false;

	pthread_mutex_lock(&ring->lock);
	for (size_t i = 0; i < RING_EARLY_MAX && !found; i++) {
		found = ring->early[i] == unique;
		if (found)
			ring->early[i] = 0;
	}
	pthread_mutex_unlock(&ring->lock);
	if (found)
		fuse_session_process_buf(ring->session->fuse, &buf);
}

/* fuse_custom_io::read. A thread of libfuse's; it can be cancelled in read(2). */
static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
	struct session *session = userdata;
	struct interrupt *message = buffer;
	ssize_t n = read(fd, buffer, size);

	if (n < (ssize_t)sizeof(*message) || message->in.opcode != FUSE_INTERRUPT ||
	    !ring_in_use(session->ring) || translate(session->ring, message))
		return n;
	errno = EINTR; /* libfuse reads the next one */
	return -1;
}

/* fuse_custom_io::writev. Any thread. */
static ssize_t write_answer(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *session = userdata;
	struct ring *ring = session->ring;
	const struct fuse_out_header *out = iov[0].iov_base;

	if (out->unique & RING_ID_MARK)
		return ring_slot_answer(atomic_load(&ring->slots[RING_ID_SLOT(out->unique)]), iov,
					count);
	if (out->unique && atomic_load(&ring->state) == RING_WANTED)
		return answer_init(ring, fd, iov, count);
	return writev(fd, iov, count);
}

/* --- Life ---------------------------------------------------------------------------------------
 */

/* As many as num_possible_cpus() in the kernel: each gets a queue. The file says "0-3,8". */
static size_t count_processors(void)
{
	FILE *file = fopen(PROCESSORS, "re");
	size_t n = 0;
	unsigned first, last;
	int separator = ',';

	while (file && separator == ',' && fscanf(file, "%u", &first) == 1) {
		last = first;
		separator = fgetc(file);
		if (separator == '-') {
			if (fscanf(file, "%u", &last) != 1 || last < first)
				break;
			separator = fgetc(file);
		}
		n += last - first + 1;
	}
	if (file)
		(void)fclose(file); /* was only read */
	return n > 0 ? n : (size_t)get_nprocs_conf();
}

/* A ring is a descriptor, which files need more. */
static unsigned slots_a_queue(size_t n_queues)
{
	size_t most = MIN(RING_SLOTS_MAX / n_queues, (size_t)RING_QUEUE_SLOTS_MAX);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		most = MIN(most, (size_t)(limit.rlim_cur / FDS_SHARE / n_queues));
	return (unsigned)MAX(most, (size_t)RING_QUEUE_SLOTS_MIN);
}

static int make_queues(struct ring *ring)
{
	ring->n_queues = count_processors();
	if (ring->n_queues > RING_QUEUES_MAX)
		return -E2BIG;
	ring->queue_slots_max = slots_a_queue(ring->n_queues);
	ring->queue_reserve = ring->n_queues <= RING_FEW_QUEUES ? RING_RESERVE : RING_RESERVE_MIN;
	ring->queues = calloc(ring->n_queues, sizeof(*ring->queues));
	if (!ring->queues)
		return -ENOMEM;
	for (size_t i = 0; i < ring->n_queues; i++) {
		ring->queues[i].number = (uint16_t)i;
		pthread_mutex_init(&ring->queues[i].lock, NULL);
	}
	return 0;
}

static void free_queues(struct ring *ring)
{
	for (size_t i = 0; ring->queues && i < ring->n_queues; i++)
		pthread_mutex_destroy(&ring->queues[i].lock);
	free(ring->queues);
}

int ring_new(struct session *session, struct ring **ret)
{
	static const struct fuse_custom_io io = { .read = read_request, .writev = write_answer };
	struct ring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return -ENOMEM;
	ring->session = session;
	ring->log = session->log;
	ring->fuse_fd = fuse_session_fd(session->fuse);
	pthread_mutex_init(&ring->lock, NULL);
	pthread_cond_init(&ring->changed, NULL);
	ring->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = ring->stop_fd < 0 ? negative_errno() : -pthread_key_create(&ring->own_slot, NULL);
	if (r < 0)
		goto fail;
	r = make_queues(ring);
	if (r == 0)
		r = fuse_session_custom_io(session->fuse, &io, sizeof(io), ring->fuse_fd);
	if (r == 0) {
		*ret = ring;
		return 0;
	}
	(void)pthread_key_delete(ring->own_slot); /* is one */
fail:
	close_keep_errno(ring->stop_fd);
	pthread_cond_destroy(&ring->changed);
	pthread_mutex_destroy(&ring->lock);
	free_queues(ring);
	free(ring);
	return r;
}

static unsigned count_handling(struct ring *ring)
{
	unsigned n = 0;

	for (size_t i = 0; i < ring->n_queues; i++)
		n += atomic_load(&ring->queues[i].n_handling);
	return n;
}

void ring_quiesce(struct ring *ring)
{
	if (!ring)
		return;
	pthread_mutex_lock(&ring->lock);
	atomic_store(&ring->closing, true);
	while (count_handling(ring) > 0)
		pthread_cond_wait(&ring->changed, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
}

void ring_stop(struct ring *ring)
{
	const uint64_t one = 1;

	if (!ring)
		return;
	atomic_store(&ring->stop, true);
	/* Cannot fail: the counter is 0. */
	if (write(ring->stop_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	/* One that is being started will be behind the one that starts it. */
	for (size_t i = 0; i < atomic_load(&ring->n_slots); i++) {
		struct ring_slot *slot = atomic_load(&ring->slots[i]);

		pthread_mutex_lock(&slot->lock);
		pthread_cond_signal(&slot->changed);
		pthread_mutex_unlock(&slot->lock);
		ring_slot_join(slot);
	}
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	for (size_t i = 0; i < atomic_load(&ring->n_slots); i++)
		ring_slot_free(atomic_load(&ring->slots[i]));
	(void)pthread_key_delete(ring->own_slot); /* is one */
	close_keep_errno(ring->stop_fd);
	pthread_cond_destroy(&ring->changed);
	pthread_mutex_destroy(&ring->lock);
	free_queues(ring);
	free(ring);
}
