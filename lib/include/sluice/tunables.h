/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one table of tunables: struct, parser, checks, telemetry and documentation follow it.
 * X(field, "group.name", scope, "unit", min, max, default, "what it does"). All values are u64.
 * Scopes: S stack (fixed when the stack is made), R stack (may change at run time), L also per
 * listener and connection by option. A change reaches each squeue as an entry, between two passes.
 */
#ifndef SLUICE_TUNABLES_H
#define SLUICE_TUNABLES_H

#include <sluice/types.h>

#define SLUICE_MS(x) ((x)*1000000ull)
#define SLUICE_SEC(x) ((x)*1000000000ull)

/* clang-format off */
#define SLUICE_TUNABLES(X) \
	/* --- squeue --- */ \
	X(sq_rx_burst, "squeue.rx_burst", R, "packets", 1, 256, 32, "packets asked of a driver at once") \
	X(sq_rx_budget, "squeue.rx_budget", R, "packets", 1, 4096, 128, "packets taken from one port queue in one pass") \
	X(sq_entry_budget, "squeue.entry_budget", R, "entries", 1, 65536, 512, "entries run in one pass") \
	X(sq_output_budget, "squeue.output_budget", R, "segments", 1, 65536, 256, "segments sent in one pass") \
	X(sq_timer_budget, "squeue.timer_budget", R, "timers", 16, 1048576, 4096, "timers fired in one pass") \
	X(sq_call_slots, "squeue.call_slots", S, "slots", 16, 65536, 1024, "call slots of the stack, shared by all threads") \
	X(sq_backlog, "squeue.backlog", R, "packets", 32, 1048576, 4096, "packets kept while the squeue is handed out") \
	X(sq_hold_warn, "squeue.hold_warn", R, "ns", 1000, SLUICE_SEC(60), SLUICE_MS(10), "holds longer than this are counted and logged") \
	X(sq_spin, "squeue.spin", R, "ns", 0, SLUICE_MS(100), 20000, "how long a synchronous caller spins before it sleeps") \
	X(sq_idle_sleep, "squeue.idle_sleep", R, "ns", 1000, SLUICE_MS(100), SLUICE_MS(1), "longest sleep of an idle squeue under policy sleep, when a port cannot tell that packets come") \
	X(sq_idle_max, "squeue.idle_max", R, "ns", 1000, SLUICE_SEC(1), SLUICE_MS(100), "longest sleep of an idle squeue all of whose ports can tell (rx interrupts)") \
	X(sq_fwd_ring, "squeue.fwd_ring", S, "packets", 64, 65536, 1024, "ring between each two squeues for packets of the other") \
	X(sq_park_look, "squeue.park_look", R, "ns", 1000, SLUICE_MS(100), 50000, "how often receive queues of a parked squeue are looked at that nobody else polls") \
	X(app_timers, "squeue.app_timers", R, "timers", 0, 16777216, 65536, "application timers that may be armed at once, per squeue") \
	X(steer_follow, "steer.follow", R, "bool", 0, 1, 0, "connections from outside live where the port delivers their packets, on ports with a queue for each squeue (steering unknown or wrong)") \
	/* --- IP --- */ \
	X(ip_ttl, "ip.ttl", R, "hops", 1, 255, 64, "TTL or hop limit of packets sent") \
	X(ip_neigh_max, "ip.neigh_max", S, "entries", 16, 1048576, 4096, "neighbours per squeue") \
	X(ip_neigh_retry, "ip.neigh_retry", R, "ns", SLUICE_MS(1), SLUICE_SEC(60), SLUICE_SEC(1), "time between neighbour solicitations") \
	X(ip_neigh_tries, "ip.neigh_tries", R, "tries", 1, 100, 3, "solicitations before a neighbour counts as unreachable") \
	X(ip_neigh_reachable, "ip.neigh_reachable", R, "ns", SLUICE_MS(100), SLUICE_SEC(86400), SLUICE_SEC(30), "time until a neighbour is probed again") \
	X(ip_neigh_gc, "ip.neigh_gc", R, "ns", SLUICE_SEC(1), SLUICE_SEC(86400), SLUICE_SEC(1200), "time until an unused neighbour is removed") \
	X(ip_dad_probes, "ip.dad_probes", R, "probes", 0, 10, 1, "duplicate address detection probes; 0 uses addresses at once") \
	X(ip_dad_interval, "ip.dad_interval", R, "ns", SLUICE_MS(1), SLUICE_SEC(60), SLUICE_MS(500), "wait after each probe") \
	X(ip_defend_interval, "ip.defend_interval", R, "ns", SLUICE_MS(1), SLUICE_SEC(3600), SLUICE_SEC(10), "shortest time between defences of one address (RFC 5227)") \
	X(ip_frag_max, "ip.frag_max", S, "packets", 0, 65536, 256, "packets in reassembly per squeue; 0 drops all fragments") \
	X(ip_frag_ttl, "ip.frag_ttl", S, "ns", SLUICE_MS(10), SLUICE_SEC(120), SLUICE_SEC(15), "time a packet may stay in reassembly") \
	X(ip_mld, "ip.mld", R, "0 or 1", 0, 1, 1, "tell switches and routers which multicast groups are listened to (MLD, RFC 3810)") \
	X(ip_icmp_rate, "ip.icmp_rate", R, "per second", 0, 1000000, 1000, "ICMP errors sent, per squeue") \
	X(ip_echo_rate, "ip.echo_rate", R, "per second", 0, 10000000, 100000, "echo replies sent, per squeue") \
	X(ip_loop_max, "ip.loop_max", R, "packets", 16, 1048576, 4096, "packets waiting for delivery to ourselves, per squeue") \
	X(ip_min_pmtu, "ip.min_pmtu", R, "bytes", 68, 1500, 552, "smallest IPv4 path MTU that an ICMP message may set") \
	/* --- TCP --- */ \
	X(tcp_time_wait, "tcp.time_wait", R, "ns", 0, SLUICE_SEC(600), SLUICE_SEC(60), "length of TIME_WAIT (2 MSL)") \
	X(tcp_time_wait_reuse, "tcp.time_wait_reuse", R, "ns", SLUICE_MS(1), SLUICE_SEC(600), SLUICE_SEC(1), "a connect may reuse a TIME_WAIT tuple with timestamps after this (RFC 6191); at least a tick of the peer's timestamp clock") \
	X(tcp_time_wait_max, "tcp.time_wait_max", R, "entries", 0, 16777216, 262144, "TIME_WAIT entries per squeue; beyond it the oldest goes") \
	X(tcp_backlog_max, "tcp.backlog_max", R, "connections", 1, 1048576, 4096, "listen backlog is clamped to this") \
	X(tcp_backlog_q0, "tcp.backlog_q0", R, "connections", 1, 16777216, 65536, "half-open connections per squeue") \
	X(tcp_syn_retries, "tcp.syn_retries", L, "tries", 0, 100, 8, "SYN or SYN-ACK retransmissions; with the time-outs at least 3 minutes for SYN (RFC 9293 MUST-23)") \
	X(tcp_synack_retries, "tcp.synack_retries", R, "tries", 0, 100, 5, "SYN-ACK retransmissions") \
	X(tcp_abort_established, "tcp.abort_established", L, "ns", SLUICE_SEC(1), SLUICE_SEC(86400), SLUICE_SEC(300), "R2: unacknowledged data older than this drops the connection") \
	X(tcp_abort_connect, "tcp.abort_connect", L, "ns", SLUICE_SEC(1), SLUICE_SEC(86400), SLUICE_SEC(180), "R2 of a SYN") \
	X(tcp_keepidle, "tcp.keepidle", L, "ns", SLUICE_SEC(1), SLUICE_SEC(86400), SLUICE_SEC(7200), "idle time before the first keepalive probe") \
	X(tcp_keepintvl, "tcp.keepintvl", L, "ns", SLUICE_MS(100), SLUICE_SEC(86400), SLUICE_SEC(75), "time between keepalive probes") \
	X(tcp_keepcnt, "tcp.keepcnt", L, "probes", 1, 127, 9, "unanswered keepalive probes that drop the connection") \
	X(tcp_delack, "tcp.delack", L, "ns", 0, SLUICE_MS(500), SLUICE_MS(40), "delayed ACK time; 0 acknowledges at once") \
	X(tcp_delack_segs, "tcp.delack_segs", R, "segments", 1, 16, 2, "full-sized segments that force an ACK (RFC 9293 MUST-58: 2)") \
	X(tcp_quickack, "tcp.quickack", R, "segments", 0, 1000, 16, "segments at the start of a connection that are acknowledged at once") \
	X(tcp_rto_initial, "tcp.rto_initial", L, "ns", SLUICE_MS(1), SLUICE_SEC(60), SLUICE_SEC(1), "RTO before the first sample (RFC 6298 2.1)") \
	X(tcp_rto_min, "tcp.rto_min", L, "ns", SLUICE_MS(1), SLUICE_SEC(60), SLUICE_MS(200), "smallest RTO") \
	X(tcp_rto_max, "tcp.rto_max", L, "ns", SLUICE_SEC(1), SLUICE_SEC(600), SLUICE_SEC(60), "largest RTO") \
	X(tcp_init_cwnd, "tcp.init_cwnd", L, "segments", 1, 1000, 10, "initial congestion window (RFC 6928)") \
	X(tcp_sndbuf, "tcp.sndbuf", L, "bytes", 2048, 1073741824, 1048576, "send buffer: bytes taken from the application and not yet acknowledged") \
	X(tcp_sndbuf_clear, "tcp.sndbuf_clear", R, "percent", 1, 100, 50, "txq_full is cleared when the send buffer is this full (the seed: 10; half keeps the pipe filled)") \
	X(tcp_rcvbuf, "tcp.rcvbuf", L, "bytes", 2048, 1073741824, 1048576, "receive buffer: largest window that is offered") \
	X(tcp_ooo_max, "tcp.ooo_max", R, "segments", 1, 1048576, 4096, "out-of-order segments kept per connection") \
	X(tcp_ooo_holes, "tcp.ooo_holes", R, "runs", 1, 1048576, 1024, "runs of out-of-order data kept per connection: a place among them is found by bisection, made by moving the rest") \
	X(tcp_mss_min, "tcp.mss_min", R, "bytes", 32, 536, 48, "smallest MSS that a peer may impose") \
	X(tcp_mss_max, "tcp.mss_max", L, "bytes", 88, 65495, 65495, "largest MSS that is offered") \
	X(tcp_wscale, "tcp.wscale", R, "bool", 0, 1, 1, "offer window scaling (RFC 7323)") \
	X(tcp_timestamps, "tcp.timestamps", R, "bool", 0, 1, 1, "offer timestamps (RFC 7323)") \
	X(tcp_sack, "tcp.sack", R, "bool", 0, 1, 1, "offer SACK (RFC 2018)") \
	X(tcp_cc, "tcp.cc", L, "algorithm", 0, 1, 1, "congestion control: 0 newreno, 1 cubic") \
	X(tcp_nodelay, "tcp.nodelay", L, "bool", 0, 1, 0, "start with the Nagle algorithm off") \
	X(tcp_port_min, "tcp.port_min", R, "port", 1, 65535, 32768, "first ephemeral port") \
	X(tcp_port_max, "tcp.port_max", R, "port", 1, 65535, 65535, "last ephemeral port") \
	X(tcp_privileged_port, "tcp.privileged_port", R, "port", 0, 65536, 0, "ports below this need the stack's privileged flag to bind") \
	X(tcp_fin_wait2, "tcp.fin_wait2", L, "ns", SLUICE_SEC(1), SLUICE_SEC(86400), SLUICE_SEC(60), "FIN_WAIT_2 of a closed connection is dropped after this") \
	X(tcp_rst_rate, "tcp.rst_rate", R, "per second", 0, 1000000, 1000, "RSTs for no connection, per squeue (the seed: 40)") \
	X(tcp_ack_war, "tcp.ack_war", R, "ns", 0, SLUICE_SEC(10), SLUICE_MS(500), "shortest time between ACKs for invalid segments, per connection") \
	X(tcp_copy_below, "tcp.copy_below", R, "bytes", 0, 2048, 256, "payload up to this is copied behind the header instead of attached") \
	X(tcp_rec_max, "tcp.rec_max", S, "records", 64, 16777216, 262144, "transmission records per squeue") \
	/* --- sockets --- */ \
	X(sock_max, "sock.max", S, "sockets", 0, 1048576, 65536, "sockets of the stack, closing ones and those not yet accepted included") \
	X(sock_zerocopy, "sock.zerocopy", R, "bool", 0, 1, 0, "MSG_ZEROCOPY hands the caller's memory to ports by its virtual address; 0: copies it and says so") \
	X(sock_stash, "sock.stash", S, "mbufs", 0, 512, 32, "data mbufs that a thread outside of the EAL keeps for its sends; all threads together an eighth of the pool at most") \
	X(sock_epolls, "sock.epolls", S, "instances", 0, 65536, 1024, "epoll instances of the stack; a poll that waits is one")
