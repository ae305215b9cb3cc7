# shellcheck shell=bash
# Starts a node, waits for its address, stops it. Scripts source this file from the repository root, after
# `set -euo pipefail`; at their exit the node is stopped.

# The running node's process, and its address after `Listening on`.
node='' url=''
trap 'stop_node 2>/dev/null || true' EXIT

# binary NAMED NAME: prints the path NAMED or, where it is empty, builds NAME and prints its path.
binary() {
    if [ -n "$1" ]; then
        echo "$1"
    else
        cargo build --quiet --release --bin "$2" || return 1
        echo "$PWD/target/release/$2"
    fi
}

# start_node LOG SECONDS COMMAND...: runs COMMAND with its output in LOG and sets `node` and `url`. Fails with the
# output if there is no address within SECONDS.
start_node() {
    local log=$1 seconds=$2
    shift 2
    "$@" >"$log" 2>&1 &
    node=$!
    url=
    for _ in $(seq $((seconds * 20))); do
        url=$(sed -n 's/^Listening on \(http:[^ ]*\).*/\1/p' "$log")
        [ -z "$url" ] || return 0
        sleep 0.05
    done
    echo "the node did not answer within $seconds s; its output:" >&2
    cat "$log" >&2
    return 1
}

# stop_node: ends the node, if one runs, and returns its exit status.
stop_node() {
    local process=$node
    node=
    [ -n "$process" ] || return 0
    kill -TERM "$process"
    wait "$process"
}
