/* SPDX-License-Identifier: MIT */
/*
 * page_cache.h - how much of a file is in memory, and how much dirty data memory may hold.
 *
 * Thread: any; no state.
 */
#ifndef ARSYNC_PAGE_CACHE_H
#define ARSYNC_PAGE_CACHE_H

#include <stdint.h>

/* Of one range of one file, in bytes, rounded to pages. */
struct page_cache_range {
	uint64_t cached;
	uint64_t dirty; /* or being written back; 0 where the kernel cannot tell */
};

/**
 * Asks cachestat(2) (Linux 6.5) or, without it, mincore(2). @fd is open for reading. -errno:
 * neither could tell. Where mincore(2) may not tell, to who neither owns the file nor may write to
 * it, it says that all is cached.
 */
int page_cache_query(int fd, uint64_t offset, uint64_t length, struct page_cache_range *ret);

/**
 * Bytes of all files that are not on their disks yet. Reads /proc/meminfo, once. UINT64_MAX when /proc
 * does not say.
 */
uint64_t page_cache_dirty(void);

/**
 * Bytes that can be written before the kernel begins to slow writers down: half-way between
 * vm.dirty_background_* and vm.dirty_*, as dirty_freerun_ceiling() in mm/page-writeback.c has it,
 * of the memory available now. UINT64_MAX when /proc does not say.
 */
uint64_t page_cache_dirty_limit(void);

#endif /* ARSYNC_PAGE_CACHE_H */
