# The daily commands. `just` alone lists them.

fixtures := env("LOCKWEAVE_FIXTURES", "../shared/fixtures")

# List the commands.
default:
    @just --list

# All tests, as the README says.
test:
    cargo test --workspace --release

# Formatting and lints, as CI has them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Replay the recorded mainnet blocks: `just replay --threads 4 --repeat 5`.
replay *ARGS:
    cargo run --release --bin lockweave-validator -- replay {{ fixtures }}/mainnet_blocks.tar.zst {{ ARGS }}

# Speed: ratios first, then criterion's figures.
bench *ARGS:
    cargo bench --bench engine -- {{ ARGS }}

# The lock table and the cells under every interleaving of a small model.
loom:
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p lockweave-banking-stage --release --test loom

# The stage's tests under a sanitizer: `just sanitize thread`, `just sanitize address`.
sanitize KIND:
    ./banking_stage/sanitize.sh {{ KIND }}

# Everything CI does.
ci:
    bash .ci/run
