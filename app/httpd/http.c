/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP/1.1 over the event API. The whole life of a connection is in the upcalls at the end of this
 * file: newconn makes an http_conn, recv runs it, txq_full(false) goes on where the send buffer was
 * full, closed frees it.
 *
 * A connection stores no input: the request head stays in the stack's receive queue and is read
 * with peek() until it is complete, answered, and only then consumed. So pipelined requests simply
 * wait there, their sender's window closes when there are many, and an answer that finds the send
 * buffer full is tried again from the same bytes. Files go out by reference: each piece handed to
 * send_external() holds a reference to the file until zcopy_notify().
 *
 * HTTP as in RFC 9110 and 9112: GET and HEAD, persistent connections, pipelining, a single range.
 */
#include "httpd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <rte_mbuf.h>

#define HEAD_MAX 8192    /* request line and fields */
#define TARGET_MAX 1024  /* path after decoding */
#define INLINE_BODY 1024 /* a body up to this rides in the buffer of the response head */
#define PIECE 64512      /* of a file per send; the API takes at most 65535 - 128 */

struct http_conn {
	TAILQ_ENTRY(http_conn) idle;  /* in httpd.idle until closing */
	TAILQ_ENTRY(http_conn) retry; /* in httpd.retry while `starved` */
	struct httpd *h;
	sluice_conn_t c;
	uint64_t active;   /* last progress, ns */
	struct file *file; /* being sent: bytes off .. off + left */
	size_t off, left;
	bool full;     /* txq_full: nothing can be sent now */
	bool starved;  /* no buffer was free: the next pass tries again */
	bool last;     /* close after this answer */
	bool draining; /* all said: what still comes in is dropped until the peer's FIN */
	bool peer_fin;
	bool closing; /* sluice_close was called */
};

struct request {
	bool head, keep, host, body;
	unsigned int minor; /* of HTTP/1.x */
	const char *target; /* in the request head */
	size_t target_len;
	const char *range; /* field value, NUL-terminated, or NULL */
	bool if_range;
};

static void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void touch(struct http_conn *hc)
{
	hc->active = sluice_squeue_now(hc->h->sq);
	TAILQ_REMOVE(&hc->h->idle, hc, idle);
	TAILQ_INSERT_TAIL(&hc->h->idle, hc, idle);
}

static void unlink_conn(struct http_conn *hc)
{
	hc->closing = true;
	TAILQ_REMOVE(&hc->h->idle, hc, idle);
	if (hc->starved)
		TAILQ_REMOVE(&hc->h->retry, hc, retry);
	hc->starved = false;
}

static void conn_close(struct http_conn *hc)
{
	if (hc->closing)
		return;
	unlink_conn(hc);
	sluice_close(hc->h->st, hc->c);
}

/** Buffers have run out, which no upcall will tell us the end of: run this connection again in the
 * next pass. */
static void starve(struct http_conn *hc)
{
	if (!hc->starved)
		TAILQ_INSERT_TAIL(&hc->h->retry, hc, retry);
	hc->starved = true;
}

/* ---- parsing ---- */

/** Cut one line off the head: returns it NUL-terminated, *p points behind it. The head ends with an
 * empty line. */
static char *next_line(char **p)
{
	char *line = *p, *end = strstr(line, "\r\n");

	*end = '\0';
	*p = end + 2;
	return line;
}

/** True if the comma-separated list has this token. */
static bool has_token(const char *list, const char *token)
{
	size_t n = strlen(token);

	while (*list != '\0') {
		size_t len;

		list += strspn(list, " \t,");
		len = strcspn(list, " \t,");
		if (len == n && strncasecmp(list, token, n) == 0)
			return true;
		list += len;
	}
	return false;
}

