//! Commits: from the changes of a block to a durable and visible record.
//!
//! In the order in which things happen:
//!
//! 1. **Prepare**: the changed keys are looked up, and entries with their old and new values are
//!    encoded. The state root follows from them. Most of the record is written at the end of the
//!    log, where it does not count yet.
//! 2. **Append**: the rest of the record is written, its header last. If that fails, the block is
//!    refused and the next block overwrites it.
//! 3. **Sync**: one `fdatasync`. If it fails, the content of the medium is unknown, and the database
//!    stops.
//! 4. **Publish**: the index learns the new locations. Readers of older blocks follow the links to
//!    previous versions.
//!
//! Top-down; a file uses only files below it:
//!
//! * `undo`: a record that restores an earlier block
//! * `append`: steps 2 and 3
//! * `prepare`: step 1
//! * `encode`: lookups of the changed keys, and their entries
//! * `early_write`: the write before the commit
//! * `publish`: step 4, also used by recovery

mod append;
mod early_write;
mod encode;
mod prepare;
mod publish;
mod undo;

pub use prepare::PreparedBlock;
