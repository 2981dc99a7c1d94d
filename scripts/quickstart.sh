#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# See sluice serve and relay for Linux peers, with nginx and haproxy on the kernel's TCP beside it. Everything happens
# between network namespaces of this machine joined by veth pairs; nothing else is touched, and all of it is removed
# again:
#
#	sluice-qs-c              sluice-qs-s                                     sluice-qs-b
#	curl, ping, wrk  sqs1 == sqs0  1. sluice-httpd, then nginx
#	                               2. sluice-proxy, then haproxy  sqs2 == sqs3  nginx
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<-END
	Usage: quickstart.sh [--size MIB] [--seconds N] [--driver af_xdp|af_packet] [--only httpd|proxy]   (as root)

	Installs what is missing, builds sluice in build/quick, then
	  1. fetches a random file over IPv4 and IPv6 from sluice-httpd, pings it and runs wrk; the same from nginx
	  2. fetches and sends that file through sluice-proxy to an nginx behind it, pings it and runs wrk; the same
	     through haproxy
	SHA-256 is compared each time. Last line: quickstart: ok.

	  --size MIB     size of the file (256)
	  --seconds N    length of each run of wrk (5)
	  --driver NAME  only this one; without it AF_XDP, and AF_PACKET where that fails
	  --only PART    only this part
	END
}

mib=256
seconds=5
drivers="af_xdp af_packet"
parts="httpd proxy"
while [ $# -gt 0 ]; do
	case "$1" in
	--size) mib=${2:?}; shift ;;
	--seconds) seconds=${2:?}; shift ;;
	--driver) drivers=${2:?}; shift ;;
	--only) parts=${2:?}; shift ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
case "$parts" in httpd | proxy | "httpd proxy") ;; *) usage >&2; exit 2 ;; esac
if [ "$(id -u)" != 0 ]; then
	echo "quickstart: needs root, for network namespaces and AF_XDP" >&2
	exit 1
fi

scripts/setup.sh quickstart
# shellcheck source=scripts/netlib.sh
. scripts/netlib.sh

prefix=sluice-qs
cli=$prefix-c
srv=$prefix-s
back=$prefix-b
state=/run/sluice-quickstart
www=$PWD/build/quick-www
addr4=10.77.0.1
addr6=fd77::1
out4=10.77.1.1
out6=fd77:1::1
nginx4=10.77.1.2
port=80
programs=(sluice-httpd sluice-proxy nginx haproxy)

die() {
	local f
	echo "quickstart: $*" >&2
	for f in "$state"/*.log; do
		[ ! -s "$f" ] || { echo "--- ${f##*/}"; tail -n 20 "$f"; } >&2
	done
	exit 1
}

