/* SPDX-License-Identifier: MIT */
/*
 * tree_link.c - see tree_link.h.
 */
#include "tree_link.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "inode_flags.h"
#include "tree.h"
#include "tree_dir.h"
#include "tree_batch.h"
#include "tree_merge.h"
#include "tree_open.h"

#define FIRST_BUCKETS 256
#define UNLOCK_TRIES 20 /* to link what is not to be changed */

enum link_state {
	LINK_COPYING,
	LINK_COPIED,
};

/* A name that came while the first one was being copied. */
struct waiter {
	struct waiter *next;
	struct tree_dir *dir; /* counts in its pending */
	char name[];
};

struct tree_link {
	/* set once */
	struct tree_link_inode inode;
	struct tree_dir *dir; /* a reference: of the first name */
	char *name;

	/* protected by tree_job::lock */
	struct tree_link *next; /* in its bucket */
	enum link_state state;
	nlink_t missing; /* names of the inode not seen yet */
	unsigned users;	 /* that link to it now; the table is not counted */
	bool dropped;	 /* out of the table: the last user frees it */
	struct waiter *waiters;
};

int tree_link_identify(int fd, const char *name, const struct stat *st, struct tree_link_inode *ret)
{
	struct statx stx;

	if (statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &stx) < 0)
		return negative_errno();
	if (stx.stx_ino != st->st_ino)
		return -ESTALE;
	*ret = (struct tree_link_inode){ .dev = st->st_dev, .ino = st->st_ino };
	if (stx.stx_mask & STATX_BTIME) {
		ret->born.tv_sec = stx.stx_btime.tv_sec;
		ret->born.tv_nsec = stx.stx_btime.tv_nsec;
	} else { /* not ctime: each further link changes it */
		ret->born = st->st_mtim;
		ret->size = st->st_size;
	}
	return 0;
}

static bool is_same(const struct tree_link_inode *a, const struct tree_link_inode *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->born.tv_sec == b->born.tv_sec &&
	       a->born.tv_nsec == b->born.tv_nsec && a->size == b->size;
}

static size_t bucket_of(const struct tree_link_table *table, const struct tree_link_inode *inode)
{
	uint64_t hash =
		((uint64_t)inode->ino ^ (uint64_t)inode->dev << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return (hash >> 32) & (table->n_buckets - 1);
}

static struct tree_link *find_locked(struct tree_link_table *table,
				     const struct tree_link_inode *inode)
{
	struct tree_link *link;

	if (table->n_buckets == 0)
		return NULL;
	for (link = table->buckets[bucket_of(table, inode)]; link; link = link->next)
		if (is_same(&link->inode, inode))
			return link;
	return NULL;
}

static void insert_locked(struct tree_link_table *table, struct tree_link *link)
{
	struct tree_link **bucket = &table->buckets[bucket_of(table, &link->inode)];

	link->next = *bucket;
	*bucket = link;
	table->n_links++;
}

static void remove_locked(struct tree_link_table *table, struct tree_link *link)
{
	struct tree_link **at = &table->buckets[bucket_of(table, &link->inode)];

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	table->n_links--;
	link->dropped = true;
}

/*
 * Doubles the table when it is full. Without memory it stays as it is, only slower, unless there is
 * none yet.
 */
static int grow_locked(struct tree_link_table *table)
{
	struct tree_link_table grown = { .n_buckets =
						 MAX(2 * table->n_buckets, (size_t)FIRST_BUCKETS) };
	struct tree_link *link, *next;

	if (table->n_links < table->n_buckets)
		return 0;
	grown.buckets = calloc(grown.n_buckets, sizeof(*grown.buckets));
	if (!grown.buckets)
		return table->n_buckets > 0 ? 0 : -ENOMEM;
	for (size_t i = 0; i < table->n_buckets; i++) {
		for (link = table->buckets[i]; link; link = next) {
			next = link->next;
			insert_locked(&grown, link);
		}
	}
	free(table->buckets);
	*table = grown;
	return 0;
}

static void link_free(struct tree_link *link)
{
	if (!link)
		return;
	assert(!link->waiters);
	tree_dir_unref(link->dir);
	free(link->name);
	free(link);
}

static struct tree_link *link_new(struct tree_dir *dir, const char *name,
				  const struct tree_link_inode *inode, nlink_t nlink)
{
	struct tree_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->name = strdup(name);
	if (!link->name) {
		free(link);
		return NULL;
	}
	link->inode = *inode;
	link->dir = tree_dir_ref(dir);
	link->missing = nlink - 1;
	link->users = 1;
	return link;
}

/*
 * One more name of the inode was seen; the caller becomes a user. After the last one the table
 * needs it no more.
 */
static void seen_locked(struct tree_link_table *table, struct tree_link *link)
{
	link->users++;
	link->missing -= MIN(link->missing, (nlink_t)1);
	if (link->missing == 0)
		remove_locked(table, link);
}

static struct waiter *waiter_new(struct tree_dir *dir, const char *name)
{
	size_t size = strlen(name) + 1;
	struct waiter *waiter = calloc(1, sizeof(*waiter) + size);

	if (!waiter)
		return NULL;
	waiter->dir = dir;
	memcpy(waiter->name, name, size);
	return waiter;
}

int tree_link_claim(struct tree_dir *dir, const char *name, const struct tree_link_inode *inode,
		    nlink_t nlink, enum tree_link_claim *ret_claim, struct tree_link **ret_link)
{
	struct tree_job *tree = dir->tree;
	/* Made before the lock is taken; what is not needed is freed after it. */
	struct tree_link *fresh = link_new(dir, name, inode, nlink);
	struct waiter *waiter = waiter_new(dir, name);
	struct tree_link *link = NULL;
	int r = fresh && waiter ? 0 : -ENOMEM;

	pthread_mutex_lock(&tree->lock);
	if (r == 0)
		r = grow_locked(&tree->links);
	if (r == 0)
		link = find_locked(&tree->links, inode);
	if (r == 0 && !link) {
		*ret_claim = TREE_LINK_OWN;
		link = TAKE_PTR(fresh);
		insert_locked(&tree->links, link);
	} else if (r == 0 && link->state == LINK_COPYING) {
		*ret_claim = TREE_LINK_QUEUED;
		seen_locked(&tree->links, link);
		waiter->next = link->waiters;
		link->waiters = TAKE_PTR(waiter);
	} else if (r == 0) {
		*ret_claim = TREE_LINK_READY;
		seen_locked(&tree->links, link);
	}
	pthread_mutex_unlock(&tree->lock);
	*ret_link = link;
	link_free(fresh);
	free(waiter);
	return r;
}

static void put(struct tree_job *tree, struct tree_link *link)
{
	bool last;

	pthread_mutex_lock(&tree->lock);
	last = --link->users == 0 && link->dropped;
	pthread_mutex_unlock(&tree->lock);
	if (last)
		link_free(link);
}

/* The names to link, in open directories. */
struct pair_of_names {
	int from_dir;
	const char *from;
	int to_dir;
	const char *to;
};

static bool is_name_of(int dir_fd, const char *name, const struct stat *inode)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == inode->st_dev &&
	       st.st_ino == inode->st_ino;
}

