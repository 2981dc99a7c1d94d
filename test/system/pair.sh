#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# pair.sh KIND XFER [MIB]: two sluice processes over a port of shared memory, a file each way; SHA-256 equal, nothing
# left behind. KIND: memif, or vhost (one end net_vhost, the other net_virtio_user: checksum and segmentation offload,
# whose packets arrive without checksums and longer than a segment). Idle lcores sleep; over vhost packets wake them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kind=$1
xfer=$2
mib=${3:-64}
tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-pair.XXXXXX")
end() {
	local pid
	for pid in $(jobs -p); do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$tmp"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
random_file "$mib"

sock=$tmp/sock
case "$kind" in
memif)
	drivers=net_memif
	a=net_memif0,role=server,socket=$sock,socket-abstract=no
	b=net_memif0,role=client,socket=$sock,socket-abstract=no
	;;
vhost)
	drivers="net_vhost net_virtio"
	a=net_vhost0,iface=$sock,tso=1
	b=net_virtio_user0,path=$sock,queue_size=1024,mac=02:53:4c:00:00:22
	;;
*) die "no such kind: $kind" ;;
esac
for f in $drivers; do
	ls "$(pkg-config --variable=libdir libdpdk 2>/dev/null || echo /usr/lib)"/librte_"$f".so* >/dev/null 2>&1 ||
		skip "DPDK has no $f"
done

# run NAME VDEV OPTION...: an xfer process in the background, its pid in $started.
run() {
	local name=$1 vdev=$2
	shift 2
	: >"$tmp/$name.log" # at once: what the one before said is not this one's
	# The other end may close its socket first. Until it is there, nobody answers for its address.
	(trap '' PIPE; exec "$xfer" --no-huge --no-pci --no-telemetry --no-shconf -m 256 --file-prefix "sluice-pair-$$-$name" \
	    --lcores "0@$([ "$name" = a ] && echo "$first_cpu" || echo "$last_cpu")" --vdev "$vdev" -- --sleep --linger 1000 --tunable ip.neigh_tries=20 "$@") \
	    >"$tmp/$name.log" 2>&1 &
	started=$!
}

# net_virtio_user cuts nothing itself: what it sent and the vhost end took must have been far longer than a segment.
large() {
	local out in
	out=$(awk '$1 == "segments" { print $5 }' "$tmp/b.log")
	in=$(awk '$1 == "segments" { print $3 }' "$tmp/a.log")
	[ "$((mib << 20))" -ge "$((16384 * ${out:?} / 2))" ] && [ "$((mib << 20))" -ge "$((16384 * ${in:?} / 2))" ] ||
		die "vhost: $mib MiB went in $out segments and came in $in"
}

# one DIRECTION NETWORK: end a listens, end b connects; DIRECTION is that of b. IPv4 or IPv6 by the network.
one() {
	local dir=$1 v=$2 addr1 addr2 len=24 sum pa pb
	local a_file=(--recv "$tmp/got") b_file=(--send "$tmp/sent")
	[ "$dir" = send ] || { a_file=(--send "$tmp/sent"); b_file=(--recv "$tmp/got"); }
	addr1=10.79.0.1 addr2=10.79.0.2
	[ "$v" = 4 ] || { addr1=fd79::1 addr2=fd79::2 len=64; }
	rm -f "$sock" "$tmp/got"
	run a "$a" --addr $addr1/$len --listen $port "${a_file[@]}"
	pa=$started
	await a "$pa" 20 ready
	wait_until 10 test -S "$sock" || die "$kind: no socket"
	run b "$b" --addr $addr2/$len --connect $addr1,$port "${b_file[@]}"
	pb=$started
	ended "$pb" $((40 + mib)) b
	[ "$rc" = 0 ] || die "$kind $dir IPv$v: the connecting end failed ($rc)"
	ended "$pa" 30 a
	[ "$rc" = 0 ] || die "$kind $dir IPv$v: the listening end failed ($rc)"
	same "$tmp/sent" "$tmp/got" || die "$kind $dir IPv$v: SHA-256 differs"
	[ "$kind $dir" != "vhost send" ] || large
	[ "$kind" != vhost ] || [ "$(awk '$1 == "sleeps" && $4 > 0' "$tmp/a.log" "$tmp/b.log" | wc -l)" = 2 ] ||
		die "no packet woke an end: $(grep -h ^sleeps "$tmp/a.log" "$tmp/b.log")"
	sum=$(grep -h ^bytes "$tmp/a.log" "$tmp/b.log" | tr '\n' ';')
	echo "$kind: ${dir} over IPv$v: $sum equal"
}

for v in 4 6; do
	for dir in send recv; do
		one $dir $v
	done
done
