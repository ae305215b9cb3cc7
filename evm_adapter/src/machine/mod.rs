//! The parts of revm's machine that are ours: its context, journal, hashing instruction and precompiled contracts.
//!
//! * `keccak`: a KECCAK256 instruction that caches the hashes of storage slots.
//! * `context`: revm's context over a guarded state.
//! * `journal`: revm's journal, which reads nonce and balance only when they are needed.
//! * `database`: a guarded state as revm's database.
//! * `write_set`: from revm's accounts to a transaction's write set.
//! * `limits`: checks accesses against the declaration that a transaction signed.
//! * `code_cache`: a worker's own handles on the code that it runs.
//! * `preimages`: the Keccak preimages of one call.
//! * `slot_hashes`: a small cache of the hashes that name storage slots.
//! * `precompile_set`: the precompiled contracts of an executor.
//! * `precompiles`: precompiled contracts that are faster than revm's.
//! * `error`: database errors in revm's form.

mod code_cache;
mod context;
mod database;
mod error;
mod journal;
mod keccak;
mod limits;
mod precompile_set;
mod precompiles;
mod preimages;
mod slot_hashes;
mod write_set;

pub(crate) use code_cache::CodeCache;
pub use context::EvmContext;
pub(crate) use database::JournalDb;
pub(crate) use error::DbError;
pub(crate) use journal::Touched;
pub(crate) use keccak::instructions;
pub(crate) use limits::Limits;
pub(crate) use precompile_set::PrecompileSet;
pub(crate) use preimages::Preimages;
pub(crate) use slot_hashes::{SlotHashes, SlotPreimage};
