/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - who waits for an answer that comes later, and until when.
 *
 * A request that is to be answered later is put on this list with a deadline. Whoever takes it off
 * answers: the one who has the news, by waiting_claim(), or the list's own thread at the deadline,
 * by waiter::due(). So each is answered once, and no thread of libfuse waits.
 *
 * The list may be given a reference to what embeds the waiter; it goes to whoever takes it off.
 */
#ifndef ARSYNCFS_WAITING_H
#define ARSYNCFS_WAITING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define WAITING_FOREVER UINT64_MAX

struct waiting;

struct waiter {
	/* Set once. On the list's thread, which is everybody's: must not block. */
	void (*due)(struct waiter *waiter);
	/* Under waiting::lock. */
	uint64_t deadline_ms; /* CLOCK_MONOTONIC */
	bool on_list;
	TAILQ_ENTRY(waiter) link;
};

/** Starts the thread. -ENOMEM, -EAGAIN. */
int waiting_new(struct waiting **ret);

/** Ends the thread. Nobody may be on the list any more. Accepts NULL. */
void waiting_free(struct waiting *waiting);

/** CLOCK_MONOTONIC in milliseconds. */
uint64_t waiting_now_ms(void);

/**
 * Puts @waiter on the list, to be taken off after @ms, or sooner where waiting_hasten() was called
 * before. WAITING_FOREVER: no deadline.
 */
void waiting_add(struct waiting *waiting, struct waiter *waiter, uint64_t ms);

/** True: it was on the list and is not any more; the answer is the caller's to give. */
bool waiting_claim(struct waiting *waiting, struct waiter *waiter);

/** The deadline is in @ms, or earlier where it was so before. Also before waiting_add(). */
void waiting_hasten(struct waiting *waiting, struct waiter *waiter, uint64_t ms);

/** Prepares @waiter for waiting_hasten() and waiting_add(). */
void waiting_prepare(struct waiter *waiter, void (*due)(struct waiter *waiter));

#endif /* ARSYNCFS_WAITING_H */
