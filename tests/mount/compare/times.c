/* SPDX-License-Identifier: MIT */
/*
 * times.c - which calls change the times of which files: of the file, of another name of it, of the
 * directories, of what was replaced. Also of calls that fail.
 */
#include "compare.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

static const char *const watched[] = { "a",	     "a/file",	    "a/other name", "b",
				       "b/replaced", "b/kept name", "a/dir",	    "a/link" };

#define WATCHED (sizeof(watched) / sizeof(watched[0]))

static void prepare(struct side *side)
{
	const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };

	if (system("rm -rf a b") != 0 || mkdir("a", 0755) < 0 || mkdir("b", 0755) < 0 ||
	    mkdir("a/dir", 0755) < 0)
		say(side, "cannot prepare");
	make_text(side, "a/file", "some text");
	let_time_pass(); /* what has another name's time after a call is another file */
	make_text(side, "b/replaced", "more");
	make_text(side, "b/source", "source");
	if (link("a/file", "a/other name") < 0 || link("b/replaced", "b/kept name") < 0 ||
	    symlink("file", "a/link") < 0 || setxattr("a/file", "user.was", "here", 4, 0) < 0)
		say(side, "cannot link");
	let_time_pass();
	if (utimensat(AT_FDCWD, "a/file", times, 0) < 0 || (let_time_pass(), 0) ||
	    utimensat(AT_FDCWD, "b/replaced", times, 0) < 0 || (let_time_pass(), 0) ||
	    utimensat(AT_FDCWD, "a/dir", times, 0) < 0 ||
	    utimensat(AT_FDCWD, "a/link", times, AT_SYMLINK_NOFOLLOW) < 0)
		say(side, "cannot set times");
}

static struct moments link_moments(const char *path)
{
	struct stat st = { 0 };

	(void)lstat(path, &st); /* shows as the beginning of time */
	return (struct moments){ .atime = st.st_atim, .mtime = st.st_mtim, .ctime = st.st_ctim };
}

static bool moved(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec;
}

/* Makes everything anew, waits, makes the call, tells what moved. */
#define WATCH(call)                                                                                \
	do {                                                                                       \
		struct moments before[WATCHED], after;                                             \
                                                                                                   \
		prepare(side);                                                                     \
		for (size_t i = 0; i < WATCHED; i++)                                               \
			before[i] = link_moments(watched[i]);                                      \
		let_time_pass();                                                                   \
		CALL(side, call);                                                                  \
		for (size_t i = 0; i < WATCHED; i++) {                                             \
			after = link_moments(watched[i]);                                          \
			say(side, "  %s:%s%s%s", watched[i],                                       \
			    moved(&after.atime, &before[i].atime) ? " atime" : "",                 \
			    moved(&after.mtime, &before[i].mtime) ? " mtime" : "",                 \
			    moved(&after.ctime, &before[i].ctime) ? " ctime" : "");                \
		}                                                                                  \
	} while (0)

static void of_names(struct side *side)
{
	WATCH(link("a/file", "b/new"));
	WATCH(link("a/file", "b/replaced"));
	WATCH(link("a/dir", "b/new"));
	WATCH(unlink("a/other name"));
	WATCH(unlink("a/file"));
	WATCH(unlink("a/dir"));
	WATCH(rmdir("a/dir"));
	WATCH(rmdir("a"));
	WATCH(mkdir("b/new", 0755));
	WATCH(mkdir("b/replaced", 0755));
	WATCH(mkfifo("b/new", 0644));
	WATCH(symlink("x", "b/new"));
	WATCH(symlink("x", "b/replaced"));
	WATCH(rename("a/file", "a/new"));
	WATCH(rename("a/file", "a/other name"));
	WATCH(rename("a/file", "b/new"));
	WATCH(rename("a/file", "b/replaced"));
	WATCH(rename("a/dir", "b/new"));
	WATCH(rename("a/dir", "b/replaced"));
	WATCH(rename("a/link", "b/replaced"));
	WATCH(renameat2(AT_FDCWD, "a/file", AT_FDCWD, "b/replaced", RENAME_EXCHANGE));
	WATCH(renameat2(AT_FDCWD, "a/dir", AT_FDCWD, "b/replaced", RENAME_EXCHANGE));
	WATCH(renameat2(AT_FDCWD, "a/file", AT_FDCWD, "b/replaced", RENAME_NOREPLACE));
	WATCH(close(open("b/new", O_WRONLY | O_CREAT, 0644)));
	WATCH(close(open("b/replaced", O_WRONLY | O_CREAT, 0644)));
	WATCH(close(open("b", O_RDWR | O_TMPFILE, 0644)));
}

