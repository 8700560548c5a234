/* SPDX-License-Identifier: MIT */
/*
 * attr.c - modes, owners, times, sizes, and what a file system says of itself.
 */
#include "compare.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>

static void modes(struct side *side)
{
	static const mode_t all[] = { 0, 0777, 04755, 02755, 06711, 01644, 07777, 0200 };
	struct moments before;
	int fd;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("nowhere", "dangling"));
	CALL(side, symlink("f", "link"));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CALL(side, chmod("f", all[i]));
		show(side, "f");
		CALL(side, chmod("d", all[i]));
		show(side, "d");
	}
	before = moments_of("f");
	CALL(side, chmod("link", 0640));
	show_moved(side, "f", &before);
	CALL(side, chmod("dangling", 0640));
	CALL(side, chmod("none", 0640));
	CALL(side, chmod("f/x", 0640));
	CALL(side, fchmodat(AT_FDCWD, "f", 0600, 0));
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, fchmod(fd, 0404));
	show_fd(side, fd);
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d", O_RDONLY));
	CALL(side, fchmod(fd, 0705));
	CALL(side, close(fd));
}

static void owners(struct side *side)
{
	struct moments before;
	int fd;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("f", "link"));
	before = moments_of("f");
	CALL(side, chown("f", USER_UID, (gid_t)-1));
	show_moved(side, "f", &before);
	show(side, "f");
	CALL(side, chown("f", (uid_t)-1, USER_GID));
	show(side, "f");
	CALL(side, chown("f", (uid_t)-1, (gid_t)-1));
	CALL(side, lchown("link", 1, 2));
	show(side, "link");
	CALL(side, chown("link", 3, 4));
	CALL(side, chown("d", 100000, 4000000000U));
	CALL(side, chown("none", 1, 2));
	/* Setuid goes, setgid only with the group's execute bit (it used to mean mandatory locks). */
	CALL(side, chmod("f", 06755));
	CALL(side, chown("f", 5, 6));
	show(side, "f");
	CALL(side, chmod("f", 06644));
	CALL(side, chown("f", 5, 6));
	show(side, "f");
	CALL(side, chmod("d", 06755));
	CALL(side, chown("d", 5, 6));
	show(side, "d");
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, fchown(fd, 7, 8));
	show_fd(side, fd);
	CALL(side, close(fd));
	CALL(side, mkdir("setgid", 0755));
	CALL(side, chown("setgid", 0, USER_GID));
	CALL(side, chmod("setgid", 02775));
	make_text(side, "setgid/file", "inherits the group");
	CALL(side, mkdir("setgid/dir", 0755));
	CALL(side, symlink("x", "setgid/link"));
	CALL(side, mknod("setgid/fifo", S_IFIFO | 0644, 0));
}

#define TIMES(a, an, m, mn)                                                                        \
	((const struct timespec[2]){ { .tv_sec = (a), .tv_nsec = (an) },                           \
				     { .tv_sec = (m), .tv_nsec = (mn) } })

/* The exact times that were set. */
static void show_times(struct side *side, const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		say(side, "%s: %lld.%09ld %lld.%09ld", path, (long long)st.st_atim.tv_sec,
		    st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void times(struct side *side)
{
	struct moments before;
	int fd;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("f", "link"));
	CALL(side,
	     utimensat(AT_FDCWD, "f", TIMES(1000000001, 123456789, 1000000002, 987654321), 0));
	show_times(side, "f");
	before = moments_of("f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(5, 6, 0, UTIME_OMIT), 0));
	show_times(side, "f");
	show_moved(side, "f", &before);
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(0, UTIME_OMIT, 7, 8), 0));
	show_times(side, "f");
	before = moments_of("f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(0, UTIME_NOW, 0, UTIME_OMIT), 0));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(0, UTIME_OMIT, 0, UTIME_NOW), 0));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(0, UTIME_OMIT, 0, UTIME_OMIT), 0));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, utimensat(AT_FDCWD, "f", NULL, 0));
	show_moved(side, "f", &before);
	CALL(side, utimensat(AT_FDCWD, "link", TIMES(11, 12, 13, 14), AT_SYMLINK_NOFOLLOW));
	show_times(side, "link");
	CALL(side, utimensat(AT_FDCWD, "link", TIMES(15, 16, 17, 18), 0));
	show_times(side, "f");
	CALL(side, utimensat(AT_FDCWD, "d", TIMES(19, 20, 21, 999999999), 0));
	show_times(side, "d");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(1, 1000000000, 1, 1), 0));
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(1, -5, 1, 1), 0));
	CALL(side, utimensat(AT_FDCWD, "none", NULL, 0));
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, futimens(fd, TIMES(22, 23, 24, 25)));
	show_times(side, "f");
	CALL(side, close(fd));
	/* Before 1970 and after 2038; what a file system cannot say it cuts off. */
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(-1000, 1, -2000, 2), 0));
	show_times(side, "f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(8589934592, 1, 8589934593, 2), 0));
	show_times(side, "f");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(100000000000, 1, 100000000000, 2), 0));
	show_times(side, "f");
}

