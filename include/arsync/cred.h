/* SPDX-License-Identifier: MIT */
/*
 * cred.h - acting as somebody else, thread by thread.
 *
 * Linux credentials belong to threads; glibc's set*id() wrappers hide that and change all of
 * them (nptl(7)), so this module uses the raw system calls. A thread that wants to act for a caller
 * initialises a cred_thread once, and adopts an identity for the length of a task.
 *
 * Only a privileged daemon (CAP_SETUID and CAP_SETGID) can become somebody else. An unprivileged
 * one acts as itself for everybody; adopting then checks nothing and changes only the umask.
 */
#ifndef ARSYNC_CRED_H
#define ARSYNC_CRED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CRED_GROUPS_MAX 65536 /* NGROUPS_MAX of Linux */

/** Somebody's full identity. Immutable once made, reference counted, any thread. */
struct cred {
	unsigned refs; /* atomic */
	uid_t uid;
	gid_t gid;
	size_t n_groups;
	gid_t groups[];
};

/**
 * Allocates an identity with one reference. @groups is copied. -ENOMEM, -EINVAL (too many groups).
 */
int cred_new(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups, struct cred **ret);
struct cred *cred_ref(struct cred *cred);
/** Accepts NULL. */
void cred_unref(struct cred *cred);

/** What a thread needs to know to change its identity and back. Owned and used by one thread. */
struct cred_thread {
	bool can_switch; /* the daemon may become somebody else */
	bool switched;	 /* an identity is adopted now */
	mode_t umask;	 /* the thread's umask now */
	uid_t own_uid;
	gid_t own_gid;
	unsigned long long full_effective; /* all capabilities that it may have */
	unsigned long long own_effective;  /* capabilities when not switched */
	size_t own_n_groups;
	gid_t *own_groups;
	struct cred *adopted; /* by cred_adopt(); a reference */
};

/**
 * Prepares the calling thread: gives it a umask of its own (unshare(2), CLONE_FS), which becomes 0,
 * and drops CAP_FSETID from its effective set unless @keep_fsetid, so that writes, copies and
 * fallocate strip setuid and setgid bits as they do for ordinary users. -errno when the kernel
 * refuses.
 */
int cred_thread_init(struct cred_thread *thread, bool keep_fsetid);
void cred_thread_destroy(struct cred_thread *thread);

/**
 * Makes the calling thread act with @cred's full identity (uid, gid, groups; no capabilities unless
 * it is root, then all that the daemon started with), or, with NULL, as the daemon again. Adopting
 * what is already adopted costs nothing. A reference to @cred is kept as long as it is adopted.
 * -errno: the thread acts as the daemon then, and the caller must give up what it was about to do.
 */
int cred_adopt(struct cred_thread *thread, struct cred *cred);

/**
 * Lighter: makes what the calling thread creates belong to @uid and @gid, without its groups being
 * known. The file system permission checks are overridden, because the kernel has made them already
 * (default_permissions). Undo with cred_adopt(thread, NULL).
 */
int cred_adopt_owner(struct cred_thread *thread, uid_t uid, gid_t gid);

/**
 * Gives the calling thread all capabilities that the daemon has, CAP_FSETID among them: for what root
 * asks for. Undo with cred_adopt(thread, NULL).
 */
int cred_adopt_privileges(struct cred_thread *thread);

/**
 * Makes the calling thread take space as @uid, whose quota and lack of a right to reserved blocks then
 * count. For what is done to files that are open already: it may open nothing. It keeps CAP_SYS_ADMIN,
 * to register files for kernel passthrough. Undo with cred_adopt(thread, NULL).
 */
int cred_adopt_space(struct cred_thread *thread, uid_t uid);

/** Sets the calling thread's umask; costs nothing when it is the same as before. */
void cred_set_umask(struct cred_thread *thread, mode_t mask);

#endif /* ARSYNC_CRED_H */
