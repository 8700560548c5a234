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
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "job.h"
#include "reflink.h"
#include "worker.h"

#define XFS_SUPER_MAGIC 0x58465342 /* linux/magic.h of older headers lacks it */

#define REGION_FIRST_BLOCKS 4 /* length of a region before anything was learned */

/* Below this a second worker costs more than it brings. */
#define PARALLEL_MIN (8 * MIB)

/* Regions in the list, holes and those that wait for an earlier one included. */
#define REGIONS_LISTED_MAX 256

#define NS_PER_MS UINT64_C(1000000)

void file_copy_init(struct file_copy *copy, const struct file_copy_spec *spec)
{
	uint64_t now;

	*copy = (struct file_copy){ .spec = *spec, .limit = UINT64_MAX };
	TAILQ_INIT(&copy->regions);
	pthread_mutex_init(&copy->lock, NULL); /* never fails with default attributes */
	if (spec->answer_within_ms == 0)
		return;
	now = engine_now_ns();
	copy->soft_limit_ns = now + spec->answer_within_ms * NS_PER_MS;
	copy->hard_limit_ns = copy->soft_limit_ns + spec->answer_within_ms * NS_PER_MS / 4;
}

void file_copy_destroy(struct file_copy *copy)
{
	assert(TAILQ_EMPTY(&copy->regions));
	pthread_mutex_destroy(&copy->lock);
}

static const struct engine_options *options(const struct file_copy *copy)
{
	return &copy->spec.job->engine->options;
}

static bool is_late(const struct file_copy *copy)
{
	return copy->soft_limit_ns != 0 && engine_now_ns() >= copy->soft_limit_ns;
}

/*
 * Between pieces of a clone, and before new regions: is it enough? Never before something was
 * copied.
 */
static bool want_stop(void *userdata)
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

static void fsync_done(struct io_slot *slot)
{
	struct file_copy *copy = slot->owner;
	struct worker *worker = copy->worker;

	if (slot->error < 0) {
		copy->error = slot->error; /* nothing of it is sure to be on the disk */
		copy->prefix = 0;
	}
	worker_put_slot(worker, slot);
	report(copy, worker);
}

/*
 * Cuts off what was written beyond the prefix, and what was preallocated and not used (ext4 and XFS
 * free it when the file is truncated to the size that it has); makes the file longer where it ends
 * in a hole. Nothing is cut where somebody else has made the file longer than this copy did.
 */
static int set_size(struct file_copy *copy)
{
	uint64_t end = copy->prefix > 0 ? copy->spec.dst_offset + copy->prefix : 0;
	uint64_t want = MAX(end, copy->dst_size);
	struct stat st;
	uint64_t size;
	int r = 0;

	if (copy->prefix == 0 && copy->highest == 0)
		return 0;
	if (fstat(copy->spec.dst_fd, &st) < 0)
		return negative_errno();
	size = (uint64_t)st.st_size;
	if (size == want && copy->preallocated_end <= want)
		return 0;
	if (size > MAX(copy->highest, copy->dst_size))
		return 0;
	if (RETRY_EINTR(ftruncate(copy->spec.dst_fd, (off_t)want)) < 0)
		r = negative_errno();
	if (r < 0 && size < want && size > copy->spec.dst_offset) {
		/* The hole at the end does not fit; the data before it does. */
		copy->prefix = size - copy->spec.dst_offset;
		copy->error = r;
		r = 0;
	}
	return r;
}

static void finish(struct file_copy *copy, struct worker *worker)
{
	struct slot_fsync sync = {
		.fd = copy->spec.dst_fd,
		.cred = copy->spec.job->cred,
		.done = fsync_done,
		.owner = copy,
	};
	struct engine *engine = copy->spec.job->engine;
	int r = cred_adopt(&worker->cred, copy->spec.job->cred);

	if (copy->pair.used)
		pair_put(&engine->pairs, &copy->pair);
	if (r == 0)
		r = set_size(copy);
	if (r < 0) {
		copy->error = r;
		copy->prefix = 0;
	}
	/* Who gets a part only asks for the rest, and that ends in an fsync of the whole file. */
	if (!copy->spec.fsync || copy->prefix < copy->spec.length || copy->error < 0) {
		report(copy, worker);
		return;
	}
	copy->worker = worker;
	worker_start_fsync(worker, &sync);
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

/*
 * Zeros where the destination has data and the source has none. -EOPNOTSUPP: write zeros instead.
 */
static int keep_hole(struct file_copy *copy, const struct extent *hole, uint64_t dst_offset)
{
	uint64_t end = MIN(dst_offset + hole->length, copy->dst_size);

	if (dst_offset >= end)
		return 0;
	if (RETRY_EINTR(fallocate(copy->spec.dst_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)dst_offset, (off_t)(end - dst_offset))) == 0)
		return 0;
	return errno == ENOSYS || errno == EINVAL ? -EOPNOTSUPP : negative_errno();
}

