#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# httpd.sh LINK HTTPD [MIB [LCORES]]: sluice-httpd, on 1 or 2 lcores, and Linux tools: echo, files equal over both families, a range, keep-alive, a
# missing file, a client killed in the middle, an orderly end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

httpd=$2
mib=${3:-64}
squeues=${4:-1}
begin "$1" curl ping python3
mkdir "$tmp/www"
random_file "$mib"
mv "$tmp/sent" "$tmp/www/big"
head -c 1000 /dev/urandom >"$tmp/www/small"
: >"$tmp/www/empty"

sluice httpd "$httpd" --addr $ours4/24 --addr $ours6/64 --listen 80 --root "$tmp/www" --idle yield --stats 1
pid=$started
kernel_end
await httpd "$pid" 15 "sluice-httpd: serving"

in_cli() {
	ip netns exec "$cli" "$@"
}
get() {
	in_cli curl -gsf --connect-timeout 2 --max-time 120 "$@"
}

for host in $ours4 "[$ours6]"; do
	wait_until 15 get -o /dev/null "http://$host/small" || die "no answer from $host"
	in_cli ping -q -n -c 5 -i 0.05 -W 2 "${host//[\[\]]/}" >/dev/null || die "echo requests to $host unanswered"
	# In fragments both ways: what an MTU cannot hold is answered all the same. Not over net_af_packet, where the kernel
	# puts fragments together and cuts what is longer than a frame of the ring.
	[ "$link" = af_packet ] || in_cli ping -q -n -c 3 -i 0.05 -W 2 -s 4000 "${host//[\[\]]/}" >/dev/null || die "large echo requests to $host unanswered"
	get -o "$tmp/got" "http://$host/big" || die "curl fails at $host"
	same "$tmp/got" "$tmp/www/big" || die "$host: SHA-256 differs"
	get -o "$tmp/got" -r 1000000-1999999 "http://$host/big" || die "no range from $host"
	tail -c +1000001 "$tmp/www/big" | head -c 1000000 >"$tmp/range" || true
	same "$tmp/got" "$tmp/range" || die "$host: the range differs"
	get -o "$tmp/got" "http://$host/empty" || die "$host: the empty file is refused"
	[ ! -s "$tmp/got" ] || die "$host: the empty file is not empty"
	conns=$(get -w '%{num_connects} ' -o /dev/null "http://$host/small" -o /dev/null "http://$host/small")
	[ "$conns" = "1 0 " ] || die "$host: the second request opened a connection again ($conns)"
	code=$(in_cli curl -gs -o /dev/null -w '%{http_code}' --max-time 10 "http://$host/none") || true
	[ "$code" = 404 ] || die "$host: a missing file gives $code"
done

# Over link-local addresses, where the kernel's end has one: not on a TAP (lib.sh).
if [ "$link" != tap ]; then
	ll=$(in_cli ip -6 neigh show "$ours6" dev sl1 | sed -n 's/.*lladdr \([0-9a-f:]*\).*/\1/p')
	[ -n "$ll" ] || die "the kernel does not know $ours6"
	IFS=: read -r -a mac <<<"$ll"
	ll=$(printf 'fe80::%02x%s:%sff:fe%s:%s%s' $((0x${mac[0]} ^ 2)) "${mac[@]:1}")
	in_cli ping -q -n -c 3 -i 0.05 -W 2 -s 4000 "$ll%sl1" >/dev/null || die "echo requests to $ll unanswered"
	get -o "$tmp/got" "http://[$ll%25sl1]/small" || die "curl fails at $ll"
	same "$tmp/got" "$tmp/www/small" || die "$ll: the file differs"
fi

# A client that is killed in the middle: the server must be left with no connection.
start_in "$cli" "$tmp" curl curl -gsf --limit-rate 1M -o "$tmp/part" "http://$ours4/big"
victim=$started
started_well() { [ -s "$tmp/part" ]; }
wait_until 15 started_well || die "the slow client gets nothing"
kill -KILL "$victim"
wait "$victim" 2>/dev/null || true
lines=$(wc -l <"$tmp/httpd.log")
none_open() {
	tail -n "+$((lines + 2))" "$tmp/httpd.log" | grep -q '^open 0 '
}
wait_until 20 none_open || die "a connection stays open after its client was killed"

kill -TERM "$pid"
ended "$pid" 20 sluice-httpd
[ "$rc" = 0 ] || die "sluice-httpd ended with $rc"
echo "$link: echo, files, ranges, keep-alive, killed client: well"
