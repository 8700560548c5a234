/* SPDX-License-Identifier: MIT */
/*
 * test_inode_table.c - the inode table on a real directory, each case with both ways to a file: by
 * handle (skipped where open_by_handle_at(2) is not permitted) and by path.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arsync/base.h"
#include "inode_path.h"
#include "inode_pool.h"
#include "inode_table.h"

#define FD_MAX 64 /* of the pool */
#define MANY 600
#define THREADS 4
#define ROUNDS 2000

/* What *state says before the set-up. */
#define BY_HANDLE "handles"
#define BY_PATH "paths"

struct fixture {
	char path[64];
	char outside[72]; /* beside it, made when needed */
	char moved[80];	  /* in there */
	int dir;	  /* of path */
	int home;	  /* the working directory before */
	struct backing backing;
	bool open; /* backing is */
	struct inode_table *table;
	/* Of one test. */
	struct fd_ref *fd;
	struct inode *inodes[MANY];
};

static unsigned
	number_is_taken; /* so often open_by_handle_at(2) meets a file that is just being made */

int __real_open_by_handle_at(int mount, struct file_handle *handle, int flags);
int __wrap_open_by_handle_at(int mount, struct file_handle *handle, int flags);

int __wrap_open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	if (number_is_taken == 0)
		return __real_open_by_handle_at(mount, handle, flags);
	number_is_taken--;
	errno = ENOMEM;
	return -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fd_ref_put(f->fd);
	inode_table_free(f->table);
	if (f->open)
		backing_close(&f->backing);
	if (f->home >= 0 && fchdir(f->home) < 0)
		return -1;
	close_keep_errno(f->home);
	close_keep_errno(f->dir);
	(void)nftw(f->outside, remove_entry, 16, FTW_DEPTH | FTW_PHYS); /* if it was made */
	if (f->path[0])
		(void)nftw(f->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); /* best effort */
	free(f);
	return 0;
}

static int setup(void **state)
{
	bool by_path = strcmp(*state, BY_PATH) == 0;
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	*state = f;
	f->dir = f->home = -1;
	(void)snprintf(f->path, sizeof(f->path), "/var/tmp/test_inode_table.XXXXXX"); /* fits */
	f->home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->home < 0 || !mkdtemp(f->path))
		goto fail;
	(void)snprintf(f->outside, sizeof(f->outside), "%s.out", f->path); /* fits */
	f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir < 0 || backing_open(&f->backing, f->path, NULL) < 0)
		goto fail;
	f->open = true;
	f->backing.never_by_handle = by_path;
	if (backing_enter_process(&f->backing) < 0 ||
	    inode_table_new(&f->backing, FD_MAX, &f->table) < 0)
		goto fail;
	return 0;
fail:
	(void)teardown(state); /* the failure is reported */
	return -1;
}

static void need_mode(const struct fixture *f)
{
	if (!f->backing.never_by_handle && !f->table->root->by_handle)
		skip();
}

static void make_file(struct fixture *f, const char *name)
{
	int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close_keep_errno(fd);
}

static struct inode *look_up(struct fixture *f, struct inode *parent, const char *name)
{
	struct inode *inode = NULL;
	struct statx stx;

	assert_int_equal(inode_lookup(f->table, parent, name, &stx, &inode), 0);
	return inode;
}

static size_t known(struct fixture *f)
{
	size_t inodes, fds;

	inode_table_count(f->table, &inodes, &fds);
	return inodes;
}

