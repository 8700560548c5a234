/* SPDX-License-Identifier: MIT */
/*
 * progress.h - how far a copy is: a bar on a terminal, lines elsewhere, and how numbers are written.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PROGRESS_TEXT_MAX 32

enum progress_kind {
	PROGRESS_NONE,
	PROGRESS_BAR,
	PROGRESS_LINES,
};

/* How far it is now. */
struct progress_state {
	uint64_t bytes, bytes_total;
	uint64_t bytes_verified; /* with verifies */
	bool verifies; /* what is copied is read again: each byte is to be handled twice */
	uint64_t files, files_total;
	bool totals_known;
};

struct progress {
	enum progress_kind kind;
	FILE *out;
	const char *name; /* of what is copied; borrowed */
	unsigned lines_ms;
	uint64_t started_ms;
	uint64_t line_ms; /* when the last line was written */
	bool shown;	  /* a bar stands in the current line */
	uint64_t sampled_ms;
	struct progress_state sampled;
	double bytes_rate, files_rate; /* a second; 0: not known yet */
};

void progress_begin(struct progress *progress, enum progress_kind kind, FILE *out,
		    const char *name);

/** In how many milliseconds something is to be shown first, and the progress to be looked at. */
int progress_first_ms(const struct progress *progress);

/** Shows @state, if it is time to. */
void progress_show(struct progress *progress, const struct progress_state *state);

/** Takes the bar away, so that something else can be written. */
void progress_clear(struct progress *progress);

/**
 * The bar as text of at most @columns columns. @text holds at least 4 * @columns + 1 bytes.
 */
void progress_bar(const struct progress *progress, const struct progress_state *state,
		  unsigned columns, char *text);

/** "12 B", "1.5 KiB", "1023 MiB". */
void progress_size(uint64_t bytes, char text[PROGRESS_TEXT_MAX]);
/** "0:07", "1:02:03"; "-" where @seconds is negative. */
void progress_time(double seconds, char text[PROGRESS_TEXT_MAX]);

/** How many columns @text takes; what cannot be printed takes one. */
unsigned progress_width(const char *text);
/**
 * Copies @text to @out, of @size bytes, as far as it fits into @columns. What cannot be printed
 * becomes "?": names may hold anything, also what a terminal would obey. Returns the columns used.
 */
unsigned progress_printable(const char *text, unsigned columns, char *out, size_t size);
/** All of @text like that, to be freed. NULL: no memory is left. */
char *progress_printable_all(const char *text);

uint64_t progress_now_ms(void);

#endif /* TOOLS_PROGRESS_H */
