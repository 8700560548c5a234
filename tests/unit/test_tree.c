/* SPDX-License-Identifier: MIT */
/*
 * test_tree.c - kinds of trees, and their metadata: every case with both io methods.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tree_fixture.h"
#include "harness.h"
#include "job.h"

#include "arsync/base.h"
#include "getdents.h"
#include "staging.h"
#include "tree.h"

#define B TEST_BLOCK
#define LARGE (32 * MIB) /* to be caught in the middle */
#define RUNS_MAX 64
#define PATHS_MAX 4096 /* of this file's paths */

/* Somebody who is not root, with a further group. */
#define USER 1234
#define USER_GROUP 4321

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* --- faults ----------------------------------------------------------------------------------- */

/* What fails or is disturbed; set by the main thread, read by workers, all atomic. */
static struct {
	bool disturb;	     /* threads wait after giving up a lock, now and then */
	unsigned link_every; /* the how-manieth linkat() fails with EMLINK; 0: none */
	unsigned links;
	int rename_error; /* of renameat2() */
	int syncfs_error;
	int fsync_error;
	unsigned syncs; /* syncfs() that were called */
} faults;

static int fault(const int *error)
{
	return __atomic_load_n(error, __ATOMIC_RELAXED);
}

static void set_fault(int *error, int value)
{
	__atomic_store_n(error, value, __ATOMIC_RELAXED);
}

static void reset_faults(void)
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

/* --- snapshots -------------------------------------------------------------------------------- */

struct item {
	char *path; /* "" is the root */
	struct stat st;
	uint64_t content; /* a hash: of a file's bytes, or of a symbolic link's target */
	uint64_t xattrs;  /* a hash, whatever their order; without security.* */
	size_t same;	  /* the first item that is the same inode */
	size_t names;	  /* how many are */
};

struct snapshot {
	struct item *items; /* ordered by path */
	size_t n;
	size_t room;
	bool of_source;
};

static void snapshot_clear(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i].path);
	free(s->items);
	*s = (struct snapshot){ 0 };
}

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t word;

	hash ^= size;
	while (size > 0) {
		size_t n = MIN(size, sizeof(word));

		word = 0;
		memcpy(&word, bytes, n);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
		bytes += n;
		size -= n;
	}
	return hash;
}

static int hash_xattrs(int at, const char *name, uint64_t *ret)
{
	char path[PATH_MAX], list[4096], value[4096];
	uint64_t sum = 0;
	ssize_t size, n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name); /* fits */
	size = llistxattr(path, list, sizeof(list));
	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : negative_errno();
	for (const char *x = list; x < list + size; x += strlen(x) + 1) {
		if (strncmp(x, "security.", 9) == 0)
			continue;
		n = lgetxattr(path, x, value, sizeof(value));
		if (n < 0)
			return negative_errno();
		sum += mix(mix(1, x, strlen(x)), value, (size_t)n);
	}
	*ret = sum;
	return 0;
}

static int hash_file(int at, const char *name, uint64_t *ret)
{
	static uint8_t buffer[64 * 1024]; /* the main thread's */
	_cleanup_close_ int fd =
		openat(at, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
	uint64_t hash = 0;
	ssize_t n;

	if (fd < 0)
		return negative_errno();
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		hash = mix(hash, buffer, (size_t)n);
	*ret = hash;
	return n < 0 ? negative_errno() : 0;
}

static int hash_target(int at, const char *name, uint64_t *ret)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(at, name, target, sizeof(target));

	if (n < 0)
		return negative_errno();
	*ret = mix(0, target, (size_t)n);
	return 0;
}

static int hash_content(struct snapshot *s, struct item *item, int at, const char *name)
{
	const struct item *other = s->items;
	int r = 0;

	/* What has many names is read once. */
	for (; item->st.st_nlink > 1 && other < s->items + s->n; other++) {
		if (other->st.st_ino != item->st.st_ino || other->st.st_dev != item->st.st_dev)
			continue;
		item->content = other->content;
		item->st = other->st; /* as it was before it was read */
		return 0;
	}
	if (S_ISREG(item->st.st_mode))
		return hash_file(at, name, &item->content);
	if (!S_ISLNK(item->st.st_mode))
		return 0;
	r = hash_target(at, name, &item->content);
	/* There is no reading a link without its access time: what the copy will find. */
	if (r == 0 && s->of_source)
		r = fstatat(at, name, &item->st, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
	return r;
}

/* Takes ownership of @path. */
static int add_item(struct snapshot *s, char *path, int at, const char *name)
{
	struct item item = { .path = path };
	struct item *items = s->items;
	int r = 0;

	if (s->n == s->room) {
		items = reallocarray(items, 2 * s->room + 16, sizeof(*items));
		if (!items) {
			free(path);
			return -ENOMEM;
		}
		s->items = items;
		s->room = 2 * s->room + 16;
	}
	if (fstatat(at, name, &item.st, AT_SYMLINK_NOFOLLOW) < 0)
		r = negative_errno();
	if (r == 0)
		r = hash_content(s, &item, at, name);
	if (r == 0)
		r = hash_xattrs(at, name, &item.xattrs);
	s->items[s->n++] = item;
	return r;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir); /* only read */
}

static int open_dir(int at, const char *name, DIR **ret)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

	*ret = fd < 0 ? NULL : fdopendir(fd);
	return *ret ? 0 : negative_errno(); /* fdopendir() fails for want of memory only */
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Recursive: the trees are our own. */
static int take(struct snapshot *s, int at, const char *name, const char *path)
{
	char *copy = strdup(path), *below;
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = copy ? add_item(s, copy, at, name) : -ENOMEM;

	if (r < 0 || !S_ISDIR(s->items[s->n - 1].st.st_mode))
		return r;
	r = open_dir(at, name, &dir);
	while (r == 0 && (entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
			return -ENOMEM;
		r = take(s, dirfd(dir), entry->d_name, below);
		free(below);
	}
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->path, ((const struct item *)b)->path);
}

static void find_links(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct item *item = &s->items[i], *first = item;

		if (item->st.st_nlink > 1 && !S_ISDIR(item->st.st_mode))
			for (first = s->items; first->st.st_ino != item->st.st_ino ||
					       first->st.st_dev != item->st.st_dev;)
				first++;
		item->same = (size_t)(first - s->items);
		first->names++;
	}
}

static void take_snapshot(struct snapshot *s, int at, const char *path, bool of_source)
{
	int r;

	snapshot_clear(s);
	s->of_source = of_source;
	r = take(s, at, path, "");
	if (r < 0)
		fail_msg("%s%s cannot be read: %s", path, s->n > 0 ? s->items[s->n - 1].path : "",
			 strerror(-r));
	qsort(s->items, s->n, sizeof(*s->items), by_path);
	find_links(s);
}

static void check_equal(const char *path, const char *what, uint64_t is, uint64_t should)
{
	if (is != should)
		fail_msg("%s: %s is 0x%llx instead of 0x%llx", path, what, (unsigned long long)is,
			 (unsigned long long)should);
}

static void check_times(const char *path, const struct stat *is, const struct stat *should)
{
	check_equal(path, "atime", (uint64_t)is->st_atim.tv_sec, (uint64_t)should->st_atim.tv_sec);
	check_equal(path, "atime's ns", (uint64_t)is->st_atim.tv_nsec,
		    (uint64_t)should->st_atim.tv_nsec);
	check_equal(path, "mtime", (uint64_t)is->st_mtim.tv_sec, (uint64_t)should->st_mtim.tv_sec);
	check_equal(path, "mtime's ns", (uint64_t)is->st_mtim.tv_nsec,
		    (uint64_t)should->st_mtim.tv_nsec);
}

static void check_item(const struct item *is, const struct item *should)
{
	const char *path = should->path;

	check_equal(path, "type", is->st.st_mode & S_IFMT, should->st.st_mode & S_IFMT);
	check_equal(path, "mode", is->st.st_mode, should->st.st_mode);
	check_equal(path, "uid", is->st.st_uid, should->st.st_uid);
	check_equal(path, "gid", is->st.st_gid, should->st.st_gid);
	check_equal(path, "device", is->st.st_rdev, should->st.st_rdev);
	check_equal(path, "content", is->content, should->content);
	check_equal(path, "xattrs", is->xattrs, should->xattrs);
	check_equal(path, "first link", is->same, should->same);
	check_times(path, &is->st, &should->st);
	if (S_ISDIR(should->st.st_mode))
		return;
	check_equal(path, "size", (uint64_t)is->st.st_size, (uint64_t)should->st.st_size);
}

