/* SPDX-License-Identifier: MIT */
/*
 * inode.h - the files that the kernel knows, and their names, descriptors and open handles.
 *
 * An inode here is a key (backing.h), a count of lookups that the kernel has not forgotten yet, and
 * what is needed to get at the file again. It holds no descriptor of its own: inode_path_open()
 * makes one when it is needed, by handle or by walking (parent, name) hints, and a bounded pool
 * keeps the recent ones.
 *
 * Lifetime: an inode lives while the kernel knows it (all lookups together count as one reference)
 * or somebody holds an internal reference: an open handle, a child's hint, a job. A reference may
 * be taken from another reference without the lock; the last one is dropped under the lock.
 *
 * Locks: what is marked below is protected by the lock of the inode's shard (inode_table.h), a leaf.
 */
#ifndef ARSYNCFS_INODE_H
#define ARSYNCFS_INODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backing.h"
#include "fd_ref.h"
#include "node_id.h"

/* Somebody's open file: requests that carry no handle may borrow its descriptor. */
struct inode_opener {
	/* Set once. */
	struct fd_ref *fd;
	void (*free)(struct inode_opener *opener); /* frees what contains it, not fd */
	/* Under the shard's lock. */
	struct inode_opener *prev, *next;
};

/* What all openers of an inode share, while there is one. */
struct inode_opens {
	struct inode_opener *first;
	enum inode_io {
		INODE_IO_UNDECIDED, /* handle.c is asking the kernel */
		INODE_IO_DAEMON,    /* reads and writes come here */
		INODE_IO_KERNEL,    /* passthrough, with backing_id */
	} io;
	int backing_id;
	bool as_root; /* whose space passthrough takes */
};

struct inode {
	/* Set once. */
	uint64_t id; /* of the node, not the root's: see node_id.h */
	const struct backing_mount *mount;
	dev_t dev;
	uint32_t generation; /* tells it from others that had or will have its node id */
	bool by_handle;	     /* the file can be opened by its key */
	mode_t format;	     /* S_IFMT bits */
	/* Under the shard's lock. */
	uint64_t nlookup;
	struct inode *hash_next;
	struct fd_ref *cached;	     /* in the pool, or NULL */
	bool nameless;		     /* its last name was removed: inode_pool_keep() */
	bool kept;		     /* cached is not in the pool's list */
	struct inode *newer, *older; /* in the pool: order of use */
	struct inode *parent;	     /* hint where not by_handle: a reference, or NULL */
	char *name;		     /* in parent */
	struct inode_opens *opens;   /* or NULL */
	/* Atomic. */
	atomic_uint refs;
	atomic_uint mappers;   /* opens for reading and writing, which may store through mappings */
	_Atomic uint64_t told; /* digest of size and mtime as the kernel was told last: see ops.c */
	_Atomic uint64_t looked_ms; /* of a directory: see ops_remembers_missing() */
	/*
	 * Of a directory: when the last whole listing began, and when something last changed in it that
	 * the kernel has not done there: by a tree copy, and ".." when it is moved.
	 */
	_Atomic uint64_t listed_ms, changed_ms;
	_Atomic enum inode_names {
		INODE_NAMES_UNKNOWN,
		INODE_NAMES_EXACT,
		INODE_NAMES_FOLDED, /* or nobody knows */
	} names;	   /* of a directory: whether "a" and "A" are two: see ops_namespace.c */
	atomic_uint held;  /* the kernel's lock of it is, until we answer: see notify_hold() */
	atomic_bool setid; /* it has a setuid or setgid bit: see setid.h */
	atomic_bool append_only; /* chattr +a: see handle.c */
	/* Set once: the key, without its mount. */
	int key_type;
	unsigned key_size;
	unsigned char key_bytes[];
};

struct inode_table;

/** The inode of a node id that the kernel knows. NULL: it does not. */
struct inode *inode_from_id(struct inode_table *table, uint64_t id);

/** The same, whether or not the kernel knows it, with an internal reference: inode_unref(). */
struct inode *inode_ref_id(struct inode_table *table, uint64_t id);
uint64_t inode_to_id(const struct inode_table *table, const struct inode *inode);

/**
 * Looks @name up in @parent and counts one lookup for the kernel. Fills @ret_stx, translated.
 * -ENOENT and other errors of openat(2); -ELOOP: a mount of ourselves.
 */
int inode_lookup(struct inode_table *table, struct inode *parent, const char *name,
		 struct statx *ret_stx, struct inode **ret);

/**
 * The same for a file that the kernel knows by nothing but its node id, which it has from somebody who
 * was told it long ago, or has made it up. -ESTALE: there is no such file (any more), or it is a
 * directory outside of the mount.
 */
int inode_lookup_id(struct inode_table *table, uint64_t id, struct statx *ret_stx,
		    struct inode **ret);

/** The same for the parent of a directory. -ESTALE: that is outside of the mount. */
int inode_lookup_parent(struct inode_table *table, struct inode *inode, struct statx *ret_stx,
			struct inode **ret);

/** The same for a file that is open already as @fd, which is only looked at. @name may be NULL. */
int inode_adopt(struct inode_table *table, int fd, struct inode *parent, const char *name,
		struct statx *ret_stx, struct inode **ret);

/** The inode of @fd if the kernel knows it, with an internal reference, else -ENOENT. */
int inode_find(struct inode_table *table, int fd, struct inode **ret);

/** After @inode was linked or moved to @name in @parent, when its hint is needed. */
void inode_set_hint(struct inode_table *table, struct inode *inode, struct inode *parent,
		    const char *name);

/** The kernel forgets @n lookups. @inode may be gone afterwards. */
void inode_forget(struct inode_table *table, struct inode *inode, uint64_t n);

struct inode *inode_ref(struct inode *inode);
/** Accepts NULL. */
void inode_unref(struct inode_table *table, struct inode *inode);

/** Protects what the struct says; briefly. */
void inode_lock(struct inode_table *table, const struct inode *inode);
void inode_unlock(struct inode_table *table, const struct inode *inode);

/** Rebuilds the key. */
void inode_key(const struct inode *inode, struct backing_key *ret);

#endif /* ARSYNCFS_INODE_H */
