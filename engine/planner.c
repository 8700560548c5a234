/* SPDX-License-Identifier: MIT */
/*
 * planner.c - lazy walk over the extents of a range; see planner.h.
 */
#include "planner.h"

#include <assert.h>
#include <sys/types.h>

#include "arsync/base.h"

void planner_init(struct planner *planner, int src_fd, uint64_t offset, uint64_t end, bool dense)
{
	assert(offset <= end && end <= INT64_MAX);
	*planner = (struct planner){
		.src_fd = src_fd,
		.position = offset,
		.end = end,
		.data_end = offset,
		.all_data = dense,
	};
}

/* lseek(2) with @whence; ENXIO, which means "none up to the end of file", answers @end. */
static int seek(struct planner *planner, int whence, uint64_t *ret)
{
	off_t at = lseek(planner->src_fd, (off_t)planner->position, whence);

	if (at < 0 && errno != ENXIO)
		return negative_errno();
	*ret = at < 0 ? planner->end : MIN((uint64_t)at, planner->end);
	return 0;
}

static int take_hole(struct planner *planner, uint64_t until, struct extent *ret)
{
	*ret = (struct extent){ planner->position, until - planner->position, true };
	planner->position = until;
	planner->data_end = until;
	return 1;
}

/* Finds where the data at position ends, or answers the hole there. 1: a hole; 0: data; -errno. */
static int map(struct planner *planner, struct extent *ret)
{
	uint64_t data, hole;
	int r;

	if (planner->all_data) {
		planner->data_end = planner->end;
		return 0;
	}
	r = seek(planner, SEEK_DATA, &data);
	if (r == -EINVAL || r == -EOPNOTSUPP || r == -ESPIPE) {
		planner->all_data = true;
		planner->data_end = planner->end;
		return 0;
	}
	if (r < 0)
		return r;
	if (data > planner->position)
		return take_hole(planner, data, ret);
	r = seek(planner, SEEK_HOLE, &hole);
	if (r < 0)
		return r;
	/*
	 * The file changes under us and the data just seen is a hole now: copy it, zeros are right.
	 */
	planner->data_end = hole > planner->position ? hole : planner->end;
	return 0;
}

int planner_next(struct planner *planner, uint64_t max_data, struct extent *ret)
{
	uint64_t length;
	int r;

	assert(max_data > 0);
	if (planner->position >= planner->end)
		return 0;
	if (planner->position >= planner->data_end) {
		r = map(planner, ret);
		if (r != 0)
			return r;
	}
	length = MIN(planner->data_end - planner->position, max_data);
	*ret = (struct extent){ planner->position, length, false };
	planner->position += length;
	return 1;
}

void planner_give_back(struct planner *planner, uint64_t length)
{
	assert(length <= planner->position);
	planner->position -= length;
}

void planner_hole_as_data(struct planner *planner, const struct extent *hole)
{
	assert(hole->is_hole && hole->offset + hole->length == planner->position);
	planner->position = hole->offset;
	planner->data_end = hole->offset + hole->length;
}
