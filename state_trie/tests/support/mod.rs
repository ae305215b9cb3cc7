//! Random states, and their roots made from nothing by `alloy-trie`.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount,
    proof::verify_proof,
    root::{state_root_unhashed, storage_root_unhashed},
};
use lockweave_runtime::{Account, StateDelta};
use lockweave_state_trie::AccountProof;
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(crate) type State = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

/// The state root.
pub(crate) fn root(state: &State) -> B256 {
    state_root_unhashed(state.iter().map(|(address, (account, slots))| {
        let slots = slots
            .iter()
            .map(|(slot, value)| (B256::from(*slot), *value));
        let account = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: storage_root_unhashed(slots),
            code_hash: account.code_hash,
        };
        (*address, account)
    }))
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put(u8, u64),
    Remove(u8),
    Clear(u8),
    Slot(u8, u16, u8),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), any::<u64>()).prop_map(|(who, balance)| Step::Put(who, balance)),
        1 => any::<u8>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Clear),
        8 => (any::<u8>(), 0..200_u16, any::<u8>())
            .prop_map(|(who, slot, value)| Step::Slot(who, slot, value)),
    ];
    prop::collection::vec(step, 1..60)
}

pub(crate) fn address(who: u8) -> Address {
    Address::with_last_byte(who % 24)
}

/// Values of 1 to 32 bytes.
fn value(byte: u8) -> U256 {
    if byte < 40 {
        return U256::ZERO;
    }
    U256::from(byte) << (8 * (usize::from(byte) % 32))
}

/// Changes a state; returns the changes.
pub(crate) fn apply(state: &mut State, steps: &[Step]) -> StateDelta {
    let mut accounts: BTreeMap<Address, Option<Account>> = BTreeMap::new();
    let mut slots: BTreeMap<(Address, U256), U256> = BTreeMap::new();
    let mut cleared = Vec::new();
    for step in steps {
        match *step {
            Step::Put(who, balance) => {
                let account = Account {
                    nonce: balance % 300,
                    balance: U256::from(balance),
                    ..Account::default()
                };
                state.entry(address(who)).or_default().0 = account;
                accounts.insert(address(who), Some(account));
            }
            Step::Remove(who) | Step::Clear(who) => {
                slots.retain(|(of, _), _| *of != address(who));
                if !cleared.contains(&address(who)) {
                    cleared.push(address(who));
                }
                if matches!(step, Step::Remove(_)) {
                    state.remove(&address(who));
                    accounts.insert(address(who), None);
                } else if let Some((_, slots)) = state.get_mut(&address(who)) {
                    slots.clear();
                }
            }
            Step::Slot(who, slot, byte) => {
                if let Some((_, known)) = state.get_mut(&address(who)) {
                    let slot = U256::from(slot);
                    slots.insert((address(who), slot), value(byte));
                    known.insert(slot, value(byte));
                    known.retain(|_, value| !value.is_zero());
                }
            }
        }
    }
    StateDelta {
        accounts: accounts.into_iter().collect(),
        slots: (slots.into_iter())
            .map(|((of, slot), value)| (of, slot, value))
            .collect(),
        cleared,
        ..StateDelta::default()
    }
}

/// Checks a proof of an account and some of its slots.
pub(crate) fn check(proof: &AccountProof, state: &State, who: Address) {
    let known = state.get(&who);
    let account = known.map(|(account, _)| TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: proof.storage_root,
        code_hash: account.code_hash,
    });
    let path = Nibbles::unpack(keccak256(who));
    let leaf = account.map(alloy_rlp::encode);
    verify_proof(proof.root, path, leaf, &proof.proof).unwrap();
    for slot in &proof.slots {
        let value = known.and_then(|(_, slots)| slots.get(&slot.slot)).copied();
        assert_eq!(slot.value, value.unwrap_or_default());
        let path = Nibbles::unpack(keccak256(B256::from(slot.slot)));
        let leaf = value.map(alloy_rlp::encode);
        if proof.storage_root == EMPTY_ROOT_HASH {
            assert!(slot.proof.is_empty());
        } else {
            verify_proof(proof.storage_root, path, leaf, &slot.proof).unwrap();
        }
    }
}
