/* SPDX-License-Identifier: BSD-3-Clause */
/* Bring a connection into each state, by packets and calls alone, and say what RFC 9293's variables
 * are then. */
#include <stdio.h>
#include <string.h>

#include "matrix.h"

/* ---- one segment of the peer ---- */

static void set(struct wire_spec *p, enum wire_field f, int64_t v)
{
	p->f[f] = (struct wire_val){.lo = v, .hi = v, .set = true};
}

void mx_inject(struct matrix *m, const struct ora_seg *s, enum mx_ts ts)
{
	struct wire_spec p = {.flags = (uint8_t)s->flags};

	set(&p, WF_port, m->port);
	set(&p, WF_seq, s->seq);
	set(&p, WF_len, s->len);
	set(&p, WF_win, s->wnd);
	if (s->flags & O_ACK)
		set(&p, WF_ack, s->ack);
	if (s->flags & O_URG)
		set(&p, WF_urg, s->urp);
	if (ts == TS_ABSENT)
		p.opts = true;
	if (ts == TS_OLD) {
		p.opts = true;
		p.nopt = 1;
		p.opt[0] = (struct wire_opt){.kind = WO_TS, .n = 1, .v = {s->tsval}};
	}
	if (m->w.verbose)
		printf("# <  flags %#x seq %lld ack %lld len %lld\n", s->flags, (long long)s->seq,
		    (long long)s->ack, (long long)s->len);
	wire_inject(&m->w, &p);
}

/* Right edges that the stack has offered in what it sent since. */
void mx_note_edges(struct matrix *m)
{
	for (int i = m->noted; i < m->w.nout; i++) {
		const struct wire_pkt *o = &m->w.out[i];
		int64_t edge = (int64_t)(int32_t)o->ack + o->win;

		if (!(o->flags & O_ACK) || (o->flags & O_RST))
			continue;
		if (edge < m->right && m->edge_fault == 0)
			m->edge_fault = m->right - edge;
		if (edge > m->right)
			m->right = edge;
	}
	m->noted = m->w.nout;
}

static void pass(struct matrix *m, uint64_t ns)
{
	wire_advance(&m->w, m->w.now + ns, false);
	mx_note_edges(m);
}

static void put(struct matrix *m, unsigned int flags, int64_t seq, int64_t ack, int64_t len)
{
	struct ora_seg s = {.flags = flags, .seq = seq, .ack = ack, .len = len, .wnd = MX_WND};

	mx_inject(m, &s, TS_GOOD);
	m->last_tsval = mx_tsval(m);
	pass(m, SLUICE_MS(50)); /* a delayed ACK has left */
}

/* ---- the states ---- */

static void begin(struct matrix *m)
{
	m->w.nflows = 0;
	m->w.nsocks = 1; /* the listener */
	m->w.nev = m->w.nout = m->w.next = 0;
	m->noted = 0;
	m->right = INT64_MIN;
	m->edge_fault = 0;
	m->s = NULL;
	m->port = m->port == 60000 ? 1024 : m->port + 1;
	m->t = (struct ora_tcb){.state = O_CLOSED,
	    .snd_wnd = MX_WND,
	    .max_snd_wnd = MX_WND,
	    .rcvbuf = MX_RCVBUF,
	    .syn_wnd = MX_RCVBUF,
	    .mss = 1460,
	    .snd_nxt = 1,
	    .rcv_nxt = 1};
}

static bool syn_sent(struct matrix *m)
{
	struct sockaddr_storage sa;
	socklen_t len;

	m->s = wire_new_sock(&m->w, "c");
	m->t.state = O_SYN_SENT;
	if (wire_sock_create(m->s) != 0 || wire_addr(&m->w, "10.0.0.9", m->port, &sa, &len) != 0)
		return false;
	if (sluice_connect(m->w.st, m->s->c, (struct sockaddr *)&sa, len, NULL) != -EINPROGRESS)
		return false;
	pass(m, SLUICE_MS(50));
	return m->w.nout == 1;
}

static bool half_open(struct matrix *m)
{
	put(m, O_SYN, 0, 0, 0);
	m->t.state = O_SYN_RCVD;
	m->t.passive = m->t.listener = true;
	return m->w.nout == 1;
}

