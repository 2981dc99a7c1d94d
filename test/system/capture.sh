#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# capture.sh LINK XFER [MIB]: capture clean transfers at the kernel's end and let tshark judge them (judge.py says how): MIB
# sent over IPv4, an eighth of it over IPv6 and the other way.
# A capture that the capturing program could not keep up with proves nothing: it is made again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

xfer=$2
mib=${3:-64}
begin "$1" python3 tshark dumpcap
whole=$mib
dev=sl1
[ "$link" != tap ] || dev=slt0

# device_drops: what the devices of the link dropped, both ends.
device_drops() {
	local ns
	for ns in "$srv" "$cli"; do
		ip -n "$ns" -s -j link show
	done | python3 -c '
import json, sys
text = sys.stdin.read()
total, at = 0, 0
while at < len(text.rstrip()):
    rows, at2 = json.JSONDecoder().raw_decode(text[at:].lstrip())
    at = len(text) - len(text[at:].lstrip()) + at2
    for row in rows:
        for way in row.get("stats64", {}).values():
            total += way.get("dropped", 0) + way.get("errors", 0) + way.get("over_errors", 0)
print(total)'
}

# quiet_file PATH: it has not grown for a while.
quiet_file() {
	local size
	size=$(stat -c %s "$1")
	sleep 0.3
	[ "$size" = "$(stat -c %s "$1")" ]
}

# capture DIRECTION FAMILY: sets $drops; 1 when the capture is incomplete.
capture() {
	local dir=$1 v=$2 x peer cap before
	local -n our_addr=ours$v
	rm -f "$tmp/got" "$tmp"/*.log "$tmp/cap"
	local x_file=(--send "$tmp/sent") p_file=(recv "$tmp/got")
	[ "$dir" = send ] || { x_file=(--recv "$tmp/got"); p_file=(send "$tmp/sent"); }
	sluice xfer "$xfer" --addr $ours4/24 --addr $ours6/64 --listen $port "${x_file[@]}"
	x=$started
	kernel_end
	await xfer "$x" 15 ready
	before=$(device_drops)
	start_in "$cli" "$tmp" dumpcap dumpcap -q -i "$dev" -B 512 -w "$tmp/cap" -f "tcp port $port"
	cap=$started
	wait_until 15 test -s "$tmp/cap" || die "dumpcap does not start"
	start_in "$cli" "$tmp" peer "${python[@]}" "$here/peer.py" connect "$our_addr" $port "${p_file[@]}"
	peer=$started
	ended "$peer" $((25 + mib / 4)) peer
	[ "$rc" = 0 ] || die "the kernel's end failed ($rc)"
	drops=$(($(device_drops) - before))
	ended "$x" 30 xfer
	[ "$rc" = 0 ] || die "xfer failed ($rc)"
	drops=$((drops + $(sed -n 's/^bytes .* drops //p' "$tmp/xfer.log")))
	# dumpcap throws away what is still in its ring when the signal comes: first all is to be in the file.
	wait_until 20 quiet_file "$tmp/cap" || die "dumpcap does not come to an end"
	kill -INT "$cap"
	ended "$cap" 30 dumpcap
	same "$tmp/sent" "$tmp/got" || die "SHA-256 differs"
	# "Packets received/dropped on interface 'sl1': 1234/0 (pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0) (100.0%)"
	grep -qE '^Packets received/dropped.*: [0-9]+/0 ' "$tmp/dumpcap.log"
}

# judged DIRECTION FAMILY: 0 well, 1 faults, 3 the capture does not hold the whole transfer.
judged() {
	local ours=ours$2
	capture "$1" "$2" || return 3
	python3 "$here/judge.py" "$tmp/cap" "${!ours}" $((mib * 1048576)) "$drops"
}

for v in 4 6; do
	for dir in send recv; do
		mib=$whole
		[ "$dir$v" = send4 ] || mib=$((whole / 8))
		random_file "$mib"
		for try in 1 2 3 4; do
			verdict=0
			judged $dir $v || verdict=$?
			[ $verdict = 3 ] || break
			echo "$link: the capture lost packets, try $try"
		done
		[ $verdict = 0 ] || die "sluice ${dir}s, IPv$v: see above ($verdict)"
	done
done
