/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A script's text to statements. All that can be wrong with the text is found here, before anything
 * runs: so a script that is expected to fail cannot fail for a slip of the pen.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define TOKENS 64
struct line {
	struct wire_script *sc;
	int no;
	char buf[512];
	char *tok[TOKENS];
	int n, at;
	bool bad;
};

static bool fail(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct line *l, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (!l->bad)
		(void)snprintf(
		    l->sc->error, sizeof(l->sc->error), "%s:%d: %s", l->sc->path, l->no, what);
	l->bad = true;
	return false;
}

/* ---- names ---- */

/* clang-format off */
#define E(e) {#e, e}
/* clang-format on */

static const struct {
	const char *name;
	int v;
} errnos[] = {
    E(EAGAIN),
    E(EALREADY),
    E(EINPROGRESS),
    E(EISCONN),
    E(EINVAL),
    E(EBADF),
    E(EPIPE),
    E(ENOTCONN),
    E(ECONNREFUSED),
    E(ECONNRESET),
    E(ECONNABORTED),
    E(ETIMEDOUT),
    E(EHOSTUNREACH),
    E(ENETUNREACH),
    E(EADDRINUSE),
    E(EADDRNOTAVAIL),
    E(EOPNOTSUPP),
    E(ENOPROTOOPT),
    E(EPROTO),
    E(EMSGSIZE),
    E(ENOBUFS),
    E(ENOSPC),
    E(EAFNOSUPPORT),
    E(EACCES),
    E(EPERM),
    E(ENOENT),
    E(ENOMEM),
};

#undef E

bool wire_errno(const char *name, int *v)
{
	for (size_t i = 0; i < RTE_DIM(errnos); i++)
		if (strcmp(errnos[i].name, name) == 0) {
			*v = errnos[i].v;
			return true;
		}
	return false;
}

const char *wire_errno_name(int v)
{
	for (size_t i = 0; i < RTE_DIM(errnos); i++)
		if (errnos[i].v == v)
			return errnos[i].name;
	return "?";
}

/* ---- numbers ---- */

static bool number(const char **p, int64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)**p))
		return false;
	*v = strtoll(*p, &end, 0);
	*p = end;
	return true;
}

static bool product(const char **p, int64_t *v)
{
	int64_t f;

	if (!number(p, v))
		return false;
	while (**p == '*') {
		(*p)++;
		if (!number(p, &f))
			return false;
		*v *= f;
	}
	return true;
}

/* "1+1460*2", "-5". Stops at what does not belong to it. */
static bool expression(const char **p, int64_t *v)
{
	int64_t t;
	bool minus = **p == '-';

	if (minus)
		(*p)++;
	if (!product(p, v))
		return false;
	if (minus)
		*v = -*v;
	while (**p == '+' || **p == '-') {
		minus = *(*p)++ == '-';
		if (!product(p, &t))
			return false;
		*v += minus ? -t : t;
	}
	return true;
}

static bool whole(const char *text, int64_t *v)
{
	return expression(&text, v) && *text == '\0';
}

/* "5" or "1..9". */
static bool range(const char *text, struct wire_val *v)
{
	if (!expression(&text, &v->lo))
		return false;
	v->hi = v->lo;
	v->set = true;
	if (text[0] == '.' && text[1] == '.') {
		text += 2;
		return expression(&text, &v->hi) && *text == '\0';
	}
	return *text == '\0';
}

static bool duration(const char *text, uint64_t *ns)
{
	char *end;
	double v = strtod(text, &end);
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}};

	if (end == text || v < 0)
		return false;
	for (size_t i = 0; i < RTE_DIM(units); i++)
		if (strcmp(end, units[i].unit) == 0) {
			*ns = (uint64_t)(v * units[i].ns + 0.5);
			return true;
		}
	return false;
}

/* ---- tokens ---- */

static void split(struct line *l)
{
	char *p = l->buf, *out;
	static char spaced[2048];

	l->n = l->at = 0;
	out = spaced;
	for (; *p != '\0' && *p != '#' && out < spaced + sizeof(spaced) - 4; p++) {
		if (*p == '[' || *p == ']') {
			*out++ = ' ';
			*out++ = *p;
			*out++ = ' ';
		} else {
			*out++ = *p == ',' ? ' ' : *p;
		}
	}
	*out = '\0';
	for (p = strtok(spaced, " \t\r"); p != NULL && l->n < TOKENS; p = strtok(NULL, " \t\r"))
		l->tok[l->n++] = p;
	if (p != NULL)
		(void)fail(l, "too many words");
}

