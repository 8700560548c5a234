/* SPDX-License-Identifier: MIT */
/*
 * test_waiting.c - the list of those who wait: each is answered once.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "waiting.h"

#define N 1000

struct one {
	struct waiter waiter;
	atomic_uint due; /* how often */
	atomic_uint claimed;
	_Atomic uint64_t at_ms;
};

struct fixture {
	struct waiting *waiting;
	struct one ones[N];
};

static void due(struct waiter *waiter)
{
	struct one *one = CONTAINER_OF(waiter, struct one, waiter);

	atomic_store(&one->at_ms, waiting_now_ms());
	atomic_fetch_add(&one->due, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	if (!f || waiting_new(&f->waiting) < 0)
		return -1;
	for (size_t i = 0; i < N; i++)
		waiting_prepare(&f->ones[i].waiter, due);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < N; i++)
		(void)waiting_claim(f->waiting, &f->ones[i].waiter);
	waiting_free(f->waiting);
	free(f);
	return 0;
}

static bool becomes_due(struct one *one)
{
	for (int i = 0; i < 5000 && atomic_load(&one->due) == 0; i++)
		(void)usleep(1000);
	return atomic_load(&one->due) == 1;
}

static void test_add_is_due_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t start = waiting_now_ms();

	waiting_add(f->waiting, &f->ones[0].waiter, WAITING_FOREVER);
	waiting_add(f->waiting, &f->ones[1].waiter, 100);
	waiting_add(f->waiting, &f->ones[2].waiter, 20);
	assert_true(becomes_due(&f->ones[2]));
	assert_true(becomes_due(&f->ones[1]));
	assert_true(atomic_load(&f->ones[2].at_ms) >= start + 20);
	assert_true(atomic_load(&f->ones[1].at_ms) >= start + 100);
	assert_int_equal(atomic_load(&f->ones[0].due), 0);
	assert_true(waiting_claim(f->waiting, &f->ones[0].waiter));
	assert_false(waiting_claim(f->waiting, &f->ones[0].waiter));
	assert_false(waiting_claim(f->waiting, &f->ones[1].waiter));
}

static void test_hasten_makes_it_earlier_never_later(void **state)
{
	struct fixture *f = *state;

	waiting_add(f->waiting, &f->ones[0].waiter, WAITING_FOREVER);
	waiting_hasten(f->waiting, &f->ones[0].waiter, 0);
	assert_true(becomes_due(&f->ones[0]));
	waiting_add(f->waiting, &f->ones[1].waiter, 10);
	waiting_hasten(f->waiting, &f->ones[1].waiter, 3600 * 1000);
	assert_true(becomes_due(&f->ones[1]));
}

static void test_hasten_before_add_counts(void **state)
{
	struct fixture *f = *state;

	waiting_hasten(f->waiting, &f->ones[0].waiter, 0);
	assert_int_equal(atomic_load(&f->ones[0].due), 0);
	waiting_add(f->waiting, &f->ones[0].waiter, WAITING_FOREVER);
	assert_true(becomes_due(&f->ones[0]));
}

static void *claim_all(void *argument)
{
	struct fixture *f = argument;

	for (size_t i = 0; i < N; i++)
		if (waiting_claim(f->waiting, &f->ones[i].waiter))
			atomic_fetch_add(&f->ones[i].claimed, 1);
	return NULL;
}

static void test_each_is_answered_once(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[2];

	for (size_t i = 0; i < N; i++)
		waiting_add(f->waiting, &f->ones[i].waiter, i % 3);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, claim_all, f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	/* One that was taken off as due may still be called. */
	for (size_t i = 0; i < N; i++) {
		if (atomic_load(&f->ones[i].claimed) == 0)
			assert_true(becomes_due(&f->ones[i]));
		assert_int_equal(atomic_load(&f->ones[i].claimed) + atomic_load(&f->ones[i].due),
				 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_add_is_due_at_its_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hasten_makes_it_earlier_never_later, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_hasten_before_add_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_is_answered_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