/* clang-format on */

#ifdef __cplusplus
extern "C" {
#endif

struct sluice_tunables {
#define X(field, name, scope, unit, min, max, def, doc) uint64_t field;
	SLUICE_TUNABLES(X)
#undef X
};

/** One row of the table. */
struct sluice_tunable_info {
	const char *name;
	const char *unit;
	const char *doc;
	uint64_t min, max, def;
	char scope;
};

#define SLUICE_NTUNABLES (sizeof(struct sluice_tunables) / sizeof(uint64_t))

/** Row i of the table, i < SLUICE_NTUNABLES; NULL beyond. Any thread. */
SLUICE_API const struct sluice_tunable_info *sluice_tunable_info(unsigned int i);

/** Index of a tunable by name, or -ENOENT. Any thread. */
SLUICE_API int sluice_tunable_find(const char *name);

/** Fill *t with the defaults. Any thread. */
SLUICE_API void sluice_tunables_default(struct sluice_tunables *t);

/**
 * Parse "500ms", "2s", "64k", "1m", "on", "cubic", "12345" for tunable i and check its range.
 * Suffixes: ns us ms s min for times; k m g (powers of 1024) for others. 0, -ENOENT, -EINVAL,
 * -ERANGE. Any thread.
 */
SLUICE_API int sluice_tunable_parse(unsigned int i, const char *text, uint64_t *value);

#ifdef __cplusplus
}
#endif
#endif
