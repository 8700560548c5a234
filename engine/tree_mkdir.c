/* SPDX-License-Identifier: MIT */
/*
 * tree_mkdir.c - see tree_mkdir.h.
 */
#include "tree_mkdir.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arsync/base.h"
#include "tree.h"
#include "tree_dir.h"
#include "tree_made.h"
#include "tree_note.h"
#include "tree_open.h"
#include "tree_publish.h"

/*
 * A directory that was there, such as that of the copy's root, may hand a group, a setgid bit and a
 * default ACL down.
 */
static int make_private(const struct tree_dir *dir, int dst_fd)
{
	const struct tree_job *tree = dir->tree;
	gid_t gid = tree->made.gid;
	struct stat st;
	int r = metadata_drop_acls(dst_fd);

	if (r < 0)
		return r;
	if (fchmod(dst_fd, 0700) < 0 || fstat(dst_fd, &st) < 0)
		return negative_errno();
	if (gid != (gid_t)-1 && st.st_gid != gid && fchown(dst_fd, (uid_t)-1, gid) < 0)
		return negative_errno();
	return 0;
}

/*
 * Others may write to the directory that it was made in: it has to be what was made, and is to be
 * closed to them. What they may have done until then shows when it is closed.
 */
static int claim(const struct tree_dir *dir, int dst_fd, const char **ret_call)
{
	int r;

	*ret_call = "mkdirat";
	r = tree_made_check_dir(dst_fd);
	if (r < 0)
		return r;
	*ret_call = "fchmod";
	r = make_private(dir, dst_fd);
	if (r < 0)
		return r;
	*ret_call = "mkdirat";
	return tree_made_check_dir(dst_fd);
}

/* 1: it was there. */
static int mkdir_step(const struct tree_dir *dir, int dst_at)
{
	const struct tree_job *tree = dir->tree;
	int r = dir->parent ? mkdirat(dst_at, dir->name, 0700) :
			      mkdirat(tree->dst_parent_fd, tree->staging, 0700);

	if (r < 0 && errno == EEXIST && tree->merging)
		return 1;
	return r < 0 ? negative_errno() : 0;
}

/* The source. */
static int look(struct tree_dir *dir, int src_fd)
{
	const struct tree_job *tree = dir->tree;
	struct stat src;

	/* The copy is in what is copied, and is seen there with other numbers: through another mount. */
	if (!tree->merging && dir->parent && strcmp(dir->name, tree->staging) == 0)
		return -EINVAL;
	if (fstat(src_fd, &src) < 0)
		return negative_errno();
	if (tree->forbidden_dev != 0 && src.st_dev == tree->forbidden_dev)
		return -ELOOP;
	dir->metadata = metadata_from_stat(&src);
	dir->foreign = tree->options.one_file_system && src.st_dev != tree->root_dev;
	return 0;
}

/* Both sides, below the two descriptors of the parent. */
static int make_step(struct tree_dir *dir, int src_at, int dst_at, int *ret_src_fd, int *ret_dst_fd,
		     const char **ret_call)
{
	struct tree_job *tree = dir->tree;
	_cleanup_close_ int src_fd = -1;
	int dst_fd, r;

	/* First of all: what has vanished is not made. */
	*ret_call = "openat";
	src_fd = tree_open_src(dir, src_at, false);
	r = src_fd < 0 ? src_fd : look(dir, src_fd);
	if (r < 0)
		return r;
	*ret_call = "mkdirat";
	r = mkdir_step(dir, dst_at);
	if (r < 0)
		return r;
	dir->existed = r == 1;
	if (!dir->parent && !tree->merging)
		tree->staged = true;
	else if (tree->merging && !dir->existed)
		tree_changed(tree, dir->parent ? dst_at : tree->dst_parent_fd,
			     dir->parent ? dir->name : tree->dst_name, -1);
	*ret_call = "openat";
	dst_fd = tree_open_dst(dir, dst_at, false);
	if (dst_fd < 0)
		return dst_fd == -ENOENT ? -ESTALE : dst_fd;
	*ret_src_fd = TAKE_FD(src_fd);
	*ret_dst_fd = dst_fd;
	return 0;
}

