#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# vanish.sh LINK XFER: the peer is killed, or goes silent, in the middle of a transfer. sluice must find out (a reset; the
# time limit of unacknowledged data; keepalive), end the connection with the right error, and hold nothing afterwards.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

xfer=$2
begin "$1" python3
random_file 1
# A sparse file: endless for our purpose, and read from no disk.
truncate -s 64G "$tmp/endless"

bigger() {
	[ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt "$2" ]
}

# The receiving peer copies to a file that shows how far it is, so it may not run for long; it is killed or cut off
# after a few MiB.
# one HOW DIRECTION ERRORS
one() {
	local how=$1 dir=$2 errors=$3 x peer error
	rm -f "$tmp/got" "$tmp"/*.log
	network
	if [ "$dir" = send ]; then
		sluice xfer "$xfer" --addr $ours4/24 --listen $port --send "$tmp/endless" --tunable tcp.abort_established=2s
		x=$started
		kernel_end
		await xfer "$x" 15 ready
		start_in "$cli" "$tmp" peer "${python[@]}" "$here/peer.py" connect $ours4 $port recv "$tmp/got"
	else
		sluice xfer "$xfer" --addr $ours4/24 --listen $port --recv "$tmp/got" --keepalive 1
		x=$started
		kernel_end
		await xfer "$x" 15 ready
		start_in "$cli" "$tmp" peer "${python[@]}" "$here/peer.py" connect $ours4 $port send "$tmp/endless"
	fi
	peer=$started
	wait_until 30 bigger "$tmp/got" 4000000 || die "$how $dir: the transfer does not get going"
	case "$how" in
	killed) kill -KILL "$peer" ;;
	silent) ip -n "$cli" link set dev "$dev" down ;;
	esac
	ended "$x" 60 xfer
	kill -KILL "$peer" 2>/dev/null || true
	wait "$peer" 2>/dev/null || true
	[ "$rc" != 4 ] || die "$how $dir: something is left"
	grep -q '^left connections 0 timers 0 calls 0 records 0 mbufs 0$' "$tmp/xfer.log" ||
	    die "$how $dir: no clean end (status $rc)"
	error=$(sed -n 's/^error //p' "$tmp/xfer.log")
	grep -qxE "$errors" <<<"${error:-none}" || die "$how $dir: error ${error:-none}, expected $errors"
	echo "$link: peer $how while sluice ${dir}s: ${error:-end of stream}, nothing left"
	ns_delete "$prefix-"
}

dev=sl1
[ "$link" != tap ] || dev=slt0
ns_delete "$prefix-"
# A killed process with unread data resets; a killed sender whose data was all sent may also end the stream in order.
one killed send 'ECONNRESET|EPIPE'
one killed recv 'ECONNRESET|none'
one silent send 'ETIMEDOUT|EHOSTUNREACH|ENETUNREACH'
one silent recv 'ETIMEDOUT|EHOSTUNREACH|ENETUNREACH'
