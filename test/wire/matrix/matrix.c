/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cells of the matrix: see matrix.h. A state's cells are numbered, and one can be run alone:
 *	matrix -s established		# one state, with and without timestamps
 *	matrix -e 11			# all states, every 11th cell (11 goes into no axis)
 *	matrix -c established:123	# one cell, with every packet
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

/* ---- axes ---- */

struct pos {
	const char *name;
	int64_t v;
};

#define FAR (1 << 30)
enum {
	NSEQ = 14,
	NACK = 10,
	NLEN = 4
};

static unsigned int seq_axis(const struct ora_tcb *t, bool numbers, struct pos *p)
{
	int64_t nxt = t->rcv_nxt, right = t->rcv_right;
	const struct pos all[NSEQ] = {
	    {"NXT", nxt},
	    {"NXT-1", nxt - 1},
	    {"NXT-2", nxt - 2},
	    {"NXT-4", nxt - 4},
	    {"NXT-10", nxt - 10},
	    {"NXT-3000", nxt - 3000},
	    {"NXT-far", nxt - FAR},
	    {"NXT+1", nxt + 1},
	    {"middle", (nxt + right) / 2},
	    {"right-5", right - 5},
	    {"right-1", right - 1},
	    {"right", right},
	    {"right+1", right + 1},
	    {"right+far", right + FAR},
	};

	memcpy(p, all, sizeof(all));
	if (numbers)
		return NSEQ;
	p[0] = (struct pos){"0", 0};
	return 1;
}

static unsigned int ack_axis(const struct ora_tcb *t, unsigned int flags, struct pos *p)
{
	int64_t una = t->snd_una, nxt = t->snd_nxt, old = una - t->max_snd_wnd;
	const struct pos all[NACK] = {
	    {"NXT", nxt},
	    {"UNA", una},
	    {"UNA+1", una + 1},
	    {"between", (una + nxt + 1) / 2},
	    {"NXT-1", nxt - 1},
	    {"NXT+1", nxt + 1},
	    {"NXT+far", nxt + FAR},
	    {"UNA-1", una - 1},
	    {"oldest", old},
	    {"too-old", old - 1},
	};

	memcpy(p, all, sizeof(all));
	return flags & O_ACK ? NACK : 1;
}

static const struct {
	int64_t len;
	const char *name;
} lens[NLEN] = {{0, "0"}, {1, "1"}, {10, "10"}, {MX_RCVBUF + 100, "window+100"}};

struct cell {
	unsigned int state, index;
	enum mx_ts ts;
	bool with_ts;
	struct ora_seg s;
	const char *seq_name, *ack_name, *len_name;
};

/* ---- what is seen ---- */

struct seen {
	enum ora_state state;
	bool half, compact;
	struct sl_conn *c;
	struct sl_tw *tw;
	struct sl_half *h;
};

static void look(struct matrix *m, struct seen *v)
{
	struct sl_tcp *t = sl_tcp_of(sluice_squeue(m->w.st, 0));
	const struct wire_flow *f = wire_flow(&m->w, m->port);
	struct sl_key k = {.laddr = sl_addr4(htonl(0x0a000001)),
	    .raddr = sl_addr4(htonl(0x0a000009)),
	    .lport = htons(f->port),
	    .rport = htons(m->port)};
	uint32_t ref = sl_conntab_lookup(&t->tab, &k, sl_conntab_hash(&t->tab, &k));
	static const uint8_t of[] = {[SLUICE_SYN_SENT] = O_SYN_SENT,
	    [SLUICE_SYN_RCVD] = O_SYN_RCVD,
	    [SLUICE_ESTABLISHED] = O_ESTABLISHED,
	    [SLUICE_CLOSE_WAIT] = O_CLOSE_WAIT,
	    [SLUICE_FIN_WAIT_1] = O_FIN_WAIT_1,
	    [SLUICE_CLOSING] = O_CLOSING,
	    [SLUICE_LAST_ACK] = O_LAST_ACK,
	    [SLUICE_FIN_WAIT_2] = O_FIN_WAIT_2,
	    [SLUICE_TIME_WAIT] = O_TIME_WAIT};

	*v = (struct seen){.state = O_CLOSED};
	if (ref == 0)
		return;
	if (SL_REF_KIND(ref) == SL_REF_CONN) {
		v->c = sl_slab_get(&t->conns, SL_REF_IDX(ref));
		v->state = of[v->c->state];
	} else if (SL_REF_KIND(ref) == SL_REF_HALF) {
		v->h = sl_slab_get(&t->halves, SL_REF_IDX(ref));
		v->state = O_SYN_RCVD;
		v->half = true;
	} else {
		v->tw = sl_slab_get(&t->tws, SL_REF_IDX(ref));
		v->state = O_TIME_WAIT;
		v->compact = true;
	}
}

