/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: downcalls (the caller to TCP) and upcalls (TCP to the caller), as between Solaris'
 * socket layer and its TCP, and the data calls of the event API.
 *
 * Which thread: every downcall may be made from any thread. On the connection's squeue (in an
 * upcall, hook or operation) it runs inline; from a control thread it is shipped to the squeue
 * (synchronous downcalls) or rings the connection's doorbell (send, shutdown, clr_flowctrl, close,
 * abort). The data calls peek, consume, take, splice are for the squeue only
 * (-EPERM elsewhere). Upcalls are always made on the connection's squeue.
 *
 * Inside an upcall, data calls run inline one level deep: an upcall that they cause on another
 * connection runs at once, deeper ones and every `closed` wait for the end of the pass.
 *
 * Order of upcalls of one connection (sluice_upcall_may_follow is the same table):
 *
 *	listener, after activate:	opctl(ENAB_ACCEPT)*, newconn* ... closed
 *	opener, after activate:		connected | disconnected ........ closed
 *	eager, after newconn:		(connected is implied) .......... closed
 *
 * Once connected, recv, txq_full, signal_oob, zcopy_notify, set_error and opctl come in any order,
 * until disconnected. No recv after opctl(SHUT_RECV), which says that the peer's FIN was reached;
 * nothing but zcopy_notify and closed after disconnected; closed exactly once and last, after
 * close() or abort() only. Callbacks that get the connection of a socket (sluice_so_detach) begin after
 * `connected`.
 */
#ifndef SLUICE_CONN_H
#define SLUICE_CONN_H

#include <sys/uio.h>
#include <sluice/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sluice_opctl {
	SLUICE_OPCTL_ENAB_ACCEPT, /* value: backlog */
	SLUICE_OPCTL_SHUT_SEND,   /* nothing more can be sent (shutdown(WR) accepted) */
	SLUICE_OPCTL_SHUT_RECV,   /* end of stream: the peer's FIN was reached, or shutdown(RD) */
	SLUICE_OPCTL_MOVED,       /* value: the squeue where it lives now; see sluice_move */
	/* With a positive SO_LINGER: all that was sent, and the FIN, was acknowledged. After close too. */
	SLUICE_OPCTL_LINGERED,
};

/** Upcalls; any member may be NULL. `arg` is the upper handle of activate() or of newconn's return.
 */
struct sluice_upcalls {
	size_t size;
	/**
	 * A handshake completed on the listener whose upper handle is `arg`. Set *up_arg to the
	 * upper handle and *up to the upcalls of the new connection (preset: the listener's).
	 * Return 0, or -errno to refuse it: RST. The eager's squeue.
	 */
	int (*newconn)(void *arg, sluice_conn_t listener, sluice_conn_t eager, void **up_arg,
	    const struct sluice_upcalls **up);
	void (*connected)(void *arg, sluice_conn_t c, uint32_t connid);
	/** err: ECONNREFUSED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH...; the connection
	 * is CLOSED, close() is still due. */
	void (*disconnected)(void *arg, sluice_conn_t c, int err);
	void (*opctl)(void *arg, sluice_conn_t c, enum sluice_opctl op, uint64_t value);
	/**
	 * `avail` bytes are readable now (peek/consume/take in here or later): once for all that
	 * came in one burst. push: a segment of the burst had PSH. Return 0; or -ENOSPC, "no space
	 * above", whether or not something was taken: the window is closed until clr_flowctrl(),
	 * and then what was left is told again (but not after opctl(SHUT_RECV)).
	 */
	int (*recv)(void *arg, sluice_conn_t c, size_t avail, bool push);
	/** Send buffer: full == true after a send that reached the limit, false when it has drained
	 * to tcp.sndbuf_clear. */
	void (*txq_full)(void *arg, sluice_conn_t c, bool full);
	/** Urgent data: `mark` bytes of the readable stream lie before the urgent byte (RFC
	 * 9293 3.8.5, RFC 6093). */
	void (*signal_oob)(void *arg, sluice_conn_t c, size_t mark);
	/** Memory handed to send_external is no longer referenced by anything. */
	void (*zcopy_notify)(void *arg, sluice_conn_t c, void *cookie);
	/** A soft error (ICMP, RFC 5461); the connection goes on. */
	void (*set_error)(void *arg, sluice_conn_t c, int err);
	/** Watermarks of the protocol after activate or accept, bytes. */
	void (*set_proto_props)(
	    void *arg, sluice_conn_t c, size_t sndbuf, size_t rcvbuf, uint32_t mss);
	void (*closed)(void *arg, sluice_conn_t c);
};

