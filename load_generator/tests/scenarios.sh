#!/usr/bin/env bash
# Runs every scenario with every kind of declaration against the Lockweave validator, and every scenario against anvil.
# Each run must lose no transaction, and its invariant must hold.
#
# usage: load_generator/tests/scenarios.sh [SECONDS [RATE]]      (default 5 seconds at 100 transactions per second)
# LOCKWEAVE_LOADGEN and LOCKWEAVE_VALIDATOR are paths of binaries; by default they are built. ANVIL is the path of anvil;
# by default the npm package is installed into target/anvil. If that fails, anvil is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
. load_generator/tests/common.sh

seconds=${1:-5}
rate=${2:-100}
scenarios=(transfers erc20 swaps lending nft-game supply-chain voting energy mixed)

loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)

stop() {
    kill -TERM "$node_pid"
    wait "$node_pid" 2>/dev/null || true
    node_pid=
}

pace=(--duration "${seconds}s" --rate "$rate")
failed=0
# load NAME ARGUMENT…: makes a run and prints a line.
load() {
    local name=$1 result=0
    shift
    "$loadgen" run --senders 32 --drain 60s "$@" \
        >"$work/short.json" 2>"$work/log" || result=$?
    local totals
    totals=$(sed -n 's/^\(sent .*\);.*/\1/p' "$work/log")
    echo "$name: ${totals:-no run}; $(grep -i '^invariant' "$work/log" || true)"
    # A run whose invariant was not checked fails too.
    if [ "$result" != 0 ] || ! grep -q '^invariant holds' "$work/log"; then
        cat "$work/log" >&2
        failed=1
    fi
}

start '^Listening on \(http:[^ ]*\).*' "$validator" run --dev --http.port 0 --block-time 200
for declare in none lists signed; do
    for scenario in "${scenarios[@]}"; do
        load "validator, $scenario, declarations $declare" \
            --rpc "$url" --scenario "$scenario" --declare "$declare" "${pace[@]}"
    done
done
load "validator, everything on one hot item" \
    --rpc "$url" --scenario mixed --hot-share 0.9 --chain-length 4 "${pace[@]}"
load "validator, over WebSocket, in a closed loop" \
    --rpc "ws${url#http}" --scenario erc20 --file load_generator/tests/closed_loop.toml --duration "${seconds}s"
fixtures=${LOCKWEAVE_FIXTURES:-../shared/fixtures}
if [ -e "$fixtures/mainnet_blocks.tar.zst" ]; then
    "$validator" declare --replay "$fixtures/mainnet_blocks.tar.zst:10760440" >"$work/trace.jsonl"
    load "validator, a recorded block" --rpc "$url" --scenario replay --trace "$work/trace.jsonl" "${pace[@]}"
else
    echo "no $fixtures/mainnet_blocks.tar.zst: the replay is skipped"
fi
stop

anvil=${ANVIL:-}
if [ -z "$anvil" ] && command -v npm >/dev/null 2>&1; then
    mkdir -p target/anvil
    if npm install --silent --no-audit --no-fund --prefix target/anvil @foundry-rs/anvil@1.7.1 >/dev/null 2>&1; then
        anvil=target/anvil/node_modules/.bin/anvil
    fi
fi
if [ -n "$anvil" ] && "$anvil" --version >/dev/null 2>&1; then
    # A block per second: a block per transaction is slow and hides conflicts.
    start '^Listening on \(127.*\)' "$anvil" --port 0 --block-time 1
    for scenario in "${scenarios[@]}"; do
        load "anvil, $scenario" --rpc "http://$url" --scenario "$scenario" "${pace[@]}"
    done
    stop
else
    echo "anvil is missing: skipped"
fi
exit "$failed"