static void assert_same(const struct snapshot *is, const struct snapshot *should)
{
	for (size_t i = 0; i < is->n && i < should->n; i++) {
		if (strcmp(is->items[i].path, should->items[i].path) != 0)
			fail_msg("there is %s instead of %s", is->items[i].path,
				 should->items[i].path);
		check_item(&is->items[i], &should->items[i]);
		if (!S_ISDIR(is->items[i].st.st_mode))
			check_equal(is->items[i].path, "nlink", is->items[i].st.st_nlink,
				    is->items[is->items[i].same].names);
	}
	assert_int_equal(is->n, should->n);
}

/* What a result should say. */
struct totals {
	uint64_t files;
	uint64_t directories;
	uint64_t others;
	uint64_t bytes;
};

static struct totals totals_of(const struct snapshot *s)
{
	struct totals totals = { 0 };

	for (size_t i = 0; i < s->n; i++) {
		const struct item *item = &s->items[i];

		if (S_ISDIR(item->st.st_mode)) {
			totals.directories++;
		} else if (S_ISREG(item->st.st_mode) && item->same == i) {
			totals.files++;
			totals.bytes += (uint64_t)item->st.st_size;
		} else {
			totals.others++;
		}
	}
	return totals;
}

/* --- the fixture ------------------------------------------------------------------------------ */

struct tree_run {
	struct run run; /* harness_wait() knows it */
	char failed_path[PATH_MAX];
	char failed_call[64];
};

struct fixture {
	struct harness *h;
	struct snapshot src;
	struct snapshot dst;
	struct cred *user;
	struct staging_remover remover;
	int fd;	     /* open in a helper */
	pid_t child; /* 0: none */
	struct rlimit nofile;
	bool nofile_limited;
	unsigned seed; /* of the next file */
	unsigned char seen[8192];
	char dirs[512][160]; /* of the random tree */
	char files[64][160];
	unsigned n_runs;
	struct tree_run runs[RUNS_MAX];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *harness = *state;

	reset_faults();
	if (!f)
		return -1;
	f->fd = -1;
	staging_remover_init(&f->remover, -1, NULL);
	if (harness_setup(&harness) < 0) {
		free(f);
		return -1;
	}
	f->h = harness;
	*state = f;
	return 0;
}

/* Many entries are made faster where no disk and no journal is involved. */
static int setup_in_memory(void **state)
{
	const char *old = getenv("TMPDIR");
	char *saved = old ? strdup(old) : NULL;
	int r;

	if (access("/dev/shm", W_OK) < 0 || (old && !saved)) {
		free(saved);
		return setup(state);
	}
	(void)setenv("TMPDIR", "/dev/shm", 1); /* for want of memory it is on the disk */
	r = setup(state);
	if (saved)
		(void)setenv("TMPDIR", saved, 1);
	else
		(void)unsetenv("TMPDIR");
	free(saved);
	return r;
}

/* For those who are not root: nftw() cannot remove what is in a closed directory. */
static void open_up(int at, const char *name)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;

	if (fchmodat(at, name, 0700, 0) < 0 || open_dir(at, name, &dir) < 0)
		return; /* then it is left behind, and said so */
	while ((entry = readdir(dir)))
		if (!is_dots(entry->d_name) && entry->d_type == DT_DIR)
			open_up(dirfd(dir), entry->d_name);
}

static void unmount_small(struct fixture *f)
{
	char path[sizeof(f->h->dir.path) + 8];

	/* It may not be mounted; lazily, for a hung engine may still hold files. */
	(void)snprintf(path, sizeof(path), "%s/small", f->h->dir.path);
	(void)umount2(path, MNT_DETACH);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *harness = f->h;
	bool hung = f->h->hung;

	if (f->nofile_limited)
		(void)setrlimit(RLIMIT_NOFILE, &f->nofile);
	if (f->child > 0) {
		(void)kill(f->child, SIGKILL); /* a child of ours, not waited for yet */
		(void)waitpid(f->child, NULL, 0);
	}
	reset_faults();
	close_keep_errno(f->fd);
	harness_engine_free(f->h);
	unmount_small(f);
	if (geteuid() != 0)
		open_up(f->h->dir.fd, ".");
	snapshot_clear(&f->src);
	snapshot_clear(&f->dst);
	staging_remover_destroy(&f->remover);
	(void)harness_teardown(&harness);
	if (hung)
		return 0;
	for (unsigned i = 0; i < f->n_runs; i++) {
		job_unref(f->runs[i].run.job);
		sem_destroy(&f->runs[i].run.ended);
	}
	cred_unref(f->user);
	free(f);
	return 0;
}

/* The fixture; skips the test where its io method is not to be had. */
static struct fixture *fixture_of(void **state)
{
	struct fixture *f = *state;
	void *harness = f->h;

	(void)harness_of(&harness);
	return f;
}

static void need_root(const char *what)
{
	if (geteuid() == 0)
		return;
	print_message("only root can %s\n", what);
	skip();
}

/* --- building sources ------------------------------------------------------------------------- */

static int root_of(const struct fixture *f)
{
	return f->h->dir.fd;
}

static void make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(root_of(f), path, 0755), 0);
}

/* Of @size bytes, of which none is like another file's. */
static void make_file(struct fixture *f, const char *path, uint64_t size)
{
	f->fd = openat(root_of(f), path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (f->fd < 0)
		fail_msg("%s cannot be made: %s", path, strerror(errno));
	test_write_pattern(f->fd, 0, size, f->seed++);
	assert_int_equal(close(TAKE_FD(f->fd)), 0);
}

/* Data where c is 'd', a hole where it is '.'; 256 KiB each. */
static void make_sparse(struct fixture *f, const char *path, const char *layout)
{
	const uint64_t piece = 256 * KIB;

	f->fd = openat(root_of(f), path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, (off_t)(strlen(layout) * piece)), 0);
	for (size_t i = 0; layout[i]; i++)
		if (layout[i] != '.')
			test_write_pattern(f->fd, i * piece, piece, f->seed++);
	assert_int_equal(close(TAKE_FD(f->fd)), 0);
}

static void make_link(struct fixture *f, const char *from, const char *to)
{
	if (linkat(root_of(f), from, root_of(f), to, 0) < 0)
		fail_msg("%s cannot be linked to %s: %s", to, from, strerror(errno));
}

static void make_symlink(struct fixture *f, const char *target, const char *path)
{
	assert_int_equal(symlinkat(target, root_of(f), path), 0);
}

static void set_mode(struct fixture *f, const char *path, mode_t mode)
{
	assert_int_equal(fchmodat(root_of(f), path, mode, 0), 0);
}

static void set_owner(struct fixture *f, const char *path, uid_t uid, gid_t gid)
{
	assert_int_equal(fchownat(root_of(f), path, uid, gid, AT_SYMLINK_NOFOLLOW), 0);
}

/* False: this file system has none of the kind. */
static bool set_xattr(struct fixture *f, const char *path, const char *name, const void *value,
		      size_t size)
{
	char full[PATHS_MAX];

	(void)snprintf(full, sizeof(full), "/proc/self/fd/%d/%s", root_of(f), path);
	if (lsetxattr(full, name, value, size, 0) == 0)
		return true;
	if (errno != EOPNOTSUPP)
		fail_msg("%s of %s cannot be set: %s", name, path, strerror(errno));
	return false;
}

/* linux/posix_acl_xattr.h */
struct acl_entry {
	uint16_t tag;
	uint16_t perm;
	uint32_t id;
};

struct acl {
	uint32_t version;
	struct acl_entry entries[6];
};

static bool set_acl(struct fixture *f, const char *path, const char *name)
{
	const struct acl acl = { 2,
				 { { 0x01, 7, UINT32_MAX },	/* user:: */
				   { 0x02, 6, 2001 },		/* user:2001: */
				   { 0x04, 5, UINT32_MAX },	/* group:: */
				   { 0x08, 7, 2002 },		/* group:2002: */
				   { 0x10, 7, UINT32_MAX },	/* mask:: */
				   { 0x20, 5, UINT32_MAX } } }; /* other:: */

	return set_xattr(f, path, name, &acl, sizeof(acl));
}

/* Times that are nobody else's, deepest first. */
static int stamp(int at, const char *name, unsigned *count)
{
	struct timespec times[2];
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0 && r != -ENOTDIR && r != -ELOOP)
		return r;
	while (dir && (entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : stamp(dirfd(dir), entry->d_name, count);
		if (r < 0)
			return r;
	}
	++*count;
	times[0] = (struct timespec){ 1000000000 + *count * 1001L, *count * 7919001L % 1000000000 };
	times[1] = (struct timespec){ 900000000 + *count * 2003L,
				      999999999 - *count * 7919L % 1000000000 };
	return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
}

static void stamp_all(struct fixture *f, const char *path)
{
	unsigned count = 0;

	assert_int_equal(stamp(root_of(f), path, &count), 0);
}

