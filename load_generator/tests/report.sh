#!/usr/bin/env bash
# Opens a report's page in headless Chromium: plots are drawn, nothing exceeds the screen, no errors, nothing fetched.
#
# usage: load_generator/tests/report.sh [REPORT.json]
# Without a report, one is made with the Lockweave validator. Needs node and Chromium; a missing Chromium is installed
# with apt-get if the user is root. LOCKWEAVE_LOADGEN and LOCKWEAVE_VALIDATOR are paths of binaries; by default they are
# built.
set -euo pipefail
cd "$(dirname "$0")/../.."
. load_generator/tests/common.sh

find_chromium() {
    command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome || true
}
if ! command -v node >/dev/null 2>&1; then
    echo "node is not installed: skipped"
    exit 0
fi
chromium=$(find_chromium)
if [ -z "$chromium" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get install -y -qq --no-install-recommends chromium >/dev/null ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
    chromium=$(find_chromium)
fi
if [ -z "$chromium" ]; then
    echo "Chromium is not installed: skipped"
    exit 0
fi

loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)

report=${1:-}
if [ -z "$report" ]; then
    validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
    start '^Listening on http:\/\/\([^ ]*\).*' "$validator" run --dev --http.port 0 --block-time 400
    report=$work/report.json
    "$loadgen" run --rpc "ws://$url" --scenario mixed --senders 32 --rate 100 --duration 5s --json "$report" \
        >/dev/null 2>"$work/loadgen.log" || { cat "$work/loadgen.log" >&2; exit 1; }
fi
"$loadgen" page "$report" "$work/page.html"
node load_generator/tests/report.mjs "$chromium" "$work/page.html"