static size_t pooled(struct fixture *f)
{
	size_t inodes, fds;

	inode_table_count(f->table, &inodes, &fds);
	return fds;
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

/* Moves the directory @name to where @f does not look, but removes it in the end. */
static void move_outside(struct fixture *f, const char *name)
{
	assert_int_equal(mkdir(f->outside, 0700), 0);
	(void)snprintf(f->moved, sizeof(f->moved), "%s/moved", f->outside); /* fits */
	assert_int_equal(renameat(f->dir, name, AT_FDCWD, f->moved), 0);
}

/* Whether @inode opens, and is the file @name. */
static void assert_opens(struct fixture *f, struct inode *inode, const char *name)
{
	struct stat here, there;

	assert_int_equal(inode_path_open(f->table, inode, &f->fd), 0);
	assert_int_equal(fstat(f->fd->fd, &here), 0);
	assert_int_equal(fstatat(f->dir, name, &there, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(here.st_ino, there.st_ino);
	fd_ref_put(TAKE_PTR(f->fd));
}

static void test_lookup_same_file_is_one_inode(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;

	need_mode(f);
	make_file(f, "a");
	inode = look_up(f, f->table->root, "a");
	assert_ptr_equal(look_up(f, f->table->root, "a"), inode);
	assert_int_equal(inode->nlookup, 2);
	assert_int_equal(known(f), 1);
}

static void test_lookup_hard_links_are_one_inode(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;

	need_mode(f);
	make_file(f, "a");
	make_file(f, "other");
	assert_int_equal(linkat(f->dir, "a", f->dir, "b", 0), 0);
	inode = look_up(f, f->table->root, "a");
	assert_ptr_equal(look_up(f, f->table->root, "b"), inode);
	assert_ptr_not_equal(look_up(f, f->table->root, "other"), inode);
	assert_int_equal(known(f), 2);
}

static void test_lookup_missing_adds_nothing(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;
	struct statx stx;

	need_mode(f);
	assert_int_equal(inode_lookup(f->table, f->table->root, "no", &stx, &inode), -ENOENT);
	assert_int_equal(known(f), 0);
}

static void test_lookup_successor_is_another_inode(void **state)
{
	struct fixture *f = *state;
	struct inode *old;

	need_mode(f);
	make_file(f, "a");
	old = look_up(f, f->table->root, "a");
	inode_pool_trim(f->table);
	assert_int_equal(unlinkat(f->dir, "a", 0), 0);
	make_file(f, "a");
	assert_ptr_not_equal(look_up(f, f->table->root, "a"), old);
	assert_int_equal(inode_path_open(f->table, old, &f->fd), -ESTALE);
}

static void test_lookup_symlink_is_not_followed(void **state)
{
	struct fixture *f = *state;

	need_mode(f);
	assert_int_equal(symlinkat("/", f->dir, "l"), 0);
	assert_true(S_ISLNK(look_up(f, f->table->root, "l")->format));
	assert_opens(f, look_up(f, f->table->root, "l"), "l");
}

static void test_forget_is_exact(void **state)
{
	struct fixture *f = *state;
	struct inode *inode, *found;
	int fd;

	need_mode(f);
	make_file(f, "a");
	inode = look_up(f, f->table->root, "a");
	(void)look_up(f, f->table->root, "a");
	(void)look_up(f, f->table->root, "a");
	fd = openat(f->dir, "a", O_PATH | O_CLOEXEC);
	inode_forget(f->table, inode, 2);
	assert_int_equal(inode_find(f->table, fd, &found), 0);
	assert_ptr_equal(found, inode);
	inode_forget(f->table, inode, 1);
	assert_int_equal(known(f), 1); /* found still holds it */
	inode_unref(f->table, found);
	assert_int_equal(known(f), 0);
	assert_int_equal(inode_find(f->table, fd, &found), -ENOENT);
	close_keep_errno(fd);
}

static void test_forget_parents_first_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct inode *outer, *inner, *leaf;

	need_mode(f);
	assert_int_equal(mkdirat(f->dir, "o", 0700), 0);
	assert_int_equal(mkdirat(f->dir, "o/i", 0700), 0);
	make_file(f, "o/i/leaf");
	outer = look_up(f, f->table->root, "o");
	inner = look_up(f, outer, "i");
	leaf = look_up(f, inner, "leaf");
	assert_int_equal(known(f), 3);
	inode_forget(f->table, outer, 1);
	inode_forget(f->table, inner, 1);
	inode_pool_trim(f->table);
	assert_opens(f, leaf, "o/i/leaf"); /* by path: its hints keep its ancestors */
	inode_forget(f->table, leaf, 1);
	assert_int_equal(known(f), 0);
	assert_int_equal(pooled(f), 0);
}

static void test_any_file_is_a_known_regular_one(void **state)
{
	struct fixture *f = *state;
	struct inode *file;

	need_mode(f);
	assert_int_equal(inode_table_any_file(f->table), 0);
	assert_int_equal(mkdirat(f->dir, "d", 0700), 0);
	make_file(f, "a");
	(void)look_up(f, f->table->root, "d");
	assert_int_equal(inode_table_any_file(f->table), 0);
	file = look_up(f, f->table->root, "a");
	assert_int_equal(inode_table_any_file(f->table), inode_to_id(f->table, file));
	(void)inode_ref(file);
	inode_forget(f->table, file, 1);
	assert_int_equal(inode_table_any_file(f->table), 0); /* ours, but not the kernel's */
	inode_unref(f->table, file);
}

static void test_forget_root_is_ignored(void **state)
{
	struct fixture *f = *state;

	need_mode(f);
	assert_ptr_equal(inode_from_id(f->table, NODE_ID_ROOT), f->table->root);
	assert_int_equal(inode_to_id(f->table, f->table->root), NODE_ID_ROOT);
	inode_forget(f->table, f->table->root, 1);
	assert_opens(f, f->table->root, ".");
}

static void test_lookup_id_after_forget(void **state)
{
	struct fixture *f = *state;
	struct inode *inode, *again;
	struct statx stx;
	uint64_t id;

	need_mode(f);
	make_file(f, "file");
	inode = look_up(f, f->table->root, "file");
	id = inode_to_id(f->table, inode);
	assert_ptr_equal(inode_from_id(f->table, id), inode);
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &again), 0);
	assert_ptr_equal(again, inode);
	inode_forget(f->table, inode, 2);
	assert_null(inode_from_id(f->table, id));
	if (!node_id_lasts(id)) {
		assert_int_equal(inode_lookup_id(f->table, id, &stx, &again), -ESTALE);
		return;
	}
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &again), 0);
	assert_int_equal(inode_to_id(f->table, again), id);
	assert_opens(f, again, "file");
	inode_forget(f->table, again, 1);
	assert_int_equal(unlinkat(f->dir, "file", 0), 0);
	inode_pool_trim(f->table);
	number_is_taken = 3;
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &again), -ESTALE);
	assert_int_equal(number_is_taken, 0);
	number_is_taken = UINT_MAX; /* memory is short indeed */
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &again), -ENOMEM);
	number_is_taken = 0;
	assert_int_equal(known(f), 0);
}

