/* SPDX-License-Identifier: MIT */
/*
 * tree_fixture.c - see tree_fixture.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tree_fixture.h"

int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *harness = *state;

	reset_faults();
	if (!f)
		return -1;
	f->fd = -1;
	staging_remover_init(&f->remover, -1, NULL);
	if (harness_setup(&harness) < 0) {
		free(f);
		return -1;
	}
	f->h = harness;
	*state = f;
	return 0;
}

/* Many entries are made faster where no disk and no journal is involved. */
int setup_in_memory(void **state)
{
	const char *old = getenv("TMPDIR");
	char *saved = old ? strdup(old) : NULL;
	int r;

	if (access("/dev/shm", W_OK) < 0 || (old && !saved)) {
		free(saved);
		return setup(state);
	}
	(void)setenv("TMPDIR", "/dev/shm", 1); /* for want of memory it is on the disk */
	r = setup(state);
	if (saved)
		(void)setenv("TMPDIR", saved, 1);
	else
		(void)unsetenv("TMPDIR");
	free(saved);
	return r;
}

/* For those who are not root: nftw() cannot remove what is in a closed directory. */
static void open_up(int at, const char *name)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;

	if (fchmodat(at, name, 0700, 0) < 0 || open_dir(at, name, &dir) < 0)
		return; /* then it is left behind, and said so */
	while ((entry = readdir(dir)))
		if (!is_dots(entry->d_name) && entry->d_type == DT_DIR)
			open_up(dirfd(dir), entry->d_name);
}

static void remove_deep(struct fixture *f, const char *name)
{
	struct staging_remover remover;

	if (!f->deep)
		return;
	test_remover_init(&remover, f->h->dir.fd, name);
	remover.unlock = true;
	while (staging_remove_some(&remover, 1000) == 1)
		; /* what it leaves, the harness says */
	staging_remover_destroy(&remover);
}

int teardown(void **state)
{
	struct fixture *f = *state;
	void *harness = f->h;
	bool hung = f->h->hung;

	if (f->nofile_limited)
		(void)setrlimit(RLIMIT_NOFILE, &f->nofile);
	if (f->child > 0) {
		(void)kill(f->child, SIGKILL); /* a child of ours, not waited for yet */
		(void)waitpid(f->child, NULL, 0);
	}
	reset_faults();
	close_keep_errno(f->fd);
	harness_engine_free(f->h);
	if (geteuid() != 0)
		open_up(f->h->dir.fd, ".");
	remove_deep(f, "src");
	remove_deep(f, "copy");
	snapshot_clear(&f->src);
	snapshot_clear(&f->dst);
	staging_remover_destroy(&f->remover);
	(void)harness_teardown(&harness);
	if (hung)
		return 0;
	for (unsigned i = 0; i < f->n_runs; i++) {
		job_unref(f->runs[i].run.job);
		sem_destroy(&f->runs[i].run.ended);
	}
	cred_unref(f->user);
	free(f);
	return 0;
}

/* The fixture; skips the test where its io method is not to be had. */
struct fixture *fixture_of(void **state)
{
	struct fixture *f = *state;
	void *harness = f->h;

	(void)harness_of(&harness);
	return f;
}

void need_root(const char *what)
{
	if (geteuid() == 0)
		return;
	print_message("only root can %s\n", what);
	skip();
}

int root_of(const struct fixture *f)
{
	return f->h->dir.fd;
}

/* On a worker's thread, so it only records. */
void run_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct tree_run *run = userdata;

	(void)job;
	run->run.result = *result;
	run->run.result.failed_path = NULL; /* valid only now */
	run->run.result.failed_call = NULL;
	(void)snprintf(run->failed_path, sizeof(run->failed_path), "%s", result->failed_path);
	(void)snprintf(run->failed_call, sizeof(run->failed_call), "%s", result->failed_call);
	__atomic_add_fetch(&run->run.done_calls, 1, __ATOMIC_RELAXED);
	sem_post(&run->run.ended);
}