/* When TIME_WAIT ends, ns or ticks: to see whether it began anew. */
static uint64_t wait_end(const struct seen *v)
{
	return v->tw != NULL ? v->tw->expires : v->c != NULL ? v->c->deadline[SL_T_MISC] : 0;
}

static int64_t taken(struct matrix *m)
{
	int64_t n = 0;

	for (int i = 1; i < m->w.nsocks; i++) {
		struct wire_sock *s = &m->w.sock[i];
		ssize_t queued = s->hold ? sluice_readable(m->w.st, s->c) : 0;

		n += (int64_t)s->got + (queued > 0 ? queued : 0);
	}
	return n;
}

/* ---- comparison ---- */

static char fault[512];

#define FAULT(...) (snprintf(fault, sizeof(fault), __VA_ARGS__), false)

/* Data or FIN sent again, or a probe: the sender's timers, no answer. */
static bool is_repeat(const struct wire_pkt *o, const struct ora_tcb *t)
{
	return !(o->flags & (O_SYN | O_RST)) && (o->len > 0 || (o->flags & O_FIN)) &&
	       (int32_t)o->seq < t->snd_nxt;
}

static bool right_answer(const struct wire_pkt *p, const struct ora_outcome *o, uint32_t old_iss)
{
	unsigned int flags = p->flags & ~(unsigned int)O_PSH;
	int64_t seq = (int32_t)(p->raw_seq - old_iss), ack = (int32_t)p->ack;

	switch (o->answer) {
	case O_ACK_NOW:
	case O_ACK_SOON:
		return flags == O_ACK && p->len == 0 && seq == o->seq && ack == o->ack;
	case O_SYNACK:
		return flags == (O_SYN | O_ACK) && ack == o->ack && p->len == 0 &&
		       (o->new_iss ? o->after.state != O_SYN_RCVD || seq > o->after.snd_nxt ||
					 o->after.snd_nxt == 1
				   : seq == o->seq);
	case O_RESET:
		if (flags != (unsigned int)(O_RST | (o->answer_ack ? O_ACK : 0)) || p->len != 0)
			return false;
		if (o->answer_ack && ack != o->ack)
			return false;
		return o->seq == 0 ? p->raw_seq == 0 || seq == 0 : seq == o->seq;
	default:
		return false;
	}
}

static bool check_answer(struct matrix *m, const struct ora_outcome *o, uint32_t old_iss)
{
	int immediate = m->w.nout, answers = 0;
	char text[200] = "nothing";

	wire_advance(&m->w, m->w.now + SLUICE_MS(500), false);
	mx_note_edges(m);
	for (int i = 0; i < m->w.nout; i++) {
		const struct wire_pkt *p = &m->w.out[i];

		if (i >= immediate && is_repeat(p, &o->after))
			continue;
		wire_pkt_text(p, text, sizeof(text));
		answers++;
		if (!right_answer(p, o, old_iss) || answers > 1)
			return FAULT("answer: expected %s seq %lld ack %lld, seen %s%s",
			    ora_answer_names[o->answer], (long long)o->seq, (long long)o->ack, text,
			    answers > 1 ? " (one too many)" : "");
		if (i >= immediate && o->answer != O_ACK_SOON)
			return FAULT("answer: expected %s, seen late: %s",
			    ora_answer_names[o->answer], text);
	}
	if (answers == 0 && o->answer != O_NOTHING)
		return FAULT("answer: expected %s seq %lld ack %lld, seen nothing",
		    ora_answer_names[o->answer], (long long)o->seq, (long long)o->ack);
	return true;
}

