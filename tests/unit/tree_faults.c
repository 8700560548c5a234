/* SPDX-License-Identifier: MIT */
/*
 * tree_faults.c - system calls that fail on demand: the --wrap functions of tree_fixture.h.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "getdents.h"
#include "give_way.h"
#include "tree_fixture.h"
#include "tree_file.h"
#include "worker.h"

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
	set_fault(&faults.fsync_dir_error, 0);
	set_fault(&faults.close_error, 0);
	set_fault(&faults.dup_error, 0);
	faults.foreign_owner = false;
	faults.fsynced = NULL;
	__atomic_store_n(&faults.syncs, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.late_syncs, 0, __ATOMIC_RELAXED);
	faults.syncs_watched = 0;
	faults.cancelled_by_sync = faults.cancelled_by_flush = NULL;
	faults.cancelled_by_verify = faults.cancelled_by_rename = NULL;
	faults.cancelled_by_close = NULL;
	__atomic_store_n(&faults.syncfs_hangs, false, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.file_syncs, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.flushes, 0, __ATOMIC_RELAXED);
	faults.cancelling_flush = 0;
	faults.flush_fd = 0;
	faults.flush_unknown = false;
	faults.offload_is_slow = false;
	faults.born_anew = faults.born_unknown = false;
	__atomic_store_n(&faults.rests, 0, __ATOMIC_RELAXED);
	faults.create_name = faults.listed_name = NULL; /* no job is running */
	faults.made = NULL;
	faults.created = NULL;
	faults.settling = faults.syncing = NULL;
	faults.create_fails = faults.source_grows = faults.copy_breaks = 0;
	faults.create_error = faults.settle_error = faults.verify_error = 0;
}

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
int __real_openat64(int dir_fd, const char *name, int flags, ...);
int __wrap_openat64(int dir_fd, const char *name, int flags, ...);
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __real_close(int fd);
int __wrap_close(int fd);
void __real_worker_start_fsync(struct worker *worker, const struct slot_fsync *fsync);
void __wrap_worker_start_fsync(struct worker *worker, const struct slot_fsync *fsync);
void __real_worker_start_copy(struct worker *worker, const struct slot_copy *copy);
void __wrap_worker_start_copy(struct worker *worker, const struct slot_copy *copy);
int __real_sync_file_range(int fd, off_t offset, off_t length, unsigned flags);
int __wrap_sync_file_range(int fd, off_t offset, off_t length, unsigned flags);
int __real_posix_fadvise64(int fd, off_t offset, off_t length, int advice);
int __wrap_posix_fadvise64(int fd, off_t offset, off_t length, int advice);
ssize_t __real_copy_file_range(int src_fd, off64_t *src, int dst_fd, off64_t *dst, size_t length,
			       unsigned flags);
ssize_t __wrap_copy_file_range(int src_fd, off64_t *src, int dst_fd, off64_t *dst, size_t length,
			       unsigned flags);
int __real_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

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
	int r;

	if (fault(&faults.rename_error) == 0) {
		r = __real_renameat2(from_fd, from, to_fd, to, flags);
		if (faults.cancelled_by_rename)
			job_cancel(faults.cancelled_by_rename);
		return r;
	}
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

/* As syncfs(2) does while a disk is slow. */
static void hang(void)
{
	const struct timespec moment = { 0, 10000000 };

	__atomic_add_fetch(&faults.syncfs_hanging, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 2000; i++)
		if (__atomic_load_n(&faults.syncfs_hangs, __ATOMIC_RELAXED))
			(void)__real_nanosleep(&moment, NULL); /* a shorter sleep is as good */
	__atomic_sub_fetch(&faults.syncfs_hanging, 1, __ATOMIC_RELAXED);
}

/* Marks what is open, however it is duplicated: with a signal that nothing will send. */
static void mark_open(void)
{
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
		(void)fcntl(fd, F_SETSIG, SIGURG); /* EBADF: not open, or O_PATH */
}

int __wrap_syncfs(int fd)
{
	if (fcntl(fd, F_GETSIG) != SIGURG)
		__atomic_add_fetch(&faults.late_syncs, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&faults.syncs, 1, __ATOMIC_RELAXED);
	if (faults.cancelled_by_sync)
		job_cancel(faults.cancelled_by_sync);
	if (faults.syncing)
		faults.syncing();
	hang();
	if (fault(&faults.syncfs_error) == 0)
		return __real_syncfs(fd);
	errno = fault(&faults.syncfs_error);
	return -1;
}

void __wrap_worker_start_fsync(struct worker *worker, const struct slot_fsync *fsync)
{
	struct slot_fsync changed = *fsync;
	unsigned n = fsync->length > 0 ? __atomic_add_fetch(&faults.flushes, 1, __ATOMIC_RELAXED) :
					 0;

	if (n == 0)
		__atomic_add_fetch(&faults.file_syncs, 1, __ATOMIC_RELAXED);
	if (n > 0 && n == faults.cancelling_flush)
		job_cancel(faults.cancelled_by_flush);
	if (n > 0 && faults.flush_fd != 0)
		changed.fd = faults.flush_fd;
	__real_worker_start_fsync(worker, &changed);
}

void __wrap_worker_start_copy(struct worker *worker, const struct slot_copy *copy)
{
	if (takes_one(&faults.syncs_watched))
		mark_open();
	__real_worker_start_copy(worker, copy);
}

int __wrap_sync_file_range(int fd, off_t offset, off_t length, unsigned flags)
{
	if (!faults.flush_unknown)
		return __real_sync_file_range(fd, offset, length, flags);
	errno = ENOSYS;
	return -1;
}

