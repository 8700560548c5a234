/* SPDX-License-Identifier: MIT */
/*
 * test_dispatcher.c - which task comes next, and who is started or woken for it.
 *
 * The workers here are stand-ins: this file defines worker_start() and its like, so that worker.c
 * is not linked. Most of them have no thread, and the test pops in their place.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "support.h"

#include "arsync/base.h"
#include "dispatcher.h"
#include "worker.h"

#define WORKERS 3
#define PUSHERS 4
#define TASKS_EACH 5000

struct fixture;

struct stand_in {
	struct worker worker;
	struct fixture *fixture;
	sem_t woken;
	unsigned wakes; /* atomic */
};

struct test_task {
	struct task task;
	unsigned runs; /* atomic */
};

struct fixture {
	struct dispatcher dispatcher;
	struct task_queue first;
	struct task_queue second;
	unsigned started;
	int start_error; /* what worker_start() answers; 0: it starts one */
	bool with_threads;
	unsigned ran; /* atomic: tasks run by threads */
	sem_t all_ran;
	bool hung;
	struct test_task tasks[PUSHERS * TASKS_EACH];
};

/* The dispatcher knows an engine only to hand it on. */
static struct fixture *fixture_of(struct engine *engine)
{
	return (struct fixture *)(void *)engine;
}

static struct stand_in *stand_in_of(struct worker *worker)
{
	return CONTAINER_OF(worker, struct stand_in, worker);
}

static void *stand_in_main(void *argument)
{
	struct stand_in *self = argument;
	struct dispatcher *dispatcher = &self->fixture->dispatcher;
	struct task *task;

	for (;;) {
		task = dispatcher_pop(dispatcher, &self->worker, 0);
		if (task)
			task->run(task, &self->worker);
		else if (dispatcher_is_stopping(dispatcher) || !test_sem_wait(&self->woken))
			return NULL;
	}
}

