//! Reads of the state after a block.
//!
//! Top-down; a file uses only files below it:
//!
//! * `state_root`: the Ethereum state root
//! * `iterate`: iteration over the whole state
//! * `reader`: the state after one block
//! * `blob`: code and payloads
//! * `lookup`: from a key to its version at a block

mod blob;
mod iterate;
mod lookup;
mod reader;
mod state_root;

pub use iterate::{Recomputed, StateItem};
pub(crate) use lookup::is_version_of;
pub use reader::Reader;