/** "GET /path HTTP/1.1". Returns 0 or an HTTP status. */
static int parse_request_line(char *line, struct request *r)
{
	char *target = strchr(line, ' '), *version;

	if (target == NULL || target == line)
		return 400;
	*target++ = '\0';
	version = strchr(target, ' ');
	if (version == NULL || version == target)
		return 400;
	*version++ = '\0';
	if (strncmp(version, "HTTP/", 5) != 0)
		return 400;
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return 505;
	r->minor = (unsigned int)(version[7] - '0');
	r->keep = r->minor == 1;
	r->head = strcmp(line, "HEAD") == 0;
	if (!r->head && strcmp(line, "GET") != 0)
		return 405;
	if (strncasecmp(target, "http://", 7) == 0) { /* absolute form, RFC 9112 3.2.2 */
		target += 7 + strcspn(target + 7, "/?#");
		if (*target != '/')
			return 400;
	}
	if (*target != '/')
		return 400;
	r->target = target;
	r->target_len = strlen(target);
	return 0;
}

/** One header field. Returns 0 or an HTTP status. */
static int parse_field(char *line, struct request *r)
{
	char *value = strchr(line, ':'), *end;

	/* No folding, and no blank between name and colon (RFC 9112 5.1, 5.2). */
	if (value == NULL || value == line || strcspn(line, " \t") < (size_t)(value - line))
		return 400;
	*value++ = '\0';
	value += strspn(value, " \t");
	for (end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t');)
		*--end = '\0';
	if (strcasecmp(line, "Host") == 0) {
		if (r->host)
			return 400;
		r->host = true;
	} else if (strcasecmp(line, "Connection") == 0) {
		if (has_token(value, "close"))
			r->keep = false;
		else if (has_token(value, "keep-alive"))
			r->keep = true;
	} else if (strcasecmp(line, "Range") == 0) {
		r->range = value;
	} else if (strcasecmp(line, "If-Range") == 0) {
		r->if_range = true;
	} else if (strcasecmp(line, "Transfer-Encoding") == 0) {
		r->body = true;
	} else if (strcasecmp(line, "Content-Length") == 0) {
		r->body |= strspn(value, "0") != strlen(value) || *value == '\0';
	}
	return 0;
}

/** Parse a complete head (NUL-terminated, ending with an empty line). Returns 0 or an HTTP status.
 */
static int parse_head(char *head, struct request *r)
{
	char *line;
	int status = parse_request_line(next_line(&head), r), rc;

	while (*(line = next_line(&head)) != '\0') {
		rc = parse_field(line, r);
		if (rc != 0)
			return rc;
	}
	if (status == 0 && (r->body || (r->minor == 1 && !r->host)))
		status = 400; /* bodies have no meaning here; Host: RFC 9112 3.2 */
	return status;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** Target to a decoded path relative to the root. Returns 0 or an HTTP status. */
static int decode_path(const char *t, char path[TARGET_MAX])
{
	size_t n = 0;

	for (t += strspn(t, "/"); *t != '\0' && *t != '?' && *t != '#'; t++) {
		int c = (unsigned char)*t;

		if (c == '%') {
			int hi = hex(t[1]), lo = hi < 0 ? -1 : hex(t[2]);

			if (lo < 0)
				return 400;
			c = hi << 4 | lo;
			t += 2;
		}
		if (c < 0x20 || c == 0x7f)
			return 400;
		if (n + sizeof("index.html") >= TARGET_MAX)
			return 414;
		path[n++] = (char)c;
	}
	path[n] = '\0';
	for (const char *s = path; s != NULL; s = strchr(s, '/')) {
		s += *s == '/';
		if (strncmp(s, "..", 2) == 0 && (s[2] == '/' || s[2] == '\0'))
			return 403;
	}
	if (n == 0 || path[n - 1] == '/')
		strcpy(path + n, "index.html");
	return 0;
}

/** A single byte range (RFC 9110 14.1.2). Returns 200: answer with all, 206: *off and *len are set,
 * 416. */
static int parse_range(const char *s, size_t size, size_t *off, size_t *len)
{
	unsigned long long a, b;
	char *end;

	if (strncmp(s, "bytes=", 6) != 0 || strchr(s, ',') != NULL)
		return 200;
	s += 6;
	if (*s == '-') { /* the last n bytes */
		if (s[1] < '0' || s[1] > '9')
			return 200;
		a = strtoull(s + 1, &end, 10);
		if (*end != '\0')
			return 200;
		if (a == 0 || size == 0)
			return 416;
		*len = a < size ? (size_t)a : size;
		*off = size - *len;
		return 206;
	}
	if (*s < '0' || *s > '9')
		return 200;
	a = strtoull(s, &end, 10);
	if (*end++ != '-')
		return 200;
	b = UINT64_MAX;
	if (*end != '\0') {
		if (*end < '0' || *end > '9')
			return 200;
		b = strtoull(end, &end, 10);
		if (*end != '\0' || b < a)
			return 200;
	}
	if (a >= size)
		return 416;
	*off = (size_t)a;
	*len = (b >= size ? size - 1 : (size_t)b) - (size_t)a + 1;
	return 206;
}

/* ---- answering ---- */

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} table[] = {{200, "OK"}, {206, "Partial Content"}, {301, "Moved Permanently"},
	    {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"},
	    {405, "Method Not Allowed"}, {414, "URI Too Long"}, {416, "Range Not Satisfiable"},
	    {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
	    {503, "Service Unavailable"}, {505, "HTTP Version Not Supported"}};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].status == status)
			return table[i].text;
	return "?";
}