enum sluice_upcall {
	SLUICE_UP_NEWCONN,
	SLUICE_UP_CONNECTED,
	SLUICE_UP_DISCONNECTED,
	SLUICE_UP_OPCTL,
	SLUICE_UP_RECV,
	SLUICE_UP_TXQ_FULL,
	SLUICE_UP_SIGNAL_OOB,
	SLUICE_UP_ZCOPY_NOTIFY,
	SLUICE_UP_SET_ERROR,
	SLUICE_UP_SET_PROTO_PROPS,
	SLUICE_UP_CLOSED,
	SLUICE_NUPCALLS
};
/** The table of upcall order: may `next` come after `last` on one connection? */
SLUICE_API bool sluice_upcall_may_follow(enum sluice_upcall last, enum sluice_upcall next);

/* ---- downcalls ---- */

/**
 * Addresses are struct sockaddr_in / sockaddr_in6. sin6_scope_id is the interface of a link-local
 * address (sluice_if_index), in both directions; 0 means the only interface of the VRF that has a
 * link-local address, and is -EINVAL when there are several. For other addresses it does not matter.
 */

/**
 * A connection in IDLE. squeue: where it is born, or -1: the caller's own, else round robin.
 * -EPROTONOSUPPORT unless (AF_INET|AF_INET6, SOCK_STREAM, 0|IPPROTO_TCP); -ENOBUFS (the seed:
 * ENOSR) without memory. vrf: 0 by default.
 */
SLUICE_API int sluice_create(struct sluice_stack *st, int family, int type, int proto, uint32_t vrf,
    int squeue, sluice_conn_t *c);
/** Attach upper handle and upcalls (which must outlive the connection); calls set_proto_props.
 * Once, before anything else. -EALREADY. */
SLUICE_API int sluice_activate(
    struct sluice_stack *st, sluice_conn_t c, const struct sluice_upcalls *up, void *arg);
/** Give back the backlog credit of an eager that newconn announced: the application has accepted
 * it. */
SLUICE_API int sluice_accept(struct sluice_stack *st, sluice_conn_t listener, sluice_conn_t eager);
/**
 * sa NULL: unbind (below LISTEN only, else -EINVAL; IDLE -EINVAL). -EINVAL already bound or wrong
 * length, -EAFNOSUPPORT, -EADDRNOTAVAIL (not local; v4-mapped on a v6-only connection; no ephemeral
 * port left), -EACCES, -EADDRINUSE; -EAGAIN on a squeue while a control thread changes the bind
 * table. SO_REUSEPORT, set before on all that bind it, lets several listeners have one address and port:
 * each tuple has one of them, and keeps it while that one listens. Connections from such a port must differ in
 * their destinations: see sluice_connect.
 */
SLUICE_API int sluice_bind(
    struct sluice_stack *st, sluice_conn_t c, const struct sockaddr *sa, socklen_t len);
/** IDLE (binds to an ephemeral port), BOUND, LISTEN (changes the backlog), else -EINVAL. Backlog
 * clamped to 1..tcp.backlog_max. */
SLUICE_API int sluice_listen(struct sluice_stack *st, sluice_conn_t c, int backlog);
/**
 * -EINPROGRESS: the SYN is on its way (connected or disconnected follow). -EALREADY, -EISCONN,
 * -EOPNOTSUPP, -EINVAL by state; -EADDRNOTAVAIL (port 0, itself, no port left; from a bound port, when
 * somebody has the tuple: or disconnected(EADDRNOTAVAIL) follows, if another squeue knows), -ENETUNREACH,
 * -EAFNOSUPPORT. connid (may be NULL): the connection id, raised before the SYN leaves.
 */
SLUICE_API int sluice_connect(struct sluice_stack *st, sluice_conn_t c, const struct sockaddr *sa,
    socklen_t len, uint32_t *connid);
/** Choose among local addresses first..first+n-1 (and their ports) at connect; n up to 65536.
 * Before connect. */
SLUICE_API int sluice_set_sources(
    struct sluice_stack *st, sluice_conn_t c, const struct sluice_addr *first, uint32_t n);
/** Read from the published line: no entry. -ENOTCONN below SYN_RCVD. *len: room, then the address's
 * length. */
SLUICE_API int sluice_getpeername(
    struct sluice_stack *st, sluice_conn_t c, struct sockaddr *sa, socklen_t *len);
SLUICE_API int sluice_getsockname(
    struct sluice_stack *st, sluice_conn_t c, struct sockaddr *sa, socklen_t *len);
SLUICE_API int sluice_getstate(struct sluice_stack *st, sluice_conn_t c, enum sluice_state *state);
/** Level and name as Linux's headers; doc/options.md lists them. -ENOPROTOOPT unknown, -EINVAL length
 * or value, -ENOMEM no call slot. TCP_NODELAY is set without entering the squeue. */
SLUICE_API int sluice_getsockopt(
    struct sluice_stack *st, sluice_conn_t c, int level, int name, void *val, socklen_t *len);
