/* SPDX-License-Identifier: MIT */
/*
 * getdents.c - see getdents.h.
 */
#include "getdents.h"

#include <string.h>
#include <sys/syscall.h>

#include "arsync/base.h"

int getdents_read(struct getdents *list, int dir_fd)
{
	long n = syscall(SYS_getdents64, dir_fd, list->buffer, sizeof(list->buffer));

	list->at = 0;
	list->size = n > 0 ? (size_t)n : 0;
	if (n < 0)
		return negative_errno();
	for (size_t at = 0; at < list->size;) {
		const struct getdents_entry *entry =
			(const struct getdents_entry *)(list->buffer + at);

		list->next = entry->next;
		at += entry->length;
	}
	return n > 0;
}

const struct getdents_entry *getdents_next(struct getdents *list)
{
	while (list->at < list->size) {
		const struct getdents_entry *entry =
			(const struct getdents_entry *)(list->buffer + list->at);

		list->at += entry->length;
		if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
			return entry;
	}
	return NULL;
}
