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

pub mod access;
pub mod accounts;
pub mod chain;
pub mod client;
pub mod compare;
mod contracts;
pub mod dice;
pub mod error;
pub mod find_max;
pub mod funding;
pub mod heads;
pub mod html;
pub mod ledger;
pub mod pacer;
pub mod pacing;
pub mod plot;
pub mod repeats;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sender;
pub mod series;
pub mod signing;
pub mod summary;
pub mod tracker;

pub use error::LoadError;
pub use report::{Invariant, Report};
pub use run::{Nobody, Observer, Options, run};
pub use summary::Summary;
