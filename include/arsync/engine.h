/* SPDX-License-Identifier: MIT */
/*
 * engine.h - the copy engine: specs in, progress and results out.
 *
 * An engine owns a dispatcher and up to one worker thread a core, each with an io_uring of its own.
 * Requests are jobs: a range of one file to a range of another (copy_spec), or a whole tree
 * (tree_spec).
 *
 *	struct job *job;
 *	int r = engine_copy_range(engine, &spec, &job);	// prepared, nothing runs yet
 *	job_start(job);					// from now on done() will be called, once
 *	...
 *	job_unref(job);					// the caller's reference
 *
 * The engine knows nothing of FUSE. All functions may be called from any thread; none of them waits
 * for I/O except engine_free() and engine_drain(). Sizes and offsets are bytes, times are
 * CLOCK_MONOTONIC.
 */
#ifndef ARSYNC_ENGINE_H
#define ARSYNC_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arsync/cred.h"
#include "arsync/leftover.h"
#include "arsync/log.h"

struct engine;
struct job;

enum engine_io {
	ENGINE_IO_AUTO,	 /* io_uring; without it, sync and one warning */
	ENGINE_IO_URING, /* io_uring or an error */
	ENGINE_IO_SYNC,	 /* pread/pwrite on the workers: fallback and debugging aid */
};

enum engine_reflink {
	ENGINE_REFLINK_AUTO,   /* clone where the file system can, else copy */
	ENGINE_REFLINK_ALWAYS, /* clone or fail */
	ENGINE_REFLINK_NEVER,  /* copy the bytes */
};

/* Whether the backing file system's own copy_file_range(2) is asked. */
enum engine_offload {
	ENGINE_OFFLOAD_AUTO,   /* where that copies on the server: network file systems, FUSE */
	ENGINE_OFFLOAD_ALWAYS, /* everywhere; where it cannot is an error */
	ENGINE_OFFLOAD_NEVER,
};

/* Whether file data passes by the page cache. */
enum engine_direct {
	ENGINE_DIRECT_AUTO,   /* O_DIRECT reads of what is not cached; copies larger than the dirty
				 pages that memory may hold are written with RWF_DONTCACHE */
	ENGINE_DIRECT_ALWAYS, /* O_DIRECT on both sides, where the file system allows it */
	ENGINE_DIRECT_NEVER,
};

/* What is on stable storage before a job ends. Of a tree copy it is before that appears, its name behind. */
enum engine_fsync {
	ENGINE_FSYNC_NEVER,
	ENGINE_FSYNC_FILE, /* each file, and each directory of a tree copy, on its own */
	ENGINE_FSYNC_TREE, /* a tree copy as a whole, before it appears; else as FILE */
};

/* Bounds that callers may show to users. */
#define ENGINE_WORKERS_MAX 256
#define ENGINE_QUEUE_DEPTH_MAX 64
#define ENGINE_BLOCK_SIZE_MIN (64 * 1024)
#define ENGINE_BLOCK_SIZE_MAX (16 * 1024 * 1024)
#define ENGINE_DEPTH_MAX 6
#define ENGINE_DEPTH_AUTO (-1)

/* What engine_copy_short() takes, at most: more is copied faster by a worker. */
#define ENGINE_SHORT_MAX (256 * 1024)

struct engine_options {
	unsigned workers;     /* 0: the cores the process may use */
	unsigned queue_depth; /* buffers a worker, each of block_size; 0: default */
	uint32_t block_size;  /* bytes of one read and write, a multiple of 4096; 0: default */
	int depth;	      /* 2^depth regions of a file run at once; ENGINE_DEPTH_AUTO */
	enum engine_io io;
	enum engine_reflink reflink;
	enum engine_offload offload;
	enum engine_direct direct;
	enum engine_fsync fsync;
	const struct log *log; /* borrowed for the engine's life; may be NULL */
};

/** Fills in the defaults. */
void engine_options_init(struct engine_options *options);

/**
 * Sets one option from text, as on a command line: workers, queue_depth, block_size (suffixes K, M,
 * G), depth, reflink, offload, direct, io, fsync. -ENOENT: no option of that name; -EINVAL: @error says in words
 * what is expected.
 */
int engine_options_set(struct engine_options *options, const char *name, const char *value,
		       char *error, size_t error_size);

