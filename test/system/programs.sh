#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# programs.sh LINK RUN [MIB]: finished programs under sluice-run, the kernel's programs as their peers: what they move and say
# is what it should be. With SLUICE_PROGRAMS=1 (scripts/test.sh --programs) more of it, and more programs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/preload_lib.sh"

run=$2
long=${SLUICE_PROGRAMS:+1}
secs=${long:+5}
secs=${secs:-1}
begin "$1" curl wrk nginx redis-server redis-benchmark iperf3 python3 ${long:+haproxy memcached lighttpd socat openssl}
ulimit -n "$(ulimit -H -n)"
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
		worker_rlimit_nofile $(ulimit -n);
		error_log $tmp/nginx-error.log;
		pid $tmp/nginx.pid;
		events { worker_connections 15000; }
		http {
		  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
		  client_body_temp_path $tmp/n1; proxy_temp_path $tmp/n2; fastcgi_temp_path $tmp/n3;
		  uwsgi_temp_path $tmp/n4; scgi_temp_path $tmp/n5;
		  server {
		    listen 80 backlog=4096; listen [::]:80; root $tmp/www;
		    location /behind/ { proxy_pass http://$theirs4:8000/; }
		  }
		}
	END
}

# load CONNECTIONS PATH [SECONDS]: no error, and answers.
load() {
	local out
	out=$(in_cli wrk -t1 -c"$1" -d"${3:-$secs}s" --timeout 30s "http://$ours4/$2")
	! grep -E "Socket errors|Non-2xx" <<<"$out" || die "wrk through nginx, $2: errors"
	[ "$(sed -n 's/ *\([0-9]*\) requests in.*/\1/p' <<<"$out")" -gt 50 ] || die "wrk through nginx: $out"
}

# The server behind proxies and of the clients: the kernel's.
cat >"$tmp/origin.conf" <<-END
	daemon off; master_process off; worker_rlimit_nofile $(ulimit -n);
	error_log $tmp/origin-error.log; pid $tmp/origin.pid;
	events { worker_connections 15000; }
	http {
	  access_log off;
	  client_body_temp_path $tmp/o1; proxy_temp_path $tmp/o2; fastcgi_temp_path $tmp/o3;
	  uwsgi_temp_path $tmp/o4; scgi_temp_path $tmp/o5;
	  server { listen 8000 backlog=4096; root $tmp/www; }
	}
END
start_in "$cli" "$tmp" origin nginx -c "$tmp/origin.conf"
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
	# wrk opens all its connections before it looks at its clock.
	[ -z "$long" ] || load 10000 small 15
	[ -z "$long" ] || load 4000 behind/small 15
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
begin_on_sluice iperf iperf3 -s
pid=$started
listens() {
	in_cli timeout 5 iperf3 -c $ours4 -n 1000000 -J >"$tmp/iperf.json"
}
wait_until 15 listens || die "iperf3's server: no answer"
for opts in "-P 4" "-R"; do
	# shellcheck disable=SC2086
	in_cli timeout 60 iperf3 -c $ours4 -t "$secs" $opts -J >"$tmp/iperf.json" || die "iperf3 $opts to the server fails"
	moved "$tmp/iperf.json" "$opts"
done
kill -TERM "$pid"
ended "$pid" 15 iperf3
start_in "$cli" "$tmp" iperf2 iperf3 -s
wait_until 15 in_cli sh -c "exec timeout 5 iperf3 -c $theirs4 -n 1000" || die "iperf3 on the kernel: no answer"
for opts in "-P 4 -Z" "-R"; do
	# shellcheck disable=SC2086
	on_sluice timeout 60 iperf3 -c $theirs4 -t "$secs" $opts -J >"$tmp/iperf.json" 2>"$tmp/iperf.log" ||
	    die "iperf3 $opts as client fails"
	moved "$tmp/iperf.json" "$opts"