static const char *peek(const struct line *l)
{
	return l->at < l->n ? l->tok[l->at] : "";
}

static const char *take(struct line *l)
{
	return l->at < l->n ? l->tok[l->at++] : "";
}

static bool take_if(struct line *l, const char *word)
{
	if (strcmp(peek(l), word) != 0)
		return false;
	l->at++;
	return true;
}

/* ---- packets ---- */

static const char *const field_names[WIRE_NFIELDS] = {
#define X(name, doc) #name,
    WIRE_FIELDS(X)
#undef X
};

static bool one_flag(const char *name, uint8_t *flags)
{
	static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};

	for (int i = 0; i < 8; i++)
		if (strcmp(names[i], name) == 0) {
			*flags |= (uint8_t)(1u << i);
			return true;
		}
	return strcmp(name, "NULL") == 0;
}

static bool flags(struct line *l, struct wire_spec *p)
{
	char word[64], *w, *save = NULL;

	(void)snprintf(word, sizeof(word), "%s", take(l));
	if (strcmp(word, "XMAS") == 0) {
		p->flags = SL_TH_FIN | SL_TH_PUSH | SL_TH_URG;
		return true;
	}
	for (w = strtok_r(word, "+", &save); w != NULL; w = strtok_r(NULL, "+", &save))
		if (!one_flag(w, &p->flags))
			return fail(l, "no such flag: %s", w);
	return true;
}

static const struct {
	const char *name;
	enum wire_opt_kind kind;
	int min, max;
} opt_names[] = {
    {"mss", WO_MSS, 1, 1},
    {"wscale", WO_WSCALE, 1, 1},
    {"sackok", WO_SACKOK, 0, 0},
    {"sack", WO_SACK, 2, 8},
    {"ts", WO_TS, 0, 2},
    {"raw", WO_RAW, 1, 40},
};

static bool opt_values(struct line *l, struct wire_opt *o, int max)
{
	while (o->n < max) {
		const char *t = peek(l);
		int64_t v;

		if (strcmp(t, "*") == 0) {
			o->v[o->n++] = WIRE_ANY;
		} else if (o->kind == WO_RAW && strlen(t) == 2 && isxdigit((unsigned char)t[0]) &&
			   isxdigit((unsigned char)t[1])) {
			o->v[o->n++] = strtol(t, NULL, 16);
		} else if (o->kind == WO_SACK && strchr(t, ':') != NULL) {
			if (!expression(&t, &v) || *t++ != ':' || !whole(t, &o->v[o->n + 1]))
				return fail(l, "a SACK block is FROM:TO");
			o->v[o->n] = v;
			o->n += 2;
		} else if (o->kind != WO_RAW && o->kind != WO_SACK && whole(t, &v)) {
			o->v[o->n++] = v;
		} else {
			break;
		}
		l->at++;
	}
	return true;
}

static int opt_bytes(const struct wire_opt *o)
{
	switch (o->kind) {
	case WO_MSS:
		return 4;
	case WO_WSCALE:
		return 3;
	case WO_SACKOK:
		return 2;
	case WO_SACK:
		return 2 + 4 * o->n;
	case WO_TS:
		return 10;
	default:
		return o->n;
	}
}

/* Behind "[", up to and with "]". */
static bool options(struct line *l, struct wire_opt *opt, int *n)
{
	int bytes = 0;

	while (!take_if(l, "]")) {
		struct wire_opt *o = &opt[*n];
		bool absent = take_if(l, "no");
		const char *name = take(l);
		size_t i;

		for (i = 0; i < RTE_DIM(opt_names); i++)
			if (strcmp(opt_names[i].name, name) == 0)
				break;
		if (i == RTE_DIM(opt_names) || *n == WIRE_OPTS)
			return fail(l, "no such option, or too many: '%s'", name);
		*o = (struct wire_opt){.kind = opt_names[i].kind, .absent = absent};
		if (!opt_values(l, o, opt_names[i].max))
			return false;
		if (!absent && o->n < opt_names[i].min)
			return fail(l, "option %s needs a value", name);
		bytes += absent ? 0 : opt_bytes(o);
		(*n)++;
	}
	return bytes <= 40 ? true : fail(l, "more than 40 bytes of options");
}

