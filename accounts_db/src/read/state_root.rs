//! The Ethereum state root, for conformance tests and small chains.
//!
//! The whole Merkle Patricia trie (yellow paper, appendix D) is built anew each time: every account
//! and slot is read and hashed. The state commitment of a block is something else
//! ([`lattice`](crate::commitment::lattice)); its cost depends on what the block changed.

use super::{iterate::StateItem, reader::Reader};
use crate::error::ReadError;
use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256};
use alloy_trie::{
    EMPTY_ROOT_HASH, TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};

impl Reader {
    /// The Ethereum state root at the block. Memory use grows with the state.
    pub fn state_root(&self) -> Result<B256, ReadError> {
        let mut accounts = Vec::new();
        let mut storages: AHashMap<Address, Vec<(B256, U256)>> = AHashMap::new();
        for item in self.items() {
            match item? {
                StateItem::Account(address, account) => accounts.push((address, account)),
                StateItem::Slot(address, slot, value) => {
                    storages
                        .entry(address)
                        .or_default()
                        .push((slot.into(), value));
                }
            }
        }
        let accounts = accounts.into_iter().map(|(address, account)| {
            let storage = storages.remove(&address);
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: storage.map_or(EMPTY_ROOT_HASH, storage_root_unhashed),
                code_hash: account.code_hash,
            };
            (address, account)
        });
        Ok(state_root_unhashed(accounts.collect::<Vec<_>>()))
    }
}
