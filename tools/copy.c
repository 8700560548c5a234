/* SPDX-License-Identifier: MIT */
/*
 * copy.c - `arsync copy`: options, one copy after the other, signals and the report.
 */
#include "copy.h"

#include <argp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync.h"
#include "arsync/base.h"
#include "attribute.h"
#include "copy_report.h"
#include "destination.h"
#include "made.h"

#define LOOK_MS 150   /* between two looks at the progress */
#define CANCEL_MS 200 /* a cancelled copy that is not gone by then is spoken of */

/* Options without a letter */
enum {
	OPTION_DRY_RUN = 256,
	OPTION_JSON,
	OPTION_LOCAL,
	OPTION_PROGRESS,
	OPTION_EXISTING,
	OPTION_ON_ERROR,
	OPTION_VERIFY,
	OPTION_FSYNC,
	OPTION_REFLINK,
	OPTION_ENGINE, /* and further ones */
};

/* As engine_options_set() calls them. */
static const char *const engine_names[] = { "workers", "queue_depth", "block_size", "depth",
					    "offload", "direct",      "io" };

/* Options of each copy, as tree_options_set() calls them. Without a value of their own: with this one. */
static const struct {
	int key;
	const char *name;
	const char *value;
} tree_names[] = {
	{ OPTION_EXISTING, "existing", NULL }, { 'n', "existing", "skip" },
	{ 'u', "existing", "update" },	       { OPTION_ON_ERROR, "on_error", NULL },
	{ OPTION_VERIFY, "verify", "yes" },    { 'x', "one_file_system", "yes" },
	{ OPTION_FSYNC, "fsync", NULL },       { OPTION_REFLINK, "reflink", NULL },
};

static const struct argp_option options[] = {
	{ "target-directory", 't', "DIR", 0, "copy everything into DIR", 0 },
	{ "no-target-directory", 'T', NULL, 0,
	  "DEST is the copy itself, never a directory to put it in", 0 },
	{ "existing", OPTION_EXISTING, "fail|merge|skip|replace|update", 0,
	  "what becomes of a destination that exists (fail): copy what is new or differs into it, only what "
	  "is not there, put the copy in its place at once, or what is newer",
	  0 },
	{ "no-clobber", 'n', NULL, 0, "--existing=skip", 0 },
	{ "update", 'u', NULL, 0, "--existing=update", 0 },
	{ "on-error", OPTION_ON_ERROR, "stop|continue", 0,
	  "whether what cannot be copied ends the copy (stop), or is left out and reported", 0 },
	{ "verify", OPTION_VERIFY, NULL, 0, "read each file again, from the disk, and compare", 0 },
	{ "one-file-system", 'x', NULL, 0, "leave out what is mounted below the source", 0 },
	{ "fsync", OPTION_FSYNC, "never|file|tree", 0,
	  "what is on stable storage when a copy is complete", 0 },
	{ "reflink", OPTION_REFLINK, "auto|always|never", 0,
	  "share blocks where the file system can", 0 },
	{ "verbose", 'v', NULL, 0, "say what was copied, how, and how long it took", 0 },
	{ "quiet", 'q', NULL, 0, "show no progress", 0 },
	{ "progress", OPTION_PROGRESS, "auto|bar|lines|none", 0,
	  "how progress is shown on standard error; auto: a bar on a terminal, elsewhere a line every five "
	  "seconds",
	  0 },
	{ "dry-run", OPTION_DRY_RUN, NULL, 0, "only say what would be copied", 0 },
	{ "json", OPTION_JSON, NULL, 0, "a line of JSON for each copy on standard output", 0 },
	{ "background", 'b', NULL, 0,
	  "leave the copies to the arsyncfs mount and print the numbers of the jobs", 0 },
	{ "local", OPTION_LOCAL, NULL, 0,
	  "copy in this process, also inside an arsyncfs mount; what follows implies it", 0 },
	{ NULL, 0, NULL, 0, "The engine in this process:", 1 },
	{ "workers", OPTION_ENGINE, "N", 0, "copy threads (the cores it may use)", 1 },
	{ "queue_depth", OPTION_ENGINE + 1, "N", 0, "buffers a worker", 1 },
	{ "block_size", OPTION_ENGINE + 2, "SIZE", 0, "bytes of one read and write: 512K, 1M, ...",
	  1 },
	{ "depth", OPTION_ENGINE + 3, "auto|N", 0, "2^N regions of a file are copied at once", 1 },
	{ "offload", OPTION_ENGINE + 4, "auto|always|never", 0,
	  "let the file system copy by itself (auto: where it does so on a server)", 1 },
	{ "direct", OPTION_ENGINE + 5, "auto|always|never", 0,
	  "pass by the page cache (auto: sources not in it, copies too large for it)", 1 },
	{ "io", OPTION_ENGINE + 6, "auto|uring|sync", 0, "how the engine reads and writes", 1 },
	{ 0 },
};

