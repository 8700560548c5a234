/* SPDX-License-Identifier: MIT */
/*
 * copy_job.c - the job that copies one range: a file_copy and nothing else.
 */
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "file_copy.h"
#include "job.h"

struct copy_job {
	struct job job;
	struct file_copy copy;
};

static void copy_job_done(struct file_copy *copy, const struct file_copy_result *copied,
			  struct worker *worker)
{
	struct copy_job *self = CONTAINER_OF(copy, struct copy_job, copy);
	struct job_result result = {
		.error = copied->bytes > 0 ? 0 : copied->error,
		.bytes = copied->bytes,
		.failed_path = "",
		.failed_call = "",
	};

	for (int way = 0; way < COPY_WAY_COUNT; way++)
		result.bytes_by_way[way] = copied->bytes_by_way[way];
	job_end(&self->job, &result, worker);
}

static void copy_job_run(struct job *job, struct worker *worker)
{
	file_copy_start(&CONTAINER_OF(job, struct copy_job, job)->copy, worker);
}

static void copy_job_free(struct job *job)
{
	struct copy_job *self = CONTAINER_OF(job, struct copy_job, job);

	file_copy_destroy(&self->copy);
	free(self);
}

static const struct job_ops copy_job_ops = {
	.run = copy_job_run,
	.free = copy_job_free,
};

static bool is_out_of_bounds(uint64_t offset, uint64_t length)
{
	return offset > INT64_MAX || length > INT64_MAX - offset;
}

/*
 * The kernel's own call refuses a swap file, as the source too, and does so when asked for 0 bytes;
 * nothing else tells that a file is one. Where there is no swap there is none.
 */
static bool is_swap_file(const struct copy_spec *spec)
{
	loff_t src = 0, dst = 0;
	struct sysinfo info;

	return sysinfo(&info) == 0 && info.totalswap > 0 &&
	       copy_file_range(spec->src_fd, &src, spec->dst_fd, &dst, 0, 0) < 0 &&
	       errno == ETXTBSY;
}

static int check_spec(const struct copy_spec *spec)
{
	uint64_t src = spec->src_offset, dst = spec->dst_offset;
	struct stat a, b;

	if (is_out_of_bounds(src, spec->length) || is_out_of_bounds(dst, spec->length))
		return -EINVAL;
	if (fstat(spec->src_fd, &a) < 0 || fstat(spec->dst_fd, &b) < 0)
		return negative_errno();
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino && src < dst + spec->length &&
	    dst < src + spec->length)
		return -EINVAL;
	return is_swap_file(spec) ? -ETXTBSY : 0;
}

int engine_copy_range(struct engine *engine, const struct copy_spec *spec, struct job **ret)
{
	struct job_setup setup = {
		.engine = engine,
		.ops = &copy_job_ops,
		.cred = spec->cred,
		.done = spec->done,
		.userdata = spec->userdata,
	};
	_cleanup_free_ struct copy_job *self = NULL;
	int r = check_spec(spec);

	if (r < 0)
		return r;
	self = calloc(1, sizeof(*self));
	if (!self)
		return -ENOMEM;
	r = job_init(&self->job, &setup);
	if (r < 0)
		return r;
	self->job.bytes_total = spec->length;
	file_copy_init(&self->copy, &(struct file_copy_spec){
					    .job = &self->job,
					    .src_fd = spec->src_fd,
					    .dst_fd = spec->dst_fd,
					    .src_offset = spec->src_offset,
					    .dst_offset = spec->dst_offset,
					    .length = spec->length,
					    .answer_within_ms = spec->answer_within_ms,
					    .reflink = engine->options.reflink,
					    .fsync = engine->options.fsync != ENGINE_FSYNC_NEVER,
					    .done = copy_job_done,
				    });
	*ret = &TAKE_PTR(self)->job;
	return 0;
}
