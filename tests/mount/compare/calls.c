/* SPDX-License-Identifier: MIT */
/*
 * calls.c - less common calls on open files: handles, notification, pipes, vectors with flags, openat2,
 * hints, and what others see of stores into shared mappings.
 */
#include "compare.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

union handle {
	struct file_handle header;
	char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static long handle_of(const char *path, union handle *handle, int flags)
{
	int mount_id;

	handle->header.handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(AT_FDCWD, path, &handle->header, &mount_id, flags);
}

static bool is_same_file(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static void handles(struct side *side)
{
	union handle file, dir, link, small = { .header.handle_bytes = 0 };
	int root, fd, held;

	make_text(side, "f", "text");
	CALL(side, mkdir("d", 0755));
	CALL(side, symlink("f", "l"));
	CALL(side, handle_of("f", &file, 0));
	CALL(side, handle_of("d", &dir, 0));
	CALL(side, handle_of("l", &link, 0));
	CALL(side, handle_of("none", &link, 0));
	CALL(side, handle_of("l", &link, AT_SYMLINK_FOLLOW));
	CALL(side, name_to_handle_at(AT_FDCWD, "f", &small.header, &(int){ 0 }, 0));
	CALL(side, name_to_handle_at(AT_FDCWD, "f", &file.header, &(int){ 0 }, 0x12345));
	CALL(side, handle_of("f", &file, 0));
	root = CALL_FD(side, open(".", O_RDONLY | O_DIRECTORY));
	fd = CALL_FD(side, open_by_handle_at(root, &file.header, O_RDWR));
	say(side, "the same file %d", is_same_file(fd, "f"));
	CALL(side, write(fd, "TEXT", 4));
	CALL(side, close(fd));
	fd = CALL_FD(side, open_by_handle_at(root, &dir.header, O_RDONLY | O_DIRECTORY));
	say(side, "the same directory %d", is_same_file(fd, "d"));
	CALL(side, close(fd));
	CALL(side, rename("f", "d/g"));
	fd = CALL_FD(side, open_by_handle_at(root, &file.header, O_RDONLY));
	say(side, "the same file %d", is_same_file(fd, "d/g"));
	held = fd;
	CALL(side, unlink("d/g"));
	fd = CALL_FD(side, open_by_handle_at(root, &file.header, O_RDONLY));
	CALL(side, close(fd));
	CALL(side, close(held));
	for (int i = 0; i < 50; i++)
		make_text(side, "d/another", "somebody else's");
	CALL_FD(side, open_by_handle_at(root, &file.header, O_RDONLY));
	CALL(side, rmdir("d/none"));
	memset(file.header.f_handle, 0x55, file.header.handle_bytes);
	CALL_FD(side, open_by_handle_at(root, &file.header, O_RDONLY));
	CALL_FD(side, open_by_handle_at(-5, &dir.header, O_RDONLY));
	CALL(side, close(root));
}

static void say_events(struct side *side, int fd)
{
	char buffer[8192] __attribute__((aligned(8)));
	ssize_t n = read(fd, buffer, sizeof(buffer));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (void *)(buffer + at);

		say(side, "  event %x %s%s", event->mask, event->len ? event->name : "",
		    event->cookie ? " with a cookie" : "");
		at += (ssize_t)sizeof(*event) + event->len;
	}
}

static void notification(struct side *side)
{
	int fd = CALL_FD(side, inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	int file;

	CALL(side, mkdir("d", 0755));
	make_text(side, "f", "text");
	CALL(side, inotify_add_watch(fd, "d", IN_ALL_EVENTS));
	CALL(side, inotify_add_watch(fd, "f", IN_ALL_EVENTS));
	make_text(side, "d/new", "text");
	say_events(side, fd);
	CALL(side, rename("d/new", "d/newer"));
	CALL(side, chmod("d/newer", 0600));
	CALL(side, link("d/newer", "d/linked"));
	CALL(side, symlink("x", "d/symbolic"));
	CALL(side, mkdir("d/e", 0755));
	say_events(side, fd);
	file = CALL_FD(side, open("f", O_RDWR));
	CALL(side, read(file, (char[2]){ 0 }, 2));
	CALL(side, write(file, "XY", 2));
	CALL(side, ftruncate(file, 100));
	CALL(side, fallocate(file, 0, 0, 5000));
	CALL(side, futimens(file, NULL));
	CALL(side, close(file));
	say_events(side, fd);
	CALL(side, unlink("d/linked"));
	CALL(side, rename("d/newer", "gone"));
	CALL(side, rename("gone", "d/back"));
	CALL(side, rmdir("d/e"));
	CALL(side, unlink("f"));
	say_events(side, fd);
	CALL(side, rename("d", "moved"));
	CALL(side, system("rm -r moved"));
	say_events(side, fd);
	CALL(side, close(fd));
}

static void pipes(struct side *side)
{
	int ends[2], other[2];
	loff_t offset = 100;
	int in, out;

	make_file(side, "in", 100000);
	in = CALL_FD(side, open("in", O_RDONLY));
	out = CALL_FD(side, open("out", O_RDWR | O_CREAT, 0644));
	CALL(side, pipe(ends));
	CALL(side, pipe(other));
	CALL(side, splice(in, &offset, ends[1], NULL, 5000, 0));
	say(side, "offset %lld", (long long)offset);
	CALL(side, tee(ends[0], other[1], 5000, 0));
	CALL(side, splice(ends[0], NULL, out, NULL, 5000, SPLICE_F_MOVE));
	offset = 20000;
	CALL(side, splice(other[0], NULL, out, &offset, 5000, 0));
	CALL(side, splice(in, NULL, ends[1], NULL, 4096, 0));
	CALL(side, splice(ends[0], NULL, out, NULL, 4096, 0));
	CALL(side, lseek(in, 0, SEEK_CUR));
	CALL(side, lseek(out, 0, SEEK_CUR));
	CALL(side, vmsplice(ends[1], &(struct iovec){ (char[]){ "from memory" }, 11 }, 1, 0));
	CALL(side, splice(ends[0], NULL, out, NULL, 11, 0));
	CALL(side, sendfile(out, in, NULL, 3000));
	offset = 50000;
	CALL(side, sendfile(out, in, &offset, 100000));
	say(side, "offset %lld", (long long)offset);
	CALL(side, splice(in, NULL, out, NULL, 10, 0));
	CALL(side, fcntl(out, F_SETFL, O_APPEND));
	CALL(side, write(ends[1], "x", 1));
	CALL(side, splice(ends[0], NULL, out, NULL, 1, 0));
	CALL(side, sendfile(out, in, &(off_t){ 0 }, 10));
	CALL(side, close(in));
	CALL(side, close(out));
	show(side, "out");
}

static long with_flags(int fd, bool writes, off_t offset, int flags)
{
	char bytes[3000];
	struct iovec vector[2] = { { bytes, 1000 }, { bytes + 1000, 2000 } };

	memset(bytes, 'v', sizeof(bytes));
	return writes ? pwritev2(fd, vector, 2, offset, flags) :
			preadv2(fd, vector, 2, offset, flags);
}

static void vectors(struct side *side)
{
	int fd, append;

	make_file(side, "f", 10000);
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, with_flags(fd, false, 0, 0));
	CALL(side, with_flags(fd, false, 8000, 0));
	CALL(side, with_flags(fd, false, -1, 0));
	CALL(side, lseek(fd, 0, SEEK_CUR));
	CALL(side, with_flags(fd, false, 0, RWF_HIPRI));
	CALL(side, with_flags(fd, false, -2, 0));
	CALL(side, with_flags(fd, false, 0, 1 << 30));
	CALL(side, with_flags(fd, true, 500, RWF_DSYNC));
	CALL(side, with_flags(fd, true, 600, RWF_SYNC));
	CALL(side, with_flags(fd, true, 0, RWF_APPEND));
	CALL(side, with_flags(fd, true, -1, RWF_APPEND));
	CALL(side, lseek(fd, 0, SEEK_CUR));
	append = CALL_FD(side, open("f", O_WRONLY | O_APPEND));
	CALL(side, with_flags(append, true, 0, 0));
	CALL(side, close(append));
	CALL(side, readv(fd, NULL, 0));
	CALL(side, readv(fd, (struct iovec[]){ { NULL, 10 } }, 1));
	CALL(side, readv(fd, (struct iovec[]){ { (char[4]){ 0 }, (size_t)-1 } }, 1));
	CALL(side, syscall(SYS_writev, fd, (struct iovec[]){ { (char[]){ "x" }, 1 } }, 2000));
	CALL(side, syscall(SYS_pread64, fd, 1, 10, 0));
	CALL(side, syscall(SYS_pwrite64, fd, 1, 10, 0));
	CALL(side, close(fd));
	show(side, "f");
}

static long open2(int fd, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .resolve = resolve };
	long r = syscall(SYS_openat2, fd, path, &how, sizeof(how));