cleanup() {
	local p
	for p in "${programs[@]}"; do
		stop_in "$prefix" "$state" "$p" "$p" || true
	done
	ns_kill "$prefix" "${programs[@]}" curl wrk ping
	ns_delete "$prefix"
	rm -rf "$www" "${state:?}"/* /run/dpdk/$prefix
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

# ---- what both parts use ----

build() {
	local opts=(--buildtype=release -Dtests=false -Dbench=false)
	echo "quickstart: building in build/quick"
	mkdir -p build
	if [ -f build/quick/build.ninja ]; then
		meson configure build/quick "${opts[@]}" >/dev/null 9>&-
	else
		meson setup build/quick "${opts[@]}" >build/quick.log 2>&1 9>&- || { cat build/quick.log; exit 1; }
		rm -f build/quick.log
	fi
	ninja -C build/quick --quiet 9>&-
}

# network: fresh namespaces; the middle one's ends are left to a user-space stack.
network() {
	ns_delete $prefix
	ns_add $cli on
	ns_add $srv off
	ns_add $back on
	veth_add $srv sqs0 $cli sqs1
	veth_add $srv sqs2 $back sqs3
	ip -n $cli addr add 10.77.0.2/24 dev sqs1
	ip -n $cli addr add fd77::2/64 dev sqs1 nodad
	ip -n $back addr add $nginx4/24 dev sqs3
}

# kernel_middle: the kernel gets the addresses that the user-space stack had.
kernel_middle() {
	ip netns exec $srv sysctl -qw net.ipv6.conf.sqs0.disable_ipv6=0
	ip -n $srv addr add $addr4/24 dev sqs0
	ip -n $srv addr add $addr6/64 dev sqs0 nodad
	ip -n $srv addr add $out4/24 dev sqs2
}

offloads_on() {
	local end
	for end in "$srv sqs0" "$cli sqs1" "$srv sqs2" "$back sqs3"; do
		ip netns exec "${end% *}" ethtool -K "${end#* }" tx on tso on gso on gro on >/dev/null
	done
}

# sluice_up NAME PROGRAM DRIVER "DEVICE..." OPTION...: start a sluice program on these devices, on its own CPU.
sluice_up() {
	local name=$1 program=$2 driver=$3 dev vdevs=() more= n=0
	# On a veth, busy polling (the port's default) can leave a receive ring that the kernel calls full and the
	# program empty: nothing is received any more.
	[ "$driver" != af_xdp ] || more=,busy_budget=0
	for dev in $4; do
		vdevs+=(--vdev "net_$driver$n,iface=$dev$more")
		n=$((n + 1))
	done
	shift 4
	start_in $srv $state "$name" taskset -c "$cpu_s" "$program" \
	    --no-huge --no-pci --no-telemetry --no-shconf -m 768 --file-prefix $prefix --lcores "0@$cpu_s" "${vdevs[@]}" -- "$@"
}

# nginx_up NS CPU: serve $www on $port, take uploads to $www/up.
nginx_up() {
	local ns=$1 cpu=$2
	mkdir -p "$state/nginx" "$www/body" "$www/up"
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
			client_max_body_size 0;
			client_body_temp_path $www/body;
			proxy_temp_path $state/nginx/proxy;
			fastcgi_temp_path $state/nginx/fastcgi;
			uwsgi_temp_path $state/nginx/uwsgi;
			scgi_temp_path $state/nginx/scgi;
			server {
				listen $port backlog=4096;
				listen [::]:$port backlog=4096;
				root $www;
				dav_methods PUT;
			}
		}
	END
	start_in "$ns" $state nginx taskset -c "$cpu" /usr/sbin/nginx -p $state/nginx -c $state/nginx/nginx.conf -e stderr
}

client() {
	ip netns exec $cli taskset -c "$cpu_c" "$@" 9>&-
}

# answers URL: an HTTP request is answered.
answers() {
	client curl -gsf -o /dev/null --connect-timeout 1 --max-time 2 "$1"
}

# serves PID: it answers over both families (duplicate address detection takes a second), and has not ended.
serves() {
	local url
	for url in "http://$addr4:$port/small.txt" "http://[$addr6]:$port/small.txt"; do
		wait_until 15 eval "gone $1 || answers '$url'" || return 1
		! gone "$1" || return 1
	done
}

# Set by first_driver.
driver=
# first_driver NAME COMMAND: run "COMMAND DRIVER" with the first driver on which it succeeds.
first_driver() {
	for driver in $drivers; do
		network
		if "$2" "$driver"; then
			return
		fi
		echo "quickstart: $1 does not serve on $driver"
		tail -n 5 "$state/$1.log"
		stop_in $prefix $state "$1" "$1"
	done
	die "no driver works"
}

# gbits: bytes a second, as curl says it, in Gb/s.
gbits() {
	awk -v b="$1" 'BEGIN { printf "%.2f", b * 8 / 1e9 }'
}

# fetch URL: SHA-256 must be that of the file; sets $gbit.
fetch() {
	local speed
	speed=$(client curl -gsf --max-time 600 --speed-limit 1000 --speed-time 15 -o "$www/fetched" -w '%{speed_download}' "$1") ||
	    die "curl $1 failed"
	[ "$(sha256sum <"$www/fetched")" = "$sha" ] || die "$1: SHA-256 differs"
	rm -f "$www/fetched"
	gbit=$(gbits "$speed")
}

# upload URL: the same the other way.
upload() {
	local speed
	speed=$(client curl -gsf --max-time 600 --speed-limit 1000 --speed-time 15 -T "$www/random.bin" -o /dev/null \
	    -w '%{speed_upload}' "$1/up/sent") || die "curl to $1 failed"
	[ "$(sha256sum <"$www/up/sent")" = "$sha" ] || die "to $1: SHA-256 differs"
	rm -f "$www/up/sent"
	gbit=$(gbits "$speed")
}

# ping_ms ADDRESS: every echo must come back; prints the average.
ping_ms() {
	client ping -q -n -c 20 -i 0.05 -W 2 "$1" >"$state/ping" || die "ping $1: replies missing"
	awk -F/ '/^rtt/ { print $5 }' "$state/ping"
}

# load URL OPTION...: sets $rps and $p99; an error of a socket or an answer other than 200 fails.
load() {
	client wrk -t 1 -c 64 -d "${seconds}s" --latency "${@:2}" "$1" >"$state/wrk" || die "wrk failed"
	if grep -E 'Socket errors|Non-2xx' "$state/wrk"; then
		die "wrk saw errors at $1"
	fi
	rps=$(awk '/^Requests\/sec/ { printf "%.0f", $2 }' "$state/wrk")
	p99=$(awk '$1 == "99%" { print $2 }' "$state/wrk")
	[ "${rps:-0}" -gt 0 ] || die "wrk measured nothing"
}

# ---- 1. a server ----

httpd_on() {
	sluice_up sluice-httpd build/quick/app/httpd/sluice-httpd "$1" sqs0 --port-id 0 --addr $addr4/24 --addr $addr6/64 \
	    --listen $port --root "$www" --idle yield
	serves "$started"
}

server_line() {
	printf '%-34s %10s %10s %12s %10s\n' "$@"
}

# server_row NAME
server_row() {
	local g4 g6
	fetch "http://$addr4:$port/random.bin"
	g4=$gbit
	fetch "http://[$addr6]:$port/random.bin"
	g6=$gbit
	load "http://$addr4:$port/small.txt"
	table+=("$(server_line "$1" "$g4" "$g6" "$rps" "$p99")")
}

part_httpd() {
	local ping4 ping6
	first_driver sluice-httpd httpd_on
	echo "quickstart: sluice-httpd on $driver, CPU $cpu_s; clients on CPU $cpu_c"
	table=("$(server_line "server, one CPU" "IPv4 Gb/s" "IPv6 Gb/s" "requests/s" "p99")")
	ping4=$(ping_ms $addr4)
	ping6=$(ping_ms $addr6)
	server_row "sluice-httpd ($driver)"
	echo "quickstart: $mib MiB over IPv4 and IPv6, SHA-256 equal"
	stop_in $prefix $state sluice-httpd sluice-httpd

	# The same veth, the same CPUs, the kernel's TCP in the place of ours.
	network
	kernel_middle
	nginx_up $srv "$cpu_s"
	serves "$started" || die "nginx does not answer"
	server_row "nginx, kernel TCP, offloads off"
	offloads_on
	server_row "nginx, kernel TCP, offloads on"
	stop_in $prefix $state nginx nginx
	table+=("ping, average of 20: IPv4 $ping4 ms, IPv6 $ping6 ms")
	report+=("" "${table[@]}")
}

# ---- 2. a proxy ----

proxy_on() {
	nginx_up $back "$cpu_b"
	cat >"$state/proxy.ini" <<-END
		[interface in]
		port = 0
		address = $addr4/24, $addr6/64
		[interface out]
		port = 1
		address = $out4/24, $out6/64
		[proxy.listener web]
		port = $port
		pool = web
		[proxy.pool web]
		[proxy.backend nginx]
		pool = web
		address = $nginx4
		port = $port
	END
	sluice_up sluice-proxy build/quick/app/proxy/sluice-proxy "$1" "sqs0 sqs2" --port-id 0 --port-id 1 \
	    --config $state/proxy.ini --idle yield
	serves "$started" && return
	stop_in $prefix $state nginx nginx
	return 1
}

haproxy_up() {
	cat >"$state/haproxy.cfg" <<-END
		global
			nbthread 1
			maxconn 8192
		defaults
			mode tcp
			timeout connect 5s
			timeout client 300s
			timeout server 300s
		listen web
			bind :$port
			bind [::]:$port v6only
			server nginx $nginx4:$port
	END
	start_in $srv $state haproxy taskset -c "$cpu_s" /usr/sbin/haproxy -db -f $state/haproxy.cfg
}

proxy_line() {
	printf '%-32s %7s %7s %7s %7s %11s %9s %11s\n' "$@"
}

# proxy_row NAME: sets $rps and $cps, requests and connections a second.
proxy_row() {
	local down4 down6 up4 up6 r p
	fetch "http://$addr4:$port/random.bin"
	down4=$gbit
	fetch "http://[$addr6]:$port/random.bin"
	down6=$gbit
	upload "http://$addr4:$port"
	up4=$gbit
	upload "http://[$addr6]:$port"
	up6=$gbit
	load "http://$addr4:$port/small.txt" -H 'Connection: close'
	cps=$rps
	load "http://$addr4:$port/small.txt"
	table+=("$(proxy_line "$1" "$down4" "$down6" "$up4" "$up6" "$rps" "$p99" "$cps")")
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

part_proxy() {
	local ping4 ping6 ours ours_cps
	first_driver sluice-proxy proxy_on
	echo "quickstart: sluice-proxy on $driver, CPU $cpu_s; clients on CPU $cpu_c, nginx behind it on CPU $cpu_b"
	table=("$(proxy_line "proxy, one CPU; Gb/s, one file" "down 4" "down 6" "up 4" "up 6" "requests/s" "p99" "conns/s")")
	ping4=$(ping_ms $addr4)
	ping6=$(ping_ms $addr6)
	proxy_row "sluice-proxy ($driver)"
	ours=$rps
	ours_cps=$cps
	echo "quickstart: $mib MiB down and up over IPv4 and IPv6 through sluice-proxy, SHA-256 equal"
	stop_in $prefix $state sluice-proxy sluice-proxy
	stop_in $prefix $state nginx nginx

	network
	kernel_middle
	nginx_up $back "$cpu_b"
	haproxy_up
	serves "$started" || die "haproxy does not answer"
	proxy_row "haproxy, kernel, offloads off"
	table+=("sluice-proxy / haproxy, offloads off: requests/s $(ratio "$ours" "$rps"), conns/s $(ratio "$ours_cps" "$cps")")
	offloads_on
	proxy_row "haproxy, kernel, offloads on"
	stop_in $prefix $state haproxy haproxy
	stop_in $prefix $state nginx nginx
	table+=("ping, average of 20: IPv4 $ping4 ms, IPv6 $ping6 ms")
	report+=("" "${table[@]}")
}

build
mapfile -t cpus < <(allowed_cpus)
cpu_s=${cpus[0]}
cpu_c=${cpus[1]:-$cpu_s}
cpu_b=${cpus[2]:-$cpu_c}
mkdir -p "$www"
head -c "$((mib * 1048576))" /dev/urandom >"$www/random.bin"
head -c 128 /dev/urandom | base64 -w 0 >"$www/small.txt"
sha=$(sha256sum <"$www/random.bin")
report=()
for part in $parts; do
	"part_$part"
done
printf '%s\n' "${report[@]}" ""
trap - EXIT
finish
echo "quickstart: ok"