/**
 * Lets the process have as many descriptors as it may: the soft limit is for select(2), which is not used
 * here. Before engine_new(), which divides them. Where that cannot be, the log says so (debug).
 */
void engine_raise_fd_limit(const struct log *log);

/**
 * Makes an engine. Starts no thread: workers and their rings come when first needed. -EINVAL: an
 * option is out of bounds; -ENOSYS or -EPERM: ENGINE_IO_URING and this kernel or container has
 * none; -ENOMEM.
 */
int engine_new(const struct engine_options *options, struct engine **ret);

/** Cancels every job, waits until all of them have called done(), and stops accepting new ones. */
void engine_drain(struct engine *engine);

/** Drains, ends the workers and frees. Accepts NULL. No job may be started any more. */
void engine_free(struct engine *engine);

/* How bytes were copied. */
enum copy_way {
	COPY_WAY_CLONE,	  /* FICLONERANGE: the file system shares the blocks */
	COPY_WAY_OFFLOAD, /* copy_file_range(2): the backing file system copies by itself */
	COPY_WAY_RING,	  /* read and written through an io_uring */
	COPY_WAY_SYNC,	  /* read and written by the sync method */
	COPY_WAY_SHORT,	  /* engine_copy_short(): one copy_file_range(2), which clones or copies */
	COPY_WAY_HOLE,	  /* nothing to copy: a hole was kept */
	COPY_WAY_COUNT,
};

/** "clone", "offload", "ring", "sync", "short", "hole". */
const char *copy_way_name(enum copy_way way);

struct job_result {
	int error; /* 0 or -errno; -ECANCELED after job_cancel() */
	/*
	 * copy_spec: the contiguous prefix that was copied; if it is not 0, error is 0 (as
	 * copy_file_range(2) does: who asks again for the rest gets the error). tree_spec: bytes of
	 * all files copied.
	 */
	uint64_t bytes;
	uint64_t bytes_by_way[COPY_WAY_COUNT];
	uint64_t files;	      /* tree_spec: regular files */
	uint64_t directories; /* tree_spec */
	uint64_t others;      /* tree_spec: symbolic links, special files, further hard links */
	uint64_t skipped;     /* tree_spec: files and others that existing= has left as they are */
	uint64_t failures;    /* tree_spec: things that could not be copied; error is the first's */
	bool published;	      /* tree_spec: DEST is there, with what could be copied */
	/* tree_spec with error: what failed. Valid during done() only; "" when not known. */
	const char *failed_path; /* relative to the source's root */
	const char *failed_call;
};

#define JOB_FAILURES_KEPT 100
#define JOB_FAILURE_PATH_MAX 4096 /* bytes; longer ones begin with ".../" instead */

/* One thing that a tree copy could not copy. */
struct job_failure {
	const char *path; /* relative to the source's root; "": the root, or the copy as such */
	const char *call; /* the system call, or what else was done */
	int error;	  /* -errno; -EBUSY: the source has changed while it was copied, twice */
};

/**
 * The first failures of a job, up to @size of them; answers how many. The strings live as long as
 * the job. Any thread, at any time; how many there were in all: job_get_progress().
 */
size_t job_get_failures(struct job *job, struct job_failure *failures, size_t size);

/**
 * Called exactly once a started job, from a worker's thread (or from job_start() when the job could
 * not be run at all), with no lock held. Must not block for long: it keeps a worker from copying.
 */
typedef void (*job_done_fn)(struct job *job, const struct job_result *result, void *userdata);

/** One range of one file to another, or to a range of the same file that does not overlap. */
struct copy_spec {
	int src_fd; /* open for reading; borrowed until done() returns */
	int dst_fd; /* open for writing, without O_APPEND; borrowed until done() returns */
	uint64_t src_offset;
	uint64_t dst_offset;
	uint64_t length; /* ends early, without error, at the source's end of file */
	/*
	 * 0: run to the end. Otherwise the job stops after about so many milliseconds, once
	 * something was copied, and answers with what it has: who serves copy_file_range(2) must
	 * not keep the caller.
	 */
	unsigned answer_within_ms;
	struct cred *cred; /* a reference is taken; NULL: as the daemon, but without CAP_FSETID */
	job_done_fn done;
	void *userdata;
};