static bool simultaneous(struct matrix *m)
{
	if (!syn_sent(m))
		return false;
	put(m, O_SYN, 0, 0, 0);
	m->t.state = O_SYN_RCVD;
	return true;
}

/* 100 bytes each way are done with, 300 more are under way to the peer. */
static bool transfer(struct matrix *m, bool zero)
{
	struct ora_tcb *t = &m->t;

	if (wire_send(m->s, 100, 0) != 100)
		return false;
	pass(m, SLUICE_MS(1));
	put(m, O_ACK, 1, 101, 0);
	put(m, O_ACK | O_PSH, 1, 101, 100);
	t->state = O_ESTABLISHED;
	t->snd_una = t->snd_nxt = 101;
	t->rcv_nxt = 101;
	t->snd_wl1 = 1;
	t->snd_wl2 = 101;
	if (zero) {
		m->s->hold = true;
		t->unread = m->right - 101;
		put(m, O_ACK | O_PSH, 101, 101, m->right - 101);
		t->rcv_nxt = m->right;
		t->snd_wl1 = 101;
	}
	if (wire_send(m->s, 300, 0) != 300)
		return false;
	pass(m, SLUICE_MS(1));
	t->snd_nxt = 401;
	return true;
}

static bool established(struct matrix *m, bool zero)
{
	put(m, O_SYN, 0, 0, 0);
	put(m, O_ACK, 1, 1, 0);
	m->t.listener = true;
	if (m->w.nsocks != 2)
		return false;
	m->s = &m->w.sock[1];
	return transfer(m, zero);
}

static bool established_active(struct matrix *m)
{
	if (!syn_sent(m))
		return false;
	put(m, O_SYN | O_ACK, 0, 1, 0);
	return transfer(m, false);
}

static bool end(struct matrix *m, bool close)
{
	int rc = close ? sluice_close(m->w.st, m->s->c) : sluice_shutdown(m->w.st, m->s->c, 1);

	pass(m, SLUICE_MS(1));
	m->t.user_closed = close;
	m->t.fin_sent = true;
	m->t.snd_nxt = 402;
	m->t.state = m->t.state == O_CLOSE_WAIT ? O_LAST_ACK : O_FIN_WAIT_1;
	return rc == 0;
}

static void fin_acked(struct matrix *m)
{
	put(m, O_ACK, m->t.rcv_nxt, 402, 0);
	m->t.snd_una = m->t.snd_wl2 = 402;
	m->t.snd_wl1 = m->t.rcv_nxt;
	m->t.state = O_FIN_WAIT_2;
}

static void peer_fin(struct matrix *m)
{
	put(m, O_FIN | O_ACK, m->t.rcv_nxt, m->t.snd_una, 0);
	m->t.snd_wl1 = m->t.rcv_nxt++;
	m->t.snd_wl2 = m->t.snd_una;
	m->t.state = m->t.state == O_ESTABLISHED  ? O_CLOSE_WAIT
		     : m->t.state == O_FIN_WAIT_1 ? O_CLOSING
						  : O_TIME_WAIT;
}

#define STATE(name, ...)                        \
	static bool to_##name(struct matrix *m) \
	{                                       \
		return __VA_ARGS__;             \
	}

STATE(closed, (wire_flow(&m->w, m->port)->port = WIRE_PORT + 1) > 0)
STATE(listen, (m->t.state = O_LISTEN, m->t.listener = true))
STATE(established, established(m, false))
STATE(established_zero, established(m, true))
STATE(fin_wait_1, established(m, false) && end(m, false))
STATE(fin_wait_1_zero, established(m, true) && end(m, false))
STATE(fin_wait_1_closed, established(m, false) && end(m, true))
STATE(fin_wait_2, to_fin_wait_1(m) && (fin_acked(m), true))
STATE(fin_wait_2_zero, to_fin_wait_1_zero(m) && (fin_acked(m), true))
STATE(fin_wait_2_closed, to_fin_wait_1_closed(m) && (fin_acked(m), true))
STATE(close_wait, established(m, false) && (peer_fin(m), true))
STATE(closing, to_fin_wait_1(m) && (peer_fin(m), true))
STATE(closing_closed, to_fin_wait_1_closed(m) && (peer_fin(m), true))
STATE(last_ack, to_close_wait(m) && end(m, false))
STATE(last_ack_closed, to_close_wait(m) && end(m, true))
STATE(time_wait_held, to_fin_wait_2(m) && (peer_fin(m), true))
STATE(time_wait, to_fin_wait_2_closed(m) && (peer_fin(m), true))
STATE(time_wait_opener, established_active(m) && end(m, true) && (fin_acked(m), peer_fin(m), true))

