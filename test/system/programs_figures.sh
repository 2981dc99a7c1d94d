#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# programs_figures.sh LINK RUN: a table of what servers do under sluice-run and on the kernel's TCP, the same programs, options and
# veth pair (without offloads), one after the other in one run; clients on the kernel. For a machine with nothing else to do.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/preload_lib.sh"

run=$2
begin "$1" curl wrk nginx redis-server redis-benchmark iperf3
mkdir "$tmp/www"
random_file 64
mv "$tmp/sent" "$tmp/www/big"
head -c 1000 /dev/urandom >"$tmp/www/small"
cat >"$tmp/nginx.conf" <<-END
	daemon off; master_process off;
	error_log $tmp/nginx-error.log; pid $tmp/nginx.pid;
	events { worker_connections 15000; }
	http {
	  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
	  client_body_temp_path $tmp/n1; proxy_temp_path $tmp/n2; fastcgi_temp_path $tmp/n3;
	  uwsgi_temp_path $tmp/n4; scgi_temp_path $tmp/n5;
	  server { listen $ours4:80 backlog=4096; root $tmp/www; }
	}
END

in_cli() {
	ip netns exec "$cli" "$@"
}

# on_kernel NAME COMMAND...: as begin_on_sluice.
begin_on_kernel() {
	local name=$1
	shift
	start_in "$srv" "$tmp" "$name" "$@"
}

open_port() {
	in_cli timeout 1 bash -c "exec 3<>/dev/tcp/$ours4/$1"
}

# serve WHERE PORT COMMAND...
serve() {
	local where=$1 port=$2
	shift 2
	"begin_on_$where" server "$@"
	wait_until 15 open_port "$port" || die "$1 ($where): no answer"
}

end_server() {
	kill -TERM "$started"
	ended "$started" 15 server
}

declare -A got
measure() {
	local w=$1 name
	[ "$w" = sluice ] || ip -n "$srv" addr add $ours4/24 dev sl0
	serve "$w" 80 nginx -c "$tmp/nginx.conf"
	got[wrk64,$w]=$(in_cli wrk -t1 -c64 -d3s "http://$ours4/small" | sed -n 's/^Requests.sec: *//p')
	got[wrk1000,$w]=$(in_cli wrk -t1 -c1000 -d3s "http://$ours4/small" | sed -n 's/^Requests.sec: *//p')
	got[file,$w]=$(in_cli curl -s -o /dev/null -w '%{speed_download}' "http://$ours4/big" | awk '{ printf "%.2f", $1 * 8e-9 }')
	end_server
	serve "$w" 6379 redis-server --save '' --bind $ours4 --port 6379 --protected-mode no --daemonize no
	for name in "1 1" "50 1" "50 16"; do
		# shellcheck disable=SC2086
		set -- $name
		got[redis$1p$2,$w]=$(in_cli redis-benchmark -h $ours4 -n $((50000 * $2 / (51 - $1))) -c "$1" -P "$2" -t get --csv |
		    sed -n 's/^"GET","\([0-9.]*\)".*/\1/p')
	done
	end_server
	serve "$w" 5201 iperf3 -s
	for name in "" "-R"; do
		# shellcheck disable=SC2086
		got[iperf$name,$w]=$(in_cli iperf3 -c $ours4 -t 3 $name -J | python3 -c 'import json, sys
print("%.2f" % (json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e9))')
	done
	end_server
}

measure sluice
measure kernel
row() {
	local ratio
	ratio=$(awk -v a="${got[$1,sluice]}" -v b="${got[$1,kernel]}" 'BEGIN { printf "%.2f", (b > 0 ? a / b : 0) }')
	echo "| $2 | ${got[$1,sluice]} | ${got[$1,kernel]} | $ratio |"
}
echo "| server, $link | sluice | kernel | ratio |"
echo "|---|---|---|---|"
row wrk64 "nginx, wrk, 64 connections, 1 kB, requests/s"
row wrk1000 "nginx, wrk, 1000 connections, 1 kB, requests/s"
row file "nginx, curl, one file of 64 MiB, Gbit/s"
row redis1p1 "redis-benchmark get, 1 connection, requests/s"
row redis50p1 "redis-benchmark get, 50 connections, requests/s"
row redis50p16 "redis-benchmark get, 50 connections, pipelines of 16, requests/s"
row iperf "iperf3, to the server, Gbit/s"
row iperf-R "iperf3 -R, from the server, Gbit/s"
