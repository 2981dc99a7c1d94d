/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one table of socket options: checks, get, set, inheritance and doc/options.md follow it.
 *
 * X(level, name, form, min, max, "default", inherited, where, get, set, id, "what it does")
 *
 * form	INT	a number of min..max, else -EINVAL
 *	CLAMP	a number, brought into min..max
 *	BOOL	any number: 0 or not
 *	LINGER, TIMEVAL, NAME, INFO: struct linger, struct timeval, a string, struct sluice_tcp_info
 * inherited	Y: accepted connections begin with the listener's value of the moment
 * where	SQUEUE: a synchronous call on the connection's squeue; THREAD: in the caller's thread
 * get, set	functions of the file that has the rows; NULL: write-only, read-only
 *
 * Rows of connections serve sluice_getsockopt and sluice_setsockopt; rows of sockets are those that
 * the socket layer answers itself, before it asks the connection.
 */
#ifndef SL_SOCK_OPTION_TABLE_H
#define SL_SOCK_OPTION_TABLE_H

/* clang-format off */
#define SL_CONN_OPTIONS(X) \
	X(SOL_SOCKET, SO_TYPE, INT, 0, 0, "SOCK_STREAM", N, SQUEUE, get_const, NULL, SO_TYPE, "type of the socket") \
	X(SOL_SOCKET, SO_DOMAIN, INT, 0, 0, "-", N, SQUEUE, get_const, NULL, SO_DOMAIN, "AF_INET or AF_INET6, as created") \
	X(SOL_SOCKET, SO_PROTOCOL, INT, 0, 0, "IPPROTO_TCP", N, SQUEUE, get_const, NULL, SO_PROTOCOL, "protocol of the socket") \
	X(SOL_SOCKET, SO_ACCEPTCONN, INT, 0, 0, "0", N, SQUEUE, get_const, NULL, SO_ACCEPTCONN, "1 while listening") \
	X(SOL_SOCKET, SO_ERROR, INT, 0, 0, "0", N, SQUEUE, get_error, NULL, 0, "what ended the connection, or the last ICMP error; reading clears it") \
	X(SOL_SOCKET, SO_REUSEADDR, BOOL, 0, 0, "1", N, SQUEUE, get_const, set_ignored, SO_REUSEADDR, "always so: TIME_WAIT never holds a port") \
	X(SOL_SOCKET, SO_REUSEPORT, BOOL, 0, 0, "0", Y, SQUEUE, get_stored, set_stored, ID_REUSEPORT, "before bind: listeners that all ask for it share address and port, each tuple with one of them") \
	X(SOL_SOCKET, SO_KEEPALIVE, BOOL, 0, 0, "0", Y, SQUEUE, get_flag, set_flag, SL_C_KEEPALIVE, "probe an idle connection") \
	X(SOL_SOCKET, SO_OOBINLINE, BOOL, 0, 0, "0", Y, SQUEUE, get_flag, set_flag, SL_C_OOBINLINE, "urgent data stays in the stream") \
	X(SOL_SOCKET, SO_SNDBUF, INT, 2048, 1 << 30, "tcp.sndbuf", Y, SQUEUE, get_buf, set_buf, 0, "bytes that are taken and not yet acknowledged") \
	X(SOL_SOCKET, SO_RCVBUF, INT, 2048, 1 << 30, "tcp.rcvbuf", Y, SQUEUE, get_buf, set_buf, 1, "largest window that is offered, bytes") \
	X(SOL_SOCKET, SO_LINGER, LINGER, 0, 65534, "off", Y, SQUEUE, NULL, NULL, 0, "on with 0 s: close resets; on with more: close waits so long for the peer to acknowledge all") \
	X(SOL_SOCKET, SO_INCOMING_CPU, INT, 0, 0, "-", N, SQUEUE, get_cpu, NULL, 0, "number of the squeue that has the connection") \
	X(IPPROTO_TCP, TCP_NODELAY, BOOL, 0, 0, "tcp.nodelay", Y, THREAD, get_nodelay, NULL, 0, "no Nagle algorithm; set without entering the squeue") \
	X(IPPROTO_TCP, TCP_CORK, BOOL, 0, 0, "0", Y, SQUEUE, get_flag, set_flag, SL_C_MORE, "hold a partial segment, 200 ms at most") \
	X(IPPROTO_TCP, TCP_MAXSEG, INT, 0, 65495, "tcp.mss_max", Y, SQUEUE, get_stored, set_maxseg, ID_MAXSEG, "largest segment, 88 or more; 0: as the path has it") \
	X(IPPROTO_TCP, TCP_KEEPIDLE, INT, 1, 32767, "tcp.keepidle", Y, SQUEUE, get_stored, set_stored, ID_KEEPIDLE, "s of silence before the first probe") \
	X(IPPROTO_TCP, TCP_KEEPINTVL, INT, 1, 32767, "tcp.keepintvl", Y, SQUEUE, get_stored, set_stored, ID_KEEPINTVL, "s between probes") \
	X(IPPROTO_TCP, TCP_KEEPCNT, INT, 1, 127, "tcp.keepcnt", Y, SQUEUE, get_stored, set_stored, ID_KEEPCNT, "unanswered probes that end the connection") \
	X(IPPROTO_TCP, TCP_SYNCNT, INT, 1, 127, "tcp.syn_retries", Y, SQUEUE, get_stored, set_stored, ID_SYNCNT, "retransmissions of a SYN") \
	X(IPPROTO_TCP, TCP_LINGER2, CLAMP, 1, 86400, "tcp.fin_wait2", Y, SQUEUE, get_stored, set_stored, ID_LINGER2, "s that a closed connection stays in FIN_WAIT_2") \
	X(IPPROTO_TCP, TCP_USER_TIMEOUT, INT, 0, INT_MAX, "0", Y, SQUEUE, get_stored, set_stored, ID_USER_TIMEOUT, "ms until unacknowledged data ends the connection (RFC 5482); 0: tcp.abort_established, tcp.abort_connect") \
	X(IPPROTO_TCP, TCP_QUICKACK, BOOL, 0, 0, "1", N, SQUEUE, get_quickack, set_quickack, 0, "acknowledge the next tcp.quickack segments at once; 0: delayed ACKs from now on") \
	X(IPPROTO_TCP, TCP_CONGESTION, NAME, 0, 0, "tcp.cc", Y, SQUEUE, NULL, NULL, 0, "newreno or cubic; in mid-connection the new one starts from the present window") \
	X(IPPROTO_TCP, TCP_INFO, INFO, 0, 0, "-", N, SQUEUE, NULL, NULL, 0, "state and figures, in the layout of linux/tcp.h") \
	X(IPPROTO_TCP, TCP_WINDOW_CLAMP, CLAMP, 0, 1 << 30, "0", Y, SQUEUE, get_stored, set_stored, ID_CLAMP, "most that the window offers, bytes (1152 or more); 0: SO_RCVBUF alone") \
	X(IPPROTO_TCP, TCP_NOTSENT_LOWAT, CLAMP, 0, INT_MAX, "0", Y, SQUEUE, get_stored, set_stored, ID_LOWAT, "bytes not yet sent beyond which the send buffer counts as full; 0: no such limit") \
	X(IPPROTO_TCP, TCP_TIMESTAMP, INT, 0, 0, "-", N, SQUEUE, get_timestamp, NULL, 0, "value of the connection's timestamp clock, ms") \
	X(IPPROTO_TCP, SLUICE_TCP_RTO_INITIAL, INT, 1, 60000, "tcp.rto_initial", Y, SQUEUE, get_stored, set_stored, ID_RTO_INITIAL, "ms of the RTO before the first sample") \
	X(IPPROTO_TCP, SLUICE_TCP_RTO_MIN, INT, 1, 60000, "tcp.rto_min", Y, SQUEUE, get_stored, set_stored, ID_RTO_MIN, "smallest RTO, ms") \
	X(IPPROTO_TCP, SLUICE_TCP_RTO_MAX, INT, 1000, 600000, "tcp.rto_max", Y, SQUEUE, get_stored, set_stored, ID_RTO_MAX, "largest RTO, ms") \
	X(IPPROTO_TCP, SLUICE_TCP_INIT_CWND, INT, 1, 1000, "tcp.init_cwnd", Y, SQUEUE, get_stored, set_stored, ID_INIT_CWND, "initial and restart window, segments; before the connection stands") \
	X(IPPROTO_TCP, SLUICE_TCP_DELACK, INT, 1, 500, "tcp.delack", Y, SQUEUE, get_stored, set_stored, ID_DELACK, "delayed ACK time, ms") \
	X(IPPROTO_IP, IP_TTL, INT, -1, 255, "ip.ttl", Y, SQUEUE, get_stored, set_ttl, ID_TTL, "TTL of what is sent, 1 or more; -1: the default") \
	X(IPPROTO_IP, IP_TOS, INT, INT_MIN, INT_MAX, "0", Y, SQUEUE, get_stored, set_stored, ID_TOS, "DSCP; the ECN bits are TCP's own") \
	X(IPPROTO_IP, IP_MINTTL, INT, 0, 255, "0", Y, SQUEUE, get_stored, set_minttl, ID_MINTTL, "segments with a smaller TTL are dropped (RFC 5082); listeners drop SYNs too") \
	X(IPPROTO_IP, IP_MTU, INT, 0, 0, "-", N, SQUEUE, get_mtu, NULL, 0, "path MTU of a connection, bytes; -ENOTCONN without one") \
	X(IPPROTO_IP, IP_MTU_DISCOVER, INT, IP_PMTUDISC_WANT, IP_PMTUDISC_DO, "IP_PMTUDISC_DO", N, SQUEUE, get_pmtudisc, set_pmtudisc, 0, "path MTU discovery is always done") \
	X(IPPROTO_IPV6, IPV6_UNICAST_HOPS, INT, -1, 255, "ip.ttl", Y, SQUEUE, get_stored, set_ttl, ID_TTL, "hop limit, as IP_TTL") \
	X(IPPROTO_IPV6, IPV6_TCLASS, INT, -1, 255, "0", Y, SQUEUE, get_stored, set_stored, ID_TOS, "traffic class, as IP_TOS; -1: 0") \
	X(IPPROTO_IPV6, IPV6_V6ONLY, BOOL, 0, 0, "0", N, SQUEUE, get_stored, set_v6only, ID_V6ONLY, "no IPv4 on this socket; before bind") \
	X(IPPROTO_IPV6, IPV6_MINHOPCOUNT, INT, 0, 255, "0", Y, SQUEUE, get_stored, set_minttl, ID_MINTTL, "as IP_MINTTL") \
	X(IPPROTO_IPV6, IPV6_MTU, INT, 0, 0, "-", N, SQUEUE, get_mtu, NULL, 0, "as IP_MTU") \
	X(IPPROTO_IPV6, IPV6_MTU_DISCOVER, INT, IPV6_PMTUDISC_WANT, IPV6_PMTUDISC_DO, "IPV6_PMTUDISC_DO", N, SQUEUE, get_pmtudisc, set_pmtudisc, 0, "as IP_MTU_DISCOVER") \
	X(IPPROTO_IPV6, IPV6_DONTFRAG, BOOL, 0, 0, "1", N, SQUEUE, get_dontfrag, set_ignored, 0, "always so: TCP makes no fragments")

