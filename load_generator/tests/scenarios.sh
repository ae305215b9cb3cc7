#!/usr/bin/env bash
# Every scenario, with every way of declaring accesses, against a node of ours; and every scenario against anvil.
# Each run must lose nothing and leave the state its included transactions say.
#
# usage: load_generator/tests/scenarios.sh [SECONDS [RATE]]      (default 5 seconds at 100 a second)
# LOCKWEAVE_LOADGEN and LOCKWEAVE_VALIDATOR name binaries; without them they are built. ANVIL names anvil; without it
# the npm package is installed into target/anvil, and where that cannot be done anvil is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-5}
rate=${2:-100}
scenarios=(transfers erc20 swaps lending nft-game supply-chain voting energy mixed)

binary() {
    local named=$1 name=$2
    if [ -z "$named" ]; then
        cargo build --quiet --release --bin "$name"
        named=target/release/$name
    fi
    echo "$named"
}
loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)

work=$(mktemp -d)
node_pid=
trap '[ -z "$node_pid" ] || kill -TERM "$node_pid" 2>/dev/null || true; rm -rf "$work"' EXIT

# start PATTERN COMMAND…: starts a node and sets `url` to what the pattern finds in its output.
start() {
    local pattern=$1
    shift
    "$@" >"$work/node.log" 2>&1 &
    node_pid=$!
    url=
    for _ in $(seq 200); do
        url=$(sed -n "s/$pattern/\\1/p" "$work/node.log" | head -1)
        [ -z "$url" ] || return 0
        sleep 0.1
    done
    echo "the node did not start:" >&2
    cat "$work/node.log" >&2
    return 1
}

stop() {
    kill -TERM "$node_pid"
    wait "$node_pid" 2>/dev/null || true
    node_pid=
}

pace=(--duration "${seconds}s" --rate "$rate")
failed=0
# load NAME ARGUMENT…: one run, one line.
load() {
    local name=$1 result=0
    shift
    "$loadgen" run --senders 32 --drain 60s "$@" \
        >"$work/short.json" 2>"$work/log" || result=$?
    local told
    told=$(sed -n 's/^\(sent .*\);.*/\1/p' "$work/log")
    echo "$name: ${told:-no run}; $(grep -i '^invariant' "$work/log" || true)"
    # `invariant holds` is asked for: a run that could not check it has shown nothing.
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
load "validator, everything in one hot item" \
    --rpc "$url" --scenario mixed --hot-share 0.9 --chain-length 4 "${pace[@]}"
load "validator, over WebSocket, in a closed loop" \
    --rpc "ws${url#http}" --scenario erc20 --file load_generator/tests/closed_loop.toml --duration "${seconds}s"
fixtures=${LOCKWEAVE_FIXTURES:-../shared/fixtures}
if [ -e "$fixtures/mainnet_blocks.tar.zst" ]; then
    "$validator" declare --replay "$fixtures/mainnet_blocks.tar.zst:10760440" >"$work/trace.jsonl"
    load "validator, a recorded block" --rpc "$url" --scenario replay --trace "$work/trace.jsonl" "${pace[@]}"
else
    echo "no $fixtures/mainnet_blocks.tar.zst: the replay is left out"
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
    # In blocks every second: one for each transaction is slow and hides conflicts.
    start '^Listening on \(127.*\)' "$anvil" --port 0 --block-time 1
    for scenario in "${scenarios[@]}"; do
        load "anvil, $scenario" --rpc "http://$url" --scenario "$scenario" "${pace[@]}"
    done
    stop
else
    echo "anvil is not there: left out"
fi
exit "$failed"
