/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The prompt (--interactive): opens the connections and waits; each `start` is a measurement of its
 * own, `stop` or the end of --duration reports it. The main lcore looks for input in its checks, so
 * that commands run where the phases are decided and no other thread is there.
 */
#include "testtcp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmdline.h>
#include <cmdline_parse.h>
#include <cmdline_parse_num.h>
#include <cmdline_parse_string.h>
#include <cmdline_socket.h>

struct tuple_words {
	cmdline_fixed_string_t verb, what, laddr, raddr;
	uint16_t lport, rport;
};

struct words {
	cmdline_fixed_string_t verb, what;
	uint32_t n;
};

static const char help[] =
    "start         measure, until --duration is over (without it 10 s) or stop\n"
    "stop          end the measurement and report it\n"
    "show stats    the line of the time since the last one\n"
    "show conns    connections of each squeue\n"
    "show steering LADDR LPORT RADDR RPORT\n"
    "              where packets from RADDR go: queue of the port, squeue, connection's squeue\n"
    "port reset N  set up port N of the stack anew\n"
    "park N        squeue N of each end is parked, and its lcore leaves (not the main one)\n"
    "unpark N      ... and comes back\n"
    "set rate N    of the next measurement: requests or connections a second, 0: closed loop\n"
    "quit          close all and end\n";

/** start, stop, quit, help */
static void on_verb(void *parsed, struct cmdline *cl, void *arg)
{
	const char *verb = ((struct words *)parsed)->verb;
	struct run *r = arg;

	if (strcmp(verb, "start") == 0) {
		if (!run_start(r))
			cmdline_printf(cl, "not now\n");
	} else if (strcmp(verb, "stop") == 0) {
		if (!run_stop(r))
			cmdline_printf(cl, "nothing is being measured\n");
	} else if (strcmp(verb, "quit") == 0) {
		cmdline_quit(cl);
		app_stop = 1;
	} else {
		cmdline_printf(cl, "%s", help);
	}
}

static void on_show(void *parsed, struct cmdline *cl, void *arg)
{
	struct run *r = arg;

	if (strcmp(((struct words *)parsed)->what, "stats") == 0) {
		run_line(r, app_now());
		return;
	}
	for (unsigned int e = r->nep; e-- > 0;)
		for (unsigned int i = 0; i < r->ep[e].nshards; i++) {
			const struct shard *sh = &r->ep[e].shard[i];

			cmdline_printf(cl, "%s %u: %u connections, %u established%s%s\n",
			    r->ep[e].name, i, __atomic_load_n(&sh->shown_live, __ATOMIC_RELAXED),
			    __atomic_load_n(&sh->shown_established, __ATOMIC_RELAXED),
			    r->ep[e].stack.st != NULL ? ", " : "",
			    r->ep[e].stack.st != NULL
				? sluice_squeue_state_name(sluice_squeue_state(sh->tp_data))
				: "");
		}
}

/*
 * Where packets of a tuple go. The stack asks its squeues, and the main lcore may be one that polls:
 * so a thread asks, one at a time, and the prompt prints what it brings.
 */
struct steering_ask {
	struct run *r;
	struct tuple_words w;
	char text[256];
	pthread_t thread;
	bool asked;
	atomic_bool done;
};

static void steering_line(struct steering_ask *a, const struct endpoint *ep)
{
	static const char *const kind[] = {"one squeue", "by the port", "by software"};
	struct sluice_tuple t = {.size = sizeof(t),
	    .laddr = a->w.laddr,
	    .lport = a->w.lport,
	    .raddr = a->w.raddr,
	    .rport = a->w.rport,
	    .vrf = (uint32_t)ep->cfg->vrf};
	struct sluice_steering s = {.size = sizeof(s)};
	int rc = sluice_steering(ep->stack.st, (unsigned int)ep->port, &t, &s);
	size_t n = strlen(a->text), room = sizeof(a->text) - n;

	if (rc != 0)
		snprintf(a->text + n, room, "%s: %s\n", ep->name, strerror(-rc));
	else if (s.owner < 0)
		snprintf(a->text + n, room, "%s: %s, queue %d, squeue %u, no connection\n",
		    ep->name, kind[s.kind], s.queue, s.squeue);
	else
		snprintf(a->text + n, room, "%s: %s, queue %d, squeue %u, connection on %d\n",
		    ep->name, kind[s.kind], s.queue, s.squeue, s.owner);
}

static void *steering_thread(void *arg)
{
	struct steering_ask *a = arg;

	for (unsigned int e = a->r->nep; e-- > 0;)
		if (a->r->ep[e].stack.st != NULL)
			steering_line(a, &a->r->ep[e]);
	atomic_store_explicit(&a->done, true, memory_order_release);
	return NULL;
}

static struct steering_ask ask;

static void steering_end(struct run *r)
{
	if (!ask.asked)
		return;
	pthread_join(ask.thread, NULL);
	ask.asked = false;
	cmdline_printf(r->prompt, "%s", ask.text);
}

static void on_steering(void *parsed, struct cmdline *cl, void *arg)
{
	if (ask.asked) {
		cmdline_printf(cl, "not yet\n");
		return;
	}
	ask.r = arg;
	ask.w = *(struct tuple_words *)parsed;
	ask.text[0] = '\0';
	atomic_store(&ask.done, false);
	ask.asked = pthread_create(&ask.thread, NULL, steering_thread, &ask) == 0;
}