int worker_start(struct engine *engine, unsigned index, struct worker **ret)
{
	struct fixture *f = fixture_of(engine);
	struct stand_in *self;

	if (f->start_error < 0)
		return f->start_error;
	self = calloc(1, sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->fixture = f;
	self->worker.index = index;
	(void)sem_init(&self->woken, 0, 0); /* EINVAL only for a value out of range */
	if (f->with_threads && pthread_create(&self->worker.thread, NULL, stand_in_main, self)) {
		free(self);
		return -EAGAIN;
	}
	__atomic_add_fetch(&f->started, 1, __ATOMIC_RELAXED);
	*ret = &self->worker;
	return 0;
}

/* The stand-ins have no identities. */
void worker_be_daemon(struct worker *worker)
{
	(void)worker;
}

void worker_be_again(struct worker *worker)
{
	(void)worker;
}

void worker_wake(struct worker *worker)
{
	struct stand_in *self = stand_in_of(worker);

	__atomic_add_fetch(&self->wakes, 1, __ATOMIC_RELAXED);
	sem_post(&self->woken);
}

void worker_stop(struct worker *worker)
{
	struct stand_in *self = stand_in_of(worker);

	if (self->fixture->with_threads) {
		worker_wake(worker);
		pthread_join(worker->thread, NULL);
	}
	sem_destroy(&self->woken);
	free(self);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	if (dispatcher_init(&f->dispatcher, (struct engine *)(void *)f, WORKERS) < 0) {
		free(f);
		return -1;
	}
	task_queue_init(&f->first);
	task_queue_init(&f->second);
	(void)sem_init(&f->all_ran, 0, 0); /* EINVAL only for a value out of range */
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct worker any = { 0 };

	if (f->hung)
		return 0;
	/* A failed test leaves tasks; the dispatcher must have none. */
	while (dispatcher_pop(&f->dispatcher, &any, 0))
		;
	dispatcher_not_waiting(&f->dispatcher, &any);
	dispatcher_destroy(&f->dispatcher);
	sem_destroy(&f->all_ran);
	free(f);
	return 0;
}

static void push(struct fixture *f, struct task_queue *queue, unsigned index, enum push_where where,
		 struct worker *self)
{
	assert_int_equal(dispatcher_push(&f->dispatcher, queue, &f->tasks[index].task, where, self),
			 0);
}

static struct worker *worker_at(struct fixture *f, unsigned index)
{
	assert_true(index < f->dispatcher.n_workers);
	return f->dispatcher.workers[index];
}

static unsigned wakes(struct fixture *f, unsigned index)
{
	return __atomic_load_n(&stand_in_of(worker_at(f, index))->wakes, __ATOMIC_RELAXED);
}

/* The next task is number @index, or there is none (-1). */
static void assert_pop(struct fixture *f, unsigned worker, unsigned load, int index)
{
	struct task *task = dispatcher_pop(&f->dispatcher, worker_at(f, worker), load);

	assert_ptr_equal(task, index < 0 ? NULL : &f->tasks[index].task);
}

static void test_dispatcher_pop_order(void **state)
{
	struct fixture *f = *state;

	push(f, &f->first, 1, PUSH_LAST, NULL);
	push(f, &f->first, 2, PUSH_LAST, NULL);
	push(f, &f->first, 3, PUSH_FIRST, NULL);
	push(f, &f->first, 4, PUSH_FIRST, NULL);
	push(f, &f->first, 5, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 4);
	assert_pop(f, 0, 0, 3);
	assert_pop(f, 0, 0, 1);
	assert_pop(f, 0, 0, 2);
	assert_pop(f, 0, 0, 5);
	assert_pop(f, 0, 0, -1);
}

static void test_dispatcher_pop_round_robin(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 1; i <= 4; i++)
		push(f, &f->first, i, PUSH_LAST, NULL);
	push(f, &f->second, 11, PUSH_LAST, NULL);
	push(f, &f->second, 12, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	assert_pop(f, 0, 0, 11);
	assert_pop(f, 0, 0, 2);
	assert_pop(f, 0, 0, 12);
	assert_pop(f, 0, 0, 3);
	assert_pop(f, 0, 0, 4);
	assert_pop(f, 0, 0, -1);
}

/* PUSH_FIRST is first within its job: it does not overtake the others. */
static void test_dispatcher_push_first_keeps_turns(void **state)
{
	struct fixture *f = *state;

	push(f, &f->first, 1, PUSH_LAST, NULL);
	push(f, &f->first, 2, PUSH_LAST, NULL);
	push(f, &f->second, 11, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	push(f, &f->first, 3, PUSH_FIRST, NULL);
	assert_pop(f, 0, 0, 11);
	assert_pop(f, 0, 0, 3);
	assert_pop(f, 0, 0, 2);
}

/* A job that refills its queue each time it is served waits its turn all the same. */
static void test_dispatcher_push_refilled_queue_goes_last(void **state)
{
	struct fixture *f = *state;

	push(f, &f->first, 1, PUSH_LAST, NULL);
	push(f, &f->second, 11, PUSH_LAST, NULL);
	push(f, &f->second, 12, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	push(f, &f->first, 2, PUSH_FIRST, worker_at(f, 0));
	assert_pop(f, 0, 0, 11);
	assert_pop(f, 0, 0, 2);
	assert_pop(f, 0, 0, 12);
}

static void test_dispatcher_init_starts_nobody(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->started, 0);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(f->started, 1);
	/* It is on its way: the task is its own, whether it was woken or not. */
	assert_pop(f, 0, 0, 1);
}

/* One job that does one thing after the other, as a sequential copy does. */
static void test_dispatcher_push_sequential_one_worker(void **state)
{
	struct fixture *f = *state;

	push(f, &f->first, 0, PUSH_LAST, NULL);
	for (unsigned i = 0; i < 100; i++) {
		assert_pop(f, 0, 0, (int)i);
		push(f, &f->first, i + 1, PUSH_LAST, worker_at(f, 0));
	}
	assert_pop(f, 0, 0, 100);
	assert_pop(f, 0, 0, -1);
	/* From outside to the worker that waits: it is woken, no other is started. */
	for (unsigned i = 0; i < 10; i++) {
		unsigned before = wakes(f, 0);

		push(f, &f->first, i, PUSH_LAST, NULL);
		assert_int_equal(wakes(f, 0), before + 1);
		assert_pop(f, 0, 0, (int)i);
		assert_pop(f, 0, 0, -1);
	}
	assert_int_equal(f->started, 1);
}

static void test_dispatcher_push_starts_up_to_max(void **state)
{
	struct fixture *f = *state;

	push(f, &f->first, 0, PUSH_LAST, NULL);
	assert_int_equal(f->started, 1);
	assert_pop(f, 0, 0, 0);
	/* The worker has room for one; each further one brings another worker, up to the bound. */
	push(f, &f->first, 1, PUSH_LAST, worker_at(f, 0));
	assert_int_equal(f->started, 1);
	push(f, &f->first, 2, PUSH_LAST, worker_at(f, 0));
	assert_int_equal(f->started, 2);
	push(f, &f->first, 3, PUSH_LAST, worker_at(f, 0));
	/* The second is still on its way to its first task, and counts for it. */
	assert_pop(f, 1, 0, 1);
	push(f, &f->first, 4, PUSH_LAST, worker_at(f, 0));
	assert_int_equal(f->started, WORKERS);
	for (unsigned i = 5; i < 20; i++)
		push(f, &f->first, i, PUSH_LAST, NULL);
	assert_int_equal(f->started, WORKERS);
	assert_int_equal(f->dispatcher.n_workers, WORKERS);
}

/* Starts all workers; none of them waits. */
static void start_all(struct fixture *f)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		push(f, &f->first, i, PUSH_LAST, NULL);
		assert_pop(f, i, 0, (int)i);
	}
	assert_int_equal(f->started, WORKERS);
}

