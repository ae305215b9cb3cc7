//! A load generator for any EVM JSON-RPC endpoint.
//!
//! A seed decides every choice, so a run can be repeated. In an open loop, every transaction has an *intended* send
//! time that does not depend on the node's answers. Latencies count from it, so a stall of the node is fully visible
//! (no coordinated omission). Every submitted transaction ends as included, failed (with a reason) or lost.
//!
//! The crate speaks JSON-RPC and knows nothing about the node. Of Lockweave's other crates it uses only the encoding
//! of transactions with signed access sets.
//!
//! # A run
//!
//! [`run`] takes [`Options`] and returns a [`Report`]; [`find_max`] searches for the highest sustained rate by several
//! runs; [`compare()`] compares two reports. The folders of the crate, from the top:
//!
//! * `cli`: the `lockweave-loadgen` command
//! * `measure`: a whole run, and the search
//! * `report`: reports, pages, comparison
//! * `send`: pacing, sending, resending
//! * `track`: the ledger of all transactions, new blocks, counts of each second
//! * `chain`: deployment, funding and queries before and after the load
//! * `scenario`: what is sent and how the state is checked
//! * `transaction`: accounts, declared accesses, signing
//! * `rpc`: JSON-RPC with the node
//!
//! # Adding a scenario
//!
//! 1. Add a file to `scenario/workloads`, with its `mod` line in `mod.rs` there. It implements the `Scenario` trait
//!    and has a constant `SCENARIO` with its name and description. `transfers.rs` is the smallest example and
//!    `voting.rs` one with a contract.
//! 2. Add one line, `name::SCENARIO`, to the list in `scenario/catalogue.rs`.
//!
//! The command line, the listing and the tests in `scenario/tests.rs` take it from there. Sources of new contracts go
//! into `contracts/`; `node build.mjs` compiles them, and `scenario/workloads/contracts.rs` binds them. Add the name
//! to `tests/scenarios.sh` too, which runs every scenario against nodes.

mod chain;
mod error;
mod measure;
mod random;
mod report;
mod rpc;
mod scenario;
mod send;
mod track;
mod transaction;

pub use error::LoadError;
pub use measure::{NoObserver, Observer, Options, Search, Trial, best_trial, find_max, run};
pub use random::Hotness;
pub use report::{
    Comparison, Invariant, KindCounts, Report, RunInfo, Summary, compare, differing_settings,
    html_page, short_number,
};
pub use rpc::{Connection, Endpoint};
pub use scenario::{CATALOGUE, Description};
pub use send::{Pace, Stage, read_duration, read_stage};
pub use track::{BlockSeen, Counts, Latency, Second};
pub use transaction::{
    Access, Account, Declarations, Plan, Signed, Slots, Terms, recipients, senders, sign,
};
