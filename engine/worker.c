/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the worker's thread: take, start, wait, complete; see worker.h.
 */
#include "worker.h"

#include <assert.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "arsync/base.h"
#include "dispatcher.h"
#include "engine_private.h"
#include "file_copy.h"

#define SLICE_NS 50000000 /* of 100 ms at most */

/* What worker_start() and its thread tell each other; lives on the starter's stack. */
struct start {
	struct worker *worker;
	sem_t ready;
	int result;
};

/* The core for worker @index: the index-th of those the process may use. Best effort. */
static void pin(struct worker *worker)
{
	const struct engine *engine = worker->engine;
	cpu_set_t set;
	int n = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &engine->cpus) || n++ != (int)(worker->index % engine->n_cpus))
			continue;
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0)
			log_debug(engine->options.log, "worker %u could not be pinned: %m",
				  worker->index);
		return;
	}
}

/*
 * A long time slice: who has a shorter one, and that is everybody else, does not wait for its end when
 * waking up (PREEMPT_SHORT of the scheduler, since Linux 6.12), so that a small copy, or an ls, is not
 * held up by the workers. Best effort; threads that the ring starts inherit it.
 */
static void lengthen_slice(struct worker *worker)
{
	/* As in linux/sched/types.h, which cannot be included beside sched.h. */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = {
		.size = sizeof(attr),
		.policy = SCHED_OTHER,
		.nice = getpriority(PRIO_PROCESS, 0),
		.runtime = SLICE_NS,
	};

	if (sched_getscheduler(0) != SCHED_OTHER)
		return; /* somebody has chosen */
	if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		log_debug(worker->engine->options.log, "worker %u keeps its time slice: %m",
			  worker->index);
}

static int make_buffers(struct worker *worker)
{
	size_t chunk_size = worker->engine->options.block_size;
	size_t size = chunk_size * worker->n_chunks;
	unsigned n_slots = worker->n_chunks * WORKER_SLOTS_PER_CHUNK + WORKER_SLOTS_EXTRA;
	void *memory;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return negative_errno();
	worker->memory = memory;
	(void)madvise(memory, size,
		      MADV_HUGEPAGE); /* fewer TLB misses where there are huge pages */
	worker->chunks = calloc(worker->n_chunks, sizeof(struct chunk));
	worker->slots = aligned_alloc(SLOT_ALIGNMENT, n_slots * sizeof(struct io_slot));
	if (!worker->chunks || !worker->slots)
		return -ENOMEM;
	memset(worker->slots, 0, n_slots * sizeof(struct io_slot));
	for (unsigned i = 0; i < worker->n_chunks; i++) {
		worker->chunks[i].memory = worker->memory + i * chunk_size;
		TAILQ_INSERT_TAIL(&worker->free_chunks, &worker->chunks[i], link);
	}
	worker->n_free_chunks = worker->n_chunks;
	worker->n_slots = n_slots;
	for (unsigned i = 0; i < n_slots; i++)
		TAILQ_INSERT_TAIL(&worker->free_slots, &worker->slots[i], link);
	return 0;
}

static int open_io(struct worker *worker)
{
	struct engine *engine = worker->engine;
	struct io_params params = {
		.n_chunks = worker->n_chunks,
		.chunks = worker->chunks,
		.chunk_size = engine->options.block_size,
		.n_slots = worker->n_slots,
		.n_files = 2 * WORKER_REGIONS_MAX,
		.wake_fd = worker->wake_fd,
		.thread = &worker->cred,
		.enters = &engine->io_uring_enters,
		.log = engine->options.log,
	};
	int r;

	worker->method = engine->options.io == ENGINE_IO_SYNC ? &io_sync_method : &io_ring_method;
	r = worker->method->open(&params, &worker->io);
	if (r < 0 && engine->options.io == ENGINE_IO_AUTO) {
		if (!__atomic_exchange_n(&engine->warned_sync, true, __ATOMIC_RELAXED))
			log_warn(engine->options.log,
				 "no io_uring here (%s): copying with the slower sync method",
				 strerror(-r));
		worker->method = &io_sync_method;
		r = worker->method->open(&params, &worker->io);
	}
	if (r == 0)
		__atomic_store_n(&engine->method, worker->method, __ATOMIC_RELAXED);
	return r;
}

static int init_in_thread(struct worker *worker)
{
	char name[16]; /* TASK_COMM_LEN of the kernel */
	int r;

	(void)snprintf(name, sizeof(name), "arsync-%u", worker->index);
	(void)pthread_setname_np(pthread_self(), name); /* for humans only */
	pin(worker);
	lengthen_slice(worker);
	r = cred_thread_init(&worker->cred, false);
	if (r < 0)
		return r;
	r = make_buffers(worker);
	if (r < 0)
		return r;
	return open_io(worker);
}

