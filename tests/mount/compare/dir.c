/* SPDX-License-Identifier: MIT */
/*
 * dir.c - reading directories.
 */
#include "compare.h"

#include <dirent.h>
#include <sys/syscall.h>

#define MANY 5000

static void make_many(struct side *side, const char *directory, unsigned count)
{
	char path[64];

	CALL(side, mkdir(directory, 0755));
	for (unsigned i = 0; i < count; i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/a file with number %u", directory, i);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0)
			say(side, "%s: %s", path, strerror(errno));
		else
			(void)close(fd);
	}
}

/* Counts what readdir gives from here on; *ret_sum is the same whatever the order. */
static unsigned count(DIR *dir, unsigned long *ret_sum)
{
	const struct dirent *entry;
	unsigned long sum = 0;
	unsigned n = 0;

	while ((entry = readdir(dir))) {
		unsigned long hash = 5381;

		for (const char *at = entry->d_name; *at; at++)
			hash = hash * 33 + (unsigned char)*at;
		sum += hash * hash;
		n++;
	}
	*ret_sum = sum;
	return n;
}

static void say_count(struct side *side, DIR *dir)
{
	unsigned long sum = 0;
	unsigned n = count(dir, &sum);

	say(side, "%u entries, %lx", n, sum);
}

static void many(struct side *side)
{
	static long places[MANY + 2];
	static char names[MANY + 2][40];
	const struct dirent *entry;
	unsigned n = 0, wrong = 0;
	DIR *dir;

	make_many(side, "d", MANY);
	dir = opendir("d");
	say_count(side, dir);
	say(side, "at the end: %d", readdir(dir) == NULL);
	rewinddir(dir);
	for (;;) {
		long place = telldir(dir);

		entry = readdir(dir);
		if (!entry || n == MANY + 2)
			break;
		places[n] = place;
		(void)snprintf(names[n++], sizeof(names[0]), "%.39s", entry->d_name); /* cut off */
	}
	say(side, "%u places", n);
	for (unsigned i = 0; i < n; i += 7) {
		unsigned at = (i * 2971) % n;

		seekdir(dir, places[at]);
		entry = readdir(dir);
		if (!entry || strcmp(entry->d_name, names[at]) != 0)
			wrong++;
	}
	say(side, "%u wrong after seekdir", wrong);
	seekdir(dir, places[n / 2]);
	say(side, "%d left", count(dir, &(unsigned long){ 0 }) == n - n / 2);
	make_text(side, "d/new", "text");
	rewinddir(dir);
	say_count(side, dir);
	CALL(side, unlink("d/new"));
	CALL(side, closedir(dir));
	CALL(side, rename("d", "e"));
	dir = opendir("e");
	say_count(side, dir);
	CALL(side, closedir(dir));
	CALL(side, rmdir("e"));
	CALL(side, system("rm -r e"));
}

/* What rm -r does, with one open directory. */
static void delete_while_reading(struct side *side)
{
	const struct dirent *entry;
	unsigned removed = 0;
	DIR *dir;

	make_many(side, "d", 2000);
	dir = opendir("d");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			removed++;
	say(side, "%u removed", removed);
	rewinddir(dir);
	say_count(side, dir);
	CALL(side, rmdir("d"));
	rewinddir(dir);
	errno = 0;
	say(side, "read after rmdir: %d %d", readdir(dir) != NULL, errno);
	CALL(side, closedir(dir));

	/* And with a third of them, from a second reader's view */
	make_many(side, "e", 3000);
	dir = opendir("e");
	for (unsigned i = 0; i < 100; i++)
		(void)readdir(dir);
	for (unsigned i = 0; i < 3000; i += 3) {
		char path[64];

		(void)snprintf(path, sizeof(path), "e/a file with number %u", i);
		if (unlink(path) < 0)
			say(side, "%s: %s", path, strerror(errno));
	}
	rewinddir(dir);
	say_count(side, dir);
	CALL(side, closedir(dir));
	CALL(side, system("rm -r e"));
}

/* d_type and d_ino are what lstat says. */
static void entries(struct side *side)
{
	const struct dirent *entry;
	unsigned wrong_type = 0, wrong_inode = 0, n = 0;
	DIR *dir;

	CALL(side, mkdir("d", 0755));
	make_text(side, "d/file", "text");
	CALL(side, mkdir("d/dir", 0755));
	CALL(side, symlink("x", "d/link"));
	CALL(side, mknod("d/fifo", S_IFIFO | 0644, 0));
	CALL(side, mknod("d/null", S_IFCHR | 0644, 0x103));
	CALL(side, link("d/file", "d/file2"));
	for (int pass = 0; pass < 2; pass++) {
		dir = opendir("d");
		while ((entry = readdir(dir))) {
			struct stat st;

			n++;
			if (pass == 0 && n % 2) /* not all are known when they are read again */
				continue;
			if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
				say(side, "%s: %s", entry->d_name, strerror(errno));
				continue;
			}
			wrong_type += (mode_t)DTTOIF(entry->d_type) != (st.st_mode & S_IFMT);
			/* ".." of the group's directory may be anything. */
			wrong_inode += strcmp(entry->d_name, "..") != 0 &&
				       entry->d_ino != st.st_ino;
		}
		CALL(side, closedir(dir));
	}
	say(side, "%u entries, %u types and %u inodes are wrong", n, wrong_type, wrong_inode);
	CALL(side, close(CALL_FD(side, open("d", O_RDONLY | O_DIRECTORY))));
	say(side, "no directory: %d %s", opendir("d/file") != NULL, strerror(errno));
	say(side, "none: %d %s", opendir("none") != NULL, strerror(errno));
}

/* Small buffers and several readers. */
static void raw_reading(struct side *side)
{
	char buffer[300];
	unsigned long sum;
	unsigned calls = 0;
	DIR *a, *b;
	long n;
	int fd;

	make_many(side, "d", 300);
	fd = CALL_FD(side, open("d", O_RDONLY | O_DIRECTORY));
	CALL(side, syscall(SYS_getdents64, fd, buffer, 10));
	while ((n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		calls++;
	say(side, "%d many calls, %ld", calls > 20, n);
	CALL(side, lseek(fd, 0, SEEK_SET));
	CALL(side, syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
	CALL(side, close(fd));
	a = opendir("d");
	b = opendir("d");
	for (int i = 0; i < 100; i++) {
		(void)readdir(a);
		if (i % 2)
			(void)readdir(b);
	}
	say(side, "%u", count(a, &sum));
	say(side, "%u", count(b, &sum));
	CALL(side, closedir(a));
	CALL(side, closedir(b));
}

static void deep(struct side *side)
{
	char name[8];

	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "d%d", i);
		if (mkdir(name, 0755) < 0 || chdir(name) < 0) {
			say(side, "%s: %s", name, strerror(errno));
			return;
		}
	}
	make_text(side, "bottom", "text");
	for (int i = 0; i < 300; i++)
		if (chdir("..") < 0)
			say(side, "..: %s", strerror(errno));
	CALL(side, access("d0", F_OK));
	CALL(side, system("find d0 | wc -l | grep -qx 301"));
	CALL(side, system("rm -r d0"));
}

const struct call_group groups_dir[] = {
	{ "dir_many", many },	    { "dir_delete_while_reading", delete_while_reading },
	{ "dir_entries", entries }, { "dir_raw_reading", raw_reading },
	{ "dir_deep", deep },	    { NULL, NULL },
};