/* Everything below @path, and it, to a user. */
static int give(int at, const char *name, uid_t uid)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0 && r != -ENOTDIR && r != -ELOOP)
		return r;
	while (dir && (entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : give(dirfd(dir), entry->d_name, uid);
		if (r < 0)
			return r;
	}
	return fchownat(at, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 ? negative_errno() : 0;
}

/* --- copying and checking --------------------------------------------------------------------- */

/* What is copied where; paths below the harness's directory. */
struct order {
	const char *src;
	const char *parent; /* NULL: the harness's directory itself */
	const char *name;   /* NULL: "copy" */
	struct cred *cred;
	dev_t forbidden_dev;
};

/* On a worker's thread, so it only records. */
static void run_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct tree_run *run = userdata;

	(void)job;
	run->run.result = *result;
	run->run.result.failed_path = NULL; /* valid only now */
	run->run.result.failed_call = NULL;
	(void)snprintf(run->failed_path, sizeof(run->failed_path), "%s", result->failed_path);
	(void)snprintf(run->failed_call, sizeof(run->failed_call), "%s", result->failed_call);
	__atomic_add_fetch(&run->run.done_calls, 1, __ATOMIC_RELAXED);
	sem_post(&run->run.ended);
}

/* The descriptors are closed again: the job has its own. */
static int try_prepare(struct fixture *f, const struct order *order, struct tree_run *run)
{
	_cleanup_close_ int src = openat(root_of(f), order->src, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int parent = openat(root_of(f), order->parent ? order->parent : ".",
					    O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct tree_spec spec = {
		.src_fd = src,
		.dst_parent_fd = parent,
		.dst_name = order->name ? order->name : "copy",
		.cred = order->cred,
		.forbidden_dev = order->forbidden_dev,
		.done = run_done,
		.userdata = run,
	};

	if (src < 0 || parent < 0)
		return -EBADF;
	return engine_copy_tree(harness_engine(f->h), &spec, &run->run.job);
}

static struct tree_run *prepare(struct fixture *f, const struct order *order)
{
	struct tree_run *run = &f->runs[f->n_runs];

	assert_true(f->n_runs < RUNS_MAX);
	assert_int_equal(try_prepare(f, order, run), 0);
	assert_int_equal(sem_init(&run->run.ended, 0, 0), 0);
	f->n_runs++;
	return run;
}

static struct tree_run *start(struct fixture *f, const struct order *order)
{
	struct tree_run *run = prepare(f, order);

	job_start(run->run.job);
	return run;
}

static const struct job_result *wait_for(struct fixture *f, struct tree_run *run)
{
	return harness_wait(f->h, &run->run);
}

static void check_success(struct fixture *f, struct tree_run *run)
{
	const struct job_result *result = wait_for(f, run);

	if (result->error < 0)
		fail_msg("%s of %s: %s", run->failed_call, run->failed_path,
			 strerror(-result->error));
}

static uint64_t ways_sum(const struct job_result *result)
{
	uint64_t sum = 0;

	for (int way = 0; way < COPY_WAY_COUNT; way++)
		sum += result->bytes_by_way[way];
	return sum;
}

static void check_counters(const struct tree_run *run, const struct totals *totals)
{
	const struct job_result *result = &run->run.result;
	struct job_progress progress;

	assert_int_equal(result->files, totals->files);
	assert_int_equal(result->directories, totals->directories);
	assert_int_equal(result->others, totals->others);
	assert_int_equal(result->bytes, totals->bytes);
	assert_int_equal(ways_sum(result), totals->bytes);
	job_get_progress(run->run.job, &progress);
	assert_true(progress.ended);
	assert_int_equal(progress.bytes, totals->bytes);
	assert_int_equal(progress.bytes_total, totals->bytes);
	assert_int_equal(progress.files, totals->files);
	assert_int_equal(progress.files_total, totals->files);
}

/* Of copies made at the same time one has read the source before the other looks at it. */
static void assert_same_but_atimes(struct fixture *f)
{
	for (size_t i = 0; i < f->src.n && i < f->dst.n; i++)
		f->src.items[i].st.st_atim = f->dst.items[i].st.st_atim;
	assert_same(&f->dst, &f->src);
}

/* The names in a directory, or -errno; *ret_staged: those of them that are staging names. */
static int count_names(struct fixture *f, const char *path, unsigned *ret_staged)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int n = 0, r = open_dir(root_of(f), path ? path : ".", &dir);

	*ret_staged = 0;
	if (r < 0)
		return r;
	while ((entry = readdir(dir))) {
		n += !is_dots(entry->d_name);
		if (strncmp(entry->d_name, STAGING_PREFIX, strlen(STAGING_PREFIX)) == 0)
			++*ret_staged;
	}
	return n;
}

/* Nothing but what is known to be there. */
static void assert_names(struct fixture *f, const char *path, int n)
{
	unsigned staged;

	assert_int_equal(count_names(f, path, &staged), n);
	assert_int_equal(staged, 0);
}

/* Others, such as XFS, allocate ahead as they please, and give it back later. */
static bool allocates_what_is_written(const struct fixture *f)
{
	struct statfs fs;

	assert_int_equal(fstatfs(root_of(f), &fs), 0);
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC;
}

static void check_allocated(const struct fixture *f)
{
	if (!allocates_what_is_written(f))
		return;
	for (size_t i = 0; i < f->src.n; i++)
		if (S_ISREG(f->src.items[i].st.st_mode) &&
		    f->dst.items[i].st.st_blocks > f->src.items[i].st.st_blocks + 128)
			fail_msg("%s: %lld blocks instead of %lld", f->src.items[i].path,
				 (long long)f->dst.items[i].st.st_blocks,
				 (long long)f->src.items[i].st.st_blocks);
}

/* For an order's copy. */
static void take_copy(struct fixture *f, const struct order *order)
{
	char path[PATHS_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", order->parent ? order->parent : ".",
		       order->name ? order->name : "copy");
	take_snapshot(&f->dst, root_of(f), path, false);
}

/* Copies and compares all that can be compared. */
static struct tree_run *check_order(struct fixture *f, struct order order)
{
	struct totals totals;
	struct tree_run *run;
	unsigned staged;
	int before = count_names(f, order.parent, &staged);

	take_snapshot(&f->src, root_of(f), order.src, true);
	totals = totals_of(&f->src);
	run = start(f, &order);
	check_success(f, run);
	take_copy(f, &order);
	assert_same(&f->dst, &f->src);
	check_allocated(f);
	check_counters(run, &totals);
	assert_names(f, order.parent, before + 1);
	return run;
}

static struct tree_run *check_copy(struct fixture *f)
{
	return check_order(f, (struct order){ .src = "src" });
}

/* An order that fails leaves the names in the destination's parent as they were. */
static struct tree_run *check_failure(struct fixture *f, struct order order, int error)
{
	unsigned staged;
	int before = count_names(f, order.parent, &staged);
	struct tree_run *run = start(f, &order);

	assert_int_equal(wait_for(f, run)->error, error);
	assert_names(f, order.parent, before);
	return run;
}

/* Waits until the job has copied something; false: it has ended. */
static bool wait_progress(struct fixture *f, struct tree_run *run)
{
	return harness_wait_progress(f->h, &run->run);
}

/* For root only where directories are closed. */
static int remove_tree(int at, const char *name)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0)
		return unlinkat(at, name, 0) < 0 ? negative_errno() : 0;
	while ((entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : remove_tree(dirfd(dir), entry->d_name);
		if (r < 0)
			return r;
	}
	return unlinkat(at, name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
}

static void remove_copy(struct fixture *f, const char *name)
{
	assert_int_equal(remove_tree(root_of(f), name), 0);
}

/* --- kinds of trees --------------------------------------------------------------------------- */

static void test_tree_empty_directory(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void test_tree_root_is_a_file(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 4096, B, 8 * B + 3, 8 * MIB + 1 };
	struct fixture *f = fixture_of(state);
	char name[32], copy[32];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		(void)snprintf(name, sizeof(name), "src%zu", i);
		(void)snprintf(copy, sizeof(copy), "copy%zu", i);
		make_file(f, name, sizes[i]);
		set_mode(f, name, 0640);
		stamp_all(f, name);
		(void)check_order(f, (struct order){ .src = name, .name = copy });
	}
	make_sparse(f, "sparse", "..d.");
	(void)set_xattr(f, "sparse", "user.x", "value", 5);
	make_link(f, "sparse", "another name of it");
	stamp_all(f, "sparse");
	(void)check_order(f, (struct order){ .src = "sparse" });
}

