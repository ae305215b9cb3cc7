#!/usr/bin/env bash
# The report's page in headless Chromium: plots drawn, nothing wider than the screen, no errors, nothing fetched.
#
# usage: load_generator/tests/report.sh [REPORT.json]
# Without a report one is made with a node of ours under more load than it is meant to take lightly. Needs node and
# Chromium; where Chromium is missing it is installed with apt-get, if that may be done.
# LOCKWEAVE_LOADGEN and LOCKWEAVE_VALIDATOR name binaries; without them they are built.
set -euo pipefail
cd "$(dirname "$0")/../.."

find_chromium() {
    command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome || true
}
if ! command -v node >/dev/null 2>&1; then
    echo "node is not installed: left out"
    exit 0
fi
chromium=$(find_chromium)
if [ -z "$chromium" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get install -y -qq --no-install-recommends chromium >/dev/null ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
    chromium=$(find_chromium)
fi
if [ -z "$chromium" ]; then
    echo "Chromium is not installed: left out"
    exit 0
fi

binary() {
    local named=$1 name=$2
    if [ -z "$named" ]; then
        cargo build --quiet --release --bin "$name"
        named=target/release/$name
    fi
    echo "$named"
}
loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)

work=$(mktemp -d)
node_pid=
trap '[ -z "$node_pid" ] || kill -TERM "$node_pid" 2>/dev/null || true; rm -rf "$work"' EXIT

report=${1:-}
if [ -z "$report" ]; then
    validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
    "$validator" run --dev --http.port 0 --block-time 400 >"$work/node.log" 2>&1 &
    node_pid=$!
    url=
    for _ in $(seq 100); do
        url=$(sed -n 's/^Listening on http:\/\/\([^ ]*\).*/\1/p' "$work/node.log")
        [ -z "$url" ] || break
        sleep 0.1
    done
    report=$work/report.json
    "$loadgen" run --rpc "ws://$url" --scenario mixed --senders 32 --rate 100 --duration 5s --json "$report" \
        >/dev/null 2>"$work/loadgen.log" || { cat "$work/loadgen.log" >&2; exit 1; }
fi
"$loadgen" page "$report" "$work/page.html"
node load_generator/tests/report.mjs "$chromium" "$work/page.html"
