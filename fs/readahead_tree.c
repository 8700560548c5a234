/* SPDX-License-Identifier: MIT */
/*
 * readahead_tree.c - see readahead_tree.h.
 *
 *	readahead_tree_listed()	remembers a listing, sorted by inode number
 *	readahead_tree_opened()	a file of a listing: cold? then those behind it are queued
 *	run()			opens each, asks for its data, closes it
 *
 * A listing is COLD when a file of it was not in page cache as it was opened, WARM when two were. Who has
 * just come from a cold one will need the files of the next as soon as it is listed.
 */
#include "readahead_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arsync/base.h"
#include "arsync/page_cache.h"
#include "inode_path.h"
#include "node_id.h"

#define LISTINGS_MAX 16
#define QUEUE_MAX 1024
#define THREADS_MAX 4
#define WINDOW 64			/* files ahead of the one that was opened last */
#define FILE_BYTES_MAX UINT64_C(262144) /* of each; the kernel goes on with those that are larger */
#define DIRECTORY_BUFFER (32 * KIB)	/* of a subdirectory, its first entries */
#define WARM_FILES 2			/* in page cache, and the rest is taken to be, too */
#define FRESH_NS UINT64_C(1000000000)	/* so long the next listing is as cold as the last */

enum temperature {
	UNKNOWN,
	COLD,
	WARM, /* for good: nothing is to be done */
};

struct listing {
	struct readahead_tree_entry *entries; /* by inode number */
	size_t n;
	size_t ahead;  /* those before have been queued */
	uint64_t used; /* readahead_tree::clock */
	unsigned n_cached;
	enum temperature temperature;
};

struct readahead_tree {
	/* Set once. */
	struct inode_table *inodes;
	cpu_set_t cpus; /* of the process; who starts a thread may be pinned to one */
	/* Atomic. */
	_Atomic uint64_t n_read;
	_Atomic uint64_t n_listings; /* that are not warm: 0: an open has nothing to look for */
	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct listing listings[LISTINGS_MAX];
	uint64_t clock;
	uint64_t cold_ns; /* when something cold was opened last */
	struct readahead_tree_entry queue[QUEUE_MAX];
	size_t queue_at, queue_n;
	pthread_t threads[THREADS_MAX];
	unsigned n_threads, n_idle;
	bool stop;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists */
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- The threads --- */

/* Whether @fd's beginning is in page cache, as far as anybody can tell. */
static bool is_cached(int fd, uint32_t size)
{
	struct page_cache_range range;

	return page_cache_query(fd, 0, size, &range) < 0 || range.cached > 0;
}

/* False: it is in page cache. */
static bool read_file(struct readahead_tree *ahead, struct inode *inode, uint32_t size)
{
	/* O_NONBLOCK: not to wait for who has a lease on it. */
	_cleanup_close_ int fd = inode_path_open_io(ahead->inodes, inode, O_RDONLY | O_NONBLOCK);

	if (fd < 0)
		return true;
	if (is_cached(fd, size))
		return false;
	/* Advice: whatever becomes of it, the file will be read when it is asked for. */
	(void)readahead(fd, 0, size);
	return true;
}

/* Its entries and their inodes will be in memory. */
static void read_directory(struct readahead_tree *ahead, struct inode *inode)
{
	/* Nobody has listed it: its access time stays. */
	_cleanup_close_ int fd = inode_path_open_io(
		ahead->inodes, inode, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOATIME);
	_cleanup_free_ char *buffer = malloc(DIRECTORY_BUFFER);
	ssize_t n;

	if (fd < 0 || !buffer)
		return;
	n = getdents64(fd, buffer, DIRECTORY_BUFFER);
	for (ssize_t at = 0; at < n;) {
		const struct dirent64 *entry = (const void *)(buffer + at);
		struct statx stx;

		if (entry->d_type == DT_REG || entry->d_type == DT_DIR)
			/* Advice, as above. No server is asked, which could be ourselves. */
			(void)statx(fd, entry->d_name,
				    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
				    STATX_BASIC_STATS, &stx);
		at += entry->d_reclen;
	}
}

/* False: it is a file that somebody else has read. */
static bool read_entry(struct readahead_tree *ahead, const struct readahead_tree_entry *entry)
{
	struct inode *inode = inode_ref_id(ahead->inodes, entry->id);
	bool cold = true;

	if (!inode)
		return true; /* forgotten meanwhile */
	if (entry->size)
		cold = read_file(ahead, inode, entry->size);
	else
		read_directory(ahead, inode);
	inode_unref(ahead->inodes, inode);
	atomic_fetch_add_explicit(&ahead->n_read, cold, memory_order_relaxed);
	return cold;
}

static void *run(void *data)
{
	struct readahead_tree *ahead = data;

	(void)pthread_setname_np(pthread_self(), "readahead_tree");    /* for ps(1) */
	(void)sched_setaffinity(0, sizeof(ahead->cpus), &ahead->cpus); /* faster with it */
	pthread_mutex_lock(&ahead->lock);
	while (!ahead->stop) {
		struct readahead_tree_entry entry;
		bool cold;

		if (ahead->queue_n == 0) {
			ahead->n_idle++;
			pthread_cond_wait(&ahead->work, &ahead->lock);
			ahead->n_idle--;
			continue;
		}
		entry = ahead->queue[ahead->queue_at];
		ahead->queue_at = (ahead->queue_at + 1) % QUEUE_MAX;
		ahead->queue_n--;
		pthread_mutex_unlock(&ahead->lock);
		cold = read_entry(ahead, &entry);
		pthread_mutex_lock(&ahead->lock);
		if (!cold)
			ahead->cold_ns = 0; /* the next listing has to show that it is */
	}
	pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

static void start_thread_locked(struct readahead_tree *ahead)
{
	sigset_t all, before;

	/* Signals are for the main thread. */
	(void)sigfillset(&all); /* fails for bad pointers only */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&ahead->threads[ahead->n_threads], NULL, run, ahead) == 0)
		ahead->n_threads++;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- The listings --- */

/* Queues what lies between what has been queued and @end, as far as there is room. */
static void queue_locked(struct readahead_tree *ahead, struct listing *listing, size_t end)
{
	bool queued = false;

	end = MIN(end, listing->n);
	while (listing->ahead < end && ahead->queue_n < QUEUE_MAX) {
		ahead->queue[(ahead->queue_at + ahead->queue_n) % QUEUE_MAX] =
			listing->entries[listing->ahead];
		ahead->queue_n++;
		listing->ahead++;
		queued = true;
	}
	if (!queued)
		return;
	if (ahead->n_idle == 0 && ahead->n_threads < THREADS_MAX)
		start_thread_locked(ahead);
	pthread_cond_broadcast(&ahead->work);
}

static void drop_locked(struct readahead_tree *ahead, struct listing *listing)
{
	if (listing->entries)
		atomic_fetch_sub_explicit(&ahead->n_listings, 1, memory_order_relaxed);
	free(listing->entries);
	*listing = (struct listing){ 0 };
}

static int compare(const void *a, const void *b)
{
	uint64_t one = node_id_ino(((const struct readahead_tree_entry *)a)->id);
	uint64_t other = node_id_ino(((const struct readahead_tree_entry *)b)->id);

	return (one > other) - (one < other);
}

/* The listing that has @id, and where. */
static struct listing *find_locked(struct readahead_tree *ahead, uint64_t id, size_t *ret_at)
{
	const struct readahead_tree_entry key = { .id = id };

