#!/usr/bin/env bash
# A node under full load for a long time: checks that its memory stays flat, that it restarts in time, and
# that its state is right. Not part of CI.
#
# usage: tests/soak.sh [SECONDS] [WORK_FOLDER]     (default 1800 seconds, target/soak)
#
# The history windows are small, so that they are full early and later growth is a leak. The node's anonymous
# memory (without mapped files) is read from its metrics every few seconds. The mean of the last third of the
# run may exceed that of the middle third by at most a tenth, or 64 MiB. The slope over both, in MiB an hour,
# is printed as well.
# A round of load that fails while the machine pauses for some seconds (a stopped process, a suspended machine)
# is printed and repeated; any other failed round fails the soak.
# LOCKWEAVE_SCENARIO names the load (default transfers), LOCKWEAVE_VALIDATOR and LOCKWEAVE_LOADGEN binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/node.sh
seconds=${1:-1800}
work=${2:-target/soak}
mkdir -p "$work"
validator=$(binary "${LOCKWEAVE_VALIDATOR:-}" lockweave-validator)
loadgen=$(binary "${LOCKWEAVE_LOADGEN:-}" lockweave-loadgen)
rm -rf "$work/data"
log=$work/node.log samples=$work/memory.csv

start() {
    start_node "$log" 5 \
        "$validator" run --dev --datadir "$work/data" --http.port 0 --block-time 0 --metrics --metrics.port 0 \
        --history.transactions 100000 --history.body-blocks 5000 --log.filter warn
    metrics=$(sed -n 's/^Metrics on \(http:[^ ,]*\).*/\1/p' "$log")
}
metric() {
    curl --silent --max-time 5 "$metrics" | sed -n "s/^$1 //p" | head -n 1
}

load='' clock=''
stop_all() {
    local process
    for process in $load $clock $node; do
        kill -TERM "$process" 2>/dev/null || true
    done
}
trap stop_all EXIT
start
begin=$(date +%s)
pauses=$work/pauses.csv rounds=$work/rounds.csv
for file in "$pauses" "$rounds" "$work/load.log"; do
    : >"$file"
done
# A one-second sleep that takes five seconds or more is a pause.
watch_clock() {
    local last now
    last=$(date +%s)
    while sleep 1; do
        now=$(date +%s)
        [ $((now - last)) -lt 5 ] || echo "$((last - begin)),$((now - last))" >>"$pauses"
        last=$now
    done
}
watch_clock &
clock=$!
paused() { awk -F, '{ sum += $2 } END { print sum + 0 }' "$pauses"; }
# Seconds since the start, without pauses.
elapsed() { echo $(($(date +%s) - begin - $(paused))); }
# The generator signs its transactions beforehand, so a long run is many short ones with separate accounts.
load_rounds() {
    local round=0 failed=0 before result
    while [ "$(elapsed)" -lt "$seconds" ]; do
        before=$(wc -l <"$pauses")
        result=held
        "$loadgen" run --rpc "$url" --scenario "${LOCKWEAVE_SCENARIO:-transfers}" --seed "$round" \
            --funder-index $((round % 10)) --in-flight "${LOCKWEAVE_IN_FLIGHT:-2000}" \
            --count "${LOCKWEAVE_COUNT:-200000}" --duration 60s >"$work/round.log" 2>&1 || result=lost
        cat "$work/round.log" >>"$work/load.log"
        if [ "$result" = held ]; then
            failed=0
        else
            sleep 2
            [ "$(wc -l <"$pauses")" = "$before" ] || result=paused
            failed=$((failed + 1))
            echo "round $round failed ($result) after $(elapsed) s: $(tail -n 1 "$work/round.log" | cut -c 1-400)" >&2
        fi
        echo "$round,$result" >>"$rounds"
        # Three failed rounds in a row end the load.
        [ "$failed" -lt 3 ] || return 1
        round=$((round + 1))
    done
}
load_rounds &
load=$!
echo "seconds,anonymous_bytes,resident_bytes,head_block,transactions" >"$samples"
pause=$((seconds / 60 > 1 ? seconds / 60 : 1))
while kill -0 "$load" 2>/dev/null; do
    kill -0 "$node" 2>/dev/null || { echo "the node is gone"; cat "$log"; exit 1; }
    now=$(elapsed)
    if [ "$now" -le "$seconds" ]; then
        echo "$now,$(metric lockweave_process_anonymous_bytes),$(metric lockweave_process_resident_bytes),$(metric lockweave_head_block),$(metric lockweave_transactions_total)" >>"$samples"
    fi
    sleep "$pause"
done
wait "$load" || { cat "$work/round.log"; echo "three rounds of load in a row failed"; exit 1; }
load=
count() { grep -c ",$1\$" "$rounds" || true; }
lost=$(count lost)
echo "rounds of load: $(count held) all accounted for, $lost lost, $(count paused) broken by a pause;" \
    "$(wc -l <"$pauses") pauses, $(paused) s together"

stop_node
for _ in 1 2 3; do
    before=$(wc -l <"$pauses")
    restarted=$(date +%s%N)
    start
    restart_ms=$((($(date +%s%N) - restarted) / 1000000))
    stop_node
    # A restart during a pause of the machine is repeated.
    [ "$restart_ms" -gt 3000 ] || break
    sleep 2
    [ "$(wc -l <"$pauses")" != "$before" ] || break
done
# Old blocks are pruned, so the chain is not executed again; the state is compared with its commitment.
"$validator" db verify --datadir "$work/data/state"
awk -F, -v seconds="$seconds" -v restart="$restart_ms" -v lost="$lost" '
    NR > 1 && $2 > 0 {
        part = $1 < seconds / 3 ? 0 : ($1 < seconds * 2 / 3 ? 1 : 2)
        sum[part] += $2; count[part] += 1; transactions = $5
        if (part > 0) { n += 1; t += $1; m += $2; tt += $1 * $1; tm += $1 * $2 }
    }
    END {
        if (!count[1] || !count[2]) { print "too few samples of memory"; exit 1 }
        for (part = 0; part < 3; part++) mean[part] = sum[part] / count[part] / 1048576
        spread = n * tt - t * t
        slope = spread > 0 ? (n * tm - t * m) / spread * 3600 / 1048576 : 0
        printf "transactions %d; own MiB by thirds: %.0f, %.0f, %.0f; slope %+.1f MiB an hour; restart %d ms\n", transactions, mean[0], mean[1], mean[2], slope, restart
        if (lost > 0) { print "rounds of load were lost"; exit 1 }
        if (restart > 3000) { print "the restart took more than 3 s"; exit 1 }
        if (mean[2] > mean[1] * 1.1 && mean[2] > mean[1] + 64) { print "memory grows"; exit 1 }
    }' "$samples"
