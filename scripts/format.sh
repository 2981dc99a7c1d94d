#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Check the C files of the tree against .clang-format, or rewrite them with --fix. Version 14 decides: others differ.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(--dry-run -Werror)
case "${1:-}" in
'') ;;
--fix) mode=(-i) ;;
*) echo "Usage: format.sh [--fix]"; [ "$1" = --help ] && exit 0; exit 2 ;;
esac

find app drivers lib test -name '*.[ch]' -print0 | sort -z | xargs -0 -r -n 20 clang-format-14 --style=file "${mode[@]}"
