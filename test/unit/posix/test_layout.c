/* SPDX-License-Identifier: BSD-3-Clause */
/* struct sluice_tcp_info is the kernel's struct tcp_info, field by field. */
#include <linux/tcp.h>

#include <stddef.h>

#include <sluice/conn.h>

#define SAME(ours, theirs)                                                                 \
	_Static_assert(                                                                    \
	    offsetof(struct sluice_tcp_info, ours) == offsetof(struct tcp_info, theirs) && \
		sizeof(((struct sluice_tcp_info *)0)->ours) ==                             \
		    sizeof(((struct tcp_info *)0)->theirs),                                \
	    #theirs)
#define F(name) SAME(name, tcpi_##name)

F(state);
F(ca_state);
F(retransmits);
F(probes);
F(backoff);
F(options);
F(rto);
F(ato);
F(snd_mss);
F(rcv_mss);
F(unacked);
F(sacked);
F(lost);
F(retrans);
F(fackets);
F(last_data_sent);
F(last_ack_sent);
F(last_data_recv);
F(last_ack_recv);
F(pmtu);
F(rcv_ssthresh);
F(rtt);
F(rttvar);
F(snd_ssthresh);
F(snd_cwnd);
F(advmss);
F(reordering);
F(rcv_rtt);
F(rcv_space);
F(total_retrans);
F(pacing_rate);
F(max_pacing_rate);
F(bytes_acked);
F(bytes_received);
F(segs_out);
F(segs_in);
F(notsent_bytes);
F(min_rtt);
F(data_segs_in);
F(data_segs_out);
F(delivery_rate);
F(busy_time);
F(rwnd_limited);
F(sndbuf_limited);
F(delivered);
F(delivered_ce);
F(bytes_sent);
F(bytes_retrans);
F(dsack_dups);
F(reord_seen);
F(rcv_ooopack);
F(snd_wnd);

/* The bit fields have no offset. */
int main(void)
{
	union {
		struct sluice_tcp_info ours;
		struct tcp_info theirs;
	} u = {.ours = {.snd_wscale = 7, .rcv_wscale = 9, .delivery_rate_app_limited = 1}};

	return u.theirs.tcpi_snd_wscale == 7 && u.theirs.tcpi_rcv_wscale == 9 &&
		       u.theirs.tcpi_delivery_rate_app_limited == 1
		   ? 0
		   : 1;
}
