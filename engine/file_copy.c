/* SPDX-License-Identifier: MIT */
/*
 * file_copy.c - the ladder, the planning of regions, the contiguous prefix, the end; see
 * file_copy.h.
 *
 *	start:    look at both files, clone what can be cloned
 *	advance:  take ended regions off the front, plan and push new ones; by one thread at a
 *		  time, which looks again when another had something to tell meanwhile, so that
 *		  no lock is held across lseek(2) and fallocate(2)
 *	finish:   set the size right, fsync through the ring, report
 */
#include "file_copy.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_plan.h"
#include "job.h"
#include "offload.h"
#include "worker.h"

/* Regions in the list, holes and those that wait for an earlier one included. */
#define REGIONS_LISTED_MAX 256

#define NS_PER_MS UINT64_C(1000000)

/* So long before an answer is due only short regions are begun. */
#define LAST_REGIONS_MS 60

static void advance_locked(struct file_copy *copy, struct worker *worker);

void file_copy_init(struct file_copy *copy, const struct file_copy_spec *spec)
{
	uint64_t now;

	*copy = (struct file_copy){
		.spec = *spec,
		.why_not_cloned = "not asked",
		.route = { .direct_src_fd = -1, .direct_dst_fd = -1 },
		.limit = UINT64_MAX,
	};
	TAILQ_INIT(&copy->regions);
	pthread_mutex_init(&copy->lock, NULL); /* never fails with default attributes */
	if (spec->answer_within_ms == 0)
		return;
	now = engine_now_ns();
	copy->soft_limit_ns = now + spec->answer_within_ms * NS_PER_MS;
	copy->hard_limit_ns = copy->soft_limit_ns + spec->answer_within_ms * NS_PER_MS / 8;
}

void file_copy_destroy(struct file_copy *copy)
{
	assert(TAILQ_EMPTY(&copy->regions));
	route_destroy(&copy->route);
	pthread_mutex_destroy(&copy->lock);
}

static bool is_late(const struct file_copy *copy)
{
	return copy->soft_limit_ns != 0 && engine_now_ns() >= copy->soft_limit_ns;
}

/*
 * Between pieces of a clone, and before new regions: is it enough? Never before something was
 * copied.
 */
bool file_copy_want_stop(void *userdata)
{
	const struct file_copy *copy = userdata;

	return job_is_cancelled(copy->spec.job) || (copy->prefix > 0 && is_late(copy));
}

static void report(struct file_copy *copy, struct worker *worker)
{
	struct file_copy_result result = {
		.error = copy->error,
		.bytes = copy->prefix,
	};

	if (result.error == 0 && copy->prefix < copy->spec.length &&
	    job_is_cancelled(copy->spec.job))
		result.error = -ECANCELED;
	for (int way = 0; way < COPY_WAY_COUNT; way++)
		result.bytes_by_way[way] = copy->bytes_by_way[way];
	copy->spec.done(copy, &result, worker);
}

static void written_out(struct write_out *out, int error)
{
	struct file_copy *copy = CONTAINER_OF(out, struct file_copy, write_out);

	if (error == -ECANCELED && copy->prefix > 1) {
		copy->prefix--; /* as any other part: who goes on asks for the rest, and waits for the fsync */
	} else if (error < 0) {
		copy->error = error; /* nothing of it is sure to be on the disk */
		copy->prefix = 0;
	}
	report(copy, out->worker);
}

/* What was cloned was not written by us. */
static void write_out(struct file_copy *copy, struct worker *worker)
{
	const uint64_t *by = copy->bytes_by_way;
	uint64_t end = copy->spec.dst_offset + copy->prefix;
	bool dirty = by[COPY_WAY_OFFLOAD] + by[COPY_WAY_RING] + by[COPY_WAY_SYNC] > 0;

	copy->write_out = (struct write_out){
		.job = copy->spec.job,
		.worker = worker,
		.fd = copy->spec.dst_fd,
		.at = dirty ? copy->spec.dst_offset : end,
		.end = end,
		.done = written_out,
	};
	write_out_start(&copy->write_out);
}