static bool seq_and_len(struct line *l, struct wire_spec *p)
{
	const char *t = peek(l);
	int64_t from, to;

	if (strcmp(t, "*") == 0) {
		l->at++;
		p->f[WF_seq] = (struct wire_val){0, UINT32_MAX, true};
		return true;
	}
	if (!isdigit((unsigned char)*t) && *t != '-')
		return true;
	if (!expression(&t, &from))
		return fail(l, "not a sequence number: %s", peek(l));
	p->f[WF_seq] = (struct wire_val){from, from, true};
	if (*t == ':') {
		t++;
		if (!whole(t, &to) || to < from)
			return fail(l, "not FROM:TO: %s", peek(l));
		p->f[WF_len] = (struct wire_val){to - from, to - from, true};
	} else if (*t != '\0') {
		return fail(l, "not a sequence number: %s", peek(l));
	}
	l->at++;
	return true;
}

static bool field(struct line *l, struct wire_spec *p, const char *name)
{
	for (int i = 0; i < WIRE_NFIELDS; i++) {
		if (strcmp(field_names[i], name) != 0)
			continue;
		if (take_if(l, "*")) {
			p->f[i] = (struct wire_val){0, UINT32_MAX, true};
			return true;
		}
		return range(take(l), &p->f[i]) ? true : fail(l, "%s needs a number", name);
	}
	return fail(l, "what is '%s'?", name);
}

static bool address(struct line *l, const char **to)
{
	const char *t = take(l);
	struct in6_addr a;

	if (inet_pton(AF_INET, t, &a) != 1 && inet_pton(AF_INET6, t, &a) != 1)
		return fail(l, "not an address: %s", t);
	*to = strdup(t);
	return *to != NULL;
}

static const struct {
	const char *name;
	uint8_t v4[2], v6[2];
} icmp_names[] = {
    {"net-unreachable", {3, 0}, {1, 0}},
    {"host-unreachable", {3, 1}, {1, 3}},
    {"protocol-unreachable", {3, 2}, {4, 1}},
    {"port-unreachable", {3, 3}, {1, 4}},
    {"too-big", {3, 4}, {2, 0}},
    {"source-quench", {4, 0}, {100, 0}},
    {"redirect", {5, 0}, {137, 0}},
    {"time-exceeded", {11, 0}, {3, 0}},
    {"reassembly-time-exceeded", {11, 1}, {3, 1}},
    {"parameter-problem", {12, 0}, {4, 0}},
};

/* Which type and code depends on the family: type holds the row, code 255 says so. */
static bool icmp(struct line *l, struct wire_spec *p)
{
	const char *t = take(l);
	unsigned int type, code;
	char rest;

	p->icmp = true;
	if (sscanf(t, "%u/%u%c", &type, &code, &rest) == 2 && type < 256 && code < 255) {
		p->type = (uint8_t)type;
		p->code = (uint8_t)code;
		return true;
	}
	for (size_t i = 0; i < RTE_DIM(icmp_names); i++)
		if (strcmp(icmp_names[i].name, t) == 0) {
			const uint8_t *v = l->sc->ip6 ? icmp_names[i].v6 : icmp_names[i].v4;

			if (l->sc->ip4 && l->sc->ip6)
				return fail(l, "ICMP differs by family: one script each");
			p->type = v[0];
			p->code = v[1];
			return true;
		}
	return fail(l, "no such ICMP message: %s", t);
}