static void test_lookup_parent_ends_at_root(void **state)
{
	struct fixture *f = *state;
	struct inode *outer, *inner, *parent;
	struct statx stx;

	need_mode(f);
	assert_int_equal(mkdirat(f->dir, "o", 0700), 0);
	assert_int_equal(mkdirat(f->dir, "o/i", 0700), 0);
	outer = look_up(f, f->table->root, "o");
	inner = look_up(f, outer, "i");
	assert_int_equal(inode_lookup_parent(f->table, inner, &stx, &parent), 0);
	assert_ptr_equal(parent, outer);
	assert_int_equal(inode_lookup_parent(f->table, outer, &stx, &parent), 0);
	assert_ptr_equal(parent, f->table->root);
	assert_int_equal(inode_lookup_parent(f->table, parent, &stx, &parent), -ESTALE);
	inode_forget(f->table, inner, 1);
	inode_forget(f->table, outer, 2);
	assert_int_equal(known(f), 0);
}

/* The node id that the directory @name would have if it were shown. */
static uint64_t id_of(struct fixture *f, const char *name)
{
	int fd = openat(f->dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct backing_key key;
	int r;

	assert_true(fd >= 0);
	r = backing_identify(&f->backing, fd, &key);
	close_keep_errno(fd);
	assert_int_equal(r, 0);
	return node_id_of(&f->table->ids, &key);
}

static void test_lookup_id_of_directories(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;
	struct statx stx;
	uint64_t id, id_above;

	need_mode(f);
	assert_int_equal(mkdirat(f->dir, "o", 0700), 0);
	assert_int_equal(mkdirat(f->dir, "o/i", 0700), 0);
	id = id_of(f, "o/i");
	id_above = id_of(f, "..");
	if (!node_id_lasts(id) || !node_id_lasts(id_above))
		skip();
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &inode), 0);
	assert_opens(f, inode, "o/i");
	inode_forget(f->table, inode, 1);
	assert_int_equal(inode_lookup_id(f->table, id_above, &stx, &inode), -ESTALE);
	/* It was inside once. */
	move_outside(f, "o/i");
	assert_int_equal(inode_lookup_id(f->table, id, &stx, &inode), -ESTALE);
	assert_int_equal(known(f), 0);
}

static void test_lookup_parent_of_moved_outside(void **state)
{
	struct fixture *f = *state;
	struct inode *inode, *parent;
	struct statx stx;

	need_mode(f);
	assert_int_equal(mkdirat(f->dir, "d", 0700), 0);
	inode = look_up(f, f->table->root, "d");
	move_outside(f, "d");
	assert_int_equal(inode_lookup_parent(f->table, inode, &stx, &parent), -ESTALE);
	assert_int_equal(known(f), 1);
}

