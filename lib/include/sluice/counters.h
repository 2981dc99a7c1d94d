/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one table of counters: struct, telemetry and documentation follow it. X(name, what it
 * counts). One copy per squeue; its only writer is the squeue's owner (relaxed atomics), any thread
 * may read and sum. A packet, a call or an entry that is dropped or refused anywhere has a row
 * here.
 */
#ifndef SLUICE_COUNTERS_H
#define SLUICE_COUNTERS_H

#include <sluice/types.h>

/* clang-format off */
#define SLUICE_COUNTERS(X) \
	/* --- squeue --- */ \
	X(sq_polls, "passes of the loop") \
	X(sq_idle_polls, "passes that found nothing to do") \
	X(sq_entries, "entries run (chains, rings and calls)") \
	X(sq_calls_inline, "synchronous calls that ran inline on their own squeue") \
	X(sq_calls_remote, "synchronous calls shipped from another thread") \
	X(sq_calls_exdev, "synchronous calls refused: the caller polls other squeues") \
	X(sq_call_slots_empty, "calls refused: no call slot was free") \
	X(sq_rings_late, "rings that run once more at the end: repeated while one waits, and no call slot was free") \
	X(sq_deferred, "operations put off to the end of the pass (nested upcalls, close in an upcall)") \
	X(sq_stale, "entries for a connection that had gone") \
	X(sq_holds, "times the squeue was handed out by synch_enter") \
	X(sq_holds_long, "holds longer than squeue.hold_warn") \
	X(sq_backlog_pkts, "packets taken off the NIC during a hold") \
	X(sq_backlog_drops, "packets dropped because the backlog of a hold was full") \
	X(sq_budget_rx, "passes that stopped receiving at the budget") \
	X(sq_budget_entries, "passes that stopped draining entries at the budget") \
	X(sq_budget_output, "passes that stopped output at the budget") \
	X(sq_wakeups, "times a sleeping squeue was woken by a producer") \
	X(sq_wakeups_rx, "times a sleeping squeue was woken by a packet (rx interrupt)") \
	X(sq_sleeps, "times the idle policy slept") \
	X(sq_fwd_out, "packets forwarded to the squeue that owns them") \
	X(sq_fwd_in, "packets received from another squeue") \
	X(sq_fwd_drops, "packets dropped because a forwarding ring was full") \
	/* --- steering: why packets were forwarded to another squeue (not in these: copies of ARP and ND for all) --- */ \
	X(steer_soft, "the port has fewer queues than there are squeues, or cannot tell where a tuple arrives") \
	X(steer_wrong, "the port delivered them to another queue than its key and table say") \
	X(steer_owner, "a forwarding entry names their squeue: a bound port, or a connection that moved") \
	X(steer_follow, "(connections) given to the squeue where their packets arrive: steer.follow") \
	X(steer_frag, "fragments, to where they become whole, and whole packets to their owner") \
	X(steer_icmp, "ICMP errors about a connection of another squeue") \
	X(steer_local, "packets to ourselves") \
	X(steer_tx, "packets sent through another squeue, which has a queue of the port") \
	X(sq_moves_out, "connections that moved to another squeue") \
	X(sq_moves_in, "connections that moved here") \
	X(sq_moves_refused, "moves asked for and not made: the connection has to stay, the other squeue is full, or no memory") \
	X(sq_moves_pkts, "packets for connections that live here and were born elsewhere") \
	X(sq_moves_late, "packets sent on for a connection that had left by then") \
	X(sq_parks, "times the squeue was told to drain") \
	X(sq_kept_polls, "passes that another squeue made for this one while it was parked") \
	X(sq_parked_conns, "new connections that a parked squeue gave to another one") \
	X(sq_entries_fwd, "entries handed on to the squeue where their connection lives") \
	/* --- ports --- */ \
	X(port_rx_pkts, "packets received from drivers") \
	X(port_rx_bytes, "bytes received from drivers") \
	X(port_tx_pkts, "packets handed to drivers") \
	X(port_tx_bytes, "bytes handed to drivers") \
	X(port_tx_full, "bursts that a driver did not take whole (nothing is lost)") \
	X(port_tx_ctl_drops, "stateless packets (ARP, ICMP, RST) dropped: no room to transmit") \
	X(port_tx_linearized, "chains copied because the port has no multi-segment transmit") \
	X(port_tx_nomem, "packets not built: no buffer in the pool") \
	/* --- link layer --- */ \
	X(eth_in_runt, "frames too short for their header") \
	X(eth_in_vlan_unknown, "frames of a VLAN that no interface has") \
	X(eth_in_type_unknown, "frames of an EtherType that is not ours") \
	X(eth_in_not_ours, "frames for another station") \
	X(eth_in_passed, "frames given to the embedder's callback") \
	X(arp_in, "ARP packets") \
	X(arp_in_bad, "ARP packets malformed or with impossible addresses") \
	X(arp_out, "ARP packets sent") \
	X(nd_in, "neighbour discovery packets") \
	X(nd_in_bad, "neighbour discovery packets that RFC 4861 tells to discard") \
	X(nd_out, "neighbour discovery packets sent") \
	X(mld_in, "multicast listener queries (MLD)") \
	X(mld_out, "multicast listener reports sent") \
	X(neigh_created, "neighbour entries made") \
	X(neigh_failed, "neighbours that did not answer") \
	X(neigh_full, "neighbour entries refused or evicted: table full") \
	X(neigh_aged, "neighbour entries removed unused") \
	X(addr_conflicts, "another station claimed one of our addresses") \
	X(addr_dad_failed, "addresses not used: duplicate address detection found another owner") \
	/* --- IP --- */ \
	X(ip_in, "IPv4 and IPv6 packets") \
	X(ip_in_hdr_errors, "version, header length or total length wrong") \
	X(ip_in_bad_cksum, "IPv4 header checksum wrong") \
	X(ip_in_bad_src, "impossible source address (multicast, broadcast, loopback, LAND)") \
	X(ip_in_not_local, "destination is not ours and no embedder takes it") \
	X(ip_in_options, "IPv4 packets with options or IPv6 with extension headers") \
	X(ip_in_ext_bad, "IPv6 extension headers malformed or too many") \
	X(ip_in_proto_unknown, "protocol that is not ours and no embedder takes") \
	X(ip_in_no_vrf, "packets of a port that no interface covers") \
	X(ip_frag_in, "fragments received") \
	X(ip_frag_ok, "packets reassembled") \
	X(ip_frag_drops, "fragments dropped: bad, timed out, or no room") \
	X(ip_frag_expired, "of these, fragments whose packet did not become whole in ip.frag_ttl") \
	X(ip_frag_out, "fragments sent (of what is not TCP)") \
	X(ip_out, "packets built") \
	X(ip_out_local, "packets delivered to this stack itself") \
	X(ip_out_no_route, "packets not sent: no route") \
	X(ip_out_no_neigh, "stateless packets not sent: neighbour unresolved") \
	X(ip_loop_drops, "packets to ourselves dropped: local queue full") \
	X(icmp_in, "ICMP and ICMPv6 messages") \
	X(icmp_in_bad, "ICMP messages malformed or with a wrong checksum") \
	X(icmp_in_errors, "ICMP errors that reached a connection") \
	X(icmp_in_unmatched, "ICMP errors that matched no connection or lay outside its window (RFC 5927)") \
	X(icmp_in_ignored, "ICMP messages of a type that is ignored (source quench, redirects)") \
	X(icmp_echo, "echo requests answered") \
	X(icmp_out, "ICMP messages sent") \
	X(icmp_out_limited, "ICMP messages not sent: rate limit") \
	/* --- TCP: MIB-II and its extensions, as the seed counts them --- */ \
	X(tcp_active_opens, "connects") \
	X(tcp_passive_opens, "connections accepted into SYN_RCVD") \
	X(tcp_attempt_fails, "SYN_SENT or SYN_RCVD to CLOSED, SYN_RCVD to LISTEN") \
	X(tcp_estab_resets, "ESTABLISHED or CLOSE_WAIT to CLOSED") \
	X(tcp_curr_estab, "connections now in ESTABLISHED or CLOSE_WAIT (a level)") \
	X(tcp_in_segs, "segments received") \
	X(tcp_out_segs, "segments sent") \
	X(tcp_out_rsts, "segments with RST sent") \
	X(tcp_out_rsts_limited, "RSTs not sent: rate limit") \
	X(tcp_out_data_segs, "segments with data sent first time") \
	X(tcp_out_data_bytes, "bytes sent first time") \
	X(tcp_retrans_segs, "segments retransmitted") \
	X(tcp_retrans_bytes, "bytes retransmitted") \
	X(tcp_out_ack, "pure ACKs sent") \
	X(tcp_out_ack_delayed, "ACKs sent by the delayed ACK timer") \
	X(tcp_out_urg, "segments with URG sent") \
	X(tcp_out_win_update, "window updates sent") \
	X(tcp_out_win_probe, "zero window probes sent") \
	X(tcp_out_control, "SYN, FIN segments sent") \
	X(tcp_out_fast_retrans, "segments retransmitted by fast retransmit") \
	X(tcp_out_sack_retrans, "segments retransmitted from the SACK scoreboard") \
	X(tcp_in_ack_segs, "segments that acknowledged new data") \
	X(tcp_in_ack_bytes, "bytes acknowledged") \
	X(tcp_in_dup_ack, "duplicate ACKs") \
	X(tcp_in_ack_unsent, "ACKs of data never sent") \
	X(tcp_in_data_inorder_segs, "data segments in order") \
	X(tcp_in_data_inorder_bytes, "bytes in order") \
	X(tcp_in_data_unorder_segs, "data segments out of order") \
	X(tcp_in_data_unorder_bytes, "bytes out of order") \
	X(tcp_in_data_dup_segs, "segments wholly duplicate") \
	X(tcp_in_data_dup_bytes, "bytes of wholly duplicate segments") \
	X(tcp_in_data_part_dup_segs, "segments partly duplicate") \
	X(tcp_in_data_past_win_segs, "segments with data beyond the window") \
	X(tcp_in_data_past_win_bytes, "bytes beyond the window") \
	X(tcp_in_win_probe, "zero window probes received") \
	X(tcp_in_win_update, "window updates received") \
	X(tcp_in_closed, "segments with data after the application closed") \
	X(tcp_rtt_update, "RTT samples taken") \
	X(tcp_rtt_no_update, "ACKs that gave no RTT sample") \
	X(tcp_rto, "retransmission time-outs") \
	X(tcp_rto_drop, "connections dropped by time-out") \
	X(tcp_keepalive, "keepalive timer expiries") \
	X(tcp_keepalive_probe, "keepalive probes sent") \
	X(tcp_keepalive_drop, "connections dropped by keepalive") \
	X(tcp_listen_drop, "SYNs or final ACKs dropped: accept backlog full") \
	X(tcp_listen_drop_q0, "half-open connections evicted or refused: SYN cache full") \
	X(tcp_halfopen_drop, "half-open connections timed out or reset") \
	X(tcp_in_hdr_errors, "data offset wrong, segment shorter than its header") \
	X(tcp_in_bad_cksum, "checksum wrong") \
	X(tcp_in_bad_opts, "segments with malformed options (the rest of the options is ignored)") \
	X(tcp_in_bad_flags, "segments with an illegal combination of flags") \
	X(tcp_in_no_conn, "segments for no connection and no listener") \
	X(tcp_in_paws, "segments dropped by PAWS (RFC 7323)") \
	X(tcp_in_no_ts, "segments without the negotiated timestamp, dropped (RFC 7323 3.2)") \
	X(tcp_in_minttl, "segments dropped: TTL or hop limit below IP_MINTTL (RFC 5082)") \
	X(tcp_in_syn_synchronized, "SYNs in a synchronized state (RFC 5961 section 4)") \
	X(tcp_in_rst_inexact, "RSTs in the window but not at rcv_nxt (RFC 5961 section 3)") \
	X(tcp_in_rst_ignored, "RSTs outside the window (RFC 5961 section 3), of no SYN of ours, or for TIME_WAIT (RFC 1337)") \
	X(tcp_in_no_ack, "segments without ACK, dropped (RFC 9293 3.10.7.4, fifth)") \
	X(tcp_in_no_syn, "segments without SYN in SYN_SENT, dropped (RFC 9293 3.10.7.3, fifth)") \
	X(tcp_in_syn_again, "SYNs repeated for a half-open connection") \
	X(tcp_in_bad_ack, "segments of a handshake whose ACK is not that of our SYN") \
	X(tcp_out_challenge, "challenge ACKs sent") \
	X(tcp_out_challenge_limited, "challenge and out-of-window ACKs not sent: rate limit") \
	X(tcp_in_ack_old, "ACKs too old (RFC 5961 section 5)") \
	X(tcp_ooo_drop, "out-of-order segments dropped: reassembly limit") \
	X(tcp_recoveries, "times fast recovery was entered") \
	X(tcp_spurious_rto, "time-outs found spurious") \
	X(tcp_dsack_in, "duplicate SACKs received") \
	X(tcp_sack_bad, "SACK blocks ignored: below snd_una, beyond snd_nxt, inverted") \
	X(tcp_sack_limited, "SACK blocks left aside: they would cost more than they are worth") \
	X(tcp_sack_reneg, "times the peer took back what it had SACKed") \
	X(tcp_zero_window, "times the peer closed its window on data") \
	X(tcp_seq_wraps, "times snd_nxt or rcv_nxt passed 2^32") \
	X(tcp_timewait_in, "connections that entered TIME_WAIT") \
	X(tcp_timewait_reused, "TIME_WAIT tuples reused (RFC 6191, either side)") \
	X(tcp_timewait_evicted, "TIME_WAIT entries removed early: table full") \
	X(tcp_conn_nomem, "connections refused: no memory or max_connections reached") \
	X(tcp_rec_nomem, "segments not sent: no transmission record") \
	X(tcp_rx_compact, "segments copied together to spare buffers") \
	X(tcp_rx_copied_out, "buffers copied out: the application holds its share") \
	X(tcp_send_eagain, "sends refused: no credit") \
	X(tcp_send_after_end, "chains dropped: the connection ended before its squeue saw them") \
	X(tcp_ports_exhausted, "connects refused: no ephemeral port left") \
	X(tcp_fin_wait2_drop, "FIN_WAIT_2 connections dropped by the flush timer") \
	X(tcp_aborts, "connections aborted by the application") \
	X(tcp_admin_aborts, "connections ended by sluice_abort_matching") \
	/* --- sockets --- */ \
	X(sock_refused, "connections to a listening socket reset: sock.max is reached, or no memory") \
	/* --- ctl --- */ \
	X(ctl_applied, "configuration snapshots installed")
/* clang-format on */

#ifdef __cplusplus
extern "C" {
#endif

/** Counters of one squeue, or a sum. */
struct sluice_counters {
#define X(name, doc) uint64_t name;
	SLUICE_COUNTERS(X)
#undef X
};

#define SLUICE_NCOUNTERS (sizeof(struct sluice_counters) / sizeof(uint64_t))

/** Name and documentation of counter i, i < SLUICE_NCOUNTERS. Any thread; NULL beyond the table. */
SLUICE_API const char *sluice_counter_name(unsigned int i);
SLUICE_API const char *sluice_counter_doc(unsigned int i);

/** Sum over all squeues of the stack into *out. Any thread; each counter is read once, the set is
 * not a snapshot. */
SLUICE_API void sluice_counters_sum(const struct sluice_stack *st, struct sluice_counters *out);

/** Counters of one squeue. Any thread. */
SLUICE_API void sluice_counters_get(const struct sluice_squeue *sq, struct sluice_counters *out);

#ifdef __cplusplus
}
#endif
#endif
