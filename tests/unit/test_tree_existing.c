/* SPDX-License-Identifier: MIT */
/*
 * test_tree_existing.c - a destination that exists: existing=merge, skip, update, replace.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tree_fixture.h"

static struct tree_options with(enum tree_existing existing)
{
	return (struct tree_options){ .existing = existing, .fsync = TREE_AS_ENGINE };
}

static struct tree_run *copy_with(struct fixture *f, enum tree_existing existing, const char *src,
				  int error)
{
	struct tree_options options = with(existing);
	struct tree_run *run = start(f, &(struct order){ .src = src, .options = &options });

	assert_int_equal(wait_for(f, run)->error, error);
	return run;
}

static struct stat stat_of(struct fixture *f, const char *path)
{
	struct stat st;

	if (fstatat(root_of(f), path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

static void set_mtime(struct fixture *f, const char *path, time_t mtime)
{
	const struct timespec times[2] = { { mtime, 1 }, { mtime, 2 } };

	assert_int_equal(utimensat(root_of(f), path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_many(struct fixture *f)
{
	make_dir(f, "src");
	make_dir(f, "src/d");
	make_file(f, "src/small", 1000);
	make_file(f, "src/large", 4 * MIB);
	make_file(f, "src/d/file", 10);
	make_symlink(f, "target", "src/link");
	assert_int_equal(mknodat(root_of(f), "src/fifo", S_IFIFO | 0640, 0), 0);
	make_file(f, "src/name1", 100);
	make_link(f, "src/name1", "src/name2");
	make_link(f, "src/name1", "src/d/name3");
	make_sparse(f, "src/sparse", ".d.");
	stamp_all(f, "src");
}

static void assert_copied(struct fixture *f)
{
	take_snapshot(&f->src, root_of(f), "src", true);
	take_snapshot(&f->dst, root_of(f), "copy", false);
	assert_same_but_atimes(f);
}

static void test_existing_merge_into_empty(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_many(f);
	make_dir(f, "copy");
	run = copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_copied(f);
	assert_true(run->run.result.published);
	assert_int_equal(run->run.result.skipped, 0);
	assert_int_equal(run->run.result.files, 5);
	assert_names(f, NULL, 2);
	assert_names(f, "copy", 8);
}

/* Whoever hands down a group, a setgid bit and an ACL. */
static void test_existing_merge_inherits_nothing(void **state)
{
	struct fixture *f = fixture_of(state);

	need_root("give files away");
	make_many(f);
	make_dir(f, "copy");
	set_owner(f, "copy", 0, USER_GROUP);
	set_mode(f, "copy", 02755);
	(void)set_acl(f, "copy", ACL_DEFAULT);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_copied(f);
}

/* Again: nothing is done. */
static void test_existing_resumes(void **state)
{
	struct fixture *f = fixture_of(state);
	struct job_progress progress;
	struct stat before, after;
	struct tree_run *run;

	make_many(f);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	before = stat_of(f, "copy/small");
	assert_int_equal(unlinkat(root_of(f), "copy/large", 0), 0);
	set_mtime(f, "copy/d/file", 1);
	run = copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_int_equal(run->run.result.files, 2);
	assert_int_equal(run->run.result.bytes, 4 * MIB + 10);
	assert_int_equal(run->run.result.skipped, 7);
	job_get_progress(run->run.job, &progress);
	assert_int_equal(progress.files_skipped, 3);
	assert_int_equal(progress.bytes_skipped, 1000 + 100 + stat_of(f, "src/sparse").st_size);
	assert_int_equal(progress.files_total, 5);
	assert_int_equal(progress.bytes_total, progress.bytes + progress.bytes_skipped);
	after = stat_of(f, "copy/small");
	assert_int_equal(after.st_ino, before.st_ino);
	assert_copied(f);
}

static void test_existing_merge_replaces(void **state)
{
	struct fixture *f = fixture_of(state);
	struct stat before;

	make_many(f);
	make_dir(f, "copy");
	make_dir(f, "copy/d");
	make_dir(f, "copy/own");
	make_file(f, "copy/small", 77);
	make_file(f, "copy/d/file", 78);
	make_file(f, "copy/d/mine", 79);
	make_file(f, "copy/link", 80);
	make_file(f, "copy/name2", 81);
	make_file(f, "copy/fifo", 81);
	make_link(f, "copy/small", "second");
	before = stat_of(f, "second");
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	/* What a name had before is not written to. */
	assert_int_equal(stat_of(f, "second").st_size, 77);
	assert_int_equal(stat_of(f, "second").st_ino, before.st_ino);
	assert_int_equal(stat_of(f, "second").st_nlink, 1);
	/* What DEST has besides stays. */
	assert_int_equal(unlinkat(root_of(f), "copy/d/mine", 0), 0);
	assert_int_equal(unlinkat(root_of(f), "copy/own", AT_REMOVEDIR), 0);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0); /* the directories' times */
	assert_copied(f);
}