static void destroy_in_thread(struct worker *worker)
{
	assert(worker->in_flight == 0 && worker->n_regions == 0);
	if (worker->io)
		worker->method->close(worker->io);
	free(worker->slots);
	free(worker->chunks);
	if (worker->memory)
		(void)munmap(worker->memory, /* a mapping of our own: cannot fail */
			     (size_t)worker->engine->options.block_size * worker->n_chunks);
	cred_thread_destroy(&worker->cred);
}

static bool has_room(const struct worker *worker)
{
	return worker->n_free_chunks > 0 && worker->n_regions < WORKER_REGIONS_MAX &&
	       worker->n_slots - worker->in_flight >= WORKER_SLOTS_FREE_MIN;
}

/* Gives the free buffers to the regions, one each in turn. */
static void start_strides(struct worker *worker)
{
	struct region *region;

	while (worker->n_free_chunks > 0) {
		region = TAILQ_FIRST(&worker->regions);
		if (!region)
			return;
		TAILQ_REMOVE(&worker->regions, region, worker_link);
		region->listed = false;
		if (region_wants_stride(region)) {
			region_start_stride(region, worker_take_chunk(worker));
			if (!region_is_busy(region))
				worker_list_region(worker, region);
		} else if (region->in_flight == 0) {
			worker_detach_region(worker, region);
		}
	}
}

/* Small files in flight count as one, however many. */
static unsigned load(const struct worker *worker)
{
	return worker->n_regions > 0 ? worker->n_regions : worker->in_flight > 0;
}

/* Takes tasks one by one: what one of them leaves free, another may have. */
static void run_tasks(struct worker *worker)
{
	struct dispatcher *dispatcher = &worker->engine->dispatcher;
	struct task *task;

	start_strides(worker);
	while (has_room(worker)) {
		task = dispatcher_pop(dispatcher, worker, load(worker));
		if (!task)
			return;
		task->run(task, worker);
		start_strides(worker);
	}
	dispatcher_not_waiting(dispatcher, worker);
}

static void work(struct worker *worker)
{
	struct dispatcher *dispatcher = &worker->engine->dispatcher;

	for (;;) {
		run_tasks(worker);
		if (worker->in_flight == 0 && dispatcher_is_stopping(dispatcher))
			return;
		worker->method->wait(worker->io);
	}
}

static void *worker_main(void *argument)
{
	struct start *start = argument;
	struct worker *worker = start->worker;
	int r = init_in_thread(worker);

	start->result = r;
	sem_post(&start->ready); /* start is gone from here on */
	if (r == 0)
		work(worker);
	destroy_in_thread(worker);
	return NULL;
}

static void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	close_keep_errno(worker->wake_fd);
	free(worker);
}

/* Signals are for the program's own threads. */
static int create_thread(struct worker *worker, struct start *start)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&worker->thread, NULL, worker_main, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int worker_start(struct engine *engine, unsigned index, struct worker **ret)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct start start = { .worker = worker };
	int r;

	if (!worker)
		return -ENOMEM;
	worker->engine = engine;
	worker->index = index;
	worker->n_chunks = engine->options.queue_depth;
	TAILQ_INIT(&worker->free_chunks);
	TAILQ_INIT(&worker->free_slots);
	TAILQ_INIT(&worker->regions);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (worker->wake_fd < 0) {
		r = negative_errno();
		worker_free(worker);
		return r;
	}
	(void)sem_init(&start.ready, 0, 0); /* EINVAL only for a value out of range */
	r = create_thread(worker, &start);
	if (r == 0) {
		while (sem_wait(&start.ready) < 0 && errno == EINTR)
			;
		r = start.result;
		if (r < 0)
			pthread_join(worker->thread, NULL);
	}
	sem_destroy(&start.ready);
	if (r < 0) {
		log_error(engine->options.log, "copy worker %u could not be started: %s", index,
			  strerror(-r));
		worker_free(worker);
		return r;
	}
	*ret = worker;
	return 0;
}

void worker_will_look(struct worker *worker)
{
	if (has_room(worker))
		dispatcher_will_pop(&worker->engine->dispatcher, worker);
}

void worker_be_daemon(struct worker *worker)
{
	assert(!worker->interrupted);
	worker->interrupted = cred_ref(worker->cred.adopted);
	(void)cred_adopt(&worker->cred, NULL); /* the way back cannot fail */
}

