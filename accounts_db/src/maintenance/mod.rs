//! Maintenance: space, checkpoints, checks, copies.
//!
//! Top-down; a file uses only files below it:
//!
//! * `snapshot`: a copy of the database in another folder
//! * `checkpointing`: when checkpoints are written, and which segments they free
//! * `compaction`: moves live entries out of old segments, in advance on a thread of its own
//! * `scrub`: checks every byte
//! * `warm_up`: fills the system's cache after opening

mod checkpointing;
mod compaction;
mod scrub;
mod snapshot;
mod warm_up;

pub(crate) use compaction::{gather_moves, log_usage};
pub use scrub::ScrubReport;
pub use snapshot::{Sharing, SnapshotError};
