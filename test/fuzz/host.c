/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See host.h. The port checks each frame that it is given (sent.h) and notes where each peer's
 * streams stand.
 */
#include "host.h"

#include <errno.h>
#include <sched.h>

#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_log.h>
#include <rte_tcp.h>

#include <tcp/tcp_int.h>

#include "sent.h"

uint64_t fuzz_input_number;

const uint8_t syn_opts[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};

static uint64_t edges[SLUICE_NSTATES][SLUICE_NSTATES];
static uint64_t reassembled;

/* ---- the input ---- */

uint8_t u8(struct fuzz *f)
{
	return f->p < f->end ? *f->p++ : 0;
}

uint16_t u16(struct fuzz *f)
{
	uint16_t v = u8(f);

	return (uint16_t)(v << 8 | u8(f));
}

int32_t delta(struct fuzz *f)
{
	uint8_t b = u8(f);
	uint32_t v;

	if (b < 0x80)
		return (b & 0x40) != 0 ? b - 0x80 : b;
	if (b < 0xe0)
		return (int16_t)u16(f);
	v = (uint32_t)u16(f) << 16;
	return (int32_t)(v | u16(f));
}

/* ---- the port ---- */

static void seen(void *arg, struct rte_mbuf *m)
{
	struct fuzz *f = arg;
	struct sent t;

	if (!fuzz_sent(m, &t))
		return;
	for (unsigned int i = 0; i < NPEERS; i++) {
		struct peer *r = &f->peer[i];

		if (r->v6 != t.v6 || r->rport != t.dport || (r->lport != 0 && r->lport != t.sport))
			continue;
		r->lport = t.sport;
		r->rcv = t.seq + t.len + ((t.flags & F_SYN) != 0) + ((t.flags & F_FIN) != 0);
		if (t.flags & F_ACK)
			r->snd = t.ack;
		if (t.ts && !(t.flags & F_SYN))
			r->tsecr = rte_cpu_to_be_32(t.tsval);
		break;
	}
}

/* ---- the application: upcalls that do what behave says ---- */

static void end_it(struct fuzz *f, sluice_conn_t c, unsigned int bit)
{
	if (f->behave & bit)
		(void)((f->behave & 0x80) ? sluice_abort(f->st, c) : sluice_close(f->st, c));
}

static int on_newconn(void *arg, sluice_conn_t l, sluice_conn_t eager, void **up_arg,
    const struct sluice_upcalls **up)
{
	struct fuzz *f = arg;
	struct sockaddr_in6 a; /* the port lies where sockaddr_in has it */
	socklen_t len = sizeof(a);

	f->last_eager = eager;
	if (sluice_getpeername(f->st, eager, (struct sockaddr *)&a, &len) == 0) {
		unsigned int i = rte_be_to_cpu_16(a.sin6_port) - 1000u;

		if (i < NPEERS && f->peer[i].c == SLUICE_CONN_NONE)
			f->peer[i].c = eager;
	}
	(void)sluice_accept(f->st, l, eager);
	if ((f->behave & 0xc1) == 0xc1)
		return -ECONNREFUSED;
	return 0;
}

static int on_recv(void *arg, sluice_conn_t c, size_t avail, bool push)
{
	struct fuzz *f = arg;
	struct rte_mbuf *m = NULL;
	ssize_t n = sluice_readable(f->st, c);

	FUZZ_MUST(n >= 0 && (size_t)n == avail);
	if (++f->calls % 16 == 0)
		end_it(f, c, 1);
	switch (f->behave >> 1 & 7) {
	case 0: /* reads all */
		FUZZ_MUST(sluice_consume(f->st, c, avail) == 0);
		break;
	case 1: /* echoes */
		n = sluice_take(f->st, c, avail, &m);
		if (n > 0 && sluice_send(f->st, c, m, 0) != 0)
			rte_pktmbuf_free(m);
		break;
	case 2: /* to itself */
		(void)sluice_splice(f->st, c, c, avail);
		break;
	case 3: /* leaves it */
		break;
	case 4:
		FUZZ_MUST(sluice_consume(f->st, c, avail + 1) == -EINVAL);
		FUZZ_MUST(sluice_consume(f->st, c, avail / 2 + 1) == 0);
		break;
	case 5: /* to another */
		(void)sluice_splice(f->st, c, f->last_eager, avail);
		break;
	case 6: /* has no room */
		n = sluice_take(f->st, c, 1 + avail / 3, &m);
		rte_pktmbuf_free(m);
		return -ENOSPC;
	default:
		(void)sluice_send_copy(f->st, c, f->frame, sizeof(f->frame), 0);
		(void)sluice_consume(f->st, c, 1);
		break;
	}
	return 0;
}

