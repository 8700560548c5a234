/* SPDX-License-Identifier: MIT */
/*
 * write_out.h - a file's data to stable storage, so that it can be given up on the way.
 *
 * An fsync(2) of much that is dirty takes as long as the disk does, and nothing ends it before. So the
 * data is written in pieces first, a few at a time (sync_file_range(2) through the ring), and the fsync
 * that follows finds little left to do. Between pieces it is looked whether the job is still wanted.
 *
 * Thread: the worker's that starts it.
 */
#ifndef ENGINE_WRITE_OUT_H
#define ENGINE_WRITE_OUT_H

#include <stdbool.h>
#include <stdint.h>

struct job;
struct worker;
struct write_out;

/* @error: 0; -errno: nothing of it is sure to be on the disk; -ECANCELED: the job has a verdict. */
typedef void (*write_out_done_fn)(struct write_out *out, int error);

struct write_out {
	/* set by the caller; borrowed until done() */
	struct job *job;
	struct worker *worker;
	int fd;
	uint64_t at;		/* what may be dirty begins here; moves on */
	uint64_t end;		/* and ends here; @at: only the fsync */
	write_out_done_fn done; /* may free it */
	/* zero in the beginning */
	unsigned in_flight;
	int error;
};

/** Begins; done() may be called before it returns. */
void write_out_start(struct write_out *out);

#endif /* ENGINE_WRITE_OUT_H */