#define SL_SOCKET_OPTIONS(X) \
	X(SOL_SOCKET, SO_ERROR, INT, 0, 0, "0", N, THREAD, get_error, NULL, 0, "what ended the connection; reading clears it") \
	X(SOL_SOCKET, SO_REUSEADDR, BOOL, 0, 0, "0", Y, THREAD, get_flag, set_flag, SL_SOF_REUSEADDR, "kept; a port that is bound is taken all the same, and TIME_WAIT never holds one") \
	X(SOL_SOCKET, SO_DEBUG, BOOL, 0, 0, "0", Y, THREAD, get_flag, set_flag, SL_SOF_DEBUG, "kept, no effect") \
	X(SOL_SOCKET, SO_BROADCAST, BOOL, 0, 0, "0", Y, THREAD, get_flag, set_flag, SL_SOF_BROADCAST, "kept, no effect on TCP") \
	X(SOL_SOCKET, SO_ZEROCOPY, INT, 0, 1, "0", Y, THREAD, get_flag, set_flag, SL_SOF_ZEROCOPY, "MSG_ZEROCOPY is taken") \
	X(SOL_SOCKET, SO_SNDBUF, CLAMP, 2048, 1 << 29, "tcp.sndbuf", Y, SQUEUE, get_buf, set_buf, SO_SNDBUF, "as the connection's, read back doubled") \
	X(SOL_SOCKET, SO_RCVBUF, CLAMP, 2048, 1 << 29, "tcp.rcvbuf", Y, SQUEUE, get_buf, set_buf, SO_RCVBUF, "as the connection's, read back doubled") \
	X(SOL_SOCKET, SO_RCVTIMEO, TIMEVAL, 0, 0, "0", Y, THREAD, NULL, NULL, 0, "longest wait of a receiving call, and of accept; 0: for ever") \
	X(SOL_SOCKET, SO_SNDTIMEO, TIMEVAL, 0, 0, "0", Y, THREAD, NULL, NULL, 1, "longest wait of a sending call, and of connect; 0: for ever") \
	X(SOL_SOCKET, SO_RCVLOWAT, CLAMP, INT_MIN, INT_MAX, "1", Y, THREAD, get_lowat, set_lowat, 0, "bytes that make a socket readable, and that a receive waits for, half of SO_RCVBUF at most; negative: the most, 0: 1") \
	X(SOL_SOCKET, SO_SNDLOWAT, INT, 0, 0, "1", N, THREAD, get_sndlowat, NULL, 0, "always 1") \
	X(SOL_SOCKET, SO_BUSY_POLL, INT, 0, 1000000, "0", Y, THREAD, get_busy, set_busy, 0, "us that a receiving call looks for data before it sleeps") \
	X(SOL_SOCKET, SO_PRIORITY, INT, 0, 6, "0", N, THREAD, get_number, set_number, SL_SON_PRIORITY, "kept, no effect: a squeue serves its connections in turn") \
	X(SOL_SOCKET, SO_MARK, INT, 0, INT_MAX, "0", Y, THREAD, get_number, set_number, SL_SON_MARK, "kept, no effect: routes ask for no mark") \
	X(SOL_SOCKET, SO_INCOMING_NAPI_ID, INT, 0, 0, "0", N, THREAD, get_no_napi, NULL, 0, "always 0: there is no NAPI") \
	X(IPPROTO_TCP, TCP_FASTOPEN, INT, 0, INT_MAX, "0", N, THREAD, get_number, set_fastopen, SL_SON_FASTOPEN, "before a connection: kept, no effect; no cookie is given out, as where Linux has it switched off") \
	X(IPPROTO_TCP, TCP_DEFER_ACCEPT, CLAMP, 0, 3600, "0", Y, THREAD, get_defer, set_defer, 0, "listener: s that a connection without data waits unseen; 0: none")
/* clang-format on */

/** Level, then name: all that there is to know of a row but its functions. */
#define SL_OPTIONS(X)      \
	SL_CONN_OPTIONS(X) \
	SL_SOCKET_OPTIONS(X)

enum sl_opt_form {
	SL_OPT_INT,
	SL_OPT_CLAMP,
	SL_OPT_BOOL,
	SL_OPT_LINGER,
	SL_OPT_TIMEVAL,
	SL_OPT_NAME,
	SL_OPT_INFO
};

/** The value of a number option: 0, or -EINVAL by its form and range. */
static inline int sl_opt_check(enum sl_opt_form form, int min, int max, int *v)
{
	if (form == SL_OPT_BOOL) {
		*v = *v != 0;
		return 0;
	}
	if (*v >= min && *v <= max)
		return 0;
	if (form != SL_OPT_CLAMP)
		return -22; /* EINVAL */
	*v = *v < min ? min : max;
	return 0;
}

#endif
