#!/usr/bin/env bash
# Real clients against the node, strictly, on a free loopback port: once with a block for every
# transaction and once with blocks every 400 ms.
#
# usage: tests/e2e.sh [ACCEPTANCE_FOLDER] [WORK_FOLDER]
# The acceptance folder (default ../shared/accept) has `run`; the work folder keeps what npm installs.
# LOCKWEAVE_VALIDATOR names a binary; without it one is built.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/node.sh

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
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)

run_suites() {
    local block_time=$1
    # The node must answer within two seconds of its start.
    start_node "$work/node-$block_time.log" 2 \
        "$validator" run --dev --http.port 0 --block-time "$block_time" || return 1
    echo "--- block time $block_time ms, $url"
    local result=0
    STRICT=1 RPC_URL=$url "$accept/run" "$work" || result=$?
    stop_node
    return "$result"
}

# A client that ends during one of its own polls writes an error into its output, which is then not JSON. This
# happens on busy machines, so a failed run is repeated once.
for block_time in 0 400; do
    if ! run_suites "$block_time"; then
        echo "--- once more"
        run_suites "$block_time"
    fi
done
echo "all suites passed"
