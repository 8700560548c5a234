/* SPDX-License-Identifier: MIT */
/*
 * made.c - see made.h. Directories are known by what they are, not by how they are called.
 */
#include "made.h"

#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "arsync/base.h"

struct made_copy {
	dev_t dev; /* of the directory */
	ino_t ino;
	char name[];
};

/* comparison_fn_t */
static int compare(const void *one, const void *other)
{
	const struct made_copy *a = one, *b = other;

	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return strcmp(a->name, b->name);
}

int made_add(struct made *made, const char *directory, const char *name)
{
	struct made_copy *copy, **found;
	struct stat st;

	if (stat(directory, &st) < 0)
		return negative_errno();
	copy = malloc(sizeof(*copy) + strlen(name) + 1);
	if (!copy)
		return -ENOMEM;
	copy->dev = st.st_dev;
	copy->ino = st.st_ino;
	(void)strcpy(copy->name, name);
	found = tsearch(copy, &made->tree, compare);
	if (!found || *found != copy) {
		free(copy);
		return found ? -EEXIST : -ENOMEM;
	}
	made->last = copy;
	return 0;
}

void made_forget_last(struct made *made)
{
	if (!made->last)
		return;
	(void)tdelete(made->last, &made->tree, compare); /* it is there */
	free(TAKE_PTR(made->last));
}

void made_destroy(struct made *made)
{
	tdestroy(made->tree, free);
	*made = (struct made){ 0 };
}
