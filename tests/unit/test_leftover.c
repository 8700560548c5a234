/* SPDX-License-Identifier: MIT */
/*
 * test_leftover.c - notes of copies that have crashed: what is removed, and what is not.
 *
 * A copy is a directory with a file in it, and a note that is given up as a crash would.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "support.h"

#include "arsync/base.h"
#include "leftover_private.h"

#define STAGED ".arsync-0123456789abcdef"
#define WAIT_MS (TEST_WAIT_S * 1000)

struct fixture {
	struct test_dir dir;
	char state[PATH_MAX];
	char root[PATH_MAX];
	int root_fd;
	struct leftovers *leftovers;
	struct note note;
	struct cred *cred;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	*state = f;
	f->root_fd = f->note.fd = -1;
	if (test_dir_make(&f->dir) < 0 || mkdirat(f->dir.fd, "root", 0755) < 0 ||
	    mkdirat(f->dir.fd, "root/sub", 0755) < 0)
		return -1;
	(void)snprintf(f->state, sizeof(f->state), "%s/state/of/us", f->dir.path);
	(void)snprintf(f->root, sizeof(f->root), "%s/root", f->dir.path);
	f->root_fd = open(f->root, O_PATH | O_CLOEXEC);
	return f->root_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	note_leave(&f->note);
	leftovers_free(f->leftovers);
	cred_unref(f->cred);
	close_keep_errno(f->root_fd);
	test_dir_remove(&f->dir);
	free(f);
	return 0;
}

static int open_leftovers(struct fixture *f)
{
	struct leftovers_spec spec = {
		.state_dir = f->state,
		.root_fd = f->root_fd,
		.root_path = f->root,
	};

	return leftovers_open(&spec, &f->leftovers);
}

/* The next start of the program: removes what there is. */
static void restart(struct fixture *f)
{
	leftovers_free(TAKE_PTR(f->leftovers));
	assert_int_equal(open_leftovers(f), 0);
	assert_int_equal(leftovers_remove(f->leftovers), 0);
	assert_true(leftovers_wait(f->leftovers, WAIT_MS));
}

static void make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->dir.fd, path, 0700), 0);
}

