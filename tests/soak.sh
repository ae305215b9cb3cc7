#!/usr/bin/env bash
# A node under full load for a long time: is its memory flat, does it start again in time, is its chain
# right? Not part of CI.
#
# usage: tests/soak.sh [SECONDS] [WORK_FOLDER]     (default 1800 seconds, target/soak)
#
# Windows of the past are made small, so that they are full early and what still grows is a leak. The
# memory that is the node's own (what is mapped from files is the system's to drop) is read from its
# metrics every few seconds; the mean of the last third of the run may be at most a tenth, or 64 MiB,
# over that of the middle third.
# LOCKWEAVE_SCENARIO names the load (default transfers), LOCKWEAVE_VALIDATOR and LOCKWEAVE_LOADGEN binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-1800}
work=${2:-target/soak}
mkdir -p "$work"
validator=${LOCKWEAVE_VALIDATOR:-} loadgen=${LOCKWEAVE_LOADGEN:-}
if [ -z "$validator" ] || [ -z "$loadgen" ]; then
    cargo build --quiet --release --bin lockweave-validator --bin lockweave-loadgen
    validator=target/release/lockweave-validator loadgen=target/release/lockweave-loadgen
fi
rm -rf "$work/data"
log=$work/node.log samples=$work/memory.csv

start() {
    "$validator" run --dev --datadir "$work/data" --http.port 0 --block-time 0 --metrics --metrics.port 0 \
        --history.transactions 100000 --history.body-blocks 5000 --log.filter warn >"$log" 2>&1 &
    node=$!
    url=
    for _ in $(seq 100); do
        url=$(sed -n 's/^Listening on \(http:[^ ]*\).*/\1/p' "$log")
        [ -z "$url" ] || break
        sleep 0.05
    done
    [ -n "$url" ] || { cat "$log"; exit 1; }
    metrics=$(sed -n 's/^Metrics on \(http:[^ ,]*\).*/\1/p' "$log")
}
metric() {
    curl --silent --max-time 5 "$metrics" | sed -n "s/^$1 //p" | head -n 1
}

node= load=
trap 'for one in $load $node; do kill -TERM "$one" 2>/dev/null || true; done' EXIT
start
begin=$(date +%s)
# The generator signs ahead what it sends, so a long run is many short ones with accounts of their own.
rounds() {
    local round=0
    while [ $(($(date +%s) - begin)) -lt "$seconds" ]; do
        "$loadgen" run --rpc "$url" --scenario "${LOCKWEAVE_SCENARIO:-transfers}" --seed "$round" \
            --funder-index $((round % 10)) --in-flight "${LOCKWEAVE_IN_FLIGHT:-2000}" \
            --count "${LOCKWEAVE_COUNT:-200000}" --duration 60s >>"$work/load.log" 2>&1 || return 1
        round=$((round + 1))
    done
}
: >"$work/load.log"
rounds &
load=$!
echo "seconds,anonymous_bytes,resident_bytes,head_block,transactions" >"$samples"
pause=$((seconds / 60 > 1 ? seconds / 60 : 1))
while kill -0 "$load" 2>/dev/null; do
    now=$(($(date +%s) - begin))
    if [ "$now" -le "$seconds" ]; then
        echo "$now,$(metric lockweave_process_anonymous_bytes),$(metric lockweave_process_resident_bytes),$(metric lockweave_head_block),$(metric lockweave_transactions_total)" >>"$samples"
    fi
    sleep "$pause"
done
wait "$load" || { cat "$work/load.log"; exit 1; }
load=
grep -c 'invariant holds' "$work/load.log" | sed 's/$/ rounds of load, all accounted for/'

kill -TERM "$node"
wait "$node"
restarted=$(date +%s%N)
start
restart_ms=$((($(date +%s%N) - restarted) / 1000000))
kill -TERM "$node"
wait "$node"
node=
# Old blocks are gone, so the chain is not executed again; the state is held against its commitment.
"$validator" db verify --datadir "$work/data/state"
awk -F, -v seconds="$seconds" -v restart="$restart_ms" '
    NR > 1 && $2 > 0 {
        part = $1 < seconds / 3 ? 0 : ($1 < seconds * 2 / 3 ? 1 : 2)
        sum[part] += $2; count[part] += 1; transactions = $5
    }
    END {
        if (!count[1] || !count[2]) { print "too few samples of memory"; exit 1 }
        for (part = 0; part < 3; part++) mean[part] = sum[part] / count[part] / 1048576
        printf "transactions %d; own MiB by thirds: %.0f, %.0f, %.0f; restart %d ms\n", transactions, mean[0], mean[1], mean[2], restart
        if (restart > 3000) { print "the restart took more than 3 s"; exit 1 }
        if (mean[2] > mean[1] * 1.1 && mean[2] > mean[1] + 64) { print "memory grows"; exit 1 }
    }' "$samples"
