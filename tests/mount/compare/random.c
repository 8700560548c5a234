/* SPDX-License-Identifier: MIT */
/*
 * random.c - long sequences of calls, the same on both sides: on the content of one file (what fsx does),
 * also while somebody changes the file behind the mount, and on names (what fsstress does). A difference
 * shows in the result of a call soon after. Some sequences are the same each time, one has a new seed.
 */
#include "compare.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

#define SIZE_MAX_TEST (256 * 1024)
#define CONTENT_STEPS 1500
#define NAME_STEPS 3000
#define OPENS 4

struct random {
	uint64_t state;
};

/* Anything below @bound; the same sequence on both sides (xorshift). */
static uint64_t next(struct random *random, uint64_t bound)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return (random->state >> 11) % bound;
}

static uint64_t sum_of(const char *bytes, size_t n)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

/* The file's opens: for reading and writing, to append, for direct I/O, and one more. */
struct content {
	struct side *side;
	struct random random;
	int fds[OPENS];
	int behind;   /* the same file without the mount, or -1 */
	char *buffer; /* SIZE_MAX_TEST, aligned */
};

static void say_step(struct content *content, const char *what, uint64_t a, uint64_t b, long result)
{
	int error = errno;
	struct stat st = { 0 };

	(void)stat("f", &st); /* shows as size 0 */
	say(content->side, "%s %llu %llu = %ld %s, size %lld", what, (unsigned long long)a,
	    (unsigned long long)b, result, result < 0 ? strerrorname_np(error) : "",
	    (long long)st.st_size);
}

static void fill_buffer(struct content *content, size_t n)
{
	unsigned char byte = (unsigned char)next(&content->random, 255);

	for (size_t i = 0; i < n; i++)
		content->buffer[i] = (char)(byte + i / 7);
}

/* Stores into or loads from a mapping of whole pages below the file's end. */
static void map_step(struct content *content, int fd, uint64_t offset, size_t length, bool stores)
{
	struct stat st;
	char *mapped;

	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size <= offset)
		return;
	if (length > (uint64_t)st.st_size - offset)
		length = (size_t)((uint64_t)st.st_size - offset);
	mapped = mmap(NULL, offset + length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		say_step(content, "mmap", offset, length, -1);
		return;
	}
	if (stores)
		memcpy(mapped + offset, content->buffer, length);
	say(content->side, "mapped %llu %zu: %llx", (unsigned long long)offset, length,
	    (unsigned long long)sum_of(mapped + offset, length));
	if (next(&content->random, 3) == 0)
		(void)msync(mapped, offset + length, MS_SYNC); /* shows in what is read */
	if (munmap(mapped, offset + length) < 0)
		abort();
}

/* copy_file_range(2) may do less than it was asked for, as the mount does when that takes long. */
static long copy_whole(int in, off_t from, int out, off_t to, size_t length)
{
	ssize_t n = copy_file_range(in, &from, out, &to, length, 0);
	ssize_t more = n;
	ssize_t sum = n;

	while (more > 0 && (size_t)sum < length) {
		more = copy_file_range(in, &from, out, &to, length - (size_t)sum, 0);
		sum += more > 0 ? more : 0;
	}
	return sum;
}

/*
 * Between its own flush and its look at the blocks, XFS may find some again that wait for a place on the disk. It
 * answers EIO then, and says "Direct I/O collision with buffered writes" in the kernel's log. Nothing is lost, and the
 * file system itself does it, so it is asked again there.
 */
#define COLLISIONS_MAX 20

static bool has_collided(struct content *content, ssize_t n, unsigned *collisions)
{
	const char *fs = getenv("FSTYPE");

	if (n >= 0 || errno != EIO || !fs || strcmp(fs, "xfs") != 0 ||
	    ++*collisions > COLLISIONS_MAX)
		return false;
	return fsync(content->fds[2]) == 0;
}

static ssize_t direct(struct content *content, bool writes, size_t length, off_t offset)
{
	int fd = content->fds[2];
	unsigned collisions = 0;
	ssize_t n;

	do
		n = writes ? pwrite(fd, content->buffer, length, offset) :
			     pread(fd, content->buffer, length, offset);
	while (has_collided(content, n, &collisions));
	return n;
}

