//! What all parts of an open database share.
//!
//! The folders above add methods to [`Core`]. Top-down; a file uses only files below it:
//!
//! * `core`: the fields, their locks, and what every folder asks of them
//! * `gathering`: moves of live entries, handed from a background thread to the next block

mod core;
mod gathering;

pub(crate) use self::core::{CheckpointSchedule, Core, Writer};
pub(crate) use gathering::{BackgroundGathering, Cursor, GatheringRequest, Moves};
