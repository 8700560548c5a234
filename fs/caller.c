/* SPDX-License-Identifier: MIT */
/*
 * caller.c - identities of requests, on top of arsync/cred.h.
 */
#include "caller.h"

#include <string.h>

#include "arsync/base.h"
#include "arsync/cred.h"
#include "setid.h"

#define FIRST_GROUPS 64

static void free_thread(void *data)
{
	cred_thread_destroy(data);
	free(data);
}

int caller_init(struct session *session)
{
	return -pthread_key_create(&session->callers, free_thread);
}

void caller_destroy(struct session *session)
{
	struct cred_thread *own = pthread_getspecific(session->callers);

	/* Other threads have ended, and theirs with them. */
	if (own)
		free_thread(own);
	(void)pthread_key_delete(session->callers); /* fails only for a key that is none */
}

int caller_thread(struct session *session, struct cred_thread **ret)
{
	struct cred_thread *thread = pthread_getspecific(session->callers);
	int r;

	if (thread) {
		*ret = thread;
		return 0;
	}
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return -ENOMEM;
	r = cred_thread_init(thread, false);
	if (r < 0) {
		log_error(session->log, "cannot give a thread a umask and identity of its own: %s",
			  strerror(-r));
		free(thread);
		return r;
	}
	r = -pthread_setspecific(session->callers, thread);
	if (r < 0) {
		free_thread(thread);
		return r;
	}
	*ret = thread;
	return 0;
}

int caller_begin_member(struct session *session, uid_t uid, gid_t gid, struct cred_thread **ret)
{
	struct cred_thread *thread;
	int r;

	r = caller_thread(session, &thread);
	if (r < 0)
		return r;
	r = cred_adopt_owner(thread, uid, gid);
	if (r < 0)
		return r;
	*ret = thread;
	return 0;
}

/* A setgid bit is kept if one of the caller's groups is the new file's: all of them are needed. */
static int adopt_with_groups(struct cred_thread *thread, fuse_req_t req)
{
	struct cred *cred;
	int r = caller_identity(req, &cred);

	if (r < 0)
		return r;
	r = cred_adopt(thread, cred);
	cred_unref(cred);
	return r;
}

/* Root keeps the setgid bit of what it makes for another group, unless it has given that up. */
static int adopt_root(struct cred_thread *thread, gid_t gid)
{
	struct cred *cred;
	int r = cred_new(0, gid, NULL, 0, &cred);

	if (r < 0)
		return r;
	r = cred_adopt(thread, cred);
	cred_unref(cred);
	return r;
}

int caller_begin_create(struct session *session, fuse_req_t req, mode_t mode,
			struct cred_thread **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct cred_thread *thread;
	int r;

	r = caller_thread(session, &thread);
	if (r < 0)
		return r;
	cred_set_umask(thread, ctx->umask);
	if (ctx->uid != 0 && (mode & S_ISGID))
		r = adopt_with_groups(thread, req);
	else if ((mode & S_ISGID) && !setid_caller_strips(session, req))
		r = adopt_root(thread, ctx->gid);
	else if (ctx->uid != 0 || ctx->gid != 0)
		r = cred_adopt_owner(thread, ctx->uid, ctx->gid);
	if (r < 0)
		return r;
	*ret = thread;
	return 0;
}

int caller_begin_root(struct session *session, struct cred_thread **ret)
{
	struct cred_thread *thread;
	int r;

	r = caller_thread(session, &thread);
	if (r < 0)
		return r;
	r = cred_adopt_privileges(thread);
	if (r < 0)
		return r;
	*ret = thread;
	return 0;
}

int caller_begin_space(struct session *session, uid_t uid, struct cred_thread **ret)
{
	struct cred_thread *thread;
	int r;

	if (uid == 0)
		return 0;
	r = caller_thread(session, &thread);
	if (r < 0)
		return r;
	r = cred_adopt_space(thread, uid);
	if (r < 0)
		return r;
	*ret = thread;
	return 0;
}

bool caller_can_be_served(struct session *session, fuse_req_t req)
{
	struct cred_thread *thread;

	if (caller_thread(session, &thread) < 0)
		return false;
	return thread->can_switch || fuse_req_ctx(req)->uid == thread->own_uid;
}

void caller_end(struct cred_thread *thread)
{
	int r;

	if (!thread)
		return;
	r = cred_adopt(thread, NULL);
	/* Going on as somebody else would hand out one user's rights to another. */
	if (r < 0)
		abort();
}

/* The caller's supplementary groups: how many, or -errno. */
static int read_groups(fuse_req_t req, gid_t **ret)
{
	_cleanup_free_ gid_t *groups = NULL;
	int room = FIRST_GROUPS;
	int n;

	for (;;) {
		free(groups);
		groups = reallocarray(NULL, (size_t)room, sizeof(*groups));
		if (!groups)
			return -ENOMEM;
		n = fuse_req_getgroups(req, room, groups);
		if (n <= room)
			break;
		if (n > CRED_GROUPS_MAX)
			return -EACCES;
		room = n;
	}
	if (n < 0)
		return -EACCES;
	*ret = TAKE_PTR(groups);
	return n;
}

int caller_identity(fuse_req_t req, struct cred **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	_cleanup_free_ gid_t *groups = NULL;
	int n;

	if (ctx->uid == 0) {
		*ret = NULL;
		return 0;
	}
	n = read_groups(req, &groups);
	return n < 0 ? n : cred_new(ctx->uid, ctx->gid, groups, (size_t)n, ret);
}

bool caller_in_group(fuse_req_t req, gid_t gid)
{
	_cleanup_free_ gid_t *groups = NULL;
	bool found = fuse_req_ctx(req)->gid == gid;
	int n = found ? 0 : read_groups(req, &groups);

	for (int i = 0; i < n && !found; i++)
		found = groups[i] == gid;
	return found;
}
