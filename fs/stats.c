/* SPDX-License-Identifier: MIT */
/*
 * stats.c - counters of the mount, the engine and the requests as one JSON object.
 */
#define FUSE_USE_VERSION 318
#include "stats.h"

#include "arsync/base.h"
#include "cpu_latency.h"
#include "inode_table.h"
#include "json.h"
#include "ring.h"
#include "session.h"

static json_object *mount_to_json(struct session *session)
{
	json_object *object = json_object_new_object();
	size_t n_inodes, n_fds;

	inode_table_count(session->inodes, &n_inodes, &n_fds);
	json_add(object, "passthrough", json_object_new_boolean(handle_passthrough_works(session)));
	json_add(object, "transport",
		 json_object_new_string(ring_in_use(session->ring) ? "ring" : "dev"));
	json_add(object, "cpu_latency_held",
		 json_object_new_boolean(cpu_latency_is_held(session->cpu_latency)));
	json_add(object, "inode_identity",
		 json_object_new_string(session->inodes->root->by_handle ? "handles" : "paths"));
	json_add_number(object, "read_ahead", readahead_tree_count(session->readahead_tree));
	json_add_number(object, "inodes", n_inodes);
	json_add_number(object, "fds", n_fds);
	return object;
}

static json_object *engine_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	json_add(object, "io", json_object_new_string(stats->io));
	json_add_number(object, "workers", stats->workers);
	json_add_number(object, "io_uring_enters", stats->io_uring_enters);
	return object;
}

static json_object *jobs_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	json_add_number(object, "started", stats->jobs_started);
	json_add_number(object, "ended", stats->jobs_ended);
	json_add_number(object, "failed", stats->jobs_failed);
	json_add_number(object, "cancelled", stats->jobs_cancelled);
	return object;
}

static json_object *copied_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	for (int way = 0; way < COPY_WAY_COUNT; way++) {
		json_object *entry = json_object_new_object();

		json_add_number(entry, "pieces", stats->ways[way]);
		json_add_number(entry, "bytes", stats->bytes[way]);
		json_add(object, copy_way_name((enum copy_way)way), entry);
	}
	return object;
}

static json_object *past_cache_to_json(const struct engine_stats *stats)
{
	json_object *object = json_object_new_object();

	json_add_number(object, "direct_reads", stats->direct_reads);
	json_add_number(object, "direct_writes", stats->direct_writes);
	json_add_number(object, "uncached_writes", stats->uncached_writes);
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
			json_add_number(object, names[i], n);
	}
	return object;
}

int stats_to_json(struct session *session, char **ret)
{
	_cleanup_json_ json_object *object = json_object_new_object();
	struct engine_stats stats = { 0 };

	if (!object)
		return -ENOMEM;
	engine_get_stats(session->engine, &stats);
	json_add(object, "version", json_object_new_string(SESSION_VERSION));
	json_add(object, "mount", mount_to_json(session));
	json_add(object, "engine", engine_to_json(&stats));
	json_add(object, "jobs", jobs_to_json(&stats));
	json_add(object, "copied", copied_to_json(&stats));
	json_add(object, "past_page_cache", past_cache_to_json(&stats));
	json_add_number(object, "files", stats.files);
	json_add(object, "requests", requests_to_json(&session->stats));

	return json_to_text(object, ret);
}
