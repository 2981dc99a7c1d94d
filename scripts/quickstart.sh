#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# See sluice serve a Linux client, and nginx on the kernel's TCP beside it. Everything happens between two network
# namespaces of this machine joined by a veth pair; nothing else is touched, and all of it is removed again:
#
#	sluice-qs-s: sluice-httpd on AF_XDP, then nginx  <-- sqs0 == veth == sqs1 -->  sluice-qs-c: curl, ping, wrk
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<-END
	Usage: quickstart.sh [--size MIB] [--seconds N] [--driver af_xdp|af_packet]   (as root)

	Installs what is missing, builds sluice in build/quick, fetches a random file over IPv4 and IPv6 from sluice-httpd
	and compares SHA-256, pings both, runs wrk against sluice-httpd and against nginx. Last line: quickstart: ok.

	  --size MIB     size of the file (256)
	  --seconds N    length of each run of wrk (5)
	  --driver NAME  only this one; without it AF_XDP, and AF_PACKET where that fails
	END
}

mib=256
seconds=5
drivers="af_xdp af_packet"
while [ $# -gt 0 ]; do
	case "$1" in
	--size) mib=${2:?}; shift ;;
	--seconds) seconds=${2:?}; shift ;;
	--driver) drivers=${2:?}; shift ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
if [ "$(id -u)" != 0 ]; then
	echo "quickstart: needs root, for network namespaces and AF_XDP" >&2
	exit 1
fi

scripts/setup.sh quickstart
# shellcheck source=scripts/netlib.sh
. scripts/netlib.sh

prefix=sluice-qs
srv=$prefix-s
cli=$prefix-c
state=/run/sluice-quickstart
www=$PWD/build/quick-www
addr4=10.77.0.1
addr6=fd77::1
port=80

die() {
	echo "quickstart: $*" >&2
	[ ! -s "$state/httpd.log" ] || tail -n 20 "$state/httpd.log" >&2
	exit 1
}

