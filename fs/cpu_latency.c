/* SPDX-License-Identifier: MIT */
/*
 * cpu_latency.c - see cpu_latency.h.
 *
 *	cpu_latency_note()	every BURST requests: has that taken less than BURST_NS?
 *	run()			if so, holds the file open, as long as a burst comes in QUIET_MS
 */
#include "cpu_latency.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "arsync/base.h"

#define QOS_FILE "/dev/cpu_dma_latency"
#define DRIVER_FILE "/sys/devices/system/cpu/cpuidle/current_driver"

#define BURST 64 /* a power of two */
#define BURST_NS UINT64_C(20000000)
#define QUIET_MS 50
/*
 * What a wake-up may take. The driver of virtual machines has two states, to spin and to leave the
 * machine, and only 0 forbids the second. Elsewhere 10 us forbid only what sleeps deeply.
 */
#define GUEST_DRIVER "haltpoll"
#define GUEST_US 0
#define GUEST_CPUS_MAX 16 /* all of them spin: with more, others would pay for it */
#define MACHINE_US 10

struct cpu_latency {
	/* Set once. */
	const struct log *log;
	pthread_t thread;
	int32_t us;
	/* Atomic. */
	_Atomic uint64_t n_requests;
	_Atomic uint64_t burst_ns; /* CLOCK_MONOTONIC of the last burst's end */
	atomic_bool held;
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool wanted;
	bool stop;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists */
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void cpu_latency_note(struct cpu_latency *latency)
{
	uint64_t now, before;

	if (!latency ||
	    (atomic_fetch_add_explicit(&latency->n_requests, 1, memory_order_relaxed) + 1) % BURST)
		return;
	now = now_ns();
	before = atomic_exchange_explicit(&latency->burst_ns, now, memory_order_relaxed);
	if (now - before > BURST_NS || atomic_load_explicit(&latency->held, memory_order_relaxed))
		return;
	pthread_mutex_lock(&latency->lock);
	latency->wanted = true;
	pthread_cond_signal(&latency->changed);
	pthread_mutex_unlock(&latency->lock);
}

bool cpu_latency_is_held(const struct cpu_latency *latency)
{
	return latency && atomic_load_explicit(&latency->held, memory_order_relaxed);
}

/* The descriptor that holds @us, or -errno. */
static int hold(int32_t us)
{
	int fd = open(QOS_FILE, O_WRONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return negative_errno();
	if (write(fd, &us, sizeof(us)) == sizeof(us))
		return fd;
	r = negative_errno();
	close_keep_errno(fd);
	return r;
}

/* Under the lock. Until a rhythm begins; false: time to stop. */
static bool wait_for_rhythm_locked(struct cpu_latency *latency)
{
	while (!latency->wanted && !latency->stop)
		pthread_cond_wait(&latency->changed, &latency->lock);
	latency->wanted = false;
	return !latency->stop;
}

/* Under the lock. Until a rhythm ends, or it is time to stop. */
static void wait_for_quiet_locked(struct cpu_latency *latency)
{
	uint64_t now = now_ns();
	uint64_t n, before;

	n = atomic_load_explicit(&latency->n_requests, memory_order_relaxed);
	do {
		struct timespec until;

		now += QUIET_MS * UINT64_C(1000000);
		until = (struct timespec){ .tv_sec = (time_t)(now / UINT64_C(1000000000)),
					   .tv_nsec = (long)(now % UINT64_C(1000000000)) };
		while (!latency->stop && pthread_cond_timedwait(&latency->changed, &latency->lock,
								&until) != ETIMEDOUT)
			;
		before = n;
		n = atomic_load_explicit(&latency->n_requests, memory_order_relaxed);
		now = now_ns();
	} while (!latency->stop && n - before >= BURST);
}

static void *run(void *data)
{
	struct cpu_latency *latency = data;

	pthread_mutex_lock(&latency->lock);
	while (wait_for_rhythm_locked(latency)) {
		int fd;

		pthread_mutex_unlock(&latency->lock);
		fd = hold(latency->us);
		if (fd < 0)
			log_debug(latency->log, "cannot hold %s: %s", QOS_FILE, strerror(-fd));
		atomic_store(&latency->held, fd >= 0);
		pthread_mutex_lock(&latency->lock);
		wait_for_quiet_locked(latency);
		pthread_mutex_unlock(&latency->lock);
		close_keep_errno(fd);
		atomic_store(&latency->held, false);
		pthread_mutex_lock(&latency->lock);
	}
	pthread_mutex_unlock(&latency->lock);
	return NULL;
}

/* The number for this machine; -EOPNOTSUPP: there is nothing to gain. */
static int choose_us(int32_t *ret_us)
{
	FILE *file = fopen(DRIVER_FILE, "re");
	char driver[64] = "";

	if (file) {
		if (!fgets(driver, sizeof(driver), file))
			driver[0] = '\0';
		(void)fclose(file); /* was only read */
	}
	driver[strcspn(driver, "\n")] = '\0';
	if (!*driver || strcmp(driver, "none") == 0)
		return -EOPNOTSUPP;
	if (strcmp(driver, GUEST_DRIVER) != 0) {
		*ret_us = MACHINE_US;
		return 0;
	}
	if (get_nprocs() > GUEST_CPUS_MAX)
		return -EOPNOTSUPP;
	*ret_us = GUEST_US;
	return 0;
}

static void destroy(struct cpu_latency *latency)
{
	pthread_cond_destroy(&latency->changed);
	pthread_mutex_destroy(&latency->lock);
	free(latency);
}

static int start(struct cpu_latency *latency)
{
	pthread_condattr_t attributes;
	int r;

	pthread_mutex_init(&latency->lock, NULL); /* never fails with default attributes */
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&latency->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	r = -pthread_create(&latency->thread, NULL, run, latency);
	if (r < 0)
		destroy(latency);
	return r;
}

int cpu_latency_new(const struct log *log, struct cpu_latency **ret)
{
	struct cpu_latency *latency;
	int32_t us = 0;
	int r, fd;

	*ret = NULL;
	r = choose_us(&us);
	if (r < 0) {
		log_debug(log,
			  "processors wake up as they do: no driver here that could do better");
		return 0;
	}
	fd = hold(us);
	if (fd < 0) {
		log_debug(log, "processors wake up as they do: %s: %s", QOS_FILE, strerror(-fd));
		return 0;
	}
	close_keep_errno(fd);
	latency = calloc(1, sizeof(*latency));
	if (!latency)
		return -ENOMEM;
	latency->log = log;
	latency->us = us;
	r = start(latency);
	if (r == 0)
		*ret = latency;
	return r;
}

void cpu_latency_free(struct cpu_latency *latency)
{
	if (!latency)
		return;
	pthread_mutex_lock(&latency->lock);
	latency->stop = true;
	pthread_cond_signal(&latency->changed);
	pthread_mutex_unlock(&latency->lock);
	(void)pthread_join(latency->thread, NULL); /* ours, and joined once */
	destroy(latency);
}
