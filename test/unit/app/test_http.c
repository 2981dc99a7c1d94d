/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTTP server over a made-up stack: one connection whose receive queue and send queue are
 * arrays. Bytes in, bytes out; the input arrives whole, byte by byte, or with a send buffer that is
 * often full: the answers must be the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <rte_mbuf.h>

#include "mpool.h"
#include "../../../app/httpd/httpd.h"

static struct {
	const struct sluice_upcalls *listener, *up;
	void *listener_arg, *arg;
	char in[65536], out[1 << 20];
	size_t nin, nout, room; /* room: what may still be sent before EAGAIN */
	bool closed, shut, aborted;
	void *cookie[64];
	unsigned int ncookies;
} fake;

int sluice_create(struct sluice_stack *st, int family, int type, int proto, uint32_t vrf,
    int squeue, sluice_conn_t *c)
{
	*c = 1;
	return 0;
}

int sluice_activate(
    struct sluice_stack *st, sluice_conn_t c, const struct sluice_upcalls *up, void *arg)
{
	fake.listener = up;
	fake.listener_arg = arg;
	return 0;
}

int sluice_bind(struct sluice_stack *st, sluice_conn_t c, const struct sockaddr *sa, socklen_t len)
{
	return 0;
}

int sluice_listen(struct sluice_stack *st, sluice_conn_t c, int backlog)
{
	return 0;
}

int sluice_accept(struct sluice_stack *st, sluice_conn_t listener, sluice_conn_t eager)
{
	return 0;
}

int sluice_close(struct sluice_stack *st, sluice_conn_t c)
{
	assert_false(fake.closed);
	fake.closed = true;
	return 0;
}

int sluice_abort(struct sluice_stack *st, sluice_conn_t c)
{
	fake.aborted = true;
	return sluice_close(st, c);
}

int sluice_shutdown(struct sluice_stack *st, sluice_conn_t c, int how)
{
	fake.shut = true;
	return 0;
}

static int take_out(const void *p, size_t n)
{
	assert_false(fake.shut || fake.closed);
	if (fake.room == 0)
		return -EAGAIN;
	assert_true(fake.nout + n <= sizeof(fake.out));
	memcpy(fake.out + fake.nout, p, n);
	fake.nout += n;
	fake.room--;
	return 0;
}

int sluice_send(struct sluice_stack *st, sluice_conn_t c, struct rte_mbuf *m, unsigned int flags)
{
	int rc = take_out(rte_pktmbuf_mtod(m, void *), m->data_len);

	if (rc == 0)
		rte_pktmbuf_free(m);
	return rc;
}

int sluice_send_external(struct sluice_stack *st, sluice_conn_t c, void *buf, uint64_t iova,
    size_t len, void *cookie, unsigned int flags)
{
	int rc = take_out(buf, len);

	if (rc == 0)
		fake.cookie[fake.ncookies++ % 64] = cookie;
	return rc;
}

ssize_t sluice_send_copy(
    struct sluice_stack *st, sluice_conn_t c, const void *data, size_t len, unsigned int flags)
{
	int rc = take_out(data, len > 1000 ? 1000 : len);

	return rc != 0 ? rc : (ssize_t)(len > 1000 ? 1000 : len);
}

ssize_t sluice_readable(struct sluice_stack *st, sluice_conn_t c)
{
	return (ssize_t)fake.nin;
}

int sluice_peek(struct sluice_stack *st, sluice_conn_t c, struct iovec *iov, int n)
{
	size_t half = fake.nin / 2;

	iov[0] = (struct iovec){fake.in, half};
	iov[1] = (struct iovec){fake.in + half, fake.nin - half};
	return 2;
}

int sluice_consume(struct sluice_stack *st, sluice_conn_t c, size_t n)
{
	assert_true(n <= fake.nin);
	memmove(fake.in, fake.in + n, fake.nin - n);
	fake.nin -= n;
	return 0;
}

uint64_t sluice_squeue_now(const struct sluice_squeue *sq)
{
	return 5;
}

unsigned int sluice_squeue_id(const struct sluice_squeue *sq)
{
	return 0;
}

int sluice_conn_squeue(struct sluice_stack *st, sluice_conn_t c)
{
	return 0;
}

