/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What administrators ask of a stack through sockets: TCP_INFO, the interfaces, and the end of
 * connections that fit a pattern. All of it is read, or done, on the squeues, a bounded piece at a
 * time: a walk over a million connections must not hold up those that are busy.
 */
#include <errno.h>
#include <string.h>

#include <sock/sock_int.h>

/* ---- TCP_INFO ---- */

/* enum of linux/tcp.h and include/net/tcp_states.h, which are an ABI. */
static const uint8_t linux_state[SLUICE_NSTATES] = {
    [SLUICE_CLOSED] = 7,
    [SLUICE_IDLE] = 7,
    [SLUICE_BOUND] = 7,
    [SLUICE_LISTEN] = 10,
    [SLUICE_SYN_SENT] = 2,
    [SLUICE_SYN_RCVD] = 3,
    [SLUICE_ESTABLISHED] = 1,
    [SLUICE_CLOSE_WAIT] = 8,
    [SLUICE_FIN_WAIT_1] = 4,
    [SLUICE_CLOSING] = 11,
    [SLUICE_LAST_ACK] = 9,
    [SLUICE_FIN_WAIT_2] = 5,
    [SLUICE_TIME_WAIT] = 6,
};

enum {
	OPT_TIMESTAMPS = 1,
	OPT_SACK = 2,
	OPT_WSCALE = 4
};
enum {
	CA_OPEN = 0,
	CA_DISORDER = 1,
	CA_RECOVERY = 3,
	CA_LOSS = 4
};

static uint32_t since_ms(const struct sluice_squeue *sq, uint64_t at)
{
	return at == 0 || at > sq->now ? 0 : (uint32_t)((sq->now - at) / 1000000);
}

/* Bytes as segments: Linux counts those. */
static uint32_t in_segs(const struct sl_conn *c, uint32_t bytes)
{
	return c->mss == 0 ? 0 : (bytes + c->mss - 1) / c->mss;
}

static void info_sender(
    const struct sluice_squeue *sq, const struct sl_conn *c, struct sluice_tcp_info *i)
{
	uint32_t flight = sl_flight(c);

	i->ca_state = c->flags & SL_C_RTO_RECOVERY ? CA_LOSS
		      : c->flags & SL_C_RECOVERY   ? CA_RECOVERY
		      : c->dupacks > 0             ? CA_DISORDER
						   : CA_OPEN;
	i->retransmits = i->backoff = c->rtx_shift;
	i->rto = (uint32_t)(sl_rto(sq, c) / 1000);
	i->snd_mss = c->mss;
	i->unacked = in_segs(c, flight);
	i->sacked = in_segs(c, c->pipe_sacked);
	i->lost = in_segs(c, c->pipe_lost);
	i->rtt = (uint32_t)(c->srtt / 1000);
	i->rttvar = (uint32_t)(c->srtt != 0 ? c->rttvar / 1000 : 0);
	i->snd_ssthresh = c->cc.ssthresh == UINT32_MAX ? INT32_MAX : in_segs(c, c->cc.ssthresh);
	i->snd_cwnd = in_segs(c, c->cc.cwnd);
	i->reordering = 3;
	i->total_retrans = c->retrans;
	i->notsent_bytes = c->sndq_bytes - RTE_MIN(c->sndq_bytes, flight);
	i->bytes_sent = c->bytes_out;
	i->bytes_acked = c->bytes_out - RTE_MIN(c->bytes_out, (uint64_t)flight);
	i->delivered = in_segs(c, (uint32_t)c->delivered);
	i->snd_wnd = c->snd_wnd;
	i->last_data_sent = since_ms(sq, c->last_snd);
	i->pacing_rate = i->max_pacing_rate = UINT64_MAX; /* Linux's "not paced" */
}