done
more_programs() {
	local i
	# ---- haproxy: two threads ----
	cat >"$tmp/haproxy.cfg" <<-END
		global
		  nbthread 2
		defaults
		  mode http
		  timeout connect 5s
		  timeout client 20s
		  timeout server 20s
		listen web
		  bind $ours4:80
		  option httpchk GET /small
		  server origin $theirs4:8000 check inter 1s
	END
	begin_on_sluice haproxy haproxy -db -f "$tmp/haproxy.cfg"
	pid=$started
	wait_until 15 get -o "$tmp/got" "http://$ours4/big" || die "haproxy: no answer"
	same "$tmp/got" "$tmp/www/big" || die "haproxy: the file differs"
	load 64 small
	kill -TERM "$pid"
	ended "$pid" 15 haproxy

	# ---- memcached: two threads ----
	begin_on_sluice memcached memcached -u root -t 2 -l $ours4 -p 11211
	pid=$started
	cat >"$tmp/memcached.py" <<-'END'
		import socket, sys
		f = socket.create_connection((sys.argv[1], 11211), 5).makefile('rwb')
		v = bytes(range(256)) * 3000
		for i in range(500):
		    k, d = b'k%d' % (i % 5), v[:1000 * i]
		    f.write(b'set %s 0 0 %d\r\n%s\r\nget %s\r\n' % (k, len(d), d, k))
		    f.flush()
		    assert f.readline() == b'STORED\r\n'
		    n = int(f.readline().split()[3])
		    assert f.read(n + 2) == d + b'\r\n' and f.readline() == b'END\r\n'
	END
	wait_until 15 in_cli timeout 30 python3 "$tmp/memcached.py" $ours4 || die "memcached: values differ"
	stop "$pid" memcached

	# ---- lighttpd ----
	printf 'server.document-root = "%s"\nserver.port = 80\nserver.bind = "%s"\n' "$tmp/www" $ours4 >"$tmp/lighttpd.conf"
	begin_on_sluice lighttpd lighttpd -D -f "$tmp/lighttpd.conf"
	pid=$started
	wait_until 15 get -o "$tmp/got" "http://$ours4/big" || die "lighttpd: no answer"
	same "$tmp/got" "$tmp/www/big" || die "lighttpd: the file differs"
	load 64 small
	stop "$pid" lighttpd

	# ---- python: asyncio and TLS, a listener of both families; then clients in threads ----
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$tmp/key.pem" -out "$tmp/cert.pem" -days 2 -subj /CN=x 2>"$tmp/openssl.log"
	cat >"$tmp/tls.py" <<-END
		import asyncio, socket, ssl
		ctx = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
		ctx.load_cert_chain('$tmp/cert.pem', '$tmp/key.pem')
		body = open('$tmp/www/big', 'rb').read()
		async def serve(r, w):
		    await r.readuntil(b'\r\n\r\n')
		    w.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(body) + body)
		    await w.drain()
		    w.close()
		async def main():
		    s = socket.create_server(('::', 4443), family=socket.AF_INET6, dualstack_ipv6=True)
		    srv = await asyncio.start_server(serve, sock=s, ssl=ctx)
		    print('listens', flush=True)
		    await srv.serve_forever()
		asyncio.run(main())
	END
	begin_on_sluice tls python3 "$tmp/tls.py"
	pid=$started
	for host in $ours4 "[$ours6]"; do
		wait_until 15 get -k -o "$tmp/got" "https://$host:4443/" || die "asyncio: no answer from $host"
		same "$tmp/got" "$tmp/www/big" || die "asyncio: the file from $host differs"
	done
	kill -TERM "$pid"
	ended "$pid" 15 python3
	start_in "$cli" "$tmp" tls2 python3 "$tmp/tls.py"
	await tls2 "$started" 15 listens
	on_sluice timeout 60 python3 -c "import ssl, urllib.request, concurrent.futures as f
ctx, want = ssl._create_unverified_context(), open('$tmp/www/big', 'rb').read()
def get(i): return urllib.request.urlopen('https://$theirs4:4443/', context=ctx, timeout=30).read() == want
with f.ThreadPoolExecutor(8) as e: assert all(e.map(get, range(24)))" 2>"$tmp/python.log" || die "python's clients fail"

	# ---- socat: it half-closes, and gets the answer to all ----
	start_in "$cli" "$tmp" count python3 -c "import socket
l = socket.create_server(('$theirs4', 7000))
print('listens', flush=True)
for i in range(2):
    c, _ = l.accept()
    n = 0
    while d := c.recv(65536): n += len(d)
    c.sendall(b'%d' % n)
    c.close()"
	await count "$started" 15 listens
	for i in 1 2; do
		[ "$(on_sluice timeout 20 socat -t 10 - "TCP:$theirs4:7000" <"$tmp/www/big")" = 8388608 ] || die "socat: not all arrived"
	done
}
[ -z "$long" ] || more_programs
kill "$origin"
echo "$link: nginx, curl, python, redis, iperf3${long:+, haproxy, memcached, lighttpd, socat}: well"
