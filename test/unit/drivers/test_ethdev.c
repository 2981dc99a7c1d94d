/* SPDX-License-Identifier: BSD-3-Clause */
/* ethdev over net_ring (a port that receives what it sends) and net_null, on an EAL without
 * hugepages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_thash.h>

#include "../../../drivers/ethdev/ethdev.h"
#include "frames.h"

#define RING 64
#define POOL 512

static struct rte_mempool *mp, *small;
static struct rte_ring *ring;
static struct sluice_driver d;
static unsigned int ports;

static uint16_t loop_port(void)
{
	char name[16];
	int port;

	snprintf(name, sizeof(name), "loop%u", ports++);
	port = rte_eth_from_rings(name, &ring, 1, &ring, 1, 0);
	assert_true(port >= 0);
	return (uint16_t)port;
}

static struct sluice_ethdev_params set_up(uint16_t port)
{
	return (struct sluice_ethdev_params){.size = sizeof(struct sluice_ethdev_params),
	    .port_id = port,
	    .nqueues = 1,
	    .rx_pool = mp};
}

/* A port that the embedder has configured with these offloads and started. */
static void configure(uint16_t port, uint16_t nq, uint64_t tx_offloads)
{
	struct rte_eth_conf c = {.txmode.offloads = tx_offloads};
	struct rte_eth_dev_info di;

	assert_int_equal(rte_eth_dev_info_get(port, &di), 0);
	if (nq > 1) {
		c.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		c.rx_adv_conf.rss_conf.rss_hf = di.flow_type_rss_offloads;
	}
	assert_int_equal(rte_eth_dev_configure(port, nq, nq, &c), 0);
	for (uint16_t q = 0; q < nq; q++) {
		assert_int_equal(rte_eth_rx_queue_setup(port, q, 64, 0, NULL, mp), 0);
		assert_int_equal(rte_eth_tx_queue_setup(port, q, 64, 0, NULL), 0);
	}
	assert_int_equal(rte_eth_dev_start(port), 0);
}

static void destroy(void)
{
	d.ops->destroy(d.ctx);
	assert_int_equal(rte_mempool_avail_count(mp), POOL - 1);
	assert_int_equal(rte_mempool_avail_count(small), POOL - 1);
}

static struct sluice_port_info info(void)
{
	struct sluice_port_info i = {.size = sizeof(i)};

	assert_int_equal(d.ops->info(d.ctx, &i), 0);
	return i;
}

static struct sluice_port_stats stats(void)
{
	struct sluice_port_stats s = {.size = sizeof(s)};

	d.ops->stats(d.ctx, &s);
	return s;
}

/* Sent chains come back as they were, marks of the sender off; what does not fit stays the
 * caller's. */
static void set_up_and_loop(void **state)
{
	struct sluice_ethdev_params p = set_up(loop_port());
	uint16_t port = p.port_id, k;
	struct fr f = {.kind = FR_TCP4, .len = 1000, .id = 1};
	struct rte_mbuf *m[RING + 8];

	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_int_equal(info().caps, SLUICE_CAP_TX_MULTISEG | SLUICE_CAP_TX_INDIRECT);
	assert_int_equal(info().nqueues, 1);
	assert_int_equal(info().mtu, 1500);
	assert_true(info().link_up);
	assert_null(d.ops->steer);
	for (k = 0; k < RING + 8; k++)
		m[k] = fr_make(mp, &f, 300);
	m[0]->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	/* rte_ring holds one less than its size. */
	assert_int_equal(d.ops->tx(d.ctx, 0, m, RING + 8, 0), RING - 1);
	for (k = RING - 1; k < RING + 8; k++)
		rte_pktmbuf_free(m[k]);
	assert_int_equal(d.ops->rx(d.ctx, 0, m, RING, 0), RING - 1);
	for (k = 0; k < RING - 1; k++) {
		assert_int_equal(m[k]->nb_segs, 4);
		assert_int_equal(m[k]->ol_flags, 0);
		rte_pktmbuf_free(m[k]);
	}
	assert_int_equal(stats().tx_pkts, RING - 1);
	assert_int_equal(stats().rx_pkts, RING - 1);
	d.ops->idle(d.ctx, 0);
	destroy();
	assert_false(rte_eth_dev_is_valid_port(port));
}

