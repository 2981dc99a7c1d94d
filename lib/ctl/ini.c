/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ini file: a client of the runtime configuration. The file is the whole truth: a model is
 * built from nothing but the file (interfaces keep their index by name), and installed in one
 * transaction, so what did not change stays as it is.
 *
 * rte_cfgfile reads the file, but keeps no line numbers and says what is wrong to stderr, which is
 * not ours. So a scan beforehand refuses all that rte_cfgfile refuses (and some things that it
 * would take silently, as words that are no entry); later it finds the line of an entry when
 * something is wrong with that.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cfgfile.h>
#include <rte_ether.h>

#include <ctl/ctl_int.h>

struct ini {
	const char *path;
	char *err;
	size_t errlen;
	struct rte_cfgfile *file;
	struct sluice_txn *txn;
	struct sl_ini_row *rows;
	uint32_t nrows;
	/* Of ports that are shared with the kernel, by port; NULL: the file does not say */
	struct sluice_kernel_rule *kernel[SL_MAX_PORTS];
	unsigned int nkernel[SL_MAX_PORTS];
	int section; /* number of the section being read */
	char name[CFG_NAME_LEN];
};

typedef int (*ini_line_fn)(void *arg, int line, int section, const char *key);

static int fail(struct ini *in, int line, const char *what)
{
	snprintf(in->err, in->errlen, "%s:%d: %s", in->path, line, what);
	return -EINVAL;
}

/* Cut comment and blanks off: what rte_cfgfile makes of a line. A backslash takes a semicolon its
 * meaning. */
