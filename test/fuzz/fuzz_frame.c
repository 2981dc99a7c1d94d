/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One frame, byte for byte as the input has it, in a buffer of exactly its size, given to a stack
 * with one connection in the state that the input chooses; then some time goes by.
 *
 * The input: the peer's place (host.h), how the frame is treated (HOW_*), the frame. Without
 * HOW_RELATIVE a sequence number would have to be guessed; with it the frame's are counted from the
 * connection's.
 */
#include <rte_ip.h>
#include <rte_tcp.h>

#include "host.h"

#define HOW_FIX 1      /* checksums are made right */
#define HOW_RELATIVE 2 /* numbers count from the connection's, port and addresses are its */
#define HOW_TWICE 4    /* the same frame again */
#define HOW_CUTS 0xc0  /* this many cuts into a chain */

/* The frame's TCP header, when there is one right behind the IP header. */
static struct rte_tcp_hdr *tcp_of(struct fuzz *f, bool *v6)
{
	uint16_t type = (uint16_t)(f->frame[12] << 8 | f->frame[13]);
	uint32_t off;

	*v6 = type == 0x86dd;
	if (type == 0x0800 && f->len >= 54)
		off = 14 + (f->frame[14] & 15) * 4u;
	else if (*v6 && f->len >= 74)
		off = 54;
	else
		return NULL;
	if (f->frame[*v6 ? 20 : 23] != 6 || off + 20 > f->len)
		return NULL;
	return (struct rte_tcp_hdr *)(void *)(f->frame + off);
}

static void make_relative(struct fuzz *f, const struct peer *r)
{
	struct rte_tcp_hdr *t;
	bool v6;

	t = tcp_of(f, &v6);
	if (t == NULL || v6 != r->v6)
		return;
	t->src_port = rte_cpu_to_be_16(r->rport);
	t->dst_port = rte_cpu_to_be_16(r->lport);
	t->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(t->sent_seq) + r->snd);
	t->recv_ack = rte_cpu_to_be_32(rte_be_to_cpu_32(t->recv_ack) + r->rcv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct fuzz *f = &fuzz;
	uint8_t how;

	if (size < 2 || size - 2 > MAX_FRAME)
		return -1;
	fuzz_start(f, data, 0, 0);
	fuzz_peer(f, 0, data[0]);
	how = data[1];
	f->len = (uint16_t)(size - 2);
	memset(f->frame, 0, sizeof(f->frame));
	memcpy(f->frame, data + 2, f->len);
	if (how & HOW_RELATIVE)
		make_relative(f, &f->peer[0]);
	if (how & HOW_FIX)
		fix(f);
	for (unsigned int i = 0; i < (how & HOW_TWICE ? 2 : 1); i++)
		give(f, how >> 6);
	poll_some(f);
	for (unsigned int i = 0; i < 3; i++) {
		f->now += SLUICE_MS(300) << 2 * i;
		poll_some(f);
	}
	fuzz_stop(f);
	return 0;
}

bool fuzz_report(void)
{
	return fuzz_states();
}