static void test_dispatcher_push_wakes_one_each(void **state)
{
	struct fixture *f = *state;
	unsigned before[WORKERS];

	start_all(f);
	for (unsigned i = 0; i < WORKERS; i++) {
		before[i] = wakes(f, i);
		assert_pop(f, i, 0, -1);
	}
	/* The last one to wait is woken first; nobody twice. */
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 2), before[2] + 1);
	assert_int_equal(wakes(f, 1), before[1]);
	push(f, &f->first, 2, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before[1] + 1);
	push(f, &f->first, 3, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 0), before[0] + 1);
	push(f, &f->first, 4, PUSH_LAST, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(wakes(f, i), before[i] + 1);
}

static void test_dispatcher_push_prefers_idle(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	start_all(f);
	assert_pop(f, 0, 0, -1);
	assert_pop(f, 1, 1, -1);
	assert_pop(f, 2, 1, -1);
	before = wakes(f, 0);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 0), before + 1);
	/* Now a busy one is better than none. */
	before = wakes(f, 2);
	push(f, &f->first, 2, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 2), before + 1);
}

/* What is ready is for who has the least to do, who is woken for it if need be. */
static void test_dispatcher_pop_leaves_to_less_loaded(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	start_all(f);
	assert_pop(f, 0, 2, -1);
	assert_pop(f, 1, 1, -1);
	assert_pop(f, 2, 3, -1);
	before = wakes(f, 1);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before + 1); /* it is on its way */
	assert_pop(f, 0, 2, -1);
	assert_pop(f, 2, 3, -1);
	assert_int_equal(wakes(f, 1), before + 1);
	assert_pop(f, 1, 1, 1);

	/* As much to do is not less. */
	push(f, &f->first, 2, PUSH_LAST, NULL);
	assert_pop(f, 1, 2, 2);
	/* It has looked and waits: it is woken by who leaves it something. */
	push(f, &f->first, 3, PUSH_LAST, NULL);
	push(f, &f->first, 4, PUSH_LAST, NULL);
	assert_pop(f, 1, 2, 3);
	assert_pop(f, 1, 3, -1);
	assert_pop(f, 0, 2, 4);
}

/* Who has no room is not waited for. */
static void test_dispatcher_pop_not_left_to_full(void **state)
{
	struct fixture *f = *state;

	start_all(f);
	assert_pop(f, 0, 5, -1);
	assert_pop(f, 1, 1, -1);
	assert_pop(f, 2, 5, -1);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_pop(f, 0, 5, -1);
	dispatcher_not_waiting(&f->dispatcher, worker_at(f, 1));
	assert_pop(f, 0, 5, 1);
}

