/* SPDX-License-Identifier: BSD-3-Clause */
/* Where packets of a tuple go, for people: each squeue is asked what its table and its port say. */
#include <errno.h>
#include <string.h>

#include <ctl/ctl_int.h>
#include <ip/ip_int.h>

static int tuple_key(const struct sluice_tuple *t, struct sl_key *key)
{
	memset(key, 0, sizeof(*key));
	if (t->laddr == NULL || t->raddr == NULL || sl_parse_addr(t->laddr, &key->laddr) < 0 ||
	    sl_parse_addr(t->raddr, &key->raddr) < 0 ||
	    sl_addr_is4(&key->laddr) != sl_addr_is4(&key->raddr))
		return -EINVAL;
	key->lport = htons(t->lport);
	key->rport = htons(t->rport);
	key->vrf = t->vrf;
	return 0;
}

int sluice_steering(struct sluice_stack *st, unsigned int port, const struct sluice_tuple *t,
    struct sluice_steering *out)
{
	struct sluice_args args = {{0}};
	struct sl_key key;

	if (t->size < sizeof(*t) || out->size < sizeof(*out) || tuple_key(t, &key) < 0)
		return -EINVAL;
	if (port >= st->nports)
		return -ENOENT;
	memcpy(args.a, &key, sizeof(key));
	args.a[5] = port;
	out->owner = -1;
	for (unsigned int i = 0; i < st->nsq; i++) {
		int64_t rc = sl_synch_call(st, i, SL_OP_STEER, SLUICE_CONN_NONE, &args);

		if (rc < 0)
			return (int)rc;
		out->queue = SL_STEER_QUEUE(rc);
		out->squeue = SL_STEER_PLACE(rc);
		if (SL_STEER_OWNER(rc) == (int)i)
			out->owner = (int)i;
	}
	out->kind = st->nsq == 1      ? SLUICE_STEERING_ONE
		    : out->queue >= 0 ? SLUICE_STEERING_KNOWN
				      : SLUICE_STEERING_UNKNOWN;
	return 0;
}