static void content_step(struct content *content)
{
	struct random *random = &content->random;
	uint64_t offset = next(random, SIZE_MAX_TEST);
	size_t length = 1 + (size_t)next(random, next(random, 4) ? 20000 : 100000);
	uint64_t to = next(random, SIZE_MAX_TEST);
	unsigned what = (unsigned)next(random, 18);
	int fd = content->fds[next(random, 2) ? 0 : 3];
	off_t from = (off_t)offset, there = (off_t)to;
	long n;

	errno = 0;
	switch (what) {
	case 0:
	case 1:
	case 2:
		fill_buffer(content, length);
		say_step(content, "pwrite", offset, length,
			 pwrite(fd, content->buffer, length, from));
		break;
	case 3:
	case 4:
	case 5:
		n = pread(fd, content->buffer, length, from);
		say_step(content, "pread", offset, n > 0 ? sum_of(content->buffer, (size_t)n) : 0,
			 n);
		break;
	case 6:
		say_step(content, "ftruncate", offset, 0, ftruncate(fd, from));
		break;
	case 7:
		say_step(content, "punch", offset, length,
			 fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
				   (off_t)length));
		break;
	case 8:
		say_step(content, "fallocate", offset, length,
			 fallocate(fd, length % 2 ? FALLOC_FL_KEEP_SIZE : 0, from, (off_t)length));
		break;
	case 9:
		fill_buffer(content, length);
		map_step(content, fd, offset, length, true);
		break;
	case 10:
		map_step(content, fd, offset, length, false);
		break;
	case 11:
		/* Not onto itself: the answer to overlapping ranges is EINVAL, to 0 bytes 0. */
		say_step(content, "copy", offset, to,
			 copy_whole(fd, from, content->fds[0], there, length));
		break;
	case 12:
		offset &= ~UINT64_C(4095);
		length = (length + 4095) & ~(size_t)4095;
		fill_buffer(content, length);
		say_step(content, "direct write", offset, length,
			 direct(content, true, length, (off_t)offset));
		break;
	case 13:
		offset &= ~UINT64_C(4095);
		length = (length + 4095) & ~(size_t)4095;
		n = direct(content, false, length, (off_t)offset);
		say_step(content, "direct read", offset,
			 n > 0 ? sum_of(content->buffer, (size_t)n) : 0, n);
		break;
	case 14:
		length = length % 100;
		fill_buffer(content, length);
		say_step(content, "append", length, 0,
			 write(content->fds[1], content->buffer, length));
		break;
	case 15:
		say_step(content, "zero", offset, length,
			 fallocate(fd,
				   FALLOC_FL_ZERO_RANGE | (length % 2 ? FALLOC_FL_KEEP_SIZE : 0),
				   from, (off_t)length));
		break;
	case 16:
		/* Both move by what was sent. Where the two meet it depends on the pages what is sent. */
		if (length > (size_t)llabs((long long)(from - there)))
			length = (size_t)llabs((long long)(from - there));
		CALL(content->side, lseek(fd, there, SEEK_SET));
		say_step(content, "sendfile", offset, to,
			 sendfile(fd, content->fds[0], &from, length));
		break;
	default:
		(void)close(content->fds[3]);
		content->fds[3] = open("f", O_RDWR | O_CLOEXEC);
		say_step(content, "reopen", 0, 0,
			 content->fds[3] < 0 ? -1 : fsync(content->fds[3]));
	}
}

/* By somebody who uses the backing directory. Also what the kernel's FUSE refuses. */
static void behind_step(struct content *content)
{
	struct random *random = &content->random;
	uint64_t offset = next(random, SIZE_MAX_TEST);
	size_t length = 1 + (size_t)next(random, 20000);
	off_t from = (off_t)offset, block = from & ~(off_t)4095,
	      blocks = (off_t)(length | 4095) + 1;
	int fd = content->behind;
	struct stat st = { 0 };
	long n;

	(void)fstat(fd, &st); /* shows as size 0 */
	errno = 0;
	switch (next(random, 8)) {
	case 0:
	case 1:
		fill_buffer(content, length);
		say_step(content, "behind: pwrite", offset, length,
			 pwrite(fd, content->buffer, length, from));
		break;
	case 2:
		n = pread(fd, content->buffer, length, from);
		say_step(content, "behind: pread", offset,
			 n > 0 ? sum_of(content->buffer, (size_t)n) : 0, n);
		break;
	case 3:
		say_step(content, "behind: ftruncate", offset, 0, ftruncate(fd, from));
		break;
	case 4:
		say_step(content, "behind: punch", offset, length,
			 fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
				   (off_t)length));
		break;
	case 5:
		say_step(content, "behind: collapse", (uint64_t)block, (uint64_t)blocks,
			 fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, block, blocks));
		break;
	case 6:
		if (st.st_size < SIZE_MAX_TEST) /* or it grows and grows */
			say_step(content, "behind: insert", (uint64_t)block, (uint64_t)blocks,
				 fallocate(fd, FALLOC_FL_INSERT_RANGE, block, blocks));
		break;
	default:
		say_step(content, "behind: fsync", 0, 0, fsync(fd));
	}
}

