#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# beside.sh LINK TESTTCP [MIB] HTTPD (MIB is not used): a port that stack and kernel share, one address for both. While
# testtcp takes streams at full speed, the kernel's ping, UDP echo, TCP sessions and an ssh session on the same port go on, from outside
# and to the outside. The interface of the default route is not taken without --force. Then httpd on the same port, with the
# address that the kernel's device has, and gets.
#
#	$srv: testtcp on sl0, the kernel on slk0 (TAP, same hardware and IP address)  <-- veth -->  $cli: the kernel on sl1
set -euo pipefail
. "$(dirname "$0")/lib.sh"

testtcp=$2
httpd=$4
session=100 # lines
begin "$1" python3 ping curl dropbear dbclient dropbearkey
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
mac=$(ip netns exec "$srv" cat /sys/class/net/sl0/address)
ip netns exec "$srv" sysctl -qw net.ipv6.conf.default.disable_ipv6=1

server() {
	# shellcheck disable=SC2046
	start_in "$srv" "$tmp" server "$testtcp" $(eal) --vdev "net_tap0,iface=slk0,mac=$mac" -- --role server --ports 0 \
	    --kernel 1 --servers "$ours4:80" --engine stream --idle yield --verify --json "$tmp/server.json" "$@"
	pid=$started
}

device_up() {
	ip -n "$srv" addr replace "$ours4/24" dev slk0 && ip -n "$srv" link set slk0 up
}

# ssh_server: dropbear in $srv, on the kernel's device; its only key is made here, in a home that only it sees.
ssh_server() {
	mkdir -p "$tmp/home/.ssh"
	chmod 700 "$tmp/home" "$tmp/home/.ssh"
	dropbearkey -t ed25519 -f "$tmp/host" >/dev/null 2>&1
	dropbearkey -t ed25519 -f "$tmp/key" 2>/dev/null | grep ^ssh- >"$tmp/home/.ssh/authorized_keys"
	chown -R root "$tmp/home"
	start_in "$srv" "$tmp" dropbear unshare -m sh -c 'mount --bind "$0" "$HOME" && exec dropbear "$@"' "$tmp/home" -F -E -s \
	    -r "$tmp/host" -p "$ours4:22"
	wait_until 10 grep -q "Not backgrounding" "$tmp/dropbear.log" || die "no ssh server"
}

# lost FILE: percent, of ping's last lines.
lost() {
	sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' "$tmp/$1.log"
}

# The default route's interface.
ip -n "$srv" addr add 10.99.0.1/24 dev sl0
ip -n "$srv" route add default via 10.99.0.2 dev sl0
server
ended "$pid" 30 server
[ "$rc" != 0 ] && grep -q "port 0 is sl0, where the default route leads" "$tmp/server.log" ||
    die "the default route's interface was taken (status $rc)"
ip -n "$srv" route del default
server --force
wait_until 15 device_up || die "no TAP device"
kill "$pid"
ended "$pid" 15 server
ip -n "$srv" addr flush dev sl0

server
wait_until 15 device_up || die "no TAP device"
start_in "$srv" "$tmp" inside "${python[@]}" "$here/beside.py" serve
await inside "$started" 10 ready
start_in "$cli" "$tmp" outside "${python[@]}" "$here/beside.py" serve
await outside "$started" 10 ready
start_in "$cli" "$tmp" in "${python[@]}" "$here/beside.py" use "$ours4"
in=$started
await in "$in" 10 ready
start_in "$srv" "$tmp" out "${python[@]}" "$here/beside.py" use "$theirs4"
out=$started
await out "$out" 10 ready
ssh_server
# Echoed line by line, a new one every 20 ms.
start_in "$cli" "$tmp" ssh sh -c 'seq 1 "$0" | while read -r n; do echo "$n"; sleep 0.02; done | "$@" cat' "$session" \
    dbclient -y -y -i "$tmp/key" "root@$ours4"
ssh=$started
start_in "$cli" "$tmp" ping_in ping -q -i 0.02 -c 120 "$ours4"
ping_in=$started
start_in "$srv" "$tmp" ping_out ping -q -i 0.02 -c 120 "$theirs4"
ping_out=$started
start_in "$cli" "$tmp" load "$testtcp" --no-huge --no-pci --no-telemetry --no-shconf -m 64 --file-prefix "$prefix-load" \
    --lcores "0@$last_cpu" -- --stack kernel --role client --peer "$ours4" --port 80 --engine stream \
    --connections 4 --duration 2500ms --warmup 200ms --json "$tmp/load.json"
ended "$started" 60 load
[ "$rc" = 0 ] || die "the load failed ($rc)"
for p in ping_in ping_out; do
	ended "${!p}" 60 "$p"
	l=$(lost "$p")
	[ "${l%.*}" -le 10 ] || die "$p: $l % lost"
done
ended "$ssh" 60 ssh
[ "$rc" = 0 ] && seq 1 "$session" | cmp -s - <(grep -x '[0-9][0-9]*' "$tmp/ssh.log") || die "the ssh session failed ($rc)"
echo "$link: beside testtcp, ssh: $session lines there and back"
for p in in out; do
	kill "${!p}"
	ended "${!p}" 30 "$p"
	[ "$rc" = 0 ] || die "the kernel's sessions ($p) failed"
	read -r -a seen < <(grep ^tcp "$tmp/$p.log")
	[ "${seen[1]}" -ge 10 ] && [ "$((seen[4] * 8))" -le "${seen[3]}" ] || die "$p: ${seen[*]}"
	echo "$link: beside testtcp, $p: ${seen[*]}, ping $(lost "ping_$p") % lost"
done
python3 - "$tmp/load.json" <<-'END'
	import json, sys
	r = json.load(open(sys.argv[1]))
	print("load:", round(r["gbit_per_s"], 2), "Gbit/s")
	sys.exit(not r["gbit_per_s"] > 0.05)
END
kill "$pid"
ended "$pid" 30 server
[ "$rc" = 0 ] || die "testtcp: exit status $rc"

# httpd: one address from the kernel's device, and one that comes later.
echo hello >"$tmp/page"
# shellcheck disable=SC2046
start_in "$srv" "$tmp" httpd "$httpd" $(eal) --vdev "net_tap0,iface=slk0,mac=$mac" -- --kernel 1 --mirror slk0 --root "$tmp" \
    --tunable ip.dad_probes=0
pid=$started
wait_until 15 device_up || die "no TAP device"
await httpd "$pid" 15 "sluice-httpd: serving"
page() {
	[ "$(ip netns exec "$cli" curl -s --max-time 1 "http://$1/page")" = hello ]
}
wait_until 15 page "$ours4" || die "httpd: no page"
ip -n "$srv" addr add 10.78.0.77/24 dev slk0
wait_until 15 page 10.78.0.77 || die "httpd: no page at the address that came later"
ip netns exec "$cli" ping -q -c 5 -i 0.02 10.78.0.77 >"$tmp/ping_httpd.log" || die "httpd: the kernel does not answer"
[ "$(echo bye | ip netns exec "$cli" dbclient -y -y -i "$tmp/key" "root@$ours4" cat 2>/dev/null)" = bye ] ||
    die "httpd: no ssh session"
kill "$pid"
ended "$pid" 15 httpd
[ "$rc" = 0 ] || die "httpd: exit status $rc"
echo "$link: beside httpd: page at two addresses of the kernel's, ping, ssh"
