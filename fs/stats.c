/* SPDX-License-Identifier: MIT */
/*
 * stats.c - counters of the mount, the engine and the requests as one JSON object.
 *
 * Without memory json-c gives NULL; add() then drops the value and the text says less. Only a
 * missing text as a whole is an error.
 */
#define FUSE_USE_VERSION 318
#include "stats.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <string.h>

#include "arsync/base.h"
#include "ring.h"
#include "session.h"

static void cleanup_json(json_object **object)
{
	json_object_put(*object); /* accepts NULL */
}

#define _cleanup_json_ _cleanup_(cleanup_json)

/* Takes ownership of @value. */
static void add(json_object *object, const char *name, json_object *value)
{
	if (!object || json_object_object_add(object, name, value) < 0)
		json_object_put(value);
}

static void add_number(json_object *object, const char *name, uint64_t value)
{
	add(object, name, json_object_new_uint64(value));
}

static json_object *mount_to_json(struct session *session)
{
	json_object *object = json_object_new_object();
	size_t n_inodes, n_fds;

	inode_table_count(session->inodes, &n_inodes, &n_fds);
	add(object, "passthrough", json_object_new_boolean(handle_passthrough_works(session)));
	add(object, "transport",
	    json_object_new_string(ring_in_use(session->ring) ? "ring" : "dev"));
	add(object, "inode_identity",
	    json_object_new_string(session->inodes->root->by_handle ? "handles" : "paths"));
	add_number(object, "inodes", n_inodes);
	add_number(object, "fds", n_fds);
	return object;
}

static json_object *engine_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	add(object, "io", json_object_new_string(stats->io));
	add_number(object, "workers", stats->workers);
	add_number(object, "io_uring_enters", stats->io_uring_enters);
	return object;
}

static json_object *jobs_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	add_number(object, "started", stats->jobs_started);
	add_number(object, "ended", stats->jobs_ended);
	add_number(object, "failed", stats->jobs_failed);
	add_number(object, "cancelled", stats->jobs_cancelled);
	return object;
}

static json_object *copied_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	for (int way = 0; way < COPY_WAY_COUNT; way++) {
		json_object *entry = json_object_new_object();

		add_number(entry, "pieces", stats->ways[way]);
		add_number(entry, "bytes", stats->bytes[way]);
		add(object, copy_way_name((enum copy_way)way), entry);
	}
	return object;
}

static json_object *past_cache_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	add_number(object, "direct_reads", stats->direct_reads);
	add_number(object, "direct_writes", stats->direct_writes);
	add_number(object, "uncached_writes", stats->uncached_writes);
	return object;
}

static json_object *requests_to_json(struct stats *stats)
{
	static const char *const names[] = {
#define STATS_NAME(name) #name,
		STATS_REQUESTS(STATS_NAME)
#undef STATS_NAME
	};
	json_object *object = json_object_new_object();

	for (size_t i = 0; i < STATS_REQUEST_COUNT; i++) {
		uint64_t n = atomic_load_explicit(&stats->requests[i], memory_order_relaxed);

		if (n)
			add_number(object, names[i], n);
	}
	return object;
}

int stats_to_json(struct session *session, char **ret)
{
	_cleanup_json_ json_object *object = json_object_new_object();
	struct engine_stats stats = { 0 };
	const char *text;
	char *copy;

	if (!object)
		return -ENOMEM;
	engine_get_stats(session->engine, &stats);
	add(object, "version", json_object_new_string(SESSION_VERSION));
	add(object, "mount", mount_to_json(session));
	add(object, "engine", engine_to_json(&stats));
	add(object, "jobs", jobs_to_json(&stats));
	add(object, "copied", copied_to_json(&stats));
	add(object, "past_page_cache", past_cache_to_json(&stats));
	add_number(object, "files", stats.files);
	add(object, "requests", requests_to_json(&session->stats));

	text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	copy = text ? strdup(text) : NULL;
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