/* Advisory: what is wrong shows when it is written. */
static void preallocate(struct file_copy *copy, uint64_t offset, uint64_t length)
{
	if (!copy->preallocate || offset + length <= copy->dst_size)
		return;
	if (fallocate(copy->spec.dst_fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
		copy->preallocated_end = offset + length;
	else
		copy->preallocate = false;
}

/* The next region, or NULL with *ret_error 0 when all is planned. */
static struct region *plan_region(struct file_copy *copy, int *ret_error)
{
	const struct file_copy_spec *spec = &copy->spec;
	struct region *region;
	struct extent extent;
	uint64_t dst_offset;
	int r;

	r = planner_next(&copy->planner, copy->region_length, &extent);
	*ret_error = MIN(r, 0);
	if (r <= 0)
		return NULL;
	dst_offset = spec->dst_offset + (extent.offset - spec->src_offset);
	if (extent.is_hole) {
		r = keep_hole(copy, &extent, dst_offset);
		if (r == -EOPNOTSUPP) {
			planner_hole_as_data(&copy->planner, &extent);
			return plan_region(copy, ret_error); /* data now: goes one deep */
		}
		*ret_error = r;
		if (r < 0)
			return NULL;
	} else {
		preallocate(copy, dst_offset, extent.length);
	}
	region = extent.is_hole ? region_new_hole(copy, extent.offset, dst_offset, extent.length) :
				  region_new(copy, extent.offset, dst_offset, extent.length);
	if (!region)
		*ret_error = -ENOMEM;
	else
		region->is_first = extent.offset == spec->src_offset;
	return region;
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

static void push_region(struct file_copy *copy, struct region *region, struct worker *worker)
{
	int r = job_push(copy->spec.job, &region->task,
			 copy->spec.push_first ? PUSH_FIRST : PUSH_LAST, worker);

	/* There is a worker, the calling one, so it cannot be that none could be started. */
	assert(r == 0);
	(void)r;
}

static bool wants_region_locked(const struct file_copy *copy)
{
	return !copy->planned && copy->n_running < copy->max_regions &&
	       copy->n_regions < REGIONS_LISTED_MAX;
}

static bool must_stop_locked(const struct file_copy *copy)
{
	bool begun = copy->prefix > 0 || copy->n_regions > 0;

	return copy->cut || job_is_cancelled(copy->spec.job) || (begun && is_late(copy)) ||
	       copy->planner.position >= __atomic_load_n(&copy->limit, __ATOMIC_RELAXED);
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
		copy->region_length = copy->pair.region_length;
		pthread_mutex_unlock(&copy->lock);
		error = cred_adopt(&worker->cred, copy->spec.job->cred);
		region = error < 0 ? NULL : plan_region(copy, &error);
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

void file_copy_fds(const struct file_copy *copy, int *ret_src_fd, int *ret_dst_fd)
{
	*ret_src_fd = copy->spec.src_fd;
	*ret_dst_fd = copy->spec.dst_fd;
}

void file_copy_limit(struct file_copy *copy, uint64_t src_offset)
{
	uint64_t limit = __atomic_load_n(&copy->limit, __ATOMIC_RELAXED);

	while (src_offset < limit &&
	       !__atomic_compare_exchange_n(&copy->limit, &limit, src_offset, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void file_copy_region_ended(struct file_copy *copy, struct region *region, struct worker *worker)
{
	enum copy_way way = worker->method->way;
	uint64_t bytes = region_prefix(region);

	engine_count(copy->spec.job->engine, way, bytes);
	pthread_mutex_lock(&copy->lock);
	region->state = REGION_ENDED;
	copy->bytes_by_way[way] += bytes;
	copy->n_running--;
	pair_learn(&copy->pair, region->length, region->block_size,
		   region->ended_ns - region->started_ns);
	if (copy->planning) {
		copy->again = true;
		pthread_mutex_unlock(&copy->lock);
		return;
	}
	copy->planning = true;
	advance_locked(copy, worker); /* unlocks */
}

/* The top of the ladder. 0: go on with what is left; -errno: the copy has failed. */
static int clone_front(struct file_copy *copy, const struct stat *src, uint64_t block_size)
{
	const struct reflink reflink = {
		.src_fd = copy->spec.src_fd,
		.dst_fd = copy->spec.dst_fd,
		.src_offset = copy->spec.src_offset,
		.dst_offset = copy->spec.dst_offset,
		.length = copy->spec.length,
		.src_size = (uint64_t)src->st_size,
		.block_size = block_size,
	};
	enum engine_reflink policy = options(copy)->reflink;
	uint64_t cloned = 0;
	int r;

	if (policy == ENGINE_REFLINK_NEVER)
		return 0;
	r = copy->pair.no_clone ? -EOPNOTSUPP : reflink_range(&reflink, want_stop, copy, &cloned);
	copy->prefix = cloned;
	if (cloned > 0) {
		copy->bytes_by_way[COPY_WAY_CLONE] = cloned;
		copy->highest = copy->spec.dst_offset + cloned;
		job_add_bytes(copy->spec.job, cloned);
		engine_count(copy->spec.job->engine, COPY_WAY_CLONE, cloned);
	}
	if (r == -EOPNOTSUPP)
		copy->pair.no_clone = true;
	if (policy == ENGINE_REFLINK_ALWAYS && cloned < copy->spec.length && !want_stop(copy))
		return r < 0 ? r : -EINVAL;
	return r == -EOPNOTSUPP || r == -EINVAL ? 0 : r;
}

static unsigned regions_at_once(const struct file_copy *copy, uint64_t left)
{
	const struct engine_options *o = options(copy);
	unsigned n = 1;

	if (o->depth != ENGINE_DEPTH_AUTO)
		return 1U << o->depth;
	if (left < PARALLEL_MIN)
		return 1;
	while (n < 2 * o->workers && n < 1U << ENGINE_DEPTH_MAX)
		n *= 2;
	return n;
}

/*
 * tmpfs looks for a hole page by page (32 ms a GiB), but its count of blocks is exact. Others map
 * extents, and may count blocks beyond the end of file (XFS preallocates there).
 */
static bool is_dense(int fd, const struct stat *st)
{
	struct statfs fs;

	return (uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size && fstatfs(fd, &fs) == 0 &&
	       fs.f_type == TMPFS_MAGIC;
}

/* Sets up what the planning needs; the front may have been cloned already. */
static int prepare(struct file_copy *copy)
{
	struct file_copy_spec *spec = &copy->spec;
	uint32_t block = options(copy)->block_size;
	struct statfs fs;
	struct stat src, dst;
	uint64_t from;
	int r;

	if (fstat(spec->src_fd, &src) < 0 || fstat(spec->dst_fd, &dst) < 0 ||
	    fstatfs(spec->dst_fd, &fs) < 0)
		return negative_errno();
	copy->dst_size = (uint64_t)dst.st_size;
	if (spec->src_offset >= (uint64_t)src.st_size)
		spec->length = 0;
	else
		spec->length = MIN(spec->length, (uint64_t)src.st_size - spec->src_offset);
	copy->pair = pair_get(&spec->job->engine->pairs, src.st_dev, dst.st_dev);
	r = clone_front(copy, &src, (uint64_t)fs.f_bsize);
	if (r < 0)
		return r;
	from = spec->src_offset + copy->prefix;
	planner_init(&copy->planner, spec->src_fd, from, spec->src_offset + spec->length,
		     is_dense(spec->src_fd, &src));
	copy->max_regions = regions_at_once(copy, spec->length - copy->prefix);
	copy->preallocate = fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC;
	if (copy->pair.region_length == 0 || copy->pair.region_length % block != 0)
		copy->pair.region_length = (uint64_t)block * REGION_FIRST_BLOCKS;
	return 0;
}

void file_copy_start(struct file_copy *copy, struct worker *worker)
{
	int r = cred_adopt(&worker->cred, copy->spec.job->cred);

	if (r == 0 && !job_is_cancelled(copy->spec.job))
		r = prepare(copy);
	if (r < 0 || want_stop(copy) || copy->prefix >= copy->spec.length) {
		copy->error = r;
		finish(copy, worker);
		return;
	}
	pthread_mutex_lock(&copy->lock);
	copy->planning = true;
	advance_locked(copy, worker); /* unlocks */
}