/*
 * Cuts off what was written beyond the prefix, and what was preallocated and not used (ext4 and XFS
 * free it when the file is truncated to the size that it has); makes the file longer where it ends
 * in a hole. Nothing is cut where somebody else has made the file longer than this copy did, and
 * nothing comes back that somebody else has cut off.
 */
static int set_size(struct file_copy *copy)
{
	uint64_t end = copy->prefix > 0 ? copy->spec.dst_offset + copy->prefix : 0;
	struct stat st;
	uint64_t size, want;
	int r;

	if (copy->prefix == 0 && copy->highest == 0)
		return 0;
	if (fstat(copy->spec.dst_fd, &st) < 0) {
		copy->prefix = 0; /* nobody knows how long it is */
		return negative_errno();
	}
	size = (uint64_t)st.st_size;
	want = MAX(end, MIN(copy->dst_size, size));
	if (size == want && copy->preallocated_end <= want)
		return 0;
	if (size > MAX(copy->highest, copy->dst_size))
		return 0;
	r = RETRY_EINTR(ftruncate(copy->spec.dst_fd, (off_t)want)) < 0 ? negative_errno() : 0;
	/* The hole at the end does not fit; the data before it, if there is some, does. */
	if (r < 0 && size < want)
		copy->prefix = size - MIN(size, copy->spec.dst_offset);
	return r;
}

/* A part is answered, and who asked will ask for the rest. */
static void keep_for_rest(const struct file_copy *copy)
{
	struct resume_point point = copy->begin;

	if (!copy->route.is_huge || copy->prefix == 0 || copy->prefix == copy->spec.length)
		return;
	point.src_offset += copy->prefix;
	point.dst_offset += copy->prefix;
	resume_put(&copy->spec.job->engine->resumes, &point, copy->route.is_huge);
}

static void count_route(const struct file_copy *copy)
{
	struct engine *engine = copy->spec.job->engine;
	const struct route *route = &copy->route;

	__atomic_add_fetch(&engine->direct_reads, route->direct_reads, __ATOMIC_RELAXED);
	__atomic_add_fetch(&engine->direct_writes, route->direct_writes, __ATOMIC_RELAXED);
	__atomic_add_fetch(&engine->uncached_writes, route->uncached_writes, __ATOMIC_RELAXED);
}

/* Which way it went, and why. */
static void log_copy(const struct file_copy *copy)
{
	const struct log *log = copy->spec.job->engine->options.log;
	const uint64_t *by = copy->bytes_by_way;
	char why[ROUTE_REASON_MAX];

	if (!log_wants(log, LOG_LEVEL_DEBUG))
		return;
	route_reason(&copy->route, why);
	log_debug(log,
		  "copied %" PRIu64 " of %" PRIu64 " bytes: %" PRIu64 " cloned (%s), %" PRIu64
		  " by the file system, %" PRIu64 " read and written (%s), %" PRIu64
		  " of holes%s%s",
		  copy->prefix, copy->spec.length, by[COPY_WAY_CLONE], copy->why_not_cloned,
		  by[COPY_WAY_OFFLOAD], by[COPY_WAY_RING] + by[COPY_WAY_SYNC], why,
		  by[COPY_WAY_HOLE], copy->error ? ": " : "",
		  copy->error ? strerror(-copy->error) : "");
}

/*
 * Whether there was no space for the beginning, because what was copied behind it at the same time
 * has taken it: that is cut off again by now, and a second try gets as far as there is space.
 */
static bool is_crowded_out(const struct file_copy *copy)
{
	return (copy->error == -ENOSPC || copy->error == -EDQUOT) && copy->prefix == 0 &&
	       copy->route.options && !copy->is_tight;
}

static void begin_tight(struct file_copy *copy, struct worker *worker)
{
	file_plan_tight(copy);
	__atomic_store_n(&copy->limit, UINT64_MAX, __ATOMIC_RELAXED);
	pthread_mutex_lock(&copy->lock);
	copy->planned = copy->cut = false;
	copy->error = copy->plan_error = 0;
	copy->highest = 0;
	memset(copy->bytes_by_way, 0, sizeof(copy->bytes_by_way)); /* nothing of it is left */
	copy->planning = true;
	advance_locked(copy, worker); /* unlocks */
}