/* An adopted port without multi-segment transmit gets one buffer per packet; destroy leaves it
 * running. */
static void adopted_linearizes(void **state)
{
	uint16_t port = loop_port();
	struct sluice_ethdev_params p = set_up(port);
	struct fr f = {.kind = FR_TCP4, .len = 1500, .id = 9};
	struct rte_mbuf *m[RING + 8], *r;
	uint8_t want[1500];
	uint16_t sent;

	configure(port, 1, 0);
	p.adopt = true;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_int_equal(info().caps, SLUICE_CAP_TX_INDIRECT);
	fr_bytes(&f, want);
	for (int i = 0; i < RING + 8; i++)
		m[i] = fr_make(mp, &f, i % 3 ? 700 : 2000);
	sent = d.ops->tx(d.ctx, 0, m, RING + 8, 0);
	assert_int_equal(sent, RING - 1);
	for (int i = sent; i < RING + 8; i++) {
		assert_int_equal(m[i]->nb_segs, i % 3 ? 3 : 1);
		rte_pktmbuf_free(m[i]);
	}
	for (int i = 0; i < sent; i++) {
		assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
		assert_int_equal(r->nb_segs, 1);
		assert_int_equal(r->data_len, 1500);
		assert_memory_equal(rte_pktmbuf_mtod(r, void *), want, 1500);
		rte_pktmbuf_free(r);
	}
	destroy();
	assert_int_equal(rte_eth_dev_stop(port), 0);
	assert_int_equal(rte_eth_dev_close(port), 0);
}

/* A port that must not see indirect mbufs gets copies; one too long for any buffer is dropped and
 * counted; with the pool empty nothing is taken and nothing lost. */
static void guards(void **state)
{
	struct sluice_ethdev_params p = set_up(loop_port());
	struct fr f = {.kind = FR_TCP4, .len = 1500, .id = 9};
	struct rte_mbuf *m[2], *data, *r, *all[POOL];
	unsigned int n;

	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	((struct ethdev *)d.ctx)->caps &=
	    ~(uint32_t)(SLUICE_CAP_TX_INDIRECT | SLUICE_CAP_TX_MULTISEG);
	data = fr_make(mp, &f, 2000);
	m[0] = rte_pktmbuf_clone(data, small);
	m[1] = fr_tcp(small, 3);
	assert_int_equal(d.ops->tx(d.ctx, 0, m, 2, 0), 2);
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	assert_true(RTE_MBUF_DIRECT(r));
	assert_ptr_equal(r->pool, mp);
	assert_int_equal(fr_id(r), 9);
	rte_pktmbuf_free(r);
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	assert_ptr_equal(r, m[1]);
	rte_pktmbuf_free(r);

	m[0] = rte_pktmbuf_clone(data, small);
	for (n = 0; (all[n] = rte_pktmbuf_alloc(mp)); n++)
		;
	assert_int_equal(d.ops->tx(d.ctx, 0, m, 1, 0), 0);
	rte_pktmbuf_free_bulk(all, n);
	assert_int_equal(d.ops->tx(d.ctx, 0, m, 1, 0), 1);
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	rte_pktmbuf_free(r);
	rte_pktmbuf_free(data);

	f.len = 2000;
	m[0] = fr_make(mp, &f, 1000);
	rte_pktmbuf_chain(m[0], fr_make(mp, &f, 1000));
	m[1] = fr_tcp(mp, 4);
	assert_int_equal(d.ops->tx(d.ctx, 0, m, 2, 0), 2);
	assert_int_equal(stats().tx_errors, 1);
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	assert_int_equal(fr_id(r), 4);
	rte_pktmbuf_free(r);
	destroy();
}

static void ext_free(void *addr, void *opaque)
{
	(*(int *)opaque)++;
}

/* A port that keeps what it sent gets a copy of external memory, in a chain where it is long, and all
 * else as it is. */
