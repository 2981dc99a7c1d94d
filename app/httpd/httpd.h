/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sluice-httpd: main.c starts and stops, http.c is the application (upcalls and HTTP), files.c
 * opens and caches files.
 */
#ifndef HTTPD_H
#define HTTPD_H

#include <time.h>
#include <sys/queue.h>
#include <sluice/sluice.h>

/* ---- files.c ---- */

/** A file mapped into memory. Whoever holds a reference may read map[0..size). */
struct file {
	TAILQ_ENTRY(file) lru;  /* all cached files, least recently used first */
	LIST_ENTRY(file) chain; /* of its hash bucket, while cached */
	uint8_t *map;           /* NULL for an empty file */
	size_t size;
	time_t mtime;
	const char *type; /* Content-Type */
	uint64_t checked; /* when it was last compared with the disk, ns */
	uint64_t ino;
	uint32_t refs; /* requests and sends in flight */
	bool cached;
	char path[]; /* relative to the root, decoded */
};

#define FILES_BUCKETS 256

struct files {
	int root; /* directory */
	TAILQ_HEAD(, file) lru;
	LIST_HEAD(, file) bucket[FILES_BUCKETS];
	unsigned int n;
};

/** -errno when root is no directory or the kernel has no openat2(2). */
int files_init(struct files *fs, const char *root);
void files_fini(struct files *fs);
/** Open `path` (relative, decoded, no leading slash) and take a reference. -ENOENT, -EACCES,
 * -EISDIR, ... */
int files_get(struct files *fs, const char *path, uint64_t now, struct file **out);
void files_put(struct file *f);

/* ---- http.c ---- */

struct httpd_stats {
	uint64_t conns, open, requests, bytes, errors; /* errors: answers of 400 and above */
};

struct httpd;
TAILQ_HEAD(http_conns, http_conn);

/** All of the application's state on one squeue, which it belongs to, but for stats, which the control thread
 * reads. A stack's stand in an array by squeue: listeners and the hooks know the first. */
struct httpd {
	struct sluice_stack *st;
	struct sluice_squeue *sq;
	struct rte_mempool *pool; /* of response headers, 2 KiB of room */
	struct files files;
	struct http_conns idle;  /* all connections, the longest inactive first */
	struct http_conns retry; /* those that found no free buffer */
	uint64_t timeout;        /* ns */
	bool zero_copy;          /* hand file memory to the stack by reference */
	struct httpd_stats stats;
	time_t date_at; /* second for which date was made */
	char date[40];
};

/** Prepare each; then register httpd_app of the first with the stack. */
int httpd_init(struct httpd *h, const char *root);
void httpd_fini(struct httpd *h);
struct sluice_app httpd_app(struct httpd *h);
/** Open a listener; its handle closes it (sluice_close). Any thread. */
int httpd_listen(struct httpd *h, int family, const struct sockaddr *sa, socklen_t len,
    uint32_t vrf, int backlog, sluice_conn_t *out);

#endif
