/* SPDX-License-Identifier: MIT */
/*
 * compare.c - runs every group in a raw directory and in the mount, as one cmocka test each.
 *
 * Takes its directories from the environment that ../run makes.
 */
#include "compare.h"

#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define GROUPS_MAX 128
#define GROUP_SECONDS 100
#define DIFFERENCES_MAX 30

/* Built as "matrix": what takes longer. */
#ifdef COMPARE_MATRIX
static const struct call_group *const tables[] = { groups_matrix, groups_times };
#else
static const struct call_group *const tables[] = {
	groups_calls, groups_open,  groups_name,   groups_attr, groups_data,
	groups_copy,  groups_xattr, groups_dir,	   groups_lock, groups_user,
	groups_setid, groups_flags, groups_random,
};
#endif

/* One directory a group is run or listed in. */
struct place {
	const char *variable; /* of the environment: its parent */
	const char *title;
	char path[PATH_MAX];
	struct transcript *transcript; /* of the run */
	struct transcript *tree;       /* what the run left */
};

struct comparison {
	const struct call_group *group;
	struct place raw, mount, backing;
};

static struct transcript *transcript_new(void)
{
	void *memory = mmap(NULL, sizeof(struct transcript), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void place_init(struct place *place, const char *variable, const char *title,
		       const char *group)
{
	const char *parent = getenv(variable);

	assert_non_null(parent);
	place->variable = variable;
	place->title = title;
	assert_true((size_t)snprintf(place->path, sizeof(place->path), "%s/%s", parent, group) <
		    sizeof(place->path));
	place->transcript = transcript_new();
	place->tree = transcript_new();
}

static void place_destroy(struct place *place)
{
	if (place->transcript)
		munmap(place->transcript, sizeof(*place->transcript));
	if (place->tree)
		munmap(place->tree, sizeof(*place->tree));
}

/* In the child. Attributes of what was written are cached for a second at most, or refreshed by now. */
static void run_there(const struct place *place, void (*run)(struct side *))
{
	static const int fatal[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS };
	const char *type = getenv("FSTYPE"), *options = getenv("MOUNT_OPTIONS");
	const char *backing = getenv("BACKING"), *seed = getenv("SEED");
	char behind[PATH_MAX];
	struct side side = {
		.out = place->transcript,
		.raw = strcmp(place->variable, "SCRATCH") == 0,
		.passthrough = !options || !strstr(options, "passthrough=never"),
		.old_attributes = options && strstr(options, "cache=always"),
		.behind = behind,
		.seed = seed ? strtoull(seed, NULL, 10) : 0,
		/* XFS allocates ahead of appending writes, btrfs when it commits. */
		.exact_blocks = type && (strcmp(type, "ext4") == 0 || strcmp(type, "tmpfs") == 0),
	};

	/* cmocka's handlers would go on with the next test in here. */
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		(void)signal(fatal[i], SIG_DFL);
	(void)alarm(GROUP_SECONDS);
	(void)umask(022);
	/* It fits: setup() has put the same together. */
	(void)snprintf(behind, sizeof(behind), "%s%s", side.raw ? "" : backing,
		       side.raw ? place->path : strrchr(place->path, '/'));
	if (chdir(place->path) < 0)
		_exit(1);
	if (run)
		run(&side);
	side.out = place->tree;
	show_tree(&side, ".");
	_exit(0);
}

/* Returns false when the group did not reach its end. */
static bool run_in(const struct place *place, void (*run)(struct side *))
{
	int status = 0;
	pid_t pid;

	(void)fflush(NULL); /* or the child prints it again */
	pid = fork();
	if (pid == 0)
		run_there(place, run);
	assert_true(pid > 0);
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	if (WIFSIGNALED(status))
		print_message("%s: killed by signal %d (%s)\n", place->title, WTERMSIG(status),
			      strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		print_message("%s: cannot be run in %s\n", place->title, place->path);
	return status == 0;
}

/* The next line of @cursor, which is cut out of the text, or NULL. */
static char *next_line(char **cursor)
{
	char *line = *cursor;
	char *end;

	if (!line || !*line)
		return NULL;
	end = strchr(line, '\n');
	*cursor = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line;
}

/* Prints what differs. Returns the number of differences. */
static unsigned diff(const char *title_a, char *a, const char *title_b, char *b)
{
	unsigned differences = 0;
	unsigned number = 0;

	for (;;) {
		char *line_a = next_line(&a);
		char *line_b = next_line(&b);

		number++;
		if (!line_a && !line_b)
			return differences;
		if (line_a && line_b && strcmp(line_a, line_b) == 0)
			continue;
		if (differences++ < DIFFERENCES_MAX)
			print_message("line %u\n  %7s: %s\n  %7s: %s\n", number, title_a,
				      line_a ? line_a : "(nothing)", title_b,
				      line_b ? line_b : "(nothing)");
	}
}

static int setup(void **state)
{
	struct comparison *comparison = calloc(1, sizeof(*comparison));
	const struct call_group *group = *state;

	if (!comparison)
		return -1;
	comparison->group = group;
	*state = comparison;
	place_init(&comparison->raw, "SCRATCH", "raw", group->name);
	place_init(&comparison->mount, "MNT", "mount", group->name);
	place_init(&comparison->backing, "BACKING", "backing", group->name);
	assert_int_equal(mkdir(comparison->raw.path, 0755), 0);
	assert_int_equal(mkdir(comparison->mount.path, 0755), 0);
	return 0;
}

static int teardown(void **state)
{
	struct comparison *comparison = *state;

	place_destroy(&comparison->raw);
	place_destroy(&comparison->mount);
	place_destroy(&comparison->backing);
	free(comparison);
	return 0;
}

static void test_group(void **state)
{
	struct comparison *comparison = *state;
	struct place *raw = &comparison->raw;
	struct place *mount = &comparison->mount;
	struct place *backing = &comparison->backing;
	unsigned differences;

	assert_true(run_in(raw, comparison->group->run));
	/* What the mount's run said up to there helps to find out why. */
	if (!run_in(mount, comparison->group->run)) {
		(void)diff("raw", raw->transcript->text, "mount", mount->transcript->text);
		fail();
	}
	differences = diff("raw", raw->transcript->text, "mount", mount->transcript->text);
	assert_true(run_in(backing, NULL));
	if (strcmp(mount->tree->text, backing->tree->text) != 0) {
		char *again = strdup(mount->tree->text);

		assert_non_null(again);
		print_message("the mount shows something else than is there:\n");
		differences += diff("backing", backing->tree->text, "mount", again);
		free(again);
	}
	differences += diff("raw", raw->tree->text, "mount", mount->tree->text);
	assert_int_equal(differences, 0);
}

int main(void)
{
	struct CMUnitTest tests[GROUPS_MAX];
	const char *only = getenv("ONLY"); /* the name of one group */
	char seed[24];
	size_t n = 0;

	/* Another one each time; SEED=... does one again. */
	(void)snprintf(seed, sizeof(seed), "%lld", (long long)time(NULL));
	if (setenv("SEED", seed, 0) < 0)
		return EXIT_FAILURE;
	print_message("SEED=%s\n", getenv("SEED"));

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct call_group *group = tables[i]; group->name; group++) {
			if (only && *only && strcmp(only, group->name) != 0)
				continue;
			if (n == GROUPS_MAX)
				return EXIT_FAILURE;
			tests[n++] = (struct CMUnitTest){
				.name = group->name,
				.test_func = test_group,
				.setup_func = setup,
				.teardown_func = teardown,
				.initial_state = (void *)(uintptr_t)group,
			};
		}
	return _cmocka_run_group_tests("compare", tests, n, NULL, NULL);
}
