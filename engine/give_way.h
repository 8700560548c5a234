/* SPDX-License-Identifier: MIT */
/*
 * give_way.h - workers of tree copies rest while others are served, so that these get a processor.
 *
 * A tree copy keeps every processor busy for seconds. Whoever does something meanwhile and is in
 * another group of the scheduler than this process (autogroup makes one of each session, systemd of
 * each service) may wait for a processor for hundreds of milliseconds: seen with Linux 6.18, where
 * a worker and its ring's threads take turns many times a millisecond, and the whole group keeps
 * its turn. Whatever the time slices of its threads, a pause ends that. So while others are served,
 * a worker sleeps for a moment now and then.
 */
#ifndef ENGINE_GIVE_WAY_H
#define ENGINE_GIVE_WAY_H

#include <stdint.h>

#define GIVE_WAY_SERVED_NS UINT64_C(20000000) /* so long after it others are still "being served" */
/* Meanwhile: how long to work, and to rest then. */
#define GIVE_WAY_WORK_NS UINT64_C(1000000)
#define GIVE_WAY_REST_NS UINT64_C(300000)

/* A worker's; zeroes at first. */
struct give_way {
	uint64_t since_ns; /* the end of its last rest, as planned; 0: it had none */
};

/**
 * For how many nanoseconds the worker is to rest now; mostly 0. @served_ns: when somebody was
 * served last, 0: never. It may be later than @now_ns; both are CLOCK_MONOTONIC.
 */
uint64_t give_way_rest(struct give_way *give_way, uint64_t served_ns, uint64_t now_ns);

#endif /* ENGINE_GIVE_WAY_H */
