/* SPDX-License-Identifier: MIT */
/*
 * flags.c - ioctl(2), attributes of chattr(1), and what fcntl(2) says and changes.
 */
#include "compare.h"

#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#ifndef FS_NODUMP_FL
#define FS_NODUMP_FL 0x40
#endif

/* Those that mean the same on every file system, and that no format sets by itself. */
#define FLAGS_SEEN (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL)
#define XFLAGS_SEEN (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND | FS_XFLAG_NODUMP | FS_XFLAG_NOATIME)

static long set_flags(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int now = 0;
	long r = fd < 0 ? -1 : ioctl(fd, FS_IOC_GETFLAGS, &now);

	now = (now & ~FLAGS_SEEN) | flags;
	if (r == 0)
		r = ioctl(fd, FS_IOC_SETFLAGS, &now);
	if (fd >= 0) {
		int error = errno;

		(void)close(fd);
		errno = error;
	}
	return r;
}

static void show_flags(struct side *side, const char *path)
{
	struct fsxattr extended = { 0 };
	int fd = CALL_FD(side, open(path, O_RDONLY));
	int flags = 0;

	CALL(side, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	say(side, "%s has flags %x", path, flags & FLAGS_SEEN);
	CALL(side, ioctl(fd, FS_IOC_FSGETXATTR, &extended));
	say(side, "%s has %x, project %u", path, extended.fsx_xflags & XFLAGS_SEEN,
	    extended.fsx_projid);
	CALL(side, close(fd));
}

static void flags_of_files(struct side *side)
{
	struct fsxattr extended = { 0 };
	struct moments before;
	int fd;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	show_flags(side, "f");
	show_flags(side, "d");
	before = moments_of("f");
	CALL(side, set_flags("f", FS_NODUMP_FL));
	show_moved(side, "f", &before);
	show_flags(side, "f");
	CALL(side, set_flags("d", FS_NODUMP_FL | FS_NOATIME_FL));
	show_flags(side, "d");
	CALL(side, set_flags("d", 0));
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, ioctl(fd, FS_IOC_FSGETXATTR, &extended));
	extended.fsx_xflags |= FS_XFLAG_NOATIME;
	CALL(side, ioctl(fd, FS_IOC_FSSETXATTR, &extended));
	CALL(side, close(fd));
	show_flags(side, "f");
	CALL(side, set_flags("f", 0));
	show_flags(side, "f");
	CALL(side, set_flags("none", 0));
}

/* Whatever an immutable or append-only file refuses. */
static void try_to_change(struct side *side)
{
	CALL(side, close(CALL_FD(side, open("d/f", O_RDONLY))));
	CALL_FD(side, open("d/f", O_WRONLY));
	CALL_FD(side, open("d/f", O_RDWR));
	CALL_FD(side, open("d/f", O_RDWR | O_TRUNC));
	CALL(side, truncate("d/f", 0));
	CALL(side, chmod("d/f", 0600));
	CALL(side, chown("d/f", 1, 1));
	CALL(side, unlink("d/f"));
	CALL(side, rename("d/f", "d/g"));
	CALL(side, link("d/f", "d/h"));
	CALL(side, setxattr("d/f", "user.a", "b", 1, 0));
	CALL(side, removexattr("d/f", "user.was"));
	CALL(side, utimensat(AT_FDCWD, "d/f",
			     (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 2 } }, 0));
	CALL(side, utimensat(AT_FDCWD, "d/f", NULL, 0));
	show(side, "d/f");
}

static void immutable(struct side *side)
{
	int fd, in;

	CALL(side, mkdir("d", 0755));
	make_text(side, "d/f", "text");
	CALL(side, setxattr("d/f", "user.was", "b", 1, 0));
	make_file(side, "source", 1000000);
	in = CALL_FD(side, open("source", O_RDONLY));
	fd = CALL_FD(side, open("d/f", O_RDWR));
	CALL(side, set_flags("d/f", FS_IMMUTABLE_FL));
	show_flags(side, "d/f");
	try_to_change(side);
	CALL(side, copy_file_range(in, &(off_t){ 0 }, fd, &(off_t){ 0 }, 100, 0));
	CALL(side, copy_file_range(in, &(off_t){ 0 }, fd, &(off_t){ 0 }, 1000000, 0));
	CALL(side, close(fd));
	CALL(side, close(in));
	show(side, "d/f");
	CALL_FD(side, open("d/f", O_WRONLY | O_APPEND));
	CALL(side, set_flags("d/f", 0));
	CALL(side, set_flags("d", FS_IMMUTABLE_FL));
	CALL_FD(side, open("d/new", O_WRONLY | O_CREAT, 0644));
	CALL(side, mkdir("d/new", 0755));
	CALL(side, symlink("x", "d/new"));
	CALL(side, link("d/f", "d/new"));
	CALL(side, unlink("d/f"));
	CALL(side, chmod("d", 0700));
	CALL(side, rename("d", "e"));
	CALL(side, close(CALL_FD(side, open("d/f", O_WRONLY))));
	CALL(side, set_flags("d", 0));
	CALL(side, unlink("d/f"));
}

