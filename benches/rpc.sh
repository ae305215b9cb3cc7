#!/usr/bin/env bash
# Transfers and token transfers over JSON-RPC, in batches: this node beside anvil, in one run.
#
# usage: benches/rpc.sh [TRANSACTIONS] [WORK_FOLDER]
# anvil comes from npm (@foundry-rs/anvil) where npm is there; without it only this node is measured.
# LOCKWEAVE_VALIDATOR and LOCKWEAVE_RPC_LOAD name binaries that are built already.
# LOCKWEAVE_TOKEN names a JSON file with a token's bytecode (default ../shared/accept/accept/build/Token.json).
set -euo pipefail
cd "$(dirname "$0")/.."

transactions=${1:-20000}
work=${2:-target/rpc-bench}
token=${LOCKWEAVE_TOKEN:-../shared/accept/accept/build/Token.json}
mkdir -p "$work"
work=$(cd "$work" && pwd)
validator=${LOCKWEAVE_VALIDATOR:-} load=${LOCKWEAVE_RPC_LOAD:-}
if [ -z "$validator" ] || [ -z "$load" ]; then
    cargo build --quiet --release --package lockweave-validator --bin lockweave-validator --example rpc_load
    validator=target/release/lockweave-validator load=target/release/examples/rpc_load
fi

anvil=
if command -v npm >/dev/null 2>&1; then
    [ -d "$work/node_modules/@foundry-rs" ] ||
        (cd "$work" && npm install --no-audit --no-fund --silent @foundry-rs/anvil) || true
    anvil=$(find "$work/node_modules/@foundry-rs" -path '*bin/anvil' -type f 2>/dev/null | head -n 1)
fi

node=
trap '[ -z "$node" ] || kill "$node" 2>/dev/null || true' EXIT

measure() {
    local name=$1 url=$2
    for kind in transfer erc20; do
        [ "$kind" = transfer ] || [ -e "$token" ] || continue
        printf '%s ' "$name"
        "$load" --url "$url" --pid "$node" --kind "$kind" --transactions "$transactions" --token "$token"
    done
    kill "$node"
    wait "$node" 2>/dev/null || true
    node=
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
    log="$work/lockweave-$storage.log"
    options=()
    if [ "$storage" = disk ]; then
        rm -rf "$work/data"
        options=(--datadir "$work/data")
    fi
    "$validator" run --dev --http.port 0 --log.filter warn "${options[@]}" >"$log" 2>&1 &
    node=$!
    url=
    for _ in $(seq 50); do
        url=$(sed -n 's/^Listening on \(http:[^ ]*\).*/\1/p' "$log")
        [ -z "$url" ] || break
        sleep 0.1
    done
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
