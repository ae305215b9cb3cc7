//! Dense ids for keys: interned one by one, or numbered for a whole block.

mod interner;
mod key_table;
mod numbering;

pub use interner::{Interner, RecentKeys};
pub(crate) use interner::{LockedShard, Room, SHARDS};
pub use key_table::{KeyTable, KeyUse};
pub use numbering::{Numbering, Round, SameHash};