int __wrap_posix_fadvise64(int fd, off_t offset, off_t length, int advice)
{
	if (faults.cancelled_by_verify)
		job_cancel(faults.cancelled_by_verify);
	return __real_posix_fadvise64(fd, offset, length, advice);
}

ssize_t __wrap_copy_file_range(int src_fd, off64_t *src, int dst_fd, off64_t *dst, size_t length,
			       unsigned flags)
{
	const struct timespec moment = { 0, 10000000 };

	if (faults.offload_is_slow)
		(void)__real_nanosleep(&moment, NULL); /* a shorter sleep is as good */
	return __real_copy_file_range(src_fd, src, dst_fd, dst, length, flags);
}

int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret)
{
	int r = __real_statx(fd, path, flags, mask, ret);

	if (r == 0 && faults.born_anew) {
		ret->stx_mask |= STATX_BTIME;
		ret->stx_btime.tv_sec = __atomic_add_fetch(&faults.births, 1, __ATOMIC_RELAXED);
	}
	if (r == 0 && faults.born_unknown)
		ret->stx_mask &= ~(unsigned)STATX_BTIME;
	return r;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	if (time->tv_sec == 0 && time->tv_nsec == (long)GIVE_WAY_REST_NS)
		__atomic_add_fetch(&faults.rests, 1, __ATOMIC_RELAXED);
	return __real_nanosleep(time, left);
}

int __wrap_fsync(int fd)
{
	int error = fault(&faults.fsync_error);
	struct stat st;

	if (faults.fsynced)
		faults.fsynced(fd);
	if (fault(&faults.fsync_dir_error) != 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		error = fault(&faults.fsync_dir_error);
	if (error == 0)
		return __real_fsync(fd);
	errno = error;
	return -1;
}

/* The file has been made by then. */
int __wrap_openat64(int dir_fd, const char *name, int flags, ...)
{
	bool makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	va_list arguments;
	mode_t mode = 0;
	int fd;

	va_start(arguments, flags);
	if (makes)
		mode = va_arg(arguments, mode_t);
	va_end(arguments);
	fd = __real_openat64(dir_fd, name, flags, mode);
	if (fd < 0 || !faults.foreign_owner || !makes || !(flags & O_NOATIME))
		return fd;
	(void)__real_close(fd); /* nothing was written */
	errno = EPERM;
	return -1;
}

/* A regular file that may be written. */
static bool is_written(int fd)
{
	struct stat st;

	return (__real_fcntl64(fd, F_GETFL) & O_ACCMODE) != 0 && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode);
}

static int fcntl_error(int fd, int command, const void *argument)
{
	if (command == F_DUPFD_CLOEXEC && is_written(fd))
		return fault(&faults.dup_error);
	return faults.foreign_owner && command == F_SETFL && ((uintptr_t)argument & O_NOATIME) ?
		       EPERM :
		       0;
}

int __wrap_fcntl64(int fd, int command, ...)
{
	va_list arguments;
	void *argument;
	int error;

	va_start(arguments, command);
	argument = va_arg(arguments, void *); /* as the C library does */
	va_end(arguments);
	error = fcntl_error(fd, command, argument);
	if (error == 0)
		return __real_fcntl64(fd, command, argument);
	errno = error;
	return -1;
}

/* As NFS does when there is no space; or it takes long. */
int __wrap_close(int fd)
{
	bool fails = fault(&faults.close_error) != 0 && is_written(fd);
	struct job *cancelled = NULL;
	int r;

	if (faults.cancelled_by_close && is_written(fd))
		cancelled = __atomic_exchange_n(&faults.cancelled_by_close, NULL, __ATOMIC_RELAXED);
	if (cancelled)
		job_cancel(cancelled);
	r = __real_close(fd);
	if (!fails)
		return r;
	errno = fault(&faults.close_error);
	return -1;
}

int __real_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name);
int __wrap_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name);
int __real_tree_file_settle(struct tree_file *file, const struct metadata_made *owner);
int __wrap_tree_file_settle(struct tree_file *file, const struct metadata_made *owner);
int __real_tree_verify_some(struct tree_verify *verify);
int __wrap_tree_verify_some(struct tree_verify *verify);
int __real_metadata_drop_acls(int fd);
int __wrap_metadata_drop_acls(int fd);
int __real_getdents_read(struct getdents *list, int dir_fd);
int __wrap_getdents_read(struct getdents *list, int dir_fd);

int __wrap_tree_file_create(struct tree_job *tree, struct tree_file *file, int dst_dir,
			    const char *name)
{
	if (!faults.create_name || strcmp(faults.create_name, name) != 0 ||
	    !takes_one(&faults.create_fails))
		return __real_tree_file_create(tree, file, dst_dir, name);
	file->call = "openat";
	return faults.create_error != 0 ? -faults.create_error : -EIO;
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

/* When it is read. */
int __wrap_tree_file_settle(struct tree_file *file, const struct metadata_made *owner)
{
	char path[PATH_MAX];

	if (faults.settling && is_chosen(file->src_fd, path))
		faults.settling();
	grow(file->src_fd);
	break_copy(file->src_fd, file->dst_fd);
	if (faults.settle_error != 0 && is_chosen(file->src_fd, path))
		return -faults.settle_error;
	return __real_tree_file_settle(file, owner);
}

int __wrap_tree_verify_some(struct tree_verify *verify)
{
	char path[PATH_MAX];

	if (faults.verify_error != 0 && is_chosen(verify->src_fd, path))
		return -faults.verify_error;
	return __real_tree_verify_some(verify);
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
