/* SPDX-License-Identifier: MIT */
/*
 * jobs_view.h - a job at one moment: what it has done, how fast it is, and how long it will take.
 *
 * Nobody measures a job all the time: the rate of one that runs is what was done since somebody
 * looked last, smoothed; before that, since it began.
 *
 * Ownership: a view has strings of the entry's, of which the caller holds a reference as long, and a
 * reference to a live job. Threads: any; jobs::lock is held for a moment.
 */
#ifndef ARSYNCFS_JOBS_VIEW_H
#define ARSYNCFS_JOBS_VIEW_H

#include "jobs.h"

/* Large. */
struct jobs_view {
	uint64_t id;
	uid_t uid;
	enum jobs_state state;
	bool background;
	const char *source; /* these live as long as the caller's reference */
	const char *destination;
	const char *tag; /* or NULL */
	uint64_t bytes, bytes_total;
	bool verifies;		 /* what is copied is read again: */
	uint64_t bytes_verified; /* so far */
	bool removing;		 /* it has ended, and what it had staged is still being removed */
	uint64_t files, files_total;
	uint64_t directories, others; /* known at the end */
	bool totals_known;
	uint64_t rate;	      /* bytes a second: of late, or of the whole job when it has ended */
	int64_t eta_ms;	      /* -1: not known */
	int64_t submitted_ms; /* since the epoch */
	uint64_t elapsed_ms;  /* since it was started */
	int error;	      /* 0 or -errno, when it has ended */
	bool published;	      /* when it has ended: the destination is there, whatever has failed */
	uint64_t skipped;     /* left as they are: files and others */
	uint64_t files_skipped, bytes_skipped;		/* of these, part of the totals */
	uint64_t n_failures;				/* in all */
	struct job_failure failures[JOB_FAILURES_KEPT]; /* the first ones */
	size_t n_kept;
	struct job *
		job; /* of one that has not ended yet, to whom failures' strings belong: a reference */
};

/**
 * Looks at a job. One that has run for a while is counted from then on, since somebody wants to
 * know. The calling thread acts as the daemon. The view is to be given to jobs_view_destroy().
 */
void jobs_view_get(struct jobs *jobs, struct jobs_entry *entry, struct jobs_view *ret);
void jobs_view_destroy(struct jobs_view *view);

#endif /* ARSYNCFS_JOBS_VIEW_H */
