/* SPDX-License-Identifier: MIT */
/*
 * note.c - see note.h.
 */
#include "note.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "arsync/base.h"

#define MAGIC UINT64_C(0x3265746f6e737261) /* "arsnote2" */
#define CREATE_TRIES 16
#define NOTE_SIZE_MAX                                                                              \
	(sizeof(struct note_head) + CRED_GROUPS_MAX * sizeof(gid_t) + 2 * PATH_MAX + NAME_MAX + 1)

/* Empty where the kernel does not tell: then no two starts are the same. */
static void read_boot(char boot[NOTE_BOOT_SIZE])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : RETRY_EINTR(read(fd, boot, NOTE_BOOT_SIZE - 1));

	memset(boot + MAX(n, (ssize_t)0), 0, NOTE_BOOT_SIZE - (size_t)MAX(n, (ssize_t)0));
}

bool note_is_of_this_boot(const struct note_head *head)
{
	char boot[NOTE_BOOT_SIZE];

	read_boot(boot);
	return *boot && memcmp(boot, head->boot, sizeof(boot)) == 0;
}

static void fill_head(struct note_head *head, const struct note_place *place)
{
	const struct cred *cred = place->cred;

	memset(head, 0, sizeof(*head)); /* the padding, too, is written */
	head->magic = MAGIC;
	head->uid = cred ? cred->uid : geteuid();
	head->gid = cred ? cred->gid : getegid();
	head->source_uid = place->source_uid;
	head->n_groups = cred ? (uint32_t)cred->n_groups : 0;
	head->durable = place->durable;
	head->parts = place->parts;
	head->root = place->root;
	head->parent = place->parent;
	read_boot(head->boot);
}

static int write_place(int fd, const struct note_place *place)
{
	size_t path_size = strlen(place->root_path) + 1;
	size_t below_size = strlen(place->below) + 1;
	size_t name_size = strlen(place->name) + 1;
	struct note_head head;
	struct iovec parts[] = {
		{ &head, sizeof(head) },
		{ place->cred ? (void *)(uintptr_t)place->cred->groups : NULL, 0 },
		{ (void *)(uintptr_t)place->root_path, path_size },
		{ (void *)(uintptr_t)place->below, below_size },
		{ (void *)(uintptr_t)place->name, name_size },
	};
	ssize_t n;

	if (path_size > PATH_MAX || below_size > PATH_MAX || name_size > NAME_MAX + 1)
		return -EINVAL;
	fill_head(&head, place);
	parts[1].iov_len = head.n_groups * sizeof(gid_t);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		head.size += (uint32_t)parts[i].iov_len;
	n = writev(fd, parts, ARRAY_SIZE(parts));
	if (n < 0)
		return negative_errno();
	return (size_t)n == head.size ? 0 : -ENOSPC;
}

/* A new file, locked. -EAGAIN: somebody has taken it for an old one. */
static int create_locked(int state_fd, const char *name)
{
	_cleanup_close_ int fd =
		openat(state_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return errno == EEXIST ? -EAGAIN : negative_errno();
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = negative_errno();

		if (r == -EWOULDBLOCK)
			return -EAGAIN;
		/* Nobody can lock there: it would stay for ever. */
		(void)unlinkat(state_fd, name, 0);
		return r;
	}
	if (fstat(fd, &st) < 0)
		return negative_errno();
	return st.st_nlink > 0 ? TAKE_FD(fd) : -EAGAIN;
}

/* The note, and its name. */
static int sync_new(int state_fd, int fd)
{
	return fdatasync(fd) < 0 || fsync(state_fd) < 0 ? negative_errno() : 0;
}

int note_create(int state_fd, const struct note_place *place, struct note *ret)
{
	struct note note = { .fd = -EAGAIN, .at_once = place->at_once };
	uint64_t number;
	int r;

	for (unsigned i = 0; i < CREATE_TRIES && note.fd == -EAGAIN; i++) {
		if (RETRY_EINTR(getrandom(&number, sizeof(number), 0)) != (ssize_t)sizeof(number))
			return negative_errno();
		(void)snprintf(note.name, sizeof(note.name), NOTE_PREFIX "%016" PRIx64, number);
		note.fd = create_locked(state_fd, note.name);
	}
	if (note.fd < 0)
		return note.fd;
	r = write_place(note.fd, place);
	if (r == 0 && note.at_once)
		r = sync_new(state_fd, note.fd);
	if (r < 0) {
		note_drop(state_fd, &note);
		return r;
	}
	*ret = note;
	return 0;
}