static void make_file(struct fixture *f, const char *path)
{
	int fd = openat(f->dir.fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t n = fd < 0 ? -1 : write(fd, "text", 4);

	close_keep_errno(fd);
	assert_int_equal(n, 4);
}

static bool exists(struct fixture *f, const char *path)
{
	struct stat st;

	return fstatat(f->dir.fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int at(struct fixture *f, const char *path)
{
	return test_dir_keep(&f->dir, openat(f->dir.fd, path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
}

/* How many files of that kind there are. */
static int count_notes(struct fixture *f)
{
	DIR *list = opendir(f->state);
	const struct dirent *entry;
	int n = 0;

	assert_non_null(list);
	while ((entry = readdir(list)))
		n += strncmp(entry->d_name, NOTE_PREFIX, strlen(NOTE_PREFIX)) == 0;
	(void)closedir(list); /* only read */
	return n;
}

static void begin_note(struct fixture *f, const char *below, const char *name)
{
	struct note_place place = { .source_uid = geteuid(), .below = below, .name = name };
	char path[PATH_MAX];

	if (!f->leftovers)
		assert_int_equal(open_leftovers(f), 0);
	(void)snprintf(path, sizeof(path), "root/%s", below);
	if (exists(f, path))
		assert_int_equal(inode_identity_of(at(f, path), &place.parent), 0);
	leftovers_note(f->leftovers, &place, &f->note);
	assert_true(f->note.fd >= 0);
}

/* A copy in root/sub that has crashed. */
static void crash(struct fixture *f)
{
	begin_note(f, "sub", STAGED);
	make_dir(f, "root/sub/" STAGED);
	assert_int_equal(note_add(&f->note, at(f, "root/sub/" STAGED), false), 0);
	make_dir(f, "root/sub/" STAGED "/dir");
	make_file(f, "root/sub/" STAGED "/dir/file");
	note_leave(&f->note);
}

static void test_leftovers_remove_copy(void **state)
{
	struct fixture *f = *state;

	crash(f);
	make_dir(f, "root/sub/.arsync-0123456789abcdee");
	make_file(f, "root/sub/.arsync-0123456789abcdee/precious");
	restart(f);
	assert_false(exists(f, "root/sub/" STAGED));
	assert_true(exists(f, "root/sub/.arsync-0123456789abcdee/precious"));
	assert_int_equal(count_notes(f), 0);
}

static void test_leftovers_remove_file(void **state)
{
	struct fixture *f = *state;

	begin_note(f, "", STAGED);
	make_file(f, "root/" STAGED);
	assert_int_equal(note_add(&f->note, at(f, "root/" STAGED), false), 0);
	note_leave(&f->note);
	restart(f);
	assert_false(exists(f, "root/" STAGED));
	assert_int_equal(count_notes(f), 0);
}

/* Its process lives: the lock says so. */
static void test_leftovers_leave_living(void **state)
{
	struct fixture *f = *state;
	struct leftovers *other;
	struct leftovers_spec spec = {
		.state_dir = f->state,
		.root_fd = f->root_fd,
		.root_path = f->root,
	};

	begin_note(f, "sub", STAGED);
	make_dir(f, "root/sub/" STAGED);
	assert_int_equal(note_add(&f->note, at(f, "root/sub/" STAGED), false), 0);
	assert_int_equal(leftovers_open(&spec, &other), 0);
	assert_int_equal(leftovers_remove(other), 0);
	(void)leftovers_wait(other, WAIT_MS);
	leftovers_free(other);
	assert_true(exists(f, "root/sub/" STAGED));
	assert_int_equal(count_notes(f), 1);
	leftovers_note_end(f->leftovers, &f->note, true);
	assert_int_equal(count_notes(f), 0);
}

/* Another inode has the name. */
static void test_leftovers_leave_namesake(void **state)
{
	struct fixture *f = *state;

	crash(f);
	assert_int_equal(renameat(f->dir.fd, "root/sub/" STAGED, f->dir.fd, "root/sub/renamed"), 0);
	make_dir(f, "root/sub/" STAGED);
	make_file(f, "root/sub/" STAGED "/precious");
	restart(f);
	assert_true(exists(f, "root/sub/" STAGED "/precious"));
	assert_true(exists(f, "root/sub/renamed/dir/file"));
	assert_int_equal(count_notes(f), 0);
}

static void test_leftovers_leave_given_away(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0)
		skip();
	crash(f);
	assert_int_equal(fchownat(f->dir.fd, "root/sub/" STAGED, 4321, 4321, 0), 0);
	restart(f);
	assert_true(exists(f, "root/sub/" STAGED "/dir/file"));
}

/* What the note tells of was not made yet when it crashed, or nobody could say what it was. */
static void test_leftovers_remove_unknown_if_empty(void **state)
{
	struct fixture *f = *state;

	begin_note(f, "sub", STAGED);
	make_dir(f, "root/sub/" STAGED);
	note_leave(&f->note);
	restart(f);
	assert_false(exists(f, "root/sub/" STAGED));
	begin_note(f, "sub", STAGED);
	make_dir(f, "root/sub/" STAGED);
	make_file(f, "root/sub/" STAGED "/precious");
	note_leave(&f->note);
	restart(f);
	assert_true(exists(f, "root/sub/" STAGED "/precious"));
	assert_int_equal(count_notes(f), 0);
}

static void test_leftovers_leave_other_names(void **state)
{
	static const char *const names[] = { "precious", ".arsync-", ".arsync-0123456789abcdeX",
					     "../precious", ".arsync-0123456789abcdef0" };
	struct fixture *f = *state;
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "root/sub/%s", names[i]);
		if (!exists(f, path))
			make_file(f, path);
		begin_note(f, "sub", names[i]);
		assert_int_equal(note_add(&f->note, at(f, path), false), 0);
		note_leave(&f->note);
		restart(f);
		assert_true(exists(f, path));
		assert_int_equal(count_notes(f), 0);
	}
}

/* Neither symbolic links nor ".." lead to what is to be removed. The note is for later. */
static void test_leftovers_leave_odd_ways(void **state)
{
	struct fixture *f = *state;
	static const char *const ways[] = { "link", "link/.", "sub/../sub", "../root/sub", "gone" };

	assert_int_equal(symlinkat("sub", f->dir.fd, "root/link"), 0);
	make_dir(f, "root/sub/" STAGED);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		begin_note(f, ways[i], STAGED);
		assert_int_equal(note_add(&f->note, at(f, "root/sub/" STAGED), false), 0);
		note_leave(&f->note);
	}
	restart(f);
	assert_true(exists(f, "root/sub/" STAGED));
	assert_int_equal(count_notes(f), ARRAY_SIZE(ways));
}

/* BACKING has another path now, or a directory above it is mounted. */
static void test_leftovers_find_root(void **state)
{
	struct fixture *f = *state;

	crash(f);
	(void)snprintf(f->root, sizeof(f->root), "/another/path");
	restart(f);
	assert_false(exists(f, "root/sub/" STAGED));

	leftovers_free(TAKE_PTR(f->leftovers));
	(void)snprintf(f->root, sizeof(f->root), "%s/root", f->dir.path);
	crash(f);
	close_keep_errno(f->root_fd);
	(void)snprintf(f->root, sizeof(f->root), "%s/root/sub", f->dir.path);
	f->root_fd = open(f->root, O_PATH | O_CLOEXEC);
	restart(f); /* (below it, and told by another path: nothing is found) */
	assert_true(exists(f, "root/sub/" STAGED));
	close_keep_errno(f->root_fd);
	(void)snprintf(f->root, sizeof(f->root), "%s", f->dir.path);
	f->root_fd = open(f->root, O_PATH | O_CLOEXEC);
	restart(f);
	assert_false(exists(f, "root/sub/" STAGED));
	assert_int_equal(count_notes(f), 0);
}

/* The copy had taken DEST's place; what was there before was being removed. */
static void check_replaced(struct fixture *f, size_t from, size_t to, bool is_removed)
{
	struct note_head head;

	begin_note(f, "sub", STAGED);
	make_dir(f, "root/sub/copy");
	assert_int_equal(note_add(&f->note, at(f, "root/sub/copy"), false), 0);
	make_dir(f, "root/sub/" STAGED);
	make_file(f, "root/sub/" STAGED "/old");
	assert_int_equal(note_add(&f->note, at(f, "root/sub/" STAGED), true), 0);
	assert_int_equal(pread(f->note.fd, &head, sizeof(head), 0), sizeof(head));
	memset((char *)&head + from, 'x', to - from);
	assert_int_equal(pwrite(f->note.fd, &head, sizeof(head), 0), sizeof(head));
	note_leave(&f->note);
	restart(f);
	assert_int_equal(exists(f, "root/sub/" STAGED "/old"), !is_removed);
	assert_true(exists(f, "root/sub/copy"));
	assert_int_equal(count_notes(f), 0);
}

static void test_leftovers_remove_replaced(void **state)
{
	check_replaced(*state, 0, 0, true);
}

/* The power has failed: the copy need not be whole. */
static void test_leftovers_leave_replaced_after_boot(void **state)
{
	check_replaced(*state, offsetof(struct note_head, boot),
		       offsetof(struct note_head, boot) + 8, false);
}

static void test_leftovers_remove_replaced_if_durable(void **state)
{
	check_replaced(*state, offsetof(struct note_head, durable),
		       offsetof(struct note_head, boot) + 8, true);
}

#define PART STAGED "-00000000000000a1"

/* A merge into root/sub has crashed. */
static void crash_merge(struct fixture *f)
{
	struct note_place place = { .below = "sub", .name = STAGED, .parts = true };

	if (!f->leftovers)
		assert_int_equal(open_leftovers(f), 0);
	assert_int_equal(inode_identity_of(at(f, "root/sub"), &place.parent), 0);
	leftovers_note(f->leftovers, &place, &f->note);
	assert_true(f->note.fd >= 0);
	note_leave(&f->note);
}

static void test_leftovers_remove_parts(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX] = "root/sub";
	size_t length;

	crash_merge(f);
	make_file(f, "root/sub/" PART);
	for (unsigned i = 0; i < 40; i++) { /* each in one that has more behind it */
		length = strlen(path);
		(void)snprintf(path + length, sizeof(path) - length, "/dir");
		make_dir(f, path);
		(void)strcat(path, "/" PART);
		assert_int_equal(symlinkat("nowhere", f->dir.fd, path), 0);
		path[strlen(path) - strlen("/" PART)] = '\0';
	}
	make_dir(f, "root/sub/last");
	make_file(f, "root/sub/last/" STAGED "-0000000000000001");
	restart(f);
	assert_int_equal(count_notes(f), 0);
	assert_false(exists(f, "root/sub/" PART));
	assert_false(exists(f, "root/sub/last/" STAGED "-0000000000000001"));
	while (strcmp(path, "root/sub") != 0) {
		length = strlen(path);
		(void)strcat(path, "/" PART);
		assert_false(exists(f, path));
		path[length] = '\0';
		assert_true(exists(f, path));
		*strrchr(path, '/') = '\0';
	}
}

