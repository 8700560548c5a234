/* SPDX-License-Identifier: MIT */
/*
 * test_cred.c - acting as somebody else, one thread at a time.
 *
 * Each scenario runs on a thread of its own, which records what it is and never asserts; the main
 * thread compares. Only root can become somebody else, so most tests are skipped for others.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"

#include "arsync/base.h"
#include "arsync/cred.h"

#define GROUPS_MAX 32
#define UID 12345
#define GID 23456

#define CAP_BIT(cap) (1ULL << (cap))

/* What a thread is. */
struct identity {
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	int n_groups;
	gid_t groups[GROUPS_MAX];
	unsigned long long effective;
	unsigned long long permitted;
};

struct fixture {
	struct test_dir dir;
	struct cred *a; /* UID, GID, groups 7 and 8 */
	struct cred *b; /* somebody else, no groups */
	struct cred *root;
	struct identity before; /* the main thread's */
};

/* One scenario's thread. */
struct actor {
	struct fixture *fixture;
	void (*scenario)(struct actor *actor);
	sem_t done;
	sem_t go_on; /* posted by the main thread, after it has looked */
	sem_t reached;
	struct cred_thread thread;
	int results[8];
	struct identity seen[8];
	unsigned refs[4];
	struct stat files[4];
	int file_errors[4];
	bool timed_out;
};

static struct identity identity(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	struct identity id;

	memset(&id, 0, sizeof(id)); /* the padding too: it is compared */
	/* None of these can fail with valid addresses; zeros would be noticed. */
	(void)syscall(SYS_getresuid, &id.ruid, &id.euid, &id.suid);
	(void)syscall(SYS_getresgid, &id.rgid, &id.egid, &id.sgid);
	(void)syscall(SYS_capget, &header, data);
	id.n_groups = (int)syscall(SYS_getgroups, GROUPS_MAX, id.groups);
	id.effective = data[0].effective | (unsigned long long)data[1].effective << 32;
	id.permitted = data[0].permitted | (unsigned long long)data[1].permitted << 32;
	return id;
}

static void assert_same(const struct identity *a, const struct identity *b)
{
	assert_int_equal(a->euid, b->euid);
	assert_int_equal(a->egid, b->egid);
	assert_int_equal(a->n_groups, b->n_groups);
	assert_int_equal(a->effective, b->effective);
	assert_memory_equal(a, b, sizeof(*a));
}

/* @n is the scenario's number for the file. */
static void make_file(struct actor *actor, int n, mode_t mode)
{
	char name[16];
	int fd;

	(void)snprintf(name, sizeof(name), "file%d", n); /* fits */
	fd = openat(actor->fixture->dir.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	actor->file_errors[n] = fd < 0 || fstat(fd, &actor->files[n]) < 0 ? -errno : 0;
	close_keep_errno(fd);
}

/* Tells the main thread to look, and waits until it has. */
static void pause_for_main(struct actor *actor)
{
	sem_post(&actor->reached);
	actor->timed_out |= !test_sem_wait(&actor->go_on);
}

static void *actor_main(void *argument)
{
	struct actor *actor = argument;

	actor->scenario(actor);
	sem_post(&actor->done);
	return NULL;
}

/* Runs a scenario; @look, which may be NULL, is called in the main thread when it pauses. */
static void act(struct actor *actor, struct fixture *f, void (*scenario)(struct actor *actor),
		void (*look)(struct fixture *f, struct identity *ret), struct identity *ret)
{
	pthread_t thread;
	bool reached = true;

	*actor = (struct actor){ .fixture = f, .scenario = scenario };
	assert_int_equal(sem_init(&actor->done, 0, 0), 0);
	assert_int_equal(sem_init(&actor->go_on, 0, 0), 0);
	assert_int_equal(sem_init(&actor->reached, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, actor_main, actor), 0);
	if (look) {
		reached = test_sem_wait(&actor->reached);
		look(f, ret);
	}
	sem_post(&actor->go_on);
	pthread_join(thread, NULL); /* bounded by the watchdog */
	assert_true(reached);
	assert_false(actor->timed_out);
}

static bool can_switch(void)
{
	unsigned long long needed = CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID);

	return geteuid() == 0 && (identity().effective & needed) == needed;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	if (test_dir_make(&f->dir) < 0 || fchmod(f->dir.fd, 0777) < 0 ||
	    cred_new(UID, GID, (const gid_t[]){ 7, 8 }, 2, &f->a) < 0 ||
	    cred_new(UID + 1, GID + 1, NULL, 0, &f->b) < 0 ||
	    cred_new(0, 0, (const gid_t[]){ 9 }, 1, &f->root) < 0)
		return -1;
	f->before = identity();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cred_unref(f->a);
	cred_unref(f->b);
	cred_unref(f->root);
	test_dir_remove(&f->dir);
	free(f);
	return 0;
}