/* Workers keep out of each other's places while there is something to do elsewhere. */
static void test_dispatcher_pop_prefers_free_place(void **state)
{
	struct fixture *f = *state;
	const int here = 0, there = 0;

	start_all(f);
	for (unsigned i = 1; i <= 4; i++)
		f->tasks[i].task.place = &here;
	f->tasks[5].task.place = &there;
	for (unsigned i = 1; i <= 6; i++)
		push(f, &f->first, i, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	assert_pop(f, 1, 0, 5);
	assert_pop(f, 1, 0, 6); /* it is nowhere now, which is free for all */
	assert_pop(f, 0, 0, 2); /* where it is itself */
	assert_pop(f, 1, 0, 3); /* better than nothing */
	/* Who waits, or has no room, is nowhere. */
	assert_pop(f, 0, 0, 4);
	assert_pop(f, 0, 0, -1);
	dispatcher_not_waiting(&f->dispatcher, worker_at(f, 1));
	push(f, &f->first, 1, PUSH_LAST, NULL);
	push(f, &f->first, 5, PUSH_LAST, NULL);
	assert_pop(f, 2, 0, 1);
}

/* However many tasks there are in one place, those behind them do not overtake too many. */
static void test_dispatcher_pop_looks_at_the_next_few(void **state)
{
	struct fixture *f = *state;
	const int here = 0;

	start_all(f);
	for (unsigned i = 1; i <= 20; i++) {
		f->tasks[i].task.place = &here;
		push(f, &f->first, i, PUSH_LAST, NULL);
	}
	push(f, &f->first, 21, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	assert_pop(f, 1, 0, 2);
	for (unsigned i = 3; i <= 4; i++)
		assert_pop(f, 0, 0, (int)i);
	assert_pop(f, 1, 0, 5); /* 21 is the seventeenth */
	assert_pop(f, 1, 0, 21);
}

static void test_dispatcher_not_waiting_is_not_woken(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	start_all(f);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_pop(f, i, 0, -1);
	dispatcher_not_waiting(&f->dispatcher, worker_at(f, 2));
	before = wakes(f, 2);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 2), before);
	assert_pop(f, 1, 0, 1);
}

/* A worker that will look for tasks by itself needs no help with as many as it takes: one. */
static void test_dispatcher_will_pop(void **state)
{
	struct fixture *f = *state;
	struct dispatcher *dispatcher = &f->dispatcher;
	unsigned before;

	push(f, &f->first, 0, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 0);
	dispatcher_will_pop(dispatcher, worker_at(f, 0));
	dispatcher_will_pop(dispatcher, worker_at(f, 0)); /* counts once */
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(f->started, 1);
	push(f, &f->first, 2, PUSH_LAST, worker_at(f, 0)); /* it takes no two */
	assert_int_equal(f->started, 2);
	assert_pop(f, 1, 0, 1);
	assert_pop(f, 0, 0, 2);
	/* It has looked: what comes now brings the last one. */
	push(f, &f->first, 3, PUSH_LAST, NULL);
	assert_int_equal(f->started, 3);
	assert_pop(f, 2, 0, 3);

	/* And the same with one that waits: it is left alone, until there is more. */
	assert_pop(f, 1, 0, -1);
	before = wakes(f, 1);
	dispatcher_will_pop(dispatcher, worker_at(f, 0));
	push(f, &f->first, 4, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before);
	push(f, &f->first, 5, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before + 1);
	assert_pop(f, 1, 0, 4);
	assert_pop(f, 0, 0, 5);

	/* A worker that finds that it has no room does not count any more. */
	assert_pop(f, 1, 0, -1);
	before = wakes(f, 1);
	dispatcher_will_pop(dispatcher, worker_at(f, 0));
	dispatcher_not_waiting(dispatcher, worker_at(f, 0));
	push(f, &f->first, 6, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before + 1);
}

/* It promised to look for a task, and has no room after all: the task is somebody else's now. */
static void test_dispatcher_not_waiting_passes_task_on(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	start_all(f);
	assert_pop(f, 1, 0, -1);
	dispatcher_will_pop(&f->dispatcher, worker_at(f, 0));
	before = wakes(f, 1);
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_int_equal(wakes(f, 1), before);
	dispatcher_not_waiting(&f->dispatcher, worker_at(f, 0));
	assert_int_equal(wakes(f, 1), before + 1);
}

