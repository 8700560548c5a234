/* SPDX-License-Identifier: MIT */
/*
 * give_way.c - see give_way.h.
 */
#include "give_way.h"

uint64_t give_way_rest(struct give_way *give_way, uint64_t served_ns, uint64_t now_ns)
{
	if (served_ns == 0 || (now_ns > served_ns && now_ns - served_ns > GIVE_WAY_SERVED_NS))
		return 0;
	/* Later than now: the last sleep was cut short. */
	if (now_ns < give_way->since_ns || now_ns - give_way->since_ns < GIVE_WAY_WORK_NS)
		return 0;
	give_way->since_ns = now_ns + GIVE_WAY_REST_NS;
	return GIVE_WAY_REST_NS;
}
