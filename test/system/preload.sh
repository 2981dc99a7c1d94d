#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# preload.sh LINK RUN MIB CALLS: a program that makes every call prints the same on the kernel's sockets and under
# sluice-run; ends of all kinds leave nothing behind; a child does not have its parent's sockets.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/preload_lib.sh"

run=$2
calls=$4
begin "$1"

start_in "$cli" "$tmp" peer "$calls" peer $port
peer=$started
await peer "$peer" 15 peer
ip netns exec "$cli" timeout 60 "$calls" run 127.0.0.1 $port 127.0.0.1 >"$tmp/kernel" 2>"$tmp/kernel.log" ||
    die "the calls fail on the kernel"
on_sluice timeout 60 "$calls" run $theirs4 $port $ours4 >"$tmp/sluice" 2>"$tmp/sluice.log" ||
    die "the calls fail under sluice-run"
diff "$tmp/kernel" "$tmp/sluice" >"$tmp/diff.log" || die "results are not the kernel's"
! grep -q "^sluice-run" "$tmp/sluice.log" || die "sluice-run has something to say"

for how in exit _exit kill; do
	rc=0
	on_sluice "$calls" leave $how $theirs4 $port >"$tmp/leave.log" 2>&1 || rc=$?
	[ $rc = $([ $how = kill ] && echo 143 || echo 0) ] || die "leaving by $how ends with $rc"
done
left() {
	[ "$(grep -c '^left after 300000: end$' "$tmp/peer.log")" = 3 ]
}
wait_until 5 left || die "the peer did not get everything and the end"

on_sluice timeout 30 "$calls" inherit $theirs4 $port >"$tmp/inherit.log" 2>&1 || die "a child gets at its parent's sockets"
grep -q "the dataplane is the parent's" "$tmp/inherit.log" || die "no word about the child"

# A port is one process's at a time; what the rules give to the kernel needs no port at all.
start_in "$srv" "$tmp" first $(run_command) python3 -c "import socket; s=socket.create_server(('$ours4', 80))
print('listens', flush=True); s.accept()"
first=$started
await first "$first" 15 listens
ip netns exec "$cli" ping -q -c 1 -W 1 $ours4 >/dev/null 2>&1 || wait_until 5 ip netns exec "$cli" ping -q -c 1 -W 1 $ours4 ||
    die "the listener's dataplane does not run"
! on_sluice "$calls" leave exit $theirs4 $port >"$tmp/second.log" 2>&1 || die "two processes on one port"
grep -q "another process has these ports" "$tmp/second.log" || die "no word about the other process"
kill -KILL "$first"
echo "kernel both $theirs4" >"$tmp/rules"
ip netns exec "$cli" timeout 10 "$run" --vdev "net_none0" --addr $ours4/24 --rules "$tmp/rules" -- \
    "$calls" leave exit $theirs4 $port || die "a connection that is the kernel's fails"
echo "$link: calls as on the kernel, ends, children, rules: well"
