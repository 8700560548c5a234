/* SPDX-License-Identifier: MIT */
/*
 * route.c - the choice; see route.h.
 */
#include "route.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "arsync/base.h"
#include "arsync/engine.h"
#include "fs_type.h"
#include "offload.h"
#include "arsync/page_cache.h"
#include "pair.h"
#include "slot.h"

/* Of files and buffers; more than any disk asks for. */
#define DIRECT_ALIGNMENT 4096

/* Less is read ahead by the kernel as fast. */
#define DIRECT_MIN MIB

/* Shorter ones do not stall anybody, whatever memory there is. */
#define HUGE_MIN (256 * MIB)

static bool may_offload(const struct route_spec *spec)
{
	switch (spec->options->offload) {
	case ENGINE_OFFLOAD_ALWAYS:
		return true;
	case ENGINE_OFFLOAD_NEVER:
		return false;
	case ENGINE_OFFLOAD_AUTO:
		break;
	}
	/* Whose copy_file_range(2) lets the server copy. */
	return !spec->pair->no_offload && spec->src_fs->f_type == spec->dst_fs->f_type &&
	       fs_type_has_server(spec->src_fs);
}

static bool is_huge(const struct route_spec *spec)
{
	return spec->is_huge || (spec->data > HUGE_MIN && spec->data > page_cache_dirty_limit());
}

void route_init(struct route *route, const struct route_spec *spec)
{
	bool auto_direct = spec->options->direct == ENGINE_DIRECT_AUTO;

	*route = (struct route){
		.options = spec->options,
		.src_fd = spec->src_fd,
		.dst_fd = spec->dst_fd,
		.is_huge = auto_direct && !spec->pair->no_uncached && is_huge(spec),
		.direct_src_fd = -1,
		.direct_dst_fd = -1,
		.no_offload = !may_offload(spec),
		.no_direct_read = spec->options->direct == ENGINE_DIRECT_NEVER,
		.no_direct_write = spec->options->direct != ENGINE_DIRECT_ALWAYS,
		.no_uncached = spec->pair->no_uncached,
	};
}

void route_destroy(struct route *route)
{
	close_keep_errno(route->direct_src_fd);
	/* What was written through it is in no cache that could fail at close. */
	close_keep_errno(route->direct_dst_fd);
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELAXED);
}

/* The same file once more, for direct I/O. Without /proc, or where it is refused: false. */
static bool open_direct(int fd, int access, int *direct_fd, bool *refused)
{
	char path[32];

	if (*direct_fd >= 0)
		return true;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
	*direct_fd = RETRY_EINTR(open(path, access | O_DIRECT | O_CLOEXEC));
	if (*direct_fd >= 0)
		return true;
	set(refused);
	return false;
}

static bool is_cold(int fd, uint64_t offset, uint64_t length)
{
	struct page_cache_range range;

	if (length < DIRECT_MIN || page_cache_query(fd, offset, length, &range) < 0)
		return false;
	return range.dirty == 0 && range.cached < length / 2;
}

static bool is_aligned(uint64_t a, uint64_t b)
{
	return (a | b) % DIRECT_ALIGNMENT == 0;
}

uint64_t route_aligned(uint64_t length)
{
	return length / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
}

static bool wants_direct_read(const struct route *route, uint64_t offset, uint64_t length)
{
	return !is_set(&route->no_direct_read) && is_aligned(offset, length) &&
	       (route->options->direct == ENGINE_DIRECT_ALWAYS ||
		is_cold(route->src_fd, offset, length));
}

static bool wants_direct_write(const struct route *route, uint64_t offset, uint64_t length)
{
	return !is_set(&route->no_direct_write) && is_aligned(offset, length);
}

struct route_choice route_choose(struct route *route, uint64_t src_offset, uint64_t dst_offset,
				 uint64_t length)
{
	struct route_choice choice = { .offload = !is_set(&route->no_offload) };

	if (choice.offload)
		return choice;
	if (wants_direct_read(route, src_offset, length) &&
	    open_direct(route->src_fd, O_RDONLY, &route->direct_src_fd, &route->no_direct_read))
		choice.flags |= SLOT_READ_DIRECT;
	if (wants_direct_write(route, dst_offset, length) &&
	    open_direct(route->dst_fd, O_WRONLY, &route->direct_dst_fd, &route->no_direct_write))
		choice.flags |= SLOT_WRITE_DIRECT;
	else if (route->is_huge && !is_set(&route->no_uncached))
		choice.flags |= SLOT_WRITE_UNCACHED;
	return choice;
}

void route_refused(struct route *route, unsigned flags)
{
	if (flags & SLOT_READ_DIRECT)
		set(&route->no_direct_read);
	if (flags & SLOT_WRITE_DIRECT)
		set(&route->no_direct_write);
	if (flags & SLOT_WRITE_UNCACHED)
		set(&route->no_uncached);
}

void route_refused_offload(struct route *route, int error)
{
	set(&route->no_offload);
	if (offload_is_unsupported(error))
		set(&route->offload_unsupported);
}

bool route_may_be_direct(const struct route *route)
{
	return !is_set(&route->no_direct_read) || !is_set(&route->no_direct_write);
}

void route_count(struct route *route, unsigned flags, uint64_t bytes)
{
	if (flags & SLOT_READ_DIRECT)
		__atomic_add_fetch(&route->direct_reads, bytes, __ATOMIC_RELAXED);
	if (flags & SLOT_WRITE_DIRECT)
		__atomic_add_fetch(&route->direct_writes, bytes, __ATOMIC_RELAXED);
	if (flags & SLOT_WRITE_UNCACHED)
		__atomic_add_fetch(&route->uncached_writes, bytes, __ATOMIC_RELAXED);
}

void route_learned(const struct route *route, struct pair *pair)
{
	/* What was refused for these files may be done for others. */
	if (route->options->offload == ENGINE_OFFLOAD_AUTO && is_set(&route->offload_unsupported))
		pair->no_offload = true;
	pair->no_uncached = is_set(&route->no_uncached);
}

void route_reason(const struct route *route, char *ret)
{
	(void)snprintf(ret, ROUTE_REASON_MAX, /* cut, it is still readable */
		       "direct reads %" PRIu64 ", direct writes %" PRIu64
		       ", uncached writes %" PRIu64 "%s",
		       route->direct_reads, route->direct_writes, route->uncached_writes,
		       route->is_huge ? ": more than memory may hold dirty" : "");
}