static const char doc[] =
	"Copies files and trees: a copy appears whole or not at all; with --existing, file by file, into what is "
	"there. Inside one arsyncfs mount the mount copies, elsewhere this process does."
	"\vWhere DEST is a directory, copies go into it under their own names. Ctrl-C cancels.\n\n"
	"Exit status: 0 all was copied; 1 something was not; 2 wrong usage; 3 somebody else cancelled a copy; "
	"129, 130 or 143 cancelled by SIGHUP, SIGINT or SIGTERM.";

struct settings {
	struct engine_options engine;
	struct tree_options tree;
	char lines[256];      /* the same for a mount: "\nkey=value" each */
	const char *existing; /* its value */
	enum destination_kind kind;
	enum progress_kind progress;
	char *directory; /* of -t */
	bool verbose;
	bool dry_run;
	bool json;
	bool local;
	bool background;
	char **operands;
	int n_operands;
};

static void write_log(void *userdata, enum log_level level, const char *message)
{
	(void)userdata;
	(void)level;
	complain("%s", message);
}

static int read_progress(struct settings *settings, const char *text)
{
	if (strcmp(text, "bar") == 0)
		settings->progress = PROGRESS_BAR;
	else if (strcmp(text, "lines") == 0)
		settings->progress = PROGRESS_LINES;
	else if (strcmp(text, "none") == 0)
		settings->progress = PROGRESS_NONE;
	else if (strcmp(text, "auto") != 0)
		return -EINVAL;
	return 0;
}

static void read_engine_option(struct argp_state *state, int key, const char *value)
{
	struct settings *settings = state->input;
	char error[256];

	settings->local = true;
	if (engine_options_set(&settings->engine, engine_names[key - OPTION_ENGINE], value, error,
			       sizeof(error)) < 0)
		argp_error(state, "%s", error);
}

/* False: @key is none of them. */
static bool read_tree_option(struct argp_state *state, int key, const char *value)
{
	struct settings *settings = state->input;
	const char *name = NULL;
	size_t used = strlen(settings->lines);
	char error[256];

	for (size_t i = 0; i < ARRAY_SIZE(tree_names) && !name; i++) {
		if (tree_names[i].key != key)
			continue;
		name = tree_names[i].name;
		value = tree_names[i].value ? tree_names[i].value : value;
	}
	if (!name)
		return false;
	if (tree_options_set(&settings->tree, name, value, error, sizeof(error)) < 0)
		argp_error(state, "%s", error);
	if (strcmp(name, "existing") == 0)
		settings->existing = value;
	if ((size_t)snprintf(settings->lines + used, sizeof(settings->lines) - used, "\n%s=%s",
			     name, value) >= sizeof(settings->lines) - used)
		argp_error(state, "too many options");
	return true;
}

/* argp_parser_t */
static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct settings *settings = state->input;

	switch (key) {
	case 't':
		settings->kind = DESTINATION_DIRECTORY;
		settings->directory = value;
		break;
	case 'T':
		settings->kind = DESTINATION_NAME;
		break;
	case 'v':
		settings->verbose = true;
		break;
	case 'q':
		settings->progress = PROGRESS_NONE;
		break;
	case 'b':
		settings->background = true;
		break;
	case OPTION_PROGRESS:
		if (read_progress(settings, value) < 0)
			argp_error(state, "--progress wants auto, bar, lines or none");
		break;
	case OPTION_DRY_RUN:
		settings->dry_run = true;
		break;
	case OPTION_JSON:
		settings->json = true;
		break;
	case OPTION_LOCAL:
		settings->local = true;
		break;
	case ARGP_KEY_ARGS:
		settings->operands = state->argv + state->next;
		settings->n_operands = state->argc - state->next;
		break;
	default:
		if (read_tree_option(state, key, value))
			break;
		if (key < OPTION_ENGINE || key >= OPTION_ENGINE + (int)ARRAY_SIZE(engine_names))
			return ARGP_ERR_UNKNOWN;
		read_engine_option(state, key, value);
		break;
	}
	return 0;
}

/* What is made once for all copies. */
struct copying {
	const struct settings *settings;
	struct engine *engine; /* NULL: not needed yet */
	struct made made;
	int signal_fd;
	int signal; /* that has come; 0: none */
};

static int start_local(struct copying *copying, const struct copy_task *task,
		       struct copy_running **ret)
{
	int r;

