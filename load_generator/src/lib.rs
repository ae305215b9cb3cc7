//! Load for any EVM JSON-RPC endpoint, with honest figures.
//!
//! What is sent is decided by a seed, so a run can be repeated. In an open loop every transaction has an
//! *intended* send time that does not depend on the node's answers, and every latency is counted from it, so a
//! node that stalls cannot hide its stall (no coordinated omission). Every transaction that was handed to the
//! node ends as included, failed (with a reason) or lost.
//!
//! The crate speaks JSON-RPC only and knows nothing of the node behind it. From Lockweave's other crates it takes the
//! form of transactions that sign their access sets, and nothing else.
//!
//! A [run](run::run) goes through [`scenario`] (what is sent), [`chain`] (deployment and questions), [`signing`],
//! [`pacer`] (when it is sent), [`sender`], [`tracker`] and [`repeats`] (what becomes of it); all of them enter what
//! happens in the [`ledger`], from which the [`report`] is read.

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
    Comparison, Invariant, KindCounts, Report, Summary, compare, differing_settings, html_page,
    short_number,
};
pub use rpc::{Connection, Endpoint};
pub use scenario::{CATALOGUE, Description};
pub use send::{Pace, Stage, read_duration, read_stage};
pub use track::{BlockSeen, Counts, Latency, Second};
pub use transaction::{
    Access, Account, Declarations, Plan, Signed, Slots, Terms, recipients, senders, sign,
};