SLUICE_API int sluice_setsockopt(
    struct sluice_stack *st, sluice_conn_t c, int level, int name, const void *val, socklen_t len);

/** Names of IPPROTO_TCP that Linux does not have. */
#define SLUICE_TCP_RTO_INITIAL 0x5301
#define SLUICE_TCP_RTO_MIN 0x5302
#define SLUICE_TCP_RTO_MAX 0x5303
#define SLUICE_TCP_INIT_CWND 0x5304
#define SLUICE_TCP_DELACK 0x5305

/** One row of the table of options (doc/options.md). */
struct sluice_option_info {
	int level, name;
	const char *text; /* "SO_KEEPALIVE" */
	const char *form; /* INT, CLAMP, BOOL, LINGER, TIMEVAL, NAME, INFO */
	int min, max;     /* of INT and CLAMP */
	const char *def;  /* as text: a number, or the tunable that has it */
	const char *doc;
	bool writable;
	bool inherited;   /* accepted connections begin with the listener's value */
	bool socket;      /* answered by the sockets, not by the connection */
	bool synchronous; /* a call on the connection's squeue */
};
/** Row i, in the order of the table; NULL beyond. Any thread. */
SLUICE_API const struct sluice_option_info *sluice_option_info(unsigned int i);

/** What TCP_INFO gives: struct tcp_info of linux/tcp.h. Fields that the stack does not keep are 0. */
struct sluice_tcp_info {
	uint8_t state; /* as Linux numbers them: 1 ESTABLISHED ... 11 CLOSING */
	uint8_t ca_state, retransmits, probes, backoff, options;
	uint8_t snd_wscale : 4, rcv_wscale : 4;
	uint8_t delivery_rate_app_limited : 1, fastopen_client_fail : 2;
	uint32_t rto, ato, snd_mss, rcv_mss;
	uint32_t unacked, sacked, lost, retrans, fackets;
	uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
	uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
	uint32_t rcv_rtt, rcv_space, total_retrans;
	uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
	uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
	uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
	uint32_t delivered, delivered_ce;
	uint64_t bytes_sent, bytes_retrans;
	uint32_t dsack_dups, reord_seen, rcv_ooopack, snd_wnd;
};

#define SLUICE_MSG_OOB 1u  /* the last byte is urgent */
#define SLUICE_MSG_MORE 2u /* more follows at once: a partial last segment may wait */
/**
 * Send a chain: all of it or -EAGAIN (send buffer full; txq_full(false) will tell). Takes ownership
 * on 0 only. A chain is taken while the buffer is below its limit, so it may overshoot by one
 * chain. -ENOTCONN / -EPIPE by state and connection id (before connected / after), -EOPNOTSUPP. The
 * payload must not be changed afterwards, nor come from a receive queue other than by take().
 */
SLUICE_API int sluice_send(
    struct sluice_stack *st, sluice_conn_t c, struct rte_mbuf *chain, unsigned int flags);
/** Copies into mbufs of the data pool: the number of bytes taken (may be less than asked), or
 * -EAGAIN, -ENOBUFS, -ENOTCONN, -EPIPE. */
SLUICE_API ssize_t sluice_send_copy(
    struct sluice_stack *st, sluice_conn_t c, const void *data, size_t len, unsigned int flags);
/** Memory of the caller by reference (up to 65535 - 128 bytes a call); zcopy_notify(cookie) when
 * free. iova: of buf (0: virtual). */
SLUICE_API int sluice_send_external(struct sluice_stack *st, sluice_conn_t c, void *buf,
    uint64_t iova, size_t len, void *cookie, unsigned int flags);

/**
 * Let the connection live on squeue `to`: from there on its upcalls come on that squeue's thread,
 * opctl(MOVED) first, and calls that belong to the squeue belong there. Handle, bytes and the order
 * of calls stay what they are. It happens between two passes, and takes a few of those of the two
 * squeues and of the one where the connection was born; meanwhile calls on the squeue get -EPERM,
 * and synchronous ones from a thread that polls -EXDEV. Of two connections that sluice_splice has
 * joined both move, if both live where they were born, or go back there; else the pair stays.
 *
 * Any thread. On the connection's squeue the answer is at once: 0 (it will leave, unless the other
 * squeue has no room: sq_moves_refused), -EINVAL no such squeue, or a state below SYN_SENT; -EBUSY
 * not accepted yet, pinned, or part of a pair that stays, -ENOBUFS. From elsewhere it is posted: 0,
 * -EBADF, -EINVAL, -ENOBUFS; what is refused then is only counted. -EBUSY to all when `to` does not run.
 */
SLUICE_API int sluice_move(struct sluice_stack *st, sluice_conn_t c, unsigned int to);
/** It stays where it is, or may move again: sluice_move gets -EBUSY, parking and balancing pass it by.
 * For who keeps state per squeue that does not move. Synchronous, any thread. */