static struct fixture *fixture_of_root(void **state)
{
	if (!can_switch()) {
		print_message("only root can become somebody else\n");
		skip();
	}
	return *state;
}

static void look_identity(struct fixture *f, struct identity *ret)
{
	(void)f;
	*ret = identity();
}

static void adopt_and_back(struct actor *actor)
{
	struct cred *a = actor->fixture->a;

	actor->results[0] = cred_thread_init(&actor->thread, false);
	actor->seen[0] = identity();
	actor->results[1] = cred_adopt(&actor->thread, a);
	actor->seen[1] = identity();
	make_file(actor, 0, 0640);
	pause_for_main(actor);
	actor->results[2] = cred_adopt(&actor->thread, NULL);
	actor->seen[2] = identity();
	actor->results[3] = cred_adopt(&actor->thread, NULL);
	actor->seen[3] = identity();
	actor->refs[0] = a->refs;
	cred_thread_destroy(&actor->thread);
}

static void test_cred_adopt_is_complete_and_undone(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct identity main_thread;
	struct actor actor;

	act(&actor, f, adopt_and_back, look_identity, &main_thread);
	for (int i = 0; i < 4; i++)
		assert_int_equal(actor.results[i], 0);
	assert_int_equal(actor.seen[1].euid, UID);
	assert_int_equal(actor.seen[1].egid, GID);
	assert_int_equal(actor.seen[1].n_groups, 2);
	assert_int_equal(actor.seen[1].groups[0], 7);
	assert_int_equal(actor.seen[1].groups[1], 8);
	assert_int_equal(actor.seen[1].effective, 0);
	assert_int_equal(actor.file_errors[0], 0);
	assert_int_equal(actor.files[0].st_uid, UID);
	assert_int_equal(actor.files[0].st_gid, GID);
	/* nobody else has changed */
	assert_same(&main_thread, &f->before);
	/* and this one is back as it was */
	assert_same(&actor.seen[2], &actor.seen[0]);
	assert_same(&actor.seen[3], &actor.seen[0]);
	assert_int_equal(actor.seen[0].euid, f->before.euid);
	assert_int_equal(actor.refs[0], 1);
}

static void adopt_several(struct actor *actor)
{
	struct fixture *f = actor->fixture;

	(void)cred_thread_init(&actor->thread, false);
	actor->results[0] = cred_adopt(&actor->thread, f->a);
	actor->results[1] = cred_adopt(&actor->thread, f->a);
	actor->seen[0] = identity();
	actor->refs[0] = f->a->refs;
	actor->results[2] = cred_adopt(&actor->thread, f->b);
	actor->seen[1] = identity();
	actor->refs[1] = f->a->refs;
	actor->results[3] = cred_adopt(&actor->thread, f->root);
	actor->seen[2] = identity();
	actor->results[4] = cred_adopt(&actor->thread, f->a);
	actor->seen[3] = identity();
	cred_thread_destroy(&actor->thread);
	actor->refs[2] = f->a->refs;
}