static int status_of(int err)
{
	switch (err) {
	case 0:
		return 200;
	case -ENOENT:
	case -ENOTDIR:
	case -ENAMETOOLONG:
		return 404;
	case -EACCES:
	case -EPERM:
	case -EXDEV: /* leads out of the root */
	case -ELOOP:
		return 403;
	case -EISDIR:
		return 301;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return 503;
	default:
		return 500;
	}
}

static const char *date_now(struct httpd *h)
{
	time_t t = time(NULL);
	struct tm tm;

	if (t != h->date_at) {
		h->date_at = t;
		strftime(h->date, sizeof(h->date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
	}
	return h->date;
}

/** Everything about an answer but the bytes of its file. */
struct answer {
	int status;
	struct file *file; /* of 200 and 206, with a reference */
	size_t off, len;   /* what of it */
	const struct request *r;
};

/** Response head, with a short text body for errors. Returns its length, or -ENOSPC. */
static int format_head(struct httpd *h, const struct answer *a, bool keep, char *buf, size_t room)
{
	char extra[TARGET_MAX + 128] = "", text[64];
	const char *type = "text/plain";
	size_t len = a->len;
	struct tm tm;
	int n;

	text[0] = '\0';
	if (a->file == NULL || a->status == 416) {
		len = (size_t)snprintf(text, sizeof(text), "%d %s\n", a->status, reason(a->status));
		if (a->r->head)
			text[0] = '\0';
	} else {
		type = a->file->type;
		strftime(extra, sizeof(extra),
		    "Accept-Ranges: bytes\r\nLast-Modified: %a, %d %b %Y %H:%M:%S GMT\r\n",
		    gmtime_r(&a->file->mtime, &tm));
	}
	n = (int)strlen(extra);
	if (a->status == 206)
		snprintf(extra + n, sizeof(extra) - (size_t)n,
		    "Content-Range: bytes %zu-%zu/%zu\r\n", a->off, a->off + a->len - 1,
		    a->file->size);
	else if (a->status == 416)
		snprintf(extra, sizeof(extra), "Content-Range: bytes */%zu\r\n", a->file->size);
	else if (a->status == 405)
		snprintf(extra, sizeof(extra), "Allow: GET, HEAD\r\n");
	else if (a->status == 301)
		snprintf(extra, sizeof(extra), "Location: %.*s/\r\n",
		    (int)strcspn(a->r->target, "?#"), a->r->target);
	n = snprintf(buf, room,
	    "HTTP/1.1 %d %s\r\nServer: sluice\r\nDate: %s\r\n%sContent-Type: %s\r\nContent-Length: "
	    "%zu\r\n%s\r\n%s",
	    a->status, reason(a->status), date_now(h), extra, type, len,
	    !keep ? "Connection: close\r\n"
		  : (a->r->minor == 0 ? "Connection: keep-alive\r\n" : ""),
	    text);
	return n < 0 || (size_t)n >= room ? -ENOSPC : n;
}

/** Send the head, and the body with it when it is small. 0, or -errno with nothing sent: -EAGAIN,
 * -ENOBUFS. */
static int send_answer(struct http_conn *hc, const struct answer *a, bool keep)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(hc->h->pool);
	size_t body = a->file != NULL && a->status != 416 && !a->r->head ? a->len : 0;
	int n, rc;

	if (m == NULL)
		return -ENOBUFS;
	n = format_head(hc->h, a, keep, rte_pktmbuf_mtod(m, char *), rte_pktmbuf_tailroom(m));
	if (n < 0) {
		rte_pktmbuf_free(m);
		return n;
	}
	rte_pktmbuf_append(m, (uint16_t)n);
	if (body != 0 && body <= INLINE_BODY && body <= rte_pktmbuf_tailroom(m)) {
		memcpy(rte_pktmbuf_append(m, (uint16_t)body), a->file->map + a->off, body);
		bump(&hc->h->stats.bytes, body);
		body = 0;
	}
	rc = sluice_send(hc->h->st, hc->c, m, body != 0 ? SLUICE_MSG_MORE : 0);
	if (rc != 0) {
		rte_pktmbuf_free(m);
		return rc;
	}
	hc->last = !keep;
	if (body != 0) {
		hc->file = a->file;
		hc->file->refs++;
		hc->off = a->off;
		hc->left = body;
	}
	return 0;
}

/** Send of the file what the send buffer takes. 0: all sent; else -errno: -EAGAIN waits for
 * txq_full(false). */
static int send_file(struct http_conn *hc)
{
	while (hc->left != 0) {
		size_t n = hc->left < PIECE ? hc->left : PIECE;
		uint8_t *p = hc->file->map + hc->off;
		ssize_t rc;

		if (hc->full)
			return -EAGAIN;
		if (hc->h->zero_copy) {
			rc = sluice_send_external(hc->h->st, hc->c, p, 0, n, hc->file, 0);
			if (rc == 0) {
				hc->file->refs++; /* given back by zcopy_notify */
				rc = (ssize_t)n;
			}
		} else {
			rc = sluice_send_copy(hc->h->st, hc->c, p, n, 0);
		}
		if (rc < 0)
			return (int)rc;
		hc->off += (size_t)rc;
		hc->left -= (size_t)rc;
		bump(&hc->h->stats.bytes, (uint64_t)rc);
	}
	if (hc->file != NULL)
		files_put(hc->file);
	hc->file = NULL;
	return 0;
}

/** Find the file and the range that a well-formed request asks for; fills status, file, off, len.
 */
static void resolve(struct httpd *h, const struct request *r, struct answer *a)
{
	char path[TARGET_MAX];

	a->status = decode_path(r->target, path);
	if (a->status != 0)
		return;
	a->status = status_of(files_get(&h->files, path, sluice_squeue_now(h->sq), &a->file));
	if (a->status != 200) {
		a->file = NULL;
		return;
	}
	a->off = 0;
	a->len = a->file->size;
	if (r->range != NULL && !r->if_range)
		a->status = parse_range(r->range, a->file->size, &a->off, &a->len);
}

/** Copy of the readable bytes, at most HEAD_MAX. NUL-terminated. Returns how many. */
static size_t peek_head(struct http_conn *hc, char buf[HEAD_MAX + 1])
{
	struct iovec iov[64];
	size_t len = 0;
	int n = sluice_peek(hc->h->st, hc->c, iov, 64);

	for (int i = 0; i < n && len < HEAD_MAX; i++) {
		size_t part = iov[i].iov_len < HEAD_MAX - len ? iov[i].iov_len : HEAD_MAX - len;

		memcpy(buf + len, iov[i].iov_base, part);
		len += part;
	}
	buf[len] = '\0';
	return len;
}

/** Answer the next request if it is complete and there is room for the answer. Returns false when
 * it must wait. */
static bool next_request(struct http_conn *hc)
{
	char buf[HEAD_MAX + 1], *start, *end;
	struct request r = {.target = ""};
	struct answer a = {.r = &r};
	size_t len = peek_head(hc, buf), used;
	bool keep;
	int rc;

	start =
	    buf + strspn(buf, "\r\n"); /* blank lines before a request are allowed (RFC 9112 2.2) */
	end = strstr(start, "\r\n\r\n");
	if (end != NULL) {
		used = (size_t)(end + 4 - buf);
		a.status = parse_head(start, &r);
	} else if (len == HEAD_MAX || memchr(buf, '\0', len) != NULL) {
		used = len;
		a.status = len == HEAD_MAX ? 431 : 400;
	} else {
		if (hc->peer_fin)
			conn_close(hc);
		return false;
	}
	if (a.status == 0)
		resolve(hc->h, &r, &a);
	/* After a request that was not understood the stream's framing is unknown. */
	keep = r.keep && !r.body && a.status != 400 && a.status < 500 && a.status != 431;
	rc = send_answer(hc, &a, keep);
	if (a.file != NULL)
		files_put(a.file);
	if (rc == -ENOBUFS)
		starve(hc);
	else if (rc != 0 && rc != -EAGAIN)
		conn_close(hc);
	if (rc != 0)
		return false; /* the request stays in the receive queue: it is parsed again */
	sluice_consume(hc->h->st, hc->c, used);
	bump(&hc->h->stats.requests, 1);
	if (a.status >= 400)
		bump(&hc->h->stats.errors, 1);
	return true;
}

static void drop_input(struct http_conn *hc)
{
	ssize_t n = sluice_readable(hc->h->st, hc->c);

	if (n > 0)
		sluice_consume(hc->h->st, hc->c, (size_t)n);
}

/** Do all that can be done now for a connection. */
static void conn_run(struct http_conn *hc)
{
	while (!hc->closing && !hc->draining) {
		int rc = send_file(hc);

		if (rc == -ENOBUFS)
			starve(hc);
		else if (rc != 0 && rc != -EAGAIN)
			conn_close(hc);
		if (rc != 0)
			return;
		if (hc->last) {
			/* A close with unread data would reset the answer away: FIN now, close
			 * after the peer's. */
			hc->draining = true;
			drop_input(hc);
			sluice_shutdown(hc->h->st, hc->c, SLUICE_SHUT_WR);
			if (hc->peer_fin)
				conn_close(hc);
			return;
		}
		if (hc->full || !next_request(hc))
			return;
	}
}

/* ---- upcalls ---- */

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct http_conn *hc = arg;

	if (hc->closing || hc->draining) {
		drop_input(hc);
		return 0;
	}
	touch(hc);
	conn_run(hc);
	return 0;
}

