/* SPDX-License-Identifier: MIT */
/*
 * page_cache.c - cachestat(2), mincore(2) and /proc; see page_cache.h.
 */
#include "arsync/page_cache.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arsync/base.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* the same on all architectures but alpha; headers before 6.5 lack it */
#endif

/* As in linux/mman.h of 6.5. */
struct cachestat_range_arg {
	uint64_t offset;
	uint64_t length;
};

struct cachestat_arg {
	uint64_t cached;
	uint64_t dirty;
	uint64_t writeback;
	uint64_t evicted;
	uint64_t recently_evicted;
};

/* Pages looked at by one mincore(2). */
#define PAGES_AT_ONCE 16384

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int count_resident(int fd, uint64_t offset, uint64_t length, uint64_t *pages)
{
	unsigned char resident[PAGES_AT_ONCE];
	uint64_t n = (length + page_size() - 1) / page_size();
	void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
	int r = 0;

	if (map == MAP_FAILED)
		return negative_errno();
	if (mincore(map, length, resident) < 0)
		r = negative_errno();
	(void)munmap(map, length); /* a mapping of our own: cannot fail */
	for (uint64_t i = 0; r == 0 && i < n; i++)
		*pages += resident[i] & 1;
	return r;
}

static int query_mincore(int fd, uint64_t offset, uint64_t length, struct page_cache_range *ret)
{
	const uint64_t most = PAGES_AT_ONCE * page_size();
	uint64_t start = offset / page_size() * page_size();
	uint64_t end = offset + length;
	uint64_t pages = 0;
	int r;

	for (; start < end; start += most) {
		r = count_resident(fd, start, MIN(end - start, most), &pages);
		if (r < 0)
			return r;
	}
	*ret = (struct page_cache_range){ .cached = pages * page_size() };
	return 0;
}

int page_cache_query(int fd, uint64_t offset, uint64_t length, struct page_cache_range *ret)
{
	struct cachestat_range_arg range = { offset, length };
	struct cachestat_arg stat;

	if (length == 0) { /* cachestat(2) would take it for "to the end" */
		*ret = (struct page_cache_range){ 0 };
		return 0;
	}
	if (syscall(SYS_cachestat, fd, &range, &stat, 0) < 0)
		return query_mincore(fd, offset, length, ret);
	*ret = (struct page_cache_range){
		.cached = stat.cached * page_size(),
		.dirty = (stat.dirty + stat.writeback) * page_size(),
	};
	return 0;
}

static void close_file(FILE **file)
{
	if (*file)
		(void)fclose(*file); /* only read */
}

static bool read_number(const char *path, uint64_t *ret)
{
	_cleanup_(close_file) FILE *file = fopen(path, "re");

	return file && fscanf(file, "%" SCNu64, ret) == 1;
}

/* One line of /proc/meminfo. */
struct meminfo {
	const char *name;
	uint64_t bytes; /* UINT64_MAX: it does not tell */
};

static bool parse_meminfo(struct meminfo *info, const char *line)
{
	size_t length = strlen(info->name);
	uint64_t kib;

	if (strncmp(line, info->name, length) != 0 || line[length] != ':' ||
	    sscanf(line + length + 1, "%" SCNu64 " kB", &kib) != 1)
		return false;
	info->bytes = kib * KIB;
	return true;
}

/* All of these, which are told once each, in one reading, for which the kernel adds everything up. */
static void read_meminfo(struct meminfo *info, size_t n)
{
	_cleanup_(close_file) FILE *file = fopen("/proc/meminfo", "re");
	size_t missing = n;
	char line[128];

	for (size_t i = 0; i < n; i++)
		info[i].bytes = UINT64_MAX;
	while (file && missing > 0 && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < n; i++)
			missing -= parse_meminfo(&info[i], line);
}

uint64_t page_cache_dirty(void)
{
	struct meminfo info[] = { { .name = "Dirty" }, { .name = "Writeback" } };

	read_meminfo(info, ARRAY_SIZE(info));
	return MAX(info[0].bytes, info[1].bytes) == UINT64_MAX ? UINT64_MAX :
								 info[0].bytes + info[1].bytes;
}

/* One of the two thresholds: given in bytes or, when that is 0, in percent of @available. */
static uint64_t threshold(const char *bytes_path, const char *ratio_path, uint64_t available)
{
	uint64_t bytes = 0, ratio = 0;

	if (read_number(bytes_path, &bytes) && bytes > 0)
		return bytes;
	if (!read_number(ratio_path, &ratio) || available == UINT64_MAX)
		return UINT64_MAX;
	return available / 100 * ratio;
}

uint64_t page_cache_dirty_limit(void)
{
	struct meminfo available = { .name = "MemAvailable" };
	uint64_t background, limit;

	read_meminfo(&available, 1);
	background = threshold("/proc/sys/vm/dirty_background_bytes",
			       "/proc/sys/vm/dirty_background_ratio", available.bytes);
	limit = threshold("/proc/sys/vm/dirty_bytes", "/proc/sys/vm/dirty_ratio", available.bytes);
	if (background == UINT64_MAX || limit == UINT64_MAX)
		return UINT64_MAX;
	return background / 2 + limit / 2;
}