	if (r >= 0) {
		(void)close((int)r);
		r = 0;
	}
	return r;
}

static void resolving(struct side *side)
{
	int dir;

	CALL(side, mkdir("d", 0755));
	CALL(side, mkdir("d/e", 0755));
	make_text(side, "d/e/f", "text");
	make_text(side, "out", "text");
	CALL(side, symlink("e/f", "d/in"));
	CALL(side, symlink("../out", "d/up"));
	CALL(side, symlink("/e/f", "d/absolute"));
	dir = CALL_FD(side, open("d", O_PATH | O_DIRECTORY));
	CALL(side, open2(dir, "e/f", O_RDONLY, RESOLVE_BENEATH));
	CALL(side, open2(dir, "in", O_RDONLY, RESOLVE_BENEATH));
	CALL(side, open2(dir, "up", O_RDONLY, RESOLVE_BENEATH));
	CALL(side, open2(dir, "e/../e/f", O_RDONLY, RESOLVE_BENEATH));
	CALL(side, open2(dir, "absolute", O_RDONLY, RESOLVE_IN_ROOT));
	CALL(side, open2(dir, "../../../e/f", O_RDONLY, RESOLVE_IN_ROOT));
	CALL(side, open2(dir, "in", O_RDONLY, RESOLVE_NO_SYMLINKS));
	CALL(side, open2(dir, "e/f", O_RDONLY, RESOLVE_NO_XDEV));
	CALL(side, open2(dir, "e/f", O_RDWR | O_TRUNC | (1ULL << 40), 0));
	CALL(side, open2(dir, "e/f", O_RDWR, 1 << 20));
	CALL(side, open2(dir, "e", O_RDONLY | O_CREAT | O_DIRECTORY, 0));
	CALL(side, close(dir));
}

