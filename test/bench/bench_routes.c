/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a route lookup costs in the snapshot's sorted array, and what a change of the configuration
 * does, for 10, 1,000 and 100,000 routes, beside rte_fib (DIR-24-8), which the same routes fill.
 * Lengths are spread like those of the public table, most of them /24. Each lookup goes to a random
 * address within a random route. Times are of this thread's processor, the best of five.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_fib.h>

#include <ip/ip_priv.h>

#define LOOKUPS 200000u

static struct sluice_addr *dst;
static uint32_t *dst4;

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Of 100 routes, those of each length; the rest are /24. */
static unsigned int length(struct sl_rng *g)
{
	static const struct {
		unsigned int upto, plen;
	} t[] = {
	    {1, 12}, {3, 16}, {5, 18}, {9, 19}, {14, 20}, {19, 21}, {31, 22}, {42, 23}, {44, 32}};
	unsigned int r = (unsigned int)sl_rng_below(g, 100);

	for (unsigned int i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (r < t[i].upto)
			return t[i].plen;
	return 24;
}

static struct sl_cfg_route *make_routes(uint32_t n, struct sl_rng *g)
{
	struct sl_cfg_route *r = calloc(n, sizeof(*r));

	for (uint32_t i = 0; i < n; i++) {
		unsigned int plen = i == 0 ? 0 : length(g);
		uint32_t a = plen == 0 ? 0 : (uint32_t)sl_rng_u64(g) & (UINT32_MAX << (32 - plen));

		r[i].prefix = sl_addr4(htonl(a));
		r[i].plen = (uint8_t)(96 + plen);
	}
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		const struct sl_cfg_route *to = &r[sl_rng_below(g, n)];
		uint32_t host = to->plen == 128 ? 0 : UINT32_MAX >> (to->plen - 96);

		dst4[i] = ntohl(to->prefix.w[3]) | ((uint32_t)sl_rng_u64(g) & host);
		dst[i] = sl_addr4(htonl(dst4[i]));
	}
	return r;
}

static double array_lookup(const struct ip_snap *s)
{
	double best = 1e18;

	for (int k = 0; k < 5; k++) {
		double t = cpu_ns();
		uintptr_t sum = 0;

		for (uint32_t i = 0; i < LOOKUPS; i++)
			sum += (uintptr_t)ip_route(s, 0, &dst[i]);
		__asm__ volatile("" : : "r"(sum));
		t = cpu_ns() - t;
		best = t < best ? t : best;
	}
	return best / LOOKUPS;
}

static double fib_lookup(struct rte_fib *f)
{
	double best = 1e18;

	for (int k = 0; k < 5; k++) {
		double t = cpu_ns();
		uint64_t nh;

		for (uint32_t i = 0; i < LOOKUPS; i++) {
			rte_fib_lookup_bulk(f, &dst4[i], &nh, 1);
			__asm__ volatile("" : : "r"(nh));
		}
		t = cpu_ns() - t;
		best = t < best ? t : best;
	}
	return best / LOOKUPS;
}

static void fib(const struct sl_cfg_route *r, uint32_t n)
{
	struct rte_fib_conf conf = {.type = RTE_FIB_DIR24_8,
	    .default_nh = 0,
	    .max_routes = 1 << 18,
	    .dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = 1 << 15}};
	double t = cpu_ns();
	struct rte_fib *f = rte_fib_create("bench", -1, &conf);

	if (f == NULL) {
		printf("         rte_fib: no memory\n");
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		rte_fib_add(f, ntohl(r[i].prefix.w[3]), (uint8_t)(r[i].plen - 96), i + 1);
	t = cpu_ns() - t;
	printf("         rte_fib: %6.1f ns a lookup, made in %.2f ms, 64 MiB and more\n",
	    fib_lookup(f), t / 1e6);
	rte_fib_free(f);
}

int main(void)
{
	static const uint32_t sizes[] = {10, 1000, 100000};
	char *argv[] = {(char[]){"bench"}, (char[]){"--no-huge"}, (char[]){"--no-shconf"},
	    (char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"-m"}, (char[]){"1024"},
	    (char[]){"--log-level=1"}};

	if (rte_eal_init(8, argv) < 0)
		return 1;
	dst = calloc(LOOKUPS, sizeof(*dst));
	dst4 = calloc(LOOKUPS, sizeof(*dst4));
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct sl_rng g;
		struct sl_cfg_if ifx = {.used = true};
		struct sl_cfg c = {.nifs = 1, .ifs = &ifx, .nroutes = sizes[i]}, *copy;
		double t;

		sl_rng_seed(&g, 1, i);
		c.routes = make_routes(sizes[i], &g);
		t = cpu_ns();
		copy = sl_cfg_copy(&c);
		t = cpu_ns() - t;
		printf("%6u routes, array: %6.1f ns a lookup, made in %.2f ms, %zu KiB\n", sizes[i],
		    array_lookup((struct ip_snap *)copy), t / 1e6,
		    sizes[i] * sizeof(*c.routes) / 1024);
		fib(c.routes, sizes[i]);
		free(copy);
		free(c.routes);
	}
	free(dst);
	free(dst4);
	rte_eal_cleanup();
	return 0;
}