cleanup() {
	stop_in "$prefix" "$state" httpd sluice-httpd || true
	stop_in "$prefix" "$state" nginx nginx || true
	ns_kill "$prefix" sluice-httpd nginx curl wrk ping
	ns_delete "$prefix"
	rm -rf "$www" "${state:?}"/*
}

finish() {
	cleanup
	rmdir "$state"
}

# The lock is on the directory, so it stays as long as somebody runs. What was killed holds none: no child gets it.
mkdir -p "$state"
chmod 700 "$state"
exec 9<"$state"
flock -w 20 9 || die "another quickstart is running"
cleanup
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "quickstart: building in build/quick"
opts=(--buildtype=release -Dtests=false -Dbench=false)
mkdir -p build
if [ -f build/quick/build.ninja ]; then
	meson configure build/quick "${opts[@]}" >/dev/null 9>&-
else
	meson setup build/quick "${opts[@]}" >build/quick.log 2>&1 9>&- || { cat build/quick.log; exit 1; }
	rm -f build/quick.log
fi
ninja -C build/quick --quiet 9>&-

mapfile -t cpus < <(allowed_cpus)
cpu_s=${cpus[0]}
cpu_c=${cpus[1]:-$cpu_s}

mkdir -p "$www"
head -c "$((mib * 1048576))" /dev/urandom >"$www/random.bin"
head -c 128 /dev/urandom | base64 -w 0 >"$www/small.txt"
sha=$(sha256sum <"$www/random.bin")

network() {
	ns_delete "$prefix"
	ns_add $srv off
	ns_add $cli on
	veth_add $srv sqs0 $cli sqs1
	ip -n $cli addr add 10.77.0.2/24 dev sqs1
	ip -n $cli addr add fd77::2/64 dev sqs1 nodad
}

client() {
	ip netns exec $cli taskset -c "$cpu_c" "$@" 9>&-
}

# answers URL: an HTTP request is answered.
answers() {
	client curl -gsf -o /dev/null --connect-timeout 1 --max-time 2 "$1"
}

# httpd_up DRIVER: start sluice-httpd; it must answer over both families (duplicate address detection takes a second).
httpd_up() {
	local vdev="net_${1}0,iface=sqs0"
	# On a veth, busy polling (the port's default) can leave a receive ring that the kernel calls full and the
	# program empty: nothing is received any more.
	[ "$1" != af_xdp ] || vdev+=,busy_budget=0
	start_in $srv $state httpd taskset -c "$cpu_s" build/quick/app/httpd/sluice-httpd \
	    --no-huge --no-pci --no-telemetry --no-shconf -m 512 --file-prefix sluice-qs --lcores "0@$cpu_s" \
	    --vdev "$vdev" -- --port-id 0 --addr $addr4/24 --addr $addr6/64 \
	    --listen $port --root "$www" --idle yield
	local pid=$started url
	for url in "http://$addr4:$port/small.txt" "http://[$addr6]:$port/small.txt"; do
		wait_until 15 eval "gone $pid || answers '$url'" || return 1
		! gone "$pid" || return 1
	done
}

driver=
for d in $drivers; do
	network
	if httpd_up "$d"; then
		driver=$d
		break
	fi
	echo "quickstart: sluice-httpd does not serve on $d"
	tail -n 5 "$state/httpd.log"
	stop_in $prefix $state httpd sluice-httpd
done
[ -n "$driver" ] || die "no driver works"

# fetch URL: SHA-256 must be that of the file; sets $gbit.
fetch() {
	local speed
	speed=$(client curl -gsf --max-time 600 --speed-limit 1000 --speed-time 15 -o "$www/fetched" -w '%{speed_download}' "$1") ||
	    die "curl $1 failed"
	[ "$(sha256sum <"$www/fetched")" = "$sha" ] || die "$1: SHA-256 differs"
	rm -f "$www/fetched"
	gbit=$(awk -v b="$speed" 'BEGIN { printf "%.2f", b * 8 / 1e9 }')
}

# ping_ms ADDRESS: every echo must come back; prints the average.
ping_ms() {
	client ping -q -n -c 20 -i 0.05 -W 2 "$1" >"$state/ping" || die "ping $1: replies missing"
	awk -F/ '/^rtt/ { print $5 }' "$state/ping"
}

# load URL: sets $rps and $p99; an error of a socket or an answer other than 200 fails.
load() {
	client wrk -t 1 -c 64 -d "${seconds}s" --latency "$1" >"$state/wrk" || die "wrk failed"
	if grep -E 'Socket errors|Non-2xx' "$state/wrk"; then
		die "wrk saw errors at $1"
	fi
	rps=$(awk '/^Requests\/sec/ { printf "%.0f", $2 }' "$state/wrk")
	p99=$(awk '$1 == "99%" { print $2 }' "$state/wrk")
	[ "${rps:-0}" -gt 0 ] || die "wrk measured nothing"
}

row() {
	printf '%-34s %10s %10s %12s %10s\n' "$@"
}

echo "quickstart: sluice-httpd on $driver, CPU $cpu_s; clients on CPU $cpu_c"
fetch "http://$addr4:$port/random.bin"
g4=$gbit
fetch "http://[$addr6]:$port/random.bin"
g6=$gbit
echo "quickstart: $mib MiB over IPv4 and IPv6, SHA-256 equal"
ping4=$(ping_ms $addr4)
ping6=$(ping_ms $addr6)
load "http://$addr4:$port/small.txt"
table=("$(row "sluice-httpd ($driver)" "$g4" "$g6" "$rps" "$p99")")
stop_in $prefix $state httpd sluice-httpd

# The same pair of namespaces, the same veth, the same CPUs, the kernel's TCP in the place of ours.
network
ip netns exec $srv sysctl -qw net.ipv6.conf.sqs0.disable_ipv6=0
ip -n $srv addr add $addr4/24 dev sqs0
ip -n $srv addr add $addr6/64 dev sqs0 nodad
mkdir "$state/nginx"
cat >"$state/nginx/nginx.conf" <<-END
	user root;
	daemon off;
	master_process off;
	worker_processes 1;
	pid $state/nginx/pid;
	error_log stderr warn;
	events { worker_connections 4096; }
	http {
		access_log off;
		sendfile on;
		tcp_nopush on;
		keepalive_requests 1000000000;
		types { text/plain txt; }
		default_type application/octet-stream;
		client_body_temp_path $state/nginx/body;
		proxy_temp_path $state/nginx/proxy;
		fastcgi_temp_path $state/nginx/fastcgi;
		uwsgi_temp_path $state/nginx/uwsgi;
		scgi_temp_path $state/nginx/scgi;
		server {
			listen $port;
			listen [::]:$port;
			root $www;
		}
	}
END
start_in $srv $state nginx taskset -c "$cpu_s" /usr/sbin/nginx -p "$state/nginx" -c "$state/nginx/nginx.conf" -e stderr
wait_until 15 answers "http://[$addr6]:$port/small.txt" || { cat $state/nginx.log >&2; die "nginx does not answer"; }

# nginx_row NAME
nginx_row() {
	fetch "http://$addr4:$port/random.bin"
	g4=$gbit
	fetch "http://[$addr6]:$port/random.bin"
	g6=$gbit
	load "http://$addr4:$port/small.txt"
	table+=("$(row "$1" "$g4" "$g6" "$rps" "$p99")")
}
nginx_row "nginx, kernel TCP, offloads off"
for ns in "$srv sqs0" "$cli sqs1"; do
	ip netns exec "${ns% *}" ethtool -K "${ns#* }" tx on tso on gso on gro on >/dev/null
done
nginx_row "nginx, kernel TCP, offloads on"

echo
row "server, one CPU" "IPv4 Gb/s" "IPv6 Gb/s" "requests/s" "p99"
printf '%s\n' "${table[@]}"
echo "ping, average of 20: IPv4 $ping4 ms, IPv6 $ping6 ms"
echo
trap - EXIT
finish
echo "quickstart: ok"