	if (!copying->engine) {
		engine_raise_fd_limit(copying->settings->engine.log);
		r = engine_new(&copying->settings->engine, &copying->engine);
		if (r < 0) {
			complain("the copy engine cannot start: %s", strerror(-r));
			return r;
		}
	}
	return copy_local.start(task, copying->engine, ret);
}

static int start(struct copying *copying, const struct copy_task *task, struct copy_running **ret)
{
	bool background = copying->settings->background;
	int r = -EOPNOTSUPP;

	if (!copying->settings->local)
		r = copy_mount.start(task, &background, ret);
	if (r == -EOPNOTSUPP && !background)
		r = start_local(copying, task, ret);
	return r;
}

/*
 * Waits for the end and shows how far it is. A signal cancels, and who has given it hears of it soon; a
 * second one gives up waiting.
 */
static bool wait_for_end(struct copying *copying, const struct copy_task *task,
			 struct copy_running *running, struct progress *progress)
{
	struct pollfd pollers[2] = {
		{ .fd = running->event_fd, .events = POLLIN },
		{ .fd = copying->signal_fd, .events = POLLIN },
	};
	struct progress_state state = { 0 };
	int timeout = progress->kind == PROGRESS_NONE ? -1 : progress_first_ms(progress);
	int signal;

	for (;;) {
		int n = poll(pollers, 2, timeout);

		if (n > 0 && (pollers[0].revents & POLLIN))
			return true;
		signal = n > 0 ? signals_next(copying->signal_fd) : 0;
		if (signals_is_end(signal)) {
			if (copying->signal)
				return false;
			copying->signal = signal;
			running->method->cancel(running);
			timeout = CANCEL_MS;
		} else if (copying->signal && n == 0) {
			progress_clear(progress);
			complain("cancelled; what is unfinished of %s is being removed",
				 task->shown);
			timeout = -1;
		} else if (progress->kind != PROGRESS_NONE && !copying->signal &&
			   (n == 0 || signal == SIGWINCH)) {
			running->method->look(running, &state);
			progress_show(progress, &state);
			timeout = LOOK_MS;
		}
	}
}

static enum exit_code refused(const struct copying *copying, const struct copy_task *task, int r)
{
	const char *note = "";

	if (r == -EOPNOTSUPP && copying->settings->background)
		note = " (in the background: they are not in one arsyncfs mount where you may order copies, or "
		       "something else is mounted in there)";
	else if (r == -EBUSY)
		note = " (too many jobs are waiting in this mount; try again later)";
	return copy_report_refused(copying->settings->json, task->source, task->shown, r, note);
}

/* Whether a copy that has ended is there, or a part of it. */
static bool has_left(const struct copy_task *task, json_object *job)
{
	if (!job || attribute_flag(job, "published"))
		return true; /* without a job that is not known */
	switch (task->options->existing) {
	case TREE_EXISTING_FAIL:
	case TREE_EXISTING_REPLACE:
		return false;
	case TREE_EXISTING_MERGE:
	case TREE_EXISTING_SKIP:
	case TREE_EXISTING_UPDATE:
		break;
	}
	return attribute_number(job, "files") + attribute_number(job, "directories") +
		       attribute_number(job, "others") >
	       0;
}

static enum exit_code copy_one(struct copying *copying, const struct copy_task *task)
{
	const char *slash = strrchr(task->source, '/');
	struct copy_running *running;
	struct copy_outcome outcome;
	struct progress progress;
	enum exit_code code;
	uint64_t id;
	int r;

	r = start(copying, task, &running);
	if (r < 0) {
		made_forget_last(&copying->made);
		return refused(copying, task, r);
	}
	if (copying->settings->background) {
		running->method->leave(running, &id);
		(void)printf(copying->settings->json ? "{\"id\":%" PRIu64 "}\n" : "%" PRIu64 "\n",
			     id);
		return EXIT_GOOD;
	}
	progress_begin(&progress, copying->settings->progress, stderr,
		       slash && slash[1] ? slash + 1 : task->source);
	if (!wait_for_end(copying, task, running, &progress)) {
		progress_clear(&progress);
		complain("not waiting any longer: what is unfinished of %s is being removed",
			 task->shown);
		_exit(EXIT_SIGNAL + copying->signal);
	}
	progress_clear(&progress);
	running->method->end(running, &outcome);
	if (outcome.error < 0 && !has_left(task, outcome.job))
		made_forget_last(&copying->made);
	code = copy_report(
		&(struct copy_report){
			.json = copying->settings->json,
			.verbose = copying->settings->verbose,
			.signal = copying->signal,
		},
		task, &outcome);
	json_object_put(outcome.job);
	return code;
}

/* What can be known without copying. */
static enum exit_code pretend(struct copying *copying, const struct copy_task *task)
{
	const struct settings *settings = copying->settings;
	bool exists = false;
	_cleanup_free_ char *path = NULL, *from = NULL, *to = NULL;
	struct stat source, st;
	int r = 0;

