/* SPDX-License-Identifier: MIT */
/*
 * tree_faults.c - system calls that fail on demand: the --wrap functions of tree_fixture.h.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tree_fixture.h"

struct tree_faults faults;

static int fault(const int *error)
{
	return __atomic_load_n(error, __ATOMIC_RELAXED);
}

void set_fault(int *error, int value)
{
	__atomic_store_n(error, value, __ATOMIC_RELAXED);
}

void reset_faults(void)
{
	__atomic_store_n(&faults.disturb, false, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.link_every, 0, __ATOMIC_RELAXED);
	set_fault(&faults.rename_error, 0);
	set_fault(&faults.syncfs_error, 0);
	set_fault(&faults.fsync_error, 0);
	__atomic_store_n(&faults.syncs, 0, __ATOMIC_RELAXED);
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_syncfs(int fd);
int __wrap_syncfs(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	static __thread uint32_t random = 1;
	const struct timespec moment = { 0, 20000 };
	int r = __real_pthread_mutex_unlock(mutex);

	if (!__atomic_load_n(&faults.disturb, __ATOMIC_RELAXED))
		return r;
	random = random * 1664525 + 1013904223 + (uint32_t)(uintptr_t)mutex;
	if (random >> 30 == 0)
		sched_yield();
	else if (random >> 28 == 5)
		(void)nanosleep(&moment, NULL); /* a shorter sleep is as good */
	return r;
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	unsigned every = __atomic_load_n(&faults.link_every, __ATOMIC_RELAXED);

	if (every > 0 && __atomic_add_fetch(&faults.links, 1, __ATOMIC_RELAXED) % every == 0) {
		errno = EMLINK;
		return -1;
	}
	return __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (fault(&faults.rename_error) == 0)
		return __real_renameat2(from_fd, from, to_fd, to, flags);
	errno = fault(&faults.rename_error);
	return -1;
}

int __wrap_syncfs(int fd)
{
	__atomic_add_fetch(&faults.syncs, 1, __ATOMIC_RELAXED);
	if (fault(&faults.syncfs_error) == 0)
		return __real_syncfs(fd);
	errno = fault(&faults.syncfs_error);
	return -1;
}

int __wrap_fsync(int fd)
{
	if (fault(&faults.fsync_error) == 0)
		return __real_fsync(fd);
	errno = fault(&faults.fsync_error);
	return -1;
}
