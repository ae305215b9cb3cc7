//! A whole state with the leaves of its Merkle-Patricia trie.
//!
//! A storage root is computed again only if the account's storage changed; the account trie is computed again
//! for each root. That is fast enough for imported test chains and for checking another client's chain.

use super::merkle::{account_storage_root, trie_accounts};
use alloy_primitives::{Address, B256, keccak256};
use alloy_trie::TrieAccount;
use lockweave_runtime::{Account, MemoryState, StateDelta};
use std::collections::BTreeMap;

/// A state and the leaves of its trie.
#[derive(Clone, Debug, Default)]
pub struct MerkleState {
    state: MemoryState,
    /// Leaves of the account trie, by hashed address.
    leaves: BTreeMap<B256, TrieAccount>,
}

impl MerkleState {
    /// The state after genesis, or any other, as a change of the empty one.
    pub fn new(delta: &StateDelta) -> Self {
        let mut state = Self::default();
        state.apply(delta);
        state
    }

    /// The trie of a whole state. Code is named by its hash; the root does not need its bytes.
    pub fn of(state: MemoryState) -> Self {
        let leaves = trie_accounts(&state);
        Self { state, leaves }
    }

    /// The state.
    pub const fn state(&self) -> &MemoryState {
        &self.state
    }

    /// Brings the state from before a block to after it.
    pub fn apply(&mut self, delta: &StateDelta) {
        self.state.apply(delta);
        for (address, account) in &delta.accounts {
            self.set_leaf(*address, *account);
        }
        let mut stored: Vec<Address> = (delta.slots.iter().map(|(address, ..)| *address))
            .chain(delta.cleared.iter().copied())
            .collect();
        stored.sort_unstable();
        stored.dedup();
        for address in stored {
            let root = account_storage_root(&self.state, address);
            if let Some(leaf) = self.leaves.get_mut(&keccak256(address)) {
                leaf.storage_root = root;
            }
        }
    }

    fn set_leaf(&mut self, address: Address, account: Option<Account>) {
        let key = keccak256(address);
        match account {
            None => {
                self.leaves.remove(&key);
            }
            Some(account) => {
                let leaf = self.leaves.entry(key).or_default();
                leaf.nonce = account.nonce;
                leaf.balance = account.balance;
                leaf.code_hash = account.code_hash;
            }
        }
    }

    /// The root of the state trie.
    pub fn root(&self) -> B256 {
        alloy_trie::root::state_root(self.leaves.iter().map(|(key, leaf)| (*key, *leaf)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::merkle::state_root;
    use super::*;
    use alloy_primitives::U256;

    #[test]
    fn the_root_kept_is_the_root_computed() {
        let mut kept = MerkleState::default();
        for round in 0_u8..20 {
            let address = Address::repeat_byte(round % 7);
            let account = Account {
                nonce: u64::from(round),
                balance: U256::from(round) + U256::from(1),
                ..Account::default()
            };
            let delta = StateDelta {
                accounts: vec![(address, (round % 5 != 4).then_some(account))],
                cleared: if round % 5 == 4 {
                    vec![address]
                } else {
                    Vec::new()
                },
                slots: if round % 5 == 4 {
                    Vec::new()
                } else {
                    vec![(address, U256::from(round % 3), U256::from(round % 4))]
                },
                ..StateDelta::default()
            };
            kept.apply(&delta);
            assert_eq!(kept.root(), state_root(kept.state()), "round {round}");
        }
    }
}
