#!/usr/bin/env bash
# Counts the instructions of a workload by phase, for a transaction: ours and the yardstick's.
#
#   benches/profile.sh WORKLOAD [ENGINE...] [-- OPTIONS]
#
# WORKLOAD is one of the bench `engine` (raw-self, erc20-random, mainnet-all, ...); an ENGINE is one of
# recorded, signed, inferred and yardstick [default: recorded yardstick], each on one thread. OPTIONS go to
# the bench `profile`: `--transactions T` for a smaller block, `--gas-max G` for small mainnet blocks, `--under-locks` for
# payments under locks.
#
# Callgrind (Debian: valgrind) counts what runs within the measured time, once in one run and once in five. The
# difference is that of four warm runs. Counts hardly depend on what else the machine does. Callgrind's files stay in
# target/profile, for `callgrind_annotate` or kcachegrind.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -ge 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
workload=$1
shift
engines=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    engines+=("$1")
    shift
done
[ $# -eq 0 ] || shift
[ ${#engines[@]} -gt 0 ] || engines=(recorded yardstick)
command -v valgrind >/dev/null || { echo "error: valgrind is not installed" >&2; exit 2; }

cargo build --release -p lockweave-peers --bin profile
target=${CARGO_TARGET_DIR:-target}
program=$target/release/profile
folder=$target/profile
mkdir -p "$folder"

count() { # ENGINE RUNS FILE
    valgrind --tool=callgrind --toggle-collect='*::timed*' --compress-strings=no \
        --compress-pos=no --callgrind-out-file="$3" \
        "$program" --workload "$workload" --engine "$1" --runs "$2" "${@:4}" \
        >"$3.log" 2>&1 || { cat "$3.log" >&2; exit 1; }
}

transactions=$("$program" --workload "$workload" --count "$@")
for engine in "${engines[@]}"; do
    few=$folder/$workload-$engine-1 many=$folder/$workload-$engine-5
    count "$engine" 1 "$few" "$@" &
    count "$engine" 5 "$many" "$@"
    wait $!
    echo "$workload, $engine: instructions a transaction, of $transactions"
    "$program" --phases "$many" --less "$few" --per $((4 * transactions))
done
