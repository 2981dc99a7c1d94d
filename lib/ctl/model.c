/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration as its users gave it: plain arrays, copied whole for each transaction. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ctl/ctl_int.h>

void sl_model_init(struct sl_model *m)
{
	memset(m, 0, sizeof(*m));
	sluice_tunables_default(&m->tun);
}

void sl_model_fini(struct sl_model *m)
{
	free(m->addrs);
	free(m->routes);
	free(m->neighs);
	free(m->vrfs);
	m->addrs = NULL;
	m->routes = NULL;
	m->neighs = NULL;
	m->vrfs = NULL;
}

static int dup_rows(void *dst, const void *src, uint32_t n, size_t size)
{
	void *p = NULL;

	if (n > 0) {
		p = malloc(n * size);
		if (p == NULL)
			return -ENOMEM;
		memcpy(p, src, n * size);
	}
	memcpy(dst, &p, sizeof(p));
	return 0;
}

int sl_model_copy(struct sl_model *dst, const struct sl_model *src)
{
	*dst = *src;
	dst->addrs = NULL;
	dst->routes = NULL;
	dst->neighs = NULL;
	dst->vrfs = NULL;
	if (dup_rows(&dst->addrs, src->addrs, src->naddrs, sizeof(*src->addrs)) < 0 ||
	    dup_rows(&dst->routes, src->routes, src->nroutes, sizeof(*src->routes)) < 0 ||
	    dup_rows(&dst->neighs, src->neighs, src->nneighs, sizeof(*src->neighs)) < 0 ||
	    dup_rows(&dst->vrfs, src->vrfs, src->nvrfs, sizeof(*src->vrfs)) < 0) {
		sl_model_fini(dst);
		return -ENOMEM;
	}
	return 0;
}

int sl_model_if(const struct sl_model *m, const char *name)
{
	for (int i = 0; i < SL_IP_MAX_IFS; i++)
		if (m->ifs[i].used && strcmp(m->ifs[i].name, name) == 0)
			return i;
	return -ENOENT;
}

int sl_parse_addr(const char *text, struct sluice_addr *a)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		*a = sl_addr4(v4.s_addr);
		return 0;
	}
	return inet_pton(AF_INET6, text, a->b) == 1 ? 0 : -EINVAL;
}

int sl_parse_prefix(const char *text, struct sluice_addr *a, uint8_t *plen)
{
	char buf[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	unsigned long bits = 128, most;
	char *end;

	if (len >= sizeof(buf))
		return -EINVAL;
	memcpy(buf, text, len);
	buf[len] = '\0';
	if (sl_parse_addr(buf, a) < 0)
		return -EINVAL;
	most = strchr(buf, ':') == NULL ? 32 : 128;
	if (slash != NULL) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		bits = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || bits > most)
			return -EINVAL;
		bits += 128 - most;
	}
	*plen = (uint8_t)bits;
	return 0;
}
