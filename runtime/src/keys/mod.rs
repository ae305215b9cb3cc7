//! Dense ids for keys: interned one by one, or numbered for a whole block.

mod interner;
mod key_table;
mod numbering;
mod pieces;

pub use interner::{Interner, RecentKeys};
pub(crate) use interner::{LockedShard, Room, SHARDS};
pub use key_table::KeyTable;
pub use numbering::{Numbering, Round, SameHash};
pub use pieces::KeyUse;
