/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The prompt (--interactive): opens the connections and waits; each `start` is a measurement of its
 * own, `stop` or the end of --duration reports it. The main lcore looks for input in its checks, so
 * that commands run where the phases are decided and no other thread is there.
 */
#include "testtcp.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <cmdline.h>
#include <cmdline_parse.h>
#include <cmdline_parse_num.h>
#include <cmdline_parse_string.h>
#include <cmdline_socket.h>

struct words {
	cmdline_fixed_string_t verb, what;
	uint32_t n;
};

static const char help[] =
    "start         measure, until --duration is over (without it 10 s) or stop\n"
    "stop          end the measurement and report it\n"
    "show stats    the line of the time since the last one\n"
    "show conns    connections of each squeue\n"
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

			cmdline_printf(cl, "%s %u: %u connections, %u established\n", r->ep[e].name,
			    i, __atomic_load_n(&sh->shown_live, __ATOMIC_RELAXED),
			    __atomic_load_n(&sh->shown_established, __ATOMIC_RELAXED));
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

static cmdline_parse_token_string_t verb_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "start#stop#quit#help");
static cmdline_parse_token_string_t show_token =
    TOKEN_STRING_INITIALIZER(struct words, verb, "show");
static cmdline_parse_token_string_t what_token =
    TOKEN_STRING_INITIALIZER(struct words, what, "stats#conns");
static cmdline_parse_token_string_t set_token = TOKEN_STRING_INITIALIZER(struct words, verb, "set");
static cmdline_parse_token_string_t rate_token =
    TOKEN_STRING_INITIALIZER(struct words, what, "rate");
static cmdline_parse_token_num_t n_token = TOKEN_NUM_INITIALIZER(struct words, n, RTE_UINT32);

static cmdline_parse_inst_t verbs = {
    .f = on_verb, .help_str = "start, stop, quit, help", .tokens = {(void *)&verb_token, NULL}};
static cmdline_parse_inst_t shows = {.f = on_show,
    .help_str = "show stats, show conns",
    .tokens = {(void *)&show_token, (void *)&what_token, NULL}};
static cmdline_parse_inst_t rates = {.f = on_rate,
    .help_str = "set rate N",
    .tokens = {(void *)&set_token, (void *)&rate_token, (void *)&n_token, NULL}};
static cmdline_parse_ctx_t commands[] = {&verbs, &shows, &rates, NULL};

int prompt_open(struct run *r)
{
	verbs.data = shows.data = rates.data = r;
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
		cmdline_stdin_exit(r->prompt);
	r->prompt = NULL;
}