/*
 * An inode that may only be appended to, or not be changed, takes no further name: EPERM. The flag is
 * taken away for a moment; another worker, which does the same, may come between.
 */
static int link_name(const struct pair_of_names *names, const char *to)
{
	for (unsigned i = 0; i < UNLOCK_TRIES; i++) {
		_cleanup_close_ int fd = -1;
		unsigned flags = 0;
		int r = 0;

		if (i > 0)
			flags = inode_flags_unlock_at(names->from_dir, names->from, &fd);
		if (linkat(names->from_dir, names->from, names->to_dir, to, 0) < 0)
			r = negative_errno();
		(void)inode_flags_set(fd, flags); /* as they were a moment ago */
		if (r != -EPERM)
			return r;
	}
	return -EPERM;
}

/* There is something else under the new name. */
static int replace_name(struct tree_job *tree, const struct pair_of_names *names)
{
	struct tree_merge_file merge = { .replace = true };
	int r;

	tree_merge_name(tree, &merge);
	r = link_name(names, merge.temp);
	if (r < 0)
		return r;
	r = tree_merge_publish(tree, &merge, names->to_dir, -1, names->to);
	tree_merge_discard(&merge, names->to_dir);
	return r;
}

static int add_name(const struct tree_job *tree, const struct pair_of_names *names)
{
	int r = link_name(names, names->to);

	if (r == 0)
		tree_changed(tree, names->to_dir, names->to, -1);
	return r;
}

