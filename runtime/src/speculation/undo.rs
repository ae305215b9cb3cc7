//! Taking a transaction's effects back.

use super::simulation::Simulation;
use crate::{
    cells::{Credits, HeldCells, KeyCells, SlotCell},
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
    /// The credits since that was written. Before the account's own entry.
    Credits(KeyId, Box<Credits>),
    Credit(KeyId, U256),
    Code(KeyId, CodeRef),
    StorageClear(KeyId),
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
    /// read was as before the block.
    pub(crate) taken: Option<Box<Simulation>>,
}

const _: () = assert!(size_of::<Undo>() <= 56);

impl UndoRecord {
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

    /// Brings every cell back; all are held for writing.
    pub(crate) fn apply(self, block: &KeyCells, cells: &mut HeldCells<'_>) {
        for entry in self.entries.into_iter().rev() {
            match entry {
                Undo::Account(key, value) => cells.write(key, |cell| {
                    cell.account_mut().replace(value);
                }),
                Undo::Credits(key, credits) => {
                    cells.write(key, |cell| cell.account_mut().credits = *credits);
                }
                Undo::Credit(key, amount) => {
                    cells.write(key, |cell| cell.account_mut().credits.subtract(amount));
                }
                Undo::Code(key, code) => cells.write(key, |cell| cell.code_mut().code = code),
                Undo::StorageClear(key) => cells.write(key, |cell| cell.code_mut().generation -= 1),
                Undo::Slot(key, value, generation) => cells.write(key, |cell| {
                    *cell.slot_mut() = SlotCell { value, generation };
                }),
            }
        }
        let Some(taken) = self.taken else {
            return;
        };
        // The effects of a simulation changed cells that were as before the block.
        for ((_, mode), id) in taken.writes.effects().zip(&taken.cells) {
            // Cells of a transaction with private effects were never filled.
            if mode == AccessMode::Write && block.arena.is_filled(*id) {
                let before = block.arena.origin(*id);
                cells.write(*id, |cell| *cell = before.cell());
            }
        }
        for (id, amount) in taken.credits(&taken.cells) {
            cells.write(id, |cell| cell.account_mut().credits.subtract(amount));
        }
    }
}