static void test_existing_skip(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_many(f);
	make_dir(f, "copy");
	make_dir(f, "copy/d");
	set_mode(f, "copy/d", 0711);
	make_file(f, "copy/small", 77);
	make_file(f, "copy/name1", 81);
	run = copy_with(f, TREE_EXISTING_SKIP, "src", 0);
	assert_int_equal(stat_of(f, "copy/small").st_size, 77);
	assert_int_equal(stat_of(f, "copy/name1").st_size, 81);
	assert_int_equal(stat_of(f, "copy/name1").st_nlink, 1);
	assert_int_equal(stat_of(f, "copy/name2").st_size, 100); /* not a link of something else */
	assert_int_equal(stat_of(f, "copy/name2").st_ino, stat_of(f, "copy/d/name3").st_ino);
	assert_int_equal(stat_of(f, "copy/d").st_mode & 07777, 0711);
	assert_int_equal(stat_of(f, "copy/d/file").st_size, 10);
	assert_int_equal(run->run.result.skipped, 2);
}

static void test_existing_update(void **state)
{
	struct fixture *f = fixture_of(state);

	make_many(f);
	make_dir(f, "copy");
	make_file(f, "copy/small", 77);
	make_file(f, "copy/large", 78);
	set_mtime(f, "copy/small", 2000000000);
	set_mtime(f, "copy/large", 1);
	(void)copy_with(f, TREE_EXISTING_UPDATE, "src", 0);
	assert_int_equal(stat_of(f, "copy/small").st_size, 77);
	assert_int_equal(stat_of(f, "copy/large").st_size, 4 * MIB);
}

static void test_existing_other_kinds(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct job_failure failures[4];
	struct tree_run *run;

	make_dir(f, "src");
	make_dir(f, "src/one");
	make_file(f, "src/one/file", 10);
	make_file(f, "src/two", 10);
	make_dir(f, "src/three");
	make_file(f, "src/four", 10);
	make_dir(f, "copy");
	make_file(f, "copy/one", 20);
	make_dir(f, "copy/two");
	make_symlink(f, "../src", "copy/three"); /* which is not followed */
	options.on_error = TREE_ON_ERROR_CONTINUE;
	run = start(f, &(struct order){ .src = "src", .options = &options });
	assert_true(wait_for(f, run)->error < 0);
	assert_int_equal(job_get_failures(run->run.job, failures, 4), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(failures[i].error ==
			    (strcmp(failures[i].path, "two") == 0 ? -EISDIR : -ENOTDIR));
	assert_int_equal(stat_of(f, "copy/one").st_size, 20);
	assert_true(S_ISLNK(stat_of(f, "copy/three").st_mode));
	assert_int_equal(stat_of(f, "copy/four").st_size, 10);
	/* And the roots themselves. */
	make_file(f, "single", 10);
	for (int e = TREE_EXISTING_MERGE; e <= TREE_EXISTING_UPDATE; e++)
		(void)copy_with(f, (enum tree_existing)e, "single", -EISDIR);
	remove_copy(f, "copy");
	make_file(f, "copy", 5);
	for (int e = TREE_EXISTING_MERGE; e <= TREE_EXISTING_UPDATE; e++)
		(void)copy_with(f, (enum tree_existing)e, "src", -ENOTDIR);
	assert_int_equal(stat_of(f, "copy").st_size, 5);
}

static void test_existing_replace(void **state)
{
	struct fixture *f = fixture_of(state);
	struct stat before;

	make_many(f);
	make_dir(f, "copy");
	make_dir(f, "copy/old");
	make_file(f, "copy/old/file", 10);
	make_file(f, "copy/small", 11);
	before = stat_of(f, "copy");
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", 0);
	assert_true(stat_of(f, "copy").st_ino != before.st_ino);
	assert_copied(f);
	assert_names(f, NULL, 2);
	/* Without one it is a copy as always. */
	remove_copy(f, "copy");
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", 0);
	assert_copied(f);
}

static void test_existing_replace_fails(void **state)
{
	struct fixture *f = fixture_of(state);

	make_many(f);
	make_dir(f, "copy");
	make_file(f, "copy/old", 10);
	faults.create_name = "small";
	faults.create_fails = 1;
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", -EIO);
	assert_names(f, "copy", 1);
	assert_names(f, NULL, 2);
	set_fault(&faults.rename_error, EPERM);
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", -EPERM);
	assert_names(f, "copy", 1);
	assert_names(f, NULL, 2);
}

/* The file system has no RENAME_EXCHANGE, nor RENAME_NOREPLACE. */
static void test_existing_replace_in_steps(void **state)
{
	struct fixture *f = fixture_of(state);
	struct stat before;

	make_many(f);
	make_dir(f, "copy");
	make_file(f, "copy/old", 10);
	set_fault(&faults.rename_error, EINVAL);
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", 0);
	assert_copied(f);
	assert_names(f, NULL, 2);
	remove_copy(f, "copy");
	make_file(f, "copy", 10);
	before = stat_of(f, "copy");
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src/large", 0);
	assert_int_equal(stat_of(f, "copy").st_size, 4 * MIB);
	assert_true(stat_of(f, "copy").st_ino != before.st_ino);
	assert_names(f, NULL, 2);
}

static void test_existing_overlap(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_REPLACE);

	make_many(f);
	for (int e = TREE_EXISTING_MERGE; e <= TREE_EXISTING_UPDATE; e++) {
		options.existing = (enum tree_existing)e;
		(void)check_failure(
			f, (struct order){ .src = "src", .name = "src", .options = &options },
			-EINVAL);
		(void)check_failure(
			f,
			(struct order){
				.src = "src", .parent = "src", .name = "d", .options = &options },
			-EINVAL);
	}
	options.existing = TREE_EXISTING_REPLACE;
	(void)check_failure(f, (struct order){ .src = "src/d", .name = "src", .options = &options },
			    -EINVAL);
	assert_names(f, "src", 8);
}

