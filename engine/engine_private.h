/* SPDX-License-Identifier: MIT */
/*
 * engine_private.h - the engine's own struct.
 *
 * Lock order, outermost first (no lock is held across a system call, a callback or a reply):
 *	file_copy::lock, tree locks	one file's regions; one tree's books
 *	engine::lock			the list of running jobs
 *	pair_table::lock, dispatcher::lock, offload::lock, resume_table::lock,
 *	counter::lock, syncfs::lock	leaves
 */
#ifndef ENGINE_PRIVATE_H
#define ENGINE_PRIVATE_H

#include <pthread.h>
#include <sched.h>

#include "arsync/engine.h"
#include "counter.h"
#include "dispatcher.h"
#include "io_method.h"
#include "job.h"
#include "offload.h"
#include "pair.h"
#include "resume.h"
#include "syncfs.h"

struct engine {
	/* set once */
	struct engine_options options; /* defaults filled in */
	cpu_set_t cpus;		       /* those the process may use */
	unsigned n_cpus;
	unsigned dirs_open;   /* directories that a tree copy keeps open */
	unsigned large_open;  /* large files that a tree copy has open */
	unsigned group_files; /* small files that a group has open at once */

	struct dispatcher dispatcher;
	struct offload offload;
	struct counter counter;
	struct syncfs syncfs;
	struct pair_table pairs;
	struct resume_table resumes;

	pthread_mutex_t lock;
	/* protected by lock */
	TAILQ_HEAD(, job) running; /* started and not ended */
	bool draining;
	pthread_cond_t none_running;

	/* atomic */
	const struct io_method *method; /* in use; NULL before the first worker */
	bool warned_sync;
	unsigned short_copies; /* under way */
	uint64_t served_ns;    /* CLOCK_MONOTONIC of the last engine_note_served(); 0: none */
	uint64_t io_uring_enters;
	uint64_t jobs_started;
	uint64_t jobs_ended;
	uint64_t jobs_failed;
	uint64_t jobs_cancelled;
	uint64_t files;
	uint64_t direct_reads; /* bytes */
	uint64_t direct_writes;
	uint64_t uncached_writes;
	uint64_t ways[COPY_WAY_COUNT];
	uint64_t bytes[COPY_WAY_COUNT];
};

/** Fills in defaults. -EINVAL: out of bounds; -ENOSYS, -EPERM: no io_uring where it must be. */
int engine_options_check(struct engine_options *options);

/** Books one piece of @bytes done one way. */
void engine_count(struct engine *engine, enum copy_way way, uint64_t bytes);

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t engine_now_ns(void);

#endif /* ENGINE_PRIVATE_H */