static void on_connected(void *arg, sluice_conn_t c, uint32_t connid)
{
	end_it(arg, c, 0x10);
}

static void on_disconnected(void *arg, sluice_conn_t c, int err)
{
	(void)sluice_close(((struct fuzz *)arg)->st, c);
}

static void on_opctl(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value)
{
	if (op == SLUICE_OPCTL_SHUT_RECV)
		end_it(arg, c, 0x20);
}

static void on_full(void *arg, sluice_conn_t c, bool full)
{
	struct fuzz *f = arg;

	if (!full)
		(void)sluice_send_copy(f->st, c, f->frame, 700, 0);
	end_it(f, c, 0x40);
}

static void on_oob(void *arg, sluice_conn_t c, size_t mark)
{
	struct fuzz *f = arg;

	(void)sluice_consume(f->st, c, mark);
}

static void on_closed(void *arg, sluice_conn_t c)
{
	struct fuzz *f = arg;

	(void)sluice_close(f->st, c);
	(void)sluice_abort(f->st, c);
	for (unsigned int i = 0; i < NPEERS; i++)
		if (f->peer[i].c == c)
			f->peer[i].c = SLUICE_CONN_NONE;
}

static const struct sluice_upcalls ups = {.size = sizeof(ups),
    .newconn = on_newconn,
    .connected = on_connected,
    .disconnected = on_disconnected,
    .opctl = on_opctl,
    .recv = on_recv,
    .txq_full = on_full,
    .signal_oob = on_oob,
    .closed = on_closed};

/* ---- frames ---- */

/* No frame goes without a trace: one counter says what became of it, as far as the IP layer. */
static void hand_in(struct fuzz *f)
{
	struct sluice_counters a, b;
	uint64_t n, most;
	unsigned int back;

	if (f->nheld == 0)
		return;
	sluice_counters_get(f->sq, &a);
	back = sluice_input(f->sq, 0, f->held, f->nheld, f->now);
	for (unsigned int i = 0; i < back; i++)
		rte_pktmbuf_free(f->held[i]);
	sluice_counters_get(f->sq, &b);
#define D(name) (b.name - a.name)
	n = D(eth_in_runt) + D(eth_in_vlan_unknown) + D(eth_in_type_unknown) + D(eth_in_not_ours) +
	    D(eth_in_passed) + D(arp_in) + D(ip_in_no_vrf) + D(ip_in_hdr_errors) +
	    D(ip_in_bad_cksum) + D(ip_in_bad_src) + D(ip_in_not_local) + D(ip_in_ext_bad) +
	    D(ip_in_proto_unknown) + D(icmp_in) + D(tcp_in_segs) + D(tcp_in_hdr_errors) +
	    D(tcp_in_bad_cksum);
	/* A fragment is kept, dropped, or makes a packet, which becomes one of these things. */
	n += D(ip_frag_in) - D(ip_frag_ok);
	/* TCP refuses a broadcast source by the IP layer's counter, a bad header by its own. */
	most = f->nheld + (D(tcp_in_segs) != 0 ? D(ip_in_bad_src) + D(tcp_in_hdr_errors) : 0);
	FUZZ_MUST(n >= f->nheld && n <= most);
#undef D
	f->nheld = 0;
}