static bool check_state(const struct seen *v, const struct ora_outcome *o)
{
	enum ora_state want = o->after.state == O_LISTEN ? O_CLOSED : o->after.state;

	if (v->state != want)
		return FAULT("state: expected %s, seen %s", ora_state_names[want],
		    ora_state_names[v->state]);
	if (want == O_SYN_RCVD && v->half != o->after.passive)
		return FAULT("SYN_RCVD: half-open entry %d", v->half);
	if (want == O_TIME_WAIT && v->compact != o->after.user_closed)
		return FAULT("TIME_WAIT: compact %d", v->compact);
	return true;
}

static bool check_variables(const struct seen *v, const struct ora_outcome *o)
{
	const struct ora_tcb *t = &o->after;
	const struct sl_conn *c = v->c;

	if (c == NULL || t->state <= O_SYN_SENT)
		return true;
	if (c->snd_una - c->iss != (uint32_t)t->snd_una)
		return FAULT(
		    "SND.UNA: expected %lld, seen %u", (long long)t->snd_una, c->snd_una - c->iss);
	if (t->state != O_SYN_RCVD && c->snd_wnd != t->snd_wnd)
		return FAULT("SND.WND: expected %lld, seen %u", (long long)t->snd_wnd, c->snd_wnd);
	if (c->rcv_nxt - c->irs != (uint32_t)(t->rcv_nxt - t->irs))
		return FAULT(
		    "RCV.NXT: expected %lld, seen %u", (long long)t->rcv_nxt, c->rcv_nxt - c->irs);
	if (t->ts && c->ts_recent != (uint32_t)t->ts_recent)
		return FAULT(
		    "TS.Recent: expected %lld, seen %u", (long long)t->ts_recent, c->ts_recent);
	return true;
}

static bool check_events(struct matrix *m, const struct ora_outcome *o)
{
	static const unsigned int bit[WIRE_NEVENTS] = {[WE_NEWCONN] = O_EV_NEWCONN,
	    [WE_CONNECTED] = O_EV_CONNECTED,
	    [WE_DISCONNECTED] = O_EV_DISCONNECTED,
	    [WE_SHUT_RECV] = O_EV_END,
	    [WE_URGENT] = O_EV_URGENT,
	    [WE_CLOSED] = O_EV_CLOSED};
	unsigned int got = 0;

	for (int i = 0; i < m->w.nev; i++) {
		const struct wire_event *e = &m->w.ev[i];

		if (got & bit[e->kind])
			return FAULT("event %s twice", wire_event_names[e->kind]);
		got |= bit[e->kind];
		if (e->kind == WE_DISCONNECTED && e->v != o->err)
			return FAULT("disconnected: expected errno %d, seen %d", o->err, (int)e->v);
		if (e->kind == WE_URGENT && e->v != o->mark)
			return FAULT("urgent: expected mark %lld, seen %lld", (long long)o->mark,
			    (long long)e->v);
	}
	return got == o->events ||
	       FAULT("events (newconn 1, connected 2, disconnected 4, end 8, urgent 16, closed "
		     "32): expected %u, seen %u",
		   o->events, got);
}

