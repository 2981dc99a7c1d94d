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
wait "$first" 2>/dev/null || true
echo "kernel both $theirs4" >"$tmp/rules"
ip netns exec "$cli" timeout 10 "$run" --vdev "net_none0" --addr $ours4/24 --rules "$tmp/rules" -- \
    "$calls" leave exit $theirs4 $port || die "a connection that is the kernel's fails"

# An ini file; errors of bind at bind; a connection to ourselves, and one over the kernel's loopback.
cat >"$tmp/net.ini" <<-END
	[interface net0]
	port = 0
	address = $ours4/24
	any_address = 192.0.2.0/24
	[route default]
	prefix = 0.0.0.0/0
	via = $theirs4
END
ip netns exec "$srv" "$run" --config "$tmp/net.ini" --vdev "$(vdev)" --start bind -- timeout 30 python3 -c "
import errno, socket, threading
def fails(addr):
    try:
        s = socket.socket()
        s.bind((addr, 80))
        s.listen()
        return s
    except OSError as e:
        return e.errno
one = fails('192.0.2.7')
assert one.getsockname() == ('192.0.2.7', 80)
assert fails('192.0.2.7') == errno.EADDRINUSE and fails('10.9.9.9') == errno.EADDRNOTAVAIL
any = socket.create_server(('', 0))
threading.Thread(target=lambda: any.accept()[0].sendall(b'self')).start()
assert socket.create_connection(('$ours4', any.getsockname()[1]), 5).recv(10) == b'self'
loop = socket.create_server(('127.0.0.1', 0))
assert socket.create_connection(loop.getsockname(), 5).getpeername() == loop.getsockname()
" 2>"$tmp/config.log" || die "with an ini file: a call is not as it should be"
echo "$link: calls as on the kernel, ends, children, rules, ini file: well"