static void test_tree_file_sizes(void **state)
{
	struct fixture *f = fixture_of(state);
	struct engine_stats stats;
	struct tree_run *run;
	enum copy_way way = f->h->options.io == ENGINE_IO_SYNC ? COPY_WAY_SYNC : COPY_WAY_RING;

	make_sizes(f);
	run = check_copy(f);
	assert_int_equal(run->run.result.bytes_by_way[way], run->run.result.bytes);
	assert_string_equal(run->failed_path, "");
	assert_string_equal(run->failed_call, "");
	stats = harness_stats(f->h);
	assert_int_equal(stats.files, run->run.result.files);
	assert_int_equal(stats.bytes[way], run->run.result.bytes);
	assert_int_equal(stats.jobs_ended, 1);
}

static void test_tree_shapes(void **state)
{
	static const struct {
		unsigned workers;
		unsigned queue_depth;
		uint32_t block_size;
		int depth;
	} shapes[] = {
		{ 1, 1, ENGINE_BLOCK_SIZE_MIN, 0 },
		{ 2, 1, ENGINE_BLOCK_SIZE_MIN, ENGINE_DEPTH_MAX },
		{ 8, 2, ENGINE_BLOCK_SIZE_MIN + 4096, 1 },
		{ 3, ENGINE_QUEUE_DEPTH_MAX, MIB, 3 },
		{ 0, 0, 0, ENGINE_DEPTH_AUTO },
	};
	struct fixture *f = fixture_of(state);
	char name[32];

	make_sizes(f);
	make_sparse(f, "src/a/sparse", ".d..d.");
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		harness_engine_free(f->h);
		f->h->options.workers = shapes[i].workers;
		f->h->options.queue_depth = shapes[i].queue_depth;
		f->h->options.block_size = shapes[i].block_size;
		f->h->options.depth = shapes[i].depth;
		(void)snprintf(name, sizeof(name), "copy%zu", i);
		(void)check_order(f, (struct order){ .src = "src", .name = name });
	}
}

static void test_tree_reflink_options(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_dir(f, "src");
	make_file(f, "src/small", 100);
	make_file(f, "src/large", MIB);
	make_file(f, "src/empty", 0);
	f->h->options.reflink = ENGINE_REFLINK_AUTO;
	(void)check_copy(f);
	harness_engine_free(f->h);
	f->h->options.reflink = ENGINE_REFLINK_ALWAYS;
	run = start(f, &(struct order){ .src = "src", .name = "cloned" });
	if (wait_for(f, run)->error == 0) {
		assert_int_equal(run->run.result.bytes_by_way[COPY_WAY_CLONE],
				 run->run.result.bytes);
		assert_names(f, NULL, 3);
	} else {
		assert_int_equal(run->run.result.error, -EOPNOTSUPP);
		assert_names(f, NULL, 2);
	}
}

static void test_tree_holes_kept(void **state)
{
	static const char *const layouts[] = { ".", "..d", "d..", "d.d", "....d...d...", "d" };
	struct fixture *f = fixture_of(state);
	const struct job_result *result;
	uint64_t allocated = 0;
	char path[64];

	make_dir(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		(void)snprintf(path, sizeof(path), "src/%zu", i);
		make_sparse(f, path, layouts[i]);
	}
	stamp_all(f, "src");
	result = &check_copy(f)->run.result;
	for (size_t i = 0; i < f->src.n; i++)
		if (S_ISREG(f->src.items[i].st.st_mode))
			allocated += (uint64_t)f->src.items[i].st.st_blocks * 512;
	if (allocates_what_is_written(f))
		assert_true(result->bytes_by_way[COPY_WAY_HOLE] + allocated + 64 * KIB >=
			    result->bytes);
	assert_true(result->bytes_by_way[COPY_WAY_HOLE] > 0);
}

/* Such as would fit a group of small files. */
static void test_tree_holes_of_small_files(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct job_result *result;
	char path[64];

	if (!allocates_what_is_written(f))
		skip();
	make_dir(f, "src");
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		f->fd = openat(root_of(f), path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		assert_int_equal(ftruncate(f->fd, 20480), 0);
		if (i % 2)
			test_write_pattern(f->fd, 16384, 4096, f->seed++);
		assert_int_equal(close(TAKE_FD(f->fd)), 0);
	}
	stamp_all(f, "src");
	result = &check_copy(f)->run.result;
	assert_int_equal(result->bytes_by_way[COPY_WAY_HOLE], 5 * 20480 + 5 * 16384);
	for (size_t i = 1; i < f->src.n; i++)
		assert_true(f->dst.items[i].st.st_blocks <= f->src.items[i].st.st_blocks);
}

static void test_tree_symbolic_links(void **state)
{
	struct fixture *f = fixture_of(state);
	char target[PATH_MAX];

	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/file", 10);
	make_file(f, "outside", 10);
	make_symlink(f, "dir/file", "src/to a file");
	make_symlink(f, "dir", "src/to a directory");
	make_symlink(f, "..", "src/dir/up");
	make_symlink(f, "nowhere/at all", "src/dangling");
	make_symlink(f, "self", "src/self");
	make_symlink(f, "../outside", "src/to the outside");
	make_symlink(f, "/", "src/dir/absolute");
	make_symlink(f, "\xff\n ", "src/odd");
	memset(target, 'x', sizeof(target));
	target[sizeof(target) - 1] = '\0';
	make_symlink(f, target, "src/long");
	target[1024] = '\0';
	make_symlink(f, target, "src/shorter");
	if (geteuid() == 0)
		set_owner(f, "src/dangling", 1, 2);
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void test_tree_special_files(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	assert_int_equal(mknodat(root_of(f), "src/fifo", S_IFIFO | 0620, 0), 0);
	assert_int_equal(mknodat(root_of(f), "src/socket", S_IFSOCK | 0777, 0), 0);
	assert_int_equal(mknodat(root_of(f), "src/closed", S_IFIFO | 0600, 0), 0);
	set_mode(f, "src/closed", 0);
	if (geteuid() == 0) {
		set_owner(f, "src/fifo", 12, 34);
		if (mknodat(root_of(f), "src/null", S_IFCHR | 0666, makedev(1, 3)) < 0 ||
		    mknodat(root_of(f), "src/block", S_IFBLK | 0640, makedev(259, 99999)) < 0)
			print_message("no devices here: %s\n", strerror(errno));
	}
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void test_tree_hard_links(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_dir(f, "src/a");
	make_dir(f, "src/b");
	make_dir(f, "src/b/c");
	make_file(f, "src/a/two in one directory", 100);
	make_link(f, "src/a/two in one directory", "src/a/its other name");
	make_file(f, "src/a/three", 3 * B);
	make_link(f, "src/a/three", "src/three");
	make_link(f, "src/a/three", "src/b/c/three");
	make_file(f, "src/empty", 0);
	make_link(f, "src/empty", "src/b/empty");
	make_file(f, "outside", 77);
	make_link(f, "outside", "src/b/other name is outside");
	make_file(f, "outside too", 0);
	make_link(f, "outside too", "src/one of two inside");
	make_link(f, "outside too", "src/b/c/two of two inside");
	make_sparse(f, "src/sparse", ".d.");
	make_link(f, "src/sparse", "src/a/sparse");
	make_symlink(f, "three", "src/symlink");
	make_link(f, "src/symlink", "src/a/symlink");
	assert_int_equal(mknodat(root_of(f), "src/fifo", S_IFIFO | 0600, 0), 0);
	make_link(f, "src/fifo", "src/b/fifo");
	if (geteuid() == 0)
		set_mode(f, "src/a/three", 0);
	stamp_all(f, "src");
	(void)check_copy(f);
}

/* More names than fit a batch, of one file that takes long: who meets it goes on meanwhile. */
static void make_waiting_links(struct fixture *f)
{
	char path[64];

	make_dir(f, "src");
	make_file(f, "src/first", 16 * MIB);
	for (unsigned dir = 0; dir < 4; dir++) {
		(void)snprintf(path, sizeof(path), "src/%u", dir);
		make_dir(f, path);
		for (unsigned i = 0; i < 100; i++) {
			(void)snprintf(path, sizeof(path), "src/%u/%u", dir, i);
			make_link(f, "src/first", path);
		}
	}
	stamp_all(f, "src");
}

static void test_tree_hard_links_wait_for_the_first(void **state)
{
	struct fixture *f = fixture_of(state);

	make_waiting_links(f);
	f->h->options.workers = 4;
	(void)check_copy(f);
}

static void test_tree_cancelled_while_links_wait(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	unsigned caught = 0;

	make_waiting_links(f);
	for (int attempt = 0; attempt < 10 && caught < 3; attempt++) {
		run = start(f, &(struct order){ .src = "src" });
		(void)wait_progress(f, run);
		job_cancel(run->run.job);
		if (wait_for(f, run)->error == -ECANCELED) {
			caught++;
			assert_names(f, NULL, 1);
		} else {
			remove_copy(f, "copy");
		}
	}
	assert_true(caught > 0);
}

/* An inode can have only so many names; the next one is a copy of its own then. */
static void test_tree_hard_links_too_many(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct job_result *result;
	struct tree_run *run;
	char path[64];

	make_dir(f, "src");
	make_file(f, "src/first", 5 * MIB);
	make_file(f, "src/small first", 5);
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_link(f, "src/first", path);
		(void)snprintf(path, sizeof(path), "src/small %u", i);
		make_link(f, "src/small first", path);
	}
	stamp_all(f, "src");
	take_snapshot(&f->src, root_of(f), "src", true);
	__atomic_store_n(&faults.link_every, 10, __ATOMIC_RELAXED);
	run = start(f, &(struct order){ .src = "src" });
	check_success(f, run);
	result = &run->run.result;
	assert_int_equal(result->files, 2 + 10);
	assert_int_equal(result->others, 90);
	assert_int_equal(result->directories, 1);
	assert_int_equal(ways_sum(result), result->bytes);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_int_equal(f->dst.n, f->src.n);
	for (size_t i = 0; i < f->src.n; i++) {
		f->src.items[i].same = f->dst.items[i].same;
		/* It was read before, for the first name. */
		f->src.items[i].st.st_atim = f->dst.items[i].st.st_atim;
	}
	assert_same(&f->dst, &f->src);
}

static void test_tree_many_files(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	make_dir(f, "src");
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(path, sizeof(path), "src/file %05u", i);
		make_file(f, path, i % 50);
	}
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void test_tree_many_directories(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	make_dir(f, "src");
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_dir(f, path);
		if (i % 3 == 0)
			continue;
		(void)snprintf(path, sizeof(path), "src/%u/file", i);
		make_file(f, path, i);
	}
	stamp_all(f, "src");
	(void)check_copy(f);
}

