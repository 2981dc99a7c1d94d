#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# proxy_load.sh LINK PROXY: sluice-proxy with many connections held at once, and with clients and the backend killed at
# random under load: what a client holds to be whole is right, and nothing is left. --long: 10,000 connections, a minute.
set -euo pipefail
. "$(dirname "$0")/proxy_lib.sh"

proxy=$2
held=${SLUICE_LONG:+10000}
held=${held:-1000}
seconds=${SLUICE_LONG:+60}
seconds=${seconds:-6}
begin "$1" curl wrk nginx openssl
ulimit -n "$(ulimit -H -n)"
random_file 8
mkdir "$tmp/www"
mv "$tmp/sent" "$tmp/www/big"
head -c 1000 /dev/urandom >"$tmp/www/small"
nginx_cpu=(taskset -c "$last_cpu")
nginx_up
{
	stack_sections
	cat <<-END
	[proxy.listener web]
	port = 80
	pool = web
	backlog = 16384
	idle_timeout = 60s
	[proxy.pool web]
	sources = 10.79.0.10-10.79.0.13
	[proxy.backend a]
	pool = web
	address = $nginx4
	port = 8080
	END
} >"$tmp/proxy.ini"
# Large rings: what all these clients send at once must find room.
proxy_up "$proxy" --rxd 4096 --txd 4096
proxy_pid=$started

# All of wrk's connections stand at the same time and none is lost. How long a request takes is not asked: so many at once
# fill rings, and time-outs of the retransmission grow.
hold() {
	local most=0 now
	start_in "$cli" "$tmp" wrk wrk -t 1 -c "$held" -d "${SLUICE_LONG:+3}5s" --timeout 600s "http://$ours4/small"
	local wrk=$started
	until gone "$wrk"; do
		now=$(counter open)
		[ "$now" -le "$most" ] || most=$now
		sleep 0.5
	done
	wait "$wrk" || die "wrk fails"
	wrk_ok wrk
	[ "$most" -ge "$held" ] || die "at most $most connections of $held stood at once"
	# A reset that the veth lost is known only by the idle time-out.
	wait_until 150 eval '[ "$(counter open)" = 0 ]' || die "sessions are left after wrk ended"
	echo "$link: $most connections held at once"
}

# transfers N: fetch and send; what curl calls done must be right. Counts into $tmp/count.N.
transfers() {
	local n=$1 good=0 bad=0
	until [ -e "$tmp/stop" ]; do
		echo "$good $bad" >"$tmp/count.$n"
		rm -f "$tmp/t.$n" "$tmp/www/up/t.$n"
		if [ $((RANDOM % 2)) = 1 ]; then
			get -T "$tmp/www/big" "http://$ours4/up/t.$n" || { bad=$((bad + 1)); continue; }
			mv "$tmp/www/up/t.$n" "$tmp/t.$n"
		else
			get -o "$tmp/t.$n" "http://$ours4/big" || { bad=$((bad + 1)); continue; }
		fi
		same "$tmp/t.$n" "$tmp/www/big" || touch "$tmp/wrong"
		good=$((good + 1))
	done
}

# counted: sets $good and $bad; true when there are some of both.
good= bad=
counted() {
	read -r good bad < <(cat "$tmp"/count.* | awk '{ g += $1; b += $2 } END { print g + 0, b + 0 }')
	[ "$good" -ge 5 ] && [ "$bad" -ge 5 ]
}

# Any curl that runs in the clients' namespace, or nginx.
strike() {
	local pid pids
	if [ $((RANDOM % 8)) = 0 ]; then
		kill -KILL "$nginx_pid"
		wait "$nginx_pid" 2>/dev/null || true
		nginx_up
		return
	fi
	pids=$(for pid in $(ip netns pids "$cli"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != curl ] || echo "$pid"
	done)
	[ -z "$pids" ] || kill -KILL "$(shuf -n 1 <<<"$pids")" 2>/dev/null || true
}

kills() {
	local n jobs=() end=$((SECONDS + seconds))
	for n in 1 2 3 4; do
		transfers $n 2>/dev/null &
		jobs+=($!)
	done
	until [ "$SECONDS" -ge "$end" ] && counted; do
		[ "$SECONDS" -lt $((end + 120)) ] || die "only $good transfers finished and $bad were struck"
		sleep 0.$((RANDOM % 8 + 1))
		strike
	done
	touch "$tmp/stop"
	wait "${jobs[@]}" || die "a client loop failed"
	[ ! -e "$tmp/wrong" ] || die "a finished transfer was wrong"
	wait_until 150 eval '[ "$(counter open)" = 0 ]' || die "sessions are left"
	kill -USR1 "$proxy_pid"
	wait_until 5 eval "tail -n 1 '$tmp/proxy.log' | grep -q '^backend web/a .*, 0 connections'" || die "the backend still counts connections"
	echo "$link: $good transfers right, $bad struck, nothing left"
}

hold
kills
kill -TERM "$proxy_pid"
ended "$proxy_pid" 20 sluice-proxy
[ "$rc" = 0 ] || die "sluice-proxy ended with $rc"
