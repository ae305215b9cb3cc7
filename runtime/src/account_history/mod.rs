//! Payments replayed account by account.
//!
//! * `shard_accounts`: the accounts of one shard while their histories are replayed, and what became of them;
//! * `events`: what payments do to accounts.

mod events;
mod shard_accounts;

pub(crate) use events::{Part, Tips};
pub(crate) use shard_accounts::{PaymentsMemory, ReplayedAccounts, ReplayedChanges, ShardAccounts};
