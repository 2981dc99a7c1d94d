/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IP layer as TCP and configuration see it. One struct sl_ip per squeue; nothing is shared
 * between squeues but the immutable snapshot of the configuration, of which each squeue holds its
 * own copy.
 */
#ifndef SL_IP_INT_H
#define SL_IP_INT_H

#include <base/key.h>
#include <squeue/squeue_int.h>

#define SL_IP_MAX_IFS 256
#define SL_IP_PORT_NONE 0xffff

/* ---- addresses ---- */
bool sl_addr_multicast(const struct sluice_addr *a); /* or 255.255.255.255 */

/* ---- configuration snapshot: immutable once built, a copy per squeue ---- */
struct sl_cfg_addr {
	struct sluice_addr addr;
	uint8_t plen;   /* 0..128, of the v4-mapped form for IPv4 (96 + n) */
	bool on_prefix; /* all of the prefix is local */
	bool linklocal;
	uint16_t ifidx;
};
struct sl_cfg_route {
	struct sluice_addr prefix, via; /* via zero: on link */
	uint8_t plen;
	uint16_t ifidx;
	uint32_t vrf;
};
struct sl_cfg_neigh {
	struct sluice_addr addr;
	uint8_t mac[6];
	uint16_t ifidx;
};
struct sl_cfg_if {
	char name[16];
	uint16_t port; /* SL_IP_PORT_NONE: virtual */
	uint16_t vlan[2];
	uint16_t mtu; /* resolved, never 0 */
	uint32_t vrf;
	uint8_t mac[6];
	bool l3;   /* raw IP port: no neighbours */
	bool used; /* free rows keep indices stable */
};
struct sl_cfg {
	uint32_t generation;
	uint32_t nifs, naddrs, nroutes, nneighs, nvrfs;
	struct sl_cfg_if *ifs; /* indexed by ifidx */
	struct sl_cfg_addr *addrs;
	/* Connected routes included; sorted by vrf, then longest prefix first */
	struct sl_cfg_route *routes;
	struct sl_cfg_neigh *neighs;
	uint32_t *vrfs;
	struct sluice_tunables tun;
};
/** Deep copy in one allocation (free with free()); NULL without memory. Only its results may go to
 * sl_ip_config: lookup tables lie behind. */
struct sl_cfg *sl_cfg_copy(const struct sl_cfg *c);

/* ---- received packets ---- */
enum sl_pkt_flags {
	SL_PKT_LOCAL = 1u << 0,     /* from this stack itself */
	SL_PKT_FORWARDED = 1u << 1, /* classified by another squeue */
	SL_PKT_LRO = 1u << 2,       /* coalesced by the NIC: longer than a segment */
	SL_PKT_CE = 1u << 3,        /* ECN CE mark */
};
/** A TCP segment, IP and checksum verified; the header's first 20 bytes are contiguous, the whole
 * header after input's pull-up. */
struct sl_pkt {
	struct rte_mbuf *m; /* data begins at the TCP header; padding is trimmed */
	struct sl_key key;  /* local = destination; ports filled */
	uint16_t len;       /* TCP header and payload */
	uint16_t ifidx;
	uint8_t ttl, tos, flags, port;
};

/** An ICMP error that quotes one of our segments. */
struct sl_icmp_err {
	struct sl_key key; /* of the quoted segment: local = its source */
	uint32_t seq;      /* its sequence number */
	int err; /* errno: EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EMSGSIZE (mtu), EPROTO... */
	/*
	 * RFC 1122 4.2.3.9: hard error codes (only before ESTABLISHED they end a connection, RFC
	 * 5461)
	 */
	bool hard;
	uint32_t mtu; /* EMSGSIZE: next-hop MTU, checked against the floors; 0 unknown */
};