static void content_with(struct side *side, uint64_t seed, bool behind)
{
	struct content content = { .side = side, .random = { .state = seed | 1 }, .behind = -1 };
	char path[PATH_MAX];

	if (posix_memalign((void **)&content.buffer, 4096, SIZE_MAX_TEST) != 0)
		abort();
	content.fds[0] = CALL_FD(side, open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	content.fds[1] = CALL_FD(side, open("f", O_WRONLY | O_APPEND));
	content.fds[2] = CALL_FD(side, open("f", O_RDWR | O_DIRECT));
	content.fds[3] = CALL_FD(side, open("f", O_RDWR));
	if (behind) {
		(void)snprintf(path, sizeof(path), "%s/f", side->behind); /* or open fails */
		content.behind = CALL_FD(side, open(path, O_RDWR | O_CLOEXEC));
	}
	for (int i = 0; i < CONTENT_STEPS; i++) {
		content_step(&content);
		if (behind)
			behind_step(&content);
	}
	if (behind)
		CALL(side, close(content.behind));
	for (int i = 0; i < OPENS; i++)
		CALL(side, close(content.fds[i]));
	free(content.buffer);
	show(side, "f");
}

static void content(struct side *side)
{
	content_with(side, 1, false);
	content_with(side, side->seed, false);
}

static void content_behind(struct side *side)
{
	/* Without it, the kernel has pages of its own. The size is asked for as long as the file is open. */
	if (!side->passthrough)
		return;
	content_with(side, 3, true);
	content_with(side, side->seed, true);
}

/* One of few names in few directories, so that they meet. */
static const char *name_of(struct random *random, char name[64])
{
	static const char *const directories[] = { "", "a/", "b/", "a/c/", "a/c/d/" };

	(void)snprintf(name, 64, "%s%c", directories[next(random, 5)],
		       (char)('a' + (int)next(random, 8)));
	return name;
}

static long open_and_use(struct random *random, const char *name)
{
	static const int flags[] = { O_RDONLY,
				     O_RDWR | O_CREAT,
				     O_WRONLY | O_CREAT | O_EXCL,
				     O_RDWR | O_CREAT | O_TRUNC,
				     O_WRONLY | O_APPEND,
				     O_RDONLY | O_DIRECTORY };
	int fd = open(name, flags[next(random, 6)] | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	size_t length = (size_t)next(random, 3000);
	char bytes[3000];
	long r;

	if (fd < 0)
		return -1;
	memset(bytes, (int)(length % 256), sizeof(bytes));
	r = write(fd, bytes, length);
	if (r < 0)
		r = read(fd, bytes, sizeof(bytes));
	if (next(random, 4) == 0)
		(void)unlink(name); /* while it is open */
	if (r > 0 && next(random, 4) == 0)
		r += ftruncate(fd, (off_t)next(random, 5000)) + fchmod(fd, 0600);
	(void)close(fd); /* r and errno are the answer */
	return r;
}

static long name_call(struct random *random, const char *name, const char *other)
{
	struct stat st;

	switch (next(random, 16)) {
	case 0:
		return mkdir(name, 0755);
	case 1:
		return rmdir(name);
	case 2:
	case 3:
		return unlink(name);
	case 4:
		return link(name, other);
	case 5:
		return symlink(other, name);
	case 6:
	case 7:
		return rename(name, other);
	case 8:
		return renameat2(AT_FDCWD, name, AT_FDCWD, other, RENAME_EXCHANGE);
	case 9:
		return renameat2(AT_FDCWD, name, AT_FDCWD, other, RENAME_NOREPLACE);
	case 10:
		return mknod(name, S_IFIFO | 0644, 0);
	case 11:
		return lsetxattr(name, "trusted.x", other, strlen(other), 0);
	case 12:
		return lstat(name, &st) < 0 ? -1 :
					      (long)(st.st_mode ^ st.st_nlink * 1000000 ^
						     (S_ISREG(st.st_mode) ? st.st_size << 32 : 0));
	default:
		return open_and_use(random, name);
	}
}

static void names_with(struct side *side, uint64_t seed)
{
	struct random random = { .state = seed | 1 };

	for (int i = 0; i < NAME_STEPS; i++) {
		char name[64], other[64];
		uint64_t before = random.state;
		long r;

		(void)name_of(&random, name);
		(void)name_of(&random, other);
		errno = 0;
		r = name_call(&random, name, other);
		say(side, "%d (%llx): %s %s = %ld %s", i, (unsigned long long)before, name, other,
		    r, r < 0 ? strerrorname_np(errno) : "");
	}
}

static void names(struct side *side)
{
	names_with(side, 42);
	names_with(side, side->seed);
}

const struct call_group groups_random[] = {
	{ "random_content", content },
	{ "random_content_behind", content_behind },
	{ "random_names", names },
	{ NULL, NULL },
};
