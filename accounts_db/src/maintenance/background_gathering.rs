//! The thread that gathers the next block's moves.

use super::compaction::{GatheringInput, gather_moves};
use crate::shared::Core;

impl Core {
    /// Gathers moves as they are requested, until the database closes.
    pub(crate) fn run_background_gathering(&self) {
        self.background_gathering.serve(|request| {
            let input = GatheringInput {
                cursor: request.cursor,
                batch: self.spare_batches.record(),
                appended: request.appended,
                superseded: &request.superseded,
                emptied: &request.emptied,
                single_threaded: true,
            };
            // An error is reported when the next block gathers for itself.
            gather_moves(self, &self.segments(), input).ok()
        });
    }
}
