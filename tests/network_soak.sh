#!/usr/bin/env bash
# A network of four validators and a follower under load for a long time: at random, nodes are killed, stopped for
# ten seconds, restarted one after another, or lose their data folder. Not part of CI.
#
# usage: tests/network_soak.sh [MINUTES] [WORK_FOLDER]     (default 10 minutes, target/network-soak)
#
# LOCKWEAVE_SEED chooses what happens; LOCKWEAVE_VALIDATOR and LOCKWEAVE_LOADGEN name binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/node.sh
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)
exec python3 tests/lib/network.py soak --minutes "${1:-10}" --seed "${LOCKWEAVE_SEED:-$RANDOM}" \
    --validator "$validator" --loadgen "$loadgen" --work "${2:-target/network-soak}"
