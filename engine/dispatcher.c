/* SPDX-License-Identifier: MIT */
/*
 * dispatcher.c - queues of tasks, and who is woken for them; see dispatcher.h.
 *
 * Workers are started one at a time and only when there is more to do than the running ones will
 * take at once: a sequential copy has one worker and one ring.
 */
#include "dispatcher.h"

#include <assert.h>

#include "arsync/base.h"
#include "worker.h"

#define LOOK_AHEAD 16 /* tasks that one in a free place is looked for among */

int dispatcher_init(struct dispatcher *dispatcher, struct engine *engine, unsigned max_workers)
{
	*dispatcher = (struct dispatcher){ .engine = engine, .max_workers = max_workers };
	TAILQ_INIT(&dispatcher->queues);
	TAILQ_INIT(&dispatcher->waiting);
	dispatcher->workers = calloc(max_workers, sizeof(struct worker *));
	if (!dispatcher->workers)
		return -ENOMEM;
	pthread_mutex_init(&dispatcher->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&dispatcher->started, NULL);
	return 0;
}

static void set_waiting_locked(struct dispatcher *dispatcher, struct worker *worker, bool waiting)
{
	if (worker->waiting == waiting)
		return;
	worker->waiting = waiting;
	/* Last in, first out: the worker whose caches are warm. */
	if (waiting)
		TAILQ_INSERT_HEAD(&dispatcher->waiting, worker, waiting_link);
	else
		TAILQ_REMOVE(&dispatcher->waiting, worker, waiting_link);
}

void dispatcher_destroy(struct dispatcher *dispatcher)
{
	if (!dispatcher->workers)
		return;
	pthread_mutex_lock(&dispatcher->lock);
	assert(dispatcher->n_ready == 0);
	dispatcher->stopping = true;
	/* Workers end one after the other: none may be found through the list any more. */
	while (!TAILQ_EMPTY(&dispatcher->waiting))
		set_waiting_locked(dispatcher, TAILQ_FIRST(&dispatcher->waiting), false);
	pthread_mutex_unlock(&dispatcher->lock);
	for (unsigned i = 0; i < dispatcher->n_workers; i++)
		worker_stop(dispatcher->workers[i]);
	pthread_cond_destroy(&dispatcher->started);
	pthread_mutex_destroy(&dispatcher->lock);
	free(TAKE_PTR(dispatcher->workers));
}

void task_queue_init(struct task_queue *queue)
{
	TAILQ_INIT(&queue->tasks);
}

static void enqueue_locked(struct dispatcher *dispatcher, struct task_queue *queue,
			   struct task *task, enum push_where where)
{
	if (TAILQ_EMPTY(&queue->tasks))
		TAILQ_INSERT_TAIL(&dispatcher->queues, queue, link);
	if (where == PUSH_FIRST)
		TAILQ_INSERT_HEAD(&queue->tasks, task, link);
	else
		TAILQ_INSERT_TAIL(&queue->tasks, task, link);
	dispatcher->n_ready++;
}

static bool is_taken_locked(const struct dispatcher *dispatcher, const void *place,
			    const struct worker *self)
{
	for (unsigned i = 0; i < dispatcher->n_workers; i++)
		if (dispatcher->workers[i] != self && dispatcher->workers[i]->place == place)
			return true;
	return false;
}

/*
 * The first task in whose place nobody is. Only the next few are looked at, so that the order stays
 * about what those who push want.
 */
static struct task *choose_task_locked(const struct dispatcher *dispatcher,
				       const struct task_queue *queue, const struct worker *worker)
{
	struct task *task;
	unsigned n = 0;

	TAILQ_FOREACH(task, &queue->tasks, link) {
		if (!task->place || !is_taken_locked(dispatcher, task->place, worker))
			return task;
		if (++n == LOOK_AHEAD)
			break;
	}
	return TAILQ_FIRST(&queue->tasks);
}

static struct task *dequeue_locked(struct dispatcher *dispatcher, const struct worker *worker)
{
	struct task_queue *queue = TAILQ_FIRST(&dispatcher->queues);
	struct task *task;

	if (!queue)
		return NULL;
	task = choose_task_locked(dispatcher, queue, worker);
	TAILQ_REMOVE(&queue->tasks, task, link);
	TAILQ_REMOVE(&dispatcher->queues, queue, link);
	if (!TAILQ_EMPTY(&queue->tasks))
		TAILQ_INSERT_TAIL(&dispatcher->queues, queue, link);
	dispatcher->n_ready--;
	return task;
}

static void set_will_pop_locked(struct dispatcher *dispatcher, struct worker *worker, bool will_pop)
{
	if (worker->will_pop == will_pop)
		return;
	worker->will_pop = will_pop;
	if (will_pop)
		dispatcher->n_will_pop++;
	else
		dispatcher->n_will_pop--;
}

/* A worker for one more task: of those that wait, the one with the least to do. */
static struct worker *choose_waiting_locked(struct dispatcher *dispatcher)
{
	struct worker *worker, *best = TAILQ_FIRST(&dispatcher->waiting);

	TAILQ_FOREACH(worker, &dispatcher->waiting, waiting_link)
		if (worker->load < best->load)
			best = worker;
	return best;
}

/*
 * A worker with less to do than @self, or NULL. It comes for a task by itself, before it waits, or
 * waits and can be woken.
 */
static struct worker *less_loaded_locked(const struct dispatcher *dispatcher,
					 const struct worker *self)
{
	struct worker *best = NULL;

	for (unsigned i = 0; i < dispatcher->n_workers; i++) {
		struct worker *worker = dispatcher->workers[i];

		if (worker->load < (best ? best->load : self->load))
			best = worker;
	}
	return best;
}

