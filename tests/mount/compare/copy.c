/* SPDX-License-Identifier: MIT */
/*
 * copy.c - copy_file_range(2).
 *
 * The mount may answer with less than asked for, so what counts is the whole of a copy, made of as many
 * calls as it takes.
 */
#include "compare.h"

#include <sys/ioctl.h>

#define SIZE (3 << 20)

/* Returns what was copied before the end of file or an error, or the error of the first call. */
static long copy(int in, off_t in_offset, int out, off_t out_offset, size_t length)
{
	long copied = 0;

	while (length > 0) {
		ssize_t n = copy_file_range(in, &in_offset, out, &out_offset, length, 0);

		if (n < 0 && copied == 0)
			return -1;
		if (n <= 0)
			break;
		copied += n;
		length -= (size_t)n;
	}
	return copied;
}

struct files {
	int in, out;
};

static struct files open_files(struct side *side)
{
	struct files files;

	make_file(side, "in", SIZE);
	files.in = CALL_FD(side, open("in", O_RDONLY));
	files.out = CALL_FD(side, open("out", O_RDWR | O_CREAT, 0644));
	return files;
}

static void close_files(struct side *side, const struct files *files)
{
	CALL(side, close(files->in));
	CALL(side, close(files->out));
}

static void ranges(struct side *side)
{
	struct files files = open_files(side);

	CALL(side, copy(files.in, 0, files.out, 0, SIZE));
	show(side, "out");
	CALL(side, copy(files.in, 12345, files.out, 777777, 1000003));
	show(side, "out");
	CALL(side, copy(files.in, 0, files.out, 100, 1));
	CALL(side, copy(files.in, 4096, files.out, 8192, 4096));
	CALL(side, copy(files.in, SIZE - 100, files.out, 0, 1000)); /* to the end of file */
	CALL(side, copy(files.in, SIZE, files.out, 0, 1000));
	CALL(side, copy(files.in, SIZE + 5000, files.out, 0, 1000));
	CALL(side, copy(files.in, 0, files.out, SIZE - 10, 100000)); /* grows */
	CALL(side, copy(files.in, 0, files.out, 0, 0));
	CALL(side, copy(files.in, 0, files.out, 0, (size_t)1 << 62));
	show(side, "out");
	CALL(side, copy(files.in, 1000, files.out, 20 << 20, 5000)); /* a hole before it */
	show(side, "out");
	show_blocks(side, "out");
	close_files(side, &files);
}

static void positions(struct side *side)
{
	struct files files = open_files(side);
	off_t offset = 1000;

	CALL(side, lseek(files.in, 500, SEEK_SET));
	CALL(side, copy_file_range(files.in, NULL, files.out, NULL, 300, 0));
	CALL(side, lseek(files.in, 0, SEEK_CUR));
	CALL(side, lseek(files.out, 0, SEEK_CUR));
	CALL(side, copy_file_range(files.in, &offset, files.out, NULL, 300, 0));
	say(side, "offset %lld", (long long)offset);
	CALL(side, lseek(files.in, 0, SEEK_CUR));
	CALL(side, lseek(files.out, 0, SEEK_CUR));
	CALL(side, copy_file_range(files.in, NULL, files.out, &offset, 300, 0));
	say(side, "offset %lld", (long long)offset);
	close_files(side, &files);
	show(side, "out");
}

static void errors(struct side *side)
{
	struct files files = open_files(side);
	int fd;

	CALL(side, copy_file_range(files.in, NULL, files.out, NULL, 100, 1));
	CALL(side, copy_file_range(files.in, NULL, files.out, NULL, 100, 1U << 31));
	CALL(side, copy(files.in, -1, files.out, 0, 100));
	CALL(side, copy(files.in, 0, files.out, -1, 100));
	CALL(side, copy(files.out, 0, files.in, 0, 100)); /* not open for writing */
	CALL(side, copy(-1, 0, files.out, 0, 100));
	CALL(side, copy(files.in, 0, -1, 0, 100));
	fd = CALL_FD(side, open("out", O_WRONLY));
	CALL(side, copy(fd, 0, files.out, 0, 100)); /* not open for reading */
	CALL(side, close(fd));
	fd = CALL_FD(side, open("out", O_RDWR | O_APPEND));
	CALL(side, copy(files.in, 0, fd, 0, 100));
	CALL(side, close(fd));
	fd = CALL_FD(side, open("in", O_PATH));
	CALL(side, copy(fd, 0, files.out, 0, 100));
	CALL(side, close(fd));
	fd = CALL_FD(side, open(".", O_RDONLY));
	CALL(side, copy(fd, 0, files.out, 0, 100));
	CALL(side, copy(files.in, 0, fd, 0, 100));
	CALL(side, close(fd));
	CALL(side, mknod("fifo", S_IFIFO | 0644, 0));
	fd = CALL_FD(side, open("fifo", O_RDWR));
	CALL(side, copy(files.in, 0, fd, 0, 100));
	CALL(side, close(fd));
	CALL(side, copy(files.in, 0, files.out, INT64_MAX - 10, 100));
	close_files(side, &files);
	show(side, "out");
}

