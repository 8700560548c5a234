/* SPDX-License-Identifier: MIT */
/*
 * engine.c - lifecycle, options and counters of the engine.
 *
 * Map of the module: engine.h is the contract; job.c the life of a request; file_copy.c copies one
 * range (file_plan.c, reflink.c, planner.c, route.c, region.c, offload.c below it) and tree.c a
 * tree; dispatcher.c hands their tasks to worker.c, whose slots (slot.c) a method performs
 * (io_ring.c, io_sync.c). docs/ARCHITECTURE.md follows one copy through them.
 */
#include "arsync/engine.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "tree.h"

static void find_cpus(struct engine *engine)
{
	if (sched_getaffinity(0, sizeof(engine->cpus), &engine->cpus) < 0) {
		/*
		 * More processors than the set can name: take the first, pinning is best effort
		 * anyhow.
		 */
		CPU_ZERO(&engine->cpus);
		CPU_SET(0, &engine->cpus);
	}
	engine->n_cpus = (unsigned)CPU_COUNT(&engine->cpus);
	if (engine->options.workers == 0)
		engine->options.workers = MIN(engine->n_cpus, (unsigned)ENGINE_WORKERS_MAX);
}

void engine_raise_fd_limit(const struct log *log)
{
	struct rlimit limit;

	/* It cannot fail on Linux. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_debug(log, "the limit of open files stays as it is: %s", strerror(errno));
}

/*
 * A quarter of the descriptors that the process may have is for small files (each worker may have a
 * group a buffer, two descriptors a file), an eighth for directories (two each), an eighth for large
 * files (with direct I/O four each).
 */
static void budget_files(struct engine *engine)
{
	rlim_t groups = (rlim_t)engine->options.workers * engine->options.queue_depth;
	struct rlimit limit;

	engine->group_files = TREE_GROUP_FILES;
	engine->dirs_open = TREE_DIRS_OPEN_MAX;
	engine->large_open = TREE_LARGE_OPEN_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	if (limit.rlim_cur / 8 / groups < TREE_GROUP_FILES)
		engine->group_files = (unsigned)MAX(limit.rlim_cur / 8 / groups, (rlim_t)1);
	if (limit.rlim_cur / 16 < TREE_DIRS_OPEN_MAX)
		engine->dirs_open = (unsigned)MAX(limit.rlim_cur / 16, (rlim_t)2);
	if (limit.rlim_cur / 32 < TREE_LARGE_OPEN_MAX)
		engine->large_open = (unsigned)MAX(limit.rlim_cur / 32, (rlim_t)2);
}

int engine_new(const struct engine_options *options, struct engine **ret)
{
	_cleanup_free_ struct engine *engine = calloc(1, sizeof(*engine));
	int r;

	if (!engine)
		return -ENOMEM;
	engine->options = *options;
	r = engine_options_check(&engine->options);
	if (r < 0)
		return r;
	find_cpus(engine);
	budget_files(engine);
	r = dispatcher_init(&engine->dispatcher, engine, engine->options.workers);
	if (r < 0)
		return r;
	offload_init(&engine->offload, engine);
	counter_init(&engine->counter);
	syncfs_init(&engine->syncfs);
	pair_table_init(&engine->pairs);
	resume_table_init(&engine->resumes);
	TAILQ_INIT(&engine->running);
	pthread_mutex_init(&engine->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&engine->none_running, NULL);
	*ret = TAKE_PTR(engine);
	return 0;
}

static struct job *find_uncancelled_locked(struct engine *engine)
{
	struct job *job;

	TAILQ_FOREACH(job, &engine->running, link)
		if (job_is_open(job))
			return job;
	return NULL;
}

void engine_drain(struct engine *engine)
{
	struct job *job;

	pthread_mutex_lock(&engine->lock);
	engine->draining = true;
	/* Without the lock: what a cancelled job does at once may queue tasks. */
	while ((job = find_uncancelled_locked(engine))) {
		job_ref(job);
		pthread_mutex_unlock(&engine->lock);
		job_cancel(job);
		job_unref(job);
		pthread_mutex_lock(&engine->lock);
	}
	while (!TAILQ_EMPTY(&engine->running))
		pthread_cond_wait(&engine->none_running, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	engine_drain(engine);
	counter_destroy(&engine->counter);
	offload_destroy(&engine->offload); /* first: its threads queue tasks, as the next one's */
	syncfs_destroy(&engine->syncfs);
	dispatcher_destroy(&engine->dispatcher);
	resume_table_destroy(&engine->resumes);
	pair_table_destroy(&engine->pairs);
	pthread_cond_destroy(&engine->none_running);
	pthread_mutex_destroy(&engine->lock);
	free(engine);
}

const char *copy_way_name(enum copy_way way)
{
	switch (way) {
	case COPY_WAY_CLONE:
		return "clone";
	case COPY_WAY_OFFLOAD:
		return "offload";
	case COPY_WAY_RING:
		return "ring";
	case COPY_WAY_SYNC:
		return "sync";
	case COPY_WAY_SHORT:
		return "short";
	case COPY_WAY_HOLE:
		return "hole";
	case COPY_WAY_COUNT:
		break;
	}
	return "unknown";
}

void engine_count(struct engine *engine, enum copy_way way, uint64_t bytes)
{
	__atomic_add_fetch(&engine->ways[way], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&engine->bytes[way], bytes, __ATOMIC_RELAXED);
}

uint64_t engine_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void engine_note_served(struct engine *engine)
{
	__atomic_store_n(&engine->served_ns, engine_now_ns(), __ATOMIC_RELAXED);
}

void engine_get_stats(const struct engine *engine, struct engine_stats *ret)
{
	const struct io_method *method = __atomic_load_n(&engine->method, __ATOMIC_RELAXED);

	*ret = (struct engine_stats){
		.jobs_started = __atomic_load_n(&engine->jobs_started, __ATOMIC_RELAXED),
		.jobs_ended = __atomic_load_n(&engine->jobs_ended, __ATOMIC_RELAXED),
		.jobs_failed = __atomic_load_n(&engine->jobs_failed, __ATOMIC_RELAXED),
		.jobs_cancelled = __atomic_load_n(&engine->jobs_cancelled, __ATOMIC_RELAXED),
		.files = __atomic_load_n(&engine->files, __ATOMIC_RELAXED),
		.direct_reads = __atomic_load_n(&engine->direct_reads, __ATOMIC_RELAXED),
		.direct_writes = __atomic_load_n(&engine->direct_writes, __ATOMIC_RELAXED),
		.uncached_writes = __atomic_load_n(&engine->uncached_writes, __ATOMIC_RELAXED),
		.io_uring_enters = __atomic_load_n(&engine->io_uring_enters, __ATOMIC_RELAXED),
		.workers = __atomic_load_n(&engine->dispatcher.n_workers, __ATOMIC_RELAXED),
		.io = method ? method->name : "none yet",
	};
	for (int way = 0; way < COPY_WAY_COUNT; way++) {
		ret->ways[way] = __atomic_load_n(&engine->ways[way], __ATOMIC_RELAXED);
		ret->bytes[way] = __atomic_load_n(&engine->bytes[way], __ATOMIC_RELAXED);
	}
}
