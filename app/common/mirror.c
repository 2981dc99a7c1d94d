/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses and routes of a kernel's device on an interface of the stack, as long as a program runs. */
#include "app.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>

int app_mirror_open(struct app_mirror *m, struct sluice_stack *st, const char *text)
{
	const char *eq, *to = "net0";
	char dev[IF_NAMESIZE];
	int rc = -EINVAL;

	m->m = NULL;
	m->last = 0;
	if (text == NULL)
		return 0;
	eq = strchr(text, '=');
	if (eq != NULL)
		to = eq + 1;
	if ((size_t)snprintf(dev, sizeof(dev), "%.*s",
		(int)(eq != NULL ? eq - text : (long)strlen(text)), text) < sizeof(dev))
		rc = sluice_mirror_open(st, dev, to, 0, &m->m);
	if (rc < 0)
		app_err("--mirror %s: %s%s", text, strerror(-rc),
		    rc == -ENOENT ? " (interface of the stack)" : "");
	return rc < 0 ? rc : 0;
}

void app_mirror_serve(struct app_mirror *m)
{
	struct pollfd p = {.events = POLLIN};
	int rc;

	if (m->m == NULL)
		return;
	p.fd = sluice_mirror_fd(m->m);
	if (m->last >= 0 && poll(&p, 1, 0) <= 0)
		return;
	rc = sluice_mirror_run(m->m);
	if (rc < 0 && rc != m->last)
		app_err("addresses and routes of the kernel: %s; tried again", strerror(-rc));
	m->last = rc;
}

void app_mirror_close(struct app_mirror *m)
{
	sluice_mirror_close(m->m);
	m->m = NULL;
}