static void on_park(void *parsed, struct cmdline *cl, void *arg)
{
	const struct words *w = parsed;
	struct run *r = arg;

	for (unsigned int e = r->nep; e-- > 0;) {
		int rc = lcore_park(&r->ep[e], w->n, strcmp(w->verb, "park") == 0);

		cmdline_printf(cl, "%s %u: %s\n", r->ep[e].name, w->n,
		    rc != 0 ? strerror(-rc)
			    : sluice_squeue_state_name(
				  sluice_squeue_state(r->ep[e].shard[w->n].tp_data)));
	}
}

static void on_rate(void *parsed, struct cmdline *cl, void *arg)
{
	struct run *r = arg;

	if (!(r->engine->options & ENGINE_RATE))
		cmdline_printf(cl, "engine %s has no rate\n", r->engine->name);
	else if (r->phase != PH_PAUSE)
		cmdline_printf(cl, "stop first\n");
	else
		r->cfg->rate = ((struct words *)parsed)->n; /* the shards see it with the phase */
}

static void on_port(void *parsed, struct cmdline *cl, void *arg)
{
	struct run *r = arg;
	int rc = -ENOTSUP;

	for (unsigned int e = 0; e < r->nep; e++)
		if (r->ep[e].stack.st != NULL)
			rc = sluice_port_reset(r->ep[e].stack.st, ((struct words *)parsed)->n);
	if (rc != 0)
		cmdline_printf(cl, "%s\n", strerror(-rc));
}

static cmdline_parse_token_string_t verb_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "start#stop#quit#help");
static cmdline_parse_token_string_t show_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "show");
static cmdline_parse_token_string_t what_token =
    TOKEN_STRING_INITIALIZER(struct words, what, "stats#conns");
static cmdline_parse_token_string_t park_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "park#unpark");
static cmdline_parse_token_string_t set_token = TOKEN_STRING_INITIALIZER(struct words, verb, "set");
static cmdline_parse_token_string_t rate_token =
    TOKEN_STRING_INITIALIZER(struct words, what, "rate");
static cmdline_parse_token_string_t port_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "port");
static cmdline_parse_token_string_t reset_token =
    TOKEN_STRING_INITIALIZER(struct words, what, "reset");
static cmdline_parse_token_num_t n_token = TOKEN_NUM_INITIALIZER(struct words, n, RTE_UINT32);

static cmdline_parse_token_string_t steering_token =
    TOKEN_STRING_INITIALIZER(struct tuple_words, what, "steering");
static cmdline_parse_token_string_t laddr_token =
    TOKEN_STRING_INITIALIZER(struct tuple_words, laddr, NULL);
static cmdline_parse_token_num_t lport_token =
    TOKEN_NUM_INITIALIZER(struct tuple_words, lport, RTE_UINT16);
static cmdline_parse_token_string_t raddr_token =
    TOKEN_STRING_INITIALIZER(struct tuple_words, raddr, NULL);
static cmdline_parse_token_num_t rport_token =
    TOKEN_NUM_INITIALIZER(struct tuple_words, rport, RTE_UINT16);

static cmdline_parse_inst_t verbs = {
    .f = on_verb, .help_str = "start, stop, quit, help", .tokens = {(void *)&verb_token, NULL}};
static cmdline_parse_inst_t shows = {.f = on_show,
    .help_str = "show stats, show conns",
    .tokens = {(void *)&show_token, (void *)&what_token, NULL}};
static cmdline_parse_inst_t parks = {.f = on_park,
    .help_str = "park N, unpark N",
    .tokens = {(void *)&park_token, (void *)&n_token, NULL}};
static cmdline_parse_inst_t steerings = {.f = on_steering,
    .help_str = "show steering LADDR LPORT RADDR RPORT",
    .tokens = {(void *)&show_token, (void *)&steering_token, (void *)&laddr_token,
	(void *)&lport_token, (void *)&raddr_token, (void *)&rport_token, NULL}};
static cmdline_parse_inst_t rates = {.f = on_rate,
    .help_str = "set rate N",
    .tokens = {(void *)&set_token, (void *)&rate_token, (void *)&n_token, NULL}};
static cmdline_parse_inst_t ports = {.f = on_port,
    .help_str = "port reset N",
    .tokens = {(void *)&port_token, (void *)&reset_token, (void *)&n_token, NULL}};
static cmdline_parse_ctx_t commands[] = {&verbs, &shows, &steerings, &parks, &rates, &ports, NULL};

int prompt_open(struct run *r)
{
	verbs.data = shows.data = steerings.data = parks.data = rates.data = ports.data = r;
	r->prompt = cmdline_stdin_new(commands, "testtcp> ");
	if (r->prompt != NULL)
		return 0;
	app_err("the prompt cannot be made");
	return -1;
}

void prompt_poll(struct run *r)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char buf[64];
	ssize_t n;

	if (ask.asked && atomic_load_explicit(&ask.done, memory_order_acquire))
		steering_end(r);
	if (app_stop || poll(&in, 1, 0) <= 0)
		return;
	n = read(STDIN_FILENO, buf, sizeof(buf));
	if (n > 0)
		cmdline_in(r->prompt, buf, (int)n);
	else if (n == 0)
		app_stop = 1; /* end of input is quit */
}

void prompt_close(struct run *r)
{
	if (r->prompt != NULL)
		steering_end(r);
	if (r->prompt != NULL)
		cmdline_stdin_exit(r->prompt);
	r->prompt = NULL;
}