void sl_sock_tcp_info(
    const struct sluice_squeue *sq, const struct sl_conn *c, struct sluice_tcp_info *i)
{
	memset(i, 0, sizeof(*i));
	i->state = linux_state[c->state];
	i->options = (uint8_t)((c->flags & SL_C_TS ? OPT_TIMESTAMPS : 0) |
			       (c->flags & SL_C_SACK ? OPT_SACK : 0) |
			       (c->flags & SL_C_WSCALE ? OPT_WSCALE : 0));
	i->snd_wscale = c->snd_wscale;
	i->rcv_wscale = c->rcv_wscale;
	i->probes = c->keep_probes;
	if (c->state == SLUICE_LISTEN) { /* Linux: accept queue and its limit */
		i->unacked = atomic_load_explicit(&c->group->pending, memory_order_relaxed);
		i->sacked = atomic_load_explicit(&c->group->backlog, memory_order_relaxed);
		return;
	}
	if (c->state < SLUICE_SYN_SENT && c->bytes_in + c->segs_in == 0)
		return;
	info_sender(sq, c, i);
	i->ato = (uint32_t)(SL_CONN_TUN(sq, c, tcp_delack, delack) / 1000);
	i->rcv_mss = i->advmss = c->mss;
	i->pmtu = c->flow.mtu;
	i->rcv_ssthresh = c->rcvbuf;
	i->rcv_space = c->rcvbuf;
	i->last_data_recv = i->last_ack_recv = since_ms(sq, c->last_rcv);
	i->bytes_received = c->bytes_in;
	i->segs_out = c->segs_out;
	i->segs_in = c->segs_in;
	i->rcv_ooopack = in_segs(c, sl_rcv_ooo_bytes(c));
}

/* ---- interfaces ---- */

/* a[0]: rows, a[1]: how many there is room for. */
int64_t sl_sock_ifs(struct sluice_squeue *sq, const struct sluice_args *a)
{
	struct sl_if_report *out = (struct sl_if_report *)(uintptr_t)a->a[0];
	const struct sl_cfg *cfg = sl_ip_cfg(sq);
	uint32_t n = 0;

	for (uint32_t i = 0; i < cfg->nifs; i++) {
		const struct sl_cfg_if *f = &cfg->ifs[i];
		struct sl_if_report *r = &out[n];

		if (!f->used)
			continue;
		if (n++ >= a->a[1])
			continue;
		*r = (struct sl_if_report){.index = (uint16_t)(i + 1),
		    .mtu = f->mtu,
		    .l3 = f->l3,
		    .up = f->port != SL_IP_PORT_NONE};
		memcpy(r->name, f->name, sizeof(r->name));
		memcpy(r->mac, f->mac, sizeof(r->mac));
		for (uint32_t k = 0; k < cfg->naddrs && r->addr4 == 0; k++) {
			const struct sl_cfg_addr *x = &cfg->addrs[k];

			if (x->ifidx != i || !sl_addr_is4(&x->addr))
				continue;
			r->addr4 = x->addr.w[3];
			r->mask4 = x->plen <= 96 ? 0 : htonl(UINT32_MAX << (128 - x->plen));
		}
	}
	return n;
}

int sl_sock_interfaces(struct sluice_stack *st, struct sl_if_report *out, unsigned int n)
{
	struct sluice_args args = {{(uintptr_t)out, n}};
	unsigned int sq = 0;

	for (unsigned int i = 0; i < st->nsq; i++)
		if (sl_on_squeue(st->sq[i]))
			sq = i;
	return (int)sl_synch_call(st, sq, SL_OP_IFS, SLUICE_CONN_NONE, &args);
}

/* ---- administrative abort ---- */

