#!/usr/bin/env bash
# Real clients against the node, strictly, on a free loopback port: once with a block for every
# transaction and once with blocks every 400 ms.
#
# usage: tests/e2e.sh [ACCEPTANCE_FOLDER] [WORK_FOLDER]
# The acceptance folder (default ../shared/accept) has `run`; the work folder keeps what npm installs.
# LOCKWEAVE_VALIDATOR names a binary; without it one is built.
set -euo pipefail
cd "$(dirname "$0")/.."

accept=${1:-../shared/accept}
work=${2:-target/accept}
if [ ! -x "$accept/run" ]; then
    echo "no $accept/run: left out"
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not installed: left out"
    exit 0
fi
mkdir -p "$work"
work=$(cd "$work" && pwd)
binary=${LOCKWEAVE_VALIDATOR:-}
if [ -z "$binary" ]; then
    cargo build --quiet --release --bin lockweave-validator
    binary=target/release/lockweave-validator
fi

node=
trap '[ -z "$node" ] || kill -TERM "$node" 2>/dev/null || true' EXIT

run_suites() {
    local block_time=$1 log="$work/node-$1.log" url=
    "$binary" run --dev --http.port 0 --block-time "$block_time" >"$log" 2>&1 &
    node=$!
    # The node must answer within two seconds of its start.
    for _ in $(seq 20); do
        url=$(sed -n 's/^Listening on \(http:[^ ]*\).*/\1/p' "$log")
        [ -z "$url" ] || break
        sleep 0.1
    done
    if [ -z "$url" ]; then
        echo "the node did not answer within 2 s; its output:" >&2
        cat "$log" >&2
        return 1
    fi
    echo "--- block time $block_time ms, $url"
    local result=0
    STRICT=1 RPC_URL=$url "$accept/run" "$work" || result=$?
    kill -TERM "$node"
    wait "$node"
    node=
    return "$result"
}

# A client that ends while one of its own polls is under way logs an error into its output, which then
# is no JSON. That happens on machines with more to do than cores, so a failed run is made once more.
for block_time in 0 400; do
    if ! run_suites "$block_time"; then
        echo "--- once more"
        run_suites "$block_time"
    fi
done
echo "all suites passed"
