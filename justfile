# The daily commands. `just` alone lists them.

fixtures := env("LOCKWEAVE_FIXTURES", "../shared/fixtures")

# List the commands.
default:
    @just --list

# Runs all tests, as in the README.
test:
    cargo test --workspace --release

# Checks formatting, lints and layout, as CI does.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    .ci/check_layout

# Replays the recorded mainnet blocks: `just replay --threads 4 --repeat 5`.
replay *ARGS:
    cargo run --release --bin lockweave-validator -- replay {{ fixtures }}/mainnet_blocks.tar.zst {{ ARGS }}

# Measures the engine beside its serial executor: ratios first, then criterion's figures.
bench *ARGS:
    cargo bench --bench engine -- {{ ARGS }}

# Tests lock table and cells under every interleaving of a small model.
loom:
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p lockweave-banking-stage --release --test loom

# Runs tests under a sanitizer: `just sanitize thread`, `just sanitize address`. Of the accounts database: `just sanitize memory accounts_db`.
sanitize KIND CRATE="banking_stage":
    ./{{ CRATE }}/sanitize.sh {{ KIND }}

# Runs a node for development: `just dev --block-time 0`.
dev *ARGS:
    cargo run --release --bin lockweave-validator -- run --dev {{ ARGS }}

# Runs four validators on this machine: `just network`.
network DIR="target/net":
    cargo build --release --bin lockweave-validator
    [ -d {{ DIR }} ] || target/release/lockweave-validator network init --validators 4 --dir {{ DIR }}
    target/release/lockweave-validator network up --dir {{ DIR }}

# Runs networks in the simulator: `just simulate 100000`.
simulate SEEDS="1000":
    LOCKWEAVE_SEEDS={{ SEEDS }} cargo test --release -p lockweave-validator --test network -- --nocapture

# Kills, stops and restarts the nodes of a network under load: `just network-soak 60`.
network-soak MINUTES="10":
    ./tests/network_soak.sh {{ MINUTES }}

# Runs cast and viem against a node.
e2e:
    ./tests/e2e.sh

# Runs ethers, web3.py, Hardhat and forge against a node.
clients:
    ./tests/clients/run.sh

# Runs a node under full load for a long time and checks memory, restart and state.
soak SECONDS="1800":
    ./tests/soak.sh {{ SECONDS }}

# Accounts for every transaction and every wei, also over many kills.
accounting SENDERS="200" ROUNDS="5" KILLS="50":
    LOCKWEAVE_SENDERS={{ SENDERS }} LOCKWEAVE_ROUNDS={{ ROUNDS }} LOCKWEAVE_KILLS={{ KILLS }} \
        cargo test --release -p lockweave-validator --test validator -- --nocapture accounted killed

# Runs every load scenario against our node and anvil: `just scenarios 30 300`.
scenarios *ARGS:
    ./load_generator/tests/scenarios.sh {{ ARGS }}

# Runs Ethereum's suites and writes their results to docs/CONFORMANCE.md.
conformance:
    LOCKWEAVE_CONFORMANCE_TABLE=docs/CONFORMANCE.md cargo test --release --test ethereum_state_tests \
        --test ethereum_blockchain_tests --test block_access_lists --test rpc_compat

# Puts load on a node: `just load --rpc http://127.0.0.1:8545 --scenario transfers --rate 2000 --duration 10s`.
load *ARGS:
    cargo run --release --bin lockweave-loadgen -- run {{ ARGS }}

# Measures the node over JSON-RPC beside anvil.
bench-rpc *ARGS:
    ./benches/rpc.sh {{ ARGS }}

# Measures the engine beside the best sequential revm: `just bench-engine --workload raw-self --json`.
bench-engine *ARGS:
    cargo run --release -p lockweave-peers --bin engine -- {{ ARGS }}

# Counts a workload's instructions by phase: `just profile erc20-random`. Needs valgrind.
profile *ARGS:
    ./benches/profile.sh {{ ARGS }}

# Simulates the scheduler with more workers than this machine has cores.
scaling *ARGS:
    cargo run --release -p lockweave-peers --bin scaling -- {{ ARGS }}

# Generates the conformance suites' own chains with plain revm.
own-fixtures:
    LOCKWEAVE_WRITE_FIXTURES=1 cargo test --release --test engine own_fixtures

# Runs every conformance case on the accounts database as well.
conformance-disk:
    LOCKWEAVE_ON_DISK=1 cargo test --release --test ethereum_state_tests \
        --test ethereum_blockchain_tests --test block_access_lists

# Measures the accounts database beside other stores.
peers *ARGS:
    cargo run --release -p lockweave-peers --bin accounts_db -- {{ ARGS }}

# Simulates crashes of the accounts database.
crash RUNS="100000":
    LOCKWEAVE_CRASH_RUNS={{ RUNS }} cargo test --release -p lockweave-accounts-db --test crash

# Flips every byte of every file of a small database, one at a time.
damage:
    LOCKWEAVE_DAMAGE_STRIDE=1 cargo test --release -p lockweave-accounts-db --test damage

# Kills a writing process again and again.
kills KILLS="200":
    cargo run --release -p lockweave-peers --bin crash -- --seconds 1500 --kills {{ KILLS }}

# Runs every fuzz target that needs no node, this many seconds each.
fuzz SECONDS="60":
    ./fuzz/run {{ SECONDS }}

# Runs everything that CI runs.
ci:
    bash .ci/run

# Runs the exhaustive tests, for hours: soak, accounting, crashes, damage, kills, fuzzing, conformance on disk.
nightly:
    just conformance-disk
    just crash 100000
    just damage
    just kills
    just accounting
    just fuzz 600
    just sanitize thread accounts_db
    just sanitize address accounts_db
    just soak

# Compares the public interface with the latest release.
semver:
    @cargo semver-checks --version >/dev/null 2>&1 || { echo "cargo-semver-checks is not installed: cargo install --locked cargo-semver-checks" >&2; exit 2; }
    cargo semver-checks --workspace --exclude lockweave-peers

# Checks that the oldest supported Rust compiles everything.
msrv:
    #!/usr/bin/env bash
    set -euo pipefail
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    rustup toolchain list | grep -q "^$version" || { echo "Rust $version is not installed: rustup toolchain install $version" >&2; exit 2; }
    CARGO_TARGET_DIR=target/msrv cargo "+$version" check --workspace --all-targets

# Builds all packages and rehearses their publication.
package *ARGS:
    cargo package --workspace --exclude lockweave-peers {{ ARGS }}
    cargo publish --workspace --exclude lockweave-peers --dry-run --no-verify {{ ARGS }}