static bool prefix_fits(const struct sluice_addr *a, const struct sluice_addr *p, unsigned int plen)
{
	unsigned int whole = plen / 8, rest = plen % 8;

	if (memcmp(a->b, p->b, whole) != 0)
		return false;
	return rest == 0 || ((a->b[whole] ^ p->b[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

static bool fits(const struct sluice_conn_pattern *p, const struct sl_key *k, enum sluice_state s)
{
	struct sluice_addr l = sl_addr_zoned(k->laddr, 0), r = sl_addr_zoned(k->raddr, 0);

	return s >= p->min_state && s <= p->max_state &&
	       (p->vrf == SLUICE_ANY_VRF || p->vrf == k->vrf) &&
	       (p->local_port == 0 || htons(p->local_port) == k->lport) &&
	       (p->remote_port == 0 || htons(p->remote_port) == k->rport) &&
	       prefix_fits(&l, &p->local, p->local_plen) &&
	       prefix_fits(&r, &p->remote, p->remote_plen);
}

#define SOME 1024 /* slots looked at in one entry */

/* 1 when it fitted. */
static uint32_t abort_one(
    struct sluice_squeue *sq, const struct sluice_conn_pattern *p, struct sl_conn *c)
{
	if (c->state < SLUICE_SYN_SENT || !fits(p, &c->key, (enum sluice_state)c->state))
		return 0;
	if (c->state != SLUICE_SYN_SENT && c->state != SLUICE_TIME_WAIT)
		(void)sl_output_ctl(sq, c, sl_rst_seq(c), SL_TH_RST | SL_TH_ACK);
	SL_COUNT(sq, tcp_admin_aborts);
	sl_conn_drop(sq, c, ECONNABORTED);
	return 1;
}

/* Slots from `at` on; returns the next one to look at, 0: that was the last. */
static uint32_t abort_conns(
    struct sluice_squeue *sq, const struct sluice_conn_pattern *p, uint32_t at, uint32_t *aborted)
{
	struct sl_tcp *t = sl_tcp_of(sq);

	for (unsigned int n = 0; n < SOME; n++) {
		struct sl_conn *c;

		at = sl_slab_next(&t->conns, at);
		if (at == 0)
			return 0;
		c = sl_slab_get(&t->conns, at);
		/* One that lives elsewhere is found there, among the guests. */
		if (sl_door_owner(c->door) == sq->id)
			*aborted += abort_one(sq, p, c);
	}
	return at;
}

/* Those that were born elsewhere: all at once, there are few. */
static uint32_t abort_guests(struct sluice_squeue *sq, const struct sluice_conn_pattern *p)
{
	struct sl_conn *next;
	uint32_t n = 0;

	for (struct sl_conn *c = sl_tcp_of(sq)->guests; c != NULL; c = next) {
		next = c->door->transit->guest_next;
		n += abort_one(sq, p, c);
	}
	return n;
}

/* Half-open and TIME_WAIT entries: compact, and bounded by their tunables. */
static uint32_t abort_compact(struct sluice_squeue *sq, const struct sluice_conn_pattern *p)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	struct sl_half *h, *hnext;
	struct sl_tw *w, *wnext;
	uint32_t n = 0;

	for (h = t->half_head; h != NULL; h = hnext) {
		hnext = h->next;
		if (!fits(p, &h->key, SLUICE_SYN_RCVD))
			continue;
		SL_COUNT(sq, tcp_halfopen_drop);
		sl_half_free(sq, h);
		n++;
	}
	for (w = t->tw_head; w != NULL; w = wnext) {
		wnext = w->next;
		if (!fits(p, &w->key, SLUICE_TIME_WAIT))
			continue;
		sl_tw_free(sq, w);
		n++;
	}
	SL_COUNT_N(sq, tcp_admin_aborts, n);
	return n;
}

/* a[0]: pattern, a[1]: where to begin. Returns next << 32 | how many. */
int64_t sl_sock_abort_some(struct sluice_squeue *sq, const struct sluice_args *a)
{
	const struct sluice_conn_pattern *p =
	    (const struct sluice_conn_pattern *)(uintptr_t)a->a[0];
	uint32_t aborted = 0, next = abort_conns(sq, p, (uint32_t)a->a[1], &aborted);

	if (next == 0)
		aborted += abort_guests(sq, p) + abort_compact(sq, p);
	return (int64_t)((uint64_t)next << 32 | aborted);
}

int64_t sluice_abort_matching(struct sluice_stack *st, const struct sluice_conn_pattern *p)
{
	int64_t total = 0, rc;

	if (p->size != sizeof(*p) || p->local_plen > 128 || p->remote_plen > 128)
		return -EINVAL;
	for (unsigned int i = 0; i < st->nsq; i++) {
		struct sluice_args args = {{(uintptr_t)p, 0}};

		do {
			rc = sl_synch_call(st, i, SL_OP_ABORT_SOME, SLUICE_CONN_NONE, &args);
			if (rc < 0)
				return rc;
			total += (uint32_t)rc;
			args.a[1] = (uint64_t)rc >> 32;
		} while (args.a[1] != 0);
	}
	return total;
}
