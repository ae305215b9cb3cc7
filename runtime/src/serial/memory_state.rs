//! A state held in memory.

use crate::model::{
    Account, AddressKey, Code, KeyPart, SlotNumber, StateDelta, StateError, StateKey, StateView,
};
use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256};
use std::{hint::black_box, sync::Arc};

/// A state in hash maps: for tests, simulations, recorded blocks and small chains.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    accounts: AHashMap<AddressKey, Account>,
    slots: AHashMap<AddressKey, AHashMap<SlotNumber, U256>>,
    codes: AHashMap<B256, Arc<Code>>,
    block_hashes: AHashMap<u64, B256>,
}

impl MemoryState {
    /// A state without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an account.
    pub fn insert_account(&mut self, address: Address, account: Account) -> &mut Self {
        self.accounts.insert(AddressKey(address), account);
        self
    }

    /// Sets a storage slot; zero removes it.
    pub fn insert_slot(&mut self, address: Address, slot: U256, value: U256) -> &mut Self {
        if value.is_zero() {
            if let Some(slots) = self.slots.get_mut(&AddressKey(address)) {
                slots.remove(&SlotNumber(slot));
            }
        } else {
            let slots = self.slots.entry(AddressKey(address)).or_default();
            slots.insert(SlotNumber(slot), value);
        }
        self
    }

    /// Adds code, for accounts to name.
    pub fn insert_code(&mut self, code: Arc<Code>) -> &mut Self {
        self.codes.entry(code.hash()).or_insert(code);
        self
    }

    /// Makes the hash of an earlier block known.
    pub fn insert_block_hash(&mut self, number: u64, hash: B256) -> &mut Self {
        self.block_hashes.insert(number, hash);
        self
    }

    /// Brings the state from before a block to after it.
    pub fn apply(&mut self, delta: &StateDelta) {
        for code in &delta.codes {
            self.insert_code(Arc::clone(code));
        }
        for address in &delta.cleared {
            self.slots.remove(&AddressKey(*address));
        }
        for (address, slot, value) in &delta.slots {
            self.insert_slot(*address, *slot, *value);
        }
        for (address, account) in &delta.accounts {
            match account {
                Some(account) => {
                    self.accounts.insert(AddressKey(*address), *account);
                }
                None => {
                    self.accounts.remove(&AddressKey(*address));
                }
            }
        }
    }

    /// Every account, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = (Address, &Account)> {
        self.accounts
            .iter()
            .map(|(AddressKey(address), account)| (*address, account))
    }

    /// Every slot of an account that is not zero, in no order.
    pub fn slots(&self, address: Address) -> impl Iterator<Item = (U256, U256)> {
        self.slots
            .get(&AddressKey(address))
            .into_iter()
            .flatten()
            .map(|(SlotNumber(slot), value)| (*slot, *value))
    }
}

impl StateView for MemoryState {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        Ok(self.accounts.get(&AddressKey(address)).copied())
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let slots = self.slots.get(&AddressKey(address));
        Ok(slots
            .and_then(|slots| slots.get(&SlotNumber(slot)))
            .copied()
            .unwrap_or_default())
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        Ok(self.codes.get(&hash).cloned())
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        Ok(self.block_hashes.get(&number).copied())
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        Ok(self
            .slots
            .get(&AddressKey(address))
            .is_some_and(|slots| !slots.is_empty()))
    }

    /// Looks every key up, one straight after the other: the processor waits for several cache lines
    /// at a time, where look-ups with work between them wait for one after the other.
    fn prefetch(&self, keys: &[StateKey]) {
        let mut last = None;
        for key in keys {
            if let KeyPart::Slot(slot) = key.part {
                let slots = self.slots.get(&AddressKey(key.address));
                black_box(
                    slots
                        .and_then(|slots| slots.get(&SlotNumber(slot)))
                        .copied(),
                );
            } else if last != Some(key.address) {
                last = Some(key.address);
                black_box(self.accounts.get(&AddressKey(key.address)).copied());
            }
        }
    }
}
