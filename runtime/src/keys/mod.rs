//! Dense ids for keys.
//!
//! * `numbering`: numbers the keys of a whole block, on all workers;
//! * `key_table`: the numbered keys, and which of them need locks;
//! * `pieces`: the parts of a numbering, which become parts of the table;
//! * `interner`: gives ids to keys one by one.

mod interner;
mod key_table;
mod numbering;
mod pieces;

pub use interner::{Interner, RecentKeys};
pub(crate) use interner::{LockedShard, Room, SHARDS};
pub use key_table::KeyTable;
pub use numbering::{Numbering, Round, SameHash};
