# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Functions for scripts that need network namespaces: sourced by quickstart.sh and test/system.
#
# What a script makes carries its prefix, so that a later run finds it again when this one was killed: namespaces by name,
# processes by a pid file that is believed only if the process still has the name written there and still lives in a
# namespace of that prefix (a pid may have gone to somebody else meanwhile). Waits are for conditions, never for seconds.

# wait_until SECONDS COMMAND...: 0 as soon as the command succeeds, 1 when it has not within that time.
wait_until() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# gone PID: true once the process has ended (a zombie has).
gone() {
	local state
	[ -e "/proc/$1" ] || return 0
	state=$(sed -n 's/^State:\t//p' "/proc/$1/status" 2>/dev/null) || return 1 # it may be about to go: look again
	[ -z "$state" ] || [ "${state:0:1}" = Z ]
}

# in_ns PID PREFIX: does the process live in a namespace whose name begins with PREFIX?
in_ns() {
	local ns inode
	inode=$(stat -L -c %i "/proc/$1/ns/net" 2>/dev/null) || return 1
	for ns in /run/netns/"$2"*; do
		[ "$(stat -L -c %i "$ns" 2>/dev/null)" != "$inode" ] || return 0
	done
	return 1
}

# Set by start_in.
started=

# start_in NS DIR NAME COMMAND...: run in the namespace in the background, output to DIR/NAME.log, pid to DIR/NAME.pid.
# The command must not fork. Sets $started to its pid.
start_in() {
	local ns=$1 dir=$2 name=$3
	shift 3
	: >"$dir/$name.log" # at once: what an earlier one of this name said is not this one's
	ip netns exec "$ns" "$@" >"$dir/$name.log" 2>&1 9>&- &
	started=$!
	echo "$started" >"$dir/$name.pid"
}

# stop_in PREFIX DIR NAME COMM...: end what start_in started: TERM, and KILL after 10 s.
stop_in() {
	local prefix=$1 dir=$2 name=$3 pid comm want ours=
	shift 3
	[ -s "$dir/$name.pid" ] || return 0
	pid=$(cat "$dir/$name.pid")
	rm -f "$dir/$name.pid"
	comm=$(cat "/proc/$pid/comm" 2>/dev/null) || return 0
	for want; do
		# The kernel keeps 15 characters of a name.
		[ "$comm" != "${want:0:15}" ] || ours=1
	done
	[ -n "$ours" ] && in_ns "$pid" "$prefix" || return 0
	kill "$pid" 2>/dev/null || return 0
	wait_until 10 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	wait_until 5 gone "$pid"
}

# ns_kill PREFIX COMM...: end what a killed run left in its namespaces, if it has one of these names.
ns_kill() {
	local prefix=$1 ns pid comm want
	shift
	for ns in /run/netns/"$prefix"*; do
		[ -e "$ns" ] || continue
		for pid in $(ip netns pids "${ns##*/}" 2>/dev/null); do
			comm=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
			for want; do
				[ "$comm" = "${want:0:15}" ] || continue
				kill -KILL "$pid" 2>/dev/null || true
				wait_until 5 gone "$pid" || true
			done
		done
	done
}

# ns_delete PREFIX: delete all namespaces of that prefix, with the devices in them.
ns_delete() {
	local ns
	for ns in /run/netns/"$1"*; do
		[ -e "$ns" ] || continue
		ip netns delete "${ns##*/}" 2>/dev/null || true
	done
}

# ns_add NAME V6: with loopback; V6 on or off. Off for a namespace whose end of the link a user-space stack holds: the
# kernel would take the same link-local address, the hardware address being the same.
ns_add() {
	ip netns add "$1"
	ip netns exec "$1" sysctl -qw "net.ipv6.conf.all.disable_ipv6=$([ "$2" = on ] && echo 0 || echo 1)" \
	    "net.ipv6.conf.default.disable_ipv6=$([ "$2" = on ] && echo 0 || echo 1)"
	ip -n "$1" link set lo up
}

# veth_add NS1 DEV1 NS2 DEV2: a pair, up, that computes checksums and segments before a packet leaves: the end of a
# user-space stack gets packets as a wire would carry them.
veth_add() {
	local ns dev
	ip -n "$1" link add "$2" type veth peer name "$4" netns "$3"
	for ns in "$1 $2" "$3 $4"; do
		dev=${ns#* }
		ns=${ns% *}
		ip netns exec "$ns" ethtool -K "$dev" tx off tso off gso off gro off >/dev/null
		ip -n "$ns" link set "$dev" up
	done
}

# allowed_cpus: the CPUs that this process may use, one a line.
allowed_cpus() {
	sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status | tr ',' '\n' | while IFS=- read -r a b; do
		seq "$a" "${b:-$a}"
	done
}
