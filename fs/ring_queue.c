/* SPDX-License-Identifier: MIT */
/*
 * ring_queue.c - the threads of a queue that are idle: how many there are, and whether somebody may be
 * waiting for one.
 *
 * A queue has idle threads in reserve and gets others in time; but requests may come sooner, and then the
 * kernel queues them until the next answer of this queue, because it gives a new entry nothing that is
 * queued (fuse_uring_do_register() in fs/fuse/dev_uring.c). So there must be an answer soon.
 *
 * Nothing is queued while an idle entry is proven: it was there before the first request, or came free
 * with an answer, or was there when another's answer brought no request. All others are fresh. Before
 * requests are queued, each of the proven ones gets one; the last finds no other. If there are fresh
 * ones, it sends a probe: has the kernel make a request that means nothing, which one of them gets and
 * answers at once. With that answer it gets what is queued first, and so on, until an answer brings
 * nothing. If there are none, or no probe can be had, what is queued waits for the last: it is to answer
 * early.
 */
#include "ring_slot.h"

#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "inode_table.h"
#include "waiting.h"

#define RETRY_MS 100	/* after a thread could not be had */
#define CROWDED_PARTS 4 /* crowded is a queue of which less than one of so many parts is idle */
#define WARN_MS 60000	/* between two warnings about that */

/* Marks the numbers of probes: the kernel's own, which count up by two, do not get there. */
#define PROBE_MARK (UINT64_C(1) << 62)
#define PROBE_STEP 2
#define PROBE_TRIES 4

static void note_refused(struct ring *ring, int error, uint64_t now)
{
	uint64_t due = atomic_load(&ring->next_warning_ms);

	if (now >= due &&
	    atomic_compare_exchange_strong(&ring->next_warning_ms, &due, now + WARN_MS))
		log_warn(ring->log,
			 "no further thread for requests: %s; long requests are answered early",
			 strerror(-error));
}

void ring_queue_grow(struct ring_slot *slot)
{
	struct ring_queue *queue = slot->queue;
	uint64_t now = waiting_now_ms();
	uint64_t retry = atomic_load(&queue->retry_ms);
	int r;

	if (retry && (now < retry ||
		      !atomic_compare_exchange_strong(&queue->retry_ms, &retry, now + RETRY_MS)))
		return;
	r = ring_slot_start(slot->ring, queue, false);
	if (r == -EBUSY || ring_is_end(r))
		return;
	atomic_store(&queue->retry_ms, r < 0 ? now + RETRY_MS : 0);
	if (r < 0)
		note_refused(slot->ring, r, now);
}

/*
 * FUSE_NOTIFY_RETRIEVE asks for data that the kernel has cached of a regular file. The kernel sends them
 * as a request, to the queue of the processor that we run on, and waits for nothing. We ask for no
 * bytes. (A system call on our own mount would do, too; but who waits for himself cannot be killed.)
 * -ENOENT: the kernel has just forgotten the file. -errno.
 */
static int send_probe(struct ring *ring, uint64_t id)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_retrieve_out arg;
	} message = {
		.header.len = sizeof(message),
		.header.error = FUSE_NOTIFY_RETRIEVE,
		.arg.notify_unique = PROBE_MARK | atomic_fetch_add(&ring->next_probe, PROBE_STEP),
		.arg.nodeid = id,
	};

	return write(ring->fuse_fd, &message, sizeof(message)) < 0 ? negative_errno() : 0;
}

/* Without a probe what is queued waits for the next answer. (Not all kernels take a directory.) */
static void probe(struct ring *ring)
{
	int r = -ENOENT;

	for (unsigned i = 0; i < PROBE_TRIES && r == -ENOENT; i++) {
		uint64_t id = inode_table_any_file(ring->session->inodes);

		r = send_probe(ring, id != 0 ? id : FUSE_ROOT_ID);
	}
	if (r < 0)
		log_debug(ring->log, "a queue cannot be probed: %s", strerror(-r));
}

bool ring_queue_is_probe(const struct fuse_in_header *in)
{
	return in->opcode == FUSE_NOTIFY_REPLY; /* nobody else asks for any */
}

bool ring_queue_become_idle(struct ring_slot *slot)
{
	struct ring_queue *queue = slot->queue;
	bool others;

	pthread_mutex_lock(&queue->lock);
	others = queue->n_fresh > 0;
	if (slot->fresh) {
		slot->n_proofs = queue->n_proofs;
		queue->n_fresh++;
		queue->n_begun++;
	} else {
		queue->n_proven++;
	}
	pthread_mutex_unlock(&queue->lock);
	return others;
}

void ring_queue_become_busy(struct ring_slot *slot)
{
	struct ring_queue *queue = slot->queue;
	unsigned most = slot->ring->queue_slots_max;
	unsigned proven, idle;
	bool may_wait;

	pthread_mutex_lock(&queue->lock);
	if (slot->fresh && slot->n_proofs == queue->n_proofs)
		queue->n_fresh--;
	else
		queue->n_proven--;
	proven = queue->n_proven;
	idle = proven + queue->n_fresh;
	pthread_mutex_unlock(&queue->lock);
	slot->fresh = false; /* from its answer on */
	if (idle < slot->ring->queue_reserve)
		ring_queue_grow(slot);
	pthread_mutex_lock(&queue->lock);
	may_wait = queue->n_proven == 0 && queue->n_fresh > 0;
	pthread_mutex_unlock(&queue->lock);
	/* (What the answer to a probe brings sends the next one.) */
	if (may_wait && !ring_queue_is_probe(&slot->header->in_out.in))
		probe(slot->ring);
	slot->crowded = proven == 0 ||
			(idle < most / CROWDED_PARTS && atomic_load(&queue->n_slots) >= most);
}

unsigned ring_queue_begun(struct ring_queue *queue)
{
	unsigned n_begun;

	pthread_mutex_lock(&queue->lock);
	n_begun = queue->n_begun;
	pthread_mutex_unlock(&queue->lock);
	return n_begun;
}

void ring_queue_prove(struct ring_queue *queue, unsigned n_begun)
{
	pthread_mutex_lock(&queue->lock);
	if (queue->n_begun == n_begun) {
		queue->n_proven += queue->n_fresh;
		queue->n_fresh = 0;
		queue->n_proofs++;
	}
	pthread_mutex_unlock(&queue->lock);
}
