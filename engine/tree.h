/* SPDX-License-Identifier: MIT */
/*
 * tree.h - copying a tree: the parts that its modules share.
 *
 *	tree.c		the job: checks, staging, the end
 *	tree_publish.c	the copy takes its name, or changes places with what has it
 *	tree_dir.c	directories: listed, finished deepest first
 *	tree_mkdir.c	their copies: made, or taken where they are
 *	tree_open.c	those of them that are open, a bounded number
 *	tree_batch.c	what is in them: batches of names; symbolic links and special files
 *	tree_group.c	small files, in groups through one buffer
 *	tree_file.c	one regular file: opened, made, given its attributes and its place
 *	tree_large.c	large ones and those with holes, as file copies
 *	tree_link.c	hard links: the first comer copies, the others are linked to it
 *	tree_merge.c	a destination that exists: what is left alone, what is replaced, and how
 *	tree_verify.c	files read again and compared
 *	tree_note.c	where the copy grows, noted for after a crash
 *	tree_error.c	failures: counted, kept, and whether they end the copy
 *
 * A directory is a task that lists a buffer of entries, queues itself again for the rest, and puts
 * its subdirectories and batches of names on top, so that the job's queue is a stack: depth first,
 * with bounded memory however large a directory is. Open directories are bounded too; closed ones
 * are found again by name and identity.
 *
 * Once the copy is stopping (a cancel, or a failure and on_error=stop), what is queued does nothing but
 * account for itself. A source that has vanished, changed or become something else is tried once more.
 *
 * Threads: tasks on any worker. tree_job::lock protects the books; no system call is made while it
 * is held.
 */
#ifndef ENGINE_TREE_H
#define ENGINE_TREE_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "arsync/engine.h"
#include "job.h"
#include "metadata.h"
#include "note.h"
#include "staging.h"
#include "syncfs.h"
#include "tree_error.h"

#define TREE_DIRS_OPEN_MAX 64	/* directories kept open, two descriptors each */
#define TREE_LARGE_OPEN_MAX 128 /* large files open at once, up to four descriptors each */
#define TREE_GROUP_FILES 32	/* small files copied together: two descriptors each */
#define TREE_BATCH_NAMES 64	/* names handed to a worker at once */

struct tree_dir;
struct tree_link;

/* Hard links met so far: tree_link.c. */
struct tree_link_table {
	struct tree_link **buckets;
	size_t n_buckets; /* a power of two; 0: none yet */
	size_t n_links;
};

/* Tasks that are in no queue. */
TAILQ_HEAD(tree_tasks, task);

struct tree_job {
	struct job job;

	/* set once */
	int src_fd;	   /* O_PATH */
	int dst_parent_fd; /* O_PATH */
	char dst_name[NAME_MAX + 1];
	char staging[NAME_MAX + 1];  /* where the copy grows; with merging: dst_name itself */
	struct tree_options options; /* nothing is TREE_AS_ENGINE any more */
	bool merging;		     /* into a directory that exists, one file at a time */
	char merge_name[STAGING_NAME_SIZE]; /* if merging: what hidden names in it begin with */
	bool replacing;			    /* DEST exists, and gives way at the end: */
	dev_t old_dev;
	ino_t old_ino;
	bool old_is_dir;
	off_t old_size; /* as the decision to replace it has seen it */
	struct timespec old_mtime;
	bool old_is_gone;   /* the copy has taken its place in one step */
	struct stat copied; /* if the source is a file: as it was when it was read */
	dev_t root_dev;	    /* of the source */
	ino_t root_ino;
	unsigned root_flags; /* of the source, to be set when the copy has its name */
	dev_t forbidden_dev;
	tree_changed_fn changed;   /* or NULL */
	void *userdata;		   /* for it */
	struct metadata_made made; /* who owns what this job creates */
	dev_t staging_dev;	   /* the root of the copy, so that the walk does not enter it */
	ino_t staging_ino;
	bool staged;		     /* something may exist under the staging name */
	bool published;		     /* it has its own name now */
	bool left;		     /* what was to be removed is still there */
	struct leftovers *leftovers; /* or NULL */
	char *below;		     /* where dst_parent_fd is, for the note */
	struct note note;	     /* of the staging name */

	struct task end_task;
	struct syncfs_wait sync; /* fsync=tree, before the copy has its name, */
	int sync_fd;		 /* with this; -1: not opened yet, or handed over */
	struct staging_remover remover;

	pthread_mutex_t lock;
	/* protected by lock */
	int error; /* the first one */
	unsigned n_failures_kept;
	struct job_failure failures[JOB_FAILURES_KEPT];
	unsigned n_open; /* directories that are open */
	TAILQ_HEAD(, tree_dir)
	idle_dirs; /* of these, those that nobody uses, longest unused first */
	struct tree_link_table links;
	unsigned n_large;   /* large files that are open: tree_large.h */
	bool large_is_full; /* no task opens any more: they wait */
	struct tree_tasks large_waiting;
	uint64_t bytes_by_way[COPY_WAY_COUNT];

	/* atomic */
	bool failed;
	uint64_t n_parts; /* hidden names that were given while merging */
	uint64_t n_directories;
	uint64_t n_others;
};

/** Whether nothing more is to be copied: an error or a cancel. */
bool tree_is_stopping(const struct tree_job *tree);

/** Whether each file is on stable storage before it is given its name, or its directory is. */
bool tree_syncs_files(const struct tree_job *tree);

/** Brings the names in a directory to stable storage, and its attributes. -errno of fsync(2) or syncfs(2). */
int tree_sync_dir(int fd);

/** Makes the worker's thread act as the job's user. Fails the job when that cannot be. */
int tree_adopt(struct tree_job *tree, struct worker *worker);

/** Tells who wants to know: see struct tree_change. @name NULL: the attributes of @fd. */
void tree_changed(const struct tree_job *tree, int fd, const char *name, int old_fd);

/** Accounts for something that existing= leaves as it is. */
void tree_skipped(struct tree_job *tree, const struct stat *st);

/** Accounts for a file that was copied, and whose name is left as it is after all. */
void tree_left(struct tree_job *tree);

/** Queues a task on top of the job's stack. */
void tree_push(struct tree_job *tree, struct task *task, struct worker *worker);

/** The whole tree is copied, or what could be before it had to stop. */
void tree_walked(struct tree_job *tree, struct worker *worker);

#endif /* ENGINE_TREE_H */
