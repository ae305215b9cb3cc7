//! Looking for what the next block's compaction takes along, on a thread of its own.
//!
//! It begins as soon as it is known what this block takes along, and is waited for when the next one is
//! put together: in between this block is written, the next one is executed, and a commit need not wait for
//! it. It does not use the database's other threads, as they are busy with the commit.
//!
//! While it looks, this block is published or is not yet: what it replaces is told beforehand, and is passed
//! over. And this block may never be committed: what was found is used only by a block that is prepared
//! right behind it.

use crate::{
    log::location::Location,
    maintenance::compaction,
    maintenance::compaction::{Cursor, Moves, Request},
    shared::core::Core,
};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// What is looked for and what was found.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    state: Mutex<State>,
    has_changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is a thread that looks.
    has_thread: bool,
    is_closing: bool,
    wish: Option<Wish>,
    is_looking: bool,
    found: Option<Found>,
}

/// What was found.
#[derive(Debug)]
struct Found {
    /// The preparation that it is for the block behind.
    follows: u64,
    /// Where compaction stands before that block.
    cursor: Option<Cursor>,
    moves: Arc<Moves>,
}

/// What the next block will need.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The preparation that it follows.
    pub(crate) follows: u64,
    /// Where compaction goes on.
    pub(crate) cursor: Option<Cursor>,
    /// Places that the block before replaces.
    pub(crate) superseded: Vec<Location>,
    /// Bytes that the block before appended of its own.
    pub(crate) appended: u64,
    /// Segments that the block before empties.
    pub(crate) emptied: Vec<u64>,
}

impl Ahead {
    /// Says that a thread is about to [`look`](Core::look_ahead).
    pub(crate) fn begin(&self) {
        self.state.lock().has_thread = true;
    }

    /// Ends that thread.
    pub(crate) fn close(&self) {
        self.state.lock().is_closing = true;
        self.has_changed.notify_all();
    }

    /// Has it looked for what the next block needs. What was found before is no longer needed.
    pub(crate) fn want(&self, wish: Wish) {
        let mut state = self.state.lock();
        state.found = None;
        if state.has_thread && !state.is_closing {
            state.wish = Some(wish);
            self.has_changed.notify_all();
        }
    }

    /// What was found for a block that follows this preparation, where compaction stands at `cursor`;
    /// `None` if it was not looked for or cannot be read.
    pub(crate) fn found(&self, follows: u64, cursor: Option<Cursor>) -> Option<Arc<Moves>> {
        let mut state = self.state.lock();
        while (state.wish.is_some() || state.is_looking) && !state.is_closing {
            self.has_changed.wait(&mut state);
        }
        let found = state.found.as_ref();
        let found = found.filter(|it| it.follows == follows && it.cursor == cursor);
        found.map(|it| Arc::clone(&it.moves))
    }
}

/// The thread that looks, while it lives. Should it panic, nobody waits for it.
struct Looking<'a>(&'a Ahead);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.has_thread = false;
        state.is_looking = false;
        state.wish = None;
        self.0.has_changed.notify_all();
    }
}

impl Core {
    /// Looks for what is wanted until the database closes.
    pub(crate) fn look_ahead(&self) {
        // Dropped after the lock is given back.
        let _looking = Looking(&self.ahead);
        let mut state = self.ahead.state.lock();
        loop {
            if state.is_closing {
                return;
            }
            let Some(wish) = state.wish.take() else {
                self.ahead.has_changed.wait(&mut state);
                continue;
            };
            state.is_looking = true;
            drop(state);
            let request = Request {
                cursor: wish.cursor,
                batch: self.spare.record(),
                appended: wish.appended,
                superseded: &wish.superseded,
                emptied: &wish.emptied,
                alone: true,
            };
            // What cannot be read is told when the next block is prepared.
            let moves = compaction::gather(self, &self.segments(), request).ok();
            state = self.ahead.state.lock();
            state.is_looking = false;
            state.found = moves.map(|moves| Found {
                follows: wish.follows,
                cursor: wish.cursor,
                moves: Arc::new(moves),
            });
            self.ahead.has_changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn nobody_waits_for_a_thread_that_panicked() {
        let ahead = Ahead::default();
        ahead.begin();
        let wish = Wish {
            follows: 1,
            cursor: None,
            superseded: Vec::new(),
            appended: 0,
            emptied: Vec::new(),
        };
        ahead.want(wish.clone());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _looking = Looking(&ahead);
            ahead.state.lock().is_looking = true;
            panic!("as a test");
        }));
        assert!(panicked.is_err());
        assert!(ahead.found(1, None).is_none());
        // And nothing more is asked of it.
        ahead.want(wish);
        assert!(ahead.found(1, None).is_none());
    }
}