static char *strip(char *p)
{
	char *end = p;

	while ((end = strchr(end, ';')) != NULL && end != p && end[-1] == '\\')
		end++;
	if (end == NULL)
		end = p + strlen(p);
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

static int scan_section(struct ini *in, int line, char *p)
{
	char *end = strchr(p, ']');

	if (end == NULL || end == p + 1 || end - p > CFG_NAME_LEN - 1 || end[1] != '\0')
		return fail(in, line, "section is not [name]");
	return 0;
}

/* Leaves the name at p. */
static int scan_entry(struct ini *in, int line, int section, char *p)
{
	char *eq = strchr(p, '='), *end = eq;

	if (eq == NULL || eq == p)
		return fail(in, line, "not `name = value`");
	if (section < 0)
		return fail(in, line, "entry before the first section");
	if (eq[1 + strspn(eq + 1, " \t\r\v\f")] == '\0')
		return fail(in, line, "no value");
	if (strlen(eq + 1 + strspn(eq + 1, " \t\r\v\f")) >= CFG_VALUE_LEN)
		return fail(in, line, "value too long");
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return end - p >= CFG_NAME_LEN ? fail(in, line, "name too long") : 0;
}

/* Walk the lines; calls fn for each entry (key) and each section (key NULL). Syntax errors are
 * reported here. */
static int scan(struct ini *in, ini_line_fn fn, void *arg)
{
	char buf[CFG_NAME_LEN + CFG_VALUE_LEN + 4]; /* as rte_cfgfile has it */
	FILE *f = fopen(in->path, "r");
	int line = 0, section = -1, rc = 0;

	if (f == NULL) {
		snprintf(in->err, in->errlen, "%s:0: %s", in->path, strerror(errno));
		return -errno;
	}
	while (rc == 0 && fgets(buf, sizeof(buf), f) != NULL) {
		char *p = buf;

		line++;
		if (strchr(buf, '\n') == NULL && (!feof(f) || strlen(buf) >= sizeof(buf) - 1)) {
			rc = fail(in, line, "line too long");
			break;
		}
		p = strip(buf);
		if (*p == '\0')
			continue;
		if (*p == '[') {
			rc = scan_section(in, line, p);
			section++;
			p = NULL;
		} else {
			rc = scan_entry(in, line, section, p);
		}
		if (rc == 0 && fn != NULL)
			rc = fn(arg, line, section, p);
	}
	fclose(f);
	return rc;
}

struct where {
	int section, line;
	const char *key;
};

static int where_line(void *arg, int line, int section, const char *key)
{
	struct where *w = arg;

	if (section != w->section)
		return 0;
	if (key == NULL && w->line == 0)
		w->line = line;
	if (key != NULL && w->key != NULL && strcmp(key, w->key) == 0) {
		w->line = line;
		return 1;
	}
	return 0;
}

/* An error in the present section at `key` (NULL: the section itself). */
static int bad(struct ini *in, const char *key, const char *what)
{
	struct where w = {.section = in->section, .key = key};
	char text[160];

	(void)scan(in, where_line, &w);
	snprintf(
	    text, sizeof(text), "%s%s%s", key != NULL ? key : "", key != NULL ? ": " : "", what);
	return fail(in, w.line, text);
}

static const char *reason(int rc)
{
	switch (rc) {
	case -EINVAL:
		return "not a valid value";
	case -ERANGE:
		return "out of range";
	case -EEXIST:
		return "given twice";
	case -ENOENT:
		return "no such thing";
	case -EBUSY:
		return "cannot change while the stack lives";
	case -ENOSPC:
		return "too many";
	default:
		return strerror(-rc);
	}
}

static int num(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*out = strtoul(text, &end, 0);
	if (errno != 0 || *end != '\0')
		return -EINVAL;
	return *out > max ? -ERANGE : 0;
}

/* ---- sections ---- */

/* A section's entries go to a function that knows the names; the section's own rows follow when all
 * are read. */
struct section {
	struct sluice_if_params ifp;
	char addrs[CFG_VALUE_LEN], any[CFG_VALUE_LEN];
	char prefix[CFG_VALUE_LEN], via[CFG_VALUE_LEN], ifname[CFG_VALUE_LEN], addr[CFG_VALUE_LEN],
	    mac[CFG_VALUE_LEN];
	unsigned long vrf, port, backlog;
};

static int set_text(char dst[CFG_VALUE_LEN], const char *value)
{
	snprintf(dst, CFG_VALUE_LEN, "%s", value);
	return 0;
}

static int if_entry(struct section *s, const char *k, const char *v)
{
	unsigned long n = 0;
	int rc = 0;

	if (strcmp(k, "port") == 0)
		rc = num(v, SL_MAX_PORTS - 1, &n), s->ifp.port = (unsigned int)n;
	else if (strcmp(k, "vlan") == 0)
		rc = num(v, 4094, &n), s->ifp.vlan[0] = (uint16_t)n;
	else if (strcmp(k, "inner_vlan") == 0)
		rc = num(v, 4094, &n), s->ifp.vlan[1] = (uint16_t)n;
	else if (strcmp(k, "mtu") == 0)
		rc = num(v, 65535, &n), s->ifp.mtu = (uint16_t)n;
	else if (strcmp(k, "vrf") == 0)
		rc = num(v, UINT32_MAX, &n), s->ifp.vrf = (uint32_t)n;
	else if (strcmp(k, "virtual") == 0)
		rc = num(v, 1, &n), s->ifp.virt = n != 0;
	else if (strcmp(k, "address") == 0)
		rc = set_text(s->addrs, v);
	else if (strcmp(k, "any_address") == 0)
		rc = set_text(s->any, v);
	else
		rc = -ENOENT;
	return rc;
}

static int other_entry(struct section *s, const char *k, const char *v)
{
	if (strcmp(k, "prefix") == 0)
		return set_text(s->prefix, v);
	if (strcmp(k, "via") == 0)
		return set_text(s->via, v);
	if (strcmp(k, "interface") == 0)
		return set_text(s->ifname, v);
	if (strcmp(k, "address") == 0)
		return set_text(s->addr, v);
	if (strcmp(k, "mac") == 0)
		return set_text(s->mac, v);
	if (strcmp(k, "vrf") == 0)
		return num(v, UINT32_MAX, &s->vrf);
	if (strcmp(k, "port") == 0)
		return num(v, 65535, &s->port);
	if (strcmp(k, "backlog") == 0)
		return num(v, 1048576, &s->backlog);
	return -ENOENT;
}

static int add_addrs(struct ini *in, const char *ifname, char *list, bool any)
{
	char *save = NULL;

	for (char *a = strtok_r(list, ", \t", &save); a != NULL;
	     a = strtok_r(NULL, ", \t", &save)) {
		int rc = sluice_addr_add(in->txn, ifname, a, any);

		if (rc < 0)
			return bad(in, any ? "any_address" : "address", reason(rc));
	}
	return 0;
}

static int finish_if(struct ini *in, struct section *s, const char *name)
{
	int rc;

	s->ifp.name = name;
	rc = sluice_if_add(in->txn, &s->ifp);
	if (rc < 0)
		return bad(in, NULL,
		    rc == -EINVAL ? "interface: name, port, VLAN or VRF is not valid" : reason(rc));
	rc = add_addrs(in, name, s->addrs, false);
	return rc < 0 ? rc : add_addrs(in, name, s->any, true);
}

static int finish_route(struct ini *in, struct section *s)
{
	int rc;

	if (s->prefix[0] == '\0')
		return bad(in, NULL, "route without prefix");
	rc = sluice_route_add(in->txn, (uint32_t)s->vrf, s->prefix,
	    s->via[0] != '\0' ? s->via : NULL, s->ifname[0] != '\0' ? s->ifname : NULL);
	return rc < 0 ? bad(in, rc == -ENOENT ? "interface" : "prefix", reason(rc)) : 0;
}

static int finish_neigh(struct ini *in, struct section *s)
{
	struct rte_ether_addr mac;
	int rc;

	if (rte_ether_unformat_addr(s->mac, &mac) != 0)
		return bad(in, "mac", "not a MAC address");
	rc = sluice_neigh_add(in->txn, s->ifname, s->addr, mac.addr_bytes);
	return rc < 0 ? bad(in, rc == -ENOENT ? "interface" : "address", reason(rc)) : 0;
}

static int finish_listener(struct ini *in, struct section *s, const char *name)
{
	struct sl_ini_row *rows;
	struct sluice_addr a;

	if (s->port == 0)
		return bad(in, NULL, "listener without port");
	if (s->addr[0] != '\0' &&
	    (strlen(s->addr) >= sizeof(rows->addr) || sl_parse_addr(s->addr, &a) < 0))
		return bad(in, "address", reason(-EINVAL));
	rows = realloc(in->rows, (in->nrows + 1) * sizeof(*rows));
	if (rows == NULL)
		return -ENOMEM;
	in->rows = rows;
	rows = &rows[in->nrows++];
	memset(rows, 0, sizeof(*rows));
	snprintf(rows->name, sizeof(rows->name), "%.63s", name);
	snprintf(rows->addr, sizeof(rows->addr), "%.63s", s->addr);
	rows->port = (uint16_t)s->port;
	rows->backlog = (int)s->backlog;
	rows->vrf = (uint32_t)s->vrf;
	return 0;
}

static int read_tunables(struct ini *in, const struct rte_cfgfile_entry *e, int n)
{
	for (int i = 0; i < n; i++) {
		int rc = sluice_tunable_set_text(in->txn, e[i].name, e[i].value);

		if (rc < 0)
			return bad(in, e[i].name, rc == -ENOENT ? "no such tunable" : reason(rc));
	}
	return 0;
}

/* The name behind the kind: "interface eth0" -> "eth0"; NULL when the section is of another kind.
 */
static const char *of_kind(const char *section, const char *kind)
{
	size_t len = strlen(kind);

	if (strncmp(section, kind, len) != 0 || (section[len] != ' ' && section[len] != '\0'))
		return NULL;
	return section + len + strspn(section + len, " ");
}

/* VRFs and tunables first, then interfaces, then what refers to them: so the order in the file is
 * free. */
static const struct {
	const char *kind;
	int pass;
} kinds[] = {{"tunables", 0}, {"vrf", 0}, {"interface", 1}, {"route", 2}, {"neighbour", 2},
    {"listener", 2}, {"kernel", 2}};

static int read_vrf(struct ini *in, const char *name)
{
	unsigned long id;
	int rc = num(name, UINT32_MAX, &id);

	if (rc == 0 && id != 0)
		rc = sluice_vrf_add(in->txn, (uint32_t)id);
	return rc < 0 ? bad(in, NULL, reason(rc)) : 0;
}

/* [kernel 0]: rule1 = ..., rule2 = ... in the order of the file. */
static int read_kernel(struct ini *in, const char *name, const struct rte_cfgfile_entry *e, int n)
{
	struct sluice_kernel_stats stats = {.size = sizeof(stats)};
	struct sluice_stack *st = in->txn->st;
	unsigned long port;

	if (num(name, SL_MAX_PORTS - 1, &port) < 0 || port >= st->nports ||
	    sluice_kernel_stats(st->port[port], &stats) < 0)
		return bad(in, NULL, "kernel: not the number of a port that is shared with it");
	if (in->kernel[port] != NULL)
		return bad(in, NULL, reason(-EEXIST));
	if (n > SLUICE_KERNEL_RULES)
		return bad(in, NULL, reason(-ENOSPC));
	in->kernel[port] = calloc((size_t)n + 1, sizeof(in->kernel[port][0]));
	if (in->kernel[port] == NULL)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		if (strncmp(e[i].name, "rule", 4) != 0)
			return bad(in, e[i].name, "unknown name");
		if (sluice_kernel_rule_parse(e[i].value, &in->kernel[port][i]) < 0)
			return bad(in, e[i].name, reason(-EINVAL));
	}
	in->nkernel[port] = (unsigned int)n;
	return 0;
}

