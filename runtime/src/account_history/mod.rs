//! Payments replayed account by account, without locks.

mod changes;
mod events;
mod memory;
mod shard_accounts;

pub(crate) use changes::FollowedChanges;
pub(crate) use events::{Part, Tips};
pub(crate) use memory::PaymentsMemory;
pub(crate) use shard_accounts::{FollowedAccounts, ShardAccounts};