static void on_txq_full(void *arg, sluice_conn_t c, bool full)
{
	struct http_conn *hc = arg;

	hc->full = full;
	if (!full && !hc->closing) {
		touch(hc);
		conn_run(hc);
	}
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	struct http_conn *hc = arg;

	if (op != SLUICE_OPCTL_SHUT_RECV)
		return;
	hc->peer_fin = true;
	if (hc->draining)
		conn_close(hc);
	else
		conn_run(hc); /* answers what is complete, then closes */
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	conn_close(arg);
}

static void on_zcopy_notify(void *arg, sluice_conn_t c, void *cookie)
{
	files_put(cookie);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct http_conn *hc = arg;

	if (!hc->closing) /* the stack is being destroyed */
		unlink_conn(hc);
	if (hc->file != NULL)
		files_put(hc->file);
	bump(&hc->h->stats.open, (uint64_t)-1);
	free(hc);
}

static const struct sluice_upcalls conn_upcalls = {
    .size = sizeof(conn_upcalls),
    .recv = on_recv,
    .txq_full = on_txq_full,
    .opctl = on_opctl,
    .disconnected = on_disconnected,
    .zcopy_notify = on_zcopy_notify,
    .closed = on_closed,
};

static int on_newconn(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct httpd *h = arg;
	struct http_conn *hc = calloc(1, sizeof(*hc));
	int sq = sluice_conn_squeue(h->st, eager);

	if (hc == NULL)
		return -ENOMEM;
	h += sq > 0 ? sq : 0; /* here: it is new */
	hc->h = h;
	hc->c = eager;
	hc->active = sluice_squeue_now(h->sq);
	TAILQ_INSERT_TAIL(&h->idle, hc, idle);
	bump(&h->stats.conns, 1);
	bump(&h->stats.open, 1);
	*up_arg = hc;
	*up = &conn_upcalls;
	sluice_accept(h->st, listener, eager); /* we accept at once: the backlog never fills */
	return 0;
}