static unsigned count_fds(void)
{
	_cleanup_(close_dir) DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	return n; /* with ".", ".." and its own */
}

/* Deeper than directories are kept open, with links from the bottom to what is closed by then. */
static void test_tree_deep(void **state)
{
	enum {
		DEPTH = 250
	};
	struct fixture *f = fixture_of(state);
	const unsigned bound = 2 * TREE_DIRS_OPEN_MAX + 2 * 2 * TREE_GROUP_FILES + 32;
	unsigned before = count_fds(), most = 0;
	char path[PATHS_MAX], first[PATHS_MAX];
	struct job_progress progress;
	struct rlimit limited;
	struct tree_run *run;

	assert_true(bound < 2 * DEPTH);
	make_dir(f, "src");
	for (unsigned i = 0; i < DEPTH; i++) {
		if (i > 0) {
			deep_path(path, i);
			make_dir(f, path);
		}
		deep_path(path, i);
		make_file(f, with_name(path, "/file"), i);
		if (i % 10 != 9)
			continue;
		deep_path(first, i - 9);
		deep_path(path, i);
		make_link(f, with_name(first, "/file"), with_name(path, "/link"));
	}
	stamp_all(f, "src");
	take_snapshot(&f->src, root_of(f), "src", true);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &f->nofile), 0);
	limited = f->nofile;
	limited.rlim_cur = MIN(before + bound, f->nofile.rlim_cur);
	f->nofile_limited = true;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limited), 0);
	run = start(f, &(struct order){ .src = "src" });
	do {
		unsigned now = count_fds();

		most = MAX(most, now);
		job_get_progress(run->run.job, &progress);
	} while (!progress.ended && sem_trywait(&run->run.ended) < 0);
	if (!progress.ended)
		sem_post(&run->run.ended); /* for check_success() */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->nofile), 0);
	check_success(f, run);
	assert_true(most <= before + bound);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_same(&f->dst, &f->src);
}

/*
 * Directories that several workers want at once after they were closed: whatever order a file
 * system lists them in, some subdirectories are left to be made when the deepest is done.
 */
static void test_tree_directories_reopened(void **state)
{
	enum {
		DEPTH = 100,
		LEAVES = 30
	};
	struct fixture *f = fixture_of(state);
	char path[PATHS_MAX], name[32];

	make_dir(f, "src");
	for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			deep_path(path, i);
			if (leaf == LEAVES / 2 && i > 0)
				make_dir(f, path);
			if (leaf < LEAVES / 2 && i > 0)
				continue;
			(void)snprintf(name, sizeof(name), "/%u", leaf);
			make_dir(f, with_name(path, name));
		}
	}
	f->h->options.workers = 4;
	__atomic_store_n(&faults.disturb, true, __ATOMIC_RELAXED);
	for (unsigned round = 0; round < 2; round++) {
		(void)check_copy(f);
		remove_copy(f, "copy");
	}
}

static void test_tree_names(void **state)
{
	static const char *const odd[] = {
		" ",
		"  two",
		"new\nline",
		"tab\there",
		"-rf",
		"*",
		"\\",
		"\"'`$(x)",
		"...",
		"..x",
		"\x01\x7f",
		"\xff\xfe\x80",
		"\xc3\xa4",
		"\xf0\x9f\x98\x80",
		"%s%n",
		"~",
		STAGING_PREFIX "x",
		"#",
	};
	struct fixture *f = fixture_of(state);
	char longest[NAME_MAX + 1], path[PATHS_MAX];

	make_dir(f, "src");
	make_dir(f, "src/in");
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		(void)snprintf(path, sizeof(path), "src/%s", odd[i]);
		make_file(f, path, i);
		(void)snprintf(path, sizeof(path), "src/in/%s", odd[i]);
		make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/in/%s/%s", odd[i], odd[i]);
		make_symlink(f, odd[i], path);
	}
	/* So long that a batch is full before it has all the names that it may have. */
	for (unsigned i = 0; i < 100; i++) {
		memset(longest, 'a' + (int)i % 26, sizeof(longest));
		longest[i / 26] = '\xe9';
		longest[NAME_MAX] = '\0';
		(void)snprintf(path, sizeof(path), "src/in/%s", longest);
		make_file(f, path, 5);
	}
	(void)snprintf(path, sizeof(path), "src/%s", longest);
	make_dir(f, path);
	(void)snprintf(path, sizeof(path), "src/%s/%s", longest, longest);
	make_dir(f, path);
	(void)snprintf(path, sizeof(path), "src/%s/%s/%s", longest, longest, longest);
	make_file(f, path, 5);
	stamp_all(f, "src");
	(void)check_copy(f);
	(void)check_order(f, (struct order){ .src = "src/in", .name = longest });
}

static void test_tree_modes(void **state)
{
	static const mode_t modes[] = { 0777, 0555, 0500, 01777, 02755, 03770, 0711 };
	static const mode_t file_modes[] = { 0666, 0444, 0400, 04755, 02755, 06711, 01644, 0200, 0 };
	struct fixture *f = fixture_of(state);
	bool root = geteuid() == 0;
	char path[64];

	make_dir(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		(void)snprintf(path, sizeof(path), "src/%o", modes[i]);
		make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/%o/file", modes[i]);
		make_file(f, path, 10);
		(void)snprintf(path, sizeof(path), "src/%o/dir", modes[i]);
		make_dir(f, path);
		(void)snprintf(path, sizeof(path), "src/%o/dir/large", modes[i]);
		make_file(f, path, B);
	}
	for (size_t i = 0; i < ARRAY_SIZE(file_modes); i++) {
		if (!root && !(file_modes[i] & 0400))
			continue;
		for (unsigned large = 0; large < 2; large++) {
			(void)snprintf(path, sizeof(path), "src/file%o-%u", file_modes[i], large);
			make_file(f, path, large ? 2 * B : 10);
			if (root && i % 2)
				set_owner(f, path, 1, 2);
			set_mode(f, path, file_modes[i]);
		}
	}
	if (root) {
		make_dir(f, "src/closed");
		make_dir(f, "src/closed/too");
		make_file(f, "src/closed/too/file", 1);
		set_owner(f, "src/closed/too", 3, 4);
		set_mode(f, "src/closed/too", 0);
		set_mode(f, "src/closed", 0);
	}
	stamp_all(f, "src");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		(void)snprintf(path, sizeof(path), "src/%o", modes[i]);
		set_mode(f, path, modes[i]);
	}
	set_mode(f, "src", 0555);
	(void)check_copy(f);
	assert_int_equal(f->dst.items[0].st.st_mode & 07777, 0555);
}

