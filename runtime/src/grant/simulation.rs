//! Simulations that are taken as executions.

use super::granted_state::{GrantedState, held_cells};
use crate::model::{AccessMode, KeyAccess, Outcome, TaskId};

impl<T> GrantedState<T> {
    /// Takes the simulation of `task` as its execution without entering its grant, if it has a simulation,
    /// conflicts with no other transaction, and no other transaction names the keys that it read exclusively
    /// or wrote. Its effects stay [private](crate::OpenBlock::may_keep_private), and its cells need not be filled.
    /// Returns its outcome; without one, nothing has happened. For views that [allow late
    /// grants](Self::allow_late_grants).
    ///
    /// # Safety
    ///
    /// As of [`enter`](Self::enter), but for the resolving of the task itself, and until this function
    /// returns.
    #[allow(unsafe_code)]
    pub unsafe fn run_private(&mut self, task: TaskId) -> Option<Outcome> {
        let block = self.block.as_ref().filter(|_| self.allows_late_grants)?;
        if !block.may_keep_private(task) {
            return None;
        }
        let speculative = block.speculative(task)?;
        let keys = block.keys_of(task)?;
        let begun = block.begin(task);
        let simulation = begun.simulation?;
        let ids = &mut self.found;
        simulation.list_cells(keys, ids);
        // By the table the credited keys are shared, so all transactions that name them credit them. Earlier
        // ones introduced them and filled their cells before this function was called.
        let mut cells = held_cells(block, &mut self.credits);
        let mut is_safe = |(id, amount)| cells.is_credit_safe(id, amount);
        if begun.is_disturbed || !simulation.credits(ids).all(&mut is_safe) {
            speculative.give_back(simulation);
            return None;
        }
        speculative.keep_private(simulation, ids, |simulation| {
            let is_claimed = block.claim_private(task);
            if is_claimed {
                for (id, amount) in simulation.credits(ids) {
                    cells.credit(id, amount);
                }
            }
            is_claimed
        })
    }

    /// Applies the simulation of the entered task, if it has one and nothing that it read has changed since
    /// the state before the block. Returns the outcome, which is the transaction's. For views that [allow
    /// late grants](Self::allow_late_grants).
    pub fn apply_simulation(&mut self) -> Option<Outcome> {
        let (Some(block), Some(task)) = (&self.block, self.task) else {
            return None;
        };
        let begun = self.begun.as_mut()?;
        let mut simulation = begun.simulation.take()?;
        let keys = block.resolved(task)?;
        let mut cells = held_cells(block, &mut self.credits);
        let holds = (block.has_no_conflict(task) && !begun.is_disturbed) || {
            let mut looked_at = keys.iter().filter(|key| key.mode != AccessMode::Credit);
            looked_at.all(|KeyAccess { key, .. }| {
                let origin = block.key_cells().arena.origin(*key);
                cells.read(*key, |cell| origin.is_current(cell))
            })
        };
        if !holds {
            block.discard_simulation(task, simulation);
            return None;
        }
        simulation.list_cells(keys, &mut self.found);
        let is_safe = |(id, amount)| cells.is_credit_safe(id, amount);
        if !simulation.credits(&self.found).all(is_safe) {
            return None;
        }
        let outcome = simulation.outcome.take()?;
        // What the cells were is what they were before the block, so that need not be noted.
        let undo = self.undo.take();
        self.apply_checked(&simulation.writes);
        self.undo = undo.map(|mut record| {
            simulation.cells.extend_from_slice(&self.found);
            record.taken = Some(simulation);
            record
        });
        Some(outcome)
    }

    /// The same in a block that runs sequentially. What the transaction touched is in its set.
    pub fn apply_simulation_sequentially(&mut self) -> Option<Outcome> {
        let task = self.task?;
        let block = self.block.clone()?;
        let (state, before) = self.sequential_state()?;
        let mut simulation = block.speculative(task)?.begin()?;
        let (view, rules) = (&**before.view(), before.rules);
        let entries = block.access(task).entries();
        let mut looked_at = entries
            .iter()
            .filter(|entry| entry.mode != AccessMode::Credit);
        let mut credits = simulation.writes.credits.iter();
        let holds = looked_at.all(|entry| state.is_untouched(&entry.key))
            && credits.all(|credit| state.may_credit(view, credit.address, credit.amount))
            && state.apply(view, rules, &simulation.writes).is_ok();
        let outcome = if holds {
            simulation.outcome.take()
        } else {
            None
        };
        block.discard_simulation(task, simulation);
        outcome
    }
}