/* Which calls change which times. */
static void times_move(struct side *side)
{
	struct moments before, dir;
	int fd;

	make_file(side, "f", 5000);
	CALL(side, mkdir("d", 0755));
	fd = CALL_FD(side, open("f", O_RDWR));
	before = moments_of("f");
	CALL(side, pwrite(fd, "x", 1, 0));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, ftruncate(fd, 5000));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, truncate("f", 5000));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, ftruncate(fd, 6000));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, fallocate(fd, 0, 0, 10000));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, fsync(fd));
	show_moved(side, "f", &before);
	before = moments_of("f");
	CALL(side, write(fd, "", 0));
	show_moved(side, "f", &before);
	CALL(side, close(fd));
	before = moments_of("f");
	CALL(side, close(open("f", O_WRONLY | O_TRUNC)));
	show_moved(side, "f", &before);

	dir = moments_of("d");
	make_text(side, "d/f", "text");
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, chmod("d/f", 0600));
	show_moved(side, "d", &dir);
	CALL(side, rename("d/f", "d/g"));
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, link("d/g", "d/h"));
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, unlink("d/h"));
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, mkdir("d/e", 0755));
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, symlink("x", "d/s"));
	show_moved(side, "d", &dir);
	dir = moments_of("d");
	CALL(side, rename("f", "d/f"));
	show_moved(side, "d", &dir);
}

static void sizes(struct side *side)
{
	int fd;

	make_file(side, "f", 10000);
	CALL(side, truncate("f", 5000));
	show(side, "f");
	CALL(side, truncate("f", 9000)); /* zeros, not what was there */
	show(side, "f");
	CALL(side, truncate("f", 0));
	show(side, "f");
	CALL(side, truncate("f", 3000000));
	show(side, "f");
	show_blocks(side, "f");
	CALL(side, truncate("f", -1));
	CALL(side, truncate("f", INT64_MAX));
	CALL(side, truncate("none", 0));
	CALL(side, truncate(".", 0));
	CALL(side, truncate("f/x", 0));
	CALL(side, symlink("f", "link"));
	CALL(side, truncate("link", 100));
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, ftruncate(fd, 20000));
	show_fd(side, fd);
	CALL(side, lseek(fd, 0, SEEK_END));
	CALL(side, pwrite(fd, "at the end", 10, 19990));
	CALL(side, ftruncate(fd, 19995));
	CALL(side, lseek(fd, 0, SEEK_END));
	CALL(side, ftruncate(fd, -1));
	CALL(side, ftruncate(fd, 20005));
	CALL(side, close(fd));
	show(side, "f");
}

static void limits(struct side *side)
{
	const struct rlimit limit = { .rlim_cur = 1000000, .rlim_max = RLIM_INFINITY };
	char *bytes = calloc(1, 70000);
	int fd;

	(void)signal(SIGXFSZ, SIG_IGN);
	fd = CALL_FD(side, open("f", O_RDWR | O_CREAT, 0644));
	CALL(side, pwrite(fd, "x", 1, INT64_MAX - 1));
	CALL(side, pwrite(fd, "x", 1, (off_t)1 << 60));
	CALL(side, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)1 << 42));
	CALL(side, setrlimit(RLIMIT_FSIZE, &limit));
	CALL(side, pwrite(fd, bytes, 70000, 950000));
	CALL(side, pwrite(fd, bytes, 1, 1000000));
	CALL(side, ftruncate(fd, 1000001));
	CALL(side, ftruncate(fd, 1000000));
	CALL(side, fallocate(fd, 0, 0, 1000001));
	CALL(side, close(fd));
	free(bytes);
	show(side, "f");
}

static void file_system(struct side *side)
{
	struct statvfs whole, here;
	struct statfs fs;
	int fd;

	make_file(side, "f", 100000);
	CALL(side, statvfs("f", &whole));
	say(side, "block %lu fragment %lu blocks %lu names %lu", whole.f_bsize, whole.f_frsize,
	    whole.f_blocks, whole.f_namemax);
	say(side, "some free %d, available %d", whole.f_bfree > 0, whole.f_bavail > 0);
	CALL(side, statfs("f", &fs));
	say(side, "block %ld names %ld", (long)fs.f_bsize, (long)fs.f_namelen);
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, fstatvfs(fd, &here));
	say(side, "the same %d", here.f_blocks == whole.f_blocks);
	CALL(side, close(fd));
	CALL(side, statvfs("none", &here));
}

static bool in_last_minute(const struct statx_timestamp *time)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
	return time->tv_sec >= now.tv_sec - 60 && time->tv_sec <= now.tv_sec;
}

static void extended_stat(struct side *side)
{
	struct statx stx = { 0 };
	int fd;

	make_text(side, "f", "text");
	CALL(side, utimensat(AT_FDCWD, "f", TIMES(1, 2, 3, 4), 0));
	CALL(side, statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &stx));
	say(side, "birth %d, recently %d", !!(stx.stx_mask & STATX_BTIME),
	    in_last_minute(&stx.stx_btime));
	say(side, "mask %x size %llu mode %o mtime %lld.%09u", stx.stx_mask & STATX_BASIC_STATS,
	    (unsigned long long)stx.stx_size, stx.stx_mode, (long long)stx.stx_mtime.tv_sec,
	    stx.stx_mtime.tv_nsec);
	fd = CALL_FD(side, open("f", O_WRONLY | O_APPEND));
	CALL(side, write(fd, " more", 5));
	CALL(side, statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx));
	say(side, "size %llu, birth recently %d", (unsigned long long)stx.stx_size,
	    in_last_minute(&stx.stx_btime));
	CALL(side, close(fd));
	CALL(side, statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &stx));
	CALL(side, statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &stx));
	say(side, "size %llu", (unsigned long long)stx.stx_size);
	CALL(side, statx(AT_FDCWD, "none", 0, STATX_BTIME, &stx));
	CALL(side, symlink("f", "link"));
	CALL(side, statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx));
	say(side, "mode %o", stx.stx_mode);
}

const struct call_group groups_attr[] = {
	{ "attr_modes", modes },
	{ "attr_owners", owners },
	{ "attr_times", times },
	{ "attr_times_move", times_move },
	{ "attr_sizes", sizes },
	{ "attr_limits", limits },
	{ "attr_statfs", file_system },
	{ "attr_statx", extended_stat },
	{ NULL, NULL },
};
