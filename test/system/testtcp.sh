#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# testtcp.sh LINK TESTTCP: sluice-testtcp over ports. Client and server on two ports of one process with the Linux kernel
# as the router between them (a VLAN on one side where it has VLANs), and against servers that are not ours, over IPv4
# and IPv6.
#
#	$srv: testtcp, clients on sl0  <-- veth -->  sl1  $cli: routes, or serves
#	$srv: testtcp, servers on sl2  <-- veth -->  sl3  $cli
set -euo pipefail
. "$(dirname "$0")/lib.sh"

testtcp=$2
begin "$1" python3
[ "$link" != tap ] || skip "two veths are needed"
veth_add "$srv" sl2 "$cli" sl3
# A tag of the kernel's is to be in the frame, and not beside it, where AF_XDP does not see it.
ip netns exec "$cli" ethtool -K sl1 txvlan off rxvlan off >/dev/null
ip netns exec "$srv" ethtool -K sl0 txvlan off rxvlan off >/dev/null
vlan=(--client-vlan 10)
dev=sl1.10
if ip -n "$cli" link add link sl1 name $dev type vlan id 10 2>/dev/null; then
	ip -n "$cli" link set $dev up
else
	echo "this kernel has no VLANs"
	vlan=()
	dev=sl1
fi
ip -n "$cli" addr add 10.79.1.1/24 dev $dev
ip -n "$cli" addr add fd79:1::1/64 dev $dev nodad
ip -n "$cli" addr add 10.79.2.1/24 dev sl3
ip -n "$cli" addr add fd79:2::1/64 dev sl3 nodad
ip netns exec "$cli" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

# run NAME EAL-PORTS OPTION...: to the end, which must be good; JSON in $tmp/NAME.json.
run() {
	local name=$1 ports=$2
	shift 2
	# shellcheck disable=SC2046
	start_in "$srv" "$tmp" "$name" "$testtcp" $(eal) $ports -- --json "$tmp/$name.json" --duration 250ms \
	    --warmup 50ms --idle yield --verify "$@"
	ended "$started" 120 "$name"
	[ "$rc" = 0 ] || die "$name: exit status $rc"
}

# value NAME EXPRESSION: of the JSON, as r; fails unless true.
holds() {
	python3 -c "import json, sys; r = json.load(open(sys.argv[1])); sys.exit(not ($2))" "$tmp/$1.json" ||
	    { cat "$tmp/$1.json" >"$tmp/$1.json.log"; die "$1: not $2"; }
}

forwarded() {
	ip netns exec "$cli" cat /proc/net/snmp /proc/net/snmp6 | python3 -c '
import sys
text = sys.stdin.read().splitlines()
head, row = [l.split() for l in text if l.startswith("Ip:")]
six = [l.split()[1] for l in text if l.startswith("Ip6OutForwDatagrams")]
print(int(row[head.index("ForwDatagrams")]) + int(six[0]))'
}

# route FAMILY: all engines from port to port through the router.
route() {
	local v=$1 before packets
	local c4=10.79.1.10-10.79.1.13:2000-2999 s4=10.79.2.10-10.79.2.11:80-81 g4=(10.79.1.1 10.79.2.1)
	local c6=[fd79:1::10-fd79:1::13]:2000-2999 s6=[fd79:2::10-fd79:2::11]:80-81 g6=(fd79:1::1 fd79:2::1)
	local -n c=c$v s=s$v g=g$v
	local second="--vdev net_${link}1,iface=sl2"
	[ "$link" != af_xdp ] || second+=,busy_budget=0
	local through=(--role both --link port --ports 0,1 "${vlan[@]}" --clients "$c" --servers "$s"
	    --client-gateway "${g[0]}" --server-gateway "${g[1]}")
	before=$(forwarded)
	run "rr$v" "$second" "${through[@]}" --engine rr --connections 16 --ramp 200/s
	holds "rr$v" "r['transactions'] > 0 and r['lost'] == 0 and len(r['ports']) == 2"
	run "crr$v" "$second" "${through[@]}" --engine crr --active 16 --connections 500 --duration 60s
	holds "crr$v" "r['transactions'] == 500 and r['time_wait']['held_by'] == 'client'"
	run "crr_rst$v" "$second" "${through[@]}" --engine crr --connections 16 --close server --close-with rst
	holds "crr_rst$v" "r['transactions'] > 0"
	run "stream$v" "$second" "${through[@]}" --engine stream --connections 2
	holds "stream$v" "r['gbit_per_s'] > 0"
	packets=$(($(forwarded) - before))
	[ "$packets" -gt 2500 ] || die "the router forwarded $packets packets only: they went another way"
	echo "$link: rr, crr, stream over IPv$v from port to port, $packets packets through the router"
}

# serve KIND: a server of the kernel's; $server is its pid.
server=
serve() {
	start_in "$cli" "$tmp" "$1" "${python[@]}" "$here/foreign.py" "$1" 8000
	server=$started
	await "$1" "$server" 15 ready
}

# served KIND: ends it; the fields of its last line in $seen.
seen=()
served() {
	kill "$server"
	ended "$server" 15 "$1"
	read -r -a seen < <(sed -n 's/^seen //p' "$tmp/$1.log")
}

foreign() {
	local v=$1
	local c4=10.78.0.10-10.78.0.13:2000-2099 s4=$theirs4:8000
	local c6=[fd78::10-fd78::13]:2000-2099 s6=[$theirs6]:8000
	local -n c=c$v s=s$v
	local to=(--role client --clients "$c" --servers "$s")
	serve echo
	run "echo_rr$v" "" "${to[@]}" --proto echo --engine rr --connections 8 --size 2000
	holds "echo_rr$v" "r['transactions'] > 0"
	run "echo_crr$v" "" "${to[@]}" --proto echo --engine crr --active 8 --connections 300 --duration 60s
	holds "echo_crr$v" "r['transactions'] == 300 and r['ports_exhausted'] == 0"
	served echo
	[ "${seen[0]}" = 308 ] && [ "${seen[2]}" = 4 ] && [ "${seen[3]}" -ge 2000 ] && [ "${seen[4]}" -le 2099 ] ||
	    die "the echo server saw ${seen[*]}: not 308 connections of 4 addresses and ports 2000 to 2099"
	serve discard
	run "discard$v" "" "${to[@]}" --proto discard --engine stream --connections 2
	served discard
	holds "discard$v" "0 < r['gbit_per_s'] * 1e9 / 8 * r['seconds'] < ${seen[1]} * 1.01 and r['transactions'] > 0"
	serve http
	run "http$v" "" "${to[@]}" --proto http --engine rr --connections 4
	holds "http$v" "r['transactions'] > 0"
	run "http_crr$v" "" "${to[@]}" --proto http --engine crr --active 4 --connections 100 --duration 60s
	holds "http_crr$v" "r['transactions'] == 100 and r['close']['first'] == 'server'"
	served http
	echo "$link: echo, discard and http of the kernel over IPv$v"
}

for v in 4 6; do
	route $v
	foreign $v
done
