#!/usr/bin/env bash
# Transfers and token transfers over JSON-RPC, in batches: this node beside anvil, in one run.
#
# usage: benches/rpc.sh [TRANSACTIONS] [WORK_FOLDER]
# anvil comes from npm (@foundry-rs/anvil); without npm only this node is measured.
# LOCKWEAVE_VALIDATOR and LOCKWEAVE_RPC_LOAD name binaries; without them they are built.
# LOCKWEAVE_TOKEN names a JSON file with a token's bytecode (default ../shared/accept/accept/build/Token.json).
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/node.sh

transactions=${1:-20000}
work=${2:-target/rpc-bench}
token=${LOCKWEAVE_TOKEN:-../shared/accept/accept/build/Token.json}
mkdir -p "$work"
work=$(cd "$work" && pwd)
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
load=${LOCKWEAVE_RPC_LOAD:-}
if [ -z "$load" ]; then
    cargo build --quiet --release --package lockweave-validator --example rpc_load
    load=target/release/examples/rpc_load
fi

anvil=
if command -v npm >/dev/null 2>&1; then
    [ -d "$work/node_modules/@foundry-rs" ] ||
        (cd "$work" && npm install --no-audit --no-fund --silent @foundry-rs/anvil) || true
    anvil=$(find "$work/node_modules/@foundry-rs" -path '*bin/anvil' -type f 2>/dev/null | head -n 1) || true
fi

measure() {
    local name=$1 url=$2
    for kind in transfer erc20; do
        [ "$kind" = transfer ] || [ -e "$token" ] || continue
        printf '%s ' "$name"
        "$load" --url "$url" --pid "$node" --kind "$kind" --transactions "$transactions" --token "$token"
    done
    stop_node 2>/dev/null || true
}

wait_for() {
    for _ in $(seq 100); do
        if curl -s -o /dev/null -m 1 -H 'content-type: application/json' \
            -d '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}' "$1"; then
            return
        fi
        sleep 0.1
    done
    echo "no node answers at $1" >&2
    exit 1
}

for storage in memory disk; do
    options=()
    if [ "$storage" = disk ]; then
        rm -rf "$work/data"
        options=(--datadir "$work/data")
    fi
    start_node "$work/lockweave-$storage.log" 5 \
        "$validator" run --dev --http.port 0 --log.filter warn "${options[@]}"
    wait_for "$url"
    measure "lockweave-$storage" "$url"
done

if [ -n "$anvil" ]; then
    port=$((20000 + RANDOM % 20000))
    "$anvil" --silent --port "$port" --block-time 1 --gas-limit 1000000000 >"$work/anvil.log" 2>&1 &
    node=$!
    wait_for "http://127.0.0.1:$port"
    measure anvil "http://127.0.0.1:$port"
else
    echo "anvil is not there: left out"
fi