static bool packet(struct line *l, struct wire_spec *p, bool out)
{
	if (take_if(l, "icmp") ? !icmp(l, p) : !flags(l, p) || !seq_and_len(l, p))
		return false;
	while (l->at < l->n) {
		const char *t = take(l);

		if (strcmp(t, "[") == 0) {
			p->opts = true;
			if (!options(l, p->opt, &p->nopt))
				return false;
		} else if (strcmp(t, "badsum") == 0 && !out) {
			p->badsum = true;
		} else if (strcmp(t, "newiss") == 0 && out) {
			p->newiss = true;
		} else if (*t == '!' && out) {
			if (!one_flag(t + 1, &p->clear))
				return fail(l, "no such flag: %s", t);
		} else if (strcmp(t, "src") == 0 && !out) {
			if (!address(l, &p->src))
				return false;
		} else if (strcmp(t, "dst") == 0 && !out) {
			if (!address(l, &p->dst))
				return false;
		} else if (!field(l, p, t)) {
			return false;
		}
	}
	if (p->f[WF_frag].set) {
		l->sc->cfg.eal = true;
		if (p->f[WF_frag].lo < 8)
			return fail(l, "fragments have 8 bytes at least");
	}
	if (p->icmp)
		return true;
	if (!p->f[WF_seq].set)
		return fail(l, "a segment says its sequence number (or *)");
	if ((p->flags & SL_TH_ACK) && !p->f[WF_ack].set)
		return fail(l, "a segment with ACK says what it acknowledges (or *)");
	if (!out)
		for (int i = 0; i < WIRE_NFIELDS; i++)
			if (p->f[i].set && p->f[i].lo != p->f[i].hi)
				return fail(l, "what is sent has no ranges");
	return true;
}

/* ---- statements ---- */

static const struct {
	const char *verb;
	int min, max;
} verbs[] = {
    {"socket", 0, 0},
    {"bind", 1, 2},
    {"listen", 0, 2}, /* port, backlog */
    {"connect", 0, 2},
    {"accept", 1, 1},
    {"send", 1, 2},
    {"shutdown", 1, 1},
    {"close", 0, 0},
    {"abort", 0, 0},
    {"consume", 1, 1},
    {"take", 1, 1},
    {"clear", 0, 0},
    {"hold", 1, 1},
    {"refuse", 1, 1},
    {"no_space", 1, 1},
    {"no_accept", 1, 1},
    {"no_errors", 1, 1},
    {"setsockopt", 2, 2},
    {"getsockopt", 1, 1},
    {"state", 1, 1},
    {"got", 1, 1},
    {"readable", 1, 1},
    {"pushes", 1, 1},
    {"info", 2, 2},
};

static bool result(struct line *l, struct wire_stmt *s)
{
	const char *t = take(l);
	int e;

	s->has_result = true;
	if (wire_errno(t, &e))
		s->result = -e;
	else if (!whole(t, &s->result))
		return fail(l, "not a result: %s", t);
	return true;
}

static bool arguments(struct line *l, struct wire_stmt *s, int min, int max)
{
	while (l->at < l->n && !take_if(l, "=")) {
		const char *t = take(l);

		if (s->nargs == WIRE_ARGS || s->nargs == max || strlen(t) >= sizeof(s->arg[0]))
			return fail(l, "too many words, or too long: %s", t);
		(void)snprintf(s->arg[s->nargs], sizeof(s->arg[0]), "%s", t);
		if (!whole(t, &s->num[s->nargs]))
			s->num[s->nargs] = WIRE_ANY;
		s->nargs++;
		if (l->at == l->n)
			break;
	}
	if (strcmp(l->tok[l->at - 1], "=") == 0 && !result(l, s))
		return false;
	return s->nargs >= min ? true : fail(l, "too few words");
}

static bool call(struct line *l, struct wire_stmt *s, const char *word, const char *dot)
{
	s->kind = WS_CALL;
	if (dot == word || dot - word >= (long)sizeof(s->name) ||
	    strlen(dot + 1) >= sizeof(s->verb))
		return fail(l, "what is '%s'?", word);
	memcpy(s->name, word, (size_t)(dot - word));
	(void)snprintf(s->verb, sizeof(s->verb), "%s", dot + 1);
	for (size_t i = 0; i < RTE_DIM(verbs); i++)
		if (strcmp(verbs[i].verb, s->verb) == 0)
			return arguments(l, s, verbs[i].min, verbs[i].max);
	return fail(l, "no such call: %s", s->verb);
}

