/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A script's statements against a world, in order. Script time goes on by what the statements say;
 * the stack's clock follows, jumping from timer to timer. Nothing may be sent but what is expected:
 * a packet that waits when the next one goes in, or at the end, is a failure. So is an event that
 * no statement asked for.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wire.h"

struct run {
	const struct wire_script *sc;
	struct wire_world *w;
	const struct wire_stmt *s;
	uint64_t at; /* script time, of the stack's clock */
	char *why;
	size_t len;
};

static bool fail(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct run *r, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(r->why, r->len, "%s:%d: at %.6f s: ", r->sc->path, r->s->line,
	    (double)(r->w->now - r->w->t0) / 1e9);

	va_start(ap, fmt);
	if (n > 0 && (size_t)n < r->len)
		(void)vsnprintf(r->why + n, r->len - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

static double seconds(const struct run *r, uint64_t at)
{
	return (double)(at - r->w->t0) / 1e9;
}

static bool nothing_waits(struct run *r)
{
	struct wire_world *w = r->w;
	char text[256];

	if (w->next == w->nout)
		return true;
	wire_pkt_text(&w->out[w->next], text, sizeof(text));
	return fail(r,
	    "a packet that was not expected\n  expected  nothing before: %s\n  came      > %s  (at "
	    "%.6f s)",
	    r->s->text, text, seconds(r, w->out[w->next].at));
}

/* ---- packets ---- */

static bool do_in(struct run *r)
{
	wire_advance(r->w, r->at, false);
	if (!nothing_waits(r))
		return false;
	if (r->w->verbose)
		printf("#   %11.6f %s\n", seconds(r, r->w->now), r->s->text);
	wire_inject(r->w, &r->s->pkt);
	return true;
}

static bool do_quiet(struct run *r)
{
	wire_advance(r->w, r->at, false);
	return nothing_waits(r);
}

static bool do_out(struct run *r)
{
	struct wire_world *w = r->w;
	uint64_t tol = r->sc->tolerance;
	const struct wire_pkt *o;
	const char *why;
	char text[256];

	wire_advance(w, r->at + tol, true);
	if (w->next == w->nout)
		return fail(r, "nothing was sent\n  expected  %s  (at %.6f s)\n  came      nothing",
		    r->s->text, seconds(r, r->at));
	o = &w->out[w->next];
	wire_pkt_text(o, text, sizeof(text));
	if (o->at + tol < r->at || o->at > r->at + tol)
		return fail(r,
		    "wrong time\n  expected  %s  (at %.6f s, within %.6f s)\n  came      > %s  (at "
		    "%.6f s)",
		    r->s->text, seconds(r, r->at), (double)tol / 1e9, text, seconds(r, o->at));
	why = wire_differs(w, &r->s->pkt, o);
	if (why != NULL)
		return fail(r, "%s\n  expected  %s\n  came      > %s", why, r->s->text, text);
	w->next++;
	return true;
}

/* ---- calls ---- */

static const struct {
	const char *name;
	int level, opt;
} sockopts[] = {
    {"NODELAY", IPPROTO_TCP, TCP_NODELAY},
    {"CORK", IPPROTO_TCP, TCP_CORK},
    {"MAXSEG", IPPROTO_TCP, TCP_MAXSEG},
    {"KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE},
    {"KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL},
    {"KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT},
    {"SYNCNT", IPPROTO_TCP, TCP_SYNCNT},
    {"LINGER2", IPPROTO_TCP, TCP_LINGER2},
    {"USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN},
    {"QUICKACK", IPPROTO_TCP, TCP_QUICKACK},
    {"KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE},
    {"OOBINLINE", SOL_SOCKET, SO_OOBINLINE},
    {"SNDBUF", SOL_SOCKET, SO_SNDBUF},
    {"RCVBUF", SOL_SOCKET, SO_RCVBUF},
    {"ERROR", SOL_SOCKET, SO_ERROR},
    {"TTL", IPPROTO_IP, IP_TTL},
    {"TOS", IPPROTO_IP, IP_TOS},
};

static int64_t call_sockopt(struct run *r, struct wire_sock *k, bool setting)
{
	const struct wire_stmt *s = r->s;
	int v = setting ? (int)s->num[1] : 0, rc;
	struct linger lg = {1, v};
	socklen_t len = sizeof(v);

	if (strcmp(s->arg[0], "LINGER") == 0)
		return sluice_setsockopt(r->w->st, k->c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
	for (size_t i = 0; i < RTE_DIM(sockopts); i++) {
		if (strcmp(sockopts[i].name, s->arg[0]) != 0)
			continue;
		if (setting)
			return sluice_setsockopt(
			    r->w->st, k->c, sockopts[i].level, sockopts[i].opt, &v, sizeof(v));
		rc =
		    sluice_getsockopt(r->w->st, k->c, sockopts[i].level, sockopts[i].opt, &v, &len);
		return rc < 0 ? rc : v;
	}
	return -ENOPROTOOPT;
}

static int64_t call_bind(struct run *r, struct wire_sock *k, int port_arg)
{
	const struct wire_stmt *s = r->s;
	struct sockaddr_storage sa;
	socklen_t len;

	if (wire_addr(r->w, s->nargs > 1 && port_arg == 0 && s->verb[0] == 'b' ? s->arg[1] : NULL,
		(uint16_t)s->num[port_arg], &sa, &len) < 0)
		return -EINVAL;
	return sluice_bind(r->w->st, k->c, (struct sockaddr *)&sa, len);
}

/* listen PORT BACKLOG binds too; without a port the socket is bound already, or is not. */
static int64_t call_listen(struct run *r, struct wire_sock *k)
{
	const struct wire_stmt *s = r->s;
	int64_t rc;

	if (s->nargs > 0) {
		rc = call_bind(r, k, 0);
		if (rc < 0)
			return rc;
	}
	return sluice_listen(r->w->st, k->c, s->nargs > 1 ? (int)s->num[1] : 16);
}

static int64_t call_connect(struct run *r, struct wire_sock *k)
{
	const struct wire_stmt *s = r->s;
	struct sockaddr_storage sa;
	socklen_t len;
	const char *peer = r->w->cfg.ipv6 ? "fd00::9" : "10.0.0.9";

	if (wire_addr(r->w, s->nargs > 1 ? s->arg[1] : peer,
		(uint16_t)(s->nargs > 0 ? s->num[0] : WIRE_PEER_PORT), &sa, &len) < 0)
		return -EINVAL;
	return sluice_connect(r->w->st, k->c, (struct sockaddr *)&sa, len, NULL);
}

static int64_t call_send(struct run *r, struct wire_sock *k)
{
	const struct wire_stmt *s = r->s;
	unsigned int flags = 0;

	if (s->nargs > 1)
		flags = strcmp(s->arg[1], "oob") == 0    ? SLUICE_MSG_OOB
			: strcmp(s->arg[1], "more") == 0 ? SLUICE_MSG_MORE
							 : 0;
	return wire_send(k, (uint32_t)s->num[0], flags);
}

static int64_t call_take(struct run *r, struct wire_sock *k)
{
	struct rte_mbuf *m = NULL;
	ssize_t n = sluice_take(r->w->st, k->c, (size_t)r->s->num[0], &m);

	if (n > 0) {
		k->got += (uint64_t)n;
		rte_pktmbuf_free(m);
	}
	return n;
}

static int64_t call_consume(struct run *r, struct wire_sock *k)
{
	struct iovec iov[64];
	size_t left = (size_t)r->s->num[0], n;
	int count = sluice_peek(r->w->st, k->c, iov, 64);

	for (int i = 0; i < count && left > 0; i++, left -= n) {
		n = RTE_MIN(iov[i].iov_len, left);
		for (size_t j = 0; j < n; j++)
			k->bad_byte |= ((uint8_t *)iov[i].iov_base)[j] !=
				       wire_byte((uint32_t)(k->got + j), true);
		k->got += n;
	}
	return sluice_consume(r->w->st, k->c, (size_t)r->s->num[0]);
}

static int64_t call_accept(struct run *r, struct wire_sock *k)
{
	struct wire_sock *e = wire_find(r->w, r->s->arg[0]);

	return e == NULL ? -EBADF : sluice_accept(r->w->st, k->c, e->c);
}

static int64_t call_shutdown(struct run *r, struct wire_sock *k)
{
	const char *how = r->s->arg[0];

	return sluice_shutdown(r->w->st, k->c,
	    strcmp(how, "rd") == 0     ? SLUICE_SHUT_RD
	    : strcmp(how, "wr") == 0   ? SLUICE_SHUT_WR
	    : strcmp(how, "rdwr") == 0 ? SLUICE_SHUT_RDWR
				       : 99);
}

static int64_t call_socket(struct run *r, struct wire_sock *k)
{
	return 0;
}
static int64_t call_close(struct run *r, struct wire_sock *k)
{
	return sluice_close(r->w->st, k->c);
}
static int64_t call_abort(struct run *r, struct wire_sock *k)
{
	return sluice_abort(r->w->st, k->c);
}
static int64_t call_clear(struct run *r, struct wire_sock *k)
{
	k->no_space = false;
	return sluice_clr_flowctrl(r->w->st, k->c);
}
static int64_t call_set(struct run *r, struct wire_sock *k)
{
	return call_sockopt(r, k, true);
}
static int64_t call_get(struct run *r, struct wire_sock *k)
{
	return call_sockopt(r, k, false);
}
static int64_t call_bind_(struct run *r, struct wire_sock *k)
{
	return call_bind(r, k, 0);
}
static int64_t call_hold(struct run *r, struct wire_sock *k)
{
	k->hold = r->s->num[0] != 0;
	return 0;
}
static int64_t call_refuse(struct run *r, struct wire_sock *k)
{
	k->refuse = r->s->num[0] != 0;
	return 0;
}
static int64_t call_no_space(struct run *r, struct wire_sock *k)
{
	k->no_space = r->s->num[0] != 0;
	return 0;
}
static int64_t call_no_errors(struct run *r, struct wire_sock *k)
{
	k->no_errors = r->s->num[0] != 0;
	return 0;
}
static int64_t call_no_accept(struct run *r, struct wire_sock *k)
{
	k->no_accept = r->s->num[0] != 0;
	return 0;
}

static const struct {
	const char *verb;
	int64_t (*fn)(struct run *r, struct wire_sock *k);
	int64_t otherwise; /* result when the script says none; WIRE_ANY: the first argument */
} calls[] = {
    {"socket", call_socket, 0},
    {"bind", call_bind_, 0},
    {"listen", call_listen, 0},
    {"connect", call_connect, -EINPROGRESS},
    {"accept", call_accept, 0},
    {"send", call_send, WIRE_ANY},
    {"shutdown", call_shutdown, 0},
    {"close", call_close, 0},
    {"abort", call_abort, 0},
    {"consume", call_consume, 0},
    {"take", call_take, WIRE_ANY},
    {"clear", call_clear, 0},
    {"hold", call_hold, 0},
    {"refuse", call_refuse, 0},
    {"no_space", call_no_space, 0},
    {"no_accept", call_no_accept, 0},
    {"no_errors", call_no_errors, 0},
    {"setsockopt", call_set, 0},
    {"getsockopt", call_get, 0},
};

static bool wrong_result(struct run *r, int64_t want, int64_t rc)
{
	char a[32], b[32];

	if (want < 0)
		(void)snprintf(a, sizeof(a), "%s", wire_errno_name((int)-want));
	else
		(void)snprintf(a, sizeof(a), "%lld", (long long)want);
	if (rc < 0)
		(void)snprintf(b, sizeof(b), "%s (%lld)", wire_errno_name((int)-rc), (long long)rc);
	else
		(void)snprintf(b, sizeof(b), "%lld", (long long)rc);
	return fail(r, "wrong result\n  expected  %s = %s\n  came      %s", r->s->text, a, b);
}

/* ---- what is asked of a socket ---- */

static const struct {
	const char *name;
	size_t off;
	bool wide;
} infos[] = {
#define X32(f)                                                  \
	{                                                       \
#f, offsetof(struct sluice_conn_info, f), false \
	}
#define X64(f)                                                 \
	{                                                      \
#f, offsetof(struct sluice_conn_info, f), true \
	}
    X32(mss),
    X32(cwnd),
    X32(ssthresh),
    X32(snd_wnd),
    X32(rcv_wnd),
    X32(flight),
    X32(ooo),
    X64(srtt),
    X64(rttvar),
    X64(rto),
    X64(retrans),
    X64(rtos),
    X64(recoveries),
    X64(segs_in),
    X64(segs_out),
    X64(bytes_in),
    X64(bytes_out),
#undef X32
#undef X64
};

static bool check_info(struct run *r, struct wire_sock *k)
{
	struct sluice_conn_info info = {.size = sizeof(info)};
	const char *text = r->s->arg[1], *dots = strstr(text, "..");
	int64_t lo = 0, hi = 0;

	if (sluice_conn_info(r->w->st, k->c, &info) != 0)
		return fail(r, "no such connection any more: %s", r->s->text);
	lo = strtoll(text, NULL, 0);
	hi = dots != NULL ? strtoll(dots + 2, NULL, 0) : lo;
	for (size_t i = 0; i < RTE_DIM(infos); i++) {
		uint32_t v32;
		uint64_t v;

		if (strcmp(infos[i].name, r->s->arg[0]) != 0)
			continue;
		memcpy(&v, (char *)&info + infos[i].off, infos[i].wide ? 8 : 4);
		memcpy(&v32, (char *)&info + infos[i].off, 4);
		if (!infos[i].wide)
			v = v32;
		if ((int64_t)v < lo || (int64_t)v > hi)
			return fail(r, "wrong value\n  expected  %s\n  came      %llu", r->s->text,
			    (unsigned long long)v);
		return true;
	}
	return fail(r, "no such field: %s", r->s->arg[0]);
}

static bool check_state(struct run *r, struct wire_sock *k)
{
	enum sluice_state st = SLUICE_CLOSED;

	(void)sluice_getstate(r->w->st, k->c, &st);
	if (strcmp(sluice_state_name(st), r->s->arg[0]) != 0)
		return fail(r, "wrong state\n  expected  %s\n  came      %s", r->s->text,
		    sluice_state_name(st));
	return true;
}

static bool check_number(struct run *r, int64_t want, int64_t v)
{
	if (want != v)
		return fail(
		    r, "wrong number\n  expected  %s\n  came      %lld", r->s->text, (long long)v);
	return true;
}

static bool do_call(struct run *r)
{
	const struct wire_stmt *s = r->s;
	struct wire_sock *k = wire_find(r->w, s->name);
	int64_t rc, want;

	wire_advance(r->w, r->at, false);
	if (k == NULL) {
		k = wire_new_sock(r->w, s->name);
		if (k == NULL || wire_sock_create(k) < 0)
			return fail(r, "no socket could be made: %s", s->text);
	}
	if (strcmp(s->verb, "state") == 0)
		return check_state(r, k);
	if (strcmp(s->verb, "info") == 0)
		return check_info(r, k);
	if (strcmp(s->verb, "got") == 0)
		return k->bad_byte
			   ? fail(r, "a byte that the peer did not send there was delivered: %s",
				 s->text)
			   : check_number(r, s->num[0], (int64_t)k->got);
	if (strcmp(s->verb, "pushes") == 0)
		return check_number(r, s->num[0], k->pushes);
	if (strcmp(s->verb, "readable") == 0)
		return check_number(r, s->num[0], sluice_readable(r->w->st, k->c));
	for (size_t i = 0; i < RTE_DIM(calls); i++) {
		if (strcmp(calls[i].verb, s->verb) != 0)
			continue;
		rc = calls[i].fn(r, k);
		want = s->has_result                    ? s->result
		       : calls[i].otherwise == WIRE_ANY ? s->num[0]
							: calls[i].otherwise;
		wire_settle(r->w);
		return rc == want ? true : wrong_result(r, want, rc);
	}
	return fail(r, "no such call: %s", s->verb);
}

/* ---- the rest ---- */

static bool do_event(struct run *r)
{
	const struct wire_stmt *s = r->s;
	struct wire_world *w = r->w;
	const struct wire_event *e;

	wire_advance(w, r->at + (s->at != 0 ? r->sc->tolerance : 0), false);
	if (w->next_ev == w->nev)
		return fail(r, "no event\n  expected  %s\n  came      nothing", s->text);
	e = &w->ev[w->next_ev];
	if (strcmp(e->s->name, s->name) != 0 || (int64_t)e->kind != s->result)
		return fail(r, "another event\n  expected  %s\n  came      event %s %s %lld",
		    s->text, e->s->name, wire_event_names[e->kind], (long long)e->v);
	/* With a time of its own an event comes then; without, any time before now. */
	if (s->at != 0 && e->at + r->sc->tolerance < r->at)
		return fail(r, "wrong time\n  expected  %s  (at %.6f s)\n  came      at %.6f s",
		    s->text, seconds(r, r->at), seconds(r, e->at));
	w->next_ev++;
	if (e->kind == WE_NEWCONN) {
		if (s->nargs > 0)
			(void)snprintf(e->eager->name, sizeof(e->eager->name), "%.15s", s->arg[0]);
	} else if (s->nargs > 0 && s->num[0] != e->v) {
		return fail(r, "another value\n  expected  %s\n  came      %lld (%s)", s->text,
		    (long long)e->v, wire_errno_name((int)e->v));
	}
	return true;
}

static bool do_counter(struct run *r)
{
	wire_advance(r->w, r->at, false);
	return check_number(r, r->s->num[1],
	    (int64_t)wire_counter(r->w, (unsigned int)wire_counter_find(r->s->arg[0])));
}

static bool do_table(struct run *r)
{
	int64_t halves = 0, tws = 0;

	wire_advance(r->w, r->at, false);
	for (unsigned int i = 0; i < r->w->nsq; i++) {
		halves += sl_tcp_of(sluice_squeue(r->w->st, i))->nhalf;
		tws += (int64_t)sl_tcp_of(sluice_squeue(r->w->st, i))->tws.inuse;
	}
	return check_number(r, r->s->num[1], r->s->arg[0][0] == 'h' ? halves : tws);
}

static bool do_set(struct run *r)
{
	struct sluice_txn *txn;

	wire_advance(r->w, r->at, false);
	if (sluice_txn_begin(r->w->st, &txn) != 0)
		return fail(r, "no transaction");
	if (sluice_tunable_set_text(txn, r->s->arg[0], r->s->arg[1]) != 0) {
		sluice_txn_abort(txn);
		return fail(r, "cannot be set: %s", r->s->text);
	}
	return sluice_txn_commit(txn, NULL) == 0 ? true : fail(r, "cannot be set: %s", r->s->text);
}

/* The statements that "handshake" stands for. */
static bool do_handshake(struct run *r)
{
	static const char *const passive[] = {"l.listen 80 16", "< SYN 0", "> SYN+ACK 0 ack 1",
	    "< ACK 1 ack 1", "event l newconn c", NULL};
	static const char *const active[] = {"c.connect", "> SYN 0", "< SYN+ACK 0 ack 1",
	    "> ACK 1 ack 1", "event c connected", NULL};
	const char *const *text = r->s->arg[0][0] == 'p' ? passive : active;
	char all[256] = "title: x\n";
	struct wire_script sub;
	bool ok = true;

	for (; *text != NULL; text++) {
		strcat(all, *text);
		strcat(all, "\n");
	}
	if (!wire_parse(&sub, r->sc->path, strdup(all)))
		return fail(r, "%s", sub.error);
	for (int i = 0; i < sub.nstmts && ok; i++) {
		struct wire_stmt s = sub.stmt[i];
		struct run in = *r;

		s.line = r->s->line;
		in.s = &s;
		switch (s.kind) {
		case WS_IN:
			ok = do_in(&in);
			break;
		case WS_OUT:
			ok = do_out(&in);
			break;
		case WS_EVENT:
			ok = do_event(&in);
			break;
		default:
			ok = do_call(&in);
			break;
		}
	}
	wire_script_free(&sub);
	return ok;
}

static bool step(struct run *r)
{
	switch (r->s->kind) {
	case WS_IN:
		return do_in(r);
	case WS_OUT:
		return do_out(r);
	case WS_QUIET:
		return do_quiet(r);
	case WS_SET:
		return do_set(r);
	case WS_CALL:
		return do_call(r);
	case WS_EVENT:
		return do_event(r);
	case WS_COUNTER:
		return do_counter(r);
	case WS_TABLE:
		return do_table(r);
	default:
		return do_handshake(r);
	}
}

static bool at_the_end(struct run *r)
{
	struct wire_world *w = r->w;

	wire_settle(w);
	if (!nothing_waits(r))
		return false;
	for (; w->next_ev < w->nev; w->next_ev++) {
		const struct wire_event *e = &w->ev[w->next_ev];

		if (e->kind != WE_CLOSED) /* follows every close */
			return fail(r,
			    "an event that was not expected: event %s %s %lld  (at %.6f s)",
			    e->s->name, wire_event_names[e->kind], (long long)e->v,
			    seconds(r, e->at));
	}
	for (int i = 0; i < w->nsocks; i++)
		if (w->sock[i].bad_byte)
			return fail(r,
			    "socket %s was given a byte that the peer did not send there",
			    w->sock[i].name);
	return true;
}

bool wire_run(
    const struct wire_script *sc, bool ipv6, bool verbose, char *why, size_t len, int *line)
{
	static struct wire_world w;
	struct run r = {.sc = sc, .w = &w, .why = why, .len = len};
	struct wire_config cfg = sc->cfg;
	const char *left;
	bool ok = true;

	cfg.ipv6 = ipv6;
	w.verbose = verbose;
	*line = 0;
	left = wire_start(&w, &cfg);
	if (left != NULL) {
		(void)snprintf(why, len, "%s: no stack: %s", sc->path, left);
		return false;
	}
	r.at = w.t0;
	for (int i = 0; i < sc->nstmts && ok; i++) {
		r.s = &sc->stmt[i];
		*line = r.s->line;
		r.at = (r.s->absolute ? w.t0 : r.at) + r.s->at;
		ok = step(&r);
		if (ok && w.broken != NULL)
			ok = fail(&r, "%s", w.broken);
	}
	if (ok)
		ok = at_the_end(&r);
	if (!ok)
		return false; /* the world is left as it is: its process ends */
	left = wire_stop(&w);
	if (left != NULL)
		return fail(&r, "at the end: %s", left);
	return true;
}
