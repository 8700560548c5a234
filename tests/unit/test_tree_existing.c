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

/* Each file is on stable storage before it takes the place of another. */
static void test_existing_merge_syncs_first(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct stat before, after;

	if (f->h->options.io != ENGINE_IO_SYNC)
		skip(); /* the ring has an fsync of its own */
	make_dir(f, "src");
	make_file(f, "src/file", 1000);
	make_dir(f, "copy");
	make_file(f, "copy/file", 10);
	before = stat_of(f, "copy/file");
	set_fault(&faults.fsync_error, EIO);
	options.fsync = ENGINE_FSYNC_TREE;
	assert_int_equal(
		wait_for(f, start(f, &(struct order){ .src = "src", .options = &options }))->error,
		-EIO);
	after = stat_of(f, "copy/file");
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_size, 10);
	assert_names(f, "copy", 1);
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

static void check_merge_close_fails(struct fixture *f, const struct tree_options *options)
{
	struct job_failure failures[4];
	struct tree_run *run;

	set_fault(&faults.close_error, EIO);
	run = start(f, &(struct order){ .src = "src", .options = options });
	assert_int_equal(wait_for(f, run)->error, -EIO);
	set_fault(&faults.close_error, 0);
	assert_int_equal(job_get_failures(run->run.job, failures, 4), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(failures[i].call, "close");
	assert_int_equal(run->run.result.files, 0);
	assert_int_equal(stat_of(f, "copy/small").st_size, 20);
	assert_int_equal(stat_of(f, "copy/large").st_size, 20);
	assert_names(f, "copy", 2);
}

/* What says only when it is closed that it is not whole gets no name, whatever an fsync has said. */
static void test_existing_merge_close_fails(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);

	make_dir(f, "src");
	make_file(f, "src/new", 10);
	make_file(f, "src/small", 10);
	make_file(f, "src/large", 4 * MIB);
	make_dir(f, "copy");
	make_file(f, "copy/small", 20);
	make_file(f, "copy/large", 20);
	options.on_error = TREE_ON_ERROR_CONTINUE;
	check_merge_close_fails(f, &options);
	options.fsync = ENGINE_FSYNC_FILE;
	check_merge_close_fails(f, &options);
	options.fsync = TREE_AS_ENGINE;
	options.verify = true;
	check_merge_close_fails(f, &options);
}

/* Without a descriptor for the close before the last one, what is complete has its name all the same. */
static void test_existing_merge_without_descriptors(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_file(f, "src/small", 10);
	make_file(f, "src/large", 4 * MIB);
	make_dir(f, "copy");
	make_file(f, "copy/small", 20);
	set_fault(&faults.dup_error, EBADF);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", -EBADF);
	assert_int_equal(stat_of(f, "copy/small").st_size, 20);
	set_fault(&faults.dup_error, EMFILE);
	(void)copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_copied(f);
}

/* Who cancels while a file is closed, which may take long, finds what was there. */
static void test_existing_merge_cancelled_in_close(void **state)
{
	static const uint64_t sizes[] = { 10, 4 * MIB }; /* in a group, and alone */
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);

	make_dir(f, "copy");
	make_file(f, "copy/file", 20);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct tree_run *run;

		make_dir(f, "src");
		make_file(f, "src/file", sizes[i]);
		make_file(f, "src/new", sizes[i]);
		run = prepare(f, &(struct order){ .src = "src", .options = &options });
		faults.cancelled_by_close = run->run.job;
		job_start(run->run.job);
		assert_int_equal(wait_for(f, run)->error, -ECANCELED);
		assert_null(faults.cancelled_by_close);
		assert_int_equal(run->run.result.files, 0);
		assert_int_equal(stat_of(f, "copy/file").st_size, 20);
		assert_names(f, "copy", 1);
		remove_copy(f, "src");
	}
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

/*
 * What has replaced something, and perhaps would be gone after a crash, cannot be taken back there: it stays,
 * and so does what was there, where anything is left of it.
 */
