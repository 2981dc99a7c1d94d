#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# proxy.sh LINK PROXY [MIB [LCORES]]: sluice-proxy, on 1 or 2 lcores, between curl, wrk and openssl on the one side and nginx on the other, over real
# ports: files both ways in all four combinations of IPv4 and IPv6, PROXY protocol both ways, routing by SNI and by
# Host, reloads under load, short connections, an orderly end.
set -euo pipefail
. "$(dirname "$0")/proxy_lib.sh"

proxy=$2
mib=${SLUICE_LONG:+1024}
mib=${mib:-${3:-64}}
# shellcheck disable=SC2034 # of proxy_up
lcores=${4:-1}
begin "$1" curl wrk nginx openssl
random_file "$mib"
mkdir "$tmp/www"
mv "$tmp/sent" "$tmp/www/big"
head -c 1000 /dev/urandom >"$tmp/www/small"
nginx_cpu=(taskset -c "$last_cpu")
nginx_up

serving=0 # lcores that serve; 0: all
# configuration BACKENDS: of the pool that listener web goes to; a, b or ab.
configuration() {
	stack_sections
	cat <<-END
	[proxy.global]
	drain_time = 60s
	lcores = $serving
	[proxy.listener web]
	port = 80
	pool = web
	[proxy.listener web6]
	port = 81
	pool = web6
	[proxy.listener who]
	port = 82
	pool = v1
	[proxy.listener who2]
	port = 83
	pool = v2
	[proxy.listener inner]
	port = 84
	accept_proxy = on
	pool = v2
	[proxy.listener tls]
	port = 443
	hook = sni
	[proxy.listener host]
	port = 85
	hook = host
	pool = web
	[proxy.pool web]
	balance = $([ "$1" = ab ] && echo leastconn || echo roundrobin)
	sources = 10.79.0.10-10.79.0.13
	health_interval = 500ms
	[proxy.pool web6]
	[proxy.pool v1]
	send_proxy = v1
	[proxy.pool v2]
	send_proxy = v2
	[proxy.pool one]
	[proxy.pool two]
	[proxy.route one]
	listener = tls
	host = one.example
	pool = one
	[proxy.route two]
	listener = tls
	host = *.example
	pool = two
	[proxy.route who]
	listener = host
	host = who.example
	pool = v1
	[proxy.backend web6]
	pool = web6
	address = $nginx6
	port = 8080
	[proxy.backend v1]
	pool = v1
	address = $nginx4
	port = 8082
	[proxy.backend v2]
	pool = v2
	address = $nginx6
	port = 8082
	[proxy.backend one]
	pool = one
	address = $nginx4
	port = 8443
	[proxy.backend two]
	pool = two
	address = $nginx4
	port = 8444
	END
	[ "$1" = b ] || printf '[proxy.backend a]\npool = web\naddress = %s\nport = 8080\n' "$nginx4"
	[ "$1" = a ] || printf '[proxy.backend b]\npool = web\naddress = %s\nport = 8081\n' "$nginx4"
}
configuration a >"$tmp/proxy.ini"
proxy_up "$proxy"
proxy_pid=$started

files() {
	local host p
	for host in "$ours4" "[$ours6]"; do
		for p in 80 81; do
			get -o "$tmp/got" "http://$host:$p/big" || die "no file from $host:$p"
			same "$tmp/got" "$tmp/www/big" || die "$host:$p: SHA-256 differs on the way down"
			rm -f "$tmp/www/up/file"
			get -T "$tmp/www/big" "http://$host:$p/up/file" || die "no file to $host:$p"
			same "$tmp/www/up/file" "$tmp/www/big" || die "$host:$p: SHA-256 differs on the way up"
		done
		in_cli ping -q -n -c 5 -i 0.05 -W 2 "${host//[\[\]]/}" >/dev/null || die "echo requests to $host unanswered"
	done
	rm -f "$tmp/got" "$tmp/www/up/file"
	echo "$link: $mib MiB down and up, 4 and 6 in front of 4 and 6: equal"
}

