/* SPDX-License-Identifier: MIT */
/*
 * tree_note.h - a tree copy's note, by which what it has made is found after a crash (leftover.h). All of it is
 * best effort: a copy is made without one, too.
 */
#ifndef ENGINE_TREE_NOTE_H
#define ENGINE_TREE_NOTE_H

#include <stdbool.h>
#include <sys/stat.h>

struct tree_job;
struct worker;

/** Where the copy will grow. Before anything is made. */
void tree_note_begin(struct tree_job *tree, const struct stat *source, struct worker *worker);

/** What grows there, as soon as it is there; @replaced: what it will change places with. */
void tree_note_add(struct tree_job *tree, int fd, bool replaced);

/** What it tells of has its name, or is removed, or stays (tree_job::left). */
void tree_note_end(struct tree_job *tree, struct worker *worker);

#endif /* ENGINE_TREE_NOTE_H */
