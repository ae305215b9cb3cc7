//! How to take a transaction's effects back.

use super::simulation::Simulation;
use crate::{
    cells::{Credits, KeyCells, StateCell},
    model::{AccessMode, AccountValue, CodeRef, KeyId},
};
use alloy_primitives::U256;

/// What one cell was before a transaction changed it.
///
/// Every transaction leaves some of these, so they are small.
#[derive(Debug)]
pub(crate) enum Undo {
    /// Nonce and balance as last written, without credits.
    Account(KeyId, AccountValue),
    /// What had come since that was written. In front of the account's own entry.
    Credits(KeyId, Box<Credits>),
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
    /// The simulation that was taken as the execution, before anything in `entries`. Everything it
    /// looked at was as before the block.
    pub(crate) taken: Option<Box<Simulation>>,
}

const _: () = assert!(size_of::<Undo>() <= 56);

impl UndoRecord {
    /// Notes what an account was before it was written.
    #[inline]
    pub(crate) fn note_account(&mut self, key: KeyId, (value, credits): (AccountValue, Credits)) {
        if credits.is_touched() {
            self.entries.push(Undo::Credits(key, Box::new(credits)));
        }
        self.entries.push(Undo::Account(key, value));
    }

    /// How many changes are taken back.
    pub fn len(&self) -> usize {
        let taken = self.taken.as_ref();
        self.entries.len() + taken.map_or(0, |taken| taken.cells.len())
    }

    /// Whether the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The credits among the changes.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (KeyId, U256)> {
        let credits = self.entries.iter().filter_map(|entry| match entry {
            Undo::Credit(account, amount) => Some((*account, *amount)),
            _ => None,
        });
        self.taken
            .iter()
            .flat_map(|taken| taken.credits(&taken.cells))
            .chain(credits)
    }

    /// Brings every cell back.
    ///
    /// # Safety
    ///
    /// As of [`Cells::write`](crate::Cells::write), for every cell of the record.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn apply(self, cells: &KeyCells) {
        let taken = self.taken;
        for entry in self.entries.into_iter().rev() {
            // SAFETY: by this function's contract nobody else uses the cells of the record, and its
            // ids came from this arena.
            unsafe {
                match entry {
                    Undo::Account(key, value) => cells.arena.write(key, |cell| {
                        cell.account_mut().replace(value);
                    }),
                    Undo::Credits(key, credits) => cells
                        .arena
                        .write(key, |cell| cell.account_mut().credits = *credits),
                    Undo::Credit(key, amount) => cells
                        .arena
                        .write(key, |cell| cell.account_mut().credits.subtract(amount)),
                    Undo::Code(key, code) => {
                        cells.arena.write(key, |cell| cell.code_mut().code = code);
                    }
                    Undo::Wipe(key) => {
                        cells
                            .arena
                            .write(key, |cell| cell.code_mut().incarnation -= 1);
                    }
                    Undo::Slot(key, value, incarnation) => cells.arena.write(key, |cell| {
                        let cell = cell.slot_mut();
                        cell.value = value;
                        cell.incarnation = incarnation;
                    }),
                }
            }
        }
        if let Some(taken) = taken {
            // SAFETY: as of this function.
            unsafe { restore_origins(&taken, cells) };
        }
    }
}

/// Takes back the effects of a simulation that was applied to cells that were as before the block.
///
/// # Safety
///
/// As of [`UndoRecord::apply`].
#[allow(unsafe_code)]
unsafe fn restore_origins(taken: &Simulation, cells: &KeyCells) {
    let effects = taken.writes.effects().zip(&taken.cells);
    // Cells of a transaction that stayed apart were never filled.
    let written =
        effects.filter(|((_, mode), id)| *mode == AccessMode::Write && cells.arena.is_filled(**id));
    for (_, id) in written {
        // SAFETY: by this function's contract nobody else uses the cells that were changed, and the
        // ids came from this arena.
        unsafe {
            let before = cells.arena.origin(*id).cell();
            cells.arena.write(*id, |cell| *cell = before);
        }
    }
    for (id, amount) in taken.credits(&taken.cells) {
        let subtract = |cell: &mut StateCell| cell.account_mut().credits.subtract(amount);
        // SAFETY: as above.
        unsafe { cells.arena.write(id, subtract) };
    }
}