/* ---- where packets of a connection go ---- */
/** Embedded in connections and half-open entries. Zeroed by its owner, then sl_flow_init. */
struct sl_flow {
	uint32_t nh;    /* neighbour index of the squeue, 0 none */
	uint32_t gen;   /* sl_ip.generation when resolved; differs: route again */
	uint16_t ifidx; /* output interface */
	uint16_t mtu;   /* path MTU: of the interface, lowered by ICMP */
	uint8_t ttl, tos;
	uint8_t state;                   /* enum sl_flow_state */
	uint8_t kind;                    /* enum sl_flow_kind: what it is embedded in */
	uint32_t flowlabel;              /* IPv6, network order */
	uint16_t mss_mtu;                /* TCP's: the mtu that its MSS was made of */
	struct sl_flow *wnext, **wpprev; /* waiting for the neighbour; wpprev NULL: not waiting */
};
enum sl_flow_state {
	SL_FLOW_NEW,
	SL_FLOW_OK,
	SL_FLOW_LOCAL,
	SL_FLOW_WAIT,
	SL_FLOW_FAILED
};
enum sl_flow_kind {
	SL_FLOW_CONN,
	SL_FLOW_HALF
};

struct sl_ip_hooks {
	/** n <= SL_BURST segments; takes all mbufs. */
	void (*tcp_input)(struct sluice_squeue *sq, struct sl_pkt *pkts, unsigned int n);
	void (*tcp_icmp)(struct sluice_squeue *sq, const struct sl_icmp_err *e);
	/** The flow waited for a neighbour: err 0, it can send now; else -EHOSTUNREACH. */
	void (*flow_ready)(struct sluice_squeue *sq, struct sl_flow *f, int err);
	/** Which squeue owns this key? -1 unknown: mine. SL_OWNER_LATE is added when its connection
	 * was here and has left. (Several squeues only.) */
	int (*tcp_owner)(struct sluice_squeue *sq, const struct sl_key *key);
};
#define SL_OWNER_LATE 256

/* ip.c */
int sl_ip_create(struct sluice_squeue *sq, const struct sl_ip_hooks *hooks);
void sl_ip_destroy(struct sluice_squeue *sq);
/** The `input` hook of the squeue: frames of a port. */
void sl_ip_input(struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts,
    unsigned int n, bool forwarded);
/** As sluice_input: foreign frames come back at the front of pkts; returns their number. */
unsigned int sl_ip_input_push(
    struct sluice_squeue *sq, unsigned int port, struct rte_mbuf **pkts, unsigned int n);
/** Install a snapshot (ownership passes; the former one is freed). Starts DAD, drops what is gone,
 * re-routes flows lazily. */
void sl_ip_config(struct sluice_squeue *sq, struct sl_cfg *cfg);
const struct sl_cfg *sl_ip_cfg(const struct sluice_squeue *sq);
/** Zone (interface index + 1) of a link-local address: that of scope, if there is such an interface
 * in the VRF; for scope 0 the only interface that has one. -EINVAL, -ENETUNREACH. */
int sl_ip_zone(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a, uint32_t scope);
int sl_ip_addr_state(struct sluice_squeue *sq, uint16_t ifidx, const struct sluice_addr *a);
/** Deliver packets sent to ourselves; called once a pass. Returns how many. */
unsigned int sl_ip_run_local(struct sluice_squeue *sq);
bool sl_ip_local_pending(const struct sluice_squeue *sq);

/* route.c */
/** Is it an address of ours in this VRF (ready, or 127/8 and ::1)? */
bool sl_ip_is_local(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a);
/** Is it the broadcast address of a network that we are on (RFC 1122 3.2.1.3 d)? Not for every
 * packet: it looks up a route. */
bool sl_ip_is_broadcast(struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *a);
/** Source address for dst (RFC 6724 rules 1, 2, 5, 8 for IPv6; the route's interface for IPv4). 0,
 * -ENETUNREACH, -EADDRNOTAVAIL. */
int sl_ip_source(
    struct sluice_squeue *sq, uint32_t vrf, const struct sluice_addr *dst, struct sluice_addr *src);
/** Prepare a flow for key (laddr, raddr, vrf set). 0, -ENETUNREACH. */
int sl_flow_init(
    struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key, enum sl_flow_kind kind);
void sl_flow_fini(struct sluice_squeue *sq, struct sl_flow *f);
/** The flow has come from another squeue (which has called sl_flow_fini): its next packet looks for
 * the way anew; a lowered path MTU stays. */