static void test_cred_adopt_one_after_the_other(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct actor actor;

	act(&actor, f, adopt_several, NULL, NULL);
	for (int i = 0; i < 5; i++)
		assert_int_equal(actor.results[i], 0);
	assert_int_equal(actor.seen[0].euid, UID);
	assert_int_equal(actor.refs[0], 2); /* the fixture's and the thread's, however often */
	assert_int_equal(actor.seen[1].euid, UID + 1);
	assert_int_equal(actor.seen[1].egid, GID + 1);
	assert_int_equal(actor.seen[1].n_groups, 0);
	assert_int_equal(actor.seen[1].effective, 0);
	assert_int_equal(actor.refs[1], 1);
	/* Root acts with all that the daemon had, CAP_FSETID included. */
	assert_int_equal(actor.seen[2].euid, 0);
	assert_int_equal(actor.seen[2].egid, 0);
	assert_int_equal(actor.seen[2].n_groups, 1);
	assert_int_equal(actor.seen[2].groups[0], 9);
	assert_int_equal(actor.seen[2].effective, f->before.effective);
	assert_same(&actor.seen[3], &actor.seen[0]);
	assert_int_equal(actor.refs[2], 1);
}

/* An id of -1 means "leave it" to the kernel: whoever asks with it must not act as the daemon. */
static void adopt_nobody_at_all(struct actor *actor)
{
	struct cred *cred = NULL;

	(void)cred_thread_init(&actor->thread, false);
	actor->seen[0] = identity();
	for (int i = 0; i < 2; i++) {
		uid_t uid = i == 0 ? (uid_t)-1 : UID;
		gid_t gid = i == 0 ? GID : (gid_t)-1;

		actor->results[i] = cred_new(uid, gid, NULL, 0, &cred);
		if (actor->results[i] < 0)
			continue;
		actor->results[i] = cred_adopt(&actor->thread, cred);
		cred_unref(cred);
	}
	(void)cred_adopt(&actor->thread, NULL);
	actor->results[2] = cred_adopt_owner(&actor->thread, (uid_t)-1, GID);
	actor->results[3] = cred_adopt_owner(&actor->thread, UID, (gid_t)-1);
	(void)cred_adopt(&actor->thread, NULL);
	actor->seen[1] = identity();
	cred_thread_destroy(&actor->thread);
}

static void test_cred_adopt_refuses_invalid_ids(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct actor actor;

	act(&actor, f, adopt_nobody_at_all, NULL, NULL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(actor.results[i], -EINVAL);
	assert_same(&actor.seen[1], &actor.seen[0]);
}

static void own_files(struct actor *actor)
{
	struct fixture *f = actor->fixture;

	(void)cred_thread_init(&actor->thread, false);
	actor->seen[0] = identity();
	actor->results[0] = cred_adopt_owner(&actor->thread, UID, GID);
	actor->seen[1] = identity();
	make_file(actor, 0, 0640);
	pause_for_main(actor);
	actor->results[1] = cred_adopt_owner(&actor->thread, UID + 1, 0);
	make_file(actor, 1, 0640);
	actor->results[2] = cred_adopt(&actor->thread, f->a);
	actor->seen[2] = identity();
	make_file(actor, 2, 0640);
	actor->results[3] = cred_adopt_owner(&actor->thread, 0, GID);
	make_file(actor, 3, 0640);
	actor->results[4] = cred_adopt(&actor->thread, NULL);
	actor->seen[3] = identity();
	cred_thread_destroy(&actor->thread);
}

static void test_cred_adopt_owner(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct identity main_thread;
	struct actor actor;

	/*
	 * The caller's permissions were checked before; what the directory allows does not matter.
	 */
	assert_int_equal(fchmod(f->dir.fd, 0700), 0);
	act(&actor, f, own_files, look_identity, &main_thread);
	for (int i = 0; i < 5; i++)
		assert_int_equal(actor.results[i], 0);
	assert_int_equal(actor.file_errors[0], 0);
	assert_int_equal(actor.files[0].st_uid, UID);
	assert_int_equal(actor.files[0].st_gid, GID);
	assert_int_equal(actor.seen[1].effective,
			 f->before.effective & (CAP_BIT(CAP_DAC_OVERRIDE) |
						CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_MKNOD)));
	assert_int_equal(actor.file_errors[1], 0);
	assert_int_equal(actor.files[1].st_uid, UID + 1);
	assert_int_equal(actor.files[1].st_gid, 0);
	/* A full identity afterwards has none of the overrides. */
	assert_int_equal(actor.seen[2].effective, 0);
	assert_int_equal(actor.seen[2].n_groups, 2);
	assert_int_equal(actor.file_errors[2], -EACCES);
	assert_int_equal(actor.file_errors[3], 0);
	assert_int_equal(actor.files[3].st_uid, 0);
	assert_int_equal(actor.files[3].st_gid, GID);
	assert_same(&actor.seen[3], &actor.seen[0]);
	assert_same(&main_thread, &f->before);
}

