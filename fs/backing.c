/* SPDX-License-Identifier: MIT */
/*
 * backing.c - identities, mounts, devices.
 *
 * backing_identify() asks for the file handle, which comes with a mount id; find_mount() looks the
 * id up in an append-only array, and add_mount() meets a mount for the first time: is it ours (then
 * it is never entered), does it open by handle, does its close() tell anything?
 *
 * The lock only orders the appends. Readers take the counter (acquire) and look below it.
 */
#include "backing.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "arsync/base.h"
#include "arsync/mountinfo.h"

/* The key of a file without a handle. */
struct substitute {
	uint64_t dev;
	uint64_t ino;
	int64_t born_sec;
	uint64_t born_nsec;
};

const char *backing_fd_name(int fd, char name[BACKING_FD_NAME_MAX])
{
	(void)snprintf(name, BACKING_FD_NAME_MAX, "%d", fd); /* fits */
	return name;
}

/* Without what is about a name: the file is known, and the link to it in /proc is to be followed. */
static int flags_for_known(int flags)
{
	return (flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL)) | O_CLOEXEC | O_NOCTTY;
}

int backing_reopen(const struct backing *backing, int fd, int flags)
{
	char name[BACKING_FD_NAME_MAX];
	int opened;

	opened = openat(backing->self_fds, backing_fd_name(fd, name), flags_for_known(flags));
	return opened < 0 ? negative_errno() : opened;
}

int backing_stat(int fd, struct statx *ret)
{
	const unsigned mask = STATX_BASIC_STATS | STATX_BTIME;

	return statx(fd, "", AT_EMPTY_PATH, mask, ret) == 0 ? 0 : negative_errno();
}

static uint64_t device_index(struct backing *backing, dev_t dev)
{
	unsigned n = atomic_load_explicit(&backing->n_devices, memory_order_acquire);
	unsigned i;

	for (i = 0; i < n; i++)
		if (backing->devices[i] == dev)
			return i;

	pthread_mutex_lock(&backing->lock);
	n = atomic_load_explicit(&backing->n_devices, memory_order_relaxed);
	for (i = 0; i < n && backing->devices[i] != dev; i++)
		;
	if (i == n && n < BACKING_DEVICES_MAX) {
		backing->devices[n] = dev;
		atomic_store_explicit(&backing->n_devices, n + 1, memory_order_release);
	}
	pthread_mutex_unlock(&backing->lock);
	/*
	 * Beyond the bound devices share a number: hard links may then seem to be where none are.
	 */
	return i;
}

ino_t backing_ino(struct backing *backing, dev_t dev, ino_t ino)
{
	return ino ^ (ino_t)(device_index(backing, dev) << 48);
}

void backing_translate(struct backing *backing, struct statx *stx)
{
	dev_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);

	stx->stx_ino = backing_ino(backing, dev, stx->stx_ino);
	stx->stx_mask &= STATX_BASIC_STATS | STATX_BTIME;
	/* A mount root of the backing is none of ours. */
	stx->stx_attributes &= ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
	stx->stx_attributes_mask &= ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
}

void backing_to_stat(const struct statx *stx, struct stat *ret)
{
	*ret = (struct stat){
		.st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
		.st_ino = stx->stx_ino,
		.st_mode = stx->stx_mode,
		.st_nlink = stx->stx_nlink,
		.st_uid = stx->stx_uid,
		.st_gid = stx->stx_gid,
		.st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.st_size = (off_t)stx->stx_size,
		.st_blksize = (blksize_t)stx->stx_blksize,
		.st_blocks = (blkcnt_t)stx->stx_blocks,
		.st_atim = { .tv_sec = stx->stx_atime.tv_sec, .tv_nsec = stx->stx_atime.tv_nsec },
		.st_mtim = { .tv_sec = stx->stx_mtime.tv_sec, .tv_nsec = stx->stx_mtime.tv_nsec },
		.st_ctim = { .tv_sec = stx->stx_ctime.tv_sec, .tv_nsec = stx->stx_ctime.tv_nsec },
	};
}

/* Does close(2) on such a file system report only what write(2) and fsync(2) have reported? */
static bool close_is_safe(int fd)
{
	struct statfs buffer;

	if (fstatfs(fd, &buffer) < 0)
		return false;
	switch ((uint32_t)buffer.f_type) {
	case EXT4_SUPER_MAGIC: /* ext2 and ext3, too */
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case F2FS_SUPER_MAGIC:
		return true;
	default: /* network file systems and FUSE flush on close; others are not known */
		return false;
	}
}

/* Are access times set whenever something is read (strictatime)? Then nobody may skip that. */
static bool counts_reads(int fd, unsigned long skip)
{
	struct statvfs buffer;

	skip |= ST_NOATIME | ST_RELATIME | ST_RDONLY;
	return fstatvfs(fd, &buffer) < 0 || !(buffer.f_flag & skip);
}