static void keeps_no_external_memory(void **state)
{
	static uint8_t memory[5000];
	struct rte_mbuf_ext_shared_info si = {.free_cb = ext_free};
	struct sluice_ethdev_params p = set_up(loop_port());
	struct rte_mbuf *m[2], *own, *r;
	uint8_t copy[5000];
	const uint8_t *b;
	int freed = 0;

	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_false(((struct ethdev *)d.ctx)->keeps);
	((struct ethdev *)d.ctx)->keeps = true;
	((struct ethdev *)d.ctx)->caps |= SLUICE_CAP_TX_INDIRECT | SLUICE_CAP_TX_MULTISEG;
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 13 >> 3);
	si.fcb_opaque = &freed;
	rte_mbuf_ext_refcnt_set(&si, 1);
	m[0] = rte_pktmbuf_alloc(small);
	rte_pktmbuf_attach_extbuf(m[0], memory, 0, sizeof(memory), &si);
	m[0]->data_off = 0;
	m[0]->data_len = sizeof(memory);
	m[0]->pkt_len = sizeof(memory);
	own = fr_tcp(mp, 7);
	m[1] = rte_pktmbuf_clone(own, small);
	assert_int_equal(d.ops->tx(d.ctx, 0, m, 2, 0), 2);
	assert_int_equal(freed, 1); /* before the receiver has looked at anything */
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	assert_true(r->nb_segs > 1 && r->pkt_len == sizeof(memory));
	b = rte_pktmbuf_read(r, 0, sizeof(copy), copy);
	assert_memory_equal(b, memory, sizeof(memory));
	rte_pktmbuf_free(r);
	assert_int_equal(d.ops->rx(d.ctx, 0, &r, 1, 0), 1);
	assert_ptr_equal(r, m[1]);
	rte_pktmbuf_free(r);
	rte_pktmbuf_free(own);
	destroy();
}

/* What a port's driver does in DPDK; its headers for drivers are not installed. */
struct rte_eth_dev *rte_eth_dev_get_by_name(const char *name);
int rte_eth_dev_callback_process(
    struct rte_eth_dev *dev, enum rte_eth_event_type event, void *ret_param);

static void note(void *arg, enum sluice_port_event ev)
{
	((int *)arg)[ev]++;
}

static void events(void **state)
{
	struct sluice_ethdev_params p = set_up(loop_port());
	char name[RTE_ETH_NAME_MAX_LEN];
	int ev[4] = {0};

	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	d.ops->events(d.ctx, note, ev);
	assert_int_equal(ev[0] + ev[1] + ev[2] + ev[3], 0);
	assert_int_equal(rte_eth_dev_set_link_down(p.port_id), 0);
	d.ops->events(d.ctx, note, ev);
	d.ops->events(d.ctx, note, ev);
	assert_int_equal(ev[SLUICE_PORT_LINK_DOWN], 1);
	assert_false(info().link_up);
	assert_int_equal(rte_eth_dev_set_link_up(p.port_id), 0);
	assert_int_equal(rte_eth_dev_get_name_by_port(p.port_id, name), 0);
	rte_eth_dev_callback_process(rte_eth_dev_get_by_name(name), RTE_ETH_EVENT_INTR_RESET, NULL);
	d.ops->events(d.ctx, note, ev);
	d.ops->events(d.ctx, note, ev);
	assert_int_equal(ev[SLUICE_PORT_LINK_UP], 1);
	assert_int_equal(ev[SLUICE_PORT_RESET], 1);
	((struct ethdev *)d.ctx)->removed = true;
	d.ops->events(d.ctx, note, ev);
	assert_int_equal(ev[SLUICE_PORT_REMOVED], 1);
	destroy();
}

