//! Fills the system's cache with the log after opening.
//!
//! Reads are random, so without this the first blocks read one page at a time, at a hundredth of
//! the medium's speed. The log is read in large steps, into huge pages if the system has them, and
//! mapped: newest segments first, until half of the available memory is used. The rest of the log
//! is read on demand.

use crate::{shared::Core, storage::memory_available};

/// Bytes read at once.
const STEP_BYTES: u64 = 8 << 20;

impl Core {
    /// Reads the log until it is complete, memory is used up, or the database closes.
    pub(crate) fn warm_up(&self) {
        let mut budget = memory_available().unwrap_or(0) / 2;
        let table = self.segments();
        for segment in table.iter().rev() {
            let end = segment.end();
            for offset in (0..end).step_by(usize::try_from(STEP_BYTES).unwrap_or(usize::MAX)) {
                let bytes = STEP_BYTES.min(end - offset);
                if budget < bytes || self.checkpoint.lock().is_closing {
                    return;
                }
                segment.file.fill_cache(offset, bytes);
                segment.populate(offset, bytes);
                budget -= bytes;
            }
        }
    }
}
