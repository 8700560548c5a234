/* SPDX-License-Identifier: MIT */
/*
 * record.c - writing down what calls returned and what files look like.
 */
#include "compare.h"

#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#define NAMES_MAX 65536
#define VALUE_MAX 65536
#define READ_MAX (64 * 1024)
/* Times before this were set by a group, later ones are the time of day. */
#define SET_BEFORE 1500000000

void say(struct side *side, const char *format, ...)
{
	struct transcript *out = side->out;
	size_t room = sizeof(out->text) - out->used;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(out->text + out->used, room, format, arguments);
	va_end(arguments);
	if (n < 0 || (size_t)n + 2 > room)
		abort(); /* TRANSCRIPT_MAX is too small */
	/* Names may contain anything: one line is one line. */
	for (char *at = out->text + out->used; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = '?';
	out->used += (size_t)n;
	out->text[out->used++] = '\n';
	out->text[out->used] = '\0';
}

static const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

long say_result(struct side *side, const char *call, long result)
{
	int error = errno;

	if (result < 0)
		say(side, "%s = %ld %s", call, result, error_name(error));
	else
		say(side, "%s = %ld", call, result);
	errno = error;
	return result;
}

int say_fd(struct side *side, const char *call, long result)
{
	int error = errno;

	say(side, "%s = %s", call, result < 0 ? error_name(error) : "a descriptor");
	errno = error;
	return (int)result;
}

unsigned char pattern(uint64_t offset)
{
	return (unsigned char)(offset * 7 + (offset >> 8) * 13 + (offset >> 16) + 1);
}

void make_file(struct side *side, const char *path, size_t size)
{
	unsigned char *bytes = malloc(size + 1);
	size_t done = 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (!bytes || fd < 0)
		say(side, "cannot make %s: %s", path, error_name(errno));
	for (size_t i = 0; bytes && i < size; i++)
		bytes[i] = pattern(i);
	while (bytes && fd >= 0 && done < size) {
		ssize_t n = write(fd, bytes + done, size - done);

		if (n <= 0) {
			say(side, "cannot fill %s: %s", path, error_name(errno));
			break;
		}
		done += (size_t)n;
	}
	free(bytes);
	if (fd >= 0 && close(fd) < 0)
		say(side, "cannot close %s: %s", path, error_name(errno));
}

void make_text(struct side *side, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		say(side, "cannot make %s: %s", path, error_name(errno));
	if (fd >= 0)
		(void)close(fd); /* nothing is lost on a local file system */
}

/* FNV-1a */
static uint64_t add_to_hash(uint64_t hash, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static void describe(const struct stat *st, char *text, size_t size)
{
	int n = snprintf(text, size, "type %o mode %04o links %lu owner %u:%u size %lld block %ld",
			 (st->st_mode & S_IFMT) >> 12, st->st_mode & 07777,
			 (unsigned long)st->st_nlink, st->st_uid, st->st_gid,
			 (long long)st->st_size, (long)st->st_blksize);

	if ((S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) && n > 0)
		n += snprintf(text + n, size - (size_t)n, " device %u:%u", major(st->st_rdev),
			      minor(st->st_rdev));
	if (st->st_mtim.tv_sec < SET_BEFORE && n > 0)
		(void)snprintf(text + n, size - (size_t)n, " mtime %lld.%09ld",
			       (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

/* Holes are skipped: a file of an exabyte is shown in no time. They must lie where they lay. */
static void show_content(struct side *side, const char *path)
{
	static unsigned char bytes[READ_MAX];
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	off_t at = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0) {
		say(side, "  cannot be read: %s", error_name(errno));
		return;
	}
	while ((n = pread(fd, bytes, sizeof(bytes), at)) > 0) {
		hash = add_to_hash(hash, bytes, (size_t)n);
		at += n;
		if (at > 64 * 1024 * 1024)
			break;
	}
	say(side, "  content %016llx%s", (unsigned long long)hash, n < 0 ? " (error)" : "");
	(void)close(fd);
}

void show(struct side *side, const char *path)
{
	char text[256];
	char target[PATH_MAX + 1];
	struct stat st;
	ssize_t n;

	if (lstat(path, &st) < 0) {
		say(side, "%s: %s", path, error_name(errno));
		return;
	}
	describe(&st, text, sizeof(text));
	say(side, "%s: %s", path, text);
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		say(side, "  target %zd '%s'", n, target);
	} else if (S_ISREG(st.st_mode)) {
		show_content(side, path);
	}
}

void show_fd(struct side *side, int fd)
{
	char text[256];
	struct stat st;

	if (fstat(fd, &st) < 0) {
		say(side, "fstat: %s", error_name(errno));
		return;
	}
	describe(&st, text, sizeof(text));
	say(side, "open file: %s", text);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void show_xattrs(struct side *side, const char *path)
{
	static char names[NAMES_MAX];
	static unsigned char value[VALUE_MAX];
	char *sorted[256];
	size_t count = 0;
	ssize_t length = llistxattr(path, names, sizeof(names));

	if (length < 0) {
		say(side, "  attributes: %s", error_name(errno));
		return;
	}
	for (char *name = names; name < names + length && count < 256; name += strlen(name) + 1)
		sorted[count++] = name;
	qsort(sorted, count, sizeof(sorted[0]), by_name);
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, sorted[i], value, sizeof(value));

		say(side, "  attribute %s: %zd bytes, %016llx", sorted[i], n,
		    (unsigned long long)add_to_hash(0, value, n < 0 ? 0 : (size_t)n));
	}
}

static int not_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Trees of groups are a few levels deep. */
void show_tree(struct side *side, const char *directory)
{
	struct dirent **entries = NULL;
	int n = scandir(directory, &entries, not_dots, by_bytes);

	if (n < 0)
		say(side, "%s: cannot be listed: %s", directory, error_name(errno));
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];
		struct stat st;

		(void)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		show(side, path);
		show_xattrs(side, path);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			show_tree(side, path);
		free(entries[i]);
	}
	free(entries);
}

