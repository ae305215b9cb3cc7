//! States as fixtures write them, and the Merkle-Patricia root of one in memory.

use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use lockweave::{
    MemoryState,
    runtime::{Account, Code, StateDelta},
};
use lockweave_state_trie::MemoryTrie;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// An account in a fixture.
#[derive(Deserialize)]
pub(crate) struct FixtureAccount {
    balance: U256,
    nonce: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

impl FixtureAccount {
    /// The account in the form of a genesis file.
    pub(crate) fn genesis(&self) -> GenesisAccount {
        let slots = self.storage.iter();
        let slots = slots.map(|(slot, value)| (B256::from(*slot), B256::from(*value)));
        GenesisAccount {
            nonce: Some(self.nonce.to()),
            balance: self.balance,
            code: Some(self.code.clone()),
            storage: Some(slots.collect()),
            private_key: None,
        }
    }
}

/// A fixture's accounts as a state.
pub(crate) fn load(accounts: &BTreeMap<Address, FixtureAccount>) -> MemoryState {
    let mut state = MemoryState::new();
    for (address, fixture) in accounts {
        let code = Arc::new(Code::new(fixture.code.clone()));
        let account = Account {
            nonce: fixture.nonce.to(),
            balance: fixture.balance,
            code_hash: code.hash(),
        };
        state.insert_account(*address, account);
        if !fixture.code.is_empty() {
            state.insert_code(code);
        }
        for (slot, value) in &fixture.storage {
            state.insert_slot(*address, *slot, *value);
        }
    }
    state
}

/// The root of the state's trie.
pub(crate) fn root(state: &MemoryState) -> B256 {
    state_root_unhashed(state.accounts().map(|(address, account)| {
        let slots = state.slots(address);
        let slots = slots.map(|(slot, value)| (B256::from(slot), value));
        let account = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: storage_root_unhashed(slots),
            code_hash: account.code_hash,
        };
        (address, account)
    }))
}

/// A state and its trie, which is updated block by block.
#[derive(Clone)]
pub(crate) struct TrieState {
    state: MemoryState,
    trie: MemoryTrie,
}

impl TrieState {
    /// A state with its trie.
    pub(crate) fn of(state: MemoryState) -> Result<Self, String> {
        let mut delta = StateDelta::default();
        for (address, account) in state.accounts() {
            delta.accounts.push((address, Some(*account)));
            let slots = state.slots(address);
            delta
                .slots
                .extend(slots.map(|(slot, value)| (address, slot, value)));
        }
        let trie = MemoryTrie::of(&delta).map_err(|error| error.to_string())?;
        Ok(Self { state, trie })
    }

    /// The state.
    pub(crate) const fn state(&self) -> &MemoryState {
        &self.state
    }

    /// The state root.
    pub(crate) fn root(&self) -> B256 {
        self.trie.root()
    }

    /// The state root after some changes.
    pub(crate) fn root_after(&self, delta: &StateDelta) -> Result<B256, String> {
        let prepared = self.trie.prepare(delta);
        Ok(prepared.map_err(|error| error.to_string())?.root())
    }

    /// Applies the changes of a block.
    pub(crate) fn apply(&mut self, delta: &StateDelta) -> Result<(), String> {
        self.state.apply(delta);
        self.trie.apply(delta).map_err(|error| error.to_string())?;
        Ok(())
    }
}
