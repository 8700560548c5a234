/* SPDX-License-Identifier: MIT */
/*
 * tree_note.c - see tree_note.h.
 */
#include "tree_note.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arsync/base.h"
#include "engine_private.h"
#include "leftover_private.h"
#include "tree.h"
#include "worker.h"

/* Where a merge has its hidden names: DEST itself, and what is below it. Without memory there is no note. */
static char *place_merge(const struct tree_job *tree, struct note_place *place)
{
	_cleanup_close_ int fd = openat(tree->dst_parent_fd, tree->dst_name,
					O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char *below;

	if (fd < 0 || inode_identity_of(fd, &place->parent) < 0 ||
	    asprintf(&below, "%s%s%s", tree->below, *tree->below ? "/" : "", tree->dst_name) < 0)
		return NULL;
	place->below = below;
	place->name = tree->merge_name;
	place->parts = true;
	return below;
}

void tree_note_begin(struct tree_job *tree, const struct stat *source, struct worker *worker)
{
	struct note_place place = {
		.cred = tree->job.cred,
		.source_uid = source->st_uid,
		.durable = tree->options.fsync != ENGINE_FSYNC_NEVER,
		.at_once = tree->options.fsync != ENGINE_FSYNC_NEVER || tree->options.verify,
		.below = tree->below,
		.name = tree->staging,
	};
	_cleanup_free_ char *merge = NULL;

	if (!tree->leftovers)
		return;
	if (tree->merging) {
		merge = place_merge(tree, &place);
		if (!merge)
			return;
	} else {
		/* Without, the note is no worse, only kept longer than it need be. */
		(void)inode_identity_of(tree->dst_parent_fd, &place.parent);
	}
	worker_be_daemon(worker);
	leftovers_note(tree->leftovers, &place, &tree->note);
	worker_be_again(worker);
}

void tree_note_add(struct tree_job *tree, int fd, bool replaced)
{
	int r = note_add(&tree->note, fd, replaced);

	if (r < 0)
		log_warn(tree->job.engine->options.log,
			 "the note of %s is not complete, a crash may leave it: %s", tree->staging,
			 strerror(-r));
}

/* What is removed must not be back after a power cut when its note is not. */
static void sync_removal(const struct tree_job *tree)
{
	_cleanup_close_ int fd =
		openat(tree->dst_parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)tree_sync_dir(fd); /* it is removed either way */
}

void tree_note_end(struct tree_job *tree, struct worker *worker)
{
	if (tree->note.fd < 0)
		return;
	worker_be_daemon(worker);
	if (tree->note.at_once && (!tree->published || tree->replacing))
		sync_removal(tree);
	leftovers_note_end(tree->leftovers, &tree->note, !tree->left);
	worker_be_again(worker);
}