void give(struct fuzz *f, unsigned int cuts)
{
	struct rte_mbuf *m, *tail = NULL, *head = NULL;
	uint16_t at = 0, n = (uint16_t)(cuts > 0 ? f->len / (cuts + 1) : f->len);

	for (unsigned int i = 0; i <= cuts && (at < f->len || i == 0); i++) {
		if (i == cuts)
			n = (uint16_t)(f->len - at);
		m = tp_exact(f->rxpool, f->frame + at, n, 0);
		FUZZ_MUST(m != NULL);
		at = (uint16_t)(at + n);
		if (head == NULL) {
			head = m;
		} else {
			tail->next = m;
			head->nb_segs++;
			head->pkt_len += n;
		}
		tail = m;
	}
	f->held[f->nheld++] = head;
	if (!f->hold || f->nheld == MAX_HELD)
		hand_in(f);
}

void poll_some(struct fuzz *f)
{
	hand_in(f);
	for (unsigned int i = 0; i < 64; i++) {
		int rc = sluice_squeue_poll(f->sq, f->now, 0);

		FUZZ_MUST(rc >= 0);
		if (rc == 0)
			break;
	}
}

void fix(struct fuzz *f)
{
	struct rte_ipv4_hdr *ip4 = (struct rte_ipv4_hdr *)(f->frame + 14);
	struct rte_ipv6_hdr *ip6 = (struct rte_ipv6_hdr *)(f->frame + 14);
	uint16_t type = (uint16_t)(f->frame[12] << 8 | f->frame[13]), l4, *cksum, off;
	uint8_t proto;

	if (type == RTE_ETHER_TYPE_IPV4 && f->len >= 34) {
		l4 = (uint16_t)((ip4->version_ihl & 15) * 4);
		if (l4 < 20 || 14 + l4 > f->len)
			return;
		ip4->hdr_checksum = 0;
		ip4->hdr_checksum = (uint16_t)~rte_raw_cksum(ip4, l4);
		proto = ip4->next_proto_id;
		if (rte_be_to_cpu_16(ip4->total_length) + 14 != f->len)
			return;
	} else if (type == RTE_ETHER_TYPE_IPV6 && f->len >= 54) {
		l4 = 40;
		proto = ip6->proto;
		if (rte_be_to_cpu_16(ip6->payload_len) + 54 != f->len)
			return;
	} else {
		return;
	}
	off = (uint16_t)(proto == IPPROTO_TCP ? 16 : 2);
	if (f->len < 14 + l4 + off + 2 ||
	    (proto != IPPROTO_TCP && proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6))
		return;
	cksum = (uint16_t *)(f->frame + 14 + l4 + off);
	*cksum = 0;
	if (proto == IPPROTO_ICMP)
		*cksum = (uint16_t)~rte_raw_cksum(f->frame + 14 + l4, f->len - 14u - l4);
	else
		*cksum = type == RTE_ETHER_TYPE_IPV4
			     ? rte_ipv4_udptcp_cksum(ip4, f->frame + 14 + l4)
			     : rte_ipv6_udptcp_cksum(ip6, f->frame + 14 + l4);
}

uint8_t *ip_hdr(struct fuzz *f, bool v6, uint8_t proto, uint16_t len)
{
	static const uint8_t eth[12] = {OUR_MAC, HER_MAC};
	uint8_t *p = f->frame;

	memcpy(p, eth, 12);
	memset(p + 12, 0, 42);
	if (v6) {
		p[12] = 0x86, p[13] = 0xdd, p[14] = 0x60;
		p[18] = (uint8_t)(len >> 8), p[19] = (uint8_t)len;
		p[20] = proto, p[21] = 255;
		p[22] = 0xfd, p[37] = 2;
		p[38] = 0xfd, p[53] = 1;
		f->len = (uint16_t)(54 + len);
		return p + 54;
	}
	p[12] = 8, p[14] = 0x45, p[23] = proto, p[22] = 64;
	p[16] = (uint8_t)((len + 20) >> 8), p[17] = (uint8_t)(len + 20);
	p[26] = 10, p[29] = 2;
	p[30] = 10, p[33] = 1;
	f->len = (uint16_t)(34 + len);
	return p + 34;
}

