/* SPDX-License-Identifier: MIT */
/*
 * write_out.c - see write_out.h.
 */
#include "write_out.h"

#include <fcntl.h>
#include <unistd.h>

#include "arsync/base.h"
#include "job.h"
#include "worker.h"

/*
 * What is in flight is waited for: so little that a slow disk is done within 200 ms, and so much that a
 * fast one has something to do while the next piece is begun.
 */
#define PIECE (4 * MIB)
#define IN_FLIGHT 3

static void advance(struct write_out *out);

static void fsync_done(struct io_slot *slot)
{
	struct write_out *out = slot->owner;
	int error = slot->error;

	worker_put_slot(out->worker, slot);
	out->done(out, error);
}

/*
 * Whether the call is none here: the file, the kernel or a filter of system calls has it not. What an errno
 * says could be an error of the data, too: of what a FUSE or NFS server has answered any is handed on. Without
 * flags nothing is written, waited for or told of.
 */
static bool is_unsupported(const struct write_out *out)
{
	return sync_file_range(out->fd, (off_t)out->at, 1, 0) < 0;
}

static void piece_done(struct io_slot *slot)
{
	struct write_out *out = slot->owner;

	out->in_flight--;
	/* The fsync would not tell of it again. */
	if (slot->error < 0 && out->error == 0 && !is_unsupported(out))
		out->error = slot->error;
	if (slot->error < 0)
		out->at = out->end;
	worker_put_slot(out->worker, slot);
	advance(out);
}

/* Where the next data begins: holes need no writing. */
static void skip_hole(struct write_out *out)
{
	off_t data = lseek(out->fd, (off_t)out->at, SEEK_DATA);

	if (data >= 0)
		out->at = MIN((uint64_t)data, out->end);
	else if (errno == ENXIO)
		out->at = out->end;
}

static void start_sync(struct write_out *out, uint32_t length, slot_done_fn done)
{
	struct slot_fsync sync = {
		.fd = out->fd,
		.offset = out->at,
		.length = length,
		.cred = out->job->cred,
		.done = done,
		.owner = out,
	};

	worker_start_fsync(out->worker, &sync);
}

/* The next pieces; behind the last one the fsync. */
static void advance(struct write_out *out)
{
	if (out->error == 0 && job_get_verdict(out->job) < 0)
		out->error = -ECANCELED;
	while (out->error == 0 && out->at < out->end && out->in_flight < IN_FLIGHT) {
		uint32_t length;

		skip_hole(out);
		length = (uint32_t)MIN(out->end - out->at, PIECE);
		if (length == 0)
			break;
		out->in_flight++;
		start_sync(out, length, piece_done);
		out->at += length;
	}
	if (out->in_flight > 0)
		return;
	if (out->error < 0)
		out->done(out, out->error);
	else
		start_sync(out, 0, fsync_done);
}

void write_out_start(struct write_out *out)
{
	if (out->end - out->at <= PIECE)
		out->at = out->end; /* the fsync does not take long */
	advance(out);
}
