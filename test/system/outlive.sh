#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# outlive.sh KIND TESTTCP MIB RELAY (MIB is not used): connections outlive their link. KIND memif: two sluice processes with a relay between
# them, which is killed and started anew, so that both ports lose their peer and get another one. KIND af_xdp: the other
# end of the link goes down and comes up. Busy connections go on afterwards, every byte right; the gap is measured.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kind=$1
testtcp=$2
relay=${4:-}
away=1

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
	    --vdev "net_memif0,role=client,socket=$tmp/a,socket-abstract=no" \
	    --vdev "net_memif1,role=client,socket=$tmp/b,socket-abstract=no"
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
memif)
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-outlive.XXXXXX")
	trap cleanup EXIT
	trap 'exit 143' TERM INT HUP
	ls "$(pkg-config --variable=libdir libdpdk 2>/dev/null || echo /usr/lib)"/librte_net_memif.so* >/dev/null 2>&1 ||
	    skip "DPDK has no memif"
	# shellcheck disable=SC2086
	start_any "" server "$testtcp" $common --file-prefix "$prefix-s" --lcores "0@$first_cpu" \
	    --vdev "net_memif0,role=server,socket=$tmp/a,socket-abstract=no,mac=02:53:4c:00:00:31" -- --role server --ports 0 \
	    --servers 10.79.0.1:80 --idle yield --verify
	server=$started
	wait_until 15 test -S "$tmp/a" || die "no socket"
	client "" --vdev "net_memif0,role=server,socket=$tmp/b,socket-abstract=no,mac=02:53:4c:00:00:32" -- --ports 0 \
	    --clients 10.79.0.2 --servers 10.79.0.1:80
	wait_until 15 test -S "$tmp/b" || die "no socket"
	relay_up
	wait_until 20 busy || die "no load"
	kill -KILL "$re"
	wait "$re" 2>/dev/null || true
	sleep $away
	relay_up
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