/**
 * Prepares a copy of one range. -EINVAL: ranges of one file overlap, or reach beyond INT64_MAX;
 * -ETXTBSY: one of them is a swap file in use; -ESHUTDOWN: the engine is draining; -ENOMEM, or
 * -errno of fstat(2).
 */
int engine_copy_range(struct engine *engine, const struct copy_spec *spec, struct job **ret);

/**
 * Copies a short range at once, without a job: on the calling thread, with its identity and its
 * signals, which it must be prepared for (SIGXFSZ). Of @spec only the descriptors and the range
 * count. Answers the bytes copied, at least 1, or -errno; -EAGAIN: this is for engine_copy_range(),
 * because of its length, its holes, the options, the file system, or because enough threads are at
 * it already.
 */
ssize_t engine_copy_short(struct engine *engine, const struct copy_spec *spec);

/* What becomes of a DEST that exists. Without one, the copy appears whole or not at all always. */
enum tree_existing {
	TREE_EXISTING_FAIL, /* -EEXIST */
	/*
	 * What DEST has besides stays. Files of the same size and modification time are taken for
	 * unchanged and left as they are, so that a copy done again goes on where it ended; others
	 * are replaced, one by one, each atomically. A directory is never replaced by something
	 * else, nor the other way round: -EISDIR, -ENOTDIR.
	 */
	TREE_EXISTING_MERGE,
	TREE_EXISTING_SKIP,    /* merge, but leave every file and directory that is there */
	TREE_EXISTING_REPLACE, /* the whole copy takes DEST's place atomically; DEST is removed */
	TREE_EXISTING_UPDATE,  /* merge, but leave files that are newer than the source's */
};

enum tree_on_error {
	TREE_ON_ERROR_STOP, /* the first failure ends the copy: DEST does not appear */
	/*
	 * What fails is left out and reported; the rest is copied and appears. The job's error is
	 * that of the first failure all the same. What cannot be helped (no directory to copy to,
	 * no memory) ends the copy as with stop.
	 */
	TREE_ON_ERROR_CONTINUE,
};

#define TREE_AS_ENGINE (-1) /* as in engine_options */

/* What a tree copy has done to something that others may know. */
struct tree_change {
	int fd; /* a directory, or with @name NULL anything: its attributes have changed */
	const char *name; /* in that directory is another file than before, or a new one */
	int old_fd;	  /* O_PATH: the file that had the name; -1: it is new */
};

/**
 * Called after each change to what others can see: names that appear, directories that were there
 * and get names and attributes (existing=merge, skip, update). On a worker's thread, as the job's
 * user, with no lock held, several at once; must not block. The descriptors are borrowed.
 */
typedef void (*tree_changed_fn)(const struct tree_change *change, void *userdata);

struct tree_options {
	enum tree_existing existing;
	enum tree_on_error on_error;
	int fsync;	     /* enum engine_fsync or TREE_AS_ENGINE */
	int reflink;	     /* enum engine_reflink or TREE_AS_ENGINE */
	int one_file_system; /* bool: what is mounted below the source is an empty directory */
	int verify;	     /* bool: each file is read again, from the disk, and compared: -EIO */
};

/** Fills in the defaults: fail, stop, as the engine, as the engine, no, no. */
void tree_options_init(struct tree_options *options);

/**
 * Sets one option from text: existing, on_error, fsync, reflink, one_file_system (yes, no), verify
 * (yes, no). -ENOENT: no option of that name, -EINVAL: no such value; @error says in words what is
 * expected.
 */
int tree_options_set(struct tree_options *options, const char *name, const char *value, char *error,
		     size_t error_size);

/** A file or directory, with everything below it, to a name. */
struct tree_spec {
	int src_fd;	      /* O_PATH is enough; duplicated */
	int dst_parent_fd;    /* O_PATH is enough; duplicated */
	const char *dst_name; /* one component; copied */
	struct cred *cred;    /* all is done as who asks; a reference is taken. NULL: the process */
	/* Directories of this device are an error (-ELOOP): the caller's own mount. 0: none. */
	dev_t forbidden_dev;
	const struct tree_options *options; /* copied; NULL: the defaults */
	tree_changed_fn changed;	    /* NULL: nobody wants to know */
	/*
	 * Where a crash is remembered: borrowed until done() runs; NULL: nowhere. Then also where
	 * dst_parent_fd is, relative to the root of @leftovers; copied.
	 */
	struct leftovers *leftovers;
	const char *dst_parent_below;
	job_done_fn done;
	void *userdata;
};