static const struct {
	const char *name;
	bool (*to)(struct matrix *m);
	bool numbers; /* sequence numbers of the peer mean something */
} states[] = {
    {"closed", to_closed, false},
    {"listen", to_listen, false},
    {"syn_sent", syn_sent, false},
    {"syn_rcvd", half_open, true},
    {"syn_rcvd_active", simultaneous, true},
    {"established", to_established, true},
    {"established_zero", to_established_zero, true},
    {"fin_wait_1", to_fin_wait_1, true},
    {"fin_wait_1_zero", to_fin_wait_1_zero, true},
    {"fin_wait_1_closed", to_fin_wait_1_closed, true},
    {"fin_wait_2", to_fin_wait_2, true},
    {"fin_wait_2_zero", to_fin_wait_2_zero, true},
    {"fin_wait_2_closed", to_fin_wait_2_closed, true},
    {"close_wait", to_close_wait, true},
    {"closing", to_closing, true},
    {"closing_closed", to_closing_closed, true},
    {"last_ack", to_last_ack, true},
    {"last_ack_closed", to_last_ack_closed, true},
    {"time_wait_held", to_time_wait_held, true},
    {"time_wait", to_time_wait, true},
    {"time_wait_opener", to_time_wait_opener, true},
};

const char *mx_state_name(unsigned int i)
{
	return i < sizeof(states) / sizeof(states[0]) ? states[i].name : NULL;
}

bool mx_state_numbers(unsigned int i)
{
	return states[i].numbers;
}

bool mx_enter(struct matrix *m, unsigned int i, bool ts)
{
	begin(m);
	if (!states[i].to(m) || m->w.broken != NULL)
		return false;
	pass(m, SLUICE_MS(600)); /* limits on answers are fresh again */
	if (m->t.state > O_SYN_SENT)
		m->t.rcv_right = m->right > m->t.rcv_nxt ? m->right : m->t.rcv_nxt;
	m->t.last_ack_sent = m->t.rcv_nxt;
	m->t.ts = ts && m->t.state > O_SYN_SENT;
	m->t.ts_recent = m->last_tsval;
	return m->edge_fault == 0;
}

const char *mx_start(struct matrix *m, bool ts)
{
	struct wire_config cfg;
	struct sockaddr_storage sa;
	socklen_t len;
	const char *why;

	wire_config_default(&cfg);
	if (ts)
		cfg.peer[cfg.npeer++] = (struct wire_opt){.kind = WO_TS};
	cfg.tun.tcp_quickack = 0;
	cfg.tun.tcp_rcvbuf = MX_RCVBUF;
	/* Nothing is sent again while a cell is looked at. */
	cfg.tun.tcp_rto_initial = cfg.tun.tcp_rto_min = SLUICE_SEC(20);
	cfg.tun.tcp_time_wait = SLUICE_SEC(10);
	cfg.tun.tcp_rst_rate = 1000000;
	why = wire_start(&m->w, &cfg);
	if (why != NULL)
		return why;
	m->listener = wire_new_sock(&m->w, "l");
	if (wire_sock_create(m->listener) != 0 ||
	    wire_addr(&m->w, NULL, WIRE_PORT, &sa, &len) != 0 ||
	    sluice_bind(m->w.st, m->listener->c, (struct sockaddr *)&sa, len) != 0 ||
	    sluice_listen(m->w.st, m->listener->c, 16) != 0)
		return "no listener";
	wire_settle(&m->w);
	return NULL;
}
