/* SPDX-License-Identifier: MIT */
/*
 * harness.h - an engine whose jobs are run and waited for, and the directory they work in.
 *
 * All for the main thread. A job that does not end fails its test; what it uses is leaked then, so
 * that the tests behind it still run.
 */
#ifndef UNIT_HARNESS_H
#define UNIT_HARNESS_H

#include "support.h"

#include "arsync/engine.h"

#define TEST_EXIT_SKIPPED 77	  /* to meson test and automake */
#define TEST_BLOCK (64 * 1024ULL) /* the harness's block_size */

/* The patterns of source and destination: test_write_pattern(). */
#define TEST_SRC 1
#define TEST_DST 2

/* One job, and what became of it. */
struct run {
	struct job *job;
	sem_t ended; /* posted by done() */
	sem_t gate;  /* with gated: done() waits here, and its worker with it */
	bool gated;
	unsigned done_calls;	  /* atomic */
	unsigned order;		  /* the how-manieth to end, from 1 */
	unsigned *ends;		  /* atomic: counts them */
	struct job_result result; /* read after ended */
};

#define HARNESS_RUNS_MAX 1024

/* An engine, a directory, and runs. */
struct harness {
	struct test_dir dir;
	struct engine_options options; /* for harness_engine() */
	struct engine *engine;	       /* NULL: not made yet */
	bool hung;		       /* a job did not end: what it uses is not freed */
	unsigned n_runs;
	unsigned ends; /* atomic */
	struct run runs[HARNESS_RUNS_MAX];
};

/**
 * cmocka's set-up: *state is the name of the io method before and the harness afterwards. Two
 * workers, blocks of TEST_BLOCK, four regions at once, no reflinks.
 */
int harness_setup(void **state);
int harness_teardown(void **state);

/** Whether all tests that main()'s arguments choose need an io method that is not to be had. */
bool harness_skips_all(int argc, char **argv);

/** The harness; skips the test where its io method is not to be had. */
struct harness *harness_of(void **state);

/** Makes the engine of harness::options, if it is not made. */
struct engine *harness_engine(struct harness *harness);
/** Drains and frees it. */
void harness_engine_free(struct harness *harness);

/** engine_copy_range(); fails the test on an error. spec::done and userdata are filled in. */
struct run *harness_prepare(struct harness *harness, struct copy_spec spec);
struct run *harness_start(struct harness *harness, struct copy_spec spec);
/** Waits for the end. */
const struct job_result *harness_wait(struct harness *harness, struct run *run);
/** All of it. */
const struct job_result *harness_copy(struct harness *harness, struct copy_spec spec);

/** A job whose done() keeps the only worker until its gate is posted. */
struct run *harness_block_worker(struct harness *harness);

/** Waits until the job has copied something or has ended; false: it has ended. */
bool harness_wait_progress(struct harness *harness, struct run *run);

struct engine_stats harness_stats(struct harness *harness);

/** A file of the directory with TEST_SRC in it; the directory closes it. @in_memory: where possible. */
int harness_src(struct harness *harness, bool in_memory, uint64_t size);

/** A file of a MiB a character: TEST_SRC for "d", a hole for "."; the directory closes it. */
int harness_sparse(struct harness *harness, const char *layout);

/** Others, such as XFS, allocate ahead as they please, and give it back later. */
bool harness_allocates_what_is_written(const struct harness *harness);

/** Copies [@from, @from + @length) to @to in the middle of a file, and looks at all of it. */
void harness_check_range(struct harness *harness, uint64_t from, uint64_t to, uint64_t length);

/** Copies all of @src with answers that are to come within 1 ms. How many were needed. */
unsigned harness_copy_in_answers(struct harness *harness, int src, int dst, uint64_t size);

/**
 * Cancels a copy to an empty file that has begun; what was copied is answered, and nothing comes
 * later. Whether it was caught in the middle.
 */
bool harness_cancel_once(struct harness *harness, struct copy_spec spec);

/** Every job has ended once, and nothing still works on it: the engine is freed for that. */
void harness_assert_ended_once(struct harness *harness);

void assert_result(const struct job_result *result, int error, uint64_t bytes);
uint64_t ways_sum(const struct job_result *result);

/** For a table of struct CMUnitTest: @function under both io methods. */
#define TEST_WITH_METHOD(function, method)                                                         \
	{                                                                                          \
#function " (" method ")", function, harness_setup, harness_teardown,              \
			(void *)(uintptr_t)method                                                  \
	}
#define TEST_BOTH_METHODS(function)                                                                \
	TEST_WITH_METHOD(function, "uring"), TEST_WITH_METHOD(function, "sync")

#endif /* UNIT_HARNESS_H */