static void test_tree_attributes(void **state)
{
	struct fixture *f = fixture_of(state);
	char large[3000];

	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/dir/small", 5);
	make_file(f, "src/dir/large", 3 * B);
	make_file(f, "src/dir/empty", 0);
	if (!set_xattr(f, "src/dir", "user.of a directory", "1", 1))
		skip();
	memset(large, 'v', sizeof(large));
	assert_true(set_xattr(f, "src", "user.of the root", "\0\1\2", 3));
	assert_true(set_xattr(f, "src/dir/small", "user.empty", "", 0));
	assert_true(set_xattr(f, "src/dir/small", "user.second", "2", 1));
	assert_true(set_xattr(f, "src/dir/large", "user.large", large, sizeof(large)));
	if (geteuid() == 0) {
		make_symlink(f, "x", "src/dir/symlink");
		(void)set_xattr(f, "src/dir/symlink", "trusted.x", "3", 1);
		(void)set_xattr(f, "src/dir/empty", "trusted.x", "4", 1);
	}
	/* What is in a directory with a default ACL has none of it where the source has none. */
	if (set_acl(f, "src", ACL_DEFAULT)) {
		assert_true(set_acl(f, "src/dir", ACL_DEFAULT));
		assert_true(set_acl(f, "src/dir", ACL_ACCESS));
		assert_true(set_acl(f, "src/dir/small", ACL_ACCESS));
		assert_true(set_acl(f, "src/dir/large", ACL_ACCESS));
	}
	stamp_all(f, "src");
	(void)check_copy(f);
}

static void set_flags(struct fixture *f, const char *path, int flags)
{
	f->fd = openat(root_of(f), path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	if (ioctl(f->fd, FS_IOC_SETFLAGS, &flags) < 0) {
		print_message("no flags here: %s\n", strerror(errno));
		skip();
	}
	close_keep_errno(TAKE_FD(f->fd));
}

static int flags_of(struct fixture *f, const char *path)
{
	int flags = 0;

	f->fd = openat(root_of(f), path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(ioctl(f->fd, FS_IOC_GETFLAGS, &flags), 0);
	close_keep_errno(TAKE_FD(f->fd));
	return flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
}

/* So that they can be removed. */
static void clear_flags(struct fixture *f, const char *root)
{
	static const char *const names[] = { "", "/d", "/d/file", "/a", "/large" };
	struct fixture *f = fixture_of(state);
	char path[64];

	mount_small(f, "size=4m,nr_inodes=300");
	make_dir(f, "src");
	for (unsigned i = 0; i < 400; i++) {
		if (i % 20 == 0) {
			(void)snprintf(path, sizeof(path), "src/%u", i / 20);
			make_dir(f, path);
		}
		(void)snprintf(path, sizeof(path), "src/%u/%u", i / 20, i);
		if (i % 3 == 0)
			make_symlink(f, "x", path);
		else
			make_file(f, path, 1);
	}
	for (int i = 0; i < 3; i++)
		(void)check_failure(f, (struct order){ .src = "src", .parent = "small" }, -ENOSPC);
}

/* To another file system and from it: what both have is kept. */
static void test_tree_between_file_systems(void **state)
{
	struct fixture *f = fixture_of(state);

	mount_small(f, "size=100m");
	make_sizes(f);
	make_sparse(f, "src/sparse", "..d.d");
	make_link(f, "src/sparse", "src/a/sparse");
	stamp_all(f, "src");
	(void)check_order(f, (struct order){ .src = "src", .parent = "small" });
	(void)check_order(f, (struct order){ .src = "small/copy", .name = "back" });
}

static void test_tree_forbidden_device(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "small" };
	struct stat st;

	mount_small(f, "size=4m");
	make_simple(f);
	assert_int_equal(fstatat(root_of(f), "small", &st, 0), 0);
	order.forbidden_dev = st.st_dev;
	(void)check_order(f, order); /* to it, but not from it */
	order.src = "small/copy/dir/file";
	order.name = "file";
	(void)check_order(f, order); /* nor are files */
	order.src = "small/copy";
	order.name = "again";
	(void)check_failure(f, order, -ELOOP);
	order.parent = NULL;
	(void)check_failure(f, order, -ELOOP);
}

static void test_tree_several_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct copy_spec range = { .length = LARGE };
	struct tree_run *runs[2];
	struct run *beside;
	struct totals totals;

	make_lengthy(f);
	stamp_all(f, "src");
	take_snapshot(&f->src, root_of(f), "src", true);
	totals = totals_of(&f->src);
	range.src_fd = test_dir_file(&f->h->dir, true);
	range.dst_fd = test_dir_file(&f->h->dir, true);
	test_write_pattern(range.src_fd, 0, LARGE, 1);
	runs[0] = start(f, &(struct order){ .src = "src", .name = "copy0" });
	beside = harness_start(f->h, range);
	runs[1] = start(f, &(struct order){ .src = "src", .name = "copy1" });
	for (size_t i = 0; i < 2; i++) {
		check_success(f, runs[i]);
		check_counters(runs[i], &totals);
	}
	assert_int_equal(harness_wait(f->h, beside)->bytes, LARGE);
	assert_pattern(range.dst_fd, 0, LARGE, 1, 0);
	take_snapshot(&f->dst, root_of(f), "copy1", false);
	assert_same_but_atimes(f);
	take_snapshot(&f->dst, root_of(f), "copy0", false);
	assert_same_but_atimes(f);
	assert_names(f, NULL, 3);
}

/* The workers go from one identity to the other and back. */
static void test_tree_several_identities_at_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order orders[3] = { { .src = "src", .parent = "home", .cred = make_user(f) },
				   { .src = "src" },
				   { .src = "src", .parent = "home", .cred = f->user } };
	struct tree_run *runs[3];

	orders[2].name = "second";
	make_lengthy(f);
	make_symlink(f, "x", "src/many/symlink");
	make_link(f, "src/large", "src/many/link");
	assert_int_equal(mknodat(root_of(f), "src/many/fifo", S_IFIFO | 0600, 0), 0);
	set_owner(f, "src/many/1", 5, 6);
	stamp_all(f, "src");
	f->h->options.workers = 1;
	for (size_t i = 0; i < 3; i++)
		runs[i] = start(f, &orders[i]);
	for (size_t i = 0; i < 3; i++) {
		check_success(f, runs[i]);
		take_snapshot(&f->src, root_of(f), "src", true);
		if (orders[i].cred)
			expect_given_to_user(&f->src);
		take_copy(f, &orders[i]);
		assert_same_but_atimes(f);
	}
}

/* Two for one name: one of them gets it. */
static void test_tree_two_for_one_name(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *a, *b;

	make_simple(f);
	for (unsigned i = 0; i < 10; i++) {
		a = start(f, &(struct order){ .src = "src" });
		b = start(f, &(struct order){ .src = "src" });
		assert_int_equal(wait_for(f, a)->error + wait_for(f, b)->error, -EEXIST);
		assert_names(f, NULL, 2);
		remove_copy(f, "copy");
	}
}

static void test_tree_progress(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress, last = { 0 };
	struct tree_run *run;
	struct totals totals;

	make_lengthy(f);
	take_snapshot(&f->src, root_of(f), "src", true);
	totals = totals_of(&f->src);
	run = prepare(f, &(struct order){ .src = "src" });
	job_get_progress(run->run.job, &progress);
	assert_int_equal(progress.bytes, 0);
	assert_int_equal(progress.files_total, 0);
	assert_false(progress.ended);
	job_start(run->run.job);
	do {
		job_get_progress(run->run.job, &progress);
		assert_true(progress.bytes >= last.bytes && progress.bytes <= totals.bytes);
		assert_true(progress.files >= last.files && progress.files <= totals.files);
		assert_true(progress.bytes_total >= last.bytes_total);
		assert_true(progress.bytes_total <= totals.bytes);
		assert_true(progress.files_total >= last.files_total);
		assert_true(progress.files_total <= totals.files);
		last = progress;
	} while (!progress.ended && sem_trywait(&run->run.ended) < 0);
	if (!progress.ended)
		sem_post(&run->run.ended); /* for check_success() */
	check_success(f, run);
	check_counters(run, &totals);
}

/* Depth, hard links between directories, and what is no file. */
static void make_countable(struct fixture *f)
{
	char path[256] = "src/deep";

	make_lengthy(f);
	make_file(f, "src/linked", 12345);
	make_dir(f, "src/links");
	make_link(f, "src/linked", "src/links/linked");
	make_symlink(f, "linked", "src/links/symlink");
	for (unsigned i = 0; i < 50; i++) {
		make_dir(f, path);
		(void)strcat(path, "/d");
	}
	make_file(f, path, 1);
}

