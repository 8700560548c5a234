/* SPDX-License-Identifier: MIT */
/*
 * jobs.h - the tree copies of a mount: those that live, and the last ones that have ended.
 *
 *	QUEUED --jobs_start--> RUNNING --jobs_cancel--> CANCELLING
 *	RUNNING, CANCELLING --jobs_end--> DONE, FAILED or CANCELLED
 *
 * What is cancelled has ended for its users after JOBS_CANCEL_MS at the latest, whatever it waits for: its
 * job goes on until nothing is left of it (jobs_view::removing), and jobs_end() only completes the record.
 *
 * A copy that somebody waits for runs at once. Those in the background run a few at a time, so that
 * thousands of them keep no more files open than a few do; the next one is taken from whoever has
 * the fewest running.
 *
 * Who may see a job: its user, and root.
 */
#ifndef ARSYNCFS_JOBS_H
#define ARSYNCFS_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "arsync/engine.h"

#define JOBS_FINISHED_MAX 1000 /* that are remembered */
#define JOBS_BACKGROUND_MAX 4  /* that run at once */
#define JOBS_LIVE_MAX 4096     /* that run or wait; each has two descriptors */
#define JOBS_CANCEL_MS 150

struct jobs;
struct jobs_entry;
struct waiting;

enum jobs_state {
	JOBS_QUEUED,
	JOBS_RUNNING,
	JOBS_CANCELLING, /* nothing more is copied; what there was is being removed */
	JOBS_DONE,
	JOBS_FAILED,
	JOBS_CANCELLED,
};

/** "queued", "running", ... */
const char *jobs_state_name(enum jobs_state state);

/** DONE, FAILED or CANCELLED. */
bool jobs_state_is_final(enum jobs_state state);

/**
 * @live_max: bounds the jobs that run or wait, besides JOBS_LIVE_MAX; of these a user other than root may
 * have half of what the others leave. @waiting: borrowed until all jobs have ended. -ENOMEM.
 */
int jobs_new(unsigned live_max, struct waiting *waiting, struct jobs **ret);
/** When all jobs have ended. Accepts NULL. */
void jobs_free(struct jobs *jobs);

struct jobs_spec {
	uid_t uid;
	const char *source; /* as users see it; copied, as the next one */
	const char *destination;
	const char *tag; /* or NULL; copied */
	bool background;
	struct job *job; /* prepared; a reference is taken */
};

/**
 * Gives the job a number, and the caller a reference to its entry. -EBUSY: there are too many;
 * -ESHUTDOWN; -ENOMEM.
 */
int jobs_add(struct jobs *jobs, const struct jobs_spec *spec, struct jobs_entry **ret);

/** Starts the job now, or later, when it is its turn. */
void jobs_start(struct jobs *jobs, struct jobs_entry *entry);

/** Records how the job has ended, tells those who watch it, and starts the next one. Once a job. */
void jobs_end(struct jobs *jobs, struct jobs_entry *entry, const struct job_result *result);

/**
 * Cancels the job @id for @uid. -ESRCH: there is no such job, or it has ended; -EPERM: it is
 * somebody else's.
 */
int jobs_cancel(struct jobs *jobs, uint64_t id, uid_t uid);
/** The same, without a question. */
void jobs_cancel_entry(struct jobs *jobs, struct jobs_entry *entry);

/** Refuses new jobs and cancels all others. Once more does nothing. */
void jobs_stop(struct jobs *jobs);

uint64_t jobs_id(const struct jobs_entry *entry);
/** 0 or -errno: how the job has ended; 0 while it has not. */
int jobs_error(struct jobs *jobs, const struct jobs_entry *entry);
struct jobs_entry *jobs_ref(struct jobs_entry *entry);
/** Accepts NULL. */
void jobs_unref(struct jobs_entry *entry);

/** The job @id if @uid may see it, with a reference; NULL: there is none. */
struct jobs_entry *jobs_find(struct jobs *jobs, uint64_t id, uid_t uid);

/**
 * The jobs that @uid may see, with a reference each, to be freed with jobs_list_free(). @before 0:
 * those that live, then those that have ended, both with the newest first. Otherwise all whose
 * number is below @before, the highest first. -ENOMEM.
 */
int jobs_list(struct jobs *jobs, uid_t uid, uint64_t before, struct jobs_entry ***ret,
	      size_t *ret_n);
void jobs_list_free(struct jobs_entry **list, size_t n);

/* Who wants to know when a job ends. */
struct jobs_watcher {
	void (*ended)(struct jobs_watcher *watcher); /* with no lock held; set once */
	TAILQ_ENTRY(jobs_watcher) link;
};

/** False: the job has ended; @watcher is not called. */
bool jobs_watch(struct jobs *jobs, struct jobs_entry *entry, struct jobs_watcher *watcher);
/** False: @watcher was called, or is about to be. */
bool jobs_unwatch(struct jobs *jobs, struct jobs_entry *entry, struct jobs_watcher *watcher);

#endif /* ARSYNCFS_JOBS_H */
