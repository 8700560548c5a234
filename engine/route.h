/* SPDX-License-Identifier: MIT */
/*
 * route.h - how the bytes of a region are moved: which of the ways below a clone, and with or
 * without the page cache.
 *
 *	offload		the backing file system copies by itself (offload.c); only where it is
 *			known to do so on its server, or when the options say so
 *	buffered	the source is in the page cache, or it cannot be told
 *	direct read	it is not: O_DIRECT, several reads in flight
 *	uncached write	the copy is larger than the dirty pages that memory may hold:
 *			RWF_DONTCACHE, written back and dropped at once, so that one copy neither
 *			stalls the machine nor throws everybody's cache out
 *	direct write	when the options say so
 *
 * Decided region by region, so that a file of which half is cached is read both ways. What a file
 * system refuses is done the next simpler way, and not asked for again.
 *
 * Threads: route_choose() by the planner of the file copy, one at a time; route_refused() by any
 * worker.
 */
#ifndef ENGINE_ROUTE_H
#define ENGINE_ROUTE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/statfs.h>

struct engine_options;
struct engine;
struct pair;

#define ROUTE_REASON_MAX 160

struct route_spec {
	const struct engine_options *options; /* borrowed */
	const struct pair *pair;	      /* what was learned before */
	int src_fd;			      /* borrowed */
	int dst_fd;
	const struct statfs *src_fs;
	const struct statfs *dst_fs;
	uint64_t data; /* bytes that the copy, or what is left of it, has at most: */
	bool is_huge;  /* as a whole it was more than memory may hold dirty */
};

struct route {
	/* set once */
	const struct engine_options *options;
	int src_fd;
	int dst_fd;
	bool is_huge;

	/* the planner only */
	int direct_src_fd; /* owned; -1: not opened yet, or refused */
	int direct_dst_fd;

	/* atomic */
	bool no_offload;
	bool offload_unsupported; /* between these file systems */
	bool no_direct_read;
	bool no_direct_write;
	bool no_uncached;
	uint64_t direct_reads; /* bytes */
	uint64_t direct_writes;
	uint64_t uncached_writes;
};

/* Of one region. */
struct route_choice {
	bool offload;
	unsigned flags; /* SLOT_READ_DIRECT and so on */
};

/* Does nothing but look; opens files when they are needed first. */
void route_init(struct route *route, const struct route_spec *spec);
void route_destroy(struct route *route);

/** For [@src_offset, @src_offset + @length). As the identity that the thread has adopted. */
struct route_choice route_choose(struct route *route, uint64_t src_offset, uint64_t dst_offset,
				 uint64_t length);

/** The file system has refused what @flags say. */
void route_refused(struct route *route, unsigned flags);
/** By @error, which may be about these files only. */
void route_refused_offload(struct route *route, int error);

/** Whether a region may be read or written directly, and should be aligned. */
bool route_may_be_direct(const struct route *route);

/** Books @bytes copied with slot::flags @flags. */
void route_count(struct route *route, unsigned flags, uint64_t bytes);

/** What to keep for the next copy. */
void route_learned(const struct route *route, struct pair *pair);

/** Says in words how bytes were read and written. @ret has ROUTE_REASON_MAX bytes. */
void route_reason(const struct route *route, char *ret);

/** How much of @length to take for a region that begins aligned: what lies behind is not. */
uint64_t route_aligned(uint64_t length);

#endif /* ENGINE_ROUTE_H */
