/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server name in a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 section 3). Nothing is decrypted
 * and nothing answered: the records go on to the backend as they came.
 *
 * The handshake message may be cut into records anywhere, so its bytes are first put together. Each
 * length is checked against what holds it; a message that is whole and inconsistent is refused.
 */
#include "proxy.h"

#include <string.h>

#define RECORD_HEAD 5
#define RECORD_MAX 16384
#define HELLO_MAX 16384
#define CONTENT_HANDSHAKE 22
#define CLIENT_HELLO 1
#define EXT_SERVER_NAME 0

/** A piece of the message; every read checks. */
struct cursor {
	const uint8_t *p;
	size_t n;
};

/* A number of `size` bytes. */
static bool get(struct cursor *c, unsigned int size, size_t *v)
{
	if (c->n < size)
		return false;
	*v = 0;
	for (unsigned int i = 0; i < size; i++)
		*v = *v << 8 | c->p[i];
	c->p += size;
	c->n -= size;
	return true;
}

/* A vector whose length stands before it in `size` bytes. */
static bool get_vector(struct cursor *c, unsigned int size, struct cursor *out)
{
	size_t len;

	if (!get(c, size, &len) || len > c->n)
		return false;
	out->p = c->p;
	out->n = len;
	c->p += len;
	c->n -= len;
	return true;
}

/* Records to one run of handshake bytes, as far as they have come. */
static enum verdict unwrap(const uint8_t *p, size_t n, uint8_t *out, size_t *len)
{
	*len = 0;
	while (n > 0) {
		size_t rec, have;

		if (p[0] != CONTENT_HANDSHAKE || (n > 1 && p[1] != 3))
			return VERDICT_BAD;
		if (n < RECORD_HEAD)
			break;
		rec = (size_t)p[3] << 8 | p[4];
		if (rec == 0 || rec > RECORD_MAX)
			return VERDICT_BAD;
		have = n - RECORD_HEAD < rec ? n - RECORD_HEAD : rec;
		if (have > HELLO_MAX - *len)
			have = HELLO_MAX - *len;
		memcpy(out + *len, p + RECORD_HEAD, have);
		*len += have;
		if (*len >= 4) { /* enough? What follows the hello is not looked at */
			size_t hello = 4 + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);

			if (out[0] != CLIENT_HELLO || hello > HELLO_MAX)
				return VERDICT_BAD;
			if (*len >= hello) {
				*len = hello;
				return VERDICT_NAME;
			}
		}
		if (have < rec)
			break;
		p += RECORD_HEAD + rec;
		n -= RECORD_HEAD + rec;
	}
	return *len > 0 && out[0] != CLIENT_HELLO ? VERDICT_BAD : VERDICT_MORE;
}

static enum verdict server_name(struct cursor ext, char host[HOST_LEN])
{
	struct cursor list, name;
	size_t type;

	if (!get_vector(&ext, 2, &list) || ext.n != 0)
		return VERDICT_BAD;
	if (!get(&list, 1, &type) || !get_vector(&list, 2, &name) || type != 0 || list.n != 0)
		return VERDICT_BAD; /* one name, of the only type that there is */
	return hook_name(name.p, name.n, host) ? VERDICT_NAME : VERDICT_BAD;
}

static enum verdict extensions(struct cursor list, char host[HOST_LEN])
{
	enum verdict v = VERDICT_NONE;
	struct cursor ext;
	size_t type;

	while (list.n > 0) {
		if (!get(&list, 2, &type) || !get_vector(&list, 2, &ext))
			return VERDICT_BAD;
		if (type != EXT_SERVER_NAME)
			continue;
		if (v != VERDICT_NONE)
			return VERDICT_BAD; /* twice */
		v = server_name(ext, host);
		if (v == VERDICT_BAD)
			return v;
	}
	return v;
}

enum verdict hook_sni(const uint8_t *p, size_t n, char host[HOST_LEN])
{
	uint8_t hello[HELLO_MAX];
	struct cursor c = {.p = hello + 4}, skip, ext;
	size_t len, version;
	enum verdict v = unwrap(p, n, hello, &len);

	host[0] = '\0';
	if (v != VERDICT_NAME)
		return v;
	c.n = len - 4;
	if (!get(&c, 2, &version) || version >> 8 != 3 || c.n < 32)
		return VERDICT_BAD;
	c.p += 32; /* random */
	c.n -= 32;
	if (!get_vector(&c, 1, &skip) || skip.n > 32 || /* session id */
	    !get_vector(&c, 2, &skip) || skip.n < 2 ||  /* cipher suites */
	    !get_vector(&c, 1, &skip) || skip.n < 1)    /* compression methods */
		return VERDICT_BAD;
	if (c.n == 0)
		return VERDICT_NONE; /* TLS 1.2 without extensions */
	if (!get_vector(&c, 2, &ext) || c.n != 0)
		return VERDICT_BAD;
	return extensions(ext, host);
}