static void test_existing_replace_in_steps_unsynced(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_many(f);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	make_file(f, "copy", 10);
	set_fault(&faults.rename_error, EINVAL);
	set_fault(&faults.fsync_error, EIO);
	run = copy_with(f, TREE_EXISTING_REPLACE, "src/large", -EIO);
	assert_true(run->run.result.published);
	assert_int_equal(stat_of(f, "copy").st_size, 4 * MIB);
	assert_names(f, NULL, 2);
	assert_int_equal(unlinkat(root_of(f), "copy", 0), 0);
	make_dir(f, "copy");
	make_file(f, "copy/old", 10);
	run = copy_with(f, TREE_EXISTING_REPLACE, "src", -EIO);
	assert_true(run->run.result.published);
	assert_copied(f);
	assert_names(f, NULL, 3);
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

/* DEST has the source in it, and a merge would come upon it by the source's own names. */
static void test_existing_merge_above_source(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_options options = with(TREE_EXISTING_MERGE);
	struct order order = { .src = "copy/b", .options = &options };

	make_dir(f, "copy");
	make_dir(f, "copy/b");
	make_file(f, "copy/b/file", 1000);
	make_dir(f, "copy/b/b");
	make_file(f, "copy/b/b/file", 10);
	make_file(f, "copy/b/b/other", 10);
	stamp_all(f, "copy");
	take_snapshot(&f->src, root_of(f), "copy/b", true);
	for (int e = TREE_EXISTING_MERGE; e <= TREE_EXISTING_UPDATE; e++) {
		options.existing = (enum tree_existing)e;
		(void)check_failure(f, order, -EINVAL);
		take_snapshot(&f->dst, root_of(f), "copy/b", true);
		assert_same_but_atimes(f);
	}
	/* Where the names do not lead into it, it is a merge like others. */
	remove_copy(f, "copy/b/b");
	take_snapshot(&f->src, root_of(f), "copy/b", true);
	(void)copy_with(f, TREE_EXISTING_MERGE, "copy/b", 0);
	assert_int_equal(stat_of(f, "copy/file").st_size, 1000);
	take_snapshot(&f->dst, root_of(f), "copy/b", true);
	assert_same_but_atimes(f);
}

/* Files of the source that have names in DEST, too: none of them is written to. */
static void test_existing_merge_links_of_source(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_dir(f, "src");
	make_file(f, "src/one", 1000);
	make_file(f, "src/two", 2000);
	stamp_all(f, "src");
	take_snapshot(&f->src, root_of(f), "src", true);
	make_dir(f, "copy");
	make_link(f, "src/one", "copy/one");
	make_link(f, "src/one", "copy/two");
	run = copy_with(f, TREE_EXISTING_MERGE, "src", 0);
	assert_int_equal(run->run.result.skipped, 1);
	assert_int_equal(run->run.result.files, 1);
	assert_int_equal(stat_of(f, "copy/one").st_ino, stat_of(f, "src/one").st_ino);
	assert_int_equal(stat_of(f, "copy/two").st_size, 2000);
	remove_copy(f, "copy");
	take_snapshot(&f->dst, root_of(f), "src", true);
	assert_same_but_atimes(f);
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

/* Somebody writes to DEST while it is copied; on a worker's thread. */
static struct {
	int root;
	const char *path;
	time_t mtime;
	bool anew; /* another file in its place */
	bool removed;
	bool failed;
} meanwhile;

static void write_meanwhile(void)
{
	const struct timespec times[2] = { { meanwhile.mtime, 0 }, { meanwhile.mtime, 0 } };
	_cleanup_close_ int fd = -1;

	if ((meanwhile.anew || meanwhile.removed) &&
	    unlinkat(meanwhile.root, meanwhile.path, 0) < 0)
		meanwhile.failed = true;
	if (meanwhile.removed)
		return;
	fd = openat(meanwhile.root, meanwhile.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || pwrite(fd, "mine", 4, 0) != 4 || futimens(fd, times) < 0)
		meanwhile.failed = true;
}

/* Copies src to DEST, of which @name is written to when its copy is complete. */
static struct tree_run *copy_meanwhile(struct fixture *f, enum tree_existing existing,
				       const char *name, time_t mtime)
{
	struct tree_run *run;

	meanwhile.root = root_of(f);
	meanwhile.mtime = mtime;
	faults.create_name = name;
	faults.settling = write_meanwhile;
	run = copy_with(f, existing, "src", 0);
	faults.settling = NULL;
	assert_false(meanwhile.failed);
	assert_true(run->run.result.published);
	assert_names(f, NULL, 2);
	return run;
}

static void assert_mine(struct fixture *f, const char *path, bool mine)
{
	_cleanup_close_ int fd = openat(root_of(f), path, O_RDONLY | O_CLOEXEC);
	char is[4];

	assert_int_equal(pread(fd, is, sizeof(is), 0), sizeof(is));
	assert_int_equal(memcmp(is, "mine", sizeof(is)) == 0, mine);
}

/* The same in a directory (@path in DEST, @name in the source) and of a file. */
static void check_written_meanwhile(struct fixture *f, const char *path, const char *name)
{
	static const time_t newer = 2000000000, older = 2;
	struct job_progress progress;
	struct tree_run *run;

	meanwhile.path = path;
	meanwhile.removed = meanwhile.anew = false;
	for (int anew = 0; anew <= 1; anew++) {
		meanwhile.anew = anew;
		set_mtime(f, path, 1);
		run = copy_meanwhile(f, TREE_EXISTING_UPDATE, name, newer);
		assert_mine(f, path, true);
		assert_int_equal(run->run.result.skipped, 1);
		assert_int_equal(run->run.result.files, 0);
		job_get_progress(run->run.job, &progress);
		assert_int_equal(progress.files + progress.files_skipped, progress.files_total);
		assert_int_equal(progress.bytes + progress.bytes_skipped, progress.bytes_total);
		/* What the options say of it when it is seen for the first time. */
		set_mtime(f, path, 1);
		run = copy_meanwhile(f, TREE_EXISTING_UPDATE, name, older);
		assert_mine(f, path, false);
		assert_int_equal(run->run.result.files, 1);
		set_mtime(f, path, 1);
		(void)copy_meanwhile(f, TREE_EXISTING_MERGE, name, newer);
		assert_mine(f, path, false);
	}
	meanwhile.removed = true;
	set_mtime(f, path, 1);
	(void)copy_meanwhile(f, TREE_EXISTING_UPDATE, name, newer);
	assert_mine(f, path, false);
}

static void test_existing_written_meanwhile(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_file(f, "src/small", 1000);
	make_dir(f, "copy");
	make_file(f, "copy/small", 10);
	check_written_meanwhile(f, "copy/small", "small");
	remove_copy(f, "src/small");
	make_file(f, "src/large", 4 * MIB);
	make_file(f, "copy/large", 10);
	check_written_meanwhile(f, "copy/large", "large");
	assert_names(f, "copy", 2);
}

/* Its further names do not become links of what was left. */
static void test_existing_link_written_meanwhile(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_dir(f, "src");
	make_file(f, "src/one", 1000);
	make_dir(f, "copy");
	make_file(f, "copy/one", 10);
	set_mtime(f, "copy/one", 1);
	make_dir(f, "src/d");
	make_link(f, "src/one", "src/d/two");
	meanwhile.path = "copy/one";
	meanwhile.removed = meanwhile.anew = false;
	f->h->options.workers = 1; /* which comes upon the names in this order */
	run = copy_meanwhile(f, TREE_EXISTING_UPDATE, "one", 2000000000);
	assert_mine(f, "copy/one", true);
	assert_mine(f, "copy/d/two", false);
	assert_int_equal(stat_of(f, "copy/one").st_nlink, 1);
	assert_int_equal(run->run.result.skipped, 1);
}

static void test_existing_root_written_meanwhile(void **state)
{
	struct fixture *f = fixture_of(state);
	struct stat before;

	make_file(f, "src", 4 * MIB);
	make_file(f, "copy", 10);
	check_written_meanwhile(f, "copy", "src");
	/* Who has it replaced has it replaced. */
	meanwhile.removed = meanwhile.anew = false;
	before = stat_of(f, "copy");
	(void)copy_meanwhile(f, TREE_EXISTING_REPLACE, "src", 2000000000);
	assert_mine(f, "copy", false);
	assert_true(stat_of(f, "copy").st_ino != before.st_ino);
}

static void write_both_meanwhile(void)
{
	const struct timespec times[2] = { { meanwhile.mtime + 1, 0 }, { meanwhile.mtime + 1, 0 } };

	write_meanwhile();
	if (utimensat(meanwhile.root, "src", times, 0) < 0)
		meanwhile.failed = true;
}

/* What it is replaced by is what was copied, not what the source has become since. */
static void test_existing_root_both_written_meanwhile(void **state)
{
	struct fixture *f = fixture_of(state);
	struct tree_run *run;

	make_file(f, "src", 4 * MIB);
	make_file(f, "copy", 10);
	set_mtime(f, "copy", 1);
	meanwhile.path = "copy";
	meanwhile.removed = meanwhile.anew = false;
	meanwhile.root = root_of(f);
	meanwhile.mtime = 2000000000;
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	faults.syncing = write_both_meanwhile;
	run = copy_with(f, TREE_EXISTING_UPDATE, "src", 0);
	faults.syncing = NULL;
	assert_false(meanwhile.failed);
	assert_int_equal(stat_of(f, "src").st_mtim.tv_sec, 2000000001);
	assert_mine(f, "copy", true);
	assert_int_equal(run->run.result.skipped, 1);
	assert_int_equal(run->run.result.files, 0);
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
		TEST_BOTH(test_existing_merge_close_fails),
		TEST_BOTH(test_existing_merge_without_descriptors),
		TEST_BOTH(test_existing_merge_cancelled_in_close),
		TEST_BOTH(test_existing_replace),
		TEST_BOTH(test_existing_replace_fails),
		TEST_BOTH(test_existing_replace_in_steps),
		TEST_BOTH(test_existing_replace_in_steps_unsynced),
		TEST_BOTH(test_existing_overlap),
		TEST_BOTH(test_existing_merge_above_source),
		TEST_BOTH(test_existing_merge_links_of_source),
		TEST_BOTH(test_existing_root_is_a_file),
		TEST_BOTH(test_existing_written_meanwhile),
		TEST_BOTH(test_existing_link_written_meanwhile),
		TEST_BOTH(test_existing_root_written_meanwhile),
		TEST_BOTH(test_existing_root_both_written_meanwhile),
		TEST_BOTH(test_existing_as_another_user),
		TEST_BOTH(test_existing_read_only_directories),
		TEST_BOTH(test_existing_merge_syncs_first),
		TEST_BOTH(test_existing_tells_of_changes),
		TEST_BOTH(test_existing_tells_of_the_copy),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_existing", tests, NULL, NULL);
}