/* Whether the tasks queued are more than the calling worker will take by itself. */
static bool wants_help_locked(const struct dispatcher *dispatcher, const struct worker *self)
{
	return dispatcher->n_ready > dispatcher->n_will_pop + (self && !self->will_pop ? 1 : 0);
}

/* Starts one more worker. The caller has set dispatcher::starting, so that nobody else does. */
static int start_worker(struct dispatcher *dispatcher)
{
	struct worker *worker;
	int r = worker_start(dispatcher->engine, dispatcher->n_workers, &worker);

	pthread_mutex_lock(&dispatcher->lock);
	dispatcher->starting = false;
	if (r == 0) {
		/* It is on its way to its first pop: nobody need start another in the meantime. */
		if (!worker->has_popped)
			set_waiting_locked(dispatcher, worker, true);
		dispatcher->workers[dispatcher->n_workers] = worker;
		/* atomic: engine_get_stats() reads it without the lock */
		__atomic_add_fetch(&dispatcher->n_workers, 1, __ATOMIC_RELAXED);
	}
	pthread_cond_broadcast(&dispatcher->started);
	pthread_mutex_unlock(&dispatcher->lock);
	return r;
}

/*
 * Without any worker a task would wait for ever, so the first one must be there before it is
 * queued.
 */
static int ensure_worker(struct dispatcher *dispatcher)
{
	bool start;

	pthread_mutex_lock(&dispatcher->lock);
	while (dispatcher->starting && dispatcher->n_workers == 0)
		pthread_cond_wait(&dispatcher->started, &dispatcher->lock);
	start = dispatcher->n_workers == 0;
	if (start)
		dispatcher->starting = true;
	pthread_mutex_unlock(&dispatcher->lock);
	return start ? start_worker(dispatcher) : 0;
}

/* Who is to come for a queued task. */
struct help {
	struct worker *wake;
	bool start; /* one more worker */
};

/*
 * Finds somebody for what the running workers will not take; brings them with call_help(), after
 * unlocking.
 */
static struct help find_help_locked(struct dispatcher *dispatcher, const struct worker *self)
{
	struct help help = { NULL, false };

	if (!wants_help_locked(dispatcher, self))
		return help;
	help.wake = choose_waiting_locked(dispatcher);
	if (help.wake)
		set_waiting_locked(dispatcher, help.wake, false);
	else if (!dispatcher->starting && dispatcher->n_workers < dispatcher->max_workers)
		help.start = dispatcher->starting = true;
	return help;
}

static void call_help(struct dispatcher *dispatcher, const struct help *help, struct worker *self)
{
	if (help->wake)
		worker_wake(help->wake);
	if (!help->start)
		return;
	/* A thread is born with its creator's identity: it must not be that of a job. */
	if (self)
		worker_be_daemon(self);
	(void)start_worker(dispatcher); /* fails: the running ones serve the task, only later */
	if (self)
		worker_be_again(self);
}

int dispatcher_push(struct dispatcher *dispatcher, struct task_queue *queue, struct task *task,
		    enum push_where where, struct worker *self)
{
	struct help help;
	int r;

	r = ensure_worker(dispatcher);
	if (r < 0)
		return r;
	pthread_mutex_lock(&dispatcher->lock);
	enqueue_locked(dispatcher, queue, task, where);
	help = find_help_locked(dispatcher, self);
	pthread_mutex_unlock(&dispatcher->lock);
	call_help(dispatcher, &help, self);
	return 0;
}

struct task *dispatcher_pop(struct dispatcher *dispatcher, struct worker *worker, unsigned load)
{
	struct worker *other = NULL;
	struct task *task = NULL;

	pthread_mutex_lock(&dispatcher->lock);
	worker->has_popped = true;
	worker->load = load;
	if (dispatcher->n_ready > 0)
		other = less_loaded_locked(dispatcher, worker);
	if (!other)
		task = dequeue_locked(dispatcher, worker);
	else if (other->waiting)
		set_waiting_locked(dispatcher, other, false);
	else
		other = NULL; /* nobody to be woken */
	worker->place = task ? task->place : NULL;
	set_will_pop_locked(dispatcher, worker, false);
	set_waiting_locked(dispatcher, worker, task == NULL && !dispatcher->stopping);
	pthread_mutex_unlock(&dispatcher->lock);
	if (other)
		worker_wake(other);
	return task;
}

void dispatcher_not_waiting(struct dispatcher *dispatcher, struct worker *worker)
{
	struct help help;

	pthread_mutex_lock(&dispatcher->lock);
	worker->load = DISPATCHER_LOAD_FULL;
	worker->place = NULL;
	set_waiting_locked(dispatcher, worker, false);
	set_will_pop_locked(dispatcher, worker, false);
	/* Nobody was called for what it was to take, or what was left to it. */
	help = find_help_locked(dispatcher, NULL);
	pthread_mutex_unlock(&dispatcher->lock);
	call_help(dispatcher, &help, worker);
}

void dispatcher_will_pop(struct dispatcher *dispatcher, struct worker *worker)
{
	pthread_mutex_lock(&dispatcher->lock);
	set_will_pop_locked(dispatcher, worker, true);
	pthread_mutex_unlock(&dispatcher->lock);
}

bool dispatcher_is_stopping(struct dispatcher *dispatcher)
{
	bool stopping;

	pthread_mutex_lock(&dispatcher->lock);
	stopping = dispatcher->stopping;
	pthread_mutex_unlock(&dispatcher->lock);
	return stopping;
}