static void append_only(struct side *side)
{
	char *mapped;
	int fd, out;

	CALL(side, mkdir("d", 0755));
	make_text(side, "d/f", "text");
	CALL(side, setxattr("d/f", "user.was", "b", 1, 0));
	CALL(side, set_flags("d/f", FS_APPEND_FL));
	try_to_change(side);
	fd = CALL_FD(side, open("d/f", O_WRONLY | O_APPEND));
	CALL(side, write(fd, " more", 5));
	CALL(side, pwrite(fd, "TEXT", 4, 0));
	CALL(side, ftruncate(fd, 0));
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1));
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d/f", O_RDWR | O_APPEND));
	CALL(side, write(fd, " end", 4));
	CALL(side, pread(fd, (char[20]){ 0 }, 20, 0));
	CALL(side, close(fd));
	(void)usleep(200 * 1000); /* until nobody has it open since before, and that is known */
	fd = CALL_FD(side, open("d/f", O_RDWR | O_APPEND));
	/* With different errors. */
	CALL(side, mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CALL(side, mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	mapped = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CALL(side, mapped != MAP_FAILED && mapped[0] == 't');
	out = CALL_FD(side, open("copy", O_WRONLY | O_CREAT, 0644));
	CALL(side, sendfile(out, fd, &(off_t){ 0 }, 3));
	CALL(side, copy_file_range(fd, &(off_t){ 0 }, out, &(off_t){ 3 }, 5, 0));
	show(side, "copy");
	CALL(side, close(out));
	CALL(side, close(fd));
	fd = CALL_FD(side, open("d/f", O_RDONLY));
	CALL(side, mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	CALL(side, close(fd));
	CALL_FD(side, open("d/f", O_WRONLY | O_APPEND | O_TRUNC));
	show(side, "d/f");
	CALL(side, set_flags("d/f", 0));
	CALL(side, set_flags("d", FS_APPEND_FL));
	make_text(side, "d/new", "text");
	CALL(side, unlink("d/new"));
	CALL(side, rename("d/new", "d/newer"));
	CALL(side, rmdir("d"));
	CALL(side, set_flags("d", 0));
}

static void change_flags_as_user(struct side *side)
{
	CALL(side, set_flags("mine", FS_NODUMP_FL));
	CALL(side, set_flags("mine", FS_IMMUTABLE_FL));
	CALL(side, set_flags("mine", FS_APPEND_FL));
	show_flags(side, "mine");
	CALL(side, set_flags("others", FS_NODUMP_FL));
	CALL(side, set_flags("fixed", FS_IMMUTABLE_FL));
	CALL(side, set_flags("fixed", 0));
	show_flags(side, "others");
}

static void flags_as_user(struct side *side)
{
	make_text(side, "mine", "text");
	CALL(side, chown("mine", USER_UID, USER_GID));
	make_text(side, "others", "text");
	make_text(side, "fixed", "text");
	CALL(side, chown("fixed", USER_UID, USER_GID));
	CALL(side, set_flags("fixed", FS_IMMUTABLE_FL));
	as_user(side, USER_UID, USER_GID, NO_GROUP, change_flags_as_user);
	CALL(side, set_flags("fixed", 0));
}

/* The directory's answers say what the kernel knows by itself, too. */
static void other_ioctls(struct side *side)
{
	static const unsigned long unknown[] = { 0x5401 /* TCGETS */, 0x1234, _IOR('q', 17, int),
						 _IOW('f', 99, long), _IOWR('A', 3, char[64]) };
	char argument[4096] = "";
	int number = -1;
	int fd, dir;

	make_text(side, "f", "some text");
	CALL(side, mkdir("d", 0755));
	fd = CALL_FD(side, open("f", O_RDWR));
	dir = CALL_FD(side, open("d", O_RDONLY));
	CALL(side, lseek(fd, 3, SEEK_SET));
	CALL(side, ioctl(fd, FIONREAD, &number));
	say(side, "left %d", number);
	CALL(side, ioctl(fd, FIGETBSZ, &number));
	say(side, "block %d", number);
	CALL(side, ioctl(fd, FIOCLEX));
	CALL(side, ioctl(fd, FIONBIO, &(int){ 1 }));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		CALL(side, ioctl(fd, unknown[i], argument));
		CALL(side, ioctl(dir, unknown[i], argument));
	}
	CALL(side, ioctl(fd, FS_IOC_GETVERSION, argument) == 0);
	memset(argument, 0x77, sizeof(argument));
	number = (int)CALL(side, ioctl(fd, FS_IOC_GETVERSION, argument));
	say(side, "only an int is written: %d", number < 0 || argument[sizeof(int)] == 0x77);
	CALL(side, close(dir));
	CALL(side, close(fd));
}

#define STATUS_SEEN (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_SYNC | O_DSYNC)

static void status_flags(struct side *side)
{
	static const int set[] = { 0,	      O_APPEND,		 O_NONBLOCK,
				   O_NOATIME, O_DIRECT,		 O_APPEND | O_NONBLOCK,
				   O_SYNC,    O_TRUNC | O_CREAT, O_NOATIME,
				   0 };
	int fd, again;

	make_file(side, "f", 20000);
	fd = CALL_FD(side, open("f", O_RDWR));
	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		CALL(side, fcntl(fd, F_SETFL, set[i]));
		say(side, "flags %o", (unsigned)fcntl(fd, F_GETFL) & STATUS_SEEN);
	}
	again = CALL_FD(side, fcntl(fd, F_DUPFD_CLOEXEC, 100));
	CALL(side, fcntl(again, F_GETFD));
	CALL(side, fcntl(fd, F_SETFL, O_APPEND));
	say(side, "flags %o", (unsigned)fcntl(again, F_GETFL) & STATUS_SEEN);
	CALL(side, write(again, "end", 3));
	CALL(side, lseek(fd, 0, SEEK_CUR));
	CALL(side, fcntl(fd, F_SETFL, 0));
	CALL(side, pwrite(again, "beginning", 9, 0));
	CALL(side, close(again));
	CALL(side, close(fd));
	show(side, "f");
	CALL(side, fcntl(fd, F_GETFL));
}