# is WANT COMMAND...: compare what it prints.
is() {
	local want=$1 got
	shift
	got=$("$@") || die "$* fails"
	[ "$got" = "$want" ] || die "$*: \"$got\" instead of \"$want\""
}

who_is_it() {
	is "$theirs4 40001 82" get --local-port 40001 "http://$ours4:82/"
	is "$theirs6 40002 82" get --local-port 40002 "http://[$ours6]:82/"
	is "$theirs4 40003 83" get --local-port 40003 "http://$ours4:83/"
	is "$theirs6 40004 83" get --local-port 40004 "http://[$ours6]:83/"
	# curl sends a header of version 1, nginx gets one of version 2; without a header nobody comes in.
	is "$theirs4 40005 84" get --haproxy-protocol --local-port 40005 "http://$ours4:84/"
	! get "http://$ours4:84/" || die "a client without the PROXY header it must have was let in"
	echo "$link: PROXY protocol in and out: well"
}

routing() {
	is one get -k --resolve "one.example:443:$ours4" https://one.example/
	is one get -k --resolve "one.example:443:[$ours6]" https://one.example/
	is two get -k --resolve "two.example:443:$ours4" https://two.example/
	is two get -k --resolve "x.y.example:443:$ours4" https://x.y.example/
	! get -k --resolve "one.elsewhere:443:$ours4" https://one.elsewhere/ || die "a name without a route was let in"
	is two eval "printf 'GET / HTTP/1.0\r\n\r\n' |
	    in_cli openssl s_client -quiet -connect $ours4:443 -servername b.example 2>/dev/null | tail -n 1"
	is "$theirs4 40006 85" get --local-port 40006 -H 'Host: who.example' "http://$ours4:85/"
	get -o "$tmp/got" -H 'Host: else.example' "http://$ours4:85/small" && same "$tmp/got" "$tmp/www/small" ||
	    die "the listener's own pool is not used"
	echo "$link: SNI and Host routing: well"
}

# Reloads while wrk runs with lasting connections and with one for each request, with other backends and lcores.
reloads() {
	local n=0 b
	start_in "$cli" "$tmp" wrk_long wrk -t 1 -c 20 -d 3s "http://$ours4/small"
	local long=$started
	start_in "$cli" "$tmp" wrk_short wrk -t 1 -c 20 -d 3s -H 'Connection: close' "http://[$ours6]/small"
	local short=$started
	until gone "$long" && gone "$short"; do
		for b in b ab a; do
			[ "$lcores" = 1 ] || serving=$((n % 2)) # the second lcore leaves and comes back
			configuration $b >"$tmp/proxy.ini"
			reload
			n=$((n + 1))
			sleep 0.1
		done
	done
	wait "$long" "$short" || die "wrk fails"
	wrk_ok wrk_long
	wrk_ok wrk_short
	[ "$n" -ge 6 ] || die "only $n reloads"
	serving=0
	[ "$lcores" = 1 ] || telemetry /sluice/counters,proxy | grep -q '"sq_parks": *[1-9]' || die "no lcore has left"
	# A file with a mistake changes nothing, and the line is named.
	configuration a | sed 's/^pool = web6$/pool = nosuch/' >"$tmp/proxy.ini"
	kill -HUP "$proxy_pid"
	wait_until 5 grep -q 'proxy.ini:[0-9]*: web6: its pool does not exist' "$tmp/proxy.log" || die "a bad file is not refused"
	get -o /dev/null "http://$ours4/small" || die "nothing is served after a bad file"
	configuration a >"$tmp/proxy.ini"
	reload
	echo "$link: $n reloads under load: no request lost"
}

