//! Reads of the state after a block.
//!
//! Top-down; a file uses only files below it:
//!
//! * `iterate`: iteration over the whole state
//! * `reader`: the state after one block
//! * `blob`: code and payloads
//! * `lookup`: from a key to its version at a block

mod blob;
mod iterate;
mod lookup;
mod reader;

pub use iterate::StateItem;
pub(crate) use iterate::item;
pub(crate) use lookup::is_version_of;
pub use reader::Reader;
