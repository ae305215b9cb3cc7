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

# The stage's tests under a sanitizer: `just sanitize thread`, `just sanitize address`; the accounts
# database's: `just sanitize thread accounts_db`, which has `memory` as well.
sanitize KIND CRATE="banking_stage":
    ./{{ CRATE }}/sanitize.sh {{ KIND }}

# A node for development: `just dev --block-time 0`.
dev *ARGS:
    cargo run --release --bin lockweave-validator -- run --dev {{ ARGS }}

# cast and viem against a node, strictly.
e2e:
    ./tests/e2e.sh

# ethers, web3.py, Hardhat and forge against a node.
clients:
    ./tests/clients/run.sh

# Full load for a long time; memory, restart and state are checked.
soak SECONDS="1800":
    ./tests/soak.sh {{ SECONDS }}

# Every transaction and every wei accounted for, and kill after kill, at length.
books SENDERS="200" ROUNDS="5" KILLS="50":
    LOCKWEAVE_SENDERS={{ SENDERS }} LOCKWEAVE_ROUNDS={{ ROUNDS }} LOCKWEAVE_KILLS={{ KILLS }} \
        cargo test --release -p lockweave-validator --test validator -- --nocapture accounted killed

# Every scenario of the load generator against our node and anvil: `just scenarios 30 300`.
scenarios *ARGS:
    ./load_generator/tests/scenarios.sh {{ ARGS }}

# Ethereum's suites; rewrites their table in docs/CONFORMANCE.md.
conformance:
    LOCKWEAVE_CONFORMANCE_TABLE=docs/CONFORMANCE.md cargo test --release --test ethereum_state_tests \
        --test ethereum_blockchain_tests --test block_access_lists --test rpc_compat

# Load on a node: `just load --rpc http://127.0.0.1:8545 --scenario transfers --rate 2000 --duration 10s`.
load *ARGS:
    cargo run --release --bin lockweave-loadgen -- run {{ ARGS }}

# The node over JSON-RPC, beside anvil.
bench-rpc *ARGS:
    ./benches/rpc.sh {{ ARGS }}

# The engine beside the best sequential revm: `just bench-engine --workload raw-self --json`.
bench-engine *ARGS:
    cargo run --release -p lockweave-peers --bin engine -- {{ ARGS }}

# Where a workload's instructions go, ours and the yardstick's: `just profile erc20-random`. Needs valgrind.
profile *ARGS:
    ./benches/profile.sh {{ ARGS }}

# The scheduler with more workers than this machine has cores, by simulation.
scaling *ARGS:
    cargo run --release -p lockweave-peers --bin scaling -- {{ ARGS }}

# Makes the conformance suites' own chains again, with plain revm.
own-fixtures:
    LOCKWEAVE_WRITE_FIXTURES=1 cargo test --release --test engine own_fixtures

# Every conformance case on the accounts database as well.
conformance-disk:
    LOCKWEAVE_ON_DISK=1 cargo test --release --test ethereum_state_tests \
        --test ethereum_blockchain_tests --test block_access_lists

# The accounts database beside other stores.
peers *ARGS:
    cargo run --release -p lockweave-peers --bin accounts_db -- {{ ARGS }}

# Simulated crashes of the accounts database.
crash RUNS="100000":
    LOCKWEAVE_CRASH_RUNS={{ RUNS }} cargo test --release -p lockweave-accounts-db --test crash

# Every byte of every file of a small database, flipped.
damage:
    LOCKWEAVE_DAMAGE_STRIDE=1 cargo test --release -p lockweave-accounts-db --test damage

# A writing process, killed again and again.
kills KILLS="200":
    cargo run --release -p lockweave-peers --bin crash -- --seconds 1500 --kills {{ KILLS }}

# Every fuzz target that needs no node, this many seconds each.
fuzz SECONDS="60":
    ./fuzz/run {{ SECONDS }}

# Everything CI does.
ci:
    bash .ci/run