/**
 * Prepares a tree copy: directories, regular files, symbolic links, hard links, FIFOs, sockets and
 * devices with owner, mode, times, extended attributes and inode flags. The copy grows under a
 * hidden name beside @dst_name and takes its name as the last step: it appears whole or not at all,
 * unless the options say something else. -EINVAL: a bad name; -ESHUTDOWN; -ENOMEM; -errno of
 * fcntl(2). All else comes with done(): -EEXIST, the name is taken; -EINVAL, it lies inside the
 * source, is the source, or (existing=replace) has it in it; -EISDIR, -ENOTDIR, what is there is of
 * another kind; -EBUSY, a file was written to while it was copied, twice; errors of the file systems.
 */
int engine_copy_tree(struct engine *engine, const struct tree_spec *spec, struct job **ret);

struct job *job_ref(struct job *job);
/** Accepts NULL. */
void job_unref(struct job *job);

/** Queues a prepared job. Once only. */
void job_start(struct job *job);

/**
 * Asks a job to stop: nothing new is submitted, what is in flight is waited for, what was staged is
 * removed, then done() runs with -ECANCELED (or, for a copy_spec, with the prefix). Returns at once.
 * Harmless on a job that has ended, and before job_start(), which then ends it without a byte
 * copied. A tree copy that is about to take its name ends as if it had not been cancelled.
 */
void job_cancel(struct job *job);

/**
 * How a tree copy that cannot succeed any more will end: -ECANCELED or what it has failed with; 0: that is
 * open, or it has succeeded. From then on nothing appears under DEST, although done() may be long in
 * coming, because a disk is waited for or there is much to remove. (With existing=merge a file that
 * was being given its name may still get it.) Any thread, at any time.
 */
int job_get_verdict(const struct job *job);

struct job_progress {
	uint64_t bytes;	      /* copied so far, in any order; never falls */
	uint64_t bytes_total; /* as far as known: grows while a tree is walked; never falls */
	/*
	 * Of bytes, those that were read again and compared; never falls. What takes time is
	 * bytes and these: at the end each is bytes_total - bytes_skipped.
	 */
	uint64_t bytes_verified;
	bool verifies; /* verify=yes; else bytes_verified stays 0 */
	uint64_t files;
	uint64_t files_total;
	uint64_t failures;	/* see job_get_failures() */
	uint64_t skipped;	/* as in job_result */
	uint64_t files_skipped; /* those of them that are regular files: part of files_total */
	uint64_t bytes_skipped; /* theirs: part of bytes_total */
	bool totals_known; /* nothing more is expected: the tree was counted, or the job has ended */
	bool ended;
};

void job_get_progress(const struct job *job, struct job_progress *ret);

/**
 * Has the engine count what a started tree copy has to do, ahead of the copy, on a thread of its
 * own: without, a tree's totals grow with what is copied. Costs a walk through the source. Returns
 * at once; further calls do nothing. The calling thread must act as the process itself.
 */
void job_want_totals(struct job *job);

/**
 * Says that the caller is serving somebody's request. For 20 ms after it the workers of tree copies
 * leave others more time on the processors. Cheap enough for every request.
 */
void engine_note_served(struct engine *engine);

/* Counters since engine_new(). */
struct engine_stats {
	uint64_t jobs_started;
	uint64_t jobs_ended;
	uint64_t jobs_failed; /* ended with an error other than -ECANCELED */
	uint64_t jobs_cancelled;
	uint64_t ways[COPY_WAY_COUNT];	/* pieces of work done each way */
	uint64_t bytes[COPY_WAY_COUNT]; /* bytes done each way */
	uint64_t files;			/* regular files made by tree copies */
	/* Bytes of the ring and sync ways that passed by the page cache. */
	uint64_t direct_reads;
	uint64_t direct_writes;
	uint64_t uncached_writes;
	uint64_t io_uring_enters; /* system calls io_uring_enter */
	unsigned workers;	  /* started so far */
	const char *io;		  /* "uring", "sync", or "none yet" */
};

void engine_get_stats(const struct engine *engine, struct engine_stats *ret);

#endif /* ARSYNC_ENGINE_H */
