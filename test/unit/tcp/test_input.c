/* SPDX-License-Identifier: BSD-3-Clause */
/* Input by crafted segments: what RFC 9293 3.10.7, RFC 5961, RFC 7323 and RFC 1337 say to each. */
#include "script.h"

static void handshake_and_data(void **state)
{
	struct script *s = script_start(NULL);
	struct out *o;

	script_listen(s);
	IN(s, .flags = S);
	o = script_out(s);
	assert_int_equal(o->flags, S | A);
	assert_int_equal(o->mss, 1460);
	assert_true(o->ts && o->sack_ok);
	assert_int_equal(o->wscale, 5);
	assert_int_equal(o->wnd, 65535);
	IN(s, .flags = A | P, .seq = 1, .ack = 1, .len = 100);
	assert_int_equal(s->got, 100);
	script_run(s, SLUICE_MS(50));
	WANT(s, A, 1, 101, 0);
	script_say(s, 3000, 0);
	WANT(s, A, 1, 101, 1448);
	WANT(s, A, 1449, 101, 1448);
	script_none(s); /* Nagle keeps the rest */
	IN(s, .flags = A, .seq = 101, .ack = 2897);
	WANT(s, A | P, 2897, 101, 104);
	IN(s, .flags = A, .seq = 101, .ack = 3001);
	script_none(s);
	assert_true(CTR(s, tcp_seq_wraps) > 0);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(handshake_and_data)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
