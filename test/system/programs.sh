#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# programs.sh LINK RUN [MIB]: finished programs under sluice-run, the kernel's programs as their peers: what they move and say
# is what it should be. With SLUICE_LONG=1 more of it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/preload_lib.sh"

run=$2
long=${SLUICE_LONG:+1}
begin "$1" curl wrk nginx redis-server redis-benchmark iperf3 python3
mkdir "$tmp/www"
random_file 8 # python's server copies in small pieces
mv "$tmp/sent" "$tmp/www/big"
head -c 1000 /dev/urandom >"$tmp/www/small"

in_cli() {
	ip netns exec "$cli" "$@"
}
get() {
	in_cli curl -gsf --connect-timeout 2 --max-time 60 "$@"
}
# stop PID NAME [SIGNAL]: an orderly end.
stop() {
	kill -"${3:-TERM}" "$1"
	ended "$1" 15 "$2"
	[ "$rc" = 0 ] || die "$2 ended with $rc"
}

# ---- nginx: in one process, and a master with one worker ----
nginx_config() {
	cat >"$tmp/nginx.conf" <<-END
		daemon off;
		$1
		error_log $tmp/nginx-error.log;
		pid $tmp/nginx.pid;
		events { worker_connections 2048; }
		http {
		  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
		  client_body_temp_path $tmp/n1; proxy_temp_path $tmp/n2; fastcgi_temp_path $tmp/n3;
		  uwsgi_temp_path $tmp/n4; scgi_temp_path $tmp/n5;
		  server {
		    listen 80; listen [::]:80; root $tmp/www;
		    location /behind/ { proxy_pass http://$theirs4:8000/; }
		  }
		}
	END
}

load() {
	local out
	out=$(in_cli wrk -t1 -c"$1" -d"${long:+10}${long:-1}s" "http://$ours4/$2")
	! grep -E "Socket errors|Non-2xx" <<<"$out" || die "wrk through nginx, $2: errors"
	[ "$(sed -n 's/ *\([0-9]*\) requests in.*/\1/p' <<<"$out")" -gt 50 ] || die "wrk through nginx: $out"
}

start_in "$cli" "$tmp" origin python3 -m http.server --directory "$tmp/www" 8000
origin=$started
for mode in "master_process off;" "user root; worker_processes 1;"; do
	nginx_config "$mode"
	begin_on_sluice nginx nginx -c "$tmp/nginx.conf"
	pid=$started
	wait_until 15 get -o /dev/null "http://$ours4/small" || die "nginx ($mode): no answer"
	for host in $ours4 "[$ours6]"; do
		get -o "$tmp/got" "http://$host/big" || die "nginx ($mode): curl fails at $host"
		same "$tmp/got" "$tmp/www/big" || die "nginx ($mode): the file from $host differs"
	done
	conns=$(get -w '%{num_connects} ' -o /dev/null "http://$ours4/small" -o /dev/null "http://$ours4/small")
	[ "$conns" = "1 0 " ] || die "nginx ($mode): the second request opened a connection again ($conns)"
	get -o "$tmp/got" "http://$ours4/behind/big" || die "nginx ($mode): proxy_pass fails"
	same "$tmp/got" "$tmp/www/big" || die "nginx ($mode): the file from behind differs"
	load 64 small
	stop "$pid" nginx QUIT # TERM kills a worker that takes a second
	[ ! -s "$tmp/nginx-error.log" ] || ! grep -E "\[(alert|crit|emerg)\]" "$tmp/nginx-error.log" >&2 || die "nginx complains"
done

# ---- clients: curl and python over the dataplane ----
on_sluice curl -gsf --max-time 60 -o "$tmp/got" "http://$theirs4:8000/big" 2>"$tmp/curl.log" || die "curl on sluice fails"
same "$tmp/got" "$tmp/www/big" || die "curl on sluice: the file differs"
on_sluice curl -sf --max-time 60 --parallel --parallel-max 100 -o "$tmp/got_#1" "http://$theirs4:8000/small?[1-100]" \
    2>"$tmp/curl.log" || die "curl, 100 in parallel, fails"
for i in 1 50 100; do
	same "$tmp/got_$i" "$tmp/www/small" || die "curl, in parallel: a file differs"
done
kill "$origin"

# ---- python: http.server with threads ----
begin_on_sluice python python3 -m http.server --directory "$tmp/www" --bind $ours4 8001
pid=$started
wait_until 15 get -o /dev/null "http://$ours4:8001/small" || die "python's server: no answer"
get -o "$tmp/got" "http://$ours4:8001/big" || die "curl from python's server fails"
same "$tmp/got" "$tmp/www/big" || die "python's server: the file differs"
kill -TERM "$pid"
ended "$pid" 15 python3
[ "$rc" = 143 ] || die "python3 ended with $rc, not by the signal"

# ---- redis ----
begin_on_sluice redis redis-server --save '' --bind $ours4 --port 6379 --protected-mode no --daemonize no
pid=$started
answers() {
	[ "$(in_cli timeout 2 redis-cli -h $ours4 ping)" = PONG ]
}
wait_until 15 answers || die "redis: no answer"
head -c 3000000 /dev/urandom | base64 -w 0 >"$tmp/value"
in_cli redis-cli -h $ours4 -x set large <"$tmp/value" >/dev/null
in_cli redis-cli -h $ours4 --raw get large | head -c -1 >"$tmp/got"
same "$tmp/value" "$tmp/got" || die "redis: the large value differs"
n=${long:+100000}
in_cli timeout 120 redis-benchmark -h $ours4 -n "${n:-4000}" -c 50 -t ping,set,get,lpush,lrange_100 -q >"$tmp/benchmark.log" ||
    die "redis-benchmark fails"
in_cli timeout 120 redis-benchmark -h $ours4 -n "${n:-4000}" -c 20 -P 16 -t set,get -q >"$tmp/benchmark.log" ||
    die "redis-benchmark with pipelines fails"
on=$(grep -c 'requests per second' "$tmp/benchmark.log")
[ "$on" = 2 ] || die "redis-benchmark says $on results"
stop "$pid" redis-server
start_in "$cli" "$tmp" redis2 redis-server --save '' --bind $theirs4 --port 6379 --protected-mode no --daemonize no
there() {
	[ "$(in_cli timeout 2 redis-cli -h $theirs4 ping)" = PONG ]
}
wait_until 15 there || die "redis on the kernel: no answer"
on_sluice timeout 60 redis-benchmark -h $theirs4 -n "${n:-4000}" -c 50 -t set,get -q >"$tmp/benchmark.log" 2>&1 ||
    die "redis-benchmark on sluice fails"

# ---- iperf3: both roles, both directions, several streams, sendfile ----
moved() {
	python3 -c 'import json, sys
end = json.load(open(sys.argv[1]))["end"]
sys.exit(end["sum_received"]["bytes"] < 1000000)' "$1" || die "iperf3 $2: little was moved"
}
secs=${long:+10}
begin_on_sluice iperf iperf3 -s
pid=$started
listens() {
	in_cli timeout 5 iperf3 -c $ours4 -n 1000000 -J >"$tmp/iperf.json"
}
wait_until 15 listens || die "iperf3's server: no answer"
for opts in "-P 4" "-R"; do
	# shellcheck disable=SC2086
	in_cli timeout 60 iperf3 -c $ours4 -t "${secs:-1}" $opts -J >"$tmp/iperf.json" || die "iperf3 $opts to the server fails"
	moved "$tmp/iperf.json" "$opts"
done
kill -TERM "$pid"
ended "$pid" 15 iperf3
start_in "$cli" "$tmp" iperf2 iperf3 -s
wait_until 15 in_cli sh -c "exec timeout 5 iperf3 -c $theirs4 -n 1000" || die "iperf3 on the kernel: no answer"
for opts in "-P 4 -Z" "-R"; do
	# shellcheck disable=SC2086
	on_sluice timeout 60 iperf3 -c $theirs4 -t "${secs:-1}" $opts -J >"$tmp/iperf.json" 2>"$tmp/iperf.log" ||
	    die "iperf3 $opts as client fails"
	moved "$tmp/iperf.json" "$opts"
done
echo "$link: nginx, curl, python, redis, iperf3: well"
