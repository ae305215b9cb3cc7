//! The state after a block that is not durable yet: its changes on top of the durable state before it.
//!
//! The block's hash may still be missing, because its state root is being computed. Whoever reads the hash
//! waits for it, by `BLOCKHASH` or in the contract of EIP-2935; everybody else does not.

use super::late_hash::LateHash;
use ahash::{AHashMap, AHashSet};
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::{Account, Code, StateDelta, StateError, StateView};
use std::sync::Arc;

/// A block's changes, to look up.
#[derive(Debug)]
pub(super) struct Changes {
    accounts: AHashMap<Address, Option<Account>>,
    cleared: AHashSet<Address>,
    slots: AHashMap<(Address, U256), U256>,
    codes: AHashMap<B256, Arc<Code>>,
}

impl From<&StateDelta> for Changes {
    fn from(delta: &StateDelta) -> Self {
        let slots = delta.slots.iter();
        let codes = delta.codes.iter();
        Self {
            accounts: delta.accounts.iter().copied().collect(),
            cleared: delta.cleared.iter().copied().collect(),
            slots: slots
                .map(|(address, slot, value)| ((*address, *slot), *value))
                .collect(),
            codes: codes.map(|code| (code.hash(), Arc::clone(code))).collect(),
        }
    }
}

/// A block's changes on top of the state before it.
pub(super) struct Overlay {
    below: Arc<dyn StateView>,
    changes: Arc<Changes>,
    block: u64,
    hash: LateHash,
    /// Where the next block stores the hash of this one (EIP-2935), if it leaves that to this state.
    hash_slot: Option<U256>,
}

impl Overlay {
    /// The state after block `block` with this hash and these changes.
    pub(super) const fn new(
        below: Arc<dyn StateView>,
        changes: Arc<Changes>,
        block: u64,
        hash: LateHash,
    ) -> Self {
        Self {
            below,
            changes,
            block,
            hash,
            hash_slot: None,
        }
    }

    /// Has the block's hash in the slot in which the next block would store it.
    pub(super) const fn with_hash_at(mut self, slot: U256) -> Self {
        self.hash_slot = Some(slot);
        self
    }

    fn hash(&self) -> Result<B256, StateError> {
        let number = self.block;
        let hash = self.hash.wait();
        hash.ok_or(StateError::MissingBlockHash { number })
    }
}

impl StateView for Overlay {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        match self.changes.accounts.get(&address) {
            Some(account) => Ok(*account),
            None => self.below.account(address),
        }
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        if self.hash_slot == Some(slot) && address == HISTORY_STORAGE_ADDRESS {
            return Ok(self.hash()?.into());
        }
        match self.changes.slots.get(&(address, slot)) {
            Some(value) => Ok(*value),
            None if self.changes.cleared.contains(&address) => Ok(U256::ZERO),
            None => self.below.slot(address, slot),
        }
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        match self.changes.codes.get(&hash) {
            Some(code) => Ok(Some(Arc::clone(code))),
            None => self.below.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        if number == self.block {
            return Ok(Some(self.hash()?));
        }
        self.below.block_hash(number)
    }

    /// Called only for accounts without nonce and code (EIP-7610). Such an account runs no code, so a block
    /// cannot clear its slots one by one: it clears the whole storage or nothing.
    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        let written = self.changes.slots.iter();
        let has_new = written
            .filter(|((of, _), _)| *of == address)
            .any(|(_, value)| !value.is_zero());
        if has_new || self.changes.cleared.contains(&address) {
            return Ok(has_new);
        }
        self.below.has_storage(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::late_hash::HashSetter, test_deltas::delta};
    use lockweave_runtime::MemoryState;
    use proptest::prelude::*;

    proptest! {
        /// Reads through an overlay are those of the state that the changes were applied to.
        #[test]
        fn it_reads_as_if_the_block_were_applied(before in delta(), change in delta()) {
            let mut state = MemoryState::new();
            state.apply(&before);
            let below: Arc<dyn StateView> = Arc::new(state.clone());
            let setter = HashSetter::default();
            let hash = B256::repeat_byte(7);
            let at = U256::from(6);
            let overlay = Overlay::new(below, Arc::new(Changes::from(&change)), 7, setter.hash()).with_hash_at(at);
            setter.set(hash);
            state.apply(&change);
            for byte in 0..6 {
                let address = Address::repeat_byte(byte);
                prop_assert_eq!(overlay.account(address).unwrap(), state.account(address).unwrap());
                for slot in (0..4).map(U256::from) {
                    prop_assert_eq!(overlay.slot(address, slot).unwrap(), state.slot(address, slot).unwrap());
                }
            }
            prop_assert_eq!(overlay.block_hash(7).unwrap(), Some(hash));
            prop_assert_eq!(overlay.slot(HISTORY_STORAGE_ADDRESS, at).unwrap(), U256::from_be_bytes(hash.0));
        }
    }
}