	for (size_t i = 0; i < LISTINGS_MAX; i++) {
		struct listing *listing = &ahead->listings[i];
		const struct readahead_tree_entry *found;

		if (!listing->entries)
			continue;
		found = bsearch(&key, listing->entries, listing->n, sizeof(key), compare);
		if (!found || found->id != id)
			continue;
		*ret_at = (size_t)(found - listing->entries);
		return listing;
	}
	return NULL;
}

void readahead_tree_add(struct readahead_tree *ahead, struct readahead_tree_list *list,
			const struct inode *inode, uint64_t size)
{
	bool is_dir = S_ISDIR(inode->format);

	if (!ahead || !node_id_lasts(inode->id) || list->n == READAHEAD_TREE_FILES_MAX ||
	    !(is_dir || (S_ISREG(inode->format) && size > 0)))
		return;
	/* A power of two: full. */
	if ((list->n & (list->n - 1)) == 0) {
		size_t room = MAX(2 * list->n, (size_t)16);
		void *grown = list->n == 0 || list->n >= 16 ?
				      realloc(list->entries, room * sizeof(*list->entries)) :
				      list->entries;

		if (!grown)
			return;
		list->entries = grown;
	}
	list->entries[list->n++] = (struct readahead_tree_entry){
		.id = inode->id,
		.size = is_dir ? 0 : (uint32_t)MIN(size, FILE_BYTES_MAX),
	};
}

void readahead_tree_listed(struct readahead_tree *ahead, struct readahead_tree_list *list)
{
	struct listing *listing;
	size_t at;

	if (!ahead || list->n < 2)
		return;
	qsort(list->entries, list->n, sizeof(*list->entries), compare);
	pthread_mutex_lock(&ahead->lock);
	listing = find_locked(ahead, list->entries[0].id, &at);
	for (size_t i = 0; !listing && i < LISTINGS_MAX; i++)
		if (!ahead->listings[i].entries)
			listing = &ahead->listings[i];
	if (!listing) {
		listing = &ahead->listings[0];
		for (size_t i = 1; i < LISTINGS_MAX; i++)
			if (ahead->listings[i].used < listing->used)
				listing = &ahead->listings[i];
	}
	drop_locked(ahead, listing);
	*listing = (struct listing){
		.entries = list->entries,
		.n = list->n,
		.used = ++ahead->clock,
	};
	*list = (struct readahead_tree_list){ 0 };
	atomic_fetch_add_explicit(&ahead->n_listings, 1, memory_order_relaxed);
	if (ahead->cold_ns && now_ns() - ahead->cold_ns < FRESH_NS)
		queue_locked(ahead, listing, WINDOW);
	pthread_mutex_unlock(&ahead->lock);
}

/* What is behind the file at @at, if the listing is cold. */
static void go_on_locked(struct readahead_tree *ahead, struct listing *listing, size_t at)
{
	listing->used = ++ahead->clock;
	if (listing->temperature == WARM) {
		ahead->cold_ns = 0;
		drop_locked(ahead, listing);
	} else if (listing->temperature == COLD) {
		ahead->cold_ns = now_ns();
		listing->ahead = MAX(listing->ahead, at + 1);
		queue_locked(ahead, listing, at + 1 + WINDOW);
	}
}

/* Returns whether the file, of *@ret_size bytes, is to be looked at. */
static bool note_open(struct readahead_tree *ahead, uint64_t id, uint32_t *ret_size)
{
	struct listing *listing;
	bool look = false;
	size_t at;

	pthread_mutex_lock(&ahead->lock);
	listing = find_locked(ahead, id, &at);
	if (listing && listing->entries[at].size) {
		*ret_size = listing->entries[at].size;
		/* What has been read ahead is in memory because of that, and says nothing. */
		look = listing->temperature == UNKNOWN && at >= listing->ahead;
		go_on_locked(ahead, listing, at);
	}
	pthread_mutex_unlock(&ahead->lock);
	return look;
}

void readahead_tree_opened(struct readahead_tree *ahead, const struct inode *inode, int fd)
{
	struct listing *listing;
	uint32_t size;
	bool cached;
	size_t at;

	if (!ahead || atomic_load_explicit(&ahead->n_listings, memory_order_relaxed) == 0 ||
	    !node_id_lasts(inode->id) || !note_open(ahead, inode->id, &size))
		return;
	cached = is_cached(fd, size);
	pthread_mutex_lock(&ahead->lock);
	listing = find_locked(ahead, inode->id, &at);
	if (listing) {
		listing->n_cached += cached;
		if (!cached)
			listing->temperature = COLD;
		else if (listing->n_cached >= WARM_FILES)
			listing->temperature = WARM;
		go_on_locked(ahead, listing, at);
	}
	pthread_mutex_unlock(&ahead->lock);
}

uint64_t readahead_tree_count(const struct readahead_tree *ahead)
{
	return ahead ? atomic_load_explicit(&ahead->n_read, memory_order_relaxed) : 0;
}

/* --- Life --- */

int readahead_tree_new(struct inode_table *inodes, struct readahead_tree **ret)
{
	struct readahead_tree *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return -ENOMEM;
	ahead->inodes = inodes;
	if (sched_getaffinity(0, sizeof(ahead->cpus), &ahead->cpus) < 0)
		CPU_ZERO(&ahead->cpus); /* more than there is room for: setting it fails, too */
	pthread_mutex_init(&ahead->lock, NULL); /* never fails with default attributes */
	pthread_cond_init(&ahead->work, NULL);
	*ret = ahead;
	return 0;
}

void readahead_tree_free(struct readahead_tree *ahead)
{
	if (!ahead)
		return;
	pthread_mutex_lock(&ahead->lock);
	ahead->stop = true;
	pthread_cond_broadcast(&ahead->work);
	pthread_mutex_unlock(&ahead->lock);
	for (unsigned i = 0; i < ahead->n_threads; i++)
		(void)pthread_join(ahead->threads[i], NULL); /* ours, and joined once */
	for (size_t i = 0; i < LISTINGS_MAX; i++)
		free(ahead->listings[i].entries);
	pthread_cond_destroy(&ahead->work);
	pthread_mutex_destroy(&ahead->lock);
	free(ahead);
}