int sluice_timer_start(
    struct sluice_squeue *sq, uint64_t at, sluice_timer_fn fn, void *arg, sluice_timer_t *t)
{
	*t = 1;
	return 0;
}

/* ---- */

static struct httpd h;
static char root[] = "/tmp/test_http.XXXXXX";
static char body[200000];

/** Give back what was sent by reference, and room for a few more sends. */
static void drain(void)
{
	while (fake.ncookies > 0)
		fake.up->zcopy_notify(fake.arg, 1, fake.cookie[--fake.ncookies]);
}

/** One connection: feed `in` in pieces, `room` sends at a time; the answer stands in fake.out. */
static void talk(const char *in, size_t piece, size_t room)
{
	static const struct sockaddr_in any = {.sin_family = AF_INET};
	size_t len = strlen(in);
	sluice_conn_t l;

	memset(&fake, 0, sizeof(fake));
	fake.room = room;
	assert_int_equal(
	    httpd_listen(&h, AF_INET, (const struct sockaddr *)&any, sizeof(any), 0, 10, &l), 0);
	fake.up = fake.listener;
	assert_int_equal(fake.listener->newconn(fake.listener_arg, l, 2, &fake.arg, &fake.up), 0);
	for (size_t off = 0; off < len; off += piece) {
		size_t n = len - off < piece ? len - off : piece;

		memcpy(fake.in + fake.nin, in + off, n);
		fake.nin += n;
		fake.up->recv(fake.arg, 2, fake.nin, true);
	}
	for (unsigned int i = 0; i < 1000 && !fake.shut && !fake.closed; i++) {
		size_t before = fake.nout;

		drain();
		fake.room = room;
		fake.up->txq_full(fake.arg, 2, false);
		if (fake.nout == before && fake.nin == 0)
			break;
	}
	fake.up->opctl(fake.arg, 2, SLUICE_OPCTL_SHUT_RECV, 0);
	drain();
	assert_true(fake.closed);
	fake.up->closed(fake.arg, 2);
	assert_true(TAILQ_EMPTY(&h.idle) && TAILQ_EMPTY(&h.retry));
	fake.out[fake.nout] = '\0';
}

static unsigned int status(void)
{
	unsigned int s = 0;

	sscanf(fake.out, "HTTP/1.1 %u", &s);
	return s;
}

static const char *content(void)
{
	const char *p = strstr(fake.out, "\r\n\r\n");

	assert_non_null(p);
	return p + 4;
}

#define GET(path, more) "GET " path " HTTP/1.1\r\nHost: x\r\n" more "\r\n"