bool backing_counts_links(const struct backing *backing)
{
	return counts_reads(backing->root_fd, 0);
}

/* Handles of a mount are usable if the file that we know it by opens by its own. */
static bool opens_by_handle(const struct backing *backing, const struct backing_key *key,
			    int mount_fd)
{
	struct backing_mount trial = { .fd = mount_fd, .by_handle = true };
	struct backing_key trial_key = *key;
	int fd;

	if (backing->never_by_handle || key->type == BACKING_KEY_NO_HANDLE || mount_fd < 0)
		return false;
	trial_key.mount = &trial;
	fd = backing_open_key(&trial_key, O_PATH);
	close_keep_errno(fd);
	return fd >= 0;
}

static const struct backing_mount *find_mount(struct backing *backing, int id)
{
	unsigned n = atomic_load_explicit(&backing->n_mounts, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (backing->mounts[i].id == id)
			return &backing->mounts[i];
	return NULL;
}

/* Takes ownership of mount->fd. */
static int publish_mount(struct backing *backing, const struct backing_mount *mount,
			 const struct backing_mount **ret)
{
	unsigned n;

	pthread_mutex_lock(&backing->lock);
	*ret = find_mount(backing, mount->id);
	n = atomic_load_explicit(&backing->n_mounts, memory_order_relaxed);
	if (!*ret && n < BACKING_MOUNTS_MAX) {
		backing->mounts[n] = *mount;
		*ret = &backing->mounts[n];
		atomic_store_explicit(&backing->n_mounts, n + 1, memory_order_release);
		pthread_mutex_unlock(&backing->lock);
		return 0;
	}
	pthread_mutex_unlock(&backing->lock);
	close_keep_errno(mount->fd); /* somebody was faster, or there are too many */
	return *ret ? 0 : -ENFILE;
}

/*
 * Is @id a mount of ourselves? Such mounts are not remembered: we hold none, so that its id may be
 * another mount's tomorrow. 1: yes.
 */
static int is_own_mount(const struct backing *backing, int id)
{
	struct mountinfo info;
	int r;

	if (!backing->own_dev)
		return 0;
	r = mountinfo_find_id(backing->proc_fd, id, &info);
	if (r == -ENOENT) /* outside our root directory, so not ours */
		return 0;
	return r < 0 ? r : info.dev == backing->own_dev;
}

/* @fd is the first file seen on mount @id, and @key its key, without a mount yet. */
static int add_mount(struct backing *backing, int id, int fd, const struct backing_key *key,
		     const struct backing_mount **ret)
{
	struct backing_mount mount = { .id = id, .fd = -1 };
	int r;

	r = is_own_mount(backing, id);
	if (r != 0)
		return r < 0 ? r : -ELOOP;
	/* Files that are mounts stay without by_handle: their mount needs a real descriptor. */
	mount.fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mount.by_handle = opens_by_handle(backing, key, mount.fd);
	if (mount.fd < 0) {
		mount.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (mount.fd < 0)
			return negative_errno();
	}
	mount.safe_close = close_is_safe(mount.fd);
	mount.counts_reads = counts_reads(mount.fd, ST_NODIRATIME);
	log_debug(backing->log, "mount %d: files are opened by %s, close %s", id,
		  mount.by_handle ? "handle" : "path",
		  mount.safe_close ? "reports nothing" : "may report errors");
	return publish_mount(backing, &mount, ret);
}

/*
 * Fills the key of a file without a handle; may not be called for our own files before this check.
 */
static int substitute_key(struct backing *backing, int fd, struct backing_key *key,
			  int *ret_mount_id)
{
	struct substitute bytes = { 0 };
	struct statx stx;

	/* AT_STATX_DONT_SYNC keeps a FUSE file system, should it be our own, from being asked. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return negative_errno();
	*ret_mount_id = (int)stx.stx_mnt_id;
	if (backing->own_dev && makedev(stx.stx_dev_major, stx.stx_dev_minor) == backing->own_dev)
		return -ELOOP;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) < 0)
		return negative_errno();
	bytes.dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	bytes.ino = stx.stx_ino;
	if (stx.stx_mask & STATX_BTIME) {
		bytes.born_sec = stx.stx_btime.tv_sec;
		bytes.born_nsec = stx.stx_btime.tv_nsec;
	}
	key->type = BACKING_KEY_NO_HANDLE;
	key->size = sizeof(bytes);
	memcpy(key->bytes, &bytes, sizeof(bytes));
	return 0;
}

/* All of the key but its mount, whose id is *@ret_mount_id. */
static int identify(struct backing *backing, int fd, struct backing_key *ret, int *ret_mount_id)
{
	union {
		struct file_handle header;
		unsigned char space[sizeof(struct file_handle) + BACKING_KEY_MAX];
	} handle = { .header.handle_bytes = BACKING_KEY_MAX };

	if (name_to_handle_at(fd, "", &handle.header, ret_mount_id, AT_EMPTY_PATH) == 0) {
		ret->type = handle.header.handle_type;
		ret->size = handle.header.handle_bytes;
		memcpy(ret->bytes, handle.header.f_handle, ret->size);
		return 0;
	}
	if (errno == EOPNOTSUPP || errno == EOVERFLOW || errno == ENOSYS || errno == EPERM)
		/*
		 * The file system has no handles, too large ones, or a container forbids the call.
		 */
		return substitute_key(backing, fd, ret, ret_mount_id);
	return negative_errno();
}

int backing_identify_known(struct backing *backing, int fd, struct backing_key *ret)
{
	int mount_id = -1;
	int r = identify(backing, fd, ret, &mount_id);

	if (r < 0)
		return r;
	ret->mount = find_mount(backing, mount_id);
	return ret->mount ? 0 : -ENOENT;
}

int backing_identify(struct backing *backing, int fd, struct backing_key *ret)
{
	int mount_id = -1;
	int r = identify(backing, fd, ret, &mount_id);

	if (r < 0)
		return r;
	ret->mount = find_mount(backing, mount_id);
	return ret->mount ? 0 : add_mount(backing, mount_id, fd, ret, &ret->mount);
}

bool backing_key_equal(const struct backing_key *a, const struct backing_key *b)
{
	return a->mount == b->mount && a->type == b->type && a->size == b->size &&
	       memcmp(a->bytes, b->bytes, a->size) == 0;
}

/*
 * The number of a file that is gone may just be given to another one: until that is made the kernel says
 * ENOMEM (iget_locked() in fs/inode.c, of an inode that is I_CREATING), and ESTALE after.
 */
static int open_handle(int mount, struct file_handle *handle, int flags)
{
	struct timespec pause = { .tv_nsec = 100 * 1000 };

	for (;;) {
		int fd = open_by_handle_at(mount, handle, flags);

		if (fd >= 0 || errno != ENOMEM || pause.tv_nsec > 50 * 1000 * 1000)
			return fd < 0 ? negative_errno() : fd;
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
	}
}

int backing_open_key(const struct backing_key *key, int flags)
{
	union {
		struct file_handle header;
		unsigned char space[sizeof(struct file_handle) + BACKING_KEY_MAX];
	} handle = { .header = { .handle_bytes = key->size, .handle_type = key->type } };

	if (!key->mount->by_handle || key->type == BACKING_KEY_NO_HANDLE)
		return -EOPNOTSUPP;
	memcpy(handle.header.f_handle, key->bytes, key->size);
	return open_handle(key->mount->fd, &handle.header, flags_for_known(flags));
}

bool backing_is_stacked(const struct backing *backing)
{
	struct statfs buffer;

	if (fstatfs(backing->root_fd, &buffer) < 0)
		return false;
	return (uint32_t)buffer.f_type == OVERLAYFS_SUPER_MAGIC ||
	       (uint32_t)buffer.f_type == ECRYPTFS_SUPER_MAGIC;
}

int backing_open(struct backing *backing, const char *path, const struct log *log)
{
	struct statx stx;
	int r;

	memset(backing, 0, sizeof(*backing));
	backing->log = log;
	backing->tree_fd = -1;
	backing->proc_fd = -1;
	backing->self_fds = -1;
	pthread_mutex_init(&backing->lock, NULL);

	backing->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (backing->root_fd < 0) {
		r = negative_errno();
		goto fail;
	}
	backing->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (backing->proc_fd < 0) {
		r = negative_errno();
		goto fail;
	}
	r = backing_stat(backing->root_fd, &stx);
	if (r < 0)
		goto fail;
	(void)device_index(backing,
			   makedev(stx.stx_dev_major, stx.stx_dev_minor)); /* gets number 0 */
	return 0;
fail:
	backing_close(backing);
	return r;
}

int backing_enter_process(struct backing *backing)
{
	int fd = openat(backing->proc_fd, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return negative_errno();
	close_keep_errno(backing->self_fds);
	backing->self_fds = fd;
	return fchdir(fd) == 0 ? 0 : negative_errno();
}

void backing_close(struct backing *backing)
{
	unsigned n = atomic_load(&backing->n_mounts);

	for (unsigned i = 0; i < n; i++)
		close_keep_errno(backing->mounts[i].fd);
	atomic_store(&backing->n_mounts, 0);
	close_keep_errno(backing->root_fd);
	close_keep_errno(backing->tree_fd);
	close_keep_errno(backing->proc_fd);
	close_keep_errno(backing->self_fds);
	pthread_mutex_destroy(&backing->lock);
}
