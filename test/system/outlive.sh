#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# outlive.sh KIND TESTTCP MIB RELAY (MIB is not used): connections outlive their link. KIND memif, vhost: two sluice processes with a relay
# between them, which is killed and started anew, so that both ports lose their peer (with vhost their back end) and get another one.
# KIND af_xdp: the other end of the link goes down and comes up. KIND reset: the port of a client with two lcores is reset under load,
# three times. Busy connections go on afterwards, every byte right; the gap is measured.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kind=$1
testtcp=$2
relay=${4:-}
away=1
early=
offload=

# client NS EAL... -- OPTION...: in the background; runs for 4 s.
client() {
	local ns=$1 eal=()
	shift
	while [ "$1" != -- ]; do
		eal+=("$1")
		shift
	done
	shift
	start_any "$ns" client "$testtcp" $common --file-prefix "$prefix-c" "${eal[@]}" \
	    --lcores "0@$last_cpu" -- --role client --engine rr --connections 16 --verify --warmup 100ms \
	    --duration 4s --idle yield --json "$tmp/client.json" "$@"
	cl=$started
}

start_any() {
	local ns=$1 name=$2
	shift 2
	if [ -n "$ns" ]; then
		start_in "$ns" "$tmp" "$name" "$@"
	else
		: >"$tmp/$name.log"
		"$@" >"$tmp/$name.log" 2>&1 &
		started=$!
	fi
}

common="--no-huge --no-telemetry --no-shconf --no-pci -m 256 --log-level error"

relay_up() {
	# shellcheck disable=SC2086
	start_any "" relay "$relay" $common --file-prefix "$prefix-r" --lcores "0@$last_cpu" \
	    --vdev "${middle/SOCKET/$tmp/a}" --vdev "${middle2/SOCKET/$tmp/b}"
	re=$started
	await relay "$re" 20 ready
}

busy() {
	grep -q "measure conns 16  trans/s [1-9]" "$tmp/client.log"
}

# settled: the client must end well; prints how long its slowest answer took.
settled() {
	ended "$cl" 90 client
	[ "$rc" = 0 ] || die "$kind: connections did not outlive the gap (client: $rc)"
	python3 - "$tmp/client.json" "$away" "$kind" <<-'END'
		import json, sys
		r = json.load(open(sys.argv[1]))
		gap = r["latency_ns"]["max"] / 1e9
		print(f"{sys.argv[3]}: {r['connections']} connections outlived {sys.argv[2]} s without a link: "
		      f"slowest answer {gap:.2f} s, {r['transactions']} in all, {r['retransmits']} segments again")
		sys.exit(not (gap >= float(sys.argv[2]) * 0.9 and r["lost"] == 0 and r["wrong_bytes"] == 0))
	END
	kill "$server"
	ended "$server" 30 server
	[ "$rc" = 0 ] || die "$kind: the server failed ($rc)"
}

case "$kind" in
memif | vhost)
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-outlive.XXXXXX")
	trap cleanup EXIT
	trap 'exit 143' TERM INT HUP
	ls "$(pkg-config --variable=libdir libdpdk 2>/dev/null || echo /usr/lib)"/librte_net_$kind.so* >/dev/null 2>&1 ||
	    skip "DPDK has no $kind"
	if [ "$kind" = memif ]; then
		edge=net_memif0,role=server,socket-abstract=no,socket=SOCKET
		middle=net_memif0,role=client,socket-abstract=no,socket=SOCKET
		middle2=net_memif1,role=client,socket-abstract=no,socket=SOCKET
	else
		# The front end listens, so that another back end can come.
		edge=net_virtio_user0,server=1,queue_size=1024,path=SOCKET
		middle=net_vhost0,client=1,iface=SOCKET
		middle2=net_vhost1,client=1,iface=SOCKET
		offload="--offload off"
		early=1
	fi
	# shellcheck disable=SC2086
	[ -z "$early" ] || relay_up
	# shellcheck disable=SC2086
	start_any "" server "$testtcp" $common --file-prefix "$prefix-s" --lcores "0@$first_cpu" \
	    --vdev "${edge/SOCKET/$tmp/a},mac=02:53:4c:00:00:31" -- --role server --ports 0 \
	    --servers 10.79.0.1:80 --idle yield --verify $offload
	server=$started
	wait_until 15 test -S "$tmp/a" || die "no socket"
	# shellcheck disable=SC2086
	client "" --vdev "${edge/SOCKET/$tmp/b},mac=02:53:4c:00:00:32" -- --ports 0 \
	    --clients 10.79.0.2 --servers 10.79.0.1:80 $offload
	wait_until 15 test -S "$tmp/b" || die "no socket"
	[ -n "$early" ] || relay_up
	wait_until 20 busy || die "no load"
	kill -KILL "$re"
	wait "$re" 2>/dev/null || true
	sleep $away
	relay_up
	settled
	;;
reset)
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-outlive.XXXXXX")
	trap cleanup EXIT
	trap 'exit 143' TERM INT HUP
	ls "$(pkg-config --variable=libdir libdpdk 2>/dev/null || echo /usr/lib)"/librte_net_vhost.so* >/dev/null 2>&1 ||
	    skip "DPDK has no vhost"
	mkfifo "$tmp/orders"
	exec 9<>"$tmp/orders"
	# shellcheck disable=SC2086
	start_any "" server "$testtcp" $common --file-prefix "$prefix-s" --lcores "(0-1)@$first_cpu" \
	    --vdev "net_vhost0,iface=$tmp/a,queues=2" -- --role server --ports 0 --servers 10.79.0.1:80 --idle yield --verify
	server=$started
	wait_until 15 test -S "$tmp/a" || die "no socket"
	# As many queues; orders from the pipe.
	# shellcheck disable=SC2086
	start_any "" client sh -c 'in=$0; exec "$@" <"$in"' "$tmp/orders" "$testtcp" $common --file-prefix "$prefix-c" \
	    --lcores "(0-1)@$last_cpu" --vdev "net_virtio_user0,path=$tmp/a,queues=2,queue_size=1024" -- \
	    --ports 0 --clients 10.79.0.2 --servers 10.79.0.1:80 --role client --engine rr --connections 16 --verify \
	    --idle yield --duration 3s --interactive --json "$tmp/client.json"
	cl=$started
	wait_until 20 eval 'echo show conns >&9; sleep 0.1; [ "$(grep -c " 8 established" "$tmp/client.log")" -ge 2 ]' ||
		die "no connections"
	echo start >&9
	wait_until 20 eval 'echo show stats >&9; sleep 0.1; busy' || die "no load"
	away=0
	for n in 1 2 3; do
		echo "port reset 0" >&9
		wait_until 10 eval "[ \$(grep -c 'port was reset' $tmp/client.log) = $n ]" || die "no reset $n"
	done
	wait_until 20 eval 'grep -q "^sluice rr" "$tmp/client.log"' || die "no report"
	echo quit >&9
	settled
	;;
af_xdp)
	begin af_xdp python3
	# shellcheck disable=SC2046
	start_in "$srv" "$tmp" server "$testtcp" $(eal) -- --role server --ports 0 --servers "$ours4:80" --idle yield --verify
	server=$started
	await server "$server" 20 "  "
	client "$cli" -- --stack kernel --peer "$ours4" --port 80
	wait_until 20 busy || die "no load"
	ip -n "$cli" link set sl1 down
	sleep $away
	ip -n "$cli" link set sl1 up
	settled
	;;
*) die "no such kind: $kind" ;;
esac
