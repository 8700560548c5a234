/* SPDX-License-Identifier: MIT */
/*
 * short_copy.c - a short range, at once, on the thread of who asks.
 *
 * Handing a range to a worker and hearing of its end takes two changes of thread, on a virtual
 * machine longer than copying some hundred KiB; and a ring gains by batches, which one range is not
 * (ext4 and tmpfs even take every buffered write out of a ring to a thread of the kernel's own).
 * One copy_file_range(2) copies it without a change of thread and without a buffer. Where that is not
 * what the options or the file call for, the ladder of file_copy.h is.
 */
#include <fcntl.h>
#include <inttypes.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "offload.h"

/* So that threads are left for who asks something else, when the source's disk is slow. */
#define AT_ONCE_MAX 8

/* The call clones where it can, passes through the page cache, and makes nothing durable. */
static bool is_allowed(const struct engine_options *options)
{
	return options->io != ENGINE_IO_SYNC && options->reflink == ENGINE_REFLINK_AUTO &&
	       options->offload == ENGINE_OFFLOAD_AUTO && options->direct != ENGINE_DIRECT_ALWAYS &&
	       options->fsync == ENGINE_FSYNC_NEVER;
}

/*
 * Data from end to end: the call would fill holes with zeros. Files that tell no size and have contents
 * all the same, as in /proc, have no data either.
 */
static bool is_all_data(const struct copy_spec *spec)
{
	off_t hole = lseek(spec->src_fd, (off_t)spec->src_offset, SEEK_HOLE);

	return hole >= 0 && (uint64_t)hole >= spec->src_offset + spec->length;
}

static ssize_t copy(const struct copy_spec *spec)
{
	loff_t src = (loff_t)spec->src_offset, dst = (loff_t)spec->dst_offset;
	ssize_t n = RETRY_EINTR(
		copy_file_range(spec->src_fd, &src, spec->dst_fd, &dst, (size_t)spec->length, 0));

	if (n < 0)
		n = negative_errno();
	return n == 0 || offload_is_refusal((int)MIN(n, 0)) ? -EAGAIN : n;
}

ssize_t engine_copy_short(struct engine *engine, const struct copy_spec *spec)
{
	ssize_t n = -EAGAIN;

	if (spec->length == 0 || spec->length > ENGINE_SHORT_MAX || !is_allowed(&engine->options))
		return -EAGAIN;
	if (__atomic_add_fetch(&engine->short_copies, 1, __ATOMIC_RELAXED) <= AT_ONCE_MAX &&
	    is_all_data(spec))
		n = copy(spec);
	__atomic_sub_fetch(&engine->short_copies, 1, __ATOMIC_RELAXED);
	if (n > 0) {
		engine_count(engine, COPY_WAY_SHORT, (uint64_t)n);
		log_debug(engine->options.log,
			  "copied %zd of %" PRIu64
			  " bytes at once, by the file system: a short range",
			  n, spec->length);
	}
	return n;
}