uint8_t *segment(struct fuzz *f, const struct peer *r, uint8_t flags, uint32_t seq, uint32_t ack,
    uint16_t win, const uint8_t *opts, uint8_t optlen, uint16_t len)
{
	uint8_t *t = ip_hdr(f, r->v6, IPPROTO_TCP, (uint16_t)(20 + optlen + len));
	struct rte_tcp_hdr *h = (struct rte_tcp_hdr *)t;

	*h = (struct rte_tcp_hdr){.src_port = rte_cpu_to_be_16(r->rport),
	    .dst_port = rte_cpu_to_be_16(r->lport),
	    .sent_seq = rte_cpu_to_be_32(seq),
	    .recv_ack = rte_cpu_to_be_32(ack),
	    .data_off = (uint8_t)((20 + optlen) / 4 << 4),
	    .tcp_flags = flags,
	    .rx_win = rte_cpu_to_be_16(win)};
	memcpy(t + 20, opts, optlen);
	for (uint16_t i = 0; i < len; i++)
		t[20 + optlen + i] = (uint8_t)(seq + i);
	fix(f);
	return t;
}

uint8_t options(struct fuzz *f, const struct peer *r, uint8_t what, uint8_t o[40])
{
	uint32_t ms = rte_cpu_to_be_32((uint32_t)(f->now / 1000000)), a, b;
	uint8_t n = 0, blocks;

	if (what & 1) {
		memcpy(o, "\1\1\10\12", 4);
		memcpy(o + 4, &ms, 4);
		memcpy(o + 8, &r->tsecr, 4);
		n = 12;
	}
	if (what & 2) {
		blocks = (uint8_t)(1 + (what >> 4) % 3);
		memcpy(o + n, "\1\1\5", 3);
		o[n + 3] = (uint8_t)(2 + 8 * blocks);
		n = (uint8_t)(n + 4);
		for (; blocks > 0; blocks--, n = (uint8_t)(n + 8)) {
			a = r->rcv - (uint32_t)delta(f);
			b = a + (uint32_t)delta(f);
			a = rte_cpu_to_be_32(a), b = rte_cpu_to_be_32(b);
			memcpy(o + n, &a, 4);
			memcpy(o + n + 4, &b, 4);
		}
	}
	if (what & 4) { /* any */
		uint8_t k = (uint8_t)(4 * (1 + (what >> 6)));

		for (; k > 0 && n < 40; k--)
			o[n++] = u8(f);
	}
	return n;
}

/* ---- calls ---- */

void connect_peer(struct fuzz *f, struct peer *r)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET,
	    .sin_port = rte_cpu_to_be_16(r->rport),
	    .sin_addr.s_addr = htonl(0x0a000002)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = rte_cpu_to_be_16(r->rport)};

	a6.sin6_addr.s6_addr[0] = 0xfd;
	a6.sin6_addr.s6_addr[15] = 2;
	if (r->c != SLUICE_CONN_NONE ||
	    sluice_create(f->st, r->v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0, 0, 0, &r->c) != 0)
		return;
	FUZZ_MUST(sluice_activate(f->st, r->c, &ups, f) == 0);
	r->lport = 0;
	(void)sluice_connect(f->st, r->c,
	    r->v6 ? (const struct sockaddr *)&a6 : (const struct sockaddr *)&a4,
	    r->v6 ? sizeof(a6) : sizeof(a4), NULL);
}

/* ---- life ---- */