static void finish(struct file_copy *copy, struct worker *worker)
{
	struct engine *engine = copy->spec.job->engine;
	int r = cred_adopt(&worker->cred, copy->spec.job->cred);

	if (copy->pair.used) {
		if (copy->route.options)
			route_learned(&copy->route, &copy->pair);
		pair_put(&engine->pairs, &copy->pair);
	}
	if (r == 0)
		r = set_size(copy);
	if (r < 0)
		copy->error = r; /* what set_size() has left of the prefix is there all the same */
	if (r == 0 && is_crowded_out(copy)) {
		begin_tight(copy, worker);
		return;
	}
	/* Once a copy, and of the prefix that it is answered with. */
	count_route(copy);
	log_copy(copy);
	keep_for_rest(copy);
	/* Who gets a part only asks for the rest, and that ends in an fsync of the whole file. */
	if (!copy->spec.fsync || copy->prefix < copy->spec.length || copy->error < 0) {
		report(copy, worker);
		return;
	}
	write_out(copy, worker);
}

/*
 * Takes ended regions off the front and moves the prefix on, up to the first one that is not whole.
 */
static void consume_locked(struct file_copy *copy)
{
	struct region *region;
	uint64_t bytes;

	while ((region = TAILQ_FIRST(&copy->regions)) && region->state == REGION_ENDED) {
		TAILQ_REMOVE(&copy->regions, region, link);
		copy->n_regions--;
		bytes = region_prefix(region);
		if (!copy->cut) {
			copy->prefix += bytes;
			copy->cut = bytes < region->length;
			copy->error = copy->cut ? region->error : 0;
		}
		free(region);
	}
}

/* Adds a region to the list's end, or with NULL ends the planning. */
static void add_locked(struct file_copy *copy, struct region *region, int error)
{
	if (!region) {
		copy->planned = true;
		copy->plan_error = error;
		return;
	}
	TAILQ_INSERT_TAIL(&copy->regions, region, link);
	copy->n_regions++;
	if (region->is_hole) {
		copy->bytes_by_way[COPY_WAY_HOLE] += region->length;
		job_add_bytes(copy->spec.job, region->length);
		engine_count(copy->spec.job->engine, COPY_WAY_HOLE, region->length);
		return;
	}
	copy->n_running++;
	copy->highest = MAX(copy->highest, region->dst_offset + region->length);
}

/* To the offload's threads, or, where there are none, to the workers. */
static void push_region(struct file_copy *copy, struct region *region, struct worker *worker)
{
	int r;

	if (region->choice.offload) {
		worker_be_daemon(worker); /* a thread is born with its creator's identity */
		r = offload_push(&copy->spec.job->engine->offload, region);
		worker_be_again(worker);
		if (r == 0)
			return;
		region->error = -EINVAL; /* not this time: its task takes it back */
	}
	r = job_push(copy->spec.job, &region->task, copy->spec.push_first ? PUSH_FIRST : PUSH_LAST,
		     worker);
	/* There is a worker, the calling one, so it cannot be that none could be started. */
	assert(r == 0);
	(void)r;
}

/* Whether nothing behind the next region may be touched before it is there. */
static bool is_ordered(const struct file_copy *copy)
{
	uint64_t done = copy->planner.position - copy->spec.src_offset;

	return copy->spec.dst_offset + done < copy->ordered_end;
}

static bool wants_region_locked(const struct file_copy *copy)
{
	return !copy->planned && copy->n_running < (is_ordered(copy) ? 1 : copy->max_regions) &&
	       copy->n_regions < REGIONS_LISTED_MAX;
}

static bool must_stop_locked(const struct file_copy *copy)
{
	bool begun = copy->prefix > 0 || copy->n_regions > 0;

	return copy->cut || job_is_cancelled(copy->spec.job) || (begun && is_late(copy)) ||
	       copy->planner.position >= __atomic_load_n(&copy->limit, __ATOMIC_RELAXED);
}

/*
 * How long the next region is to be. Short ones shortly before the answer is due: so all workers end
 * at about the same time, and none is cut short, which would cost all that lies behind it.
 */
