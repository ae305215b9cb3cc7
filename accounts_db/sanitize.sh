#!/usr/bin/env bash
# Runs the accounts database's tests under a sanitizer: `sanitize.sh thread`, `sanitize.sh address`, or
# `sanitize.sh memory`. Further arguments go to the tests.
#
# `thread` and `address` need a nightly toolchain and are skipped without one. With its component rust-src
# the standard library is instrumented as well. Without it, a flag allows instrumented and plain code in one
# program, and `tsan.supp` suppresses the reports that follow from that. Neither sanitizer sees the memory
# accesses of assembly (commitment/xof/avx2.rs), nor that a map of a file and a write to the file are the
# same memory. `memory` is valgrind's memcheck, which sees every instruction of the assembly.
set -euo pipefail
main() {
    cd "$(dirname "$0")/.."
    local kind=${1:?give thread, address or memory}
    shift
    # Printing a backtrace is library code that shares a cache between threads.
    export RUST_BACKTRACE=0
    case $kind in
    thread | address) ;;
    memory)
        if ! command -v valgrind >/dev/null; then
            echo "no valgrind: the $kind sanitizer is left out"
            exit 0
        fi
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind -q --error-exitcode=9"
        cargo test --release -p lockweave-accounts-db --lib -- commitment "$@"
        cargo test --release -p lockweave-accounts-db --test golden -- "$@"
        exit 0
        ;;
    *)
        echo "sanitize.sh: unknown sanitizer $kind; give thread, address or memory" >&2
        exit 2
        ;;
    esac
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "no nightly toolchain: the $kind sanitizer is left out"
        exit 0
    fi
    local target std=()
    target=$(rustc +nightly -vV | sed -n 's/^host: //p')
    export RUSTFLAGS="-Zsanitizer=$kind"
    export CARGO_TARGET_DIR="target/sanitize-$kind"
    if [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
        std=(-Zbuild-std)
    else
        RUSTFLAGS+=" -Cunsafe-allow-abi-mismatch=sanitizer"
        export TSAN_OPTIONS="suppressions=$PWD/accounts_db/tsan.supp"
    fi
    # Debug assertions as in the dev profile, but optimised.
    export CARGO_PROFILE_DEV_OPT_LEVEL=1
    export LOCKWEAVE_CRASH_RUNS=${LOCKWEAVE_CRASH_RUNS:-40}
    cargo +nightly test "${std[@]}" --target "$target" -p lockweave-accounts-db --lib --tests -- "$@"
}
main "$@"
