/* SPDX-License-Identifier: MIT */
/*
 * setid.c - setuid and setgid bits: what root does leaves them, what others do takes them away, whoever
 * opened the file.
 */
#include "compare.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <linux/capability.h>

static const mode_t modes[] = { 06777, 06755, 02755, 02745, 04711, 02666, 06666 };

#define MODES (sizeof(modes) / sizeof(modes[0]))

/* A fresh file with these bits. */
static const char *fresh(struct side *side, const char *what, mode_t mode)
{
	static char name[64];

	(void)snprintf(name, sizeof(name), "%s-%04o", what, mode);
	make_file(side, name, 20000);
	if (chown(name, USER_UID, USER_GID) < 0 || chmod(name, mode) < 0)
		say(side, "cannot prepare %s", name);
	return name;
}

static void say_mode(struct side *side, const char *name)
{
	struct stat st = { 0 };

	(void)stat(name, &st); /* shows as mode 0 */
	say(side, "%s is %04o, %lld bytes", name, st.st_mode & 07777, (long long)st.st_size);
}

static int drop_fsetid(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	data[0].effective &= ~CAP_TO_MASK(CAP_FSETID);
	return (int)syscall(SYS_capset, &header, data);
}

static void write_all_ways(struct side *side, mode_t mode)
{
	char bytes[8192] = "bytes";
	const char *name;
	int fd, in;

	name = fresh(side, "pwrite", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	CALL(side, pwrite(fd, bytes, 10, 0));
	say_mode(side, name);
	CALL(side, close(fd));
	say_mode(side, name);

	name = fresh(side, "append", mode);
	fd = CALL_FD(side, open(name, O_WRONLY | O_APPEND));
	CALL(side, write(fd, bytes, 10));
	say_mode(side, name);
	CALL(side, close(fd));

	name = fresh(side, "ftruncate", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	CALL(side, ftruncate(fd, 100));
	say_mode(side, name);
	CALL(side, close(fd));
	name = fresh(side, "truncate", mode);
	CALL(side, truncate(name, 30000));
	say_mode(side, name);
	name = fresh(side, "otrunc", mode);
	CALL(side, close(CALL_FD(side, open(name, O_WRONLY | O_TRUNC))));
	say_mode(side, name);

	name = fresh(side, "fallocate", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	CALL(side, fallocate(fd, 0, 0, 40000));
	say_mode(side, name);
	CALL(side, close(fd));
	name = fresh(side, "punch", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	CALL(side, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	say_mode(side, name);
	CALL(side, close(fd));

	in = CALL_FD(side, open("source", O_RDONLY));
	name = fresh(side, "copy", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	/* From an odd offset, for btrfs leaves the bits when it can share blocks. */
	CALL(side, copy_file_range(in, &(off_t){ 1 }, fd, &(off_t){ 0 }, 29999, 0));
	say_mode(side, name);
	CALL(side, close(fd));
	name = fresh(side, "sendfile", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	CALL(side, sendfile(fd, in, &(off_t){ 0 }, 5000));
	say_mode(side, name);
	CALL(side, close(fd));
	CALL(side, close(in));
}

static void store_and_change(struct side *side, mode_t mode)
{
	const char *name;
	char *mapped;
	int fd;

	name = fresh(side, "mapped", mode);
	fd = CALL_FD(side, open(name, O_RDWR));
	mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say(side, "mapped %d", mapped != MAP_FAILED);
	if (mapped != MAP_FAILED) {
		mapped[4097] = 'x';
		CALL(side, msync(mapped, 8192, MS_SYNC));
		CALL(side, munmap(mapped, 8192));
	}
	say_mode(side, name);
	CALL(side, close(fd));
	name = fresh(side, "chown", mode);
	CALL(side, chown(name, (uid_t)-1, OTHER_GID));
	say_mode(side, name);
	name = fresh(side, "chown-nothing", mode);
	CALL(side, chown(name, (uid_t)-1, (gid_t)-1));
	say_mode(side, name);
}

static void by_everybody(struct side *side)
{
	for (size_t i = 0; i < MODES; i++) {
		write_all_ways(side, modes[i]);
		store_and_change(side, modes[i]);
	}
}

static void by_root(struct side *side)
{
	int fd;

	make_file(side, "source", 30000);
	by_everybody(side);
	fd = CALL_FD(side, open("created", O_RDWR | O_CREAT, 06755));
	CALL(side, write(fd, "x", 1));
	say_mode(side, "created");
	CALL(side, ftruncate(fd, 0));
	say_mode(side, "created");
	CALL(side, close(fd));
}

static void by_root_without_fsetid(struct side *side)
{
	int fd;

	make_file(side, "source", 30000);
	(void)fresh(side, "early", 02767);
	(void)fresh(side, "early", 02745);
	(void)fresh(side, "early", 02763);
	CALL(side, drop_fsetid());
	/* Preparing gives no setgid bit where root is not a member: the same on both. */
	by_everybody(side);
	fd = CALL_FD(side, open("early-2767", O_WRONLY));
	CALL(side, pwrite(fd, "bytes", 5, 0));
	CALL(side, close(fd));
	say_mode(side, "early-2767");
	CALL(side, chown("early-2745", (uid_t)-1, (gid_t)-1));
	say_mode(side, "early-2745");
	CALL(side, truncate("early-2763", 10));
	say_mode(side, "early-2763");
}

/* The owner may do everything but keep the bits. */
static void use_as_owner(struct side *side)
{
	for (size_t i = 0; i < MODES; i++) {
		write_all_ways(side, modes[i]);
		store_and_change(side, modes[i]);
	}
}

static void by_owner(struct side *side)
{
	make_file(side, "source", 30000);
	CALL(side, chmod(".", 0777));
	as_user(side, USER_UID, USER_GID, NO_GROUP, use_as_owner);
}

/* What becomes of attributes: no content is written. */
static const char *const kinds[] = { "file", "fifo", "dir" };

static void make_kind(struct side *side, const char *kind, uid_t owner, mode_t mode)
{
	long r;

	if (strcmp(kind, "dir") == 0)
		r = mkdir("changed/x", 0755);
	else
		r = mknod("changed/x", (strcmp(kind, "fifo") == 0 ? S_IFIFO : S_IFREG) | 0644, 0);
	if (r < 0 || chown("changed/x", owner, USER_GID) < 0 || chmod("changed/x", mode) < 0)
		say(side, "cannot prepare changed/x");
}

static void chown_nothing(struct side *side)
{
	CALL(side, chown("changed/x", (uid_t)-1, (gid_t)-1));
}

static void chown_same_group(struct side *side)
{
	CALL(side, chown("changed/x", (uid_t)-1, USER_GID));
}

static void chown_other_group(struct side *side)
{
	CALL(side, chown("changed/x", (uid_t)-1, OTHER_GID));
}

static void chmod_as_it_is(struct side *side)
{
	struct stat st = { 0 };

	(void)stat("changed/x", &st); /* shows as mode 0 */
	CALL(side, chmod("changed/x", st.st_mode & 07777));
}

static void (*const changes[])(struct side *) = { chown_nothing, chown_same_group,
						  chown_other_group, chmod_as_it_is };

#define CHANGES (sizeof(changes) / sizeof(changes[0]))

/* Who changes it: user, group, one more group. The file's group is USER_GID. */
static const struct {
	uid_t uid;
	gid_t gid, group;
} changers[] = {
	{ 0, 0, NO_GROUP },
	{ USER_UID, USER_GID, NO_GROUP },
	{ USER_UID, OTHER_GID, NO_GROUP },
	{ USER_UID, OTHER_GID, USER_GID },
	{ OTHER_UID, USER_GID, NO_GROUP },
};

#define CHANGERS (sizeof(changers) / sizeof(changers[0]))

static void changed_by(struct side *side, size_t who)
{
	for (size_t i = 0; i < 3 * MODES * CHANGES * 2; i++) {
		const char *kind = kinds[i % 3];
		mode_t mode = modes[i / 3 % MODES];
		uid_t owner = i / 3 / MODES / CHANGES ? 0 : USER_UID;

		make_kind(side, kind, owner, mode);
		say(side, "%s %04o of %u, by %u:%u", kind, mode, owner, changers[who].uid,
		    changers[who].gid);
		as_user(side, changers[who].uid, changers[who].gid, changers[who].group,
			changes[i / 3 / MODES % CHANGES]);
		say_mode(side, "changed/x");
		if (remove("changed/x") < 0)
			say(side, "cannot remove changed/x");
	}
}

static void changed(struct side *side)
{
	CALL(side, mkdir("changed", 0755));
	for (size_t who = 0; who < CHANGERS; who++)
		changed_by(side, who);
}

static void make_setgid(struct side *side)
{
	CALL(side, mkdir("setgid", 0755));
	CALL(side, chown("setgid", USER_UID, OTHER_GID));
	CALL(side, chmod("setgid", 02777));
}

/* In a directory of another group */
static void make_in_setgid(struct side *side)
{
	CALL(side, close(CALL_FD(side, open("setgid/file", O_CREAT | O_WRONLY, 02775))));
	CALL(side, close(CALL_FD(side, open("setgid/both", O_CREAT | O_WRONLY, 06777))));
	CALL(side, mknod("setgid/fifo", S_IFIFO | 02775, 0));
	CALL(side, mkdir("setgid/dir", 02775));
}

static void made_by_root(struct side *side)
{
	make_setgid(side);
	make_in_setgid(side);
}

static void made_by_root_without_fsetid(struct side *side)
{
	make_setgid(side);
	CALL(side, drop_fsetid());
	make_in_setgid(side);
}

static int shared_fd;

static void write_as_user(struct side *side)
{
	CALL(side, pwrite(shared_fd, "user", 4, 0));
}

static void truncate_as_user(struct side *side)
{
	CALL(side, ftruncate(shared_fd, 10));
}

static void allocate_as_user(struct side *side)
{
	CALL(side, fallocate(shared_fd, 0, 0, 50000));
}

/* A descriptor that root opened, used by somebody else, and the reverse. */
static void handed_on(struct side *side)
{
	static void (*const actions[])(struct side *) = { write_as_user, truncate_as_user,
							  allocate_as_user };
	const char *name;

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		name = fresh(side, "handed", 06755);
		shared_fd = CALL_FD(side, open(name, O_RDWR));
		CALL(side, pwrite(shared_fd, "root", 4, 0));
		say_mode(side, name);
		as_user(side, USER_UID, USER_GID, NO_GROUP, actions[i]);
		say_mode(side, name);
		CALL(side, close(shared_fd));
	}
}

/* The bits come while somebody has the file open already; then root and another open it and write. */
static void come_late(struct side *side)
{
	static const int flags[] = { O_WRONLY | O_APPEND, O_RDWR, O_RDWR | O_DIRECT };
	_Alignas(4096) char bytes[4096] = "bytes";
	char byte, name[64];
	int held;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		(void)snprintf(name, sizeof(name), "late-%zu", i);
		make_file(side, name, 20480);
		held = CALL_FD(side, open(name, O_RDWR));
		CALL(side, pread(held, &byte, 1, 0));
		CALL(side, chmod(name, 06777));
		shared_fd = CALL_FD(side, open(name, flags[i]));
		CALL(side, write(shared_fd, bytes, sizeof(bytes)));
		say_mode(side, name);
		CALL(side, ftruncate(shared_fd, 12288));
		CALL(side, pread(held, bytes, sizeof(bytes), 0));
		say_mode(side, name);
		as_user(side, USER_UID, USER_GID, NO_GROUP, write_as_user);
		say_mode(side, name);
		CALL(side, close(shared_fd));
		CALL(side, close(held));
	}
}

const struct call_group groups_setid[] = {
	{ "setid_root", by_root },
	{ "setid_root_without_fsetid", by_root_without_fsetid },
	{ "setid_owner", by_owner },
	{ "setid_changed", changed },
	{ "setid_made_by_root", made_by_root },
	{ "setid_made_without_fsetid", made_by_root_without_fsetid },
	{ "setid_handed_on", handed_on },
	{ "setid_come_late", come_late },
	{ NULL, NULL },
};