static bool compare(struct matrix *m, const struct cell *c)
{
	uint32_t old_iss = wire_flow(&m->w, m->port)->iss;
	int64_t before, now_taken;
	uint64_t waited;
	struct ora_outcome o;
	struct seen v;

	ora_segment(&m->t, &c->s, &o);
	look(m, &v);
	if (v.state != (m->t.state == O_LISTEN ? O_CLOSED : m->t.state))
		return FAULT("set-up: expected %s, seen %s", ora_state_names[m->t.state],
		    ora_state_names[v.state]);
	waited = wait_end(&v);
	before = taken(m);
	m->w.nout = m->w.next = m->noted = m->w.nev = 0;
	if (c->s.flags & O_SYN && o.new_iss)
		m->right = INT64_MIN; /* another incarnation, other numbers */
	mx_inject(m, &c->s, c->ts);
	look(m, &v);
	if (!check_state(&v, &o) || !check_variables(&v, &o))
		return false;
	if (v.state == O_TIME_WAIT && m->t.state == O_TIME_WAIT &&
	    (wait_end(&v) != waited) != o.wait_again)
		return FAULT("TIME_WAIT: expected anew %d", o.wait_again);
	now_taken = taken(m);
	if (now_taken - before != o.delivered)
		return FAULT("delivered: expected %lld, seen %lld", (long long)o.delivered,
		    (long long)(now_taken - before));
	for (int i = 1; i < m->w.nsocks; i++)
		if (m->w.sock[i].bad_byte)
			return FAULT("a wrong byte was delivered");
	if (!check_events(m, &o) || !check_answer(m, &o, old_iss))
		return false;
	if (m->edge_fault != 0)
		return FAULT(
		    "the window's right edge moved left by %lld", (long long)m->edge_fault);
	return m->w.broken == NULL || FAULT("%s", m->w.broken);
}

/* ---- a cell ---- */

/* The connection goes, whatever the cell made of it. */
static void leave(struct matrix *m)
{
	struct seen v;

	for (int i = 1; i < m->w.nsocks; i++)
		(void)sluice_abort(m->w.st, m->w.sock[i].c);
	wire_settle(&m->w);
	look(m, &v);
	if (v.h != NULL) {
		struct ora_seg rst = {.flags = O_RST,
		    .seq = (int32_t)(v.h->irs + 1 - wire_flow(&m->w, m->port)->isn)};

		mx_inject(m, &rst, TS_GOOD);
	}
}

static void print_fault(const struct cell *c)
{
	char flags[64];

	wire_flags_text((uint8_t)c->s.flags, flags, sizeof(flags));
	printf("# cell %s:%u: %s len %s seq %s ack %s%s: %s\n", mx_state_name(c->state), c->index,
	    flags, c->len_name, c->seq_name, c->s.flags & O_ACK ? c->ack_name : "-",
	    !c->with_ts          ? ""
	    : c->ts == TS_GOOD   ? " timestamp"
	    : c->ts == TS_ABSENT ? " no timestamp"
				 : " old timestamp",
	    fault);
}

/* The axes depend on the variables, the variables on the state: made anew for each cell. False:
 * beyond the last one of this axis. */
static bool run_cell(struct matrix *m, struct cell *c, unsigned int flags, unsigned int len,
    unsigned int seq, unsigned int ack, bool *ok)
{
	struct pos sp[NSEQ], ap[NACK];

	*ok = true;
	if (!mx_enter(m, c->state, c->with_ts)) {
		*ok = FAULT("set-up failed (%s)", m->w.broken != NULL ? m->w.broken : "no state");
		print_fault(c);
		return true;
	}
	if (seq >= seq_axis(&m->t, mx_state_numbers(c->state), sp) ||
	    ack >= ack_axis(&m->t, flags, ap)) {
		leave(m);
		return false;
	}
	c->seq_name = sp[seq].name;
	c->ack_name = ap[ack].name;
	c->len_name = lens[len].name;
	c->s = (struct ora_seg){.flags = flags,
	    .seq = sp[seq].v,
	    .ack = ap[ack].v,
	    .len = lens[len].len,
	    .wnd = MX_CELL_WND,
	    .urp = MX_URP,
	    .has_ts = c->with_ts && c->ts != TS_ABSENT,
	    .tsval = c->ts == TS_OLD ? m->t.ts_recent - 500 : mx_tsval(m)};
	*ok = compare(m, c);
	if (!*ok)
		print_fault(c);
	leave(m);
	return true;
}

struct tally {
	unsigned long cells, failed;
};

#define MOST_PRINTED 20

/* A cell's number says where it stands on each axis. */
static unsigned int number(
    const struct cell *c, unsigned int flags, unsigned int len, unsigned int seq, unsigned int ack)
{
	unsigned int ts = c->with_ts ? 1u + (unsigned int)c->ts : 0;

	return (((ts * 64 + flags) * NLEN + len) * NSEQ + seq) * NACK + ack;
}

