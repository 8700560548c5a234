/* SPDX-License-Identifier: MIT */
/*
 * dispatcher.h - hands tasks to workers, fair between jobs.
 *
 * Every job has a task_queue. Queues with something to do form a ring; each pop takes the first
 * task of the next queue, so that a small job beside a huge one waits for a block, not for the job.
 * A worker that finds nothing says so and is woken (or started) when something comes. One that has
 * more to do than another leaves a task to that one. Of the next few tasks it takes one in whose place
 * no other worker is, if there is one.
 *
 * Queues are bounded by those who push: a file keeps 2^depth regions here, a tree works depth
 * first.
 *
 * Threads: all functions from any thread. dispatcher::lock is a leaf: nothing is called while it is
 * held.
 */
#ifndef ENGINE_DISPATCHER_H
#define ENGINE_DISPATCHER_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "arsync/engine.h"

struct worker;
struct task;

/* Runs on a worker's thread, which has room for one more region. May free the task. */
typedef void (*task_fn)(struct task *task, struct worker *worker);

struct task {
	TAILQ_ENTRY(task) link; /* protected by dispatcher::lock */
	/* set once */
	task_fn run;
	const void *place; /* workers in the same one hinder each other; NULL: nowhere */
};

struct task_queue {
	/* protected by dispatcher::lock */
	TAILQ_HEAD(, task) tasks;
	TAILQ_ENTRY(task_queue) link; /* in dispatcher::queues while it has tasks */
};

struct dispatcher {
	/* set once */
	struct engine *engine;
	unsigned max_workers;

	pthread_mutex_t lock;
	pthread_cond_t started; /* starting became false */
	/* protected by lock */
	TAILQ_HEAD(, task_queue) queues; /* those that have tasks, next to be served first */
	unsigned n_ready;		 /* tasks in them */
	TAILQ_HEAD(, worker) waiting;	 /* workers that would take a task */
	struct worker **workers;	 /* max_workers; the first n_workers are started */
	unsigned n_workers;
	unsigned n_will_pop; /* workers with will_pop */
	bool starting;	     /* a worker is being started; n_workers will grow */
	bool stopping;
};

int dispatcher_init(struct dispatcher *dispatcher, struct engine *engine, unsigned max_workers);
/** Ends and joins the workers. No task may be queued. Accepts a zeroed object. */
void dispatcher_destroy(struct dispatcher *dispatcher);

void task_queue_init(struct task_queue *queue);

enum push_where {
	PUSH_FIRST, /* before what the job has queued: what it needs to go on */
	PUSH_LAST,
};

/**
 * Queues a task and sees to it that a worker comes for it. @self: the worker whose thread calls,
 * which looks for work itself when it is done; NULL elsewhere. -EAGAIN, -ENOMEM: no worker runs and
 * none could be started; the task is not queued.
 */
int dispatcher_push(struct dispatcher *dispatcher, struct task_queue *queue, struct task *task,
		    enum push_where where, struct worker *self);

#define DISPATCHER_LOAD_FULL UINT_MAX

/**
 * The next task, or NULL; then @worker counts as waiting until it is woken or pops again. @load: how
 * much it works on already. What is ready is left to a worker with less, which is woken if need be:
 * else one would have all regions of a file before the next one has come for any.
 */
struct task *dispatcher_pop(struct dispatcher *dispatcher, struct worker *worker, unsigned load);

/** @worker no longer waits for a task: it has no room. */
void dispatcher_not_waiting(struct dispatcher *dispatcher, struct worker *worker);

/** @worker will pop soon by itself. */
void dispatcher_will_pop(struct dispatcher *dispatcher, struct worker *worker);

bool dispatcher_is_stopping(struct dispatcher *dispatcher);

#endif /* ENGINE_DISPATCHER_H */
