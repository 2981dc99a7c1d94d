#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# ports.sh KINDS TESTTCP [--table [SECONDS]]: sluice-testtcp on one lcore and on two, over every kind of port that a machine
# without network cards has, with EAL options as they are written for DPDK programs. KINDS: all, or some of
# wire,memif,vhost,tap,af_xdp,af_packet,bond. As a test: rr on two lcores (vhost: stream too), every byte compared. With --table: rr and stream on
# one and on two, and a Markdown table (doc/ports.md).
#
# The other end is testtcp as well: on sluice over memory (wire, memif, vhost), on kernel sockets over a device
# (the others). It has as many lcores.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ "$1" != all ] || set -- wire,memif,vhost,tap,af_xdp,af_packet,bond "${@:2}"
IFS=, read -r -a kinds <<<"$1"
testtcp=$2
table=
seconds=0.5
if [ "${3:-}" = --table ]; then
	table=1
	seconds=${4:-3}
fi
first=$first_cpu
last=$last_cpu
tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-ports.XXXXXX")
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
remove_orphans

# What every process has; the last two lines of an EAL are its ports and lcores.
eal_for() {
	echo --no-huge --no-telemetry --no-shconf -m 320 --log-level error --file-prefix "$prefix-$1"
}

# lcores N ROLE: of one end. The same two CPUs for both ends, the other way round.
lcores() {
	local a=$first b=$last
	[ "$2" = server ] || { a=$last b=$first; }
	[ "$1" = 1 ] && echo "0@$a" || echo "0@$a,1@$b"
}

timing=(--warmup 100ms --idle yield)
[ -n "$table" ] || timing+=(--verify)

# load ENGINE: options of a client; the same engine at the server.
load() {
	case "$1" in
	rr) echo --engine rr --connections 32 --size 64 ;;
	stream) echo --engine stream --connections 4 ;;
	esac
}

# process NS NAME ROLE N ENGINE EAL... -- OPTION...: in the background, $started its pid.
process() {
	local ns=$1 name=$2 role=$3 n=$4 engine=$5 eal=()
	shift 5
	while [ "$1" != -- ]; do
		eal+=("$1")
		shift
	done
	shift
	local opts=(--role "$role" --json "$tmp/$name.json" "${timing[@]}" "$@")
	[ "$role" = server ] && opts+=(--engine "$engine") || opts+=(--duration "${seconds}s")
	# shellcheck disable=SC2046
	[ "$role" = server ] || opts+=($(load "$engine"))
	# shellcheck disable=SC2046
	if [ -n "$ns" ]; then
		start_in "$ns" "$tmp" "$name" "$testtcp" $(eal_for "$name") "${eal[@]}" --lcores "$(lcores "$n" "$role")" -- "${opts[@]}"
	else
		: >"$tmp/$name.log"
		"$testtcp" $(eal_for "$name") "${eal[@]}" --lcores "$(lcores "$n" "$role")" -- "${opts[@]}" >"$tmp/$name.log" 2>&1 &
		started=$!
	fi
}

# both SERVER: waits for the client that was started last, then ends the server; both must be content.
both() {
	ended "$started" 60 client
	[ "$rc" = 0 ] || die "$kind, $n lcores, $engine: the client failed ($rc)"
	kill "$1" 2>/dev/null || true
	ended "$1" 30 server
	[ "$rc" = 0 ] || die "$kind, $n lcores, $engine: the server failed ($rc)"
}

# The two ends in one process: each lcore of an end is one of its own.
run_wire() {
	local l
	[ "$n" = 1 ] && l="0@$first,1@$last" || l="0@$first,1@$last,2@$last,3@$first"
	shown="--lcores $l"
	# shellcheck disable=SC2046
	"$testtcp" $(eal_for client) --no-pci -m 640 --lcores "$l" -- --role both --json "$tmp/client.json" "${timing[@]}" \
	    --duration "${seconds}s" $(load "$engine") >"$tmp/client.log" 2>&1 &
	started=$!
	ended "$started" 60 client
	[ "$rc" = 0 ] || die "wire, $n lcores, $engine: status $rc"
}

# memory SERVER-EAL -- CLIENT-EAL: two processes on sluice.
memory() {
	local s=() srv_pid
	while [ "$1" != -- ]; do
		s+=("$1")
		shift
	done
	shift
	rm -f "$tmp/sock"
	process "" server server "$n" "$engine" "${s[@]}" -- --ports 0 --servers 10.79.0.1:80
	srv_pid=$started
	wait_until 15 test -S "$tmp/sock" || die "$kind: no socket"
	process "" client client "$n" "$engine" "$@" -- --ports 0 --clients 10.79.0.2 --servers 10.79.0.1:80
	both "$srv_pid"
}

run_memif() {
	shown="--vdev net_memif0,role=server,socket=PATH,socket-abstract=no"
	memory --no-pci --vdev "net_memif0,role=server,socket=$tmp/sock,socket-abstract=no" -- \
	    --no-pci --vdev "net_memif0,role=client,socket=$tmp/sock,socket-abstract=no"
}

run_vhost() {
	shown="--vdev net_vhost0,iface=PATH,queues=$n"
	memory --no-pci --vdev "net_vhost0,iface=$tmp/sock,queues=$n" -- \
	    --no-pci --vdev "net_virtio_user0,path=$tmp/sock,queues=$n,queue_size=1024,mac=02:53:4c:00:00:22"
}

# kernel_client SERVER NS: the other end on kernel sockets.
kernel_client() {
	process "$2" client client "$n" "$engine" --no-pci -- --stack kernel --peer "$ours4" --port 80
	both "$1"
}

