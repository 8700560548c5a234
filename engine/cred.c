/* SPDX-License-Identifier: MIT */
/*
 * cred.c - per-thread credentials with the raw system calls.
 *
 * Order matters: the groups and the gid are changed while the thread still has CAP_SETGID, the uid
 * last; back again the uid comes first, which restores the capabilities (capabilities(7), "Effect
 * of user ID changes": a change of the effective uid from 0 clears the effective set, back to 0
 * copies the permitted set into it). Real and saved ids stay the daemon's, so the way back is
 * always open.
 */
#include "arsync/cred.h"

#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "arsync/base.h"

#define CAP_BIT(cap) (1ULL << (cap))

int cred_new(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, struct cred **ret)
{
	struct cred *cred;

	if (n_groups > CRED_GROUPS_MAX)
		return -EINVAL;
	cred = malloc(sizeof(*cred) + n_groups * sizeof(gid_t));
	if (!cred)
		return -ENOMEM;
	cred->refs = 1;
	cred->uid = uid;
	cred->gid = gid;
	cred->n_groups = n_groups;
	if (n_groups > 0)
		memcpy(cred->groups, groups, n_groups * sizeof(gid_t));
	*ret = cred;
	return 0;
}

struct cred *cred_ref(struct cred *cred)
{
	if (cred)
		__atomic_add_fetch(&cred->refs, 1, __ATOMIC_RELAXED);
	return cred;
}

