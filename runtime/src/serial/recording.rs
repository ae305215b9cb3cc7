//! Recording what a transaction touches while it runs.

use crate::{
    executor::{AccessError, StateAccess},
    model::{
        AccessMode, AccessSet, AccessSetBuilder, AccessSetError, AccountValue, CodeRef, StateKey,
        WriteSet,
    },
};
use alloy_primitives::{Address, B256, U256};

/// A state that notes every access before it passes it on.
#[derive(Debug, Default)]
pub struct Recording<S> {
    state: S,
    touched: AccessSetBuilder,
}

impl<S> Recording<S> {
    /// Records accesses to `state`.
    pub fn new(state: S) -> Self {
        Self {
            state,
            touched: AccessSetBuilder::default(),
        }
    }

    /// The accesses since the last call, as a set of at most `keys_max` keys.
    pub fn take_access(&mut self, keys_max: usize) -> Result<AccessSet, AccessSetError> {
        self.touched.finish(keys_max)
    }

    /// The state below.
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// The state below, no longer recorded.
    pub fn into_inner(self) -> S {
        self.state
    }
}

impl<S: StateAccess> StateAccess for Recording<S> {
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        self.touched
            .insert(StateKey::account(address), AccessMode::Read);
        self.state.account(address)
    }

    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError> {
        self.touched
            .insert(StateKey::code(address), AccessMode::Read);
        self.state.code(address)
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        self.touched.read_slot(address, slot);
        self.state.slot(address, slot)
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        self.touched
            .insert(StateKey::code(address), AccessMode::Read);
        self.state.has_storage(address)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        self.state.block_hash(number)
    }

    fn was_in_use(&mut self, address: Address) -> bool {
        self.state.was_in_use(address)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let may = self.state.may_credit(address, amount);
        if may {
            self.touched
                .insert(StateKey::account(address), AccessMode::Credit);
        }
        may
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        for (key, mode) in writes.effects() {
            self.touched.insert(key, mode);
        }
        self.state.apply(writes)
    }
}