/* Names of other merges, what is no name of one, and what is outside. */
static void test_leftovers_leave_other_parts(void **state)
{
	static const char *const others[] = {
		"root/" PART,
		"root/sub/" STAGED,
		"root/sub/" STAGED "-",
		"root/sub/" STAGED "-1",
		"root/sub/" STAGED "-00000000000000a1.txt",
		"root/sub/" STAGED "-00000000000000aX",
		"root/sub/.arsync-0123456789abcdee-00000000000000a1",
		"root/sub/precious",
		"root/outside/" PART,
		"root/sub/" PART "/" PART "s",
	};
	struct fixture *f = *state;

	crash_merge(f);
	make_dir(f, "root/outside");
	make_dir(f, "root/sub/" PART); /* a merge has none of these */
	assert_int_equal(symlinkat("../outside", f->dir.fd, "root/sub/link"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		make_file(f, others[i]);
	restart(f);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_true(exists(f, others[i]));
	assert_int_equal(count_notes(f), 0);
}

/* Another directory has that path, and the merge's comes back. */
static void test_leftovers_find_merged(void **state)
{
	struct fixture *f = *state;

	crash_merge(f);
	make_file(f, "root/sub/" PART);
	assert_int_equal(renameat(f->dir.fd, "root/sub", f->dir.fd, "root/away"), 0);
	make_dir(f, "root/sub");
	make_file(f, "root/sub/" PART);
	restart(f);
	assert_true(exists(f, "root/sub/" PART));
	assert_int_equal(count_notes(f), 1);
	assert_int_equal(unlinkat(f->dir.fd, "root/sub/" PART, 0), 0);
	assert_int_equal(unlinkat(f->dir.fd, "root/sub", AT_REMOVEDIR), 0);
	assert_int_equal(renameat(f->dir.fd, "root/away", f->dir.fd, "root/sub"), 0);
	restart(f);
	assert_false(exists(f, "root/sub/" PART));
	assert_int_equal(count_notes(f), 0);
}

/* However few files may be open: the note is kept until all of it was looked at. */
static void test_leftovers_remove_parts_without_descriptors(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, limit;
	unsigned n_kept = 0;
	int next;

	crash_merge(f);
	make_dir(f, "root/sub/dir");
	make_file(f, "root/sub/dir/" PART);
	leftovers_free(TAKE_PTR(f->leftovers));
	next = fcntl(f->root_fd, F_DUPFD_CLOEXEC, 0);
	assert_true(next >= 0);
	close_keep_errno(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	for (limit.rlim_cur = (rlim_t)next; exists(f, "root/sub/dir/" PART); limit.rlim_cur++) {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (open_leftovers(f) == 0) {
			assert_int_equal(leftovers_remove(f->leftovers), 0);
			assert_true(leftovers_wait(f->leftovers, WAIT_MS));
			leftovers_free(TAKE_PTR(f->leftovers));
		}
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (exists(f, "root/sub/dir/" PART)) {
			assert_int_equal(count_notes(f), 1);
			n_kept++;
		}
	}
	assert_true(n_kept > 4);
	assert_int_equal(count_notes(f), 0);
}

/* Who copied was a user: what belongs to others is not theirs to remove. */
static void test_leftovers_leave_parts_of_others(void **state)
{
	struct fixture *f = *state;
	struct note_place place = { .below = "sub", .name = STAGED, .parts = true };
	struct cred *cred;
	const gid_t none = 0;

	if (geteuid() != 0)
		skip();
	assert_int_equal(open_leftovers(f), 0);
	assert_int_equal(inode_identity_of(at(f, "root/sub"), &place.parent), 0);
	assert_int_equal(cred_new(4321, 4321, &none, 0, &cred), 0);
	place.cred = cred;
	leftovers_note(f->leftovers, &place, &f->note);
	cred_unref(cred);
	note_leave(&f->note);
	assert_int_equal(fchmodat(f->dir.fd, "root/sub", 0777, 0), 0);
	make_file(f, "root/sub/" PART);
	make_file(f, "root/sub/" PART "0");
	assert_int_equal(renameat(f->dir.fd, "root/sub/" PART "0", f->dir.fd,
				  "root/sub/" STAGED "-0000000000000002"),
			 0);
	assert_int_equal(fchownat(f->dir.fd, "root/sub/" PART, 4321, 4321, 0), 0);
	assert_int_equal(fchmodat(f->dir.fd, ".", 0755, 0), 0);
	restart(f);
	assert_false(exists(f, "root/sub/" PART));
	assert_true(exists(f, "root/sub/" STAGED "-0000000000000002"));
}

/* The directory is not the user's to write to any more. That is looked at again for some time. */
static void test_leftovers_give_parts_up(void **state)
{
	struct fixture *f = *state;
	struct note_place place = { .below = "sub", .name = STAGED, .parts = true };
	const struct timespec old[2] = { { time(NULL) - 91 * 24 * 3600, 0 },
					 { time(NULL) - 91 * 24 * 3600, 0 } };
	char note[NOTE_NAME_SIZE];
	int state_fd;

	if (geteuid() != 0)
		skip();
	assert_int_equal(open_leftovers(f), 0);
	assert_int_equal(inode_identity_of(at(f, "root/sub"), &place.parent), 0);
	assert_int_equal(cred_new(4321, 4321, NULL, 0, &f->cred), 0);
	place.cred = f->cred;
	leftovers_note(f->leftovers, &place, &f->note);
	(void)strcpy(note, f->note.name);
	note_leave(&f->note);
	make_file(f, "root/sub/" PART);
	assert_int_equal(fchownat(f->dir.fd, "root/sub/" PART, 4321, 4321, 0), 0);
	assert_int_equal(fchmodat(f->dir.fd, ".", 0755, 0), 0);
	restart(f);
	assert_int_equal(count_notes(f), 1);
	state_fd = test_dir_keep(&f->dir, open(f->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_int_equal(utimensat(state_fd, note, old, 0), 0);
	restart(f);
	assert_int_equal(count_notes(f), 0);
	assert_true(exists(f, "root/sub/" PART));
}

/* Whatever is in the directory: none of it is believed. */
static void test_leftovers_odd_notes(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX], whole[4 * PATH_MAX];
	ssize_t size;
	int fd;

	crash(f);
	make_file(f, "state/of/us/unrelated");
	make_file(f, "state/of/us/copy-short");
	make_dir(f, "state/of/us/copy-directory");
	assert_int_equal(symlinkat("unrelated", f->dir.fd, "state/of/us/copy-link"), 0);
	assert_int_equal(mkfifoat(f->dir.fd, "state/of/us/copy-fifo", 0600), 0);
	(void)snprintf(path, sizeof(path), "state/of/us/%s", f->note.name);
	assert_int_equal(fchmodat(f->dir.fd, path, 0622, 0), 0);
	restart(f);
	assert_true(exists(f, "root/sub/" STAGED)); /* others may have written it */
	assert_true(exists(f, "state/of/us/unrelated"));
	assert_false(exists(f, "state/of/us/copy-short"));
	assert_int_equal(fchmodat(f->dir.fd, path, 0600, 0), 0);
	fd = test_dir_keep(&f->dir, openat(f->dir.fd, path, O_RDONLY | O_CLOEXEC));
	size = pread(fd, whole, sizeof(whole), 0);
	assert_true(size > (ssize_t)sizeof(struct note_head) && size < (ssize_t)sizeof(whole));
	assert_int_equal(unlinkat(f->dir.fd, path, 0), 0);
	for (ssize_t cut = 0; cut < size; cut += 1 + cut / 8) { /* anywhere */
		fd = test_dir_open(&f->dir, "state/of/us/copy-cut", O_WRONLY | O_TRUNC);
		assert_int_equal(fchmod(fd, 0600), 0);
		assert_int_equal(pwrite(fd, whole, (size_t)cut, 0), cut);
		restart(f);
		assert_false(exists(f, "state/of/us/copy-cut"));
		assert_true(exists(f, "root/sub/" STAGED));
	}
	fd = test_dir_open(&f->dir, "state/of/us/copy-whole", O_WRONLY);
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_int_equal(pwrite(fd, whole, (size_t)size, 0), size);
	restart(f);
	assert_false(exists(f, "root/sub/" STAGED)); /* it was the cuts */
	assert_int_equal(unlinkat(f->dir.fd, "state/of/us/copy-directory", AT_REMOVEDIR), 0);
}

static void test_leftovers_open_unsafe(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "state");
	make_dir(f, "state/of");
	make_dir(f, "state/of/us");
	assert_int_equal(fchmodat(f->dir.fd, "state/of/us", 0770, 0), 0);
	assert_int_equal(open_leftovers(f), -EPERM);
	assert_int_equal(fchmodat(f->dir.fd, "state/of/us", 0700, 0), 0);
	assert_int_equal(open_leftovers(f), 0);
	leftovers_free(TAKE_PTR(f->leftovers));
	(void)snprintf(f->state, sizeof(f->state), "/proc/none");
	assert_int_equal(open_leftovers(f), -ENOENT);
}

/* A copy that takes long is noted on stable storage, one that does not is forgotten. */
static void test_leftovers_many_notes(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4 * LEFTOVERS_LATE_MAX; i++) {
		begin_note(f, "sub", STAGED);
		leftovers_note_end(f->leftovers, &f->note, true);
	}
	assert_int_equal(count_notes(f), 0);
	begin_note(f, "sub", STAGED);
	assert_true(f->leftovers->n_late <= LEFTOVERS_LATE_MAX);
	for (unsigned i = 0; i < TEST_WAIT_S * 10 && f->leftovers->n_late > 0; i++)
		test_sleep_ms(100);
	assert_int_equal(f->leftovers->n_late, 0);
	assert_int_equal(count_notes(f), 1);
}

#define LEFTOVER_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		LEFTOVER_TEST(test_leftovers_remove_copy),
		LEFTOVER_TEST(test_leftovers_remove_file),
		LEFTOVER_TEST(test_leftovers_leave_living),
		LEFTOVER_TEST(test_leftovers_leave_namesake),
		LEFTOVER_TEST(test_leftovers_leave_given_away),
		LEFTOVER_TEST(test_leftovers_remove_unknown_if_empty),
		LEFTOVER_TEST(test_leftovers_leave_other_names),
		LEFTOVER_TEST(test_leftovers_leave_odd_ways),
		LEFTOVER_TEST(test_leftovers_find_root),
		LEFTOVER_TEST(test_leftovers_remove_replaced),
		LEFTOVER_TEST(test_leftovers_leave_replaced_after_boot),
		LEFTOVER_TEST(test_leftovers_remove_replaced_if_durable),
		LEFTOVER_TEST(test_leftovers_remove_parts),
		LEFTOVER_TEST(test_leftovers_leave_other_parts),
		LEFTOVER_TEST(test_leftovers_find_merged),
		LEFTOVER_TEST(test_leftovers_remove_parts_without_descriptors),
		LEFTOVER_TEST(test_leftovers_leave_parts_of_others),
		LEFTOVER_TEST(test_leftovers_give_parts_up),
		LEFTOVER_TEST(test_leftovers_odd_notes),
		LEFTOVER_TEST(test_leftovers_open_unsafe),
		LEFTOVER_TEST(test_leftovers_many_notes),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("leftover", tests, NULL, NULL);
}