static uint64_t next_length_locked(const struct file_copy *copy)
{
	uint64_t length = copy->pair.region_length;

	if (is_ordered(copy))
		return MIN(length, (uint64_t)copy->stride); /* one after the other within it, too */
	if (copy->soft_limit_ns == 0 ||
	    engine_now_ns() + LAST_REGIONS_MS * NS_PER_MS < copy->soft_limit_ns)
		return length;
	return MIN(length, (uint64_t)copy->stride);
}

/*
 * Plans regions until there are enough. Called and left with the lock held; not held while
 * planning.
 */
static void plan_locked(struct file_copy *copy, struct worker *worker)
{
	struct region *region;
	int error = 0;

	while (wants_region_locked(copy)) {
		if (must_stop_locked(copy)) {
			copy->planned = true;
			return;
		}
		copy->region_length = next_length_locked(copy);
		pthread_mutex_unlock(&copy->lock);
		error = cred_adopt(&worker->cred, copy->spec.job->cred);
		region = error < 0 ? NULL : file_plan_next(copy, &error);
		pthread_mutex_lock(&copy->lock);
		add_locked(copy, region, error);
		if (region && !region->is_hole) {
			pthread_mutex_unlock(&copy->lock);
			push_region(copy, region, worker);
			pthread_mutex_lock(&copy->lock);
		} else {
			consume_locked(copy);
		}
	}
}

/*
 * Goes on with the copy. The caller has set copy->planning, under the lock that is held: whoever
 * has something to tell meanwhile leaves a note and goes. The flag is never cleared at the end, so
 * that it comes once.
 */
static void advance_locked(struct file_copy *copy, struct worker *worker)
{
	bool ended;

	do {
		copy->again = false;
		consume_locked(copy);
		plan_locked(copy, worker);
	} while (copy->again);
	ended = copy->planned && copy->n_running == 0;
	copy->planning = ended;
	if (ended) {
		consume_locked(copy);
		if (!copy->cut && copy->error == 0)
			copy->error = copy->plan_error;
	}
	pthread_mutex_unlock(&copy->lock);
	if (ended)
		finish(copy, worker);
}

void file_copy_limit(struct file_copy *copy, uint64_t src_offset)
{
	uint64_t limit = __atomic_load_n(&copy->limit, __ATOMIC_RELAXED);

	while (src_offset < limit &&
	       !__atomic_compare_exchange_n(&copy->limit, &limit, src_offset, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Books what was copied of a region, by the ways it was. */
static void book_region_locked(struct file_copy *copy, const struct region *region,
			       enum copy_way way)
{
	struct engine *engine = copy->spec.job->engine;
	uint64_t rest = region_prefix(region) - region->front;

	if (region->front > 0) {
		copy->bytes_by_way[COPY_WAY_OFFLOAD] += region->front;
		engine_count(engine, COPY_WAY_OFFLOAD, region->front);
	}
	if (!region->choice.offload) {
		copy->bytes_by_way[way] += rest;
		engine_count(engine, way, rest);
	}
}

void file_copy_region_ended(struct file_copy *copy, struct region *region, struct worker *worker)
{
	pthread_mutex_lock(&copy->lock);
	region->state = REGION_ENDED;
	book_region_locked(copy, region, worker->method->way);
	copy->n_running--;
	pair_learn(&copy->pair, region->length, copy->spec.job->engine->options.block_size,
		   region->ended_ns - region->started_ns);
	if (copy->planning) {
		copy->again = true;
		pthread_mutex_unlock(&copy->lock);
		return;
	}
	copy->planning = true;
	advance_locked(copy, worker); /* unlocks */
}

void file_copy_start(struct file_copy *copy, struct worker *worker)
{
	int r = cred_adopt(&worker->cred, copy->spec.job->cred);

	if (r == 0 && !job_is_cancelled(copy->spec.job))
		r = file_plan_begin(copy);
	if (r < 0 || file_copy_want_stop(copy) || copy->prefix >= copy->spec.length) {
		copy->error = r;
		finish(copy, worker);
		return;
	}
	pthread_mutex_lock(&copy->lock);
	copy->planning = true;
	advance_locked(copy, worker); /* unlocks */
}
