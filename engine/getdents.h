/* SPDX-License-Identifier: MIT */
/*
 * getdents.h - reading a directory through its descriptor, with cookies to go on from
 * (getdents64(2)).
 */
#ifndef ENGINE_GETDENTS_H
#define ENGINE_GETDENTS_H

#include <stddef.h>
#include <stdint.h>

#define GETDENTS_BUFFER (32 * 1024)
#define GETDENTS_ENTRY_MAX 288 /* bytes that the longest name takes */

/* The kernel's struct linux_dirent64. */
struct getdents_entry {
	uint64_t ino;
	int64_t next; /* where to lseek(2) to for what follows */
	unsigned short length;
	unsigned char type; /* DT_* */
	char name[];
};

struct getdents {
	size_t size;
	size_t at;
	int64_t next; /* where to lseek(2) to for the next buffer */
	_Alignas(struct getdents_entry) char buffer[GETDENTS_BUFFER];
};

/**
 * Fills the buffer from @dir_fd's position. 1: something came (possibly only "." and ".."); 0: the
 * end; -errno.
 */
int getdents_read(struct getdents *list, int dir_fd);

/** The next entry of the buffer but "." and "..", or NULL. Valid until the next getdents_read(). */
const struct getdents_entry *getdents_next(struct getdents *list);

#endif /* ENGINE_GETDENTS_H */