static void test_pool_keeps_its_bound(void **state)
{
	struct fixture *f = *state;
	char name[16];
	int before;

	need_mode(f);
	before = open_fds();
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i); /* fits */
		make_file(f, name);
		f->inodes[i] = look_up(f, f->table->root, name);
	}
	assert_int_equal(known(f), MANY);
	assert_true(pooled(f) > 0 && pooled(f) <= FD_MAX);
	assert_true(open_fds() <= before + FD_MAX);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i); /* fits */
		assert_opens(f, f->inodes[i], name);
	}
	assert_true(open_fds() <= before + FD_MAX);
	for (int i = 0; i < MANY; i++)
		inode_forget(f->table, f->inodes[i], 1);
	assert_int_equal(known(f), 0);
	assert_int_equal(open_fds(), before);
}

static void test_pool_keeps_what_has_no_name(void **state)
{
	struct fixture *f = *state;
	const int most = FD_MAX / 2;
	char name[16];
	int before, kept = 0;

	need_mode(f);
	before = open_fds();
	for (int i = 0; i < MANY; i++) {
		struct fd_ref *fd;

		(void)snprintf(name, sizeof(name), "f%d", i); /* fits */
		make_file(f, name);
		f->inodes[i] = look_up(f, f->table->root, name);
		assert_int_equal(inode_path_open(f->table, f->inodes[i], &fd), 0);
		assert_int_equal(unlinkat(f->dir, name, 0), 0);
		if (i % 2)
			inode_pool_trim(f->table); /* it has none in the pool any more */
		inode_pool_keep(f->table, f->inodes[i], fd);
	}
	/* Not more than there is room for, and these stay. */
	inode_pool_trim(f->table);
	assert_int_equal(open_fds() - before, most);
	assert_int_equal(pooled(f), most);
	for (int i = 0; i < MANY; i++) {
		int r = inode_path_open(f->table, f->inodes[i], &f->fd);

		assert_true(r == 0 || r == -ESTALE);
		kept += r == 0;
		if (r == 0)
			fd_ref_put(TAKE_PTR(f->fd));
	}
	assert_int_equal(kept, most);
	for (int i = 0; i < MANY; i++)
		inode_forget(f->table, f->inodes[i], 1);
	assert_int_equal(known(f), 0);
	assert_int_equal(open_fds(), before);
}

static void test_pool_descriptor_in_use_outlives_trim(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	need_mode(f);
	make_file(f, "a");
	assert_int_equal(inode_path_open(f->table, look_up(f, f->table->root, "a"), &f->fd), 0);
	inode_pool_trim(f->table);
	assert_int_equal(pooled(f), 0);
	assert_int_equal(fstat(f->fd->fd, &st), 0);
}

static void test_open_after_rename_outside(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;

	need_mode(f);
	make_file(f, "a");
	inode = look_up(f, f->table->root, "a");
	inode_pool_trim(f->table);
	assert_int_equal(renameat(f->dir, "a", f->dir, "b"), 0);
	if (inode->by_handle) {
		assert_opens(f, inode, "b");
		return;
	}
	assert_int_equal(inode_path_open(f->table, inode, &f->fd), -ESTALE);
	make_file(f, "a"); /* somebody else under the old name */
	assert_int_equal(inode_path_open(f->table, inode, &f->fd), -ESTALE);
	assert_ptr_equal(look_up(f, f->table->root, "b"), inode); /* corrects the hint */
	inode_pool_trim(f->table);
	assert_opens(f, inode, "b");
}

static void test_open_after_rename_of_parent_with_hint(void **state)
{
	struct fixture *f = *state;
	struct inode *dir, *leaf;

	need_mode(f);
	assert_int_equal(mkdirat(f->dir, "d", 0700), 0);
	make_file(f, "d/leaf");
	dir = look_up(f, f->table->root, "d");
	leaf = look_up(f, dir, "leaf");
	assert_int_equal(renameat(f->dir, "d", f->dir, "e"), 0);
	inode_set_hint(f->table, dir, f->table->root, "e");
	inode_pool_trim(f->table);
	assert_opens(f, leaf, "e/leaf");
}

static void test_open_deleted_is_stale(void **state)
{
	struct fixture *f = *state;
	struct inode *inode;

	need_mode(f);
	make_file(f, "a");
	inode = look_up(f, f->table->root, "a");
	inode_pool_trim(f->table);
	assert_int_equal(unlinkat(f->dir, "a", 0), 0);
	assert_int_equal(inode_path_open(f->table, inode, &f->fd), -ESTALE);
}

static void free_nothing(struct inode_opener *opener)
{
	(void)opener; /* a test's local */
}