static void test_tree_count_ahead(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct tree_run *run;
	struct totals totals;

	make_countable(f);
	take_snapshot(&f->src, root_of(f), "src", true);
	totals = totals_of(&f->src);
	run = prepare(f, &(struct order){ .src = "src" });
	job_get_progress(run->run.job, &progress);
	assert_false(progress.totals_known);
	job_count(run->run.job);
	job_get_progress(run->run.job, &progress);
	assert_true(progress.totals_known);
	assert_int_equal(progress.files_total, totals.files);
	assert_int_equal(progress.bytes_total, totals.bytes);
	job_want_totals(run->run.job); /* again, and by the thread: it must not hurt */
	job_cancel(run->run.job);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
}

static void test_tree_count_while_it_runs(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	struct totals totals;

	make_countable(f);
	take_snapshot(&f->src, root_of(f), "src", true);
	totals = totals_of(&f->src);
	run = prepare(f, &(struct order){ .src = "src" });
	job_start(run->run.job);
	job_want_totals(run->run.job);
	job_want_totals(run->run.job);
	check_success(f, run);
	check_counters(run, &totals);
}

static void test_tree_count_stops_when_cancelled(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct tree_run *run;

	make_countable(f);
	run = prepare(f, &(struct order){ .src = "src" });
	job_cancel(run->run.job);
	job_count(run->run.job);
	job_get_progress(run->run.job, &progress);
	assert_false(progress.totals_known);
	job_start(run->run.job);
	assert_int_equal(wait_for(f, run)->error, -ECANCELED);
}

/* --- fsync ------------------------------------------------------------------------------------ */

static void test_tree_fsync_file(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	mount_small(f, "size=100m"); /* where it costs nothing */
	make_dir(f, "src");
	/* Of a group's files all are synced at once, however many were read. */
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_file(f, path, i % 32 == 0);
	}
	make_file(f, "src/large", 3 * B + 1);
	stamp_all(f, "src");
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	(void)check_order(f, (struct order){ .src = "src", .parent = "small" });
	(void)check_order(f,
			  (struct order){ .src = "src/large", .parent = "small", .name = "file" });
	harness_engine_free(f->h);
	f->h->options.workers = 1;
	f->h->options.queue_depth = 1;
	(void)check_order(f, (struct order){ .src = "src", .parent = "small", .name = "copy2" });
	assert_int_equal(faults.syncs, 0);
}

static void test_tree_fsync_file_on_disk(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	(void)check_copy(f);
	if (f->h->options.io != ENGINE_IO_SYNC)
		return; /* the ring has an fsync of its own */
	set_fault(&faults.fsync_error, EIO);
	(void)check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO);
	/* A small file alone. */
	assert_string_equal(check_failure(f, (struct order){ .src = "src/dir", .name = "fails" },
					  -EIO)
				    ->failed_call,
			    "fsync");
}

static void test_tree_fsync_tree(void **state)
{
	struct fixture *f = fixture_of(state);

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	(void)check_copy(f);
	assert_true(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED) > 0);
	(void)check_order(f, (struct order){ .src = "src/large", .name = "file" });

	set_fault(&faults.syncfs_error, EIO);
	assert_string_equal(
		check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO)->failed_call,
		"syncfs");
	set_fault(&faults.syncfs_error, 0);
	/* Of the directory in which it has appeared: it is taken away again. */
	set_fault(&faults.fsync_error, EIO);
	assert_string_equal(
		check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO)->failed_call,
		"fsync");
}

/* --- stress ----------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	*random ^= *random << 5;
	return *random;
}

static uint64_t random_size(uint32_t *random)
{
	static const uint64_t bounds[] = { 1, 10, 100, 1000, 5000, 5000, 20000, 20000 };
	uint32_t kind = next_random(random) % 100;

	if (kind == 0)
		return next_random(random) % (5 * B);
	return next_random(random) % bounds[kind % ARRAY_SIZE(bounds)];
}

/* One entry of the random tree. */
static void make_random(struct fixture *f, unsigned i, unsigned *n_dirs, unsigned *n_files,
			uint32_t *random)
{
	const char *dir = f->dirs[next_random(random) % *n_dirs];
	uint32_t kind = next_random(random) % 100;
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%u", dir, i);
	if (kind < 10 && *n_dirs < ARRAY_SIZE(f->dirs) && strlen(dir) < 100) {
		make_dir(f, path);
		(void)strcpy(f->dirs[(*n_dirs)++], path);
	} else if (kind < 22 && *n_files > 0) {
		make_link(f, f->files[next_random(random) % *n_files], path);
	} else if (kind < 26) {
		make_symlink(f, path, path);
	} else if (kind < 28) {
		assert_int_equal(mknodat(root_of(f), path, S_IFIFO | 0600, 0), 0);
	} else if (kind == 28 && i % 4 == 0) {
		make_sparse(f, path, ".d.");
	} else {
		make_file(f, path, random_size(random));
		set_mode(f, path, 0400 | (next_random(random) & 07377));
		if (kind < 40)
			(void)snprintf(f->files[(*n_files)++ % ARRAY_SIZE(f->files)],
				       sizeof(f->files[0]), "%s", path);
		*n_files = MIN(*n_files, (unsigned)ARRAY_SIZE(f->files));
	}
}

static void check_stress(void **state, unsigned workers, unsigned rounds)
{
	struct fixture *f = fixture_of(state);
	unsigned n_dirs = 1, n_files = 0;
	uint32_t random = 20240229;

	f->h->options.workers = workers;
	make_dir(f, "src");
	(void)strcpy(f->dirs[0], "src");
	for (unsigned i = 1; i < 3000; i++)
		make_random(f, i, &n_dirs, &n_files, &random);
	stamp_all(f, "src");
	for (unsigned round = 0; round < rounds; round++) {
		(void)check_copy(f);
		remove_copy(f, "copy");
	}
}

static void test_tree_stress_one_worker(void **state)
{
	check_stress(state, 1, 5);
}

static void test_tree_stress_eight_workers(void **state)
{
	check_stress(state, 8, 5);
}

/* --- staging ---------------------------------------------------------------------------------- */

static void test_staging_name(void **state)
{
	char a[NAME_MAX + 1], b[NAME_MAX + 1];

	(void)state;
	assert_int_equal(staging_name(a), 0);
	assert_int_equal(staging_name(b), 0);
	assert_int_equal(strncmp(a, STAGING_PREFIX, strlen(STAGING_PREFIX)), 0);
	assert_true(strlen(a) > strlen(STAGING_PREFIX) && !strchr(a, '/'));
	assert_string_not_equal(a, b);
}

static void check_publish(struct fixture *f)
{
	make_dir(f, "staged");
	make_file(f, "file", 1);
	make_dir(f, "empty");
	assert_int_equal(staging_publish(root_of(f), "staged", "file"), -EEXIST);
	assert_int_equal(staging_publish(root_of(f), "staged", "empty"), -EEXIST);
	assert_int_equal(staging_publish(root_of(f), "none", "name"), -ENOENT);
	assert_int_equal(staging_publish(root_of(f), "staged", "name"), 0);
	assert_int_equal(faccessat(root_of(f), "name", F_OK, 0), 0);
	assert_names(f, NULL, 3);
}

static void test_staging_publish(void **state)
{
	check_publish(fixture_of(state));
}

/* On a file system that cannot rename without replacing. */
static void test_staging_publish_without_noreplace(void **state)
{
	struct fixture *f = fixture_of(state);

	set_fault(&faults.rename_error, EINVAL);
	check_publish(f);
}

/* How many calls it took, or -errno. */
static int remove_all(struct fixture *f, const char *name, unsigned budget)
{
	enum {
		CALLS_MAX = 20000
	};
	int r = 1, calls;

	staging_remover_init(&f->remover, root_of(f), name);
	for (calls = 0; r == 1 && calls < CALLS_MAX; calls++)
		r = staging_remove_some(&f->remover, budget);
	staging_remover_destroy(&f->remover);
	staging_remover_init(&f->remover, -1, NULL);
	return r == 0 ? calls : r == 1 ? -ETIMEDOUT : r;
}

static void test_staging_remove_kinds(void **state)
{
	struct fixture *f = fixture_of(state);

	assert_int_equal(remove_all(f, "never there", 10), 1);
	make_file(f, "staged", 10);
	assert_int_equal(remove_all(f, "staged", 10), 1);
	make_dir(f, "staged");
	assert_true(remove_all(f, "staged", 10) > 0);
	make_dir(f, "staged");
	make_file(f, "staged/file", 10);
	make_link(f, "staged/file", "staged/link");
	assert_int_equal(mknodat(root_of(f), "staged/fifo", S_IFIFO | 0600, 0), 0);
	make_dir(f, "staged/a");
	make_dir(f, "staged/a/b");
	make_dir(f, "staged/c");
	assert_true(remove_all(f, "staged", 1) > 1);
	assert_names(f, NULL, 0);
}