/* "proxy.pool web": a kind with a dot is a program's own, which may keep its sections in our file.
 */
static bool is_program(const char *section)
{
	return memchr(section, '.', strcspn(section, " ")) != NULL;
}

static int read_section(struct ini *in, const struct rte_cfgfile_entry *e, int n, int pass)
{
	struct section s = {
	    .ifp = {.size = sizeof(s.ifp), .vlan = {SLUICE_VLAN_NONE, SLUICE_VLAN_NONE}},
	    .backlog = 128};
	const char *name = NULL;
	size_t k;
	int rc;

	if (is_program(in->name))
		return 0;
	for (k = 0; k < RTE_DIM(kinds) && name == NULL; k++)
		name = of_kind(in->name, kinds[k].kind);
	if (name == NULL)
		return bad(in, NULL, "unknown section");
	if (kinds[--k].pass != pass)
		return 0;
	if (k == 0)
		return read_tunables(in, e, n);
	if (k == 1)
		return read_vrf(in, name);
	if (k == 6)
		return read_kernel(in, name, e, n);
	for (int i = 0; i < n; i++) {
		rc = k == 2 ? if_entry(&s, e[i].name, e[i].value)
			    : other_entry(&s, e[i].name, e[i].value);
		if (rc < 0)
			return bad(in, e[i].name, rc == -ENOENT ? "unknown name" : reason(rc));
	}
	switch (k) {
	case 2:
		return finish_if(in, &s, name);
	case 3:
		return finish_route(in, &s);
	case 4:
		return finish_neigh(in, &s);
	default:
		return finish_listener(in, &s, name);
	}
}

