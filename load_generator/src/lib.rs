//! Load for any EVM JSON-RPC endpoint, with honest figures.
//!
//! What is sent is decided by a seed, so a run can be repeated. In an open loop every transaction has an
//! *intended* send time that does not depend on the node's answers, and every latency is counted from it, so a
//! node that stalls cannot hide its stall (no coordinated omission). Every transaction that was handed to the
//! node ends as included, failed (with a reason) or lost.
//!
//! The crate speaks JSON-RPC only and knows nothing of the node behind it.

pub mod accounts;
pub mod client;
pub mod error;
pub mod funding;
pub mod invariant;
pub mod ledger;
pub mod pacing;
pub mod run;
pub mod scenario;
pub mod sender;
pub mod signing;
pub mod summary;
pub mod tracker;

pub use error::LoadError;
pub use run::{Options, Report, run};
pub use summary::Summary;