static const struct sluice_upcalls listener_upcalls = {
    .size = sizeof(listener_upcalls),
    .newconn = on_newconn,
};

/* ---- start and sweep ---- */

/** Once a second: close what made no progress for the timeout. */
static void sweep(struct sluice_squeue *sq, void *arg)
{
	struct httpd *h = arg;
	uint64_t now = sluice_squeue_now(sq);
	struct http_conn *hc;
	sluice_timer_t t;

	while ((hc = TAILQ_FIRST(&h->idle)) != NULL && now - hc->active >= h->timeout) {
		unlink_conn(hc);
		if (hc->left != 0 || hc->draining) /* the peer does not read or does not finish */
			sluice_abort(h->st, hc->c);
		else
			sluice_close(h->st, hc->c);
	}
	sluice_timer_start(sq, now + 1000000000ull, sweep, h, &t);
}

/** Each pass: go on where buffers had run out. */
static int app_poll(struct sluice_squeue *sq, void *arg)
{
	struct httpd *h = (struct httpd *)arg + sluice_squeue_id(sq);
	struct http_conns again = TAILQ_HEAD_INITIALIZER(again);
	struct http_conn *hc;
	int n = 0;

	TAILQ_CONCAT(&again, &h->retry, retry);
	while ((hc = TAILQ_FIRST(&again)) != NULL) {
		TAILQ_REMOVE(&again, hc, retry);
		hc->starved = false;
		conn_run(hc);
		n++;
	}
	return n;
}