static bool event(struct line *l, struct wire_stmt *s)
{
	int e;

	s->kind = WS_EVENT;
	if (l->n - l->at < 2)
		return fail(l, "event SOCKET WHAT [VALUE]");
	(void)snprintf(s->name, sizeof(s->name), "%.15s", take(l));
	(void)snprintf(s->verb, sizeof(s->verb), "%.15s", take(l));
	if (!arguments(l, s, 0, 1))
		return false;
	if (s->nargs > 0 && wire_errno(s->arg[0], &e))
		s->num[0] = e;
	for (int i = 0; i < WIRE_NEVENTS; i++)
		if (strcmp(wire_event_names[i], s->verb) == 0) {
			s->result = i;
			return true;
		}
	return fail(l, "no such event: %s", s->verb);
}

static bool set(struct line *l, struct wire_stmt *s, bool header)
{
	uint64_t v;
	int i;

	s->kind = WS_SET;
	if (!arguments(l, s, 2, 2))
		return false;
	i = sluice_tunable_find(s->arg[0]);
	if (i < 0 || sluice_tunable_parse((unsigned int)i, s->arg[1], &v) != 0)
		return fail(
		    l, "no such tunable, or not one of its values: %s %s", s->arg[0], s->arg[1]);
	if (header)
		((uint64_t *)&l->sc->cfg.tun)[i] = v;
	return true;
}

static bool statement(struct line *l, struct wire_stmt *s, bool *header)
{
	const char *word = peek(l), *dot;

	if (*word == '+' || *word == '@') {
		s->absolute = *word == '@';
		if (!duration(word + 1, &s->at))
			return fail(l, "not a time: %s", word);
		l->at++;
		*header = false;
	}
	word = take(l);
	dot = strchr(word, '.');
	if (strcmp(word, "set") == 0)
		return set(l, s, *header);
	*header = false;
	if (strcmp(word, "<") == 0 || strcmp(word, "<<") == 0) {
		s->kind = WS_IN;
		s->pkt.hold = word[1] == '<';
		return packet(l, &s->pkt, false);
	}
	if (strcmp(word, ">") == 0) {
		s->kind = WS_OUT;
		return packet(l, &s->pkt, true);
	}
	if (strcmp(word, "quiet") == 0) {
		s->kind = WS_QUIET;
		return arguments(l, s, 0, 0);
	}
	if (strcmp(word, "event") == 0)
		return event(l, s);
	if (strcmp(word, "counter") == 0) {
		s->kind = WS_COUNTER;
		return arguments(l, s, 2, 2) &&
		       (wire_counter_find(s->arg[0]) >= 0
			       ? s->num[1] != WIRE_ANY || fail(l, "counter NAME NUMBER")
			       : fail(l, "no such counter: %s", s->arg[0]));
	}
	if (strcmp(word, "table") == 0) {
		s->kind = WS_TABLE;
		return arguments(l, s, 2, 2) &&
		       (strcmp(s->arg[0], "half") == 0 || strcmp(s->arg[0], "timewait") == 0 ||
			   fail(l, "table half|timewait NUMBER"));
	}
	if (strcmp(word, "handshake") == 0) {
		s->kind = WS_HANDSHAKE;
		return arguments(l, s, 1, 1) &&
		       (strcmp(s->arg[0], "passive") == 0 || strcmp(s->arg[0], "active") == 0 ||
			   fail(l, "handshake passive|active"));
	}
	if (dot != NULL)
		return call(l, s, word, dot);
	return fail(l, "what is '%s'?", word);
}

/* ---- headers ---- */

static char *rest(const char *p)
{
	p += strspn(p, " \t");
	return strdup(p);
}

static bool families(struct line *l)
{
	l->sc->ip4 = l->sc->ip6 = false;
	while (l->at < l->n) {
		const char *t = take(l);

		if (strcmp(t, "4") == 0)
			l->sc->ip4 = true;
		else if (strcmp(t, "6") == 0)
			l->sc->ip6 = true;
		else
			return fail(l, "ip: 4, 6, or both");
	}
	return true;
}

static bool peer(struct line *l)
{
	struct wire_config *c = &l->sc->cfg;

	c->npeer = 0;
	return take_if(l, "[") ? options(l, c->peer, &c->npeer) : fail(l, "peer: [OPTIONS]");
}