SLUICE_API int sluice_pin(struct sluice_stack *st, sluice_conn_t c, bool pin);
/** The squeue where the connection lives; -EAGAIN while it is on its way, -EBADF. Any thread; on
 * that squeue the answer holds to the end of the pass, elsewhere it may be out of date. */
SLUICE_API int sluice_conn_squeue(struct sluice_stack *st, sluice_conn_t c);

#define SLUICE_SHUT_RD SHUT_RD
#define SLUICE_SHUT_WR SHUT_WR
#define SLUICE_SHUT_RDWR SHUT_RDWR
/** -ENOTCONN below SYN_SENT, -EINVAL. WR in SYN_SENT is remembered. opctl upcalls follow. */
SLUICE_API int sluice_shutdown(struct sluice_stack *st, sluice_conn_t c, int how);
/** The layer above has room again after recv returned -ENOSPC. Cannot fail but for -EBADF. */
SLUICE_API int sluice_clr_flowctrl(struct sluice_stack *st, sluice_conn_t c);
/** FIN after the queued data, or RST: linger 0, unread data, SYN_SENT. `closed` follows; when the
 * peer does not read, after tcp.abort_established. -EBADF; -EALREADY the second time. */
SLUICE_API int sluice_close(struct sluice_stack *st, sluice_conn_t c);
/** RST now, queued data dropped. `closed` follows. After a close too: what it still waits for (a
 * peer that does not read) is given up. -EBADF once it is gone; -EALREADY for a second abort. */
SLUICE_API int sluice_abort(struct sluice_stack *st, sluice_conn_t c);

/** Which connections: 0 in ports, prefix lengths fits all; prefixes are of the v4-mapped form. */
#define SLUICE_ANY_VRF UINT32_MAX
struct sluice_conn_pattern {
	size_t size;
	uint32_t vrf; /* SLUICE_ANY_VRF: any */
	struct sluice_addr local, remote;
	uint8_t local_plen, remote_plen;  /* bits, 0..128 */
	uint16_t local_port, remote_port; /* host order */
	enum sluice_state min_state,
	    max_state; /* of SYN_SENT..TIME_WAIT; listeners are left alone */
};
/**
 * Administrative abort: all connections that fit are reset; their users hear disconnected with
 * ECONNABORTED. Half-open and TIME_WAIT entries go too. Returns how many (tcp_admin_aborts), -EINVAL,
 * -EXDEV from a squeue of another number, -ENOBUFS. A connection that is made, or
 * moves, meanwhile may stay.
 */
SLUICE_API int64_t sluice_abort_matching(
    struct sluice_stack *st, const struct sluice_conn_pattern *p);

/* ---- data calls of the event API: on the squeue ---- */

/** Bytes readable. */
SLUICE_API ssize_t sluice_readable(struct sluice_stack *st, sluice_conn_t c);
/** Up to n vectors over the readable bytes, not consumed; valid until the next call on c. Returns
 * how many were filled. */
SLUICE_API int sluice_peek(struct sluice_stack *st, sluice_conn_t c, struct iovec *iov, int n);
/** Drop the first n readable bytes: the window opens. -EINVAL when n is more than readable. */
SLUICE_API int sluice_consume(struct sluice_stack *st, sluice_conn_t c, size_t n);
/** The first readable bytes, at most max, as a chain that becomes the caller's; *m NULL when there
 * are none. Returns its length. */
SLUICE_API ssize_t sluice_take(
    struct sluice_stack *st, sluice_conn_t c, size_t max, struct rte_mbuf **m);
/** Move up to n readable bytes of `from` to the send queue of `to` (same squeue), untouched.
 * Returns the bytes moved, -EAGAIN: `to` is full. */
SLUICE_API ssize_t sluice_splice(
    struct sluice_stack *st, sluice_conn_t from, sluice_conn_t to, size_t n);
/** Bytes that send would take now. */
SLUICE_API ssize_t sluice_sendable(struct sluice_stack *st, sluice_conn_t c);

/** What a connection is doing. Synchronous. */
struct sluice_conn_info {
	size_t size;
	enum sluice_state state;
	uint32_t mss, cwnd, ssthresh, snd_wnd, rcv_wnd, flight;
	uint64_t srtt, rttvar, rto; /* ns */
	uint64_t bytes_in, bytes_out, segs_in, segs_out, retrans, rtos, recoveries;
	uint32_t snd_una, snd_nxt, rcv_nxt;
	uint32_t sndq, rcvq, ooo; /* bytes */
	bool sack, timestamps;
	uint8_t snd_wscale, rcv_wscale;
	char cc[16];
};
SLUICE_API int sluice_conn_info(
    struct sluice_stack *st, sluice_conn_t c, struct sluice_conn_info *info);

#ifdef __cplusplus
}
#endif
#endif
