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

#include <fcntl.h>
#include <string.h>

#include "file_copy.h"
#include "getdents.h"
#include "tree_fixture.h"
#include "tree_file.h"

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
	faults.create_name = faults.listed_name = NULL; /* no job is running */
	faults.made = NULL;
	faults.created = NULL;
	faults.create_fails = faults.source_grows = faults.copy_breaks = 0;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_mkdirat(int dir_fd, const char *name, mode_t mode);
int __wrap_mkdirat(int dir_fd, const char *name, mode_t mode);
int __real_mknodat(int dir_fd, const char *name, mode_t mode, dev_t dev);
int __wrap_mknodat(int dir_fd, const char *name, mode_t mode, dev_t dev);
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

int __wrap_mkdirat(int dir_fd, const char *name, mode_t mode)
{
	int r = __real_mkdirat(dir_fd, name, mode);

	if (r == 0 && faults.made)
		faults.made(dir_fd, name);
	return r;
}

int __wrap_mknodat(int dir_fd, const char *name, mode_t mode, dev_t dev)
{
	int r = __real_mknodat(dir_fd, name, mode, dev);

	if (r == 0 && faults.made)
		faults.made(dir_fd, name);
	return r;
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

int __real_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name);
int __wrap_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name);
int __real_tree_file_settle(struct tree_file *file, const struct metadata_made *owner);
int __wrap_tree_file_settle(struct tree_file *file, const struct metadata_made *owner);
void __real_file_copy_destroy(struct file_copy *copy);
void __wrap_file_copy_destroy(struct file_copy *copy);
int __real_metadata_drop_acls(int fd);
int __wrap_metadata_drop_acls(int fd);
int __real_getdents_read(struct getdents *list, int dir_fd);
int __wrap_getdents_read(struct getdents *list, int dir_fd);

/* Whether this is one of the so many times. */
static bool takes_one(unsigned *times)
{
	unsigned left = __atomic_load_n(times, __ATOMIC_RELAXED);

	while (left > 0)
		if (__atomic_compare_exchange_n(times, &left, left - 1, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

int __wrap_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name)
{
	if (!faults.create_name || strcmp(faults.create_name, name) != 0 ||
	    !takes_one(&faults.create_fails))
		return __real_tree_file_create(tree, file, dst_dir, name);
	file->call = "openat";
	return -EIO;
}

/* Whether @fd is the file of faults.create_name; *path has PATH_MAX bytes. */
static bool is_chosen(int fd, char *path)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (!faults.create_name || n < 0)
		return false;
	path[n] = '\0';
	return strcmp(strrchr(path, '/') + 1, faults.create_name) == 0;
}

/* Somebody writes to the source before we look whether somebody did. */
static void grow(int src_fd)
{
	char path[PATH_MAX];

	if (!is_chosen(src_fd, path) || !takes_one(&faults.source_grows))
		return;
	_cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || write(fd, "more", 4) != 4)
		abort(); /* the test cannot be made here */
}

/* The last byte of the copy is not what was written. */
static void break_copy(int src_fd, int dst_fd)
{
	char path[PATH_MAX];

	if (!is_chosen(src_fd, path) || !takes_one(&faults.copy_breaks))
		return;
	if (pwrite(dst_fd, "!", 1, lseek(dst_fd, 0, SEEK_END) - 1) != 1)
		abort(); /* as above */
}

/* Small files, when they are read. */
int __wrap_tree_file_settle(struct tree_file *file, const struct metadata_made *owner)
{
	grow(file->src_fd);
	break_copy(file->src_fd, file->dst_fd);
	return __real_tree_file_settle(file, owner);
}

/* Large ones. */
void __wrap_file_copy_destroy(struct file_copy *copy)
{
	grow(copy->spec.src_fd);
	break_copy(copy->spec.src_fd, copy->spec.dst_fd);
	__real_file_copy_destroy(copy);
}

int __wrap_metadata_drop_acls(int fd)
{
	if (faults.created)
		faults.created(fd);
	return __real_metadata_drop_acls(fd);
}

int __wrap_getdents_read(struct getdents *list, int dir_fd)
{
	int r = __real_getdents_read(list, dir_fd);
	struct getdents copy;
	const struct getdents_entry *entry;

	if (r <= 0 || !__atomic_load_n(&faults.listed_name, __ATOMIC_RELAXED))
		return r;
	copy = *list;
	while ((entry = getdents_next(&copy))) {
		const char *name = __atomic_load_n(&faults.listed_name, __ATOMIC_RELAXED);

		if (!name || strcmp(entry->name, name) != 0)
			continue;
		__atomic_store_n(&faults.listed_name, NULL, __ATOMIC_RELAXED);
		faults.listed(dir_fd, name);
	}
	return r;
}
