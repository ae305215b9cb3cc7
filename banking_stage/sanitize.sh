#!/usr/bin/env bash
# The stage's tests under a sanitizer: `sanitize.sh thread` or `sanitize.sh address`.
#
# Needs a nightly toolchain, and says so where there is none. The standard library is not
# instrumented, so the flag that lets instrumented and plain code meet is given.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?give thread or address}
case $kind in
thread | address) ;;
*)
    echo "sanitize.sh: unknown sanitizer $kind; give thread or address" >&2
    exit 2
    ;;
esac
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "no nightly toolchain: the $kind sanitizer is left out"
    exit 0
fi
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=$kind -Cunsafe-allow-abi-mismatch=sanitizer"
export CARGO_TARGET_DIR="target/sanitize-$kind"
# Sanitizer reports that come from the library not being instrumented, each with its reason.
export TSAN_OPTIONS="suppressions=$PWD/banking_stage/tsan.supp"
# Printing a backtrace is library code that shares a cache between threads.
export RUST_BACKTRACE=0
export PROPTEST_CASES=${PROPTEST_CASES:-32}
cargo +nightly test --target "$target" -p lockweave-banking-stage -p lockweave-runtime --lib