static void test_existing_root_is_a_file(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_file(f, "src", 1000);
	set_mtime(f, "src", 1000);
	make_file(f, "copy", 10);
	run = copy_with(f, TREE_EXISTING_SKIP, "src", 0);
	assert_int_equal(run->run.result.skipped, 1);
	assert_int_equal(stat_of(f, "copy").st_size, 10);
	(void)copy_with(f, TREE_EXISTING_UPDATE, "src", 0);
	assert_int_equal(stat_of(f, "copy").st_size, 10);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_int_equal(stat_of(f, "copy").st_size, 1000);
	run = copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_int_equal(run->run.result.skipped, 1);
	(void)copy_with(f, TREE_EXISTING_REPLACE, "src", 0);
	assert_int_equal(stat_of(f, "copy").st_size, 1000);
	assert_names(f, NULL, 2);
}

/* As somebody who may not do everything. */
static void test_existing_as_another_user(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct order order = { .src = "src", .parent = "home", .options = &options };

	need_root("act as somebody else");
	make_many(f);
	f->user = make_user(f);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	order.cred = f->user;
	make_dir(f, "home/copy");
	make_file(f, "home/copy/small", 5);
	(void)check_failure(f, order, -EACCES);
	assert_int_equal(stat_of(f, "home/copy/small").st_size, 5);
	assert_int_equal(give(root_of(f), "home/copy", USER), 0);
	check_success(f, start(f, &order));
	take_snapshot(&f->src, root_of(f), "src", true);
	take_snapshot(&f->dst, root_of(f), "home/copy", false);
	assert_same_but_atimes(f);
}

/* A directory that the source has and its owner may not write. */
static void test_existing_read_only_directories(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct order order = { .src = "src", .parent = "home", .options = &options };

	need_root("act as somebody else");
	make_many(f);
	f->user = make_user(f);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	set_mode(f, "src/d", 0555);
	set_mode(f, "src", 0500);
	order.cred = f->user;
	check_success(f, start(f, &order));
	assert_int_equal(unlinkat(root_of(f), "home/copy/d/file", 0), 0);
	assert_int_equal(unlinkat(root_of(f), "home/copy/small", 0), 0);
	check_success(f, start(f, &order));
	take_snapshot(&f->src, root_of(f), "src", true);
	take_snapshot(&f->dst, root_of(f), "home/copy", false);
	assert_same_but_atimes(f);
	/* What is left as it is gets its mode back, also when the copy fails. */
	set_mode(f, "src/d", 0755);
	assert_int_equal(unlinkat(root_of(f), "home/copy/small", 0), 0);
	options.existing = TREE_EXISTING_SKIP;
	check_success(f, start(f, &order));
	assert_int_equal(stat_of(f, "home/copy/small").st_size, 1000);
	assert_int_equal(stat_of(f, "home/copy/d").st_mode & 07777, 0555);
	assert_int_equal(unlinkat(root_of(f), "home/copy/small", 0), 0);
	faults.create_name = "small";
	faults.create_fails = 1;
	options.existing = TREE_EXISTING_MERGE;
	assert_int_equal(wait_for(f, start(f, &order))->error, -EIO);
	assert_int_equal(stat_of(f, "home/copy").st_mode & 07777, 0500);
}