# One value of a backend by telemetry; the access log in a new file after SIGHUP.
changes() {
	local n
	configuration ab >"$tmp/proxy.ini"
	reload
	is '{"/sluice_proxy/set":{"result":"ok"}}' telemetry /sluice_proxy/set,web/b,weight=0
	is '{"/sluice_proxy/set":{"result":"No such file or directory"}}' telemetry /sluice_proxy/set,web/z,weight=0
	mv "$tmp/access" "$tmp/access.1"
	configuration ab | sed 's/^port = 8081$/&\nweight = 0/' >"$tmp/proxy.ini"
	reload
	for ((n = 0; n < 6; n++)); do
		get -o /dev/null "http://$ours4/small" || die "nothing is served after a change"
	done
	wait_until 5 eval "[ \$(grep -c ' web a .* end=done' '$tmp/access') = 6 ]" || die "b has weight 0 and is used, or the log is in no new file"
	cat "$tmp/access" >>"$tmp/access.1"
	mv "$tmp/access.1" "$tmp/access"
	configuration a >"$tmp/proxy.ini"
	reload
	telemetry /sluice/counters,proxy | grep -q '"tcp_passive_opens": *[1-9]' || die "no counters of the stack in telemetry"
	telemetry /sluice_proxy/counters | grep -q '"ended_done": *[1-9]' || die "no counters in telemetry"
	echo "$link: changes by telemetry, log in a new file: well"
}

# One request each, to one address and port of the backend, more than it has ports: --long does 200,000.
short_connections() {
	local want=${SLUICE_LONG:+200000} wrk_time=${SLUICE_LONG:+20} before after
	wrk_time=${wrk_time:-1}
	want=${want:-5000}
	before=$(counter accepted)
	after=$before
	while [ $((after - before)) -lt "$want" ]; do
		in_cli wrk -t 1 -c 64 -d "${wrk_time}s" -H 'Connection: close' "http://$ours4/small" >"$tmp/wrk.log"
		wrk_ok wrk
		after=$(counter accepted)
	done
	[ "$(counter 'ended no-port')" = 0 ] && [ "$(counter connect_failed)" = 0 ] || die "short connections failed"
	echo "$link: $((after - before)) short connections to one backend: none failed"
}

# The listener is gone at once, the transfer goes on to its end, and the program ends with it.
drain() {
	local curl lines
	# A client that stops reading, with room for less than the file on its side.
	in_cli sysctl -qw net.ipv4.tcp_rmem='4096 131072 524288'
	start_in "$cli" "$tmp" curl curl -gsf --limit-rate "$((mib * 349525))" -o "$tmp/slow" "http://$ours4/big"
	curl=$started
	wait_until 15 test -s "$tmp/slow" || die "the slow client gets nothing"
	kill -STOP "$curl"
	lines=$(wc -l <"$tmp/proxy.log")
	kill -TERM "$proxy_pid"
	wait_until 5 eval "! get -o /dev/null http://$ours4/small" || die "new clients are let in while it drains"
	! gone "$proxy_pid" || die "it did not wait for a transfer under way"
	kill -CONT "$curl"
	ended "$curl" 120 curl
	[ "$rc" = 0 ] && same "$tmp/slow" "$tmp/www/big" || die "the transfer did not outlive SIGTERM ($rc)"
	ended "$proxy_pid" 20 sluice-proxy
	[ "$rc" = 0 ] || die "sluice-proxy ended with $rc"
	! tail -n "+$((lines + 1))" "$tmp/proxy.log" | grep '^open ' || die "sessions are left"
	grep -qE '^[0-9T:-]+Z 10\.78\.0\.2:[0-9]+ web a to_backend=[0-9]+ to_client=[0-9]+ ms=[0-9.]+ retries=0 end=done$' \
	    "$tmp/access" || die "the access log has no such line"
	! grep -v ' end=\(done\|first-bad\|no-route\|client-reset\)$' "$tmp/access" || die "sessions ended badly"
	echo "$link: drained and ended"
}

files
who_is_it
routing
reloads
changes
short_connections
drain
