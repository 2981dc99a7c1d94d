# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Programs under sluice-run, in $srv. Needs $run.

vdev() {
	# Without busy polling: see eal in lib.sh.
	echo "net_${link}0,iface=sl0$([ "$link" != af_xdp ] || echo ,busy_budget=0)"
}

run_command() {
	# shellcheck disable=SC2154
	echo "$run" --vdev "$(vdev)" --addr "$ours4/24" --addr "$ours6/64" --
}

# on_sluice COMMAND...: in the foreground.
on_sluice() {
	# shellcheck disable=SC2046
	ip netns exec "$srv" $(run_command) "$@"
}

# begin_on_sluice NAME COMMAND...: in the background; $started is its pid.
begin_on_sluice() {
	local name=$1
	shift
	# shellcheck disable=SC2046
	start_in "$srv" "$tmp" "$name" $(run_command) "$@"
}
