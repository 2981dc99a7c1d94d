/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port over a kernel's interface (AF_XDP, AF_PACKET) takes its packets away. If that is where the
 * machine's default route leads, the login that started the program goes with it: not without
 * being told to.
 */
#include "app.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>

bool app_force;

/* Destination Gateway ... of /proc/net/route: the first three columns say enough. */
static bool route4(FILE *f, const char *name)
{
	char line[512], dev[32];
	unsigned long dst, mask;

	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "%31s %lx %*x %*x %*d %*d %*d %lx", dev, &dst, &mask) == 3 &&
		    dst == 0 && mask == 0 && strcmp(dev, name) == 0)
			return true;
	return false;
}

static bool route6(FILE *f, const char *name)
{
	char line[512], dst[40], dev[32];
	unsigned int plen;

	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "%39s %x %*s %*x %*s %*x %*x %*x %*x %31s", dst, &plen, dev) ==
			3 &&
		    plen == 0 && strspn(dst, "0") == strlen(dst) && strcmp(dev, name) == 0)
			return true;
	return false;
}

static bool in_table(const char *path, bool (*has)(FILE *f, const char *name), const char *name)
{
	FILE *f = fopen(path, "r");
	bool found;

	if (f == NULL)
		return false;
	found = has(f, name);
	fclose(f);
	return found;
}

const char *app_default_route(unsigned int ifindex, char name[IF_NAMESIZE])
{
	if (ifindex == 0 || if_indextoname(ifindex, name) == NULL)
		return NULL;
	return in_table("/proc/self/net/route", route4, name) ||
		       in_table("/proc/self/net/ipv6_route", route6, name)
		   ? name
		   : NULL;
}
