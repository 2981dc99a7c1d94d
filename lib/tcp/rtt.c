/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The round trip and the retransmission time-out: RFC 6298. The estimate is kept as it was
 * measured; limits and back-off are applied where the time-out is asked for, so that a changed
 * limit and a reset back-off take effect at once.
 */
#include <tcp/tcp_int.h>

#define K 4 /* RFC 6298 2.2 */

/* RFC 6298 2.2 and 2.3, in ns: shifts lose less than a microsecond. */
void sl_rtt_sample(struct sluice_squeue *sq, struct sl_conn *c, uint64_t rtt)
{
	SL_COUNT(sq, tcp_rtt_update);
	if (c->srtt == 0) {
		c->srtt = rtt;
		c->rttvar = rtt / 2;
	} else {
		uint64_t err = c->srtt > rtt ? c->srtt - rtt : rtt - c->srtt;

		c->rttvar = (3 * c->rttvar + err) / 4; /* with the old SRTT: the order matters */
		c->srtt = (7 * c->srtt + rtt) / 8;
	}
	if (c->srtt == 0)
		c->srtt = 1; /* 0 says that there is no sample */
}

/* What the estimate says (2.2, 2.3), or, without a sample, what stands in for it; 0: nothing. */
uint64_t sl_rto_estimate(const struct sl_conn *c)
{
	return c->srtt == 0 ? c->rttvar : c->srtt + RTE_MAX((uint64_t)SL_TICK_NS, K * c->rttvar);
}

/*
 * Without a sample the initial value (2.1), unless another was set (5.7: the SYN was
 * lost). Each time-out doubles it (5.5), up to the largest (2.5), which rules over the smallest
 * (2.4) should they be set crosswise.
 */
uint64_t sl_rto(const struct sluice_squeue *sq, const struct sl_conn *c)
{
	uint64_t max = SL_CONN_TUN(sq, c, tcp_rto_max, rto_max);
	uint64_t min = SL_CONN_TUN(sq, c, tcp_rto_min, rto_min);
	uint64_t rto = sl_rto_estimate(c);

	if (rto == 0)
		rto = SL_CONN_TUN(sq, c, tcp_rto_initial, rto_initial);
	if (rto < min)
		rto = min;
	for (unsigned int i = 0; i < c->rtx_shift && rto < max; i++)
		rto *= 2;
	return RTE_MIN(rto, max);
}
