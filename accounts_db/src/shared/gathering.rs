//! Moves for the next block, gathered on a thread of their own.
//!
//! Gathering starts when the moves of the current block are known, and its result is taken when the next
//! block is assembled. In between, the current block is written and the next one is executed, so a commit
//! rarely waits for it. The thread does not use the database's workers, which are busy with the commit.
//!
//! The current block is published while its successor's moves are gathered. The request therefore names
//! the locations that the block supersedes, and gathering skips them. The current block may also never be
//! committed: the moves are used only by a block that was prepared directly after it.

use crate::log::{Batch, Location, SEGMENT_HEADER_BYTES, Segment};
use parking_lot::{Condvar, Mutex};
use std::{ops::Range, sync::Arc};

/// Where compaction continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Offset of the next entry or record.
    pub(crate) offset: u64,
    /// End of the entries of the record that contains `offset`; between records it equals `offset`.
    pub(crate) entries_end: u64,
    /// End of that record.
    pub(crate) record_end: u64,
}

impl Cursor {
    /// The beginning of a segment.
    pub(crate) const fn start(segment: &Segment) -> Self {
        Self {
            segment: segment.number,
            offset: SEGMENT_HEADER_BYTES,
            entries_end: SEGMENT_HEADER_BYTES,
            record_end: SEGMENT_HEADER_BYTES,
        }
    }
}

/// Entries that move into a block's record.
#[derive(Debug)]
pub(crate) struct Moves {
    /// The batch that was given, and after it the entries that move.
    pub(crate) batch: Batch,
    /// Range of the locations from which entries move.
    pub(crate) locations: Range<Location>,
    /// Where to continue; `None` if no segment is worth it.
    pub(crate) cursor: Option<Cursor>,
    /// Segments that are empty once the block is published.
    pub(crate) emptied: Vec<u64>,
}

/// What to gather for the next block.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatheringRequest {
    /// Number of the preparation that the next block must follow.
    pub(crate) follows: u64,
    /// Where to continue.
    pub(crate) cursor: Option<Cursor>,
    /// Locations that a block not yet published supersedes.
    pub(crate) superseded: Vec<Location>,
    /// Bytes of the block's own entries.
    pub(crate) appended: u64,
    /// Segments that a block not yet published empties.
    pub(crate) emptied: Vec<u64>,
}

/// Hands requests to the gathering thread, and its moves to the next block.
#[derive(Debug, Default)]
pub(crate) struct BackgroundGathering {
    state: Mutex<State>,
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    has_thread: bool,
    is_closing: bool,
    request: Option<GatheringRequest>,
    is_gathering: bool,
    /// Moves, and the request for them, which names the only block that may use them.
    result: Option<(GatheringRequest, Arc<Moves>)>,
}

impl BackgroundGathering {
    /// Declares that a thread is about to serve requests.
    pub(crate) fn expect_thread(&self) {
        self.state.lock().has_thread = true;
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.state.lock().is_closing = true;
        self.has_changed.notify_all();
    }

    /// Asks for the next block's moves, and drops earlier ones.
    pub(crate) fn request(&self, request: GatheringRequest) {
        let mut state = self.state.lock();
        state.result = None;
        if state.has_thread && !state.is_closing {
            state.request = Some(request);
            self.has_changed.notify_all();
        }
    }

    /// Waits for the moves of a block that follows this preparation and starts at `cursor`; `None` if
    /// they were not requested or could not be read.
    pub(crate) fn result(&self, follows: u64, cursor: Option<Cursor>) -> Option<Arc<Moves>> {
        let mut state = self.state.lock();
        while (state.request.is_some() || state.is_gathering) && !state.is_closing {
            self.has_changed.wait(&mut state);
        }
        let result = state.result.as_ref();
        let result = result.filter(|(it, _)| it.follows == follows && it.cursor == cursor);
        result.map(|(_, moves)| Arc::clone(moves))
    }

    /// Serves requests on the calling thread until [`close`](Self::close). A `gather` that returns
    /// `None` leaves the next block without moves.
    pub(crate) fn serve(&self, mut gather: impl FnMut(&GatheringRequest) -> Option<Moves>) {
        let _serving = Serving(self);
        let mut state = self.state.lock();
        loop {
            if state.is_closing {
                return;
            }
            let Some(request) = state.request.take() else {
                self.has_changed.wait(&mut state);
                continue;
            };
            state.is_gathering = true;
            drop(state);
            let moves = gather(&request);
            state = self.state.lock();
            state.is_gathering = false;
            state.result = moves.map(|moves| (request, Arc::new(moves)));
            self.has_changed.notify_all();
        }
    }
}

/// The serving thread. If it panics, waiters continue without it.
struct Serving<'a>(&'a BackgroundGathering);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.has_thread = false;
        state.is_gathering = false;
        state.request = None;
        self.0.has_changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panic_of_the_thread_leaves_no_waiter() {
        let gathering = BackgroundGathering::default();
        gathering.expect_thread();
        let request = GatheringRequest {
            follows: 1,
            ..GatheringRequest::default()
        };
        gathering.request(request.clone());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            gathering.serve(|_| panic!("as a test"));
        }));
        assert!(panicked.is_err());
        assert!(gathering.result(1, None).is_none());
        // Later requests are dropped.
        gathering.request(request);
        assert!(gathering.result(1, None).is_none());
    }
}
