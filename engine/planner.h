/* SPDX-License-Identifier: MIT */
/*
 * planner.h - what of a source range is data and what is a hole, piece by piece.
 *
 * Extents are mapped when they are asked for (lseek(2), SEEK_DATA and SEEK_HOLE), so that a file of
 * a million extents costs neither memory nor a wait before the first byte is copied. Where a file
 * system cannot tell, all is data.
 *
 * Thread: one at a time; the owner sees to that.
 */
#ifndef ENGINE_PLANNER_H
#define ENGINE_PLANNER_H

#include <stdbool.h>
#include <stdint.h>

struct planner {
	int src_fd;	   /* borrowed; its file position is not kept */
	uint64_t position; /* next source offset to plan */
	uint64_t end;	   /* first offset not wanted */
	uint64_t data_end; /* [position, data_end) is known to be data */
	bool all_data;	   /* do not look for holes */
};

struct extent {
	uint64_t offset;
	uint64_t length;
	bool is_hole;
};

/** @dense: the file is known to have no holes, so none are looked for. */
void planner_init(struct planner *planner, int src_fd, uint64_t offset, uint64_t end, bool dense);

/**
 * The next piece, in order and without gaps: a hole of any length, or data of at most @max_data
 * bytes. 1: @ret is set; 0: the range is planned; -errno of lseek(2).
 */
int planner_next(struct planner *planner, uint64_t max_data, struct extent *ret);

/** Takes the last @length bytes of the last answer, which was data, back: they come again. */
void planner_give_back(struct planner *planner, uint64_t length);

/**
 * Takes @hole, the last answer, back and answers it as data next: the destination cannot keep it.
 */
void planner_hole_as_data(struct planner *planner, const struct extent *hole);

#endif /* ENGINE_PLANNER_H */
