/* SPDX-License-Identifier: MIT */
/*
 * file_plan.c - what is looked at before a copy, and before each of its regions; see file_plan.h.
 */
#include "file_plan.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "job.h"
#include "reflink.h"

#define XFS_SUPER_MAGIC 0x58465342 /* linux/magic.h of older headers lacks it */

#define REGION_FIRST_STRIDES 4 /* length of a region before anything was learned */

/* About what one slot copies: a completion for so much is worth a system call. */
#define STRIDE ((uint32_t)(4 * MIB))

/* Below this a second worker costs more than it brings. */
#define PARALLEL_MIN (8 * MIB)

/* What is left of a shorter range is not worth an answer of its own. */
#define CLONE_CUT_MIN MIB

static const struct engine_options *options(const struct file_copy *copy)
{
	return &copy->spec.job->engine->options;
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

/*
 * Takes the space for a region before the next one is planned, so that when there is none left
 * nothing was written behind the gap; and so that regions of a growing file do not wait for each
 * other's blocks. When space runs out the rest is copied block by block: what fits, fits.
 */
static void preallocate(struct file_copy *copy, uint64_t offset, uint64_t length)
{
	bool beyond = offset + length > copy->dst_size;

	if (copy->is_tight || !(beyond ? copy->preallocate_growth : copy->preallocate_inside))
		return;
	if (RETRY_EINTR(fallocate(copy->spec.dst_fd, FALLOC_FL_KEEP_SIZE, (off_t)offset,
				  (off_t)length)) == 0) {
		if (beyond)
			copy->preallocated_end = offset + length;
		return;
	}
	copy->is_tight = errno == ENOSPC || errno == EDQUOT;
	if (copy->is_tight && beyond)
		copy->preallocated_end = offset + length; /* part of it may be there */
	else if (!copy->is_tight) { /* what is wrong shows when it is written */
		copy->preallocate_growth = copy->preallocate_inside = false;
		copy->ordered_end = MAX(copy->ordered_end, copy->dst_size);
	}
}

/* Shortens @extent, the planner's last answer. */
static void shorten(struct file_copy *copy, struct extent *extent, uint64_t length)
{
	planner_give_back(&copy->planner, extent->length - length);
	extent->length = length;
}

static struct region *plan_data(struct file_copy *copy, struct extent *extent)
{
	const struct file_copy_spec *spec = &copy->spec;
	uint64_t dst_offset = spec->dst_offset + (extent->offset - spec->src_offset);
	uint32_t block = options(copy)->block_size;
	struct route_choice choice;
	struct region *region;

	choice = route_choose(&copy->route, extent->offset, dst_offset, extent->length);
	preallocate(copy, dst_offset, extent->length);
	if (copy->is_tight) {
		copy->max_regions = 1;
		if (extent->length > block)
			shorten(copy, extent, block);
	} else if (dst_offset < copy->ordered_end && extent->length > copy->stride) {
		shorten(copy, extent, copy->stride); /* it has just been found that order counts */
	}
	region = region_new(copy, extent->offset, dst_offset, extent->length);
	if (region)
		region->choice = choice;
	return region;
}

/* The tail of a file that is read directly is a region of its own, for its length is not aligned. */
static void align(struct file_copy *copy, struct extent *extent)
{
	uint64_t aligned = route_aligned(extent->length);

	if (!extent->is_hole && aligned > 0 && aligned < extent->length &&
	    route_may_be_direct(&copy->route))
		shorten(copy, extent, aligned);
}

struct region *file_plan_next(struct file_copy *copy, int *ret_error)
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
			return file_plan_next(copy, ret_error); /* data now: goes one deep */
		}
		*ret_error = r;
		if (r < 0)
			return NULL;
		region = region_new_hole(copy, extent.offset, dst_offset, extent.length);
	} else {
		align(copy, &extent);
		region = plan_data(copy, &extent);
	}
	if (!region)
		*ret_error = -ENOMEM;
	else
		region->is_first = extent.offset == spec->src_offset;
	return region;
}

/*
 * A long range that begins in the middle of a block, in both files alike: only up to the next block
 * now, the caller asks for the rest and that can be cloned.
 */
