//! Applying the effects of a transaction to cells that its grant covers.

use super::granted_state::{GrantedState, held_cells, undeclared};
use crate::{
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
        let mut cells = held_cells(block, &mut self.credits);
        let mut found = self.found.iter().copied();
        let mut next = || found.next().expect("every effect was checked");
        for (_, value) in &writes.accounts {
            let id = next();
            let before = cells.write(id, |cell| cell.account_mut().replace(*value));
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
            let (id, code) = (next(), code.clone());
            let before = cells.write(id, |cell| mem::replace(&mut cell.code_mut().code, code));
            block.key_cells().note_recoded(*address, id);
            note(Undo::Code(id, before));
        }
        for address in &writes.cleared {
            let id = next();
            cells.write(id, |cell| cell.code_mut().generation += 1);
            block.key_cells().note_recoded(*address, id);
            note(Undo::StorageClear(id));
        }
        for (_, _, value) in &writes.slots {
            let now = cells.read(next(), |cell| cell.code().generation);
            let id = next();
            let (value, generation) = cells.write(id, |cell| {
                let cell = cell.slot_mut();
                (
                    mem::replace(&mut cell.value, *value),
                    mem::replace(&mut cell.generation, now),
                )
            });
            note(Undo::Slot(id, value, generation));
        }
        for credit in &writes.credits {
            let id = next();
            note(Undo::Credit(id, credit.amount));
            cells.credit(id, credit.amount);
        }
    }

    /// Whether a cell held for credit or writing can take this one.
    pub(super) fn is_credit_safe_on(&mut self, id: KeyId, amount: U256) -> bool {
        let block = self.block.as_ref().expect("a cell is of a block");
        held_cells(block, &mut self.credits).is_credit_safe(id, amount)
    }
}