static void test_dispatcher_push_without_worker(void **state)
{
	struct fixture *f = *state;

	f->start_error = -EAGAIN;
	assert_int_equal(dispatcher_push(&f->dispatcher, &f->first, &f->tasks[1].task, PUSH_LAST,
					 NULL),
			 -EAGAIN);
	assert_int_equal(f->dispatcher.n_ready, 0);
	/* It may be tried again. */
	f->start_error = 0;
	push(f, &f->first, 1, PUSH_LAST, NULL);
	assert_pop(f, 0, 0, 1);
	/* A second worker is no must. */
	f->start_error = -ENOMEM;
	push(f, &f->first, 2, PUSH_LAST, NULL);
	push(f, &f->first, 3, PUSH_LAST, NULL);
	assert_int_equal(f->started, 1);
	assert_pop(f, 0, 0, 2);
	assert_pop(f, 0, 0, 3);
	/* Nor is it given up for good. */
	f->start_error = 0;
	push(f, &f->first, 4, PUSH_LAST, NULL);
	assert_int_equal(f->started, 2);
}

struct pusher {
	pthread_t thread;
	struct fixture *fixture;
	struct task_queue queue;
	unsigned first_task;
	int error;
};

static void count_run(struct task *task, struct worker *worker)
{
	struct test_task *self = CONTAINER_OF(task, struct test_task, task);
	struct fixture *f = stand_in_of(worker)->fixture;

	__atomic_add_fetch(&self->runs, 1, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&f->ran, 1, __ATOMIC_RELAXED) == PUSHERS * TASKS_EACH)
		sem_post(&f->all_ran);
}

static void *pusher_main(void *argument)
{
	struct pusher *self = argument;
	struct fixture *f = self->fixture;

	for (unsigned i = 0; i < TASKS_EACH && self->error == 0; i++)
		self->error = dispatcher_push(&f->dispatcher, &self->queue,
					      &f->tasks[self->first_task + i].task,
					      i % 3 ? PUSH_LAST : PUSH_FIRST, NULL);
	return NULL;
}

static void test_dispatcher_push_in_parallel_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct pusher pushers[PUSHERS] = { 0 };
	unsigned n = 0;

	f->with_threads = true;
	for (unsigned i = 0; i < PUSHERS * TASKS_EACH; i++)
		f->tasks[i].task.run = count_run;
	for (unsigned i = 0; i < PUSHERS; i++) {
		pushers[i].fixture = f;
		pushers[i].first_task = i * TASKS_EACH;
		task_queue_init(&pushers[i].queue);
	}
	while (n < PUSHERS &&
	       pthread_create(&pushers[n].thread, NULL, pusher_main, &pushers[n]) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(pushers[i].thread, NULL);
	assert_int_equal(n, PUSHERS);
	for (unsigned i = 0; i < PUSHERS; i++)
		assert_int_equal(pushers[i].error, 0);
	if (!test_sem_wait(&f->all_ran)) {
		f->hung = true;
		fail_msg("%u of %u tasks were run", f->ran, PUSHERS * TASKS_EACH);
	}
	for (unsigned i = 0; i < PUSHERS * TASKS_EACH; i++)
		assert_int_equal(__atomic_load_n(&f->tasks[i].runs, __ATOMIC_RELAXED), 1);
	assert_true(__atomic_load_n(&f->started, __ATOMIC_RELAXED) <= WORKERS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dispatcher_pop_order),
		TEST(test_dispatcher_pop_round_robin),
		TEST(test_dispatcher_push_first_keeps_turns),
		TEST(test_dispatcher_push_refilled_queue_goes_last),
		TEST(test_dispatcher_init_starts_nobody),
		TEST(test_dispatcher_push_sequential_one_worker),
		TEST(test_dispatcher_push_starts_up_to_max),
		TEST(test_dispatcher_push_wakes_one_each),
		TEST(test_dispatcher_push_prefers_idle),
		TEST(test_dispatcher_pop_leaves_to_less_loaded),
		TEST(test_dispatcher_pop_not_left_to_full),
		TEST(test_dispatcher_pop_prefers_free_place),
		TEST(test_dispatcher_pop_looks_at_the_next_few),
		TEST(test_dispatcher_not_waiting_is_not_woken),
		TEST(test_dispatcher_will_pop),
		TEST(test_dispatcher_not_waiting_passes_task_on),
		TEST(test_dispatcher_push_without_worker),
		TEST(test_dispatcher_push_in_parallel_loses_nothing),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("dispatcher", tests, NULL, NULL);
}
