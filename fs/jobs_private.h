/* SPDX-License-Identifier: MIT */
/*
 * jobs_private.h - the parts of the table of jobs.
 *
 *	jobs.c		who is in the table, who may see it, what is remembered of a job
 *	jobs_queue.c	the states, and who runs next
 *	jobs_view.c	a job at one moment: its progress, rate and time left
 *
 * An entry belongs to the table while its job lives or is remembered; others hold references. Jobs
 * are started and cancelled with no lock held: the engine may call back at once.
 *
 * Threads: any. Below jobs::lock is only waiting::lock.
 */
#ifndef ARSYNCFS_JOBS_PRIVATE_H
#define ARSYNCFS_JOBS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "jobs.h"
#include "waiting.h"

#define JOBS_BUCKETS 1024

TAILQ_HEAD(jobs_entry_list, jobs_entry);

struct jobs_entry {
	/* Set once. */
	struct jobs *jobs;
	uint64_t id;
	uid_t uid;
	bool background;
	char *source;
	char *destination;
	char *tag;
	int64_t submitted_ms;
	/* Under jobs::lock. */
	enum jobs_state state;
	struct job *job;    /* a reference; NULL once it has ended, which it may have not for us */
	struct waiter late; /* on the list while CANCELLING: with a reference */
	uint64_t started_ms, ended_ms;
	struct {
		uint64_t at_ms, bytes, files;
		double bytes_rate, files_rate; /* a second */
	} sample;
	TAILQ_HEAD(, jobs_watcher) watchers;
	TAILQ_ENTRY(jobs_entry) link; /* in jobs::live or jobs::finished */
	LIST_ENTRY(jobs_entry) bucket_link;
	/* Set once, under the lock, when the job ends. */
	struct job_progress last;
	int error;
	/* The same, when it has really ended. */
	uint64_t directories, others;
	bool published;
	struct job_failure *failures; /* the strings, too */
	size_t n_failures;
	/* Atomic. */
	atomic_uint refs;
};

struct jobs {
	/* Set once. */
	unsigned live_max;
	struct waiting *waiting; /* borrowed */
	/* Under the lock. */
	pthread_mutex_t lock;
	uint64_t last_id;
	unsigned n_live; /* jobs that have not ended, also where they have for their users */
	unsigned n_finished;
	unsigned n_background; /* of the live ones, those that run */
	bool stopping;
	struct jobs_entry_list live;	 /* by number */
	struct jobs_entry_list finished; /* the first to end first */
	LIST_HEAD(, jobs_entry) buckets[JOBS_BUCKETS];
};

/** The only place where a state changes. JOBS_QUEUED is how it begins. */
void jobs_queue_set_state_locked(struct jobs *jobs, struct jobs_entry *entry,
				 enum jobs_state state);

/** Starts those in the background whose turn has come. No lock is held. */
void jobs_queue_start_next(struct jobs *jobs);

/** Starts a job out of its turn, if it has not been; @cancelled: and cancels it. No lock is held. */
void jobs_queue_start_now(struct jobs *jobs, struct jobs_entry *entry, bool cancelled);

#endif /* ARSYNCFS_JOBS_PRIVATE_H */