# That the port is started comes first: it sets the device's hardware address until then.
tap_ready() {
	ip -n "$srv" link show dev slt0 | grep -q ALLMULTI && ip -n "$srv" link set dev slt0 address 02:53:4c:00:00:02 &&
	    ip -n "$srv" addr replace "$theirs4/24" dev slt0 && ip -n "$srv" link set dev slt0 up
}

run_tap() {
	local srv_pid
	shown="--vdev net_tap0,iface=tap0"
	ns_add "$srv" off
	process "$srv" server server "$n" "$engine" --no-pci --vdev net_tap0,iface=slt0 -- --ports 0 --servers "$ours4:80"
	srv_pid=$started
	wait_until 15 tap_ready || die "no TAP device"
	kernel_client "$srv_pid" "$srv"
	ns_delete "$prefix-"
}

# veth VDEV QUEUES [PORT]: over a veth of so many queues; the kernel's end computes checksums and cuts segments itself.
veth() {
	local srv_pid q=$2 vdev="--vdev $1"
	ns_add "$srv" off
	ns_add "$cli" off
	ip -n "$srv" link add sl0 numrxqueues "$q" numtxqueues "$q" type veth peer name sl1 numrxqueues "$q" numtxqueues "$q" \
	    netns "$cli"
	for dev in "$srv sl0" "$cli sl1"; do
		ip netns exec "${dev% *}" ethtool -K "${dev#* }" tx off tso off gso off gro off >/dev/null
		ip -n "${dev% *}" link set "${dev#* }" up
	done
	ip -n "$cli" addr add "$theirs4/24" dev sl1
	# shellcheck disable=SC2086
	# No card is there to be allowed: what stands behind -a keeps the EAL from the others.
	process "$srv" server server "$n" "$engine" -a 0000:ff:1f.7 $vdev -- --ports "${3:-0}" --servers "$ours4:80"
	srv_pid=$started
	await server "$srv_pid" 20 "  "
	kernel_client "$srv_pid" "$cli"
	ns_delete "$prefix-"
}

# One queue: net_af_xdp counts the combined channels of a device, of which a veth has none however many queues it has.
run_af_xdp() {
	shown="-a NONE --vdev net_af_xdp0,iface=veth0"
	veth net_af_xdp0,iface=sl0,busy_budget=0 1
}

run_af_packet() {
	shown="-a NONE --vdev net_af_packet0,iface=veth0,qpairs=$n"
	veth "net_af_packet0,iface=sl0,qpairs=$n" "$n"
}

# net_bonding over two AF_PACKET ports, of which one is in use: its queues are those of both.
run_bond() {
	shown="-a NONE --vdev net_bonding0,mode=1,slave=net_af_packet0,slave=net_af_packet1 ..."
	veth "net_af_packet0,iface=sl0,qpairs=$n --vdev net_af_packet1,iface=lo,qpairs=$n
	    --vdev net_bonding0,mode=1,slave=net_af_packet0,slave=net_af_packet1,primary=net_af_packet0" "$n" 2
}

able() {
	case "$kind" in
	wire) return ;;
	memif | vhost) drivers="net_$kind" ;;
	bond) [ "$(id -u)" = 0 ] || return 1
		drivers="net_bond" ;;
	*) [ "$(id -u)" = 0 ] || return 1
		drivers="net_$kind" ;;
	esac
	ls "$(pkg-config --variable=libdir libdpdk 2>/dev/null || echo /usr/lib)"/librte_"$drivers".so* >/dev/null 2>&1 || return 1
	[ "$kind" != tap ] || [ -c /dev/net/tun ] || return 1
	[ "$kind" != af_xdp ] || python3 -c 'import socket; socket.socket(44, socket.SOCK_RAW, 0)' 2>/dev/null
}

# figure: of the client's JSON.
figure() {
	python3 - "$tmp/client.json" "$engine" "$seconds" <<-'END'
		import json, sys
		r = json.load(open(sys.argv[1]))
		assert r["lost"] == 0 and r["wrong_bytes"] == 0
		if sys.argv[2] == "rr":
		    assert r["transactions"] > 0
		    print("%.3g k/s" % (r["transactions_per_s"] / 1e3))
		else:
		    # In half a second of a machine that others use, four lcores on two CPUs may move nothing; that it
		    # ended, and every byte was right, holds in any case.
		    assert r["gbit_per_s"] > 0 or float(sys.argv[3]) < 1
		    print("%.3g Gbit/s" % r["gbit_per_s"])
	END
}

if [ -n "$table" ]; then
	model=$(sed -n 's/^model name\t*: //p' /proc/cpuinfo | head -n 1)
	echo "$model, $(nproc) CPUs, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) at start; $seconds s each"
	echo
	echo "| port | EAL options of an end (two lcores) | rr, 1 lcore | rr, 2 lcores | stream, 1 lcore | stream, 2 lcores |"
	echo "|---|---|---|---|---|---|"
fi
ran=
for kind in "${kinds[@]}"; do
	able || { echo "$kind: cannot be run here" >&2; continue; }
	ran=1
	row=
	engines=rr
	# virtio_user holds what it sent: streams by reference must end all the same.
	[ -z "$table" ] && [ "$kind" != vhost ] || engines="rr stream"
	for engine in $engines; do
		for n in ${table:+1} 2; do
			rm -f "$tmp"/*.log "$tmp"/*.json
			shown=
			"run_$kind"
			row+=" $(figure) |"
		done
	done
	if [ -n "$table" ]; then
		echo "| $kind | \`$shown\` |$row"
	else
		echo "$kind on two lcores:${row%|}"
	fi
done
[ -n "$ran" ] || skip "no such port here"