void sl_flow_moved(struct sluice_squeue *sq, struct sl_flow *f);
/** Slow half of sl_flow_ready. */
int sl_flow_resolve(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key);
/** New data was acknowledged: the neighbour is reachable. Cheap enough for every such ACK. */
void sl_flow_confirm(struct sluice_squeue *sq, const struct sl_flow *f);
/** Nothing comes back (R1, RFC 9293 3.8.3; RFC 1122 3.3.1.4): the neighbour is asked at the next
 * packet, and another one is looked for should it not answer. */
void sl_flow_doubt(struct sluice_squeue *sq, const struct sl_flow *f);
/** ICMP too big: lower the path MTU; expires after 10 minutes back to the interface's. */
void sl_flow_mtu(struct sluice_squeue *sq, struct sl_flow *f, uint16_t mtu);
/** What the output port can do for this flow: SLUICE_CAP_* and the most payload of one TSO packet
 * (0: none). */
uint32_t sl_flow_caps(const struct sluice_squeue *sq, const struct sl_flow *f, uint32_t *tso_max);
/** Bytes to leave in front of the TCP header. */
#define SL_IP_HEADROOM 64

/* output.c */
/**
 * May a packet of the flow be sent now? 0; -EAGAIN: no room on the port (the connection stays on
 * the output list); -EINPROGRESS: the neighbour is being resolved (flow_ready will be called);
 * -ENETUNREACH, -EHOSTUNREACH.
 */
int sl_flow_ready(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key);
/** The port that the flow goes out of; SL_MAX_PORTS: none, it is delivered here. */
unsigned int sl_flow_port(const struct sluice_squeue *sq, const struct sl_flow *f);
/** Moves whenever routes, interfaces or addresses have: what flows keep is out of date then. */
uint32_t sl_ip_generation(const struct sluice_squeue *sq);
/** How many more data packets the flow's port takes in this pass. */
unsigned int sl_flow_room(struct sluice_squeue *sq, const struct sl_flow *f);
/**
 * Send a segment after sl_flow_ready said 0: cannot fail. m begins at the TCP header (th_len bytes
 * of it), whose checksum field is zero; SL_IP_HEADROOM bytes of headroom; pkt_len right. tso_mss >
 * 0: a TSO packet. IP, L2 header, checksums, linearisation, local delivery and staging are done
 * here. Takes m.
 */
void sl_flow_send(struct sluice_squeue *sq, struct sl_flow *f, const struct sl_key *key,
    struct rte_mbuf *m, uint8_t th_len, uint16_t tso_mss);
/** Stateless reply (RST, ACK of TIME_WAIT) along a fresh route: dropped and counted when it cannot
 * go at once. Takes m. */
void sl_ip_send_stateless(struct sluice_squeue *sq, const struct sl_key *key, struct rte_mbuf *m,
    uint8_t th_len, uint8_t tos);
/** An mbuf from the header pool with SL_IP_HEADROOM, data_len 0; NULL counts port_tx_nomem. */
struct rte_mbuf *sl_hdr_alloc(struct sluice_squeue *sq);

/* steer.c */
/** The place of a tuple: the squeue to which packets from (raddr, rport) to (laddr, lport) come, by
 * the port's steering or by the stack's own hash. */
unsigned int sl_steer(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key);
/** The same for the packets that come back to this flow. */
unsigned int sl_flow_steer(
    struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *key);
/** Queues of the port that the flow takes, 0: it goes to ourselves. */
unsigned int sl_flow_queues(struct sluice_squeue *sq, const struct sl_flow *f);
/** The squeue where the port delivers them now, which is another one while some are parked; -1: nobody
 * can tell, or it does not matter. */
int sl_flow_arrives(struct sluice_squeue *sq, const struct sl_flow *f, const struct sl_key *key);
/** All that this squeue knows about a tuple, packed (for the operation that asks). */
int64_t sl_steer_show(struct sluice_squeue *sq, unsigned int port, const struct sl_key *key);
#define SL_STEER_SHOWN(owner, place, queue) \
	((int64_t)((owner) + 1) | (int64_t)(place) << 8 | (int64_t)((queue) + 1) << 16)
#define SL_STEER_OWNER(x) ((int)((x)&0xff) - 1)
#define SL_STEER_PLACE(x) ((unsigned int)((x) >> 8 & 0xff))
#define SL_STEER_QUEUE(x) ((int)((x) >> 16 & 0xffff) - 1)

#endif