static void take_space(struct actor *actor)
{
	struct fixture *f = actor->fixture;

	(void)cred_thread_init(&actor->thread, false);
	actor->seen[0] = identity();
	actor->results[0] = cred_adopt_space(&actor->thread, UID);
	actor->seen[1] = identity();
	actor->results[1] = (int)syscall(SYS_setfsuid, -1); /* changes nothing, tells what it is */
	actor->results[2] = cred_adopt(&actor->thread, f->a);
	actor->seen[2] = identity();
	actor->results[3] = cred_adopt_space(&actor->thread, 0);
	actor->seen[3] = identity();
	actor->results[4] = cred_adopt_space(&actor->thread, UID + 1);
	actor->results[5] = cred_adopt(&actor->thread, NULL);
	actor->seen[4] = identity();
	actor->results[6] = (int)syscall(SYS_setfsuid, -1);
	cred_thread_destroy(&actor->thread);
}

static void test_cred_adopt_space(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct actor actor;

	act(&actor, f, take_space, NULL, NULL);
	assert_int_equal(actor.results[0], 0);
	assert_int_equal(actor.results[1], UID);
	assert_int_equal(actor.seen[1].euid, 0);
	assert_int_equal(actor.seen[1].effective & CAP_BIT(CAP_SYS_RESOURCE), 0);
	assert_int_equal(actor.seen[1].effective & CAP_BIT(CAP_FSETID), 0);
	assert_int_equal(actor.seen[1].effective & CAP_BIT(CAP_SYS_ADMIN),
			 f->before.effective & CAP_BIT(CAP_SYS_ADMIN));
	assert_int_equal(actor.results[2], 0);
	assert_int_equal(actor.seen[2].euid, UID);
	assert_int_equal(actor.seen[2].effective, 0);
	assert_int_equal(actor.results[3], 0);
	assert_same(&actor.seen[3], &actor.seen[0]);
	assert_int_equal(actor.results[4], 0);
	assert_int_equal(actor.results[5], 0);
	assert_same(&actor.seen[4], &actor.seen[0]);
	assert_int_equal(actor.results[6], 0);
}

