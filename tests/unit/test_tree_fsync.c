/* SPDX-License-Identifier: MIT */
/*
 * test_tree_fsync.c - copies that are durable before they appear.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arsync/leftover.h"
#include "getdents.h"
#include "note.h"
#include "tree_fixture.h"

static void test_tree_fsync_file(void **state)
{
	struct fixture *f = fixture_of(state);
	char path[64];

	test_dir_mount(&f->h->dir, "small", "size=100m"); /* where it costs nothing */
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

static struct synced {
	unsigned directories, files, unfinished; /* atomic */
} synced;

/* What is synced has been given its times already: those of the source are long ago. */
static void count_synced(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	__atomic_add_fetch(S_ISDIR(st.st_mode) ? &synced.directories : &synced.files, 1,
			   __ATOMIC_RELAXED);
	if (S_ISREG(st.st_mode) && st.st_mtim.tv_sec > time(NULL) - 3600)
		__atomic_add_fetch(&synced.unfinished, 1, __ATOMIC_RELAXED);
}

/* After a power cut the copy is there as a whole or not at all: names and attributes, too. */
static void test_tree_fsync_file_is_all(void **state)
{
	struct fixture *f = fixture_of(state);

	make_dir(f, "src");
	make_dir(f, "src/dir");
	make_file(f, "src/small", 100);
	make_file(f, "src/dir/large", 3 * MIB);
	make_sparse(f, "src/dir/sparse", ".d.");
	stamp_all(f, "src");
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	synced = (struct synced){ 0 };
	faults.fsynced = count_synced;
	(void)check_copy(f);
	assert_int_equal(synced.directories, 3); /* and the one that it has appeared in */
	assert_int_equal(synced.files, f->h->options.io == ENGINE_IO_SYNC ? 3 : 0);
	assert_int_equal(synced.unfinished, 0);
	(void)check_order(f, (struct order){ .src = "src/dir/large", .name = "file" });
	assert_int_equal(synced.directories, 4);
	assert_int_equal(synced.unfinished, 0);
}

/* Not every file system can fsync(2) a directory. */
static void test_tree_fsync_without_directories(void **state)
{
	static const int errors[] = { EINVAL, EOPNOTSUPP };
	struct fixture *f = fixture_of(state);

	make_simple(f);
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		set_fault(&faults.fsync_dir_error, errors[i]);
		(void)check_order(f, (struct order){ .src = "src", .name = i ? "two" : "one" });
	}
	assert_true(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED) >= 4);
	set_fault(&faults.syncfs_error, EIO);
	assert_string_equal(
		check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO)->failed_call,
		"fsync");
}

/* What the note says while a copy is made; and where it is. */
static struct noted {
	int state_fd;
	bool durable; /* atomic */
} noted;

