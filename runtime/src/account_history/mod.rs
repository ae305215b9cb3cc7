//! Payments replayed account by account.
//!
//! * `memory`: memory that payments leave to the next block;
//! * `shard_accounts`: the accounts of one shard while their histories are replayed;
//! * `changes`: what became of accounts that have no cells;
//! * `events`: what payments do to accounts.

mod changes;
mod events;
mod memory;
mod shard_accounts;

pub(crate) use changes::ReplayedChanges;
pub(crate) use events::{Part, Tips};
pub(crate) use memory::PaymentsMemory;
pub(crate) use shard_accounts::{ReplayedAccounts, ShardAccounts};