/* The descriptors are closed again: the job has its own. */
int try_prepare(struct fixture *f, const struct order *order, struct tree_run *run)
{
	_cleanup_close_ int src = openat(root_of(f), order->src, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int parent = openat(root_of(f), order->parent ? order->parent : ".",
					    O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct tree_spec spec = {
		.src_fd = src,
		.dst_parent_fd = parent,
		.dst_name = order->name ? order->name : "copy",
		.cred = order->cred,
		.forbidden_dev = order->forbidden_dev,
		.options = order->options,
		.changed = order->changed,
		.leftovers = order->leftovers,
		.done = run_done,
		.userdata = run,
	};

	if (src < 0 || parent < 0)
		return -EBADF;
	return engine_copy_tree(harness_engine(f->h), &spec, &run->run.job);
}

struct tree_run *prepare(struct fixture *f, const struct order *order)
{
	struct tree_run *run = &f->runs[f->n_runs];

	assert_true(f->n_runs < RUNS_MAX);
	assert_int_equal(try_prepare(f, order, run), 0);
	assert_int_equal(sem_init(&run->run.ended, 0, 0), 0);
	f->n_runs++;
	return run;
}

struct tree_run *start(struct fixture *f, const struct order *order)
{
	struct tree_run *run = prepare(f, order);

	job_start(run->run.job);
	return run;
}

const struct job_result *wait_for(struct fixture *f, struct tree_run *run)
{
	return harness_wait(f->h, &run->run);
}

void check_success(struct fixture *f, struct tree_run *run)
{
	const struct job_result *result = wait_for(f, run);

	if (result->error < 0)
		fail_msg("%s of %s: %s", run->failed_call, run->failed_path,
			 strerror(-result->error));
}

void check_counters(const struct tree_run *run, const struct totals *totals)
{
	const struct job_result *result = &run->run.result;
	struct job_progress progress;

	assert_int_equal(result->files, totals->files);
	assert_int_equal(result->directories, totals->directories);
	assert_int_equal(result->others, totals->others);
	assert_int_equal(result->bytes, totals->bytes);
	assert_int_equal(ways_sum(result), totals->bytes);
	job_get_progress(run->run.job, &progress);
	assert_true(progress.ended);
	assert_int_equal(progress.bytes, totals->bytes);
	assert_int_equal(progress.bytes_total, totals->bytes);
	assert_int_equal(progress.files, totals->files);
	assert_int_equal(progress.files_total, totals->files);
}

/* Of copies made at the same time one has read the source before the other looks at it. */
void assert_same_but_atimes(struct fixture *f)
{
	for (size_t i = 0; i < f->src.n && i < f->dst.n; i++)
		f->src.items[i].st.st_atim = f->dst.items[i].st.st_atim;
	assert_same(&f->dst, &f->src);
}

/* The names in a directory, or -errno; *ret_staged: those of them that are staging names. */
int count_names(struct fixture *f, const char *path, unsigned *ret_staged)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int n = 0, r = open_dir(root_of(f), path ? path : ".", &dir);

	*ret_staged = 0;
	if (r < 0)
		return r;
	while ((entry = readdir(dir))) {
		n += !is_dots(entry->d_name);
		if (strncmp(entry->d_name, STAGING_PREFIX, strlen(STAGING_PREFIX)) == 0)
			++*ret_staged;
	}
	return n;
}

/* Nothing but what is known to be there. */
void assert_names(struct fixture *f, const char *path, int n)
{
	unsigned staged;

	assert_int_equal(count_names(f, path, &staged), n);
	assert_int_equal(staged, 0);
}

/* Others, such as XFS, allocate ahead as they please, and give it back later. */
bool allocates_what_is_written(const struct fixture *f)
{
	struct statfs fs;

	assert_int_equal(fstatfs(root_of(f), &fs), 0);
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC;
}

static void check_allocated(const struct fixture *f)
{
	if (!allocates_what_is_written(f))
		return;
	for (size_t i = 0; i < f->src.n; i++)
		if (S_ISREG(f->src.items[i].st.st_mode) &&
		    f->dst.items[i].st.st_blocks > f->src.items[i].st.st_blocks + 128)
			fail_msg("%s: %lld blocks instead of %lld", f->src.items[i].path,
				 (long long)f->dst.items[i].st.st_blocks,
				 (long long)f->src.items[i].st.st_blocks);
}

struct totals take_source(struct fixture *f)
{
	take_snapshot(&f->src, root_of(f), "src", true);
	return totals_of(&f->src);
}

/* For an order's copy. */
void take_copy(struct fixture *f, const struct order *order)
{
	char path[PATHS_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", order->parent ? order->parent : ".",
		       order->name ? order->name : "copy");
	take_snapshot(&f->dst, root_of(f), path, false);
}

/* Copies and compares all that can be compared. */
struct tree_run *check_order(struct fixture *f, struct order order)
{
	struct totals totals;
	struct tree_run *run;
	unsigned staged;
	int before = count_names(f, order.parent, &staged);

	take_snapshot(&f->src, root_of(f), order.src, true);
	totals = totals_of(&f->src);
	run = start(f, &order);
	check_success(f, run);
	take_copy(f, &order);
	assert_same(&f->dst, &f->src);
	check_allocated(f);
	check_counters(run, &totals);
	assert_names(f, order.parent, before + 1);
	return run;
}

struct tree_run *check_copy(struct fixture *f)
{
	return check_order(f, (struct order){ .src = "src" });
}

/* An order that fails leaves the names in the destination's parent as they were. */
struct tree_run *check_failure(struct fixture *f, struct order order, int error)
{
	unsigned staged;
	int before = count_names(f, order.parent, &staged);
	struct tree_run *run = start(f, &order);

	assert_int_equal(wait_for(f, run)->error, error);
	assert_names(f, order.parent, before);
	return run;
}

/* Waits until the job has copied something; false: it has ended. */
bool wait_progress(struct fixture *f, struct tree_run *run)
{
	return harness_wait_progress(f->h, &run->run);
}

/* For root only where directories are closed. */
static int remove_tree(int at, const char *name)
{
	_cleanup_(close_dir) DIR *dir = NULL;
	struct dirent *entry;
	int r = open_dir(at, name, &dir);

	if (r < 0)
		return unlinkat(at, name, 0) < 0 ? negative_errno() : 0;
	while ((entry = readdir(dir))) {
		r = is_dots(entry->d_name) ? 0 : remove_tree(dirfd(dir), entry->d_name);
		if (r < 0)
			return r;
	}
	return unlinkat(at, name, AT_REMOVEDIR) < 0 ? negative_errno() : 0;
}

void remove_copy(struct fixture *f, const char *name)
{
	assert_int_equal(remove_tree(root_of(f), name), 0);
}