static void one_file(struct side *side)
{
	int a, b;

	make_file(side, "f", 100000);
	a = CALL_FD(side, open("f", O_RDWR));
	b = CALL_FD(side, open("f", O_RDWR));
	CALL(side, copy(a, 0, a, 50000, 50000));
	CALL(side, copy(a, 0, b, 100000, 30000)); /* grows */
	show(side, "f");
	CALL(side, copy(a, 0, b, 10, 100));
	CALL(side, copy(a, 10, b, 0, 100));
	CALL(side, copy(a, 0, b, 0, 100));
	CALL(side, copy(a, 0, b, 99, 100));
	CALL(side, copy(a, 0, b, 100, 100)); /* touch, do not overlap */
	CALL(side, copy(a, 100000, b, 200000, 100000));
	show(side, "f");
	CALL(side, link("f", "g"));
	CALL(side, close(b));
	b = CALL_FD(side, open("g", O_RDWR));
	CALL(side, copy(a, 0, b, 10, 100)); /* the same file by another name */
	CALL(side, close(a));
	CALL(side, close(b));
}

static void sparse(struct side *side)
{
	int in, out;

	in = CALL_FD(side, open("in", O_RDWR | O_CREAT, 0644));
	CALL(side, ftruncate(in, 40 << 20));
	CALL(side, pwrite(in, "in the middle", 13, (17 << 20) + 1000));
	CALL(side, pwrite(in, "at the end", 10, (40 << 20) - 10));
	CALL(side, fsync(in));
	out = CALL_FD(side, open("out", O_RDWR | O_CREAT, 0644));
	CALL(side, copy(in, 0, out, 0, 40 << 20));
	show(side, "out");
	show_holes_kept(side, "out");
	/* Over data: holes of the source are zeros there. */
	make_file(side, "full", 20 << 20);
	CALL(side, close(out));
	out = CALL_FD(side, open("full", O_RDWR));
	CALL(side, copy(in, 0, out, 0, 30 << 20));
	show(side, "full");
	CALL(side, copy(in, 1 << 20, out, 40 << 20, 5 << 20)); /* only a hole, beyond the end */
	show(side, "full");
	show_holes_kept(side, "full");
	CALL(side, close(in));
	CALL(side, close(out));
}

/* What the copy changes besides the content. */
static void attributes(struct side *side)
{
	struct files files = open_files(side);
	struct moments in, out;

	CALL(side, copy(files.in, 0, files.out, 0, 100000));
	in = moments_of("in");
	out = moments_of("out");
	CALL(side, copy(files.in, 0, files.out, 0, 100000));
	say(side, "mtime moved: %d %d", moments_of("in").mtime.tv_nsec != in.mtime.tv_nsec,
	    moments_of("out").mtime.tv_nsec != out.mtime.tv_nsec);
	CALL(side, copy(files.in, 0, files.out, 100000, SIZE)); /* the size is seen at once */
	show_fd(side, files.out);
	CALL(side, unlink("in"));
	CALL(side, unlink("out"));
	CALL(side, copy(files.in, 0, files.out, SIZE * 2, 1000));
	show_fd(side, files.out);
	close_files(side, &files);
}

/* Written and mapped data of the source is copied although nobody has written it back. */
static void fresh(struct side *side)
{
	struct files files = open_files(side);
	int writer = CALL_FD(side, open("in", O_RDWR));

	for (int i = 0; i < 20; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "round %d", i);
		CALL(side, pwrite(writer, text, 10, i * 100000));
		CALL(side, copy(files.in, 0, files.out, 0, SIZE));
		CALL(side, pread(files.out, text, 10, i * 100000));
		say(side, "%.10s", text);
	}
	CALL(side, ftruncate(writer, 1000));
	CALL(side, copy(files.in, 0, files.out, 0, SIZE));
	CALL(side, pwrite(writer, "grown", 5, 10000));
	CALL(side, copy(files.in, 0, files.out, 0, SIZE));
	CALL(side, close(writer));
	close_files(side, &files);
	show(side, "out");
}

static void direct(struct side *side)
{
	struct files files = open_files(side);
	int in = CALL_FD(side, open("in", O_RDONLY | O_DIRECT));
	int out = CALL_FD(side, open("out", O_RDWR | O_DIRECT));

	CALL(side, copy(in, 0, out, 0, SIZE));
	/* The mount copies odd ranges, too. */
	CALL(side, copy(in, 4096, files.out, 8192, 4096));
	CALL(side, copy(files.in, 4096, out, 0, 8192));
	CALL(side, close(in));
	CALL(side, close(out));
	close_files(side, &files);
	show(side, "out");
}

const struct call_group groups_copy[] = {
	{ "copy_ranges", ranges },
	{ "copy_positions", positions },
	{ "copy_errors", errors },
	{ "copy_one_file", one_file },
	{ "copy_sparse", sparse },
	{ "copy_attributes", attributes },
	{ "copy_fresh", fresh },
	{ "copy_direct", direct },
	{ NULL, NULL },
};