static unsigned int every = 1; /* one cell of so many */

/* All cells of a state with these flags. only: one of them, else UINT32_MAX. */
static void run_flags(
    struct matrix *m, struct cell *c, unsigned int flags, unsigned int only, struct tally *tally)
{
	bool ok;

	for (unsigned int len = 0; len < NLEN; len++)
		for (unsigned int seq = 0; seq < NSEQ; seq++)
			for (unsigned int ack = 0; ack < NACK; ack++) {
				c->index = number(c, flags, len, seq, ack);
				if (only != UINT32_MAX ? c->index != only : c->index % every != 0)
					continue;
				if (tally->failed > MOST_PRINTED)
					return;
				if (!run_cell(m, c, flags, len, seq, ack, &ok))
					break;
				tally->cells++;
				tally->failed += !ok;
			}
}

static void run_state(
    struct matrix *m, unsigned int state, bool with_ts, unsigned int only, struct tally *tally)
{
	struct cell c = {.state = state, .with_ts = with_ts};

	m->w.verbose = only != UINT32_MAX;
	for (int ts = TS_GOOD; ts <= (with_ts ? TS_OLD : TS_GOOD); ts++)
		for (unsigned int flags = 0; flags < 64; flags++) {
			c.ts = (enum mx_ts)ts;
			/* With timestamps PSH and URG change nothing more. */
			if (!with_ts || !(flags & (O_PSH | O_URG)))
				run_flags(m, &c, flags, only, tally);
		}
}

static bool run(unsigned int state, unsigned int only)
{
	struct tally tally = {0};
	const char *why = NULL;

	for (int ts = 0; ts < 2 && why == NULL; ts++) {
		struct matrix *m = calloc(1, sizeof(*m));

		why = m == NULL ? "no memory" : mx_start(m, ts);
		if (why == NULL) {
			run_state(m, state, ts, only, &tally);
			(void)sluice_close(m->w.st, m->listener->c);
			wire_advance(&m->w, m->w.now + SLUICE_SEC(100), false);
			why = wire_stop(&m->w);
		}
		free(m);
	}
	if (why != NULL)
		printf("# %s: %s\n", mx_state_name(state), why);
	if (tally.failed > MOST_PRINTED)
		printf("# %s: given up\n", mx_state_name(state));
	printf("%sok %u - %s: %lu cells, %lu failed\n",
	    tally.failed > 0 || why != NULL || tally.cells == 0 ? "not " : "", state + 1,
	    mx_state_name(state), tally.cells, tally.failed);
	return tally.failed == 0 && why == NULL && tally.cells > 0;
}

int main(int argc, char **argv)
{
	const char *want = argc == 3 ? argv[2] : NULL;
	unsigned int only = UINT32_MAX, n = 0;
	bool ok = true, found = false;
	char name[64] = "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 1 && (argc != 3 || strlen(argv[1]) != 2 || argv[1][0] != '-' ||
			     !strchr("sce", argv[1][1]))) {
		fprintf(stderr, "Usage: matrix [-s STATE | -c STATE:CELL | -e N]\n");
		return 2;
	}
	if (want != NULL && argv[1][1] == 'e') {
		every = (unsigned int)strtoul(want, NULL, 10);
		every = every == 0 ? 1 : every;
		want = NULL;
	}
	if (want != NULL) {
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(want, ":"), want);
		if (argv[1][1] == 'c' && strchr(want, ':') != NULL)
			only = (unsigned int)strtoul(strchr(want, ':') + 1, NULL, 10);
	}
	while (mx_state_name(n) != NULL)
		n++;
	if (want == NULL)
		printf("1..%u\n", n);
	for (unsigned int i = 0; i < n; i++) {
		if (want != NULL && strcmp(name, mx_state_name(i)) != 0)
			continue;
		found = true;
		ok &= run(i, only);
	}
	if (!found)
		fprintf(stderr, "matrix: no such state\n");
	return ok && found ? 0 : 1;
}
