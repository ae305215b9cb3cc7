//! Blocks of puts, removals and storage clears: after each, the state trie has the root of the trie that alloy builds
//! from nothing, and its proofs are valid.

#![no_main]

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount,
    proof::verify_proof,
    root::{state_root_unhashed, storage_root_unhashed},
};
use libfuzzer_sys::fuzz_target;
use lockweave_runtime::{Account, StateDelta};
use lockweave_state_trie::{AccountProof, MemoryTrie};
use std::collections::{BTreeMap, BTreeSet};

const ACCOUNTS: u8 = 24;
const SLOTS: u8 = 100;
/// Bytes of a step.
const STEP_BYTES: usize = 4;
const STEPS_MAX: usize = 400;

type State = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

/// The changes of a block.
#[derive(Default)]
struct Block {
    accounts: BTreeMap<Address, Option<Account>>,
    slots: BTreeMap<(Address, U256), U256>,
    cleared: BTreeSet<Address>,
}

impl Block {
    fn put(&mut self, state: &mut State, address: Address, account: Account) {
        state.entry(address).or_default().0 = account;
        self.accounts.insert(address, Some(account));
    }

    fn remove(&mut self, state: &mut State, address: Address) {
        state.remove(&address);
        self.accounts.insert(address, None);
        self.forget_slots(address);
    }

    fn clear(&mut self, state: &mut State, address: Address) {
        if let Some((_, slots)) = state.get_mut(&address) {
            slots.clear();
        }
        self.forget_slots(address);
    }

    fn forget_slots(&mut self, address: Address) {
        self.slots.retain(|(of, _), _| *of != address);
        self.cleared.insert(address);
    }

    fn put_slot(&mut self, state: &mut State, address: Address, slot: U256, value: U256) {
        let Some((_, slots)) = state.get_mut(&address) else {
            return;
        };
        self.slots.insert((address, slot), value);
        if value.is_zero() {
            slots.remove(&slot);
        } else {
            slots.insert(slot, value);
        }
    }

    fn delta(&self) -> StateDelta {
        StateDelta {
            accounts: self
                .accounts
                .iter()
                .map(|(address, account)| (*address, *account))
                .collect(),
            slots: (self.slots.iter())
                .map(|((of, slot), value)| (*of, *slot, *value))
                .collect(),
            cleared: self.cleared.iter().copied().collect(),
            ..StateDelta::default()
        }
    }
}

fn storage_root(slots: &BTreeMap<U256, U256>) -> B256 {
    storage_root_unhashed(
        slots
            .iter()
            .map(|(slot, value)| (B256::from(*slot), *value)),
    )
}

fn trie_account(account: &Account, slots: &BTreeMap<U256, U256>) -> TrieAccount {
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: storage_root(slots),
        code_hash: account.code_hash,
    }
}

fn root(state: &State) -> B256 {
    state_root_unhashed(
        (state.iter()).map(|(address, (account, slots))| (*address, trie_account(account, slots))),
    )
}

/// Values of 1 to 32 bytes, and zero.
fn value(byte: u8) -> U256 {
    if byte < 64 {
        return U256::ZERO;
    }
    U256::from(byte) << (8 * (usize::from(byte) % 32))
}

fn check_proof(proof: &AccountProof, state: &State, address: Address) {
    assert_eq!(proof.root, root(state));
    let known = state.get(&address);
    let account = known.map(|(account, slots)| trie_account(account, slots));
    let path = Nibbles::unpack(keccak256(address));
    let leaf = account.map(alloy_rlp::encode);
    verify_proof(proof.root, path, leaf, &proof.proof).expect("a proof of the account");
    let empty = BTreeMap::new();
    let slots = known.map_or(&empty, |(_, slots)| slots);
    assert_eq!(proof.storage_root, storage_root(slots));
    for slot in &proof.slots {
        let value = slots.get(&slot.slot).copied();
        assert_eq!(slot.value, value.unwrap_or_default());
        if proof.storage_root == EMPTY_ROOT_HASH {
            assert!(slot.proof.is_empty());
            continue;
        }
        let path = Nibbles::unpack(keccak256(B256::from(slot.slot)));
        let leaf = value.map(alloy_rlp::encode);
        verify_proof(proof.storage_root, path, leaf, &slot.proof).expect("a proof of the slot");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut trie = MemoryTrie::default();
    let mut state = State::new();
    let mut block = Block::default();
    let mut steps = data.chunks_exact(STEP_BYTES).take(STEPS_MAX).peekable();
    while let Some(step) = steps.next() {
        let address = Address::with_last_byte(step[1] % ACCOUNTS);
        let slot = U256::from(step[2] % SLOTS);
        match step[0] % 8 {
            0 | 1 => {
                let account = Account {
                    nonce: step[2].into(),
                    balance: value(step[3]),
                    ..Account::default()
                };
                block.put(&mut state, address, account);
            }
            2 => block.remove(&mut state, address),
            3 => block.clear(&mut state, address),
            4..=6 => block.put_slot(&mut state, address, slot, value(step[3])),
            _ => {}
        }
        // The block ends here.
        if step[0] % 8 == 7 || steps.peek().is_none() {
            let delta = std::mem::take(&mut block).delta();
            let slots = [slot, U256::from(step[3] % SLOTS)];
            let proof = trie
                .proof_after(&delta, address, &slots)
                .expect("sound changes");
            check_proof(&proof, &state, address);
            let root = trie.apply(&delta).expect("sound changes");
            assert_eq!(root, proof.root);
            let proof = trie.proof(address, &slots).expect("a sound trie");
            check_proof(&proof, &state, address);
        }
    }
});