static void test_staging_remove_budget(void **state)
{
	struct fixture *f = fixture_of(state);
	unsigned staged;
	char path[64];
	int left;

	make_dir(f, "staged");
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(path, sizeof(path), "staged/%u", i);
		make_file(f, path, 0);
	}
	staging_remover_init(&f->remover, root_of(f), "staged");
	for (int calls = 1; calls <= 3; calls++) {
		assert_int_equal(staging_remove_some(&f->remover, 10), 1);
		left = count_names(f, "staged", &staged);
		assert_true(left >= 300 - 10 * calls);
	}
	/* And it goes on where it was. */
	staging_remover_destroy(&f->remover);
	assert_true(remove_all(f, "staged", 10) > 10);
	assert_names(f, NULL, 0);
}

static void test_staging_remove_deep(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[PATHS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", root, names[i]);
		set_flags(f, path, 0);
	}
}

static void make_flagged(struct fixture *f)
{
	char path[64];

	need_root("set flags");
	f->deep = true;
	make_dir(f, "src");
	make_dir(f, "src/d");
	make_file(f, "src/d/file", 10);
	make_file(f, "src/large", 4 * MIB);
	make_file(f, "src/a", 100);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(path, sizeof(path), "src/%u", i);
		make_link(f, "src/a", path);
	}
	stamp_all(f, "src");
	set_flags(f, "src/a", FS_IMMUTABLE_FL);
	set_flags(f, "src/large", FS_NODUMP_FL | FS_APPEND_FL);
	set_flags(f, "src/d/file", FS_APPEND_FL);
	set_flags(f, "src/d", FS_IMMUTABLE_FL);
	set_flags(f, "src", FS_APPEND_FL);
}

static void test_tree_flags(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	(void)check_copy(f);
	assert_int_equal(flags_of(f, "copy"), FS_APPEND_FL);
	assert_int_equal(flags_of(f, "copy/d"), FS_IMMUTABLE_FL);
	assert_int_equal(flags_of(f, "copy/d/file"), FS_APPEND_FL);
	assert_int_equal(flags_of(f, "copy/a"), FS_IMMUTABLE_FL);
	assert_int_equal(flags_of(f, "copy/large"), FS_APPEND_FL | FS_NODUMP_FL);
	clear_flags(f, "src");
	clear_flags(f, "copy");
}

/* What cannot be changed is removed all the same, when it was only staged. */
static void test_tree_flags_of_a_failed_copy(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	set_fault(&faults.rename_error, EACCES);
	(void)check_failure(f, (struct order){ .src = "src" }, -EACCES);
	clear_flags(f, "src");
}

/* Who may not set them goes without. */
static void test_tree_flags_as_another_user(void **state)
{
	struct fixture *f = fixture_of(state);

	make_flagged(f);
	f->user = make_user(f);
	check_success(f,
		      start(f, &(struct order){ .src = "src", .parent = "home", .cred = f->user }));
	assert_int_equal(flags_of(f, "home/copy/a"), 0);
	assert_int_equal(flags_of(f, "home/copy/d"), 0);
	assert_int_equal(flags_of(f, "home/copy/large"), FS_NODUMP_FL);
	clear_flags(f, "src");
}

/* From the root down to each of them, it would take minutes. */
static void test_tree_very_deep(void **state)
{
	enum {
		DEPTH = 12000
	};
	struct fixture *f = fixture_of(state);
	struct tree_run *run;
	int fd;

	f->deep = true;
	make_dir(f, "src");
	f->fd = openat(root_of(f), "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 1; i < DEPTH; i++) {
		assert_int_equal(mkdirat(f->fd, "d", 0755), 0);
		fd = openat(f->fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fd >= 0);
		close_keep_errno(f->fd);
		f->fd = fd;
		if (i % 100 == 0)
			assert_int_equal(symlinkat("target", f->fd, "link"), 0);
	}
	close_keep_errno(TAKE_FD(f->fd));
	run = start(f, &(struct order){ .src = "src" });
	check_success(f, run);
	assert_int_equal(run->run.result.directories, DEPTH);
	assert_int_equal(run->run.result.others, (DEPTH - 1) / 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_tree_empty_directory),
		TEST_BOTH(test_tree_root_is_a_file),
		TEST_BOTH(test_tree_file_sizes),
		TEST_BOTH(test_tree_shapes),
		TEST_BOTH(test_tree_reflink_options),
		TEST_BOTH(test_tree_holes_kept),
		TEST_BOTH(test_tree_holes_of_small_files),
		TEST_BOTH(test_tree_symbolic_links),
		TEST_BOTH(test_tree_special_files),
		TEST_BOTH(test_tree_hard_links),
		TEST_BOTH_IN_MEMORY(test_tree_hard_links_wait_for_the_first),
		TEST_BOTH_IN_MEMORY(test_tree_cancelled_while_links_wait),
		TEST_BOTH(test_tree_hard_links_too_many),
		TEST_BOTH_IN_MEMORY(test_tree_many_files),
		TEST_BOTH_IN_MEMORY(test_tree_many_directories),
		TEST_BOTH_IN_MEMORY(test_tree_deep),
		TEST_BOTH_IN_MEMORY(test_tree_directories_reopened),
		TEST_BOTH(test_tree_names),
		TEST_BOTH(test_tree_modes),
		TEST_BOTH(test_tree_attributes),
		TEST_BOTH_IN_MEMORY(test_tree_flags),
		TEST_BOTH_IN_MEMORY(test_tree_flags_of_a_failed_copy),
		TEST_BOTH_IN_MEMORY(test_tree_flags_as_another_user),
		TEST_BOTH_IN_MEMORY(test_tree_very_deep),
		TEST_BOTH(test_tree_parent_with_setgid),
		TEST_BOTH(test_tree_parent_with_setgid_file),
		TEST_BOTH(test_tree_parent_with_default_acl),
		TEST_BOTH(test_tree_parent_with_default_acl_file),
		TEST_BOTH(test_tree_destination_exists),
		TEST_BOTH(test_tree_destination_appears),
		TEST_BOTH(test_tree_destination_inside_source),
		TEST_BOTH(test_tree_bad_names),
		TEST_BOTH(test_tree_bad_descriptors),
		TEST_BOTH(test_tree_source_of_another_kind),
		TEST_BOTH_IN_MEMORY(test_tree_unreadable),
		TEST_BOTH(test_tree_as_another_user),
		TEST_BOTH(test_tree_as_another_user_below_setgid),
		TEST_BOTH(test_tree_as_another_user_read_only_attributes),
		TEST_BOTH(test_tree_removes_closed_directories),
		TEST_BOTH(test_tree_cancelled_before_start),
		TEST_BOTH_IN_MEMORY(test_tree_cancelled_in_the_middle),
		TEST_BOTH(test_tree_root_file_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_drained),
		TEST_BOTH_IN_MEMORY(test_tree_unreferenced_at_once),
		TEST_BOTH(test_tree_no_space),
		TEST_BOTH_IN_MEMORY(test_tree_no_inodes),
		TEST_BOTH(test_tree_between_file_systems),
		TEST_BOTH(test_tree_forbidden_device),
		TEST_BOTH_IN_MEMORY(test_tree_several_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_several_identities_at_once),
		TEST_BOTH_IN_MEMORY(test_tree_two_for_one_name),
		TEST_BOTH_IN_MEMORY(test_tree_progress),
		TEST_BOTH_IN_MEMORY(test_tree_count_ahead),
		TEST_BOTH_IN_MEMORY(test_tree_count_while_it_runs),
		TEST_BOTH_IN_MEMORY(test_tree_count_stops_when_cancelled),
		TEST_BOTH_IN_MEMORY(test_tree_fsync_file),
		TEST_BOTH(test_tree_fsync_file_on_disk),
		TEST_BOTH(test_tree_fsync_tree),
		TEST_BOTH_IN_MEMORY(test_tree_stress_one_worker),
		TEST_BOTH_IN_MEMORY(test_tree_stress_eight_workers),
		TEST(test_staging_name, "sync"),
		TEST(test_staging_publish, "sync"),
		TEST(test_staging_publish_without_noreplace, "sync"),
		TEST(test_staging_remove_kinds, "sync"),
		TEST(test_staging_remove_budget, "sync"),
		TEST(test_staging_remove_deep, "sync"),
		TEST(test_staging_remove_follows_no_link, "sync"),
		TEST(test_staging_remove_closed_directories, "sync"),
		TEST(test_getdents_continues_by_cookie, "sync"),
		TEST(test_getdents_ends, "sync"),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