static void set_up_stack(struct fuzz *f, uint8_t limits)
{
	static const uint8_t her_mac[6] = {HER_MAC};
	struct sluice_if_params ifp = {
	    .size = sizeof(ifp), .name = "e0", .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}};
	struct sluice_tunables tun;
	struct sluice_stack_params sp = {.size = sizeof(sp),
	    .name = "fuzz",
	    .nsqueues = 1,
	    .max_connections = 16,
	    .hdr_pool = f->pool,
	    .seed = 7,
	    .tunables = &tun};
	struct sluice_txn *txn;

	sluice_tunables_default(&tun);
	tun.ip_dad_probes = 0;
	tun.sq_call_slots = 16;
	if (limits & 1)
		tun.tcp_rec_max = 64;
	if (limits & 2)
		tun.tcp_ooo_max = 1;
	if (limits & 4)
		tun.tcp_sndbuf = 2048, tun.tcp_rcvbuf = 2048;
	if (limits & 8)
		tun.tcp_time_wait_max = 1;
	if (limits & 16)
		tun.ip_neigh_max = 16, tun.tcp_delack = 0;
	if (limits & 32)
		tun.tcp_cc = 0, tun.tcp_copy_below = 0;
	if (limits & 64)
		tun.ip_frag_max = 1, tun.tcp_backlog_q0 = 1;
	FUZZ_MUST(sluice_stack_create(&sp, &f->st, NULL) == 0);
	f->port = (struct sink){.info = {.caps = SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT,
				    .mtu = 1500,
				    .mac = {OUR_MAC}},
	    .took = seen,
	    .arg = f};
	FUZZ_MUST(sluice_port_add(f->st, sink_driver(&f->port)) == 0);
	FUZZ_MUST(sluice_txn_begin(f->st, &txn) == 0);
	FUZZ_MUST(sluice_if_add(txn, &ifp) == 0);
	FUZZ_MUST(sluice_addr_add(txn, "e0", "10.0.0.1/24", false) == 0);
	FUZZ_MUST(sluice_addr_add(txn, "e0", "fd00::1/64", false) == 0);
	FUZZ_MUST(sluice_neigh_add(txn, "e0", "10.0.0.2", her_mac) == 0);
	FUZZ_MUST(sluice_neigh_add(txn, "e0", "fd00::2", her_mac) == 0);
	FUZZ_MUST(sluice_txn_commit(txn, NULL) == 0);
	f->sq = sluice_squeue(f->st, 0);
	poll_some(f);
}

static void listen_on(struct fuzz *f, unsigned int i, int backlog)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(81)};
	const struct sockaddr *sa = i ? (const struct sockaddr *)&a6 : (const struct sockaddr *)&a4;

	FUZZ_MUST(sluice_create(f->st, sa->sa_family, SOCK_STREAM, 0, 0, 0, &f->listener[i]) == 0);
	FUZZ_MUST(sluice_activate(f->st, f->listener[i], &ups, f) == 0);
	FUZZ_MUST(sluice_bind(f->st, f->listener[i], sa, i ? sizeof(a6) : sizeof(a4)) == 0);
	FUZZ_MUST(sluice_listen(f->st, f->listener[i], backlog) == 0);
}

/* A segment of the peer's, at its place in both streams. */
static void say(
    struct fuzz *f, struct peer *r, uint8_t flags, uint32_t seq, uint16_t win, uint16_t len)
{
	uint8_t o[40], n = flags & F_SYN ? sizeof(syn_opts) : options(f, r, r->ts, o);

	if (flags & F_SYN)
		memcpy(o, syn_opts, n);
	(void)segment(f, r, flags, seq, flags & F_ACK ? r->rcv : 0, win, o, r->ts ? n : 0, len);
	give(f, 0);
	poll_some(f);
}

static void fin(struct fuzz *f, struct peer *r)
{
	say(f, r, F_ACK | F_FIN, r->snd, 60000, 0);
}

static void shut(struct fuzz *f, struct peer *r, bool close)
{
	if (close)
		FUZZ_MUST(sluice_close(f->st, r->c) == 0);
	else
		FUZZ_MUST(sluice_shutdown(f->st, r->c, SHUT_WR) == 0);
	poll_some(f);
}

/* The handshake, as far as `at` wants it. True: established. */
static bool open_peer(struct fuzz *f, struct peer *r, enum place at, bool active)
{
	if (active || at == AT_SYN_SENT || at == AT_SYN_RCVD) {
		connect_peer(f, r);
		poll_some(f);
		if (at == AT_SYN_SENT)
			return false;
		say(f, r, at == AT_SYN_RCVD ? F_SYN : F_SYN | F_ACK, 5000, 60000, 0);
		return at != AT_SYN_RCVD;
	}
	say(f, r, F_SYN, 5000, 60000, 0);
	if (at == AT_HALF_OPEN)
		return false;
	say(f, r, F_ACK, r->snd, 60000, 0);
	return r->c != SLUICE_CONN_NONE;
}

