# Sourced by the scripts in this folder, in the root of the repository. Sets `work`, a temporary folder, and `node_pid`,
# the process to end on exit.

# binary PATH NAME: the path, or if it is empty a release build of the binary.
binary() {
    local named=$1 name=$2
    if [ -z "$named" ]; then
        cargo build --quiet --release --bin "$name"
        named=target/release/$name
    fi
    echo "$named"
}

work=$(mktemp -d)
node_pid=
trap '[ -z "$node_pid" ] || kill -TERM "$node_pid" 2>/dev/null || true; rm -rf "$work"' EXIT

# start PATTERN COMMAND…: starts a node and sets `url` to what the pattern captures in its output.
start() {
    local pattern=$1
    shift
    "$@" >"$work/node.log" 2>&1 &
    node_pid=$!
    url=
    for _ in $(seq 200); do
        url=$(sed -n "s/$pattern/\\1/p" "$work/node.log" | head -1)
        [ -z "$url" ] || return 0
        sleep 0.1
    done
    echo "the node did not start:" >&2
    cat "$work/node.log" >&2
    return 1
}