void show_blocks(struct side *side, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fsync(fd) < 0 || fstat(fd, &st) < 0) {
		say(side, "%s: blocks: %s", path, error_name(errno));
	} else if (side->exact_blocks) {
		say(side, "%s: %lld blocks", path, (long long)st.st_blocks);
	} else {
		bool sparse = (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size / 4 * 3;

		say(side, "%s: %s", path, sparse ? "sparse" : "allocated");
	}
	if (fd >= 0)
		(void)close(fd);
}

void show_holes_kept(struct side *side, const char *path)
{
	struct stat st;

	if (side->raw)
		say(side, "%s: holes are kept", path);
	else if (stat(path, &st) < 0 || st.st_blocks * 512 > st.st_size / 4 * 3)
		say(side, "%s: holes are filled", path);
	else
		say(side, "%s: holes are kept", path);
}

void let_time_pass(void)
{
	/* A tick is 10 ms at most. */
	const struct timespec pause = { .tv_nsec = 25 * 1000 * 1000 };

	(void)nanosleep(&pause, NULL); /* an alarm ends the process anyhow */
}

struct moments moments_of(const char *path)
{
	struct moments moments = { 0 };
	struct stat st;

	if (lstat(path, &st) == 0)
		moments = (struct moments){ st.st_atim, st.st_mtim, st.st_ctim };
	let_time_pass();
	return moments;
}

static const char *moved(const struct timespec *before, const struct timespec *after)
{
	if (after->tv_sec == before->tv_sec && after->tv_nsec == before->tv_nsec)
		return "stayed";
	if (after->tv_sec > before->tv_sec ||
	    (after->tv_sec == before->tv_sec && after->tv_nsec > before->tv_nsec))
		return "moved";
	return "went back";
}

void show_moved(struct side *side, const char *path, const struct moments *before)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		say(side, "%s: times: %s", path, error_name(errno));
	else
		say(side, "%s: atime %s, mtime %s, ctime %s", path,
		    moved(&before->atime, &st.st_atim), moved(&before->mtime, &st.st_mtim),
		    moved(&before->ctime, &st.st_ctim));
}

void as_user(struct side *side, uid_t uid, gid_t gid, gid_t group, void (*run)(struct side *))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(group == NO_GROUP ? 0 : 1, &group) < 0 ||
		    setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(1);
		(void)umask(022);
		run(side);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		say(side, "as user %u: status %d", uid, status);
}
