#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# run.sh BUILD_DIR: install the library from a build directory to a temporary prefix, compile embed.c outside the tree
# with nothing but pkg-config, once against the shared and once against the static library, and run both.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/sluice-embed.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

DESTDIR="$tmp/root" meson install -C "$1" --no-rebuild --quiet
pc=$(find "$tmp/root" -name sluice.pc)
[ -n "$pc" ] || { echo "no sluice.pc was installed"; exit 1; }
# The prefix was chosen when the build was configured; this installation stands elsewhere.
sed -i "s|^prefix=|prefix=$tmp/root|" "$pc"
export PKG_CONFIG_PATH="${pc%/*}"
libdir=$(pkg-config --variable=libdir sluice)

cp "$here/embed.c" "$tmp"
cd "$tmp"
read -ra cflags <<<"$(pkg-config --cflags sluice)"
read -ra shared <<<"$(pkg-config --libs sluice)"
read -ra dpdk <<<"$(pkg-config --libs libdpdk)"
warn=(-std=gnu11 -O2 -Wall -Wextra -Werror)

# The ring driver's own call, rte_eth_from_rings, is in a library that libdpdk.pc does not name.
gcc "${warn[@]}" "${cflags[@]}" -o embed-shared embed.c "${shared[@]}" -lrte_net_ring -pthread
gcc "${warn[@]}" "${cflags[@]}" -o embed-static embed.c "$libdir/libsluice.a" "${dpdk[@]}" -lrte_net_ring -lnuma -pthread

# The public headers stand alone, each, also in C++.
for h in "$(pkg-config --variable=includedir sluice)"/sluice/*.h; do
	echo "#include <sluice/${h##*/}>" >one.c
	gcc "${warn[@]}" "${cflags[@]}" -fsyntax-only one.c
	if command -v g++ >/dev/null; then
		g++ -x c++ -std=c++17 -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only one.c
	fi
done
# Nothing but our prefix is exported.
if nm -D --defined-only "$libdir/libsluice.so" | awk '{ print $3 }' | grep -vE '^(sluice_|SLUICE_0)'; then
	echo "the shared library exports names that are not its own"
	exit 1
fi

eal=(--no-huge --no-pci --no-telemetry --no-shconf -m 128 --file-prefix "sluice-embed-$$" --lcores "0@$(sed -n 's,^Cpus_allowed_list:[^0-9]*\([0-9]*\).*,\1,p' /proc/self/status)")
[[ $(ldd embed-static) != *libsluice* ]] || { echo "embed-static is linked to the shared library"; exit 1; }
[[ $(LD_LIBRARY_PATH=$libdir ldd embed-shared) == *"$libdir/libsluice"* ]] ||
    { echo "embed-shared is not linked to the library installed"; exit 1; }
LD_LIBRARY_PATH=$libdir ./embed-shared "${eal[@]}"
./embed-static "${eal[@]}"
