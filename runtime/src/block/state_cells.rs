//! The cells of an open block, and the memory that one block leaves to the next.

use crate::{
    account_history::{PaymentsMemory, ReplayedChanges},
    cells::{KeyCells, StateCell},
    keys::{KeyTable, RecentKeys},
    model::{
        Changes, KeyId, Outcome, SealedBlock, StateDelta, StateError, StateKey, StateRules,
        StateView,
    },
    sequential::SequentialState,
    speculation::SpeculativeTransaction,
};
use std::{mem, sync::Arc};

/// The cells of one block, and the state below them.
#[derive(derive_more::Debug)]
#[debug("StateCells {{ cells: {:?} }}", self.keys.arena)]
pub struct StateCells {
    pub(crate) keys: KeyCells,
    /// Changes of accounts whose histories were replayed without cells: all shards. An account that gets a cell
    /// later has its value from there.
    pub(crate) replayed: Option<ReplayedChanges>,
    /// Changes of a block that ran sequentially, without cells.
    pub(crate) sequential: Box<SequentialState>,
    /// Memory of earlier blocks' results.
    pub(crate) spare: Spare,
}

/// Memory that earlier blocks' results had. Large pieces of memory are costly to get: every page of
/// them is cleared by the system when it is first touched.
#[derive(Default)]
pub(crate) struct Spare {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) table: Option<KeyTable>,
    /// Cleared.
    pub(crate) speculative: Vec<SpeculativeTransaction>,
    pub(crate) payments: PaymentsMemory,
    delta: StateDelta,
}

impl StateCells {
    /// No cells yet, over the state before the block.
    pub fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            keys: KeyCells::new(view, rules),
            replayed: None,
            sequential: Box::default(),
            spare: Spare::default(),
        }
    }

    /// The state before the block.
    pub const fn view(&self) -> &Arc<dyn StateView> {
        self.keys.view()
    }

    /// The dense id of a key, whose cell is made and filled if it is new; by way of what the calling thread looked
    /// up lately in this block.
    pub(crate) fn intern(
        &self,
        recent: &mut RecentKeys<StateKey>,
        key: &StateKey,
    ) -> Result<KeyId, StateError> {
        (self.keys).intern(recent, key, || self.take_changed(key))
    }

    /// The cell of an account whose history was replayed without a cell.
    #[allow(unsafe_code)]
    fn take_changed(&self, key: &StateKey) -> Option<StateCell> {
        let replayed = self.replayed.as_ref().filter(|_| key.is_account())?;
        let (hash, shard) = self.keys.interner.place_of(key);
        // SAFETY: `replayed` is set when all shards were collected. If one was not, the block is restarted,
        // which removes it.
        let changed = unsafe { replayed.take(hash, shard, key.address) };
        changed.map(StateCell::Account)
    }

    /// Replaces the state before the block without emptying the cells: so that cells which are kept for
    /// their memory keep no state alive.
    pub fn set_view(&mut self, view: Arc<dyn StateView>) {
        self.keys.set_view(view);
    }

    /// Empties the cells for another block, and keeps the memory.
    pub fn reset(&mut self, view: Arc<dyn StateView>, rules: StateRules) {
        // If another owner keeps the table, for another run of the block, its memory cannot be used.
        let table = self.keys.reset(view, rules);
        if let Some(table) = table.and_then(Arc::into_inner) {
            self.spare.table = Some(table);
        }
        self.sequential.clear();
        if let Some(changes) = self.take_replayed() {
            self.spare.delta = changes.into_memory();
        }
    }

    /// Changes of none yet, with room for so many accounts without cells.
    pub(crate) fn changes_with_room(&mut self, accounts: usize) -> Changes {
        let memory = mem::take(&mut self.spare.delta);
        let cells = self.keys.arena.len();
        let (more, slots) = self.sequential.len();
        Changes::with_memory(memory, accounts + cells + more, cells + slots)
    }

    pub(crate) fn take_replayed(&mut self) -> Option<Changes> {
        let (changes, places) = self.replayed.take()?.into_parts();
        self.spare.payments.keep_places(places);
        Some(changes)
    }

    /// Takes the memory of a sealed block that is not needed any more, for the next one.
    pub fn recycle(&mut self, sealed: SealedBlock) {
        let SealedBlock {
            mut outcomes,
            mut delta,
        } = sealed;
        outcomes.clear();
        delta.clear();
        self.spare.outcomes = outcomes;
        self.spare.delta = delta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, MemoryState, test_support::RULES};
    use alloy_primitives::Address;

    #[test]
    fn missing_code_is_an_error_when_its_key_is_resolved() {
        let mut state = MemoryState::new();
        let address = Address::repeat_byte(1);
        let code_hash = alloy_primitives::B256::repeat_byte(9);
        let account = Account {
            code_hash,
            ..Account::default()
        };
        state.insert_account(address, account);
        let cells = StateCells::new(Arc::new(state), RULES);
        let recent = &mut RecentKeys::default();
        let error = cells.intern(recent, &StateKey::code(address)).unwrap_err();
        assert!(matches!(error, StateError::MissingCode { hash, .. } if hash == code_hash));
        assert!(cells.intern(recent, &StateKey::account(address)).is_ok());
    }
}