static void hints(struct side *side)
{
	unsigned char pages[4] = { 0 };
	char *mapped;
	int fd;

	make_file(side, "f", 100000);
	fd = CALL_FD(side, open("f", O_RDWR));
	CALL(side, readahead(fd, 0, 100000));
	CALL(side, posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	CALL(side, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	CALL(side, posix_fadvise(fd, 0, 0, 99));
	CALL(side,
	     sync_file_range(fd, 0, 100000, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	CALL(side, sync_file_range(fd, -1, 100000, SYNC_FILE_RANGE_WRITE));
	CALL(side, sync_file_range(fd, 0, 100000, 77));
	CALL(side, syncfs(fd));
	CALL(side, flock(fd, 99));
	mapped = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	say(side, "mapped %d", mapped != MAP_FAILED);
	CALL(side, mincore(mapped, 4 * 4096, pages));
	CALL(side, madvise(mapped, 100000, MADV_WILLNEED));
	CALL(side, madvise(mapped, 100000, MADV_DONTNEED));
	CALL(side, madvise(mapped, 8192, MADV_REMOVE));
	say(side, "byte %d %d", mapped[0], (unsigned char)mapped[9000] == pattern(9000));
	CALL(side, msync(mapped, 100000, MS_ASYNC));
	CALL(side, msync(mapped, 100000, MS_SYNC | MS_INVALIDATE));
	CALL(side, mlock(mapped, 4096));
	CALL(side, munlock(mapped, 4096));
	CALL(side, munmap(mapped, 100000));
	CALL(side,
	     mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0) != MAP_FAILED);
	CALL(side,
	     mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0) == MAP_FAILED);
	CALL(side, mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0) ==
			   MAP_FAILED);
	CALL(side, close(fd));
	fd = CALL_FD(side, open("f", O_RDONLY));
	CALL(side, mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	CALL(side, sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	CALL(side, close(fd));
	show(side, "f");
}

static void store(struct side *side, char *mapped, const char *path)
{
	struct moments before = moments_of(path);

	let_time_pass();
	mapped[5000]++;
	CALL(side, msync(mapped, 10000, MS_SYNC));
	show_moved(side, path, &before);
}

/* stat(2) right after it shows that somebody stored into a mapping. */
static void stores_show(struct side *side)
{
	struct moments before;
	char *mapped;
	int fd;

	/* Without it the kernel writes mappings back when it likes to. */
	if (!side->passthrough)
		return;
	make_file(side, "f", 10000);
	before = moments_of("f");
	let_time_pass();
	fd = CALL_FD(side, open("f", O_RDWR));
	mapped = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say(side, "mapped %d", mapped != MAP_FAILED);
	if (mapped == MAP_FAILED)
		return;
	mapped[0]++;
	CALL(side, msync(mapped, 10000, MS_SYNC));
	show_moved(side, "f", &before);
	store(side, mapped, "f");
	store(side, mapped, "f");
	before = moments_of("f");
	let_time_pass();
	mapped[9000]++;
	CALL(side, munmap(mapped, 10000));
	CALL(side, close(fd));
	show_moved(side, "f", &before);
	fd = CALL_FD(side, open("new", O_RDWR | O_CREAT | O_EXCL, 0644));
	CALL(side, ftruncate(fd, 10000));
	mapped = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say(side, "mapped %d", mapped != MAP_FAILED);
	if (mapped == MAP_FAILED)
		return;
	store(side, mapped, "new");
	CALL(side, munmap(mapped, 10000));
	CALL(side, close(fd));
	show(side, "new");
}

/* A directory's position, and small buffers. */
static void directory_positions(struct side *side)
{
	char buffer[512];
	int fd, n = 0;
	long r;

	CALL(side, mkdir("d", 0755));
	for (int i = 0; i < 100; i++) {
		(void)snprintf(buffer, sizeof(buffer), "d/entry %d", i);
		make_text(side, buffer, "");
	}
	fd = CALL_FD(side, open("d", O_RDONLY | O_DIRECTORY));
	CALL(side, syscall(SYS_getdents64, fd, buffer, 8));
	CALL(side, syscall(SYS_getdents64, fd, (char *)1, 512) < 0);
	CALL(side, lseek(fd, 0, SEEK_SET));
	CALL(side, lseek(fd, -1, SEEK_SET));
	while ((r = syscall(SYS_getdents64, fd, buffer, 64)) > 0)
		for (long at = 0; at < r; n++)
			at += ((struct dirent64 *)(void *)(buffer + at))->d_reclen;
	say(side, "%d entries, then %ld", n, r);
	CALL(side, lseek(fd, 0, SEEK_SET));
	CALL(side, syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
	CALL(side, write(fd, "x", 1));
	CALL(side, pread(fd, buffer, 1, 0));
	CALL(side, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	CALL(side, fallocate(fd, 0, 0, 10));
	CALL(side, posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL));
	CALL(side, readahead(fd, 0, 10));
	CALL(side, close(fd));
}

const struct call_group groups_calls[] = {
	{ "calls_handles", handles },
	{ "calls_notification", notification },
	{ "calls_pipes", pipes },
	{ "calls_vectors", vectors },
	{ "calls_resolving", resolving },
	{ "calls_hints", hints },
	{ "calls_stores_show", stores_show },
	{ "calls_directory_positions", directory_positions },
	{ NULL, NULL },
};
