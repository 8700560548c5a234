/* SPDX-License-Identifier: MIT */
/*
 * progress.c - see progress.h.
 *
 *	photos  [=========>          ]  45%  1.2 GiB/2.7 GiB  512 MiB/s  ETA 0:03  12345/20000 files
 *
 * What does not fit into the terminal's width is left out, the least important first. The width is
 * asked for each time, so that a resized terminal gets a fitting line at once.
 */
#include "progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

#include "arsync/base.h"

#define COLUMNS_MAX 1000
#define COLUMNS_USUAL 80
#define NAME_COLUMNS 24
#define BAR_COLUMNS_MIN 12 /* with its brackets */
#define BAR_COLUMNS_MAX 60
#define SAMPLE_MS 400
#define WEIGHT_OF_LATE 0.3
#define LINES_MS 5000
#define FIRST_MS 500 /* shorter copies show no bar */
#define COUNT_MS                                                                                   \
	1000 /* before the first line: looking has the totals counted, which takes a walk */

uint64_t progress_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void progress_size(uint64_t bytes, char text[PROGRESS_TEXT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	/* 1023.5 would be written as 1024. */
	for (; value >= 1023.5 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	(void)snprintf(text, PROGRESS_TEXT_MAX, unit > 0 && value < 99.95 ? "%.1f %s" : "%.0f %s",
		       value, units[unit]); /* fits */
}

void progress_time(double seconds, char text[PROGRESS_TEXT_MAX])
{
	uint64_t s;

	if (seconds < 0 || seconds > 359999) {
		(void)strcpy(text, "-");
		return;
	}
	s = (uint64_t)(seconds + 0.5);
	if (s >= 3600)
		(void)snprintf(text, PROGRESS_TEXT_MAX, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
			       s / 3600, s / 60 % 60, s % 60); /* fits */
	else
		(void)snprintf(text, PROGRESS_TEXT_MAX, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
}

unsigned progress_printable(const char *text, unsigned columns, char *out, size_t size)
{
	mbstate_t state = { 0 };
	unsigned used = 0;
	size_t at = 0;

	while (*text) {
		wchar_t wide;
		size_t length = mbrtowc(&wide, text, strlen(text), &state);
		bool good = length > 0 && length < (size_t)-2;
		int width = good && iswprint((wint_t)wide) ? wcwidth(wide) : -1;
		const char *from = width >= 0 ? text : "?";
		size_t bytes = width >= 0 ? length : 1;

		if (!good) {
			state = (mbstate_t){ 0 };
			length = 1;
		}
		width = width >= 0 ? width : 1;
		if (used + (unsigned)width > columns || at + bytes + 1 > size)
			break;
		memcpy(out + at, from, bytes);
		at += bytes;
		used += (unsigned)width;
		text += length;
	}
	out[at] = '\0';
	return used;
}

char *progress_printable_all(const char *text)
{
	size_t size = strlen(text) + 1; /* it never becomes longer */
	char *out = malloc(size);

	if (out)
		(void)progress_printable(text, UINT32_MAX, out, size);
	return out;
}

unsigned progress_width(const char *text)
{
	_cleanup_free_ char *out = malloc(strlen(text) + 1);

	return out ? progress_printable(text, UINT32_MAX, out, strlen(text) + 1) : 0;
}

void progress_begin(struct progress *progress, enum progress_kind kind, FILE *out, const char *name)
{
	uint64_t now = progress_now_ms();

	*progress = (struct progress){
		.kind = kind,
		.out = out,
		.name = name,
		.lines_ms = LINES_MS,
		.started_ms = now,
		.line_ms = now,
		.sampled_ms = now,
	};
}

int progress_first_ms(const struct progress *progress)
{
	if (progress->kind == PROGRESS_LINES)
		return (int)progress->lines_ms - COUNT_MS;
	return FIRST_MS;
}

/* What was done to bytes, and what is to be. */
static uint64_t work_done(const struct progress_state *state)
{
	return state->bytes + state->bytes_verified;
}

static uint64_t work_total(const struct progress_state *state)
{
	return state->verifies ? 2 * state->bytes_total : state->bytes_total;
}

static double smooth(double before, uint64_t done, uint64_t ms)
{
	double now = (double)done * 1000 / (double)ms;

	return before > 0 ? before + WEIGHT_OF_LATE * (now - before) : now;
}

static void sample(struct progress *progress, const struct progress_state *state)
{
	uint64_t now = progress_now_ms(), ms = now - progress->sampled_ms;

	if (ms < SAMPLE_MS)
		return;
	progress->bytes_rate =
		smooth(progress->bytes_rate, work_done(state) - work_done(&progress->sampled), ms);
	progress->files_rate =
		smooth(progress->files_rate, state->files - progress->sampled.files, ms);
	progress->sampled_ms = now;
	progress->sampled = *state;
}

/* What takes longer, the bytes or the files; negative: not known. */
static double seconds_left(const struct progress *progress, const struct progress_state *state)
{
	double seconds = -1;

	if (!state->totals_known)
		return -1;
	if (progress->bytes_rate > 0)
		seconds = (double)(work_total(state) - work_done(state)) / progress->bytes_rate;
	if (progress->files_rate > 0)
		seconds = MAX(seconds,
			      (double)(state->files_total - state->files) / progress->files_rate);
	return seconds;
}

/* 0 to 100; of files where there are no bytes. */
static unsigned percent(const struct progress_state *state)
{
	if (state->bytes_total > 0)
		return (unsigned)((double)work_done(state) / (double)work_total(state) * 100);
	if (state->files_total > 0)
		return (unsigned)((double)state->files / (double)state->files_total * 100);
	return 0;
}

/* What stands behind the bar, the most important first. */
enum field {
	FIELD_PERCENT,
	FIELD_BYTES,
	FIELD_RATE,
	FIELD_ETA,
	FIELD_FILES,
	FIELD_COUNT
};

#define FIELD_MAX (2 * PROGRESS_TEXT_MAX + 16)

static void write_fields(const struct progress *progress, const struct progress_state *state,
			 char fields[FIELD_COUNT][FIELD_MAX])
{
	char done[PROGRESS_TEXT_MAX], total[PROGRESS_TEXT_MAX];

	/* All of these fit. */
	if (state->totals_known)
		(void)snprintf(fields[FIELD_PERCENT], FIELD_MAX, "%3u%%", percent(state));
	else
		(void)strcpy(fields[FIELD_PERCENT], "  ?%");
	progress_size(state->bytes, done);
	progress_size(state->bytes_total, total);
	if (state->totals_known)
		(void)snprintf(fields[FIELD_BYTES], FIELD_MAX, "%s/%s", done, total);
	else
		(void)strcpy(fields[FIELD_BYTES], done);
	progress_size((uint64_t)progress->bytes_rate, done);
	(void)snprintf(fields[FIELD_RATE], FIELD_MAX, "%s/s", done);
	progress_time(seconds_left(progress, state), done);
	(void)snprintf(fields[FIELD_ETA], FIELD_MAX, "ETA %s", done);
	if (state->totals_known)
		(void)snprintf(fields[FIELD_FILES], FIELD_MAX, "%" PRIu64 "/%" PRIu64 " files",
			       state->files, state->files_total);
	else
		(void)snprintf(fields[FIELD_FILES], FIELD_MAX, "%" PRIu64 " files", state->files);
}

static char *add_bar(char *out, const struct progress_state *state, unsigned columns)
{
	unsigned inside = columns - 2;
	unsigned full = state->totals_known ? inside * percent(state) / 100 : 0;

	*out++ = '[';
	for (unsigned i = 0; i < inside; i++)
		*out++ = i < full ? '=' : i == full && full > 0 ? '>' : ' ';
	*out++ = ']';
	*out = '\0';
	return out;
}

void progress_bar(const struct progress *progress, const struct progress_state *state,
		  unsigned columns, char *text)
{
	char fields[FIELD_COUNT][FIELD_MAX];
	char name[NAME_COLUMNS * 4 + 1];
	unsigned used = 0, n_fields = 0, name_columns = 0, bar = 0;
	char *out = text;

	write_fields(progress, state, fields);
	*out = '\0';
	if (columns < strlen(fields[FIELD_PERCENT]))
		return;
	used = (unsigned)strlen(fields[n_fields++]);
	for (; n_fields < FIELD_COUNT; n_fields++) {
		unsigned more = (unsigned)strlen(fields[n_fields]) + 2;

		if (used + more + BAR_COLUMNS_MIN + 2 > columns && n_fields > FIELD_BYTES)
			break;
		if (used + more > columns)
			break;
		used += more;
	}
	if (columns >= used + BAR_COLUMNS_MIN + 2)
		bar = MIN(columns - used - 2, (unsigned)BAR_COLUMNS_MAX);
	if (bar >= BAR_COLUMNS_MIN + 10) {
		name_columns = progress_printable(
			progress->name, MIN(bar - BAR_COLUMNS_MIN - 2, (unsigned)NAME_COLUMNS),
			name, sizeof(name));
		/* What the name takes, the bar gives, unless there is more than it wants. */
		if (used + 2 + bar + name_columns + 2 > columns)
			bar = columns - used - 2 - name_columns - 2;
		out = stpcpy(stpcpy(out, name), "  ");
	}
	if (bar > 0)
		out = stpcpy(add_bar(out, state, bar), "  ");
	for (unsigned i = 0; i < n_fields; i++)
		out = stpcpy(stpcpy(out, i ? "  " : ""), fields[i]);
}

static unsigned terminal_columns(FILE *out)
{
	struct winsize size;

	if (ioctl(fileno(out), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return COLUMNS_USUAL;
	return MIN(size.ws_col, COLUMNS_MAX);
}

static void show_bar(struct progress *progress, const struct progress_state *state)
{
	char text[4 * COLUMNS_MAX + 1];

	/* The last column stays free: some terminals go on to the next line after it. */
	progress_bar(progress, state, terminal_columns(progress->out) - 1, text);
	(void)fprintf(progress->out, "\r%s\033[K", text); /* what cannot be shown is not missed */
	(void)fflush(progress->out);
	progress->shown = true;
}

static void show_line(struct progress *progress, const struct progress_state *state)
{
	char fields[FIELD_COUNT][FIELD_MAX];
	char name[4 * NAME_COLUMNS + 1];
	uint64_t now = progress_now_ms();

	if (now - progress->line_ms < progress->lines_ms)
		return;
	progress->line_ms = now;
	write_fields(progress, state, fields);
	(void)progress_printable(progress->name, NAME_COLUMNS, name, sizeof(name));
	(void)fprintf(progress->out, "arsync: %s: %s, %s, %s, %s, %s\n", name,
		      fields[FIELD_PERCENT] + strspn(fields[FIELD_PERCENT], " "),
		      fields[FIELD_BYTES], fields[FIELD_RATE], fields[FIELD_ETA],
		      fields[FIELD_FILES]);
	(void)fflush(progress->out);
}

void progress_show(struct progress *progress, const struct progress_state *state)
{
	sample(progress, state);
	switch (progress->kind) {
	case PROGRESS_NONE:
		break;
	case PROGRESS_BAR:
		show_bar(progress, state);
		break;
	case PROGRESS_LINES:
		show_line(progress, state);
		break;
	}
}

void progress_clear(struct progress *progress)
{
	if (progress->shown) {
		(void)fputs("\r\033[K", progress->out);
		(void)fflush(progress->out);
	}
	progress->shown = false;
}
