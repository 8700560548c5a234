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
 * ones, it sends a probe: a request of our own, which one of them gets and answers at once. With that
 * answer it gets what is queued first, and so on, until an answer brings nothing. If there are none,
 * or the probe does not come here, what is queued waits for the last: it is to answer early.
 */
#include "ring_slot.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "arsync/base.h"
#include "waiting.h"

#define RETRY_MS 100	/* after a thread could not be had */
#define CROWDED_PARTS 4 /* crowded is a queue of which less than one of so many parts is idle */
#define WARN_MS 60000	/* between two warnings about that */

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

/* A request of our own: the kernel queues it as those of others, on the processor of its thread. */
static void *run_probe(void *data)
{
	char *mountpoint = data;
	struct statfs unused;

	/* It fails, for ring_queue_is_probe() is true; or what is there now is not ours any more. */
	(void)statfs(mountpoint, &unused);
	free(mountpoint);
	return NULL;
}

/*
 * It has a thread of its own, which nobody waits for: it may be queued itself. That runs on the processor
 * of the queue and has signals blocked, as the one that makes it. Without it, what is queued waits for
 * an answer.
 */
static void send_probe(struct ring *ring)
{
	char *mountpoint = strdup(ring->session->mountpoint);
	pthread_attr_t attributes;
	pthread_t thread;
	int r;

	if (!mountpoint)
		return;
	(void)pthread_attr_init(&attributes); /* cannot fail with glibc, as the next */
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, run_probe, mountpoint);
	(void)pthread_attr_destroy(&attributes);
	if (r != 0)
		free(mountpoint);
}

bool ring_queue_is_probe(const struct fuse_in_header *in)
{
	/* The kernel tells the thread that asks; only a thread of ours can be sent nothing. */
	return in->opcode == FUSE_STATFS && in->pid != 0 &&
	       tgkill(getpid(), (pid_t)in->pid, 0) == 0;
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
		send_probe(slot->ring);
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