int note_add(const struct note *note, int fd, bool replaced)
{
	size_t at = replaced ? offsetof(struct note_head, replaced) :
			       offsetof(struct note_head, made);
	struct inode_identity identity;
	ssize_t n;
	int r;

	if (note->fd < 0)
		return 0;
	r = inode_identity_of(fd, &identity);
	if (r < 0)
		return r;
	n = pwrite(note->fd, &identity, sizeof(identity), (off_t)at);
	if (n < 0)
		return negative_errno();
	if ((size_t)n != sizeof(identity))
		return -ENOSPC;
	return note->at_once && fdatasync(note->fd) < 0 ? negative_errno() : 0;
}

void note_drop(int state_fd, struct note *note)
{
	if (note->fd < 0)
		return;
	/* If it stays, whoever looks at it next finds nothing, and drops it. */
	(void)unlinkat(state_fd, note->name, 0);
	note_leave(note);
}

void note_leave(struct note *note)
{
	close_keep_errno(TAKE_FD(note->fd));
}

/* Takes the next string of a note. False: there is none, or it is too long. */
static bool take_string(const char **at, const char *end, char *ret, size_t room)
{
	size_t size = strnlen(*at, (size_t)(end - *at)) + 1;

	if (size > (size_t)(end - *at) || size > room)
		return false;
	memcpy(ret, *at, size);
	*at += size;
	return true;
}

/* What follows the first part. */
static int parse(struct note_read *note, const char *text, size_t size)
{
	const struct note_head *head = &note->head;
	size_t groups = head->n_groups * sizeof(gid_t);
	const char *at = text, *end = text + size;
	_cleanup_free_ gid_t *aligned = NULL;

	if (head->n_groups > CRED_GROUPS_MAX || groups > size)
		return -EBADMSG;
	aligned = malloc(groups + 1);
	if (!aligned)
		return -ENOMEM;
	memcpy(aligned, text, groups);
	at += groups;
	if (!take_string(&at, end, note->root_path, sizeof(note->root_path)) ||
	    !take_string(&at, end, note->below, sizeof(note->below)) ||
	    !take_string(&at, end, note->staging, sizeof(note->staging)) || at != end)
		return -EBADMSG;
	return cred_new(head->uid, head->gid, aligned, head->n_groups, &note->cred);
}

static int read_rest(struct note_read *note, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = pread(note->fd, text, size, sizeof(note->head));
	if (n < 0)
		return negative_errno();
	return (size_t)n == size ? parse(note, text, size) : -EBADMSG;
}

static int read_locked(struct note_read *note, const struct stat *st)
{
	ssize_t n;

	if (st->st_size < (off_t)sizeof(note->head) || st->st_size > (off_t)NOTE_SIZE_MAX)
		return -EBADMSG;
	n = pread(note->fd, &note->head, sizeof(note->head), 0);
	if (n < 0)
		return negative_errno();
	if ((size_t)n != sizeof(note->head) || note->head.magic != MAGIC ||
	    note->head.size != (uint64_t)st->st_size ||
	    note->head.root.handle_size > MAX_HANDLE_SZ ||
	    note->head.parent.handle_size > MAX_HANDLE_SZ ||
	    note->head.made.handle_size > MAX_HANDLE_SZ ||
	    note->head.replaced.handle_size > MAX_HANDLE_SZ)
		return -EBADMSG;
	return read_rest(note, (size_t)st->st_size - sizeof(note->head));
}

/* Nobody else can have written it. */
static bool is_ours(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022);
}

int note_read(int state_fd, const char *name, struct note_read *ret)
{
	_cleanup_close_ int fd =
		openat(state_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : negative_errno();
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (!is_ours(&st) || strlen(name) >= sizeof(ret->name))
		return -EPERM;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : negative_errno();
	/* Complete now, or gone. */
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (st.st_nlink == 0)
		return -EAGAIN;
	*ret = (struct note_read){ .fd = fd, .written = st.st_mtime };
	(void)strcpy(ret->name, name); /* it fits */
	r = read_locked(ret, &st);
	if (r < 0 && r != -EBADMSG) {
		cred_unref(ret->cred);
		return r;
	}
	(void)TAKE_FD(fd);
	return r;
}

void note_read_drop(int state_fd, struct note_read *note)
{
	(void)unlinkat(state_fd, note->name, 0); /* else it is looked at again next time */
}

void note_read_destroy(struct note_read *note)
{
	cred_unref(TAKE_PTR(note->cred));
	close_keep_errno(TAKE_FD(note->fd));
}
