/* SPDX-License-Identifier: MIT */
/*
 * test_tree.c - whole trees: their shapes, sizes, links and names.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tree_fixture.h"

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

static struct stat copied_stat(struct fixture *f, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(root_of(f), path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

/*
 * What has the inode number of a file that was copied, and is another one, is not linked to the copy. The
 * number alone says that it is the same here; the time of birth does not.
 */
static void test_tree_hard_links_numbers_given_anew(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_file(f, "src/one", 1000);
	make_link(f, "src/one", "src/two");
	make_symlink(f, "target", "src/symlink");
	make_link(f, "src/symlink", "src/symlink too");
	faults.born_anew = true;
	check_success(f, start(f, &(struct order){ .src = "src" }));
	assert_int_equal(copied_stat(f, "copy/one").st_size, 1000);
	assert_int_equal(copied_stat(f, "copy/one").st_nlink, 1);
	assert_int_equal(copied_stat(f, "copy/two").st_size, 1000);
	assert_int_equal(copied_stat(f, "copy/symlink").st_nlink, 1);
	assert_int_equal(copied_stat(f, "copy/symlink too").st_nlink, 1);
	assert_true(faults.births >= 4);
}

static void test_tree_hard_links_without_birth(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_file(f, "src/one", 1000);
	make_link(f, "src/one", "src/two");
	make_symlink(f, "target", "src/symlink");
	make_link(f, "src/symlink", "src/symlink too");
	stamp_all(f, "src");
	faults.born_unknown = true;
	(void)check_copy(f);
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
		TEST_BOTH(test_tree_hard_links_numbers_given_anew),
		TEST_BOTH(test_tree_hard_links_without_birth),
		TEST_BOTH(test_tree_hard_links_too_many),
		TEST_BOTH_IN_MEMORY(test_tree_many_files),
		TEST_BOTH_IN_MEMORY(test_tree_many_directories),
		TEST_BOTH_IN_MEMORY(test_tree_deep),
		TEST_BOTH_IN_MEMORY(test_tree_directories_reopened),
		TEST_BOTH(test_tree_names),
		TEST_BOTH_IN_MEMORY(test_tree_very_deep),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