void cred_unref(struct cred *cred)
{
	if (cred && __atomic_sub_fetch(&cred->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(cred);
}

static int caps_read(unsigned long long *ret_effective, unsigned long long *ret_permitted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return negative_errno();
	*ret_effective = data[0].effective | (unsigned long long)data[1].effective << 32;
	*ret_permitted = data[0].permitted | (unsigned long long)data[1].permitted << 32;
	return 0;
}

/* Sets the calling thread's effective set; permitted and inheritable stay. */
static int caps_set_effective(unsigned long long effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return negative_errno();
	data[0].effective = (uint32_t)effective & data[0].permitted;
	data[1].effective = (uint32_t)(effective >> 32) & data[1].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return negative_errno();
	return 0;
}

static int groups_read(struct cred_thread *thread)
{
	long n = syscall(SYS_getgroups, 0, NULL);

	if (n < 0)
		return negative_errno();
	thread->own_groups = calloc((size_t)n + 1, sizeof(gid_t));
	if (!thread->own_groups)
		return -ENOMEM;
	n = syscall(SYS_getgroups, n, thread->own_groups);
	if (n < 0)
		return negative_errno();
	thread->own_n_groups = (size_t)n;
	return 0;
}

int cred_thread_init(struct cred_thread *thread, bool keep_fsetid)
{
	unsigned long long effective, permitted;
	int r;

	*thread = (struct cred_thread){
		.own_uid = (uid_t)syscall(SYS_geteuid),
		.own_gid = (gid_t)syscall(SYS_getegid),
	};
	r = caps_read(&effective, &permitted);
	if (r < 0)
		return r;
	r = groups_read(thread);
	if (r < 0)
		return r;
	/*
	 * Threads started by one that has dropped CAP_FSETID still have it in their permitted set.
	 */
	thread->full_effective = permitted;
	if (!keep_fsetid && (effective & CAP_BIT(CAP_FSETID))) {
		effective &= ~CAP_BIT(CAP_FSETID);
		r = caps_set_effective(effective);
		if (r < 0)
			return r;
	}
	thread->own_effective = effective;
	thread->can_switch = thread->own_uid == 0 && (effective & CAP_BIT(CAP_SETUID)) &&
			     (effective & CAP_BIT(CAP_SETGID));
	if (unshare(CLONE_FS) < 0)
		return negative_errno();
	(void)umask(0); /* cannot fail */
	return 0;
}

void cred_thread_destroy(struct cred_thread *thread)
{
	free(TAKE_PTR(thread->own_groups));
	cred_unref(TAKE_PTR(thread->adopted));
}

/* -1 would mean "no change" to the kernel: the thread would go on as root. */
static int set_ids(uid_t uid, gid_t gid, bool uid_first)
{
	if (uid == (uid_t)-1 || gid == (gid_t)-1)
		return -EINVAL;
	if (uid_first && syscall(SYS_setresuid, -1, uid, -1) < 0)
		return negative_errno();
	if (syscall(SYS_setresgid, -1, gid, -1) < 0)
		return negative_errno();
	if (!uid_first && syscall(SYS_setresuid, -1, uid, -1) < 0)
		return negative_errno();
	return 0;
}

/*
 * Back to the daemon's own identity. A thread that cannot go back must not go on: nothing that it
 * did would be right.
 */
static void restore(struct cred_thread *thread)
{
	if (set_ids(thread->own_uid, thread->own_gid, true) < 0 ||
	    syscall(SYS_setgroups, thread->own_n_groups, thread->own_groups) < 0 ||
	    caps_set_effective(thread->own_effective) < 0)
		abort();
	thread->switched = false;
	cred_unref(TAKE_PTR(thread->adopted));
}

int cred_adopt(struct cred_thread *thread, struct cred *cred)
{
	int r;

	if (!thread->can_switch || (thread->adopted == cred && thread->switched == (cred != NULL)))
		return 0;
	if (thread->switched)
		restore(thread);
	if (!cred)
		return 0;
	thread->switched = true;
	if (syscall(SYS_setgroups, cred->n_groups, cred->groups) < 0)
		r = negative_errno();
	else
		r = set_ids(cred->uid, cred->gid, false);
	if (r == 0 && cred->uid == thread->own_uid)
		r = caps_set_effective(
			thread->full_effective); /* root acts with all that root has */
	if (r < 0) {
		restore(thread);
		return r;
	}
	thread->adopted = cred_ref(cred);
	return 0;
}

int cred_adopt_owner(struct cred_thread *thread, uid_t uid, gid_t gid)
{
	const unsigned long long overrides = CAP_BIT(CAP_DAC_OVERRIDE) |
					     CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_MKNOD);
	int r;

	if (!thread->can_switch)
		return 0;
	if (thread->switched)
		restore(thread);
	if (uid == thread->own_uid && gid == thread->own_gid)
		return 0;
	thread->switched = true;
	r = set_ids(uid, gid, false);
	if (r == 0 && uid != thread->own_uid)
		r = caps_set_effective(overrides & thread->own_effective);
	if (r < 0)
		restore(thread);
	return r;
}

int cred_adopt_privileges(struct cred_thread *thread)
{
	int r;

	if (!thread->can_switch)
		return 0;
	if (thread->switched)
		restore(thread);
	thread->switched = true;
	r = caps_set_effective(thread->full_effective);
	if (r < 0)
		restore(thread);
	return r;
}

/*
 * File systems look at the uid for files (ext4: reserved blocks) and for CAP_SYS_RESOURCE (quotas).
 * restore() sets the former with the other uids.
 */
int cred_adopt_space(struct cred_thread *thread, uid_t uid)
{
	/* The latter two are restore()'s: the thread stays root but for files. */
	const unsigned long long kept = CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_SETUID) |
					CAP_BIT(CAP_SETGID);
	int r;

	if (!thread->can_switch)
		return 0;
	if (thread->switched)
		restore(thread);
	if (uid == thread->own_uid)
		return 0;
	thread->switched = true;
	(void)syscall(SYS_setfsuid, uid); /* returns the uid before; asking again is how to know */
	r = (uid_t)syscall(SYS_setfsuid, -1) == uid ? 0 : -EPERM;
	if (r == 0)
		r = caps_set_effective(kept & thread->own_effective);
	if (r < 0)
		restore(thread);
	return r;
}

void cred_set_umask(struct cred_thread *thread, mode_t mask)
{
	if (thread->umask == mask)
		return;
	(void)umask(mask); /* cannot fail */
	thread->umask = mask;
}
