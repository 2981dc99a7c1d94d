/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files under one root, mapped and cached by path. A mapping lives as long as someone refers to it:
 * a request that is being answered, or memory that the stack still has to send. A cached file is
 * compared with the disk once a second; when it changed, the cache forgets it and those who hold it
 * finish with the old one. So files must be replaced by rename(2): truncating one in place while it
 * is sent would take the mapped pages away.
 *
 * Nothing outside the root is reachable: openat2(2) resolves beneath it, symbolic links included.
 */
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 1024
#define RECHECK_NS 1000000000ull

static const struct {
	const char *ext, *type;
} mime[] = {
    {"html", "text/html; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/plain; charset=utf-8"},
    {"css", "text/css"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"xml", "application/xml"},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"ico", "image/x-icon"},
    {"pdf", "application/pdf"},
    {"wasm", "application/wasm"},
    {"mp4", "video/mp4"},
};

static const char *mime_type(const char *path)
{
	const char *dot = strrchr(path, '.');

	if (dot != NULL)
		for (size_t i = 0; i < sizeof(mime) / sizeof(mime[0]); i++)
			if (strcasecmp(dot + 1, mime[i].ext) == 0)
				return mime[i].type;
	return "application/octet-stream";
}

static unsigned int bucket_of(const char *path)
{
	uint32_t h = 2166136261u; /* FNV-1a: names come from our own disk, misses are not stored */

	for (; *path != '\0'; path++)
		h = (h ^ (uint8_t)*path) * 16777619u;
	return (h ^ h >> 16) % FILES_BUCKETS;
}

static int open_beneath(int root, const char *path, uint64_t flags)
{
	struct open_how how = {
	    .flags = flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int files_init(struct files *fs, const char *root)
{
	int fd;

	memset(fs, 0, sizeof(*fs));
	TAILQ_INIT(&fs->lru);
	fs->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs->root < 0)
		return -errno;
	fd = open_beneath(fs->root, ".", O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		close(fs->root);
		return fd;
	}
	close(fd);
	return 0;
}

static void file_free(struct file *f)
{
	if (f->map != NULL)
		munmap(f->map, f->size);
	free(f);
}

void files_put(struct file *f)
{
	if (--f->refs == 0 && !f->cached)
		file_free(f);
}

static void uncache(struct files *fs, struct file *f)
{
	TAILQ_REMOVE(&fs->lru, f, lru);
	LIST_REMOVE(f, chain);
	fs->n--;
	f->cached = false;
	if (f->refs == 0)
		file_free(f);
}

void files_fini(struct files *fs)
{
	while (!TAILQ_EMPTY(&fs->lru))
		uncache(fs, TAILQ_FIRST(&fs->lru));
	close(fs->root);
}

/** Make room for one more: drop the least recently used file that nobody holds. */
static void evict(struct files *fs)
{
	struct file *f;

	if (fs->n < FILES_MAX)
		return;
	TAILQ_FOREACH (f, &fs->lru, lru)
		if (f->refs == 0) {
			uncache(fs, f);
			return;
		}
}

static int map_file(int fd, const char *path, uint64_t now, struct file **out)
{
	struct stat sb;
	struct file *f;

	if (fstat(fd, &sb) != 0)
		return -errno;
	if (S_ISDIR(sb.st_mode))
		return -EISDIR;
	if (!S_ISREG(sb.st_mode))
		return -EACCES; /* no devices, pipes or sockets */
	f = calloc(1, sizeof(*f) + strlen(path) + 1);
	if (f == NULL)
		return -ENOMEM;
	strcpy(f->path, path);
	f->size = (size_t)sb.st_size;
	f->mtime = sb.st_mtime;
	f->ino = sb.st_ino;
	f->type = mime_type(path);
	f->checked = now;
	if (f->size != 0) {
		f->map = mmap(NULL, f->size, PROT_READ, MAP_SHARED, fd, 0);
		if (f->map == MAP_FAILED) {
			int e = errno;

			free(f);
			return -e;
		}
		madvise(f->map, f->size, MADV_WILLNEED);
	}
	*out = f;
	return 0;
}

/** Is the cached file still what the disk has? */
static bool still_same(struct files *fs, struct file *f, uint64_t now)
{
	struct stat sb;
	int fd;
	bool same;

	if (now - f->checked < RECHECK_NS)
		return true;
	fd = open_beneath(fs->root, f->path, O_RDONLY);
	if (fd < 0)
		return false;
	same = fstat(fd, &sb) == 0 && sb.st_ino == f->ino && sb.st_mtime == f->mtime &&
	       (size_t)sb.st_size == f->size;
	close(fd);
	f->checked = now;
	return same;
}

int files_get(struct files *fs, const char *path, uint64_t now, struct file **out)
{
	unsigned int b = bucket_of(path);
	struct file *f;
	int fd, rc;

	LIST_FOREACH (f, &fs->bucket[b], chain) {
		if (strcmp(f->path, path) != 0)
			continue;
		if (!still_same(fs, f, now)) {
			uncache(fs, f);
			break;
		}
		if (TAILQ_NEXT(f, lru) != NULL) {
			TAILQ_REMOVE(&fs->lru, f, lru);
			TAILQ_INSERT_TAIL(&fs->lru, f, lru);
		}
		f->refs++;
		*out = f;
		return 0;
	}
	fd = open_beneath(fs->root, path, O_RDONLY);
	if (fd < 0)
		return fd;
	rc = map_file(fd, path, now, &f);
	close(fd);
	if (rc != 0)
		return rc;
	evict(fs);
	f->cached = true;
	f->refs = 1;
	fs->n++;
	LIST_INSERT_HEAD(&fs->bucket[b], f, chain);
	TAILQ_INSERT_TAIL(&fs->lru, f, lru);
	*out = f;
	return 0;
}
