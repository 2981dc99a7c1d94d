#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Mutation testing of lib/tcp: small faults are put into a copy of the tree, one at a time, and the fast tests must
# notice each of them. Options and the result's form: scripts/mutate.py --help and doc/testing.md.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 scripts/mutate.py "$@"