/* True: it was one (or a bad one). */
static bool header_line(struct line *l, const char *raw, bool still)
{
	struct wire_script *sc = l->sc;
	const char *colon = strchr(raw, ':'), *name;
	int64_t v = 0;

	if (l->n == 0 || l->tok[0][strlen(l->tok[0]) - 1] != ':')
		return false;
	name = take(l);
	if (strcmp(name, "expect-fail:") == 0) { /* anywhere: what stands before must hold */
		free(sc->reason);
		sc->reason = rest(colon + 1);
		sc->fail_line = l->no;
		if (sc->reason == NULL || *sc->reason == '\0')
			(void)fail(l, "expect-fail: needs a reason");
		return true;
	}
	if (!still)
		return !fail(l, "%s belongs to the top of the script", name);
	if (strcmp(name, "title:") == 0) {
		free(sc->title);
		sc->title = rest(colon + 1);
	} else if (strcmp(name, "proves:") == 0) {
		free(sc->proves);
		sc->proves = rest(colon + 1);
	} else if (strcmp(name, "ip:") == 0) {
		(void)families(l);
	} else if (strcmp(name, "peer:") == 0) {
		(void)peer(l);
	} else if (strcmp(name, "tolerance:") == 0) {
		if (!duration(take(l), &sc->tolerance))
			(void)fail(l, "tolerance: TIME");
	} else if (!whole(take(l), &v)) {
		(void)fail(l, "%s what?", name);
	} else if (strcmp(name, "isn:") == 0) {
		sc->cfg.isn = (uint32_t)v;
	} else if (strcmp(name, "mtu:") == 0) {
		sc->cfg.mtu = (uint16_t)v;
	} else if (strcmp(name, "window:") == 0) {
		sc->cfg.peer_win = (uint16_t)v;
	} else if (strcmp(name, "offload:") == 0) {
		sc->cfg.offload = v != 0;
	} else if (strcmp(name, "squeues:") == 0) {
		sc->squeues = (unsigned int)v;
	} else if (strcmp(name, "connections:") == 0) {
		sc->cfg.max_conns = (uint32_t)v;
	} else {
		(void)fail(l, "what is '%s'?", name);
	}
	return true;
}

static bool add(struct line *l, const struct wire_stmt *s)
{
	struct wire_script *sc = l->sc;

	if (sc->nstmts % 64 == 0) {
		struct wire_stmt *p = realloc(sc->stmt, (size_t)(sc->nstmts + 64) * sizeof(*p));

		if (p == NULL)
			return fail(l, "no memory");
		sc->stmt = p;
	}
	sc->stmt[sc->nstmts++] = *s;
	return true;
}

bool wire_parse(struct wire_script *sc, const char *path, char *text)
{
	struct line l = {.sc = sc};
	bool header = true;
	char *next;

	*sc = (struct wire_script){
	    .path = strdup(path), .text = text, .ip4 = true, .tolerance = SLUICE_MS(1)};
	wire_config_default(&sc->cfg);
	for (char *p = text; p != NULL && !l.bad; p = next) {
		struct wire_stmt s = {.line = ++l.no};

		next = strchr(p, '\n');
		if (next != NULL)
			*next++ = '\0';
		p += strspn(p, " \t");
		s.text = p;
		if (strlen(p) >= sizeof(l.buf))
			return fail(&l, "line too long");
		(void)snprintf(l.buf, sizeof(l.buf), "%s", p);
		split(&l);
		if (l.bad || l.n == 0 || header_line(&l, p, header))
			continue;
		if (statement(&l, &s, &header) && l.at < l.n)
			(void)fail(&l, "what is '%s'?", peek(&l));
		if (!l.bad && !(s.kind == WS_SET && header))
			(void)add(&l, &s);
	}
	if (!l.bad && sc->title == NULL)
		(void)fail(&l, "no title:");
	if (!l.bad && sc->nstmts == 0)
		(void)fail(&l, "a script that does nothing proves nothing");
	return !l.bad;
}

void wire_script_free(struct wire_script *sc)
{
	for (int i = 0; i < sc->nstmts; i++) {
		free((void *)(uintptr_t)sc->stmt[i].pkt.src);
		free((void *)(uintptr_t)sc->stmt[i].pkt.dst);
	}
	free(sc->path);
	free(sc->text);
	free(sc->title);
	free(sc->proves);
	free(sc->reason);
	free(sc->stmt);
}
