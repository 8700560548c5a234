/* SPDX-License-Identifier: MIT */
/*
 * tree_fixture.h - what the tests of tree copies share.
 *
 * A test builds a source below the harness's directory, takes a snapshot of it, copies it, and
 * compares the snapshot with one of the copy.
 *
 * The programs are linked with --wrap for the functions in "faults", which are made to fail, and for
 * pthread_mutex_unlock(), after which a thread may be made to wait.
 */
#ifndef UNIT_TREE_FIXTURE_H
#define UNIT_TREE_FIXTURE_H

#include <limits.h>
#include <sys/resource.h>

#include "harness.h"

#include "arsync/base.h"
#include "staging.h"
#include "tree.h"
#include "tree_snapshot.h"
#include "tree_source.h"

#define B TEST_BLOCK
#define LARGE (32 * MIB) /* to be caught in the middle */
#define RUNS_MAX 64
#define PATHS_MAX 4096 /* of the tests' paths */

/* What fails or is disturbed; set by the main thread, read by workers, all atomic. */
extern struct tree_faults {
	bool disturb;	     /* threads wait after giving up a lock, now and then */
	unsigned link_every; /* the how-manieth linkat() fails with EMLINK; 0: none */
	unsigned links;
	int rename_error; /* of renameat2() */
	int syncfs_error;
	int fsync_error;
	int fsync_dir_error;	       /* of fsync() of a directory */
	bool foreign_owner;	       /* O_NOATIME is refused: by openat() when a file is made */
	int close_error;	       /* of close() of a regular file that may be written */
	int dup_error;		       /* of a duplicate of one, by fcntl() */
	void (*fsynced)(int fd);       /* by fsync() */
	unsigned syncs;		       /* syncfs() that were called */
	struct job *cancelled_by_sync; /* by syncfs(); set before the job starts */
	void (*syncing)(void);	       /* by syncfs() */
	unsigned syncs_watched;	       /* 1: from the first data that is copied on */
	unsigned late_syncs;	       /* with what was not open then */
	bool syncfs_hangs;	       /* until it is false again, or for 20 s */
	unsigned syncfs_hanging;       /* that do now */
	unsigned file_syncs;	       /* files that were begun to be synced */
	unsigned flushes;	       /* pieces of a file that were begun to be written back */
	unsigned cancelling_flush;     /* the how-manieth cancels; 0: none */
	struct job *cancelled_by_flush;
	int flush_fd;			 /* what they are begun with instead; 0: nothing */
	bool flush_unknown;		 /* sync_file_range() is no system call */
	struct job *cancelled_by_verify; /* when it drops pages */
	struct job *cancelled_by_rename; /* when the copy has its name */
	struct job *cancelled_by_close;	 /* of a regular file that may be written */
	bool offload_is_slow;		 /* copy_file_range() */
	bool born_anew;			 /* each statx() tells of another time of birth */
	bool born_unknown;		 /* none does */
	unsigned births;
	unsigned rests; /* nanosleep() of as long as give_way.h says */
	/* On the file that is created with this name; set before the job starts. */
	const char *create_name;
	unsigned create_fails; /* so many times, */
	int create_error;      /* with this; 0: EIO */
	unsigned copy_breaks;  /* so many times, when it is complete */
	unsigned source_grows; /* so many times, when it has been opened, or started again */
	int settle_error;      /* when it is complete */
	int verify_error;      /* when it is read again, if it is large */
	/* When its data has been copied. */
	void (*settling)(void);
	/* When mkdirat() or mknodat() has made something; before inherited ACLs are dropped. */
	void (*made)(int dir_fd, const char *name);
	void (*created)(int fd);
	/* When this name has been listed. */
	const char *listed_name;
	void (*listed)(int dir_fd, const char *name); /* once */
} faults;

void reset_faults(void);
void set_fault(int *error, int value);

struct tree_run {
	struct run run; /* harness_wait() knows it */
	char failed_path[PATH_MAX];
	char failed_call[64];
};

struct fixture {
	struct harness *h;
	struct snapshot src;
	struct snapshot dst;
	struct cred *user;
	struct staging_remover remover;
	int fd;	     /* open in a helper */
	pid_t child; /* 0: none */
	struct rlimit nofile;
	bool deep; /* src and copy are not for nftw() to remove: too deep, or immutable */
	bool nofile_limited;
	unsigned seed; /* of the next file */
	unsigned char seen[8192];
	char dirs[512][160]; /* of the random tree */
	char files[64][160];
	unsigned n_runs;
	struct tree_run runs[RUNS_MAX];
};

/* What is copied where; paths below the harness's directory. */
struct order {
	const char *src;
	const char *parent; /* NULL: the harness's directory itself */
	const char *name;   /* NULL: "copy" */
	struct cred *cred;
	dev_t forbidden_dev;
	const struct tree_options *options;
	tree_changed_fn changed; /* gets the struct tree_run */
	struct leftovers *leftovers;
};

/* cmocka's. */
int setup(void **state);
/* Many entries are made faster where no disk and no journal is involved. */
int setup_in_memory(void **state);
int teardown(void **state);

/* The fixture; skips the test where its io method is not to be had. */
struct fixture *fixture_of(void **state);
void need_root(const char *what);
int root_of(const struct fixture *f);
/* On a worker's thread, so it only records. */
void run_done(struct job *job, const struct job_result *result, void *userdata);
/* The descriptors are closed again: the job has its own. */
int try_prepare(struct fixture *f, const struct order *order, struct tree_run *run);
struct tree_run *prepare(struct fixture *f, const struct order *order);
struct tree_run *start(struct fixture *f, const struct order *order);
const struct job_result *wait_for(struct fixture *f, struct tree_run *run);
void check_success(struct fixture *f, struct tree_run *run);
void check_counters(const struct tree_run *run, const struct totals *totals);
/* Of copies made at the same time one has read the source before the other looks at it. */
void assert_same_but_atimes(struct fixture *f);
/* The names in a directory, or -errno; *ret_staged: those of them that are staging names. */
int count_names(struct fixture *f, const char *path, unsigned *ret_staged);
/* Nothing but what is known to be there. */
void assert_names(struct fixture *f, const char *path, int n);
/* Others, such as XFS, allocate ahead as they please, and give it back later. */
bool allocates_what_is_written(const struct fixture *f);
/* Remembers "src", of which the copy is to be the same; what the job should count. */
struct totals take_source(struct fixture *f);
/* For an order's copy. */
void take_copy(struct fixture *f, const struct order *order);
/* Copies and compares all that can be compared. */
struct tree_run *check_order(struct fixture *f, struct order order);
struct tree_run *check_copy(struct fixture *f);
/* An order that fails leaves the names in the destination's parent as they were. */
struct tree_run *check_failure(struct fixture *f, struct order order, int error);
/* Waits until the job has copied something; false: it has ended. */
bool wait_progress(struct fixture *f, struct tree_run *run);
void remove_copy(struct fixture *f, const char *name);

#define TEST(function, method)                                                                     \
	{                                                                                          \
#function " (" method ")", function, setup, teardown, (void *)(uintptr_t)method    \
	}
#define TEST_BOTH(function) TEST(function, "uring"), TEST(function, "sync")
#define TEST_IN_MEMORY(function, method)                                                           \
	{                                                                                          \
#function " (" method ")", function, setup_in_memory, teardown,                    \
			(void *)(uintptr_t)method                                                  \
	}
#define TEST_BOTH_IN_MEMORY(function)                                                              \
	TEST_IN_MEMORY(function, "uring"), TEST_IN_MEMORY(function, "sync")

#endif /* UNIT_TREE_FIXTURE_H */