/* Writes to a setuid file, and looks whether it still is one. */
static void write_setuid(struct actor *actor, int n)
{
	char name[16];
	int fd;

	(void)snprintf(name, sizeof(name), "file%d", n); /* fits */
	fd = openat(actor->fixture->dir.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	actor->file_errors[n] = fd < 0 || fchmod(fd, 04755) < 0 || write(fd, "x", 1) != 1 ||
						fstat(fd, &actor->files[n]) < 0 ?
					-errno :
					0;
	close_keep_errno(fd);
}

static void drop_fsetid(struct actor *actor)
{
	actor->results[0] = cred_thread_init(&actor->thread, false);
	actor->seen[0] = identity();
	write_setuid(actor, 0);
	cred_thread_destroy(&actor->thread);
}

static void keep_fsetid(struct actor *actor)
{
	actor->results[0] = cred_thread_init(&actor->thread, true);
	actor->seen[0] = identity();
	write_setuid(actor, 1);
	cred_thread_destroy(&actor->thread);
}

static void test_cred_thread_init_fsetid(void **state)
{
	struct fixture *f = fixture_of_root(state);
	struct actor actor;

	act(&actor, f, drop_fsetid, NULL, NULL);
	assert_int_equal(actor.results[0], 0);
	assert_int_equal(actor.seen[0].effective, f->before.effective & ~CAP_BIT(CAP_FSETID));
	assert_int_equal(actor.seen[0].permitted, f->before.permitted);
	assert_int_equal(actor.file_errors[0], 0);
	assert_int_equal(actor.files[0].st_mode & 07777, 0755);

	act(&actor, f, keep_fsetid, NULL, NULL);
	assert_same(&actor.seen[0], &f->before);
	assert_int_equal(actor.file_errors[1], 0);
	if (f->before.effective & CAP_BIT(CAP_FSETID))
		assert_int_equal(actor.files[1].st_mode & 07777, 04755);
}

static void use_umask(struct actor *actor)
{
	actor->results[0] = cred_thread_init(&actor->thread, false);
	make_file(actor, 0, 0666);
	cred_set_umask(&actor->thread, 0077);
	make_file(actor, 1, 0666);
	pause_for_main(actor);
	cred_set_umask(&actor->thread, 0077);
	make_file(actor, 2, 0666);
	cred_set_umask(&actor->thread, 0);
	make_file(actor, 3, 0666);
	cred_thread_destroy(&actor->thread);
}

static void look_umask(struct fixture *f, struct identity *ret)
{
	int fd = openat(f->dir.fd, "main", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	struct stat st = { 0 };

	if (fd >= 0 && fstat(fd, &st) == 0)
		ret->euid = st.st_mode & 0777; /* a place to put it */
	close_keep_errno(fd);
}

static void test_cred_set_umask_of_one_thread(void **state)
{
	struct fixture *f = *state;
	struct identity look = { 0 };
	mode_t old = umask(0027);
	struct actor actor;

	act(&actor, f, use_umask, look_umask, &look);
	(void)umask(old);
	for (int i = 0; i < 4; i++)
		assert_int_equal(actor.file_errors[i], 0);
	assert_int_equal(actor.files[0].st_mode & 0777, 0666);
	assert_int_equal(actor.files[1].st_mode & 0777, 0600);
	assert_int_equal(actor.files[2].st_mode & 0777, 0600);
	assert_int_equal(actor.files[3].st_mode & 0777, 0666);
	assert_int_equal(look.euid, 0640);
}

static void test_cred_new(void **state)
{
	struct fixture *f = *state;
	const gid_t groups[] = { 3, 1, 2 };
	struct cred *cred = NULL;

	assert_int_equal(cred_new(1, 2, groups, CRED_GROUPS_MAX + 1, &cred), -EINVAL);
	assert_null(cred);
	assert_int_equal(cred_new(1, 2, groups, 3, &cred), 0);
	assert_int_equal(cred->uid, 1);
	assert_int_equal(cred->gid, 2);
	assert_int_equal(cred->n_groups, 3);
	assert_memory_equal(cred->groups, groups, sizeof(groups));
	assert_ptr_equal(cred_ref(cred), cred);
	cred_unref(cred);
	assert_int_equal(cred->refs, 1);
	cred_unref(cred);
	cred_unref(NULL);
	assert_null(cred_ref(NULL));
	assert_int_equal(f->a->refs, 1);
}

/* Who is not root acts as itself for everybody. */
static void test_cred_adopt_unprivileged(void **state)
{
	struct fixture *f = *state;
	struct actor actor;

	if (can_switch())
		skip();
	act(&actor, f, adopt_and_back, look_identity, &actor.seen[7]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(actor.results[i], 0);
	assert_same(&actor.seen[1], &actor.seen[0]);
	assert_int_equal(actor.seen[1].euid, f->before.euid);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cred_new),
		TEST(test_cred_adopt_is_complete_and_undone),
		TEST(test_cred_adopt_one_after_the_other),
		TEST(test_cred_adopt_refuses_invalid_ids),
		TEST(test_cred_adopt_owner),
		TEST(test_cred_adopt_space),
		TEST(test_cred_thread_init_fsetid),
		TEST(test_cred_set_umask_of_one_thread),
		TEST(test_cred_adopt_unprivileged),
	};

	test_begin(argc, argv);
	return cmocka_run_group_tests_name("cred", tests, NULL, NULL);
}
