//! The parts of revm that run on guarded state.

mod code_cache;
mod hashes;
mod journal;
mod precompiles;

pub(crate) use code_cache::CodeCache;
pub(crate) use hashes::{Hashes, Place, SlotHashes, instructions};
pub(crate) use journal::{GuardedJournal, JournalDb, Limits, Touched};
pub(crate) use precompiles::fast_precompiles;