static bool is_cut_for_clone(struct file_copy *copy, uint64_t block_size)
{
	struct file_copy_spec *spec = &copy->spec;
	uint64_t in_block = spec->src_offset % block_size;

	if (spec->answer_within_ms == 0 || in_block == 0 ||
	    spec->dst_offset % block_size != in_block || spec->length < CLONE_CUT_MIN)
		return false;
	spec->length = block_size - in_block;
	return true;
}

static void book_clone(struct file_copy *copy, uint64_t cloned)
{
	copy->prefix = cloned;
	if (cloned == 0)
		return;
	copy->bytes_by_way[COPY_WAY_CLONE] = cloned;
	copy->highest = copy->spec.dst_offset + cloned;
	job_add_bytes(copy->spec.job, cloned);
	engine_count(copy->spec.job->engine, COPY_WAY_CLONE, cloned);
}

static const char *why_not_cloned(int error, uint64_t cloned)
{
	if (error == 0)
		return cloned > 0 ? "what is aligned" : "not aligned";
	return error == -EOPNOTSUPP ? "not supported between these file systems" :
				      "refused for these files";
}

/* The top of the ladder. 0: go on with what is left; -errno: the copy has failed. */
static int clone_front(struct file_copy *copy, const struct stat *src, uint64_t block_size)
{
	enum engine_reflink policy = copy->spec.reflink;
	struct reflink reflink = {
		.src_fd = copy->spec.src_fd,
		.dst_fd = copy->spec.dst_fd,
		.src_offset = copy->spec.src_offset,
		.dst_offset = copy->spec.dst_offset,
		.src_size = (uint64_t)src->st_size,
		.dst_size = copy->dst_size,
		.block_size = block_size,
	};
	uint64_t cloned = 0;
	int r = -EOPNOTSUPP;

	copy->why_not_cloned = "reflink=never";
	if (policy == ENGINE_REFLINK_NEVER)
		return 0;
	if (!copy->pair.no_clone) {
		if (policy == ENGINE_REFLINK_AUTO && is_cut_for_clone(copy, block_size))
			return 0;
		reflink.length = copy->spec.length;
		r = reflink_range(&reflink, file_copy_want_stop, copy, &cloned);
	}
	book_clone(copy, cloned);
	copy->why_not_cloned = why_not_cloned(r, cloned);
	if (r == -EOPNOTSUPP)
		copy->pair.no_clone = true;
	if (policy == ENGINE_REFLINK_ALWAYS && cloned < copy->spec.length &&
	    !file_copy_want_stop(copy))
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

/* Less than its size would need, so that something of it is a hole. */
static bool is_sparse(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

/*
 * tmpfs looks for a hole page by page (32 ms a GiB), but its count of blocks is exact. Others map
 * extents, and may count blocks beyond the end of file (XFS preallocates there).
 */
static bool is_dense(const struct statfs *fs, const struct stat *st)
{
	return fs->f_type == TMPFS_MAGIC && !is_sparse(st);
}

/* What is looked at once: both files and both file systems. */
struct look {
	struct stat src, dst;
	struct statfs src_fs, dst_fs;
};

static int look(const struct file_copy *copy, struct look *ret)
{
	const struct file_copy_spec *spec = &copy->spec;

	if (fstat(spec->src_fd, &ret->src) < 0 || fstat(spec->dst_fd, &ret->dst) < 0 ||
	    fstatfs(spec->src_fd, &ret->src_fs) < 0 || fstatfs(spec->dst_fd, &ret->dst_fs) < 0)
		return negative_errno();
	return 0;
}

/* Whether a btrfs has quotas: their directory is there only then. */
static bool has_btrfs_quotas(int fd)
{
	struct btrfs_ioctl_fs_info_args info = { 0 };
	char path[] = "/sys/fs/btrfs/01234567-0123-0123-0123-0123456789ab/qgroups";
	char *uuid = path + strlen("/sys/fs/btrfs/");
	const uint8_t *id = info.fsid;

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0)
		return false;
	for (unsigned i = 0; i < sizeof(info.fsid); i++) {
		if (*uuid == '-')
			uuid++;
		*uuid++ = "0123456789abcdef"[id[i] >> 4];
		*uuid++ = "0123456789abcdef"[id[i] & 15];
	}
	return access(path, F_OK) == 0;
}

/*
 * Up to where in the destination nothing may be touched behind what is not there yet. Overwriting needs no
 * space where that is done in place; others copy on write, may do so (XFS), or are far away. Behind the
 * old end what is too much can be cut off again, but not on a btrfs whose quota is used up.
 */
static uint64_t ordered_end(const struct file_copy *copy, const struct statfs *fs)
{
	switch ((uint32_t)fs->f_type) {
	case EXT4_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return 0;
	case BTRFS_SUPER_MAGIC:
		return has_btrfs_quotas(copy->spec.dst_fd) ? UINT64_MAX : copy->dst_size;
	default:
		return copy->dst_size;
	}
}

static void plan_regions(struct file_copy *copy, const struct look *look)
{
	const struct file_copy_spec *spec = &copy->spec;
	const uint64_t left = spec->length - copy->prefix;
	const struct route_spec route = {
		.options = options(copy),
		.pair = &copy->pair,
		.src_fd = spec->src_fd,
		.dst_fd = spec->dst_fd,
		.src_fs = &look->src_fs,
		.dst_fs = &look->dst_fs,
		.data = MIN(left, (uint64_t)look->src.st_blocks * 512),
		.is_huge = resume_take(&spec->job->engine->resumes, &copy->begin),
	};
	uint32_t block = options(copy)->block_size;
	bool one_slot;

	route_init(&copy->route, &route);
	planner_init(&copy->planner, spec->src_fd, spec->src_offset + copy->prefix,
		     spec->src_offset + spec->length, is_dense(&look->src_fs, &look->src));
	copy->max_regions = regions_at_once(copy, left);
	copy->stride = block * MAX(1U, MIN(STRIDE / block, (uint32_t)SLOT_BLOCKS_MAX));
	/* One slot copies block after block: nothing is written behind what finds no space. */
	one_slot = left <= copy->stride;
	copy->preallocate_growth = !one_slot && (look->dst_fs.f_type == EXT4_SUPER_MAGIC ||
						 look->dst_fs.f_type == XFS_SUPER_MAGIC);
	copy->preallocate_inside = !one_slot && is_sparse(&look->dst);
	copy->ordered_end = ordered_end(copy, &look->dst_fs);
	if (copy->pair.region_length == 0 || copy->pair.region_length % block != 0)
		copy->pair.region_length = (uint64_t)copy->stride * REGION_FIRST_STRIDES;
}

int file_plan_begin(struct file_copy *copy)
{
	struct file_copy_spec *spec = &copy->spec;
	struct look found;
	int r = look(copy, &found);

	if (r < 0)
		return r;
	copy->dst_size = (uint64_t)found.dst.st_size;
	if (spec->src_offset >= (uint64_t)found.src.st_size)
		spec->length = 0;
	else
		spec->length = MIN(spec->length, (uint64_t)found.src.st_size - spec->src_offset);
	copy->begin = (struct resume_point){
		.src_dev = found.src.st_dev,
		.src_ino = found.src.st_ino,
		.dst_dev = found.dst.st_dev,
		.dst_ino = found.dst.st_ino,
		.src_offset = spec->src_offset,
		.dst_offset = spec->dst_offset,
	};
	copy->pair = pair_get(&spec->job->engine->pairs, found.src.st_dev, found.dst.st_dev);
	r = clone_front(copy, &found.src, (uint64_t)found.dst_fs.f_bsize);
	if (r == 0)
		plan_regions(copy, &found);
	return r;
}

void file_plan_tight(struct file_copy *copy)
{
	const struct file_copy_spec *spec = &copy->spec;

	planner_init(&copy->planner, spec->src_fd, spec->src_offset,
		     spec->src_offset + spec->length, copy->planner.all_data);
	copy->preallocated_end = 0;
	copy->is_tight = true;
	copy->max_regions = 1;
}
