#!/usr/bin/env bash
# A network of four validators and a follower as real processes: load, a killed validator that comes back, one
# that hangs, a partition, a follower whose data folder is lost. Checks that nothing that was final is lost. Part of CI.
#
# usage: tests/network.sh [WORK_FOLDER] [--limits]     (default target/network)
#
# --limits also fails if something takes longer than docs/NETWORK.md promises; for a machine that does nothing else.
#
# LOCKWEAVE_VALIDATOR and LOCKWEAVE_LOADGEN name binaries; without them they are built.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/node.sh
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)
exec python3 tests/lib/network.py short --validator "$validator" --loadgen "$loadgen" --work "${1:-target/network}" "${@:2}"
