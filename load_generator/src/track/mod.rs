//! What became of the transactions.
//!
//! * `tracker`: reads new blocks and enters their receipts
//! * `heads`: blocks that the node announces over a subscription
//! * `shared`: what the tasks of a run share
//! * `ledger`: the state of every transaction, with totals and latencies
//! * `series`: counts and latencies of each second
//! * `latency`: percentiles

mod heads;
mod latency;
mod ledger;
mod series;
mod shared;
mod tracker;

pub use latency::Latency;
pub use ledger::Counts;
pub use series::{BlockSeen, Second};

pub(crate) use heads::{Heads, subscribe_heads};
pub(crate) use latency::quantile_of;
pub(crate) use ledger::{Answer, Ledger};
pub(crate) use shared::Shared;
pub(crate) use tracker::Tracker;