/*
 * A merge has come upon what it copies: the source lies in DEST, or a part of it is mounted there. What is
 * written there would change what is still to be read.
 */
static bool is_source(const struct tree_dir *dir)
{
	const struct tree_job *tree = dir->tree;

	return (dir->dst_dev == tree->root_dev && dir->dst_ino == tree->root_ino) ||
	       (dir->dst_dev == dir->metadata.dev && dir->dst_ino == dir->metadata.ino);
}

/* Notes what the directory's copy is. */
static int identify(struct tree_dir *dir, int dst_fd, const char **ret_call)
{
	struct tree_job *tree = dir->tree;
	struct stat dst;

	*ret_call = "fstat";
	if (fstat(dst_fd, &dst) < 0)
		return negative_errno();
	dir->dst_dev = dst.st_dev;
	dir->dst_ino = dst.st_ino;
	if (!dir->parent) {
		tree->staging_dev = dst.st_dev;
		tree->staging_ino = dst.st_ino;
		tree_note_add(tree, dst_fd, false);
		(void)tree_publish_watch(tree); /* else at the end */
	}
	*ret_call = "mkdirat";
	if (dir->metadata.dev == tree->staging_dev && dir->metadata.ino == tree->staging_ino)
		return -EINVAL; /* the copy has been moved into what is copied */
	return is_source(dir) ? -EINVAL : 0;
}

static bool is_group_of(const struct cred *cred, gid_t gid)
{
	bool found = cred->gid == gid;

	for (size_t i = 0; i < cred->n_groups; i++)
		found |= cred->groups[i] == gid;
	return found;
}

/*
 * Whether chmod(2) would take a setgid bit away that could not be given back: of a group that is not the
 * caller's. Where the directory gets the source's mode in the end it is not to be kept.
 */
static bool would_lose_setgid(const struct tree_job *tree, const struct stat *st)
{
	return tree->options.existing == TREE_EXISTING_SKIP && (st->st_mode & S_ISGID) &&
	       !is_group_of(tree->job.cred, st->st_gid);
}

/*
 * A directory that was there may not be writable for its owner, who may change that. Who may do
 * everything needs nothing of the kind; of others' directories the first use says what is wrong.
 */
static int open_up(struct tree_dir *dir, int dst_fd)
{
	struct stat st;

	if (geteuid() == 0)
		return 0;
	if (fstat(dst_fd, &st) < 0)
		return negative_errno();
	if ((st.st_mode & 0300) == 0300 || st.st_uid != geteuid() ||
	    would_lose_setgid(dir->tree, &st))
		return 0;
	dir->old_mode = st.st_mode & 07777;
	if (fchmod(dst_fd, dir->old_mode | 0700) < 0)
		return negative_errno();
	dir->opened_up = true;
	return 0;
}

int tree_mkdir(struct tree_dir *dir, const char **ret_call)
{
	struct tree_dir *parent = dir->parent;
	_cleanup_close_ int src_fd = -1, dst_fd = -1;
	int src_at = -1, dst_at = -1;
	int r;

	*ret_call = "openat";
	r = parent ? tree_open_acquire(parent, &src_at, &dst_at) : 0;
	if (r < 0)
		return r;
	r = make_step(dir, src_at, dst_at, &src_fd, &dst_fd, ret_call);
	if (parent)
		tree_open_release(parent);
	if (r < 0)
		return r;
	r = !dir->existed && (!parent || parent->existed) ? claim(dir, dst_fd, ret_call) : 0;
	if (r == 0)
		r = identify(dir, dst_fd, ret_call);
	if (r == 0 && dir->existed) {
		*ret_call = "fchmod";
		r = open_up(dir, dst_fd);
	}
	if (r < 0)
		return r;
	tree_open_add(dir, TAKE_FD(src_fd), TAKE_FD(dst_fd));
	tree_open_release(dir);
	dir->made = true;
	return 0;
}
