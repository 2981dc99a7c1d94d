/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A FILE on a socket. The C library reads and writes descriptors of its FILEs by calls of its own
 * inside, which nobody can stand in front of; so a FILE that is made of one of our sockets is one
 * with functions (fopencookie). What is lost: such a FILE has no descriptor inside; fileno() finds
 * it here.
 */
#include "preload.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

struct stream {
	struct stream *next;
	FILE *fp;
	int fd;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stream *streams;

static ssize_t stream_read(void *arg, char *buf, size_t len)
{
	return read(((struct stream *)arg)->fd, buf, len);
}

static ssize_t stream_write(void *arg, const char *buf, size_t len)
{
	ssize_t n = write(((struct stream *)arg)->fd, buf, len);

	return n < 0 ? 0 : n; /* the convention of fopencookie */
}

static int stream_close(void *arg)
{
	struct stream *s = arg, **at;
	int rc = close(s->fd);

	pthread_mutex_lock(&lock);
	for (at = &streams; *at != NULL && *at != s; at = &(*at)->next)
		;
	if (*at == s)
		*at = s->next;
	pthread_mutex_unlock(&lock);
	free(s);
	return rc;
}

static bool is_socket(int fd)
{
	struct slp_file *f = slp_get(fd);
	bool yes = f != NULL && f->kind == SLP_SOCKET && atomic_load(&f->state) != SLP_KERNEL;

	if (f != NULL)
		slp_put(f);
	return yes;
}

SLP_EXPORT FILE *fdopen(int fd, const char *mode)
{
	static const cookie_io_functions_t fns = {
	    .read = stream_read, .write = stream_write, .close = stream_close};
	struct stream *s;

	if (!is_socket(fd))
		return slp_real()->fdopen(fd, mode);
	s = malloc(sizeof(*s));
	if (s == NULL)
		return NULL;
	s->fd = fd;
	s->fp = fopencookie(s, mode, fns);
	if (s->fp == NULL) {
		free(s);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	s->next = streams;
	streams = s;
	pthread_mutex_unlock(&lock);
	return s->fp;
}

static int stream_fd(FILE *fp)
{
	int fd = -1;

	if (streams == NULL)
		return -1;
	pthread_mutex_lock(&lock);
	for (struct stream *s = streams; s != NULL; s = s->next)
		if (s->fp == fp)
			fd = s->fd;
	pthread_mutex_unlock(&lock);
	return fd;
}

SLP_EXPORT int fileno(FILE *fp)
{
	int fd = stream_fd(fp);

	return fd >= 0 ? fd : slp_real()->fileno(fp);
}

SLP_EXPORT int fileno_unlocked(FILE *fp)
{
	return fileno(fp);
}

SLP_EXPORT int vdprintf(int fd, const char *fmt, va_list ap)
{
	char *text = NULL;
	int n = vasprintf(&text, fmt, ap), at = 0;

	while (at < n) {
		ssize_t put = write(fd, text + at, (size_t)(n - at));

		if (put < 0)
			break;
		at += (int)put;
	}
	if (n >= 0)
		free(text);
	return at < n ? -1 : n;
}

SLP_EXPORT int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vdprintf(fd, fmt, ap);
	va_end(ap);
	return n;
}

int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
int __dprintf_chk(int fd, int flag, const char *fmt, ...);

SLP_EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	return vdprintf(fd, fmt, ap);
}

SLP_EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vdprintf(fd, fmt, ap);
	va_end(ap);
	return n;
}
