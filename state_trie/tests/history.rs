//! Proofs of earlier versions, against `alloy-trie`.

mod support;

use alloy_primitives::{Address, B256, U256, keccak256};
use lockweave_runtime::Account;
use lockweave_state_trie::{
    AccountChange, Changes, LeafValue, NodeWriter, OtherVersion, SlotChange, Source, StateTrie,
    TrieError, UNIT_BYTES, is_below, location,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::{State, address, apply, check, root, steps};

/// Accounts with their slots, by hashed keys.
type Hashed = BTreeMap<B256, (Account, BTreeMap<B256, U256>)>;

/// The leaves of each version, and the nodes on disk.
#[derive(Default)]
struct Leaves {
    versions: Vec<Hashed>,
    nodes: Vec<Vec<u8>>,
}

impl Leaves {
    fn push(&mut self, state: &State) {
        let hashed = |(address, (account, slots)): (&Address, &(Account, BTreeMap<U256, U256>))| {
            let slots = slots.iter();
            let slots = slots.map(|(slot, value)| (keccak256(B256::from(*slot)), *value));
            (keccak256(address), (*account, slots.collect()))
        };
        self.versions.push(state.iter().map(hashed).collect());
    }
}

impl Source for Leaves {
    type Error = TrieError;

    fn read_node(&self, location: u64) -> Result<Vec<u8>, TrieError> {
        let (unit, _) = lockweave_state_trie::units_of(location);
        Ok(self.nodes[usize::try_from(unit).unwrap() - 1].clone())
    }

    fn read_leaf(
        &self,
        owner: Option<&B256>,
        _: u64,
        path: &B256,
        nibbles: usize,
        stamp: u64,
    ) -> Result<(B256, LeafValue), TrieError> {
        let state = &self.versions[usize::try_from(stamp).unwrap()];
        let found = match owner {
            None => {
                let mut below = state.iter().filter(|it| is_below(it.0, path, nibbles));
                below.next().map(|(key, (account, _))| {
                    let value = LeafValue::Account {
                        nonce: account.nonce,
                        balance: account.balance,
                        code_hash: account.code_hash,
                    };
                    (*key, value)
                })
            }
            Some(owner) => {
                let slots = state.get(owner).map(|(_, slots)| slots.iter());
                let mut below = slots.into_iter().flatten();
                let found = below.find(|it| is_below(it.0, path, nibbles));
                found.map(|(key, value)| (*key, LeafValue::Slot(*value)))
            }
        };
        found.ok_or(TrieError::Inconsistent("a leaf is missing"))
    }
}

impl NodeWriter for Leaves {
    type Error = TrieError;

    fn write(&mut self, node: &[u8]) -> Result<u64, TrieError> {
        self.nodes.push(node.to_vec());
        let units = node.len().div_ceil(UNIT_BYTES) as u64;
        Ok(location(self.nodes.len() as u64, units))
    }
}

fn id(key: &[u8]) -> u64 {
    keccak256(key)
        .iter()
        .take(7)
        .fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// The changes from a state to another.
fn changes(before: &State, after: &State) -> Changes {
    let mut changes = Changes::default();
    let none = BTreeMap::new();
    for address in (0..24).map(address) {
        let (old, new) = (before.get(&address), after.get(&address));
        if old == new {
            continue;
        }
        changes.accounts.push(AccountChange {
            address,
            id: id(address.as_slice()),
            existed: old.is_some(),
            account: new.map(|(it, _)| (it.nonce, it.balance, it.code_hash)),
        });
        let [old, new] = [old, new].map(|it| it.map_or(&none, |(_, slots)| slots));
        for slot in (0..200).map(U256::from) {
            if old.get(&slot) != new.get(&slot) {
                changes.slots.push(SlotChange {
                    address,
                    slot,
                    id: id(&slot.to_be_bytes::<32>()),
                    existed: old.contains_key(&slot),
                    value: new.get(&slot).copied().unwrap_or_default(),
                });
            }
        }
    }
    changes
}

/// A trie with all states that it had.
#[derive(Default)]
struct Chain {
    trie: StateTrie,
    leaves: Leaves,
    states: Vec<State>,
}

impl Chain {
    fn new(versions: usize) -> Self {
        let mut chain = Self::default();
        chain.trie.keep_history(1 << 30, versions);
        chain.leaves.push(&State::new());
        chain.states.push(State::new());
        chain
    }

    fn newest(&self) -> &State {
        self.states.last().unwrap()
    }

    fn apply(&mut self, state: State) {
        let changes = changes(self.newest(), &state);
        let prepared = self.trie.prepare(&changes, &self.leaves, 1).unwrap();
        assert_eq!(prepared.root(), root(&state));
        self.leaves.push(&state);
        self.trie
            .install(prepared, self.states.len() as u64)
            .unwrap();
        self.states.push(state);
    }

    /// Writes the nodes to disk and frees their memory.
    fn evict(&mut self) {
        let mut writing = self.trie.start_writing();
        self.trie.write(&mut writing, &mut self.leaves).unwrap();
        self.trie.finish_writing(writing, true);
        for _ in 0..200 {
            self.trie.trim(0);
        }
    }

    /// The version that leads back to an earlier one.
    fn back_to(&self, version: usize) -> OtherVersion {
        let changes = changes(self.newest(), &self.states[version]);
        let prepared = self.trie.prepare(&changes, &self.leaves, 1).unwrap();
        OtherVersion::new(prepared, version as u64)
    }

    fn slots() -> Vec<U256> {
        (0..200).step_by(9).map(U256::from).collect()
    }

    /// Proves everything at each of the newest versions.
    fn check(&self, kept: usize) {
        for (version, state) in self.states.iter().enumerate() {
            for who in (0..24).map(address) {
                let (stamp, slots) = (version as u64, Self::slots());
                let proof = self.trie.proof_at(stamp, who, &slots, &self.leaves);
                let proof = proof.unwrap();
                if version + 1 + kept < self.states.len() {
                    assert_eq!(proof, None, "it is not kept");
                    continue;
                }
                let proof = proof.unwrap();
                assert_eq!(proof.root, root(state));
                check(&proof, state, who);
            }
        }
    }

    fn check_other(&self, other: &OtherVersion, version: usize) {
        let state = &self.states[version];
        for who in (0..24).map(address) {
            let proof = self.trie.proof_in(other, who, &Self::slots(), &self.leaves);
            let proof = proof.unwrap();
            assert_eq!(proof.root, root(state));
            check(&proof, state, who);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_version_kept_is_proven(
        blocks in prop::collection::vec((steps(), 0..6_u8), 1..14),
        kept in 0..16_usize,
    ) {
        let mut chain = Chain::new(kept);
        let mut others = Vec::new();
        for (steps, how) in blocks {
            let mut state = chain.newest().clone();
            apply(&mut state, &steps);
            // A block is undone.
            if how == 0 && chain.states.len() > 2 {
                state = chain.states[chain.states.len() - 3].clone();
            }
            chain.apply(state);
            match how {
                1 | 2 => chain.evict(),
                3 => {
                    let version = chain.states.len() / 2;
                    others.push((chain.back_to(version), version, chain.states.len()));
                }
                _ => {}
            }
        }
        chain.check(kept);
        for (other, version, made) in &others {
            if made + kept >= chain.states.len() {
                chain.check_other(other, *version);
            } else {
                let proof = chain.trie.proof_in(other, address(0), &[], &chain.leaves);
                prop_assert_eq!(proof, Err(TrieError::Stale));
            }
        }
    }
}

#[test]
fn memory_limits_the_history() {
    let mut chain = Chain::new(100);
    chain.trie.keep_history(20_000, 100);
    for block in 0..40_u8 {
        let mut state = chain.newest().clone();
        for who in 0..24 {
            let (account, slots) = state.entry(address(who)).or_default();
            account.nonce += 1;
            slots.insert(U256::from(block), U256::from(who + 1));
        }
        chain.apply(state);
        assert!(chain.trie.history_bytes() <= 20_000);
    }
    let kept = |stamp: u64| {
        let proof = chain.trie.proof_at(stamp, address(0), &[], &chain.leaves);
        proof.unwrap().is_some()
    };
    let kept: Vec<bool> = (0..=40).map(kept).collect();
    let first = kept.iter().position(|it| *it).unwrap();
    assert!((1..40).contains(&first), "the oldest are dropped");
    assert!(kept[first..].iter().all(|it| *it));
}
