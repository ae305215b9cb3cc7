//! How to take a transaction's effects back.

use crate::{
    id::KeyId,
    state::CodeRef,
    state_cells::{Credits, StateCells},
    write_set::AccountValue,
};
use alloy_primitives::U256;

/// What one cell was before a transaction changed it.
#[derive(Debug)]
pub(crate) enum Undo {
    Account(KeyId, AccountValue, Credits),
    Credit(KeyId, U256),
    Code(KeyId, CodeRef),
    Wipe(KeyId),
    Slot(KeyId, U256, u32),
}

/// What the cells a transaction changed were before it did.
///
/// Records are taken back in the reverse of the order in which they were made, as far as they share
/// keys; [`GrantedState::revert`](crate::GrantedState::revert) does it.
#[derive(Debug, Default)]
pub struct UndoRecord {
    pub(crate) entries: Vec<Undo>,
}

impl UndoRecord {
    /// How many cells the transaction changed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The cells the transaction changed.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.entries.iter().map(|entry| match entry {
            Undo::Account(key, ..)
            | Undo::Credit(key, _)
            | Undo::Code(key, _)
            | Undo::Wipe(key)
            | Undo::Slot(key, ..) => *key,
        })
    }

    /// Brings every cell back.
    ///
    /// # Safety
    ///
    /// As of [`Cells::write`](crate::Cells::write), for every cell of the record.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn apply(self, cells: &StateCells) {
        for entry in self.entries.into_iter().rev() {
            // SAFETY: by this function's contract nobody else uses the cells of the record, and its
            // ids came from this arena.
            unsafe {
                match entry {
                    Undo::Account(key, value, credits) => cells.cells.write(key, |cell| {
                        let cell = cell.account_mut();
                        cell.value = value;
                        cell.credits = credits;
                    }),
                    Undo::Credit(key, amount) => cells
                        .cells
                        .write(key, |cell| cell.account_mut().credits.subtract(amount)),
                    Undo::Code(key, code) => {
                        cells.cells.write(key, |cell| cell.code_mut().code = code);
                    }
                    Undo::Wipe(key) => {
                        cells
                            .cells
                            .write(key, |cell| cell.code_mut().incarnation -= 1);
                    }
                    Undo::Slot(key, value, incarnation) => cells.cells.write(key, |cell| {
                        let cell = cell.slot_mut();
                        cell.value = value;
                        cell.incarnation = incarnation;
                    }),
                }
            }
        }
    }
}