/* net_null has a key and a table: steer() is Toeplitz over the tuple, then the table. */
static void steering(void **state)
{
	struct sluice_ethdev_params p;
	struct rte_eth_rss_reta_entry64 r[2];
	struct rte_eth_dev_info di;
	uint8_t key[64] = {0};
	struct rte_eth_rss_conf conf = {.rss_key = key, .rss_key_len = 40};
	struct sluice_addr s, t;
	unsigned int seen[4] = {0};
	uint16_t port;

	assert_int_equal(rte_vdev_init("net_null7", NULL), 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_null7", &port), 0);
	p = set_up(port);
	p.nqueues = 4;
	configure(port, 4, 0);
	assert_int_equal(rte_eth_dev_info_get(port, &di), 0);
	assert_int_equal(di.reta_size, 128);
	for (int i = 0; i < 128; i++) {
		r[i / 64].mask = UINT64_MAX;
		r[i / 64].reta[i % 64] = (uint16_t)(i * 5 % 4);
	}
	assert_int_equal(rte_eth_dev_rss_reta_update(port, r, 128), 0);
	assert_int_equal(rte_eth_dev_rss_hash_conf_get(port, &conf), 0);
	p.adopt = true;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t v4[3] = {0x0a000001 + i, 0x0a000002, 1000u << 16 | (80 + i)};
		uint32_t v6[9] = {0xfd000000, 0, 0, i, 0xfd000000, 0, 0, 7, 1000u << 16 | (80 + i)};
		uint16_t sp = rte_cpu_to_be_16(1000), dp = rte_cpu_to_be_16((uint16_t)(80 + i));
		int q;

		s = fr_addr(false, v4[0]);
		t = fr_addr(false, v4[1]);
		q = d.ops->steer(d.ctx, &s, &t, sp, dp);
		assert_int_equal(q, rte_softrss(v4, 3, key) % 128 * 5 % 4);
		seen[q]++;
		s = fr_addr(true, v6[3]);
		t = fr_addr(true, v6[7]);
		q = d.ops->steer(d.ctx, &s, &t, sp, dp);
		assert_int_equal(q, rte_softrss(v6, 9, key) % 128 * 5 % 4);
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(seen[i], 20, 80);
	/* With a table that the driver cannot know, nobody can tell. */
	((struct ethdev *)d.ctx)->reta_size = 0;
	assert_int_equal(d.ops->steer(d.ctx, &s, &t, 1, 2), -1);
	destroy();

	/* The same port set up by the driver. */
	assert_int_equal(rte_eth_dev_stop(port), 0);
	p.adopt = false;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_int_equal(info().nqueues, 4);
	assert_in_range(d.ops->steer(d.ctx, &s, &t, 1, 2), 0, 3);
	destroy();
	rte_vdev_uninit("net_null7");
}

/* Anew: packets go on, a tuple's queue is the same. */
static void reset(void **state)
{
	struct sluice_ethdev_params p = set_up(loop_port());
	struct fr f = {.kind = FR_TCP4, .len = 100, .id = 1};
	struct sluice_addr s = fr_addr(false, 0x0a000001), t = fr_addr(false, 0x0a000002);
	struct rte_eth_rss_reta_entry64 r[2] = {{.mask = UINT64_MAX}, {.mask = UINT64_MAX}};
	struct rte_mbuf *m[2];
	int was[200];
	uint16_t port;

	p.rx_intr = true; /* asked for, not to be had */
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	for (int i = 0; i < 3; i++) {
		int fd[1];

		m[0] = fr_make(mp, &f, 300);
		assert_int_equal(d.ops->tx(d.ctx, 0, m, 1, 0), 1);
		assert_int_equal(d.ops->rx(d.ctx, 0, m, 2, 0), 1);
		rte_pktmbuf_free(m[0]);
		assert_int_equal(d.ops->arm(d.ctx, 0, fd, 1), -ENOTSUP);
		assert_int_equal(d.ops->reset(d.ctx), 0);
		assert_true(info().link_up);
	}
	destroy();

	assert_int_equal(rte_vdev_init("net_null9", NULL), 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_null9", &port), 0);
	p = set_up(port);
	p.nqueues = 4;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	for (uint16_t i = 0; i < 200; i++)
		was[i] = d.ops->steer(d.ctx, &s, &t, i, 80);
	/* As if the device had lost its table, which says queues 1 to 3. */
	assert_int_equal(d.ops->spread(d.ctx, 0xe), 0);
	assert_int_equal(rte_eth_dev_rss_reta_update(port, r, 128), 0);
	assert_int_equal(d.ops->reset(d.ctx), 0);
	for (uint16_t i = 0; i < 200; i++)
		assert_int_equal(d.ops->steer(d.ctx, &s, &t, i, 80), was[i]);
	assert_int_equal(rte_eth_dev_rss_reta_query(port, r, 128), 0);
	for (int i = 0; i < 128; i++)
		assert_in_range(r[i / 64].reta[i % 64], 1, 3);
	/* Told during a reset where to deliver: with the table. */
	((struct ethdev *)d.ctx)->down = true;
	assert_int_equal(d.ops->spread(d.ctx, 1), 0);
	assert_int_equal(rte_eth_dev_rss_reta_query(port, r, 128), 0);
	for (int i = 0; i < 128; i++)
		assert_in_range(r[i / 64].reta[i % 64], 1, 3);
	assert_int_equal(d.ops->reset(d.ctx), 0);
	assert_int_equal(rte_eth_dev_rss_reta_query(port, r, 128), 0);
	for (int i = 0; i < 128; i++)
		assert_int_equal(r[i / 64].reta[i % 64], 0);
	for (uint16_t i = 0; i < 200; i++)
		assert_int_equal(d.ops->steer(d.ctx, &s, &t, i, 80), was[i]);
	assert_int_equal(info().nqueues, 4);
	destroy();
	rte_vdev_uninit("net_null9");

	/* Of a port that somebody else has set up, that one is the master. */
	p = set_up(loop_port());
	configure(p.port_id, 1, 0);
	p.adopt = true;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_null(d.ops->reset);
	destroy();
}

static void raw_l3_and_mtu(void **state)
{
	struct sluice_ethdev_params p;
	struct rte_mbuf *m[4];
	uint16_t port, n;

	assert_int_equal(rte_vdev_init("net_null8", "size=80"), 0);
	assert_int_equal(rte_eth_dev_get_port_by_name("net_null8", &port), 0);
	p = set_up(port);
	p.l3 = true;
	p.mtu = 1400;
	p.no_offload = true;
	assert_int_equal(sluice_ethdev_create(&p, &d), 0);
	assert_true(info().caps & SLUICE_CAP_L3);
	assert_int_equal(info().mtu, 1400);
	assert_int_equal(info().mac[0], 0);
	n = d.ops->rx(d.ctx, 0, m, 4, 0);
	assert_int_equal(n, 4);
	assert_int_equal(d.ops->tx(d.ctx, 0, m, n, 0), 4);
	assert_int_equal(stats().tx_pkts, 4);
	destroy();
	assert_int_equal(rte_vdev_uninit("net_null8") == 0 || !rte_eth_dev_is_valid_port(port), 1);
}

static void bad_parameters(void **state)
{
	struct sluice_ethdev_params p = set_up(RTE_MAX_ETHPORTS - 1);
	uint16_t port;

	assert_int_equal(sluice_ethdev_create(&p, &d), -ENODEV);
	assert_int_equal(sluice_ethdev_create(NULL, &d), -EINVAL);
	port = loop_port();
	p = set_up(port);
	p.rx_pool = NULL;
	assert_int_equal(sluice_ethdev_create(&p, &d), -EINVAL);
	p = set_up(port);
	p.nqueues = 0;
	assert_int_equal(sluice_ethdev_create(&p, &d), -EINVAL);
	/* The port has one queue; it stays as it was. */
	p.nqueues = 2;
	assert_int_equal(sluice_ethdev_create(&p, &d), -EINVAL);
	assert_int_equal(rte_eth_dev_close(port), 0);
}

int main(void)
{
	static char args[][16] = {"test_ethdev", "--no-huge", "--no-shconf", "--no-pci",
	    "--no-telemetry", "-m", "64", "-l", "0"};
	char *argv[RTE_DIM(args) + 1] = {NULL};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(set_up_and_loop),
	    cmocka_unit_test(adopted_linearizes),
	    cmocka_unit_test(keeps_no_external_memory),
	    cmocka_unit_test(guards),
	    cmocka_unit_test(events),
	    cmocka_unit_test(steering),
	    cmocka_unit_test(reset),
	    cmocka_unit_test(raw_l3_and_mtu),
	    cmocka_unit_test(bad_parameters),
	};
	int rc;

	for (size_t i = 0; i < RTE_DIM(args); i++)
		argv[i] = args[i];
	if (rte_eal_init((int)RTE_DIM(args), argv) < 0)
		return 99;
	mp =
	    rte_pktmbuf_pool_create("rx", POOL - 1, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	small = rte_pktmbuf_pool_create(
	    "hdr", POOL - 1, 0, 0, 256 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	ring = rte_ring_create("loop", RING, SOCKET_ID_ANY, 0);
	if (!mp || !small || !ring)
		return 99;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rte_eal_cleanup();
	return rc;
}
