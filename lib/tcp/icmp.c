/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP errors that quote one of our segments, hardened as RFC 5927 says: only what quotes a
 * sequence number in flight counts; an established connection takes no error as its end (RFC 5461);
 * a new path MTU resends without backing off. And the question which squeue a segment belongs to.
 */
#include <errno.h>

#include <tcp/tcp_int.h>

/* A router that says "too big" without saying how big: the next common size below (RFC 1191 7.1).
 */
static uint32_t plateau(uint32_t mtu)
{
	static const uint16_t sizes[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 576};

	for (unsigned int i = 0; i < RTE_DIM(sizes); i++)
		if (sizes[i] < mtu)
			return sizes[i];
	return mtu;
}

static void too_big(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_icmp_err *e)
{
	uint16_t was = c->flow.mtu;
	uint32_t mtu = e->mtu != 0 ? e->mtu : plateau(was);

	if (mtu >= was)
		return;
	sl_flow_mtu(sq, &c->flow, (uint16_t)mtu);
	if (c->flow.mtu >= was || c->state < SLUICE_ESTABLISHED)
		return;
	sl_tcp_set_mss(sq, c);
	sl_recovery_resize(sq, c);
}

static void conn_error(struct sluice_squeue *sq, struct sl_conn *c, const struct sl_icmp_err *e)
{
	if (!seq_ge(e->seq, c->snd_una) || !seq_lt(e->seq, c->snd_max)) {
		SL_COUNT(sq, icmp_in_unmatched);
		return;
	}
	SL_COUNT(sq, icmp_in_errors);
	if (e->err == EMSGSIZE) {
		too_big(sq, c, e);
		return;
	}
	c->soft_err = (int16_t)e->err;
	if (c->state == SLUICE_SYN_SENT || c->state == SLUICE_SYN_RCVD) {
		if (e->hard)
			sl_conn_drop(sq, c, e->err);
		return;
	}
	sl_up(sq, c, SL_D_ERROR);
}

void sl_tcp_icmp(struct sluice_squeue *sq, const struct sl_icmp_err *e)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t ref = sl_conntab_lookup(&t->tab, &e->key, sl_conntab_hash(&t->tab, &e->key));

	if (ref != 0 && SL_REF_KIND(ref) == SL_REF_CONN)
		conn_error(sq, sl_conn_named(sq, ref), e);
	else if (ref != 0 && SL_REF_KIND(ref) == SL_REF_HALF)
		sl_half_icmp(sq, sl_slab_get(&t->halves, SL_REF_IDX(ref)), e);
	else
		SL_COUNT(sq, icmp_in_unmatched); /* TIME_WAIT has nothing in flight */
}

int sl_tcp_owner(struct sluice_squeue *sq, const struct sl_key *key)
{
	struct sl_tcp *t = sl_tcp_of(sq);
	uint32_t ref = sl_conntab_lookup(&t->tab, key, sl_conntab_hash(&t->tab, key));

	if (ref == 0)
		return -1;
	if (SL_REF_KIND(ref) == SL_REF_FWD) {
		const struct sl_fwd *f = sl_slab_get(&t->fwds, SL_REF_IDX(ref));

		return (int)f->to + (f->trace ? SL_OWNER_LATE : 0);
	}
	return sq->id;
}
