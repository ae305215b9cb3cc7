//! Applying the effects of a transaction to cells that its grant covers.

// Cells are reached by plain reference here; the grant is what makes that sound.
#![allow(unsafe_code)]

use super::granted_state::{GrantedState, undeclared};
use crate::{
    cells::{KeyCells, StateCell},
    executor::AccessError,
    model::{AccessMode, KeyId, WriteSet},
    speculation::Undo,
};
use alloy_primitives::U256;
use std::mem;

impl<T> GrantedState<T> {
    /// Checks that every effect is granted, so that applying them cannot stop half-way, and notes
    /// their cells in the order in which they are changed.
    pub(super) fn check(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        self.found.clear();
        let credits = writes.credits.iter().map(|credit| credit.amount);
        let mut credits = credits;
        for (key, needed) in writes.effects() {
            let (id, held) = self.find(&key, needed)?;
            if needed == AccessMode::Credit {
                let amount = credits.next().expect("one for each credit");
                if held != AccessMode::Write && !self.is_credit_safe_on(id, amount) {
                    return Err(undeclared(self.task, &key, AccessMode::Write, Some(held)));
                }
            }
            self.found.push(id);
        }
        Ok(())
    }

    /// Applies effects whose cells are in `found` and are held in the modes needed.
    pub(super) fn apply_checked(&mut self, writes: &WriteSet) {
        let Some(block) = &self.block else {
            return;
        };
        let undo = &mut self.undo;
        let mut cells = CheckedCells {
            block: block.key_cells(),
            ids: self.found.iter(),
        };
        for (_, value) in &writes.accounts {
            let (id, before) = cells.change(|cell| cell.account_mut().replace(*value));
            if let Some(record) = undo {
                record.note_account(id, before);
            }
        }
        let mut note = |entry: Undo| {
            if let Some(record) = undo {
                record.entries.push(entry);
            }
        };
        for (address, code) in &writes.codes {
            let code = code.clone();
            let (id, before) = cells.change(|cell| mem::replace(&mut cell.code_mut().code, code));
            block.key_cells().note_recoded(*address, id);
            note(Undo::Code(id, before));
        }
        for address in &writes.wipes {
            let (id, ()) = cells.change(|cell| cell.code_mut().generation += 1);
            block.key_cells().note_recoded(*address, id);
            note(Undo::Wipe(id));
        }
        for (_, _, value) in &writes.slots {
            let (_, now) = cells.read(|cell| cell.code().generation);
            let (id, (value, generation)) = cells.change(|cell| {
                let cell = cell.slot_mut();
                (
                    mem::replace(&mut cell.value, *value),
                    mem::replace(&mut cell.generation, now),
                )
            });
            note(Undo::Slot(id, value, generation));
        }
        for credit in &writes.credits {
            let id = cells.next();
            note(Undo::Credit(id, credit.amount));
            // SAFETY: `check` found the key in the set that was entered, held for credit or writing.
            unsafe { self.credits.add(block.key_cells(), id, credit.amount) };
        }
    }

    /// Whether a cell held for credit or writing can take this one.
    pub(super) fn is_credit_safe_on(&mut self, id: KeyId, amount: U256) -> bool {
        let block = self.block.as_ref().expect("a cell is of a block");
        // SAFETY: as said, and the key was found in the set that was entered.
        unsafe { self.credits.is_safe(block.key_cells(), id, amount) }
    }
}

/// The cells that a checked write set changes, in its order.
struct CheckedCells<'a> {
    block: &'a KeyCells,
    ids: std::slice::Iter<'a, KeyId>,
}

impl CheckedCells<'_> {
    fn next(&mut self) -> KeyId {
        *self.ids.next().expect("every effect was checked")
    }

    /// Changes the next cell.
    fn change<R>(&mut self, change: impl FnOnce(&mut StateCell) -> R) -> (KeyId, R) {
        let id = self.next();
        // SAFETY: `check` found this key of the set that was entered held for writing; by the
        // contract of `enter` no other thread uses the cell until `leave`. The id came from this block.
        (id, unsafe { self.block.arena.write(id, change) })
    }

    /// Looks at the next cell.
    fn read<R>(&mut self, look: impl FnOnce(&StateCell) -> R) -> (KeyId, R) {
        let id = self.next();
        (id, self.read_at(id, look))
    }

    /// Looks at the cell that [`next`](Self::next) gave last.
    fn read_at<R>(&self, id: KeyId, look: impl FnOnce(&StateCell) -> R) -> R {
        // SAFETY: as in `change`, but the key is held in a mode in which no other thread writes.
        unsafe { self.block.arena.read(id, look) }
    }
}
