//! Ethereum's state trie, updated block by block.
pub mod keccak;
mod codec;
mod memory;
mod node;
mod path;
mod proof;
#[cfg(test)]
mod tests;
mod trie;
mod update;
mod write;

pub use codec::{UNIT_BYTES, location, units_of};
pub use memory::{MemoryTrie, PreparedDelta};
pub use node::{EMPTY_ROOT, LeafValue};
pub use proof::{AccountProof, SlotProof};
pub use trie::{AccountChange, Changes, Prepared, SlotChange, Source, StateTrie, TrieError};
pub use write::{NodeWriter, Writing, Written, walk};
