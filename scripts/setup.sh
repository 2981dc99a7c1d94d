#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Install the Debian packages that a group of tasks needs. Asks dpkg first: with nothing missing it neither needs root
# nor the network, and one `apt-get update` is made only when something is.
set -euo pipefail

usage() {
	cat <<-END
	Usage: setup.sh [build|quickstart|test|programs|bench|all]...

	  build       compiler, meson, DPDK: what the library and the applications need
	  quickstart  build, and the tools of scripts/quickstart.sh
	  test        build, and what scripts/test.sh and scripts/coverage.sh need
	  programs    test, and the programs that scripts/test.sh --programs runs besides
	  bench       build, and what the benchmarks and instruction counts need
	  all         everything (default)
	END
}

build="gcc libc6-dev meson ninja-build pkg-config libdpdk-dev libnuma-dev"
net="iproute2 ethtool iputils-ping curl util-linux procps"
quickstart="$net wrk nginx-light haproxy"
test="$net wrk nginx-light openssl g++ clang libclang-rt-14-dev clang-format-14 libcmocka-dev libbenchmark-dev python3 tshark gcovr redis-server redis-tools iperf3 dropbear-bin"
programs="$test haproxy memcached lighttpd socat"
bench="g++ libbenchmark-dev valgrind"

want="$build"
[ $# -gt 0 ] || set -- all
for group; do
	case "$group" in
	build) ;;
	quickstart) want="$want $quickstart" ;;
	test) want="$want $test" ;;
	programs) want="$want $programs" ;;
	bench) want="$want $bench" ;;
	all) want="$want $quickstart $programs $bench" ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done

installed() {
	# Any nginx will do: the flavours conflict with each other.
	[ "$1" = nginx-light ] && [ -x /usr/sbin/nginx ] && return 0
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

missing=()
for p in $(tr ' ' '\n' <<<"$want" | sort -u); do
	installed "$p" || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}"
sudo=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
		echo "setup: not root; run as root: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	sudo=(sudo -n)
fi

# Packages that bring a service (nginx) must not start it on this host: a policy file says so while we install.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
made_policy=
finish() {
	[ -z "$made_policy" ] || "${sudo[@]}" rm -f "$policy"
	rm -f "$log"
}
trap finish EXIT
# One that a killed run of ours has left is ours to remove.
mark="# scripts/setup.sh of sluice"
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
	made_policy=1
	printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod 755 "$policy"
fi

apt() {
	if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
	    -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
		cat "$log" >&2
		echo "setup: apt-get $1 failed" >&2
		exit 1
	fi
}

apt update
if printf '%s\n' "${missing[@]}" | grep -qx tshark && command -v debconf-set-selections >/dev/null; then
	echo 'wireshark-common wireshark-common/install-setuid boolean false' |
	    "${sudo[@]}" debconf-set-selections
fi
apt install --no-install-recommends "${missing[@]}"
for p in "${missing[@]}"; do
	installed "$p" || { echo "setup: $p is still missing" >&2; exit 1; }
done
