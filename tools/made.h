/* SPDX-License-Identifier: MIT */
/*
 * made.h - which copies this command has made, so that no other source takes their place: of sources
 * that have the same name the later ones would overwrite the first.
 */
#ifndef TOOLS_MADE_H
#define TOOLS_MADE_H

struct made {
	void *tree;		/* of struct made_copy, see tsearch(3) */
	struct made_copy *last; /* added; NULL: forgotten */
};

/** Before @directory/@name is made. -EEXIST: it was made before; -ENOMEM; -errno of stat(2). */
int made_add(struct made *made, const char *directory, const char *name);

/** What was added last was not made after all. Once at most. */
void made_forget_last(struct made *made);

void made_destroy(struct made *made);

#endif /* TOOLS_MADE_H */