#define CHANGES_MAX 64

/* What was told; on worker threads, which only record. */
static struct {
	pthread_mutex_t lock;
	unsigned n;
	struct {
		char name[32]; /* "": attributes */
		ino_t ino, old_ino;
		bool is_there;
	} list[CHANGES_MAX];
} changes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static ino_t ino_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void record_change(const struct tree_change *change, void *userdata)
{
	const char *name = change->name ? change->name : "";

	(void)userdata;
	pthread_mutex_lock(&changes.lock);
	if (changes.n < CHANGES_MAX) {
		(void)snprintf(changes.list[changes.n].name, sizeof(changes.list[0].name), "%s",
			       name);
		changes.list[changes.n].ino = ino_of(change->fd);
		changes.list[changes.n].old_ino = ino_of(change->old_fd);
		changes.list[changes.n++].is_there =
			!*name || faccessat(change->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	pthread_mutex_unlock(&changes.lock);
}

/* How often it was told of @name in the directory (or, if "", of the file) @ino. */
static unsigned count_changes(const char *name, ino_t ino, ino_t old_ino)
{
	unsigned n = 0;

	for (unsigned i = 0; i < changes.n; i++) {
		assert_true(changes.list[i].is_there);
		n += strcmp(changes.list[i].name, name) == 0 && changes.list[i].ino == ino &&
		     changes.list[i].old_ino == old_ino;
	}
	return n;
}

static void test_existing_tells_of_changes(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct order order = { .src = "src", .options = &options, .changed = record_change };
	ino_t old_small, old_link, copy, d;

	make_many(f);
	make_dir(f, "copy");
	make_file(f, "copy/small", 77);
	make_file(f, "copy/link", 80);
	copy = stat_of(f, "copy").st_ino;
	old_small = stat_of(f, "copy/small").st_ino;
	old_link = stat_of(f, "copy/link").st_ino;
	changes.n = 0;
	check_success(f, start(f, &order));
	d = stat_of(f, "copy/d").st_ino;
	assert_int_equal(count_changes("small", copy, old_small), 1);
	assert_int_equal(count_changes("link", copy, old_link), 1);
	assert_int_equal(count_changes("large", copy, 0), 1);
	assert_int_equal(count_changes("d", copy, 0), 1);
	assert_int_equal(count_changes("file", d, 0), 1);
	assert_int_equal(count_changes("name1", copy, 0) + count_changes("name2", copy, 0) +
				 count_changes("name3", d, 0),
			 3);
	assert_int_equal(count_changes("", stat_of(f, "copy/name1").st_ino, 0), 2); /* links */
	assert_int_equal(count_changes("", copy, 0), 1);
	assert_int_equal(count_changes("", d, 0), 1);
	changes.n = 0;
	check_success(f, start(f, &order));
	for (unsigned i = 0; i < changes.n; i++)
		assert_string_equal(changes.list[i].name, ""); /* directories only */
}

/* What appears as a whole is one change, of its name. */
static void test_existing_tells_of_the_copy(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_FAIL);
	struct order order = { .src = "src", .options = &options, .changed = record_change };
	ino_t here, old;

	make_many(f);
	here = stat_of(f, ".").st_ino;
	changes.n = 0;
	check_success(f, start(f, &order));
	assert_int_equal(changes.n, 1);
	assert_int_equal(count_changes("copy", here, 0), 1);
	old = stat_of(f, "copy").st_ino;
	options.existing = TREE_EXISTING_REPLACE;
	changes.n = 0;
	check_success(f, start(f, &order));
	assert_int_equal(changes.n, 1);
	assert_int_equal(count_changes("copy", here, old), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_existing_merge_into_empty),
		TEST_BOTH(test_existing_merge_inherits_nothing),
		TEST_BOTH(test_existing_resumes),
		TEST_BOTH(test_existing_merge_replaces),
		TEST_BOTH(test_existing_skip),
		TEST_BOTH(test_existing_update),
		TEST_BOTH(test_existing_other_kinds),
		TEST_BOTH(test_existing_replace),
		TEST_BOTH(test_existing_replace_fails),
		TEST_BOTH(test_existing_replace_in_steps),
		TEST_BOTH(test_existing_overlap),
		TEST_BOTH(test_existing_root_is_a_file),
		TEST_BOTH(test_existing_as_another_user),
		TEST_BOTH(test_existing_read_only_directories),
		TEST_BOTH(test_existing_tells_of_changes),
		TEST_BOTH(test_existing_tells_of_the_copy),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_existing", tests, NULL, NULL);
}