static void of_attributes(struct side *side)
{
	WATCH(chmod("a/file", 0600));
	WATCH(chmod("a/file", 0644));
	WATCH(chmod("a/dir", 0700));
	WATCH(chown("a/file", 1, 2));
	WATCH(chown("a/file", (uid_t)-1, (gid_t)-1));
	WATCH(lchown("a/link", 1, 2));
	WATCH(utimensat(AT_FDCWD, "a/file", NULL, 0));
	WATCH(utimensat(AT_FDCWD, "a/file",
			(struct timespec[2]){ { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1 } }, 0));
	WATCH(utimensat(
		AT_FDCWD, "a/file",
		(struct timespec[2]){ { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } }, 0));
	WATCH(utimensat(AT_FDCWD, "a/link",
			(struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 2 } },
			AT_SYMLINK_NOFOLLOW));
	WATCH(setxattr("a/file", "user.new", "x", 1, 0));
	WATCH(setxattr("a/file", "user.was", "x", 1, XATTR_CREATE));
	WATCH(removexattr("a/file", "user.was"));
	WATCH(removexattr("a/file", "user.none"));
	WATCH(setxattr("a/dir", "user.new", "x", 1, 0));
	WATCH(getxattr("a/file", "user.was", NULL, 0));
}

static long on_file(const char *path, int flags, int what)
{
	int fd = open(path, flags | O_CLOEXEC);
	int in = open("b/source", O_RDONLY | O_CLOEXEC);
	char *mapped;
	long r = -1;

	switch (what) {
	case 0:
		r = write(fd, "bytes", 5);
		break;
	case 1:
		r = write(fd, "", 0);
		break;
	case 2:
		r = ftruncate(fd, 9);
		break;
	case 3:
		r = ftruncate(fd, 5);
		break;
	case 4:
		r = fallocate(fd, 0, 0, 20000);
		break;
	case 5:
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5);
		break;
	case 6:
		r = copy_file_range(in, &(off_t){ 0 }, fd, &(off_t){ 0 }, 4, 0);
		break;
	case 7:
		r = sendfile(fd, in, &(off_t){ 0 }, 4);
		break;
	case 8:
		mapped = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mapped == MAP_FAILED)
			break;
		mapped[0] = 'X';
		r = msync(mapped, 5, MS_SYNC);
		(void)munmap(mapped, 5);
		break;
	case 9:
		r = read(fd, (char[4]){ 0 }, 4);
		break;
	default:
		r = fsync(fd);
	}
	(void)close(in);
	(void)close(fd);
	return r;
}

static void of_content(struct side *side)
{
	for (int what = 0; what <= 10; what++)
		WATCH(on_file("a/file", O_RDWR, what));
	WATCH(on_file("a/file", O_WRONLY | O_APPEND, 0));
	WATCH(on_file("a/file", O_WRONLY | O_DSYNC, 0));
	WATCH(on_file("a/file", O_WRONLY | O_TRUNC, 10));
	WATCH(truncate("a/file", 9));
	WATCH(truncate("a/file", 20));
	WATCH(truncate("a/file", -1));
	WATCH(truncate("a/other name", 3));
	WATCH(close(open("a/file", O_RDONLY)));
	WATCH(readlink("a/link", (char[8]){ 0 }, 8) > 0);
	WATCH(system("ls a >/dev/null"));
}

const struct call_group groups_times[] = {
	{ "times_names", of_names },
	{ "times_attributes", of_attributes },
	{ "times_content", of_content },
	{ NULL, NULL },
};