static void test_open_deleted_borrows_from_opener(void **state)
{
	struct fixture *f = *state;
	struct inode_opener opener = { .free = free_nothing };
	struct inode_opens opens = { .first = &opener };
	struct inode *inode;
	struct stat st;
	int r;

	need_mode(f);
	make_file(f, "a");
	inode = look_up(f, f->table->root, "a");
	assert_int_equal(fd_ref_new(openat(f->dir, "a", O_RDWR | O_CLOEXEC), &opener.fd), 0);
	inode_pool_trim(f->table);
	assert_int_equal(unlinkat(f->dir, "a", 0), 0);
	inode_lock(f->table, inode);
	inode->opens = &opens;
	inode_unlock(f->table, inode);

	r = inode_path_open(f->table, inode, &f->fd);
	inode_lock(f->table, inode);
	inode->opens = NULL;
	inode_unlock(f->table, inode);
	fd_ref_put(opener.fd);
	assert_int_equal(r, 0);
	assert_int_equal(fstat(f->fd->fd, &st), 0); /* still ours, although the opener has closed */
	assert_int_equal(st.st_nlink, 0);
}

static void test_inode_numbers_of_other_devices_differ(void **state)
{
	struct fixture *f = *state;
	dev_t own = f->table->root->dev;

	assert_int_equal(backing_ino(&f->backing, own, 42), 42);
	assert_int_not_equal(backing_ino(&f->backing, own + 1, 42), 42);
	assert_int_not_equal(backing_ino(&f->backing, own + 1, 42),
			     backing_ino(&f->backing, own + 2, 42));
	assert_int_equal(backing_ino(&f->backing, own + 1, 42),
			 backing_ino(&f->backing, own + 1, 42));
}

/* Looks up, opens and forgets. Returns the number of failures. */
static void *hammer(void *data)
{
	struct fixture *f = data;
	uintptr_t failures = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct fd_ref *fd = NULL;
		struct inode *inode;
		struct statx stx;

		if (inode_lookup(f->table, f->table->root, i % 2 ? "a" : "b", &stx, &inode) < 0) {
			failures++;
			continue;
		}
		failures += inode_path_open(f->table, inode, &fd) < 0;
		fd_ref_put(fd);
		if (i % 64 == 0)
			inode_pool_trim(f->table);
		inode_forget(f->table, inode, 1);
	}
	return (void *)failures;
}

static void test_threads_leave_table_empty(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[THREADS];
	uintptr_t failures = 0;
	int started = 0;

	need_mode(f);
	make_file(f, "a");
	make_file(f, "b");
	while (started < THREADS && pthread_create(&threads[started], NULL, hammer, f) == 0)
		started++;
	for (int i = 0; i < started; i++) {
		void *result = NULL;

		(void)pthread_join(threads[i], &result); /* ours, joined once */
		failures += (uintptr_t)result;
	}
	assert_int_equal(started, THREADS);
	assert_int_equal(failures, 0);
	assert_int_equal(known(f), 0);
	assert_int_equal(pooled(f), 0);
}

#define BOTH(name)                                                                                 \
	{ #name " (handles)", name, setup, teardown, (void *)BY_HANDLE },                          \
	{                                                                                          \
#name " (paths)", name, setup, teardown, (void *)BY_PATH                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_lookup_same_file_is_one_inode),
		BOTH(test_lookup_hard_links_are_one_inode),
		BOTH(test_lookup_missing_adds_nothing),
		BOTH(test_lookup_successor_is_another_inode),
		BOTH(test_lookup_symlink_is_not_followed),
		BOTH(test_forget_is_exact),
		BOTH(test_forget_parents_first_leaves_nothing),
		BOTH(test_any_file_is_a_known_regular_one),
		BOTH(test_forget_root_is_ignored),
		BOTH(test_lookup_id_after_forget),
		BOTH(test_lookup_parent_ends_at_root),
		BOTH(test_lookup_id_of_directories),
		BOTH(test_lookup_parent_of_moved_outside),
		BOTH(test_pool_keeps_its_bound),
		BOTH(test_pool_keeps_what_has_no_name),
		BOTH(test_pool_descriptor_in_use_outlives_trim),
		BOTH(test_open_after_rename_outside),
		BOTH(test_open_after_rename_of_parent_with_hint),
		BOTH(test_open_deleted_is_stale),
		BOTH(test_open_deleted_borrows_from_opener),
		BOTH(test_inode_numbers_of_other_devices_differ),
		BOTH(test_threads_leave_table_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
