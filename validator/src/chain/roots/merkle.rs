//! Ethereum's Merkle-Patricia roots and proofs, computed from a whole state.
//!
//! The chain's own commitment is not a trie, so a root is computed only on demand: to check blocks of other
//! clients, and for proofs. It costs a pass over the state.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::encode_fixed_size;
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer, root::storage_root};
use lockweave_runtime::MemoryState;
use std::collections::BTreeMap;

/// Slots of an account by hashed key, in order.
fn hashed_slots(state: &MemoryState, address: Address) -> Vec<(B256, U256)> {
    let mut slots: Vec<_> = state
        .slots(address)
        .map(|(slot, value)| (keccak256(B256::from(slot)), value))
        .collect();
    slots.sort_unstable_by_key(|(key, _)| *key);
    slots
}

/// The root of an account's storage trie.
pub fn account_storage_root(state: &MemoryState, address: Address) -> B256 {
    storage_root(hashed_slots(state, address))
}

/// The leaves of the state trie, by hashed address.
pub(super) fn trie_accounts(state: &MemoryState) -> BTreeMap<B256, TrieAccount> {
    let leaves = state.accounts().map(|(address, account)| {
        let leaf = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: account_storage_root(state, address),
            code_hash: account.code_hash,
        };
        (keccak256(address), leaf)
    });
    leaves.collect()
}

/// The root of the state trie.
pub fn state_root(state: &MemoryState) -> B256 {
    alloy_trie::root::state_root(trie_accounts(state))
}

/// An account with the proof that it is, or is not, in the state.
#[derive(Clone, Debug)]
pub struct AccountProof {
    /// Root of the state trie.
    pub state_root: B256,
    /// Nodes from the root to the account.
    pub proof: Vec<Bytes>,
    /// The account; `None` where there is none.
    pub account: Option<TrieAccount>,
    /// Value and proof of each requested slot.
    pub slots: Vec<(U256, Vec<Bytes>)>,
}

/// Proofs of an account and some of its slots.
pub fn prove(state: &MemoryState, address: Address, slots: &[U256]) -> AccountProof {
    let target = keccak256(address);
    let accounts = trie_accounts(state);
    let account = accounts.get(&target).copied();
    let leaves = (accounts.iter()).map(|(key, leaf)| (*key, alloy_rlp::encode(leaf)));
    let (state_root, proofs) = proofs_of(leaves, &[target]);
    let hashed = hashed_slots(state, address);
    let targets: Vec<B256> = (slots.iter())
        .map(|slot| keccak256(B256::from(*slot)))
        .collect();
    let leaves = (hashed.iter()).map(|(key, value)| (*key, encode_fixed_size(value).to_vec()));
    let (_, slot_proofs) = proofs_of(leaves, &targets);
    let slots = targets
        .iter()
        .zip(slot_proofs)
        .map(|(target, proof)| {
            let found = hashed.binary_search_by_key(target, |(key, _)| *key);
            (found.map_or(U256::ZERO, |found| hashed[found].1), proof)
        })
        .collect();
    AccountProof {
        state_root,
        proof: proofs.into_iter().next().unwrap_or_default(),
        account,
        slots,
    }
}

/// The root of a trie of sorted leaves, and for each target the nodes on its path.
fn proofs_of(
    leaves: impl Iterator<Item = (B256, Vec<u8>)>,
    targets: &[B256],
) -> (B256, Vec<Vec<Bytes>>) {
    let paths: Vec<Nibbles> = targets.iter().map(|key| Nibbles::unpack(*key)).collect();
    let retainer = ProofRetainer::new(paths.clone());
    let mut builder = HashBuilder::default().with_proof_retainer(retainer);
    let mut is_empty = true;
    for (key, leaf) in leaves {
        builder.add_leaf(Nibbles::unpack(key), &leaf);
        is_empty = false;
    }
    let root = builder.root();
    if is_empty {
        // The proof that an empty trie has nothing is no node at all.
        return (root, vec![Vec::new(); targets.len()]);
    }
    let nodes = builder.take_proof_nodes();
    let proofs = paths
        .iter()
        .map(|path| {
            let mut on_path = nodes.matching_nodes_sorted(path);
            on_path.sort_unstable_by_key(|(path, _)| path.len());
            on_path.into_iter().map(|(_, node)| node).collect()
        })
        .collect();
    (root, proofs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_trie::proof::verify_proof;
    use lockweave_runtime::Account;

    fn state(accounts: u8) -> MemoryState {
        let mut state = MemoryState::new();
        for byte in 1..=accounts {
            let address = Address::repeat_byte(byte);
            let account = Account {
                nonce: u64::from(byte),
                balance: U256::from(1000) + U256::from(byte),
                ..Account::default()
            };
            state.insert_account(address, account);
            for slot in 0..u64::from(byte) {
                state.insert_slot(address, U256::from(slot), U256::from(slot + 1));
            }
        }
        state
    }

    #[test]
    fn proofs_verify_against_the_root() {
        let state = state(40);
        for address in [Address::repeat_byte(7), Address::repeat_byte(200)] {
            let proof = prove(&state, address, &[U256::from(3), U256::from(900)]);
            assert_eq!(proof.state_root, state_root(&state));
            let leaf = proof.account.as_ref().map(alloy_rlp::encode);
            let path = Nibbles::unpack(keccak256(address));
            verify_proof(proof.state_root, path, leaf, &proof.proof).unwrap();
            let root = account_storage_root(&state, address);
            for (slot, (value, nodes)) in [3_u64, 900].into_iter().zip(&proof.slots) {
                let path = Nibbles::unpack(keccak256(B256::from(U256::from(slot))));
                let leaf = (!value.is_zero()).then(|| alloy_rlp::encode(*value));
                verify_proof(root, path, leaf, nodes).unwrap();
            }
        }
    }

    #[test]
    fn a_changed_value_changes_the_root() {
        let mut state = state(5);
        let before = state_root(&state);
        state.insert_slot(Address::repeat_byte(3), U256::from(1), U256::from(77));
        assert_ne!(state_root(&state), before);
    }
}