static void test_statuses(void **state)
{
	static const struct {
		const char *in;
		unsigned int status;
	} t[] = {
	    {GET("/a.txt", ""), 200},
	    {GET("/", ""), 200},
	    {GET("/a%2etxt?x=1", ""), 200},
	    {GET("http://x/a.txt", ""), 200},
	    {"\r\n" GET("/a.txt", ""), 200},
	    {"GET /a.txt HTTP/1.0\r\n\r\n", 200},
	    {GET("/none", ""), 404},
	    {GET("/a.txt/x", ""), 404},
	    {GET("/sub", ""), 301},
	    {GET("/../etc/passwd", ""), 403},
	    {GET("/%2e%2e/etc/passwd", ""), 403},
	    {GET("/sub/..%2f..%2fetc/passwd", ""), 403},
	    {GET("/escape", ""), 403},
	    {GET("/%00", ""), 400},
	    {GET("/%zz", ""), 400},
	    {GET("x", ""), 400},
	    {"GET /a.txt HTTP/1.1\r\n\r\n", 400},
	    {GET("/a.txt", "Host: y\r\n"), 400},
	    {GET("/a.txt", "bad name: y\r\n"), 400},
	    {GET("/a.txt", "nocolon\r\n"), 400},
	    {GET("/a.txt", "Content-Length: 5\r\n"), 400},
	    {"garbage\r\n\r\n", 400},
	    {"\r\n\r\nGET\r\n\r\n", 400},
	    {"POST /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 405},
	    {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
	    {GET("/a.txt", "Range: bytes=2-4\r\n"), 206},
	    {GET("/a.txt", "Range: bytes=100-\r\n"), 416},
	    {GET("/a.txt", "Range: bytes=-0\r\n"), 416},
	    {GET("/a.txt", "Range: bytes=1-2,4-5\r\n"), 200},
	    {GET("/a.txt", "Range: bytes=4-2\r\n"), 200},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (size_t piece = 1; piece < 10000; piece = piece * 9 + 4) {
			talk(t[i].in, piece, 100);
			if (status() != t[i].status)
				print_error("%s: %u, not %u\n", t[i].in, status(), t[i].status);
			assert_int_equal(status(), t[i].status);
		}
}

static void test_ranges(void **state)
{
	talk(GET("/a.txt", "Range: bytes=2-4\r\n"), 1000, 100);
	assert_string_equal(content(), "234");
	assert_non_null(strstr(fake.out, "Content-Range: bytes 2-4/10\r\n"));
	talk(GET("/a.txt", "Range: bytes=7-99\r\n"), 1000, 100);
	assert_string_equal(content(), "789");
	talk(GET("/a.txt", "Range: bytes=-4\r\n"), 1000, 100);
	assert_string_equal(content(), "6789");
	talk("HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 1000, 100);
	assert_string_equal(content(), "");
	assert_non_null(strstr(fake.out, "Content-Length: 10\r\n"));
}

/** Pipelined, with large bodies, by reference and by copy, whatever the room: the same bytes. */
static void test_pipeline(void **state)
{
	static char first[1 << 20];
	static const char in[] = GET("/a.txt", "")
	    GET("/big", "") "HEAD /big HTTP/1.1\r\nHost: x\r\n\r\n" GET("/none", "")
		GET("/big", "Range: bytes=5-150000\r\nConnection: close\r\n") GET("/never", "");
	size_t n = 0;

	for (int copy = 0; copy < 2; copy++)
		for (size_t room = 1; room < 500; room += room < 4 ? 1 : 200) {
			h.zero_copy = copy == 0;
			h.date_at =
			    time(NULL) + 1000; /* the date must not change between two runs */
			talk(in, room * 37, room);
			assert_true(fake.shut);
			if (n == 0) {
				n = fake.nout;
				memcpy(first, fake.out, n);
				assert_true(n > 350000 && n < 352000);
			}
			char *d;

			for (d = fake.out;
			     (d = memmem(d, (size_t)(fake.out + n - d), "Date: ", 6)) != NULL; d++)
				memset(d + 6, 'x', 29);
			for (d = first;
			     (d = memmem(d, (size_t)(first + n - d), "Date: ", 6)) != NULL; d++)
				memset(d + 6, 'x', 29);
			assert_int_equal(fake.nout, n);
			assert_memory_equal(fake.out, first, n);
		}
}

static void test_long_head(void **state)
{
	static char in[10000];

	strcpy(in, "GET / HTTP/1.1\r\nX: ");
	memset(in + strlen(in), 'y', 9000);
	talk(in, 700, 100);
	assert_int_equal(status(), 431);
	assert_true(fake.shut);
}

static void put_file(const char *name, const char *data, size_t n)
{
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_statuses),
	    cmocka_unit_test(test_ranges),
	    cmocka_unit_test(test_pipeline),
	    cmocka_unit_test(test_long_head),
	};
	struct rte_mempool *mp = tp_create(2048 + RTE_PKTMBUF_HEADROOM, 0);
	static const char *const names[] = {"a.txt", "index.html", "big", "escape"};
	char path[100];
	int rc;

	if (mkdtemp(root) == NULL)
		return 1;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)('a' + i % 23);
	put_file("a.txt", "0123456789", 10);
	put_file("index.html", "hello", 5);
	put_file("big", body, sizeof(body));
	snprintf(path, sizeof(path), "%s/sub", root);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/escape", root);
	if (symlink("/etc/passwd", path) != 0 || httpd_init(&h, root) != 0)
		return 1;
	h.pool = mp;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	httpd_fini(&h);
	rc += (int)tp_destroy(mp);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/sub", root);
	rmdir(path);
	rmdir(root);
	return rc;
}
