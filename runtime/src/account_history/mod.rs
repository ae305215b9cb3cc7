//! Payments replayed account by account.
//!
//! * `shard_accounts`: the accounts of one shard while their histories are replayed;
//! * `changes`: what became of accounts that have no cells;
//! * `events`: what payments do to accounts.

mod changes;
mod events;
mod shard_accounts;

pub(crate) use changes::ReplayedChanges;
pub(crate) use events::{Part, Tips};
pub(crate) use shard_accounts::PaymentsMemory;
pub(crate) use shard_accounts::{ReplayedAccounts, ShardAccounts};