static int app_init(struct sluice_squeue *sq, void *arg)
{
	struct httpd *h = (struct httpd *)arg + sluice_squeue_id(sq);
	sluice_timer_t t;

	h->sq = sq;
	return sluice_timer_start(sq, sluice_squeue_now(sq) + 1000000000ull, sweep, h, &t);
}

struct sluice_app httpd_app(struct httpd *h)
{
	return (struct sluice_app){
	    .size = sizeof(struct sluice_app), .init = app_init, .poll = app_poll, .arg = h};
}

int httpd_init(struct httpd *h, const char *root)
{
	TAILQ_INIT(&h->idle);
	TAILQ_INIT(&h->retry);
	return files_init(&h->files, root);
}

void httpd_fini(struct httpd *h)
{
	files_fini(&h->files);
}

int httpd_listen(struct httpd *h, int family, const struct sockaddr *sa, socklen_t len,
    uint32_t vrf, int backlog, sluice_conn_t *out)
{
	int rc = sluice_create(h->st, family, SOCK_STREAM, IPPROTO_TCP, vrf, -1, out);

	if (rc != 0)
		return rc;
	rc = sluice_activate(h->st, *out, &listener_upcalls, h);
	if (rc == 0)
		rc = sluice_bind(h->st, *out, sa, len);
	if (rc == 0)
		rc = sluice_listen(h->st, *out, backlog);
	if (rc != 0)
		sluice_close(h->st, *out);
	return rc;
}
