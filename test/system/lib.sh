# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What the system tests share. A test runs in namespaces of its own, named after its pid, and leaves nothing behind;
# what a killed test left is removed by the next one that runs.
#
#	af_xdp, af_packet:  $srv: sluice on sl0  <-- veth -->  $cli: the kernel on sl1
#	tap, tun:           $srv: sluice on the port  <-- tap -->  the kernel on slt0, $cli is the same namespace;
#	                    a tun carries IP packets without Ethernet header
#
# shellcheck source=scripts/netlib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/netlib.sh"

# Two CPUs where there are two. Tests run side by side: not all begin with the same.
mapfile -t cpus < <(allowed_cpus)
last_cpu=${cpus[($$ + 1) % ${#cpus[@]}]}
first_cpu=${cpus[$$ % ${#cpus[@]}]}

family=sluice-t
prefix=$family-$$
srv=$prefix-s
cli=$prefix-c
# shellcheck disable=SC2034
{
	# On one CPU: a sender that moves to another one has its packets overtake each other on a veth.
	python=(taskset -c "$last_cpu" python3)
	ours4=10.78.0.1
	ours6=fd78::1
	theirs4=10.78.0.2
	theirs6=fd78::2
	port=5001
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
}
link=
tmp=
# What may run in our namespaces.
programs=(xfer sluice-httpd sluice-testtcp sluice-proxy curl wrk nginx openssl python3 dumpcap ping calls iperf3
	redis-server redis-benchmark redis-cli haproxy memcached lighttpd socat dropbear dbclient)

skip() {
	echo "skipped: $*"
	exit 77
}

die() {
	local f
	echo "FAILED: $*" >&2
	for f in "$tmp"/*.log; do
		[ ! -s "$f" ] || { echo "--- ${f##*/}"; tail -n 40 "$f"; } >&2
	done
	exit 1
}

cleanup() {
	# Our own children first, then whatever still lives in the namespaces.
	local pid
	for pid in $(jobs -p); do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	ns_kill "$prefix-" "${programs[@]}"
	ns_delete "$prefix-"
	rm -rf "/run/dpdk/$prefix"
	[ -z "$tmp" ] || rm -rf "$tmp"
}

remove_orphans() {
	local ns owner
	for ns in /run/netns/"$family"-*; do
		[ -e "$ns" ] || continue
		owner=${ns##*/"$family"-}
		owner=${owner%-*}
		[ ! -d "/proc/$owner" ] || continue
		ns_kill "$family-$owner-" "${programs[@]}"
		ns_delete "$family-$owner-"
		rm -rf "/run/dpdk/$family-$owner"
	done
}

is_tun() {
	[ "$link" = tap ] || [ "$link" = tun ]
}

# begin LINK COMMAND...: check that the test can run here, make its namespaces.
begin() {
	local c
	link=$1
	shift
	[ "$(id -u)" = 0 ] || skip "needs root"
	for c in ip ethtool sysctl "$@"; do
		command -v "$c" >/dev/null || skip "needs $c"
	done
	if [ "$link" = af_xdp ] && ! python3 -c 'import socket; socket.socket(44, socket.SOCK_RAW, 0)' 2>/dev/null; then
		skip "this kernel has no AF_XDP"
	fi
	! is_tun || [ -c /dev/net/tun ] || skip "no /dev/net/tun"
	remove_orphans
	ip netns add "$prefix-probe" 2>/dev/null || skip "cannot make network namespaces"
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	ip netns delete "$prefix-probe"
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-system.XXXXXX")
	network
}

network() {
	if is_tun; then
		cli=$srv
		ns_add "$srv" on
		# The device begins with the port's own hardware address: no link-local address may be made of that.
		ip netns exec "$srv" sysctl -qw net.ipv6.conf.default.addr_gen_mode=1
		return
	fi
	ns_add "$srv" off
	ns_add "$cli" on
	veth_add "$srv" sl0 "$cli" sl1
	ip -n "$cli" addr add "$theirs4/24" dev sl1
	ip -n "$cli" addr add "$theirs6/64" dev sl1 nodad
}

# eal: the EAL options of a process on this link.
eal() {
	local vdev="net_${link}0,iface=sl0"
	# Without busy polling: on a veth that can leave a receive ring that the kernel calls full and the program empty.
	[ "$link" != af_xdp ] || vdev+=,busy_budget=0
	! is_tun || vdev=net_${link}0,iface=slt0
	local lcores=0@$first_cpu
	# Two that share a CPU and have a queue each, where the port has several.
	if [ "${squeues:-1}" = 2 ]; then
		lcores="(0-1)@$first_cpu"
		[ "$link" != af_packet ] || vdev+=,qpairs=2
	fi
	echo --no-huge --no-pci --no-telemetry --no-shconf -m 256 --file-prefix "$prefix" --lcores "$lcores" --vdev "$vdev"
}

# port_started: the port sets the device's hardware address while it is made, and again when it starts; that the stack
# asks for all multicast is what comes after.
port_started() {
	ip -n "$cli" link show dev slt0 | grep -q ALLMULTI
}

# kernel_end: with a TAP the kernel's device comes with the process that opened it. Its address is changed, as the port
# keeps the one that the device had.
kernel_end() {
	if [ "$link" = tun ]; then
		wait_until 15 tun_configured || die "cannot configure the TUN device"
		return
	fi
	[ "$link" = tap ] || return 0
	wait_until 15 port_started || die "no TAP device"
	wait_until 15 tap_configured || die "cannot configure the TAP device"
}

tap_configured() {
	ip -n "$cli" link set dev slt0 address 02:53:4c:00:00:02 &&
	    ip -n "$cli" addr replace "$theirs4/24" dev slt0 &&
	    ip -n "$cli" addr replace "$theirs6/64" dev slt0 nodad && ip -n "$cli" link set dev slt0 up
}

tun_configured() {
	ip -n "$cli" addr replace "$theirs4/24" dev slt0 &&
	    ip -n "$cli" addr replace "$theirs6/64" dev slt0 && ip -n "$cli" link set dev slt0 up
}

# sluice NAME COMMAND OPTION...: start a sluice process in its namespace; $started is its pid.
sluice() {
	local name=$1 command=$2
	shift 2
	# shellcheck disable=SC2046
	start_in "$srv" "$tmp" "$name" "$command" $(eal) -- "$@"
}

# said NAME TEXT: has the process said a line that begins so?
said() {
	grep -q "^$2" "$tmp/$1.log"
}

# await NAME PID SECONDS TEXT: until it has said so; fails when it ends before.
await() {
	wait_until "$3" eval "said '$1' '$4' || gone $2" || die "$1 did not say \"$4\" within $3 s"
	said "$1" "$4" || die "$1 ended before it said \"$4\""
}

# ended PID SECONDS NAME: sets $rc to the exit status; fails when it goes on for longer.
rc=
ended() {
	wait_until "$2" gone "$1" || die "$3 did not end within $2 s"
	rc=0
	wait "$1" || rc=$?
}

# random_file MIB: a file of that size, $tmp/sent.
random_file() {
	head -c "$(($1 * 1048576))" /dev/urandom >"$tmp/sent"
}

same() {
	[ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]
}