static void leases_and_hints(struct side *side)
{
	uint64_t hint = RWH_WRITE_LIFE_SHORT;
	int fd, reader;

	make_text(side, "f", "text");
	reader = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, fcntl(reader, F_GETLEASE));
	(void)signal(SIGIO, SIG_IGN);
	CALL(side, fcntl(reader, F_SETLEASE, F_RDLCK));
	CALL(side, fcntl(reader, F_GETLEASE));
	CALL_FD(side, open("f", O_WRONLY | O_NONBLOCK));
	CALL(side, fcntl(reader, F_SETLEASE, F_UNLCK));
	CALL(side, fcntl(reader, F_SETLEASE, F_WRLCK));
	CALL(side, fcntl(reader, F_GETLEASE));
	CALL(side, close(reader));
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, fcntl(fd, F_SETLEASE, F_RDLCK));
	CALL(side, fcntl(fd, F_SET_RW_HINT, &hint));
	hint = 99;
	CALL(side, fcntl(fd, F_GET_RW_HINT, &hint));
	say(side, "hint %d", (int)hint);
	CALL(side, fcntl(fd, F_GETPIPE_SZ));
	CALL(side, fcntl(fd, F_GETOWN));
	CALL(side, fcntl(fd, 12345));
	CALL(side, close(fd));
}

static bool read_moves_atime(const char *path, int flags)
{
	const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
	struct moments before;
	char byte;
	int fd;

	if (utimensat(AT_FDCWD, path, times, 0) < 0)
		return false;
	before = moments_of(path);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0 || read(fd, &byte, 1) != 1)
		return false;
	(void)close(fd);
	return moments_of(path).atime.tv_sec != before.atime.tv_sec;
}

static void access_times(struct side *side)
{
	struct moments before;
	char *mapped;
	int fd;

	if (side->old_attributes)
		return; /* reading does not make the kernel ask again */
	make_text(side, "f", "text");
	CALL(side, read_moves_atime("f", O_RDONLY));
	CALL(side, read_moves_atime("f", O_RDWR));
	CALL(side, read_moves_atime("f", O_RDONLY | O_NOATIME));
	CALL(side, read_moves_atime("f", O_RDWR | O_NOATIME));
	CALL(side, set_flags("f", FS_NOATIME_FL));
	CALL(side, read_moves_atime("f", O_RDONLY));
	CALL(side, set_flags("f", 0));
	let_time_pass(); /* after the change time, which counts, too */
	/* A second read within a day moves nothing (relatime). */
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, read(fd, (char[2]){ 0 }, 2));
	before = moments_of("f");
	let_time_pass();
	CALL(side, read(fd, (char[2]){ 0 }, 2));
	show_moved(side, "f", &before);
	CALL(side, close(fd));
	CALL(side,
	     utimensat(AT_FDCWD, "f", (struct timespec[2]){ { .tv_sec = 1 }, { .tv_sec = 2 } }, 0));
	before = moments_of("f");
	fd = CALL_FD(side, open("f", O_RDONLY));
	mapped = mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0);
	say(side, "mapped %d", mapped != MAP_FAILED && mapped[0] == 't');
	show_moved(side, "f", &before);
	CALL(side, close(fd));
}

const struct call_group groups_flags[] = {
	{ "flags_files", flags_of_files },
	{ "flags_immutable", immutable },
	{ "flags_append_only", append_only },
	{ "flags_as_user", flags_as_user },
	{ "flags_ioctls", other_ioctls },
	{ "flags_status", status_flags },
	{ "flags_leases", leases_and_hints },
	{ "flags_access_times", access_times },
	{ NULL, NULL },
};
