//! Recorded blocks: a block as JSON-RPC returns it, and the part of the state before it that it needs.
//!
//! A recording is a folder or a `.tar.zst` archive of folders, each with a `block.json` and a
//! `pre_state.json`; `codes.json` and `block_hashes.json` stand beside them or in a folder above. Everything
//! that has a hash is checked: a [`RecordedBlock`] holds what the network agreed on, except for the state
//! before it, which a recording holds only in part.
//!
//! * `blocks`: the blocks of a recording
//! * `block`: one block, checked against itself
//! * `codes`: contract code, shared between blocks
//! * `files`: a folder or an archive
//! * `error`: what can be wrong

mod block;
mod blocks;
mod codes;
mod error;
mod files;

pub use block::RecordedBlock;
pub use blocks::RecordedBlocks;
pub use error::{Contradiction, RecordedError};
pub use files::RECORDING_BYTES_MAX;