static int read_file(struct ini *in)
{
	int nsec = rte_cfgfile_num_sections(in->file, NULL, 0);

	for (int pass = 0; pass < 3; pass++) {
		for (int i = 0; i < nsec; i++) {
			int n = rte_cfgfile_section_num_entries_by_index(in->file, in->name, i);
			struct rte_cfgfile_entry *e;
			int rc;

			e = calloc((size_t)n + 1, sizeof(*e));
			if (e == NULL)
				return -ENOMEM;
			rte_cfgfile_section_entries_by_index(in->file, i, in->name, e, n);
			in->section = i;
			rc = read_section(in, e, n, pass);
			free(e);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

/* ---- listeners: what went, then what came ---- */

static bool same_listener(const struct sl_ini_row *a, const struct sl_ini_row *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool has_row(const struct sl_ini_row *rows, uint32_t n, const struct sl_ini_row *r)
{
	for (uint32_t i = 0; i < n; i++)
		if (same_listener(&rows[i], r))
			return true;
	return false;
}

typedef int (*listener_fn)(void *arg, const struct sluice_ini_listener *l, bool add);

static int tell(listener_fn fn, void *arg, const struct sl_ini_row *r, bool add)
{
	struct sluice_ini_listener l = {.name = r->name,
	    .addr = r->addr[0] != '\0' ? r->addr : NULL,
	    .port = r->port,
	    .backlog = r->backlog,
	    .vrf = r->vrf};

	return fn == NULL ? 0 : fn(arg, &l, add);
}

/* From `a` to `b`; on failure what was done is undone. */
static int swap_listeners(listener_fn fn, void *arg, const struct sl_ini_row *a, uint32_t na,
    const struct sl_ini_row *b, uint32_t nb, const struct sl_ini_row **culprit)
{
	uint32_t i;
	int rc = 0;

	for (i = 0; i < na; i++)
		if (!has_row(b, nb, &a[i]))
			(void)tell(fn, arg, &a[i], false);
	for (i = 0; i < nb && rc >= 0; i++) {
		if (has_row(a, na, &b[i]))
			continue;
		rc = tell(fn, arg, &b[i], true);
		if (rc < 0)
			*culprit = &b[i];
	}
	if (rc >= 0)
		return 0;
	for (uint32_t k = 0; k + 1 < i; k++)
		if (!has_row(a, na, &b[k]))
			(void)tell(fn, arg, &b[k], false);
	for (uint32_t k = 0; k < na; k++)
		if (!has_row(b, nb, &a[k]))
			(void)tell(fn, arg, &a[k], true);
	return rc;
}

/* Begin from an empty model, but for the indices of interfaces and what is fixed for the stack's
 * life. */
static void blank_model(struct sl_model *m)
{
	struct sluice_tunables was = m->tun;

	m->naddrs = m->nroutes = m->nneighs = m->nvrfs = 0;
	for (unsigned int i = 0; i < SL_IP_MAX_IFS; i++)
		m->ifs[i].used = false;
	sluice_tunables_default(&m->tun);
	for (unsigned int i = 0; i < SLUICE_NTUNABLES; i++)
		if (sluice_tunable_info(i)->scope == 'S')
			((uint64_t *)(void *)&m->tun)[i] = ((uint64_t *)(void *)&was)[i];
}

static int apply(struct ini *in, struct sluice_stack *st, listener_fn fn, void *arg)
{
	struct sl_ctl *ctl = sl_ctl_of(st);
	const struct sl_ini_row *culprit = NULL;
	struct sl_model was;
	const char *why = "";
	int rc = sl_model_copy(&was, &ctl->model);

	if (rc < 0)
		return rc;
	rc = sluice_txn_commit(in->txn, &why);
	in->txn = NULL;
	if (rc < 0) {
		sl_model_fini(&was);
		snprintf(in->err, in->errlen, "%s:0: %s", in->path, why);
		return rc;
	}
	rc =
	    swap_listeners(fn, arg, ctl->listeners, ctl->nlisteners, in->rows, in->nrows, &culprit);
	if (rc < 0) {
		struct sluice_txn *back;

		snprintf(in->err, in->errlen, "%s:0: listener %s: %s", in->path, culprit->name,
		    strerror(-rc));
		if (sl_txn_open(st, &back) == 0) {
			sl_model_fini(&back->model);
			back->model = was;
			(void)sluice_txn_commit(back, NULL);
		} else {
			sl_model_fini(&was);
		}
		return rc;
	}
	sl_model_fini(&was);
	for (unsigned int i = 0; i < st->nports; i++) {
		if (in->kernel[i] == NULL)
			continue;
		rc = sluice_kernel_rules(st->port[i], in->kernel[i], in->nkernel[i]);
		if (rc < 0) /* only memory: all else was looked at before */
			snprintf(in->err, in->errlen,
			    "%s:0: rules of port %u stay as they were: %s", in->path, i,
			    strerror(-rc));
	}
	free(ctl->listeners);
	ctl->listeners = in->rows;
	ctl->nlisteners = in->nrows;
	in->rows = NULL;
	return rc;
}

int sluice_config_load(struct sluice_stack *st, const char *path, char *err, size_t errlen,
    listener_fn listener, void *arg)
{
	struct ini in = {.path = path, .err = err, .errlen = errlen};
	int rc;

	if (errlen > 0)
		err[0] = '\0';
	rc = scan(&in, NULL, NULL);
	if (rc < 0)
		return rc;
	in.file = rte_cfgfile_load(path, 0);
	if (in.file == NULL)
		return fail(&in, 0, "cannot be read");
	rc = sl_txn_open(st, &in.txn);
	if (rc < 0) {
		snprintf(err, errlen, "%s:0: %s", path,
		    rc == -EBUSY ? "another transaction is open" : strerror(-rc));
	} else {
		blank_model(&in.txn->model);
		rc = read_file(&in);
		if (rc == 0)
			rc = apply(&in, st, listener, arg);
		else if (err[0] == '\0')
			snprintf(err, errlen, "%s:0: %s", path, strerror(-rc));
	}
	if (in.txn != NULL)
		sluice_txn_abort(in.txn);
	free(in.rows);
	for (unsigned int i = 0; i < SL_MAX_PORTS; i++)
		free(in.kernel[i]);
	rte_cfgfile_close(in.file);
	return rc;
}
