//! Payments replayed account by account, without locks.

mod shard_accounts;

pub(crate) use shard_accounts::{FollowedAccounts, FollowedChanges, Place, ShardAccounts};