void worker_be_again(struct worker *worker)
{
	struct cred *cred = TAKE_PTR(worker->interrupted);

	/* The task goes on and believes that it acts for its user. */
	if (cred_adopt(&worker->cred, cred) < 0)
		abort();
	cred_unref(cred);
}

void worker_give_way(struct worker *worker)
{
	uint64_t served_ns = __atomic_load_n(&worker->engine->served_ns, __ATOMIC_RELAXED);
	struct timespec rest = { 0 };

	rest.tv_nsec = (long)give_way_rest(&worker->give_way, served_ns, engine_now_ns());
	if (rest.tv_nsec > 0)
		(void)nanosleep(&rest, NULL); /* a shorter rest does no harm */
}

void worker_wake(struct worker *worker)
{
	const uint64_t one = 1;

	/* Blocks only at 2^64 - 2 wake-ups that nobody read. */
	(void)RETRY_EINTR(write(worker->wake_fd, &one, sizeof(one)));
}

void worker_stop(struct worker *worker)
{
	worker_wake(worker);
	pthread_join(worker->thread, NULL);
	worker_free(worker);
}

struct chunk *worker_take_chunk(struct worker *worker)
{
	struct chunk *chunk = TAILQ_FIRST(&worker->free_chunks);

	if (!chunk)
		return NULL;
	TAILQ_REMOVE(&worker->free_chunks, chunk, link);
	worker->n_free_chunks--;
	chunk->refs = 1;
	return chunk;
}

void worker_put_chunk(struct worker *worker, struct chunk *chunk)
{
	assert(chunk->refs > 0);
	if (--chunk->refs > 0)
		return;
	/* At the head: the memory that is in the processor's caches. */
	TAILQ_INSERT_HEAD(&worker->free_chunks, chunk, link);
	worker->n_free_chunks++;
}

struct io_slot *worker_take_slot(struct worker *worker)
{
	struct io_slot *slot = TAILQ_FIRST(&worker->free_slots);

	assert(slot);
	TAILQ_REMOVE(&worker->free_slots, slot, link);
	worker->in_flight++;
	return slot;
}

void worker_put_slot(struct worker *worker, struct io_slot *slot)
{
	struct chunk *chunk = slot->chunk;

	slot_release(slot);
	TAILQ_INSERT_HEAD(&worker->free_slots, slot, link);
	worker->in_flight--;
	if (chunk)
		worker_put_chunk(worker, chunk);
}

void worker_start_copy(struct worker *worker, const struct slot_copy *copy)
{
	struct io_slot *slot = worker_take_slot(worker);

	worker->method->queue(worker->io, slot, slot_begin_copy(slot, copy));
}

void worker_start_fsync(struct worker *worker, const struct slot_fsync *fsync)
{
	struct io_slot *slot = worker_take_slot(worker);

	worker->method->queue(worker->io, slot, slot_begin_fsync(slot, fsync));
}

static int take_region_index(struct worker *worker)
{
	for (int i = 0; i < WORKER_REGIONS_MAX; i++) {
		if (worker->region_indexes[i])
			continue;
		worker->region_indexes[i] = true;
		return i;
	}
	assert(!"more regions than has_room() allows");
	return -1;
}

void worker_list_region(struct worker *worker, struct region *region)
{
	if (region->listed)
		return;
	TAILQ_INSERT_TAIL(&worker->regions, region, worker_link);
	region->listed = true;
}

void worker_attach_region(struct worker *worker, struct region *region)
{
	const struct route *route = &region->copy->route;
	unsigned flags = region->choice.flags;

	region->worker = worker;
	region->index = take_region_index(worker);
	region->fixed_flags = flags;
	region->fixed = worker->method->register_files(
				worker->io, 2 * (unsigned)region->index,
				flags & SLOT_READ_DIRECT ? route->direct_src_fd : route->src_fd,
				flags & SLOT_WRITE_DIRECT ? route->direct_dst_fd : route->dst_fd) ==
			0;
	worker->n_regions++;
	TAILQ_INSERT_HEAD(&worker->regions, region, worker_link);
	region->listed = true;
}

void worker_detach_region(struct worker *worker, struct region *region)
{
	assert(region->in_flight == 0);
	if (region->listed)
		TAILQ_REMOVE(&worker->regions, region, worker_link);
	region->listed = false;
	if (region->fixed)
		worker->method->unregister_files(worker->io, 2 * (unsigned)region->index);
	worker->region_indexes[region->index] = false;
	worker->n_regions--;
	region->ended_ns = engine_now_ns();
	file_copy_region_ended(region->copy, region, worker);
}
