/* SPDX-License-Identifier: MIT */
/*
 * queued.c - for tools/bench: copies a file in pieces of 64 KiB, each of them a job of the engine, so
 * many of them queued at once.
 *
 *	queued AT_ONCE SOURCE DESTINATION
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"
#include "arsync/engine.h"

#define PIECE (64 * KIB)

struct batch {
	sem_t ended;
	int error; /* atomic; of any job */
};

/* job_done_fn */
static void piece_done(struct job *job, const struct job_result *result, void *userdata)
{
	struct batch *batch = userdata;

	(void)job;
	if (result->error < 0 || result->bytes == 0)
		__atomic_store_n(&batch->error, result->error < 0 ? result->error : -EIO,
				 __ATOMIC_RELAXED);
	sem_post(&batch->ended);
}

static int start_piece(struct engine *engine, struct copy_spec spec, uint64_t offset)
{
	struct job *job;
	int r;

	spec.src_offset = spec.dst_offset = offset;
	r = engine_copy_range(engine, &spec, &job);
	if (r < 0)
		return r;
	job_start(job);
	job_unref(job);
	return 0;
}

/* Never fewer than @at_once under way, as long as there is something left to queue. */
static int copy(struct engine *engine, unsigned at_once, int src_fd, int dst_fd, uint64_t size)
{
	struct batch batch = { .error = 0 };
	const struct copy_spec spec = {
		.src_fd = src_fd,
		.dst_fd = dst_fd,
		.length = PIECE,
		.done = piece_done,
		.userdata = &batch,
	};
	unsigned under_way = 0;
	int r = sem_init(&batch.ended, 0, 0) < 0 ? negative_errno() : 0;

	for (uint64_t at = 0; (at < size && r == 0) || under_way > 0;) {
		if (at < size && under_way < at_once && r == 0) {
			r = start_piece(engine, spec, at);
			under_way += r == 0;
			at += PIECE;
			continue;
		}
		if (sem_wait(&batch.ended) == 0)
			under_way--;
	}
	(void)sem_destroy(&batch.ended); /* nobody waits for it */
	return r < 0 ? r : __atomic_load_n(&batch.error, __ATOMIC_RELAXED);
}

static int run(unsigned at_once, const char *source, const char *destination)
{
	_cleanup_close_ int src_fd = open(source, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int dst_fd = open(destination, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	struct engine_options options;
	struct engine *engine;
	struct stat st;
	int r;

	if (src_fd < 0 || dst_fd < 0 || fstat(src_fd, &st) < 0 || ftruncate(dst_fd, st.st_size) < 0)
		return negative_errno();
	engine_options_init(&options);
	options.reflink = ENGINE_REFLINK_NEVER;
	r = engine_new(&options, &engine);
	if (r < 0)
		return r;
	r = copy(engine, at_once, src_fd, dst_fd, (uint64_t)st.st_size);
	engine_free(engine);
	return r;
}

int main(int argc, char **argv)
{
	unsigned at_once = argc == 4 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	int r;

	if (at_once == 0) {
		(void)fprintf(stderr, "usage: queued AT_ONCE SOURCE DESTINATION\n");
		return EXIT_FAILURE;
	}
	r = run(at_once, argv[2], argv[3]);
	if (r < 0)
		(void)fprintf(stderr, "queued: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
