//! Filling the system's cache with the log after a database was opened.
//!
//! Keys lie anywhere, so without it the first blocks would read one page at a time, at a hundredth of
//! the medium's speed. The log is read in long stretches, into huge pages where the system has them, and
//! mapped; the newest segments first, until half of the memory that was free is used. A log that does
//! not fit is read on from where it is needed.

use crate::{shared::Core, storage::memory_available};
/// Bytes read in one go.
const STEP_BYTES: u64 = 8 << 20;

impl Core {
    /// Reads the log until all of it is in memory, or there is no room for more, or the database closes.
    pub(crate) fn warm_up(&self) {
        let mut room = memory_available().unwrap_or(0) / 2;
        let table = self.segments();
        for segment in table.iter().rev() {
            let end = segment.end();
            for offset in (0..end).step_by(usize::try_from(STEP_BYTES).unwrap_or(usize::MAX)) {
                let bytes = STEP_BYTES.min(end - offset);
                if room < bytes || self.checkpoint.lock().is_closing {
                    return;
                }
                segment.file.fill_cache(offset, bytes);
                segment.populate(offset, bytes);
                room -= bytes;
            }
        }
    }
}
