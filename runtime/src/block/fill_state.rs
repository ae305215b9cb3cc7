//! Whether the cells that a transaction introduces are filled.

use std::sync::atomic::{AtomicU8, Ordering};

/// The cells that a transaction introduces are not filled.
pub(super) const EMPTY: u8 = 0;
/// A thread is filling them.
pub(super) const FILLING: u8 = 1;
/// They are filled.
pub(super) const FILLED: u8 = 2;
/// They are not filled, and the transaction has run with private effects.
pub(super) const PRIVATE: u8 = 3;

/// The right to fill a transaction's cells. A fill that fails or panics may be tried again.
pub(super) struct Introducing<'a> {
    pub(super) state: &'a AtomicU8,
    pub(super) after: u8,
}

impl Drop for Introducing<'_> {
    fn drop(&mut self) {
        self.state.store(self.after, Ordering::Release);
    }
}
