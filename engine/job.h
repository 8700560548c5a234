/* SPDX-License-Identifier: MIT */
/*
 * job.h - what all requests have in common: identity, references, cancel, progress, the end.
 *
 *	PREPARED --job_start--> RUNNING --job_end--> ENDED
 *
 * A job is embedded in its kind (copy_job, tree_job), which provides job_ops. It stays alive while
 * its creator or the engine holds a reference; the engine holds one from job_start() until done()
 * has run.
 */
#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H

#include "arsync/engine.h"
#include "dispatcher.h"

struct job_ops {
	/* The job's first task, on a worker. Ends the job by job_end(), now or later. */
	void (*run)(struct job *job, struct worker *worker);
	/* The last reference is gone: frees what embeds the job. */
	void (*free)(struct job *job);
	/* job_get_failures(); NULL: the kind has no list. */
	size_t (*get_failures)(struct job *job, struct job_failure *failures, size_t size);
	/* Counts ahead what there is to do, as the job's user: see counter.h. NULL: known anyhow. */
	int (*count)(struct job *job);
	/*
	 * The job has been cancelled: goes on with what waits for somebody else. On the thread of
	 * job_cancel(), no lock of the engine held. NULL: the kind never waits.
	 */
	void (*cancelled)(struct job *job);
};

/* Whether the outcome appears: decided once. */
enum job_fate {
	JOB_FATE_OPEN,
	JOB_FATE_CANCELLED, /* by job_cancel() */
	JOB_FATE_COMMITTED, /* by job_commit(): too late to cancel */
};

enum job_state {
	JOB_PREPARED,
	JOB_RUNNING,
	JOB_ENDED,
};

struct job {
	/* set once */
	struct engine *engine;
	const struct job_ops *ops;
	struct cred *cred; /* a reference; NULL: the daemon without CAP_FSETID */
	job_done_fn done;
	void *userdata;
	struct task first_task;
	struct task_queue queue; /* of all the job's tasks: the unit of fairness */
	bool verifies;		 /* what it has copied is read again */

	/* protected by engine::lock */
	enum job_state state;
	TAILQ_ENTRY(job) link; /* in engine::running */

	TAILQ_ENTRY(job) counter_link; /* protected by counter::lock */

	/* atomic */
	unsigned refs;
	int fate;    /* enum job_fate */
	int verdict; /* see job_get_verdict() */
	uint64_t bytes;
	uint64_t bytes_total;
	uint64_t bytes_verified;
	uint64_t files;
	uint64_t files_total;
	uint64_t failures;
	uint64_t skipped;
	uint64_t files_skipped;
	uint64_t bytes_skipped;
	uint64_t bytes_ahead; /* found by ops->count() */
	uint64_t files_ahead;
	bool wants_count;
	bool counted; /* all of it */
	bool ended;
};

struct job_setup {
	struct engine *engine;
	const struct job_ops *ops;
	struct cred *cred;
	job_done_fn done;
	void *userdata;
};

/**
 * Initialises the common part, with one reference for the creator. -ESHUTDOWN: the engine drains.
 */
int job_init(struct job *job, const struct job_setup *setup);

bool job_is_cancelled(const struct job *job);

/** It was neither cancelled nor committed. */
bool job_is_open(const struct job *job);

/** The outcome is about to appear, and job_cancel() does nothing any more. False: it was first. */
bool job_commit(struct job *job);

/** The job has failed with @error, unless its verdict is known already. */
void job_set_verdict(struct job *job, int error);

/** Queues a task of a job. -errno as dispatcher_push(). */
int job_push(struct job *job, struct task *task, enum push_where where, struct worker *self);

/**
 * Ends the job: done() is called, then the engine's reference is dropped. No lock may be held.
 * @worker: whose thread calls; NULL elsewhere.
 */
void job_end(struct job *job, const struct job_result *result, struct worker *worker);

void job_add_bytes(struct job *job, uint64_t bytes);

/** They were read again, or will not be although they were copied. */
void job_add_verified(struct job *job, uint64_t bytes);

/** For the counter: counts ahead, acting as the job's user. */
void job_count(struct job *job);

#endif /* ENGINE_JOB_H */