/* When the directory is made that it grows in. On a worker's thread. */
static void read_note(int dir_fd, const char *name)
{
	_cleanup_close_ int state_fd =
		openat(noted.state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct getdents_entry *entry;
	struct note_head head;
	struct getdents list;

	(void)dir_fd;
	(void)name;
	if (state_fd < 0 || getdents_read(&list, state_fd) <= 0)
		return;
	while ((entry = getdents_next(&list))) {
		_cleanup_close_ int fd = openat(state_fd, entry->name, O_RDONLY | O_CLOEXEC);

		if (read(fd, &head, sizeof(head)) == (ssize_t)sizeof(head))
			__atomic_store_n(&noted.durable, head.durable, __ATOMIC_RELAXED);
	}
}

/* After a power cut what a copy has replaced is removed if the copy is whole for sure. */
static void test_tree_note_says_whether_durable(void **state)
{
	struct fixture *f = fixture_of(state);
	_cleanup_free_ char *state_dir = NULL;
	struct leftovers_spec spec = { .root_fd = root_of(f), .root_path = f->h->dir.path };
	struct tree_options options;
	struct order order = { .src = "src", .options = &options };
	int error;

	make_dir(f, "src");
	make_dir(f, "state");
	noted.state_fd = test_dir_keep(&f->h->dir, openat(root_of(f), "state",
							  O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_true(asprintf(&state_dir, "%s/state", f->h->dir.path) > 0);
	spec.state_dir = state_dir;
	tree_options_init(&options);
	faults.made = read_note;
	for (options.fsync = ENGINE_FSYNC_NEVER; options.fsync <= ENGINE_FSYNC_TREE;
	     options.fsync++) {
		__atomic_store_n(&noted.durable, options.fsync == ENGINE_FSYNC_NEVER,
				 __ATOMIC_RELAXED);
		assert_int_equal(leftovers_open(&spec, &order.leftovers), 0);
		error = wait_for(f, start(f, &order))->error;
		leftovers_free(order.leftovers);
		assert_int_equal(error, 0);
		assert_int_equal(__atomic_load_n(&noted.durable, __ATOMIC_RELAXED),
				 options.fsync != ENGINE_FSYNC_NEVER);
		remove_copy(f, "copy");
	}
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

/* Who may write to the directory need not be able to read it. */
static void test_tree_fsync_in_closed_directory(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src/file", .parent = "home", .cred = make_user(f) };

	make_dir(f, "src");
	make_file(f, "src/file", 100);
	stamp_all(f, "src");
	set_owner(f, "src/file", USER, USER);
	set_mode(f, "home", 0300);
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	assert_int_equal(wait_for(f, start(f, &order))->error, 0);
	assert_int_equal(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED), 2);
}

/*
 * syncfs(2) tells of errors since what it is called with was opened, before any data is written; others may
 * have been told of them. @late: calls with what was opened later.
 */
static void check_watched(struct fixture *f, struct order order, unsigned late)
{
	f->h->options.fsync = ENGINE_FSYNC_TREE;
	f->h->options.reflink = ENGINE_REFLINK_NEVER;
	__atomic_store_n(&faults.late_syncs, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.syncs, 0, __ATOMIC_RELAXED);
	faults.syncs_watched = 1;
	assert_int_equal(wait_for(f, start(f, &order))->error, 0);
	assert_int_equal(faults.syncs_watched, 0);
	assert_int_equal(__atomic_load_n(&faults.late_syncs, __ATOMIC_RELAXED), late);
	assert_int_equal(__atomic_load_n(&faults.syncs, __ATOMIC_RELAXED), late + 1);
}

static void test_tree_fsync_tree_watches(void **state)
{
	struct fixture *f = fixture_of(state);
	const struct tree_options merge = { .existing = TREE_EXISTING_MERGE,
					    .fsync = TREE_AS_ENGINE };

	make_simple(f);
	make_dir(f, "there");
	check_watched(f, (struct order){ .src = "src" }, 0);
	check_watched(f, (struct order){ .src = "src/large", .name = "file" }, 0);
	check_watched(f, (struct order){ .src = "src", .name = "there", .options = &merge }, 0);
}

/* What can be opened at first is the copy's root; and for its name, which it has by then. */
static void test_tree_fsync_tree_watches_closed(void **state)
{
	struct fixture *f = fixture_of(state);
	struct order order = { .src = "src", .parent = "home", .cred = make_user(f) };

	make_simple(f);
	assert_int_equal(give(root_of(f), "src", USER), 0);
	set_mode(f, "home", 0300);
	check_watched(f, order, 1);
	order.src = "src/dir/file";
	order.name = "file";
	check_watched(f, order, 1);
}

/* An error of what is written back is told once. It may be any: servers' are handed on. */
static void test_tree_flush_fails(void **state)
{
	static const int errors[] = { -EBADF, -ESPIPE };
	struct fixture *f = fixture_of(state);
	int null = test_dir_keep(&f->h->dir, open("/dev/null", O_WRONLY | O_CLOEXEC));

	make_dir(f, "src");
	make_file(f, "src/file", 20 * MIB);
	f->h->options.fsync = ENGINE_FSYNC_FILE;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		faults.flush_fd = errors[i] == -EBADF ? -1 : null;
		assert_string_equal(
			check_failure(f, (struct order){ .src = "src" }, errors[i])->failed_call,
			"fsync");
	}
	/* Where the call is none, there still is fsync(2). */
	faults.flush_unknown = true;
	(void)check_copy(f);
	set_fault(&faults.fsync_error, EIO);
	if (f->h->options.io == ENGINE_IO_SYNC)
		(void)check_failure(f, (struct order){ .src = "src", .name = "fails" }, -EIO);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH_IN_MEMORY(test_tree_fsync_file),
		TEST_BOTH(test_tree_fsync_file_on_disk),
		TEST_BOTH(test_tree_fsync_file_is_all),
		TEST_BOTH(test_tree_fsync_without_directories),
		TEST_BOTH(test_tree_note_says_whether_durable),
		TEST_BOTH(test_tree_fsync_tree),
		TEST_BOTH(test_tree_fsync_in_closed_directory),
		TEST_BOTH(test_tree_fsync_tree_watches),
		TEST_BOTH(test_tree_fsync_tree_watches_closed),
		TEST_BOTH(test_tree_flush_fails),
	};

	test_begin(argc, argv);
	if (harness_skips_all(argc, argv))
		return TEST_EXIT_SKIPPED;
	return cmocka_run_group_tests_name("tree_fsync", tests, NULL, NULL);
}
