//! Filling the cells of the keys that a transaction introduces.

use super::open_block::{EMPTY, FILLED, FILLING, Introducing, OpenBlock, PRIVATE};
use crate::{
    cells::{CreditBuffer, HeldCells},
    keys::{KeyTable, RecentKeys},
    model::{DenseId, KeyId, StateError, StateKey, TaskId},
};
use std::{sync::atomic::Ordering, thread};

impl<T> OpenBlock<T> {
    /// Fills the cells of the keys that no earlier transaction names. Idempotent, from any thread.
    ///
    /// # Panics
    ///
    /// If the keys have no [numbers](Self::is_numbered) yet.
    pub fn resolve(&self, task: TaskId) -> Result<(), StateError> {
        let table = self.key_cells().table();
        self.introduce(
            table.expect("keys are numbered before the block runs"),
            task,
        )
    }

    #[allow(unsafe_code)]
    pub(crate) fn introduce(&self, table: &KeyTable, task: TaskId) -> Result<(), StateError> {
        let state = &self.introduced[task.index()];
        let mut before = EMPTY;
        while let Err(found) =
            state.compare_exchange(before, FILLING, Ordering::Acquire, Ordering::Acquire)
        {
            match found {
                FILLED => return Ok(()),
                // Another thread fills them, and waits for no other.
                FILLING => thread::yield_now(),
                _ => before = found,
            }
        }
        let after = before;
        let mut introducing = Introducing { state, after };
        // SAFETY: the exchange lets one thread through at a time. `introduce` fills the cells, and other threads learn that only
        // when `introducing` is dropped.
        unsafe {
            self.key_cells().introduce(table, task)?;
            if before == PRIVATE {
                let credits = &mut CreditBuffer::default();
                self.join(task, HeldCells::new(self.key_cells(), credits));
            }
        }
        introducing.after = FILLED;
        Ok(())
    }

    /// The id of a key, named by a set or not; its cell is filled.
    ///
    /// `recent` belongs to the calling thread and to this block.
    pub(crate) fn intern(
        &self,
        recent: &mut RecentKeys<StateKey>,
        key: &StateKey,
    ) -> Result<KeyId, StateError> {
        match self.introducer_of(key) {
            Some((table, id, task)) => self.introduce(table, task).map(|()| id),
            None => self.cells().intern(recent, key),
        }
    }

    fn introducer_of(&self, key: &StateKey) -> Option<(&KeyTable, KeyId, TaskId)> {
        let table = self.key_cells().table()?;
        let id = table.find(key)?;
        Some((table, id, table.introducer(id)?))
    }
}