void fuzz_peer(struct fuzz *f, unsigned int i, uint8_t how)
{
	enum place at = how & PEER_PLACE;
	struct peer *r = &f->peer[i];
	uint32_t ours;

	*r = (struct peer){.v6 = (how & PEER_V6) != 0,
	    .ts = !(how & PEER_PLAIN),
	    .rport = (uint16_t)(1000 + i),
	    .lport = how & PEER_V6 ? 81 : 80,
	    .snd = 5000};
	if (at == AT_NOTHING || !open_peer(f, r, at, how & PEER_ACTIVE))
		return;
	switch (at) {
	case AT_FIN_WAIT_1:
		shut(f, r, how & PEER_ACTIVE);
		break;
	case AT_FIN_WAIT_2:
	case AT_FIN_WAIT_2_OPEN:
		shut(f, r, at == AT_FIN_WAIT_2);
		say(f, r, F_ACK, r->snd, 60000, 0);
		break;
	case AT_CLOSING:
		ours = r->rcv;
		shut(f, r, how & PEER_ACTIVE);
		r->rcv = ours; /* the FINs crossed */
		fin(f, r);
		break;
	case AT_TIME_WAIT:
	case AT_TIME_WAIT_HELD:
		shut(f, r, at == AT_TIME_WAIT);
		fin(f, r);
		break;
	case AT_CLOSE_WAIT:
		fin(f, r);
		break;
	case AT_LAST_ACK:
		fin(f, r);
		shut(f, r, true);
		break;
	case AT_IN_FLIGHT:
		FUZZ_MUST(sluice_send_copy(f->st, r->c, f->frame, 2000, 0) != 0);
		FUZZ_MUST(sluice_send_copy(f->st, r->c, f->frame, 2000, 0) != 0);
		poll_some(f);
		break;
	case AT_GAP:
		say(f, r, F_ACK, r->snd + 100, 60000, 100);
		say(f, r, F_ACK, r->snd + 400, 60000, 50);
		break;
	case AT_SHUT_WINDOW:
		say(f, r, F_ACK, r->snd, 0, 0);
		FUZZ_MUST(sluice_send_copy(f->st, r->c, f->frame, 1000, 0) != 0);
		poll_some(f);
		break;
	default:
		break;
	}
}

/* Reassembly has its tables in EAL memory. EAL pins the thread that starts it: undone, for several
 * fuzzers run at a time. */
static void start_eal(void)
{
	char *argv[] = {(char[]){"fuzz"}, (char[]){"--no-huge"}, (char[]){"--no-shconf"},
	    (char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"-m"}, (char[]){"64"},
	    (char[]){"-l"}, (char[4]){""}, (char[]){"--log-level=1"}};
	static bool started;
	cpu_set_t cpus;
	int first = 0;

	if (started)
		return;
	started = true;
	FUZZ_MUST(sched_getaffinity(0, sizeof(cpus), &cpus) == 0);
	while (!CPU_ISSET(first, &cpus))
		first++;
	snprintf(argv[8], 4, "%d", RTE_MIN(first, 127));
	FUZZ_MUST(rte_eal_init(RTE_DIM(argv), argv) >= 0);
	FUZZ_MUST(sched_setaffinity(0, sizeof(cpus), &cpus) == 0);
	rte_log_set_global_level(RTE_LOG_EMERG);
}

void fuzz_start(struct fuzz *f, const uint8_t *data, size_t size, uint8_t limits)
{
	start_eal();
	*f = (struct fuzz){.now = SLUICE_SEC(1)}; /* set-up takes nothing from the input */
	f->pool = tp_create(2048, 0);
	f->rxpool = tp_create(2048, 0);
	FUZZ_MUST(f->pool != NULL && f->rxpool != NULL);
	set_up_stack(f, limits);
	listen_on(f, 0, limits & 128 ? 1 : 16);
	listen_on(f, 1, limits & 128 ? 1 : 16);
	for (unsigned int i = 0; i < NPEERS; i++)
		fuzz_peer(f, i, AT_NOTHING);
	f->p = data;
	f->end = data + size;
}