/* Into a directory that exists. 1: what is there stays. */
static int merge_name(struct tree_job *tree, const struct pair_of_names *names)
{
	enum tree_existing existing = tree->options.existing;
	enum tree_merge_action action;
	struct stat first;
	int r;

	if (fstatat(names->from_dir, names->from, &first, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	r = tree_merge_decide(existing, names->to_dir, names->to, &first, &action);
	if (r < 0)
		return r;
	switch (action) {
	case TREE_MERGE_MAKE:
		return add_name(tree, names);
	case TREE_MERGE_LEAVE:
		return 1;
	case TREE_MERGE_UNCHANGED: /* which may be another inode */
		if (existing == TREE_EXISTING_SKIP || is_name_of(names->to_dir, names->to, &first))
			return 1;
		return replace_name(tree, names);
	case TREE_MERGE_REPLACE:
		return replace_name(tree, names);
	}
	return -EINVAL;
}

/* The file has one more name: its attributes say so. */
static void tell_linked(const struct tree_job *tree, const struct pair_of_names *names)
{
	_cleanup_close_ int fd = -1;

	if (!tree->changed)
		return;
	fd = openat(names->to_dir, names->to, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		tree_changed(tree, fd, NULL, -1);
}

static int make_name(struct tree_link *link, struct tree_dir *dir, const char *name)
{
	struct tree_job *tree = dir->tree;
	struct pair_of_names names = { .from = link->name, .to = name };
	int src_fd, r;

	r = tree_open_acquire(link->dir, &src_fd, &names.from_dir);
	if (r < 0)
		return r;
	r = tree_open_acquire(dir, &src_fd, &names.to_dir);
	if (r == 0) {
		r = tree->merging ? merge_name(tree, &names) : link_name(&names, name);
		if (r == 0 && tree->merging)
			tell_linked(tree, &names);
		tree_open_release(dir);
	}
	tree_open_release(link->dir);
	return r;
}

int tree_link_make(struct tree_link *link, struct tree_dir *dir, const char *name,
		   const char **ret_call)
{
	struct tree_job *tree = dir->tree;
	int r = make_name(link, dir, name);

	*ret_call = "linkat";
	if (r == 1)
		__atomic_add_fetch(&tree->job.skipped, 1, __ATOMIC_RELAXED); /* no file */
	else if (r == 0)
		__atomic_add_fetch(&tree->n_others, 1, __ATOMIC_RELAXED);
	put(tree, link);
	return MIN(r, 0);
}

/* Queues the copy of a name. @type: as of tree_batch_add(). */
static int queue_name(struct tree_dir *dir, const char *name, unsigned char type,
		      struct worker *worker)
{
	struct tree_batch *batch = NULL;
	int r = tree_batch_add(dir, &batch, name, type, worker);

	if (r == 0)
		tree_push(dir->tree, tree_batch_task(batch), worker);
	return r;
}

static void serve_waiter(struct tree_link *link, struct waiter *waiter, struct worker *worker)
{
	struct tree_job *tree = waiter->dir->tree;
	const char *call = "linkat";
	int r = 0;

	if (tree_is_stopping(tree) || tree_adopt(tree, worker) < 0) {
		put(tree, link);
	} else {
		r = tree_link_make(link, waiter->dir, waiter->name, &call);
		if (r == -EMLINK)
			r = queue_name(waiter->dir, waiter->name, TREE_COPY_ANEW, worker);
	}
	if (r < 0)
		tree_fail(tree, waiter->dir, waiter->name, call, r);
	tree_dir_done(waiter->dir, 1, worker);
	free(waiter);
}

/* The first name could not be copied: this one is tried on its own, as a first one if need be. */
static void release_waiter(struct tree_link *link, struct waiter *waiter, struct worker *worker)
{
	struct tree_job *tree = waiter->dir->tree;
	int r = 0;

	put(tree, link);
	if (!tree_is_stopping(tree))
		r = queue_name(waiter->dir, waiter->name, 0, worker);
	if (r < 0)
		tree_fail(tree, waiter->dir, waiter->name, "malloc", r);
	tree_dir_done(waiter->dir, 1, worker);
	free(waiter);
}

void tree_link_copied(struct tree_link *link, struct worker *worker)
{
	struct tree_job *tree = link->dir->tree;
	struct waiter *waiter, *next;

	pthread_mutex_lock(&tree->lock);
	link->state = LINK_COPIED;
	waiter = TAKE_PTR(link->waiters);
	pthread_mutex_unlock(&tree->lock);
	for (; waiter; waiter = next) {
		next = waiter->next;
		serve_waiter(link, waiter, worker);
	}
	put(tree, link);
}

void tree_link_failed(struct tree_link *link, struct worker *worker)
{
	struct tree_job *tree = link->dir->tree;
	struct waiter *waiter, *next;

	pthread_mutex_lock(&tree->lock);
	if (!link->dropped)
		remove_locked(&tree->links, link); /* who comes next is the first */
	waiter = TAKE_PTR(link->waiters);
	pthread_mutex_unlock(&tree->lock);
	for (; waiter; waiter = next) {
		next = waiter->next;
		release_waiter(link, waiter, worker);
	}
	put(tree, link);
}

void tree_link_table_destroy(struct tree_job *tree)
{
	struct tree_link *link, *next;

	for (size_t i = 0; i < tree->links.n_buckets; i++) {
		for (link = tree->links.buckets[i]; link; link = next) {
			next = link->next;
			assert(link->users == 0);
			link_free(link);
		}
	}
	free(TAKE_PTR(tree->links.buckets));
}
