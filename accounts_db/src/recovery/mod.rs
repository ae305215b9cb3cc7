//! Opening a database.
//!
//! Top-down; a file uses only files below it:
//!
//! * `open`: manifest, segments, checkpoint, redo
//! * `redo`: applies the records after the checkpoint
//! * `end_of_log`: distinguishes the end of the log from damage
//! * `segments`: opens the files of the log

mod end_of_log;
mod open;
mod redo;
mod segments;

pub(crate) use open::open;
pub use redo::Recovery;