/* RFC 9293 figure 5, with the user's calls and time-outs that lead to CLOSED from anywhere. */
static const uint16_t legal[SLUICE_NSTATES] = {
#define TO(x) (1u << SLUICE_##x)
    [SLUICE_CLOSED] = TO(IDLE) | TO(BOUND) | TO(LISTEN) | TO(SYN_SENT),
    [SLUICE_IDLE] = TO(CLOSED) | TO(BOUND) | TO(LISTEN) | TO(SYN_SENT),
    [SLUICE_BOUND] = TO(CLOSED) | TO(IDLE) | TO(LISTEN) | TO(SYN_SENT),
    [SLUICE_LISTEN] = TO(CLOSED) | TO(SYN_RCVD),
    [SLUICE_SYN_SENT] = TO(CLOSED) | TO(SYN_RCVD) | TO(ESTABLISHED) | TO(FIN_WAIT_1),
    [SLUICE_SYN_RCVD] = TO(CLOSED) | TO(LISTEN) | TO(ESTABLISHED) | TO(FIN_WAIT_1),
    [SLUICE_ESTABLISHED] = TO(CLOSED) | TO(CLOSE_WAIT) | TO(FIN_WAIT_1),
    [SLUICE_CLOSE_WAIT] = TO(CLOSED) | TO(LAST_ACK),
    [SLUICE_FIN_WAIT_1] = TO(CLOSED) | TO(FIN_WAIT_2) | TO(CLOSING) | TO(TIME_WAIT),
    [SLUICE_FIN_WAIT_2] = TO(CLOSED) | TO(TIME_WAIT),
    [SLUICE_CLOSING] = TO(CLOSED) | TO(TIME_WAIT),
    [SLUICE_LAST_ACK] = TO(CLOSED),
    [SLUICE_TIME_WAIT] = TO(CLOSED)
#undef TO
};

static void add_edges(const struct sl_tcp *t)
{
	for (unsigned int from = 0; from < SLUICE_NSTATES; from++)
		for (unsigned int to = 0; to < SLUICE_NSTATES; to++) {
			edges[from][to] += t->edge[from][to];
			FUZZ_MUST(t->edge[from][to] == 0 || (legal[from] >> to & 1));
		}
}

void fuzz_stop(struct fuzz *f)
{
	struct sluice_leaks l = {.size = sizeof(l)};
	struct sluice_counters ctr;

	f->port.stuck = false;
	tp_fail_nth(f->pool, 0);
	poll_some(f);
	add_edges(sl_tcp_of(f->sq));
	sluice_counters_get(f->sq, &ctr);
	reassembled += ctr.ip_frag_ok;
	FUZZ_MUST(sluice_squeue_release(f->sq) == 0);
	FUZZ_MUST(sluice_stack_destroy(f->st, &l) == 0);
	FUZZ_MUST(l.records == 0 && l.timers == 0);
	FUZZ_MUST(tp_out(f->pool) == 0 && tp_out(f->rxpool) == 0);
	tp_destroy(f->pool);
	tp_destroy(f->rxpool);
}

bool fuzz_states(void)
{
	unsigned int taken = 0;
	bool all = true;

	printf("states entered:");
	for (unsigned int to = 0; to < SLUICE_NSTATES; to++) {
		uint64_t n = 0;

		for (unsigned int from = 0; from < SLUICE_NSTATES; from++) {
			n += edges[from][to];
			taken += edges[from][to] != 0;
		}
		if (to < SLUICE_SYN_SENT) /* where all begins */
			continue;
		printf(" %s %llu", sluice_state_name((enum sluice_state)to), (unsigned long long)n);
		all &= n > 0;
	}
	printf(
	    "; %u transitions; %llu packets reassembled\n", taken, (unsigned long long)reassembled);
	return all;
}

bool fuzz_reassembled(void)
{
	return reassembled > 0;
}
