#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# transfer.sh LINK XFER [MIB]: a file each way between sluice and Linux, each once as client and once as server, over
# IPv4 and IPv6; SHA-256 equal, nothing left behind. Over TAP the idle lcore sleeps, and packets wake it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

xfer=$2
mib=${SLUICE_LONG:+1024}
mib=${mib:-${3:-64}}
begin "$1" python3
random_file "$mib"
raw=()
[ "$link" != tun ] || raw=(--l3)
[ "$link" != tap ] || raw=(--sleep)

# one ROLE DIRECTION FAMILY: ROLE and DIRECTION are sluice's.
one() {
	local role=$1 dir=$2 v=$3 theirs ours peer x got t0=$SECONDS
	local -n our_addr=ours$v their_addr=theirs$v
	ours=$our_addr theirs=$their_addr
	rm -f "$tmp/got" "$tmp"/*.log
	local x_file=(--send "$tmp/sent") p_file=(recv "$tmp/got")
	[ "$dir" = send ] || { x_file=(--recv "$tmp/got"); p_file=(send "$tmp/sent"); }

	if [ "$role" = server ]; then
		sluice xfer "$xfer" "${raw[@]}" --addr $ours4/24 --addr $ours6/64 --listen $port "${x_file[@]}"
		x=$started
		kernel_end
		await xfer "$x" 15 ready
		start_in "$cli" "$tmp" peer "${python[@]}" "$here/peer.py" connect "$ours" $port "${p_file[@]}"
		peer=$started
	else
		start_in "$cli" "$tmp" peer "${python[@]}" "$here/peer.py" listen $port "${p_file[@]}"
		peer=$started
		await peer "$peer" 15 ready
		sluice xfer "$xfer" "${raw[@]}" --addr $ours4/24 --addr $ours6/64 --connect "$theirs,$port" "${x_file[@]}"
		x=$started
		kernel_end
	fi
	ended "$peer" $((25 + mib / 4)) peer
	[ "$rc" = 0 ] || die "$role $dir IPv$v: the kernel's end failed ($rc)"
	ended "$x" 30 xfer
	[ "$rc" = 0 ] || die "$role $dir IPv$v: xfer failed ($rc)"
	same "$tmp/sent" "$tmp/got" || die "$role $dir IPv$v: SHA-256 differs"
	[ "$link" != tap ] || [ "$(awk '$1 == "sleeps" { print $4 }' "$tmp/xfer.log")" -gt 0 ] ||
	    die "no packet woke it: $(grep ^sleeps "$tmp/xfer.log")"
	got=$(grep ^bytes "$tmp/xfer.log")
	echo "$link: sluice $role ${dir}s over IPv$v: $got, equal, $((SECONDS - t0)) s"
}

for v in 4 6; do
	for role in server client; do
		for dir in send recv; do
			one $role $dir $v
		done
	done
done
