//! What the database keeps in memory, and its copy on disk.
//!
//! Top-down; a file uses only files below it:
//!
//! * `checkpoint`: the file with a copy of all of it
//! * `chain`: the blocks, their hashes and where their payloads are
//! * `table`: the hash index, from key hash to location
//! * `memory`: memory for the index in huge pages; all `unsafe` code of the index

mod chain;
mod checkpoint;
mod memory;
mod table;

pub use chain::BlockSummary;
pub(crate) use chain::{Chain, HASHES_REACHED, PayloadLocation};
pub(crate) use checkpoint::{
    CHECKPOINT, CHECKPOINT_NEW, ChainAndCounts, CheckpointHeader, CheckpointWriter,
    LoadedCheckpoint, check_checkpoint, load_checkpoint, read_checkpoint_ahead,
};
pub(crate) use table::Index;