	if (asprintf(&path, "%s/%s", task->directory, task->name) < 0) {
		path = NULL;
		r = -ENOMEM;
	} else if (stat(task->directory, &st) < 0) {
		r = negative_errno();
	} else if (!S_ISDIR(st.st_mode)) {
		r = -ENOTDIR;
	} else if (stat(task->source, &source) < 0) {
		r = negative_errno();
	} else if (lstat(path, &st) == 0) {
		exists = true;
		r = destination_check(&source, &st, settings->tree.existing);
	}
	if (r < 0) {
		made_forget_last(&copying->made);
		complain("cannot copy %s to %s: %s", task->source, task->shown, strerror(-r));
		return EXIT_FAILED;
	}
	from = progress_printable_all(task->source);
	to = progress_printable_all(task->shown);
	(void)printf("%s -> %s%s%s%s\n", from ? from : "?", to ? to : "?",
		     exists ? " (exists: " : "", exists ? settings->existing : "",
		     exists ? ")" : "");
	return EXIT_GOOD;
}

static enum exit_code copy_source(struct copying *copying, const char *source, const char *dest,
				  bool into)
{
	struct copy_task task;
	enum exit_code code;
	int r = destination_find(source, dest, into, &task);

	if (r < 0)
		return copy_report_refused(
			copying->settings->json, source, dest, r,
			r == -EINVAL ? " (the copy needs a name: say DEST/NAME)" : "");
	task.options = &copying->settings->tree;
	task.lines = copying->settings->lines;
	if (task.options->existing != TREE_EXISTING_SKIP)
		r = made_add(&copying->made, task.directory, task.name);
	if (r < 0)
		code = copy_report_refused(
			copying->settings->json, source, task.shown, r,
			r == -EEXIST ? " (will not overwrite the just-created copy)" : "");
	else
		code = copying->settings->dry_run ? pretend(copying, &task) :
						    copy_one(copying, &task);
	destination_destroy(&task);
	return code;
}

static int copy_all(struct copying *copying, char **sources, int n, const char *dest, bool into)
{
	int worst = EXIT_GOOD, done = 0;

	for (int i = 0; i < n && !copying->signal; i++) {
		int code = copy_source(copying, sources[i], dest, into);

		done += code == EXIT_GOOD;
		if (worst == EXIT_GOOD || code == EXIT_FAILED)
			worst = code == EXIT_GOOD ? worst : code;
	}
	if (!copying->signal)
		return worst;
	if (n > 1)
		complain("%d of %d were copied", done, n);
	return done == n ? worst : EXIT_SIGNAL + copying->signal;
}

/* What -t and the last operand say. Returns how many operands are sources; -1: wrong usage. */
static int find_destination(const struct settings *settings, const char **ret_dest, bool *ret_into)
{
	int n = settings->n_operands - (settings->directory ? 0 : 1);
	int r;

	if (n < 1) {
		complain("what is to be copied, and where to? arsync copy SRC... DEST "
			 "(arsync copy --help says more)");
		return -1;
	}
	*ret_dest = settings->directory ? settings->directory : settings->operands[n];
	r = destination_is_directory(*ret_dest, settings->kind, n > 1, ret_into);
	if (r == -EINVAL)
		complain("-T takes one source and one destination");
	else if (r < 0)
		complain("%s is to receive the copies: %s", *ret_dest, strerror(-r));
	return r < 0 ? -1 : n;
}

int command_copy(int argc, char **argv)
{
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "SRC DEST\nSRC... DIRECTORY\n-t DIRECTORY SRC...",
		.doc = doc,
	};
	const struct log log = { .level = LOG_LEVEL_WARN, .write = write_log };
	struct settings settings = {
		.progress = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES,
	};
	struct copying copying = { .settings = &settings };
	const char *dest;
	bool into;
	int code, n;

	engine_options_init(&settings.engine);
	tree_options_init(&settings.tree);
	settings.engine.log = &log;
	if (argp_parse(&argp, argc, argv, 0, NULL, &settings) != 0)
		return EXIT_USAGE;
	n = find_destination(&settings, &dest, &into);
	if (n < 0)
		return EXIT_USAGE;
	copying.signal_fd = signals_open(settings.progress == PROGRESS_BAR);
	if (copying.signal_fd < 0) {
		complain("cannot wait for signals: %s", strerror(-copying.signal_fd));
		return EXIT_FAILED;
	}
	code = copy_all(&copying, settings.operands, n, dest, into);
	engine_free(copying.engine);
	made_destroy(&copying.made);
	close_keep_errno(copying.signal_fd);
	return code;
}
