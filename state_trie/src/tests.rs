//! Tries of keys that are not hashes, so that nodes are as short and paths as alike as no hash makes them.

use crate::{
    error::TrieError,
    node::{LeafValue, Root},
    path::common,
    prepare::Prepared,
    proof::OtherVersion,
    trie::{Source, StateTrie},
    update::{Item, LeafChange, NewStorage, Output},
};
use alloy_primitives::{B256, U256};
use alloy_trie::{HashBuilder, Nibbles, proof::verify_proof};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A trie of slots.
#[derive(Default)]
struct Slots {
    trie: StateTrie,
    leaves: Leaves,
}

#[derive(Clone, Default)]
struct Leaves(BTreeMap<B256, U256>);

impl Source for Leaves {
    type Error = TrieError;

    fn read_node(&self, _: u64) -> Result<Vec<u8>, TrieError> {
        Err(TrieError::Inconsistent("nothing is on disk"))
    }

    fn read_leaf(
        &self,
        _: Option<&B256>,
        _: u64,
        path: &B256,
        nibbles: usize,
        _: u64,
    ) -> Result<(B256, LeafValue), TrieError> {
        let mut leaves = self
            .0
            .iter()
            .filter(|(key, _)| common(key, path) >= nibbles);
        let (key, value) = leaves
            .next()
            .ok_or(TrieError::Inconsistent("a leaf is missing"))?;
        assert!(leaves.next().is_none(), "a leaf is alone below its parent");
        Ok((*key, LeafValue::Slot(*value)))
    }
}

impl Slots {
    fn changes(&self, changes: &BTreeMap<B256, U256>) -> Vec<LeafChange> {
        (changes.iter())
            .map(|(key, value)| LeafChange {
                key: *key,
                id: 0,
                existed: self.leaves.0.contains_key(key),
                value: (!value.is_zero()).then_some(LeafValue::Slot(*value)),
                storage: NewStorage::Kept,
            })
            .filter(|leaf| leaf.existed || leaf.value.is_some())
            .collect()
    }

    /// The version that leads back to an earlier one; `None` if nothing differs.
    fn back_to(&self, earlier: &Leaves) -> Option<OtherVersion> {
        let mut changes: BTreeMap<B256, U256> =
            self.leaves.0.keys().map(|key| (*key, U256::ZERO)).collect();
        changes.extend(earlier.0.iter());
        changes.retain(|key, value| *value != self.leaves.0.get(key).copied().unwrap_or_default());
        let changes = self.changes(&changes);
        if changes.is_empty() {
            return None;
        }
        let prepared = self.trie.prepare_leaves(&changes, &self.leaves, 1);
        Some(OtherVersion::new(prepared.unwrap(), 0))
    }

    fn apply(&mut self, changes: &BTreeMap<B256, U256>, threads: usize) -> Root {
        let leaves = self.changes(changes);
        let root = self.trie.update_leaves(&leaves, &self.leaves, threads);
        for (key, value) in changes {
            if value.is_zero() {
                self.leaves.0.remove(key);
            } else {
                self.leaves.0.insert(*key, *value);
            }
        }
        root.unwrap()
    }

    fn expected(&self) -> B256 {
        self.leaves.root()
    }

    /// Proves keys in an earlier version, which had these leaves.
    fn check_version(&self, version: u64, leaves: &Leaves, keys: Vec<B256>) {
        let root = leaves.root();
        for key in keys {
            let proof = self.trie.path_at(version, &key, leaves).unwrap();
            let value = leaves.0.get(&key).map(alloy_rlp::encode);
            if leaves.0.is_empty() {
                assert!(proof.is_empty());
                continue;
            }
            verify_proof(root, Nibbles::unpack(key), value, &proof).unwrap();
        }
    }
}

impl Leaves {
    fn root(&self) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in &self.0 {
            builder.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(value));
        }
        builder.root()
    }
}

impl StateTrie {
    fn update_leaves<S: Source>(
        &self,
        leaves: &[LeafChange],
        source: &S,
        threads: usize,
    ) -> Result<Root, S::Error> {
        if leaves.is_empty() {
            return Ok(self.read().root.clone());
        }
        let prepared = self.prepare_leaves(leaves, source, threads)?;
        let root = prepared.root.clone();
        let stamp = self.read().version + 1;
        self.install(prepared, stamp)?;
        Ok(root)
    }

    fn prepare_leaves<S: Source>(
        &self,
        leaves: &[LeafChange],
        source: &S,
        threads: usize,
    ) -> Result<Prepared, S::Error> {
        let mut output = Output::default();
        let inner = self.read();
        let context = self.context(&inner, source, threads);
        let item = Item::root(0, 0, 0..leaves.len(), inner.root.place.clone());
        let leaves = crate::update::Leaves::new(leaves.to_vec());
        let roots = context.of(&leaves, &[]).roots(vec![item], &mut output)?;
        let root = roots
            .into_iter()
            .next()
            .map(|(_, root)| root)
            .unwrap_or_default();
        Ok(self.prepared(&inner, root, output, threads))
    }
}

/// Keys that share up to 62 nibbles.
fn key() -> impl Strategy<Value = B256> {
    (0..5_usize, 0..3_u8, 0..64_usize, 0..3_u8).prop_map(|(at, nibble, other, value)| {
        let mut key = B256::repeat_byte(0x11);
        crate::path::set_nibble(&mut key, [0, 7, 30, 55, 62][at], nibble);
        crate::path::set_nibble(&mut key, other, value);
        key
    })
}

fn value() -> impl Strategy<Value = U256> {
    prop_oneof![
        2 => Just(U256::ZERO),
        2 => (1..256_u64).prop_map(U256::from),
        1 => (1..256_u64, 0..32_usize).prop_map(|(byte, shift)| U256::from(byte) << (8 * shift)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn long_shared_prefixes_and_short_nodes(
        blocks in prop::collection::vec(prop::collection::btree_map(key(), value(), 0..40), 1..10),
    ) {
        let mut slots = Slots::default();
        for changes in blocks {
            let root = slots.apply(&changes, 1);
            prop_assert_eq!(root.hash, slots.expected());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn earlier_versions_of_them(
        blocks in prop::collection::vec(prop::collection::btree_map(key(), value(), 0..40), 1..12),
        keys in prop::collection::vec(key(), 20),
    ) {
        let mut slots = Slots::default();
        slots.trie.keep_history(1 << 20, 100);
        let mut versions = vec![(0, Leaves::default())];
        let mut others = Vec::new();
        for changes in blocks {
            slots.apply(&changes, 1);
            let (_, half) = &versions[versions.len() / 2];
            others.push((slots.back_to(half), half.clone()));
            versions.push((slots.trie.read().version, slots.leaves.clone()));
        }
        for (other, leaves) in others {
            let Some(other) = other else { continue };
            let root = leaves.root();
            prop_assert_eq!(other.root(), root);
            for key in keys.iter().chain(leaves.0.keys()) {
                let proof = slots.trie.path_in(&other, key, &leaves).unwrap();
                let value = leaves.0.get(key).map(alloy_rlp::encode);
                let path = Nibbles::unpack(key);
                if !leaves.0.is_empty() {
                    prop_assert!(verify_proof(root, path, value, &proof).is_ok());
                }
            }
        }
        for (version, leaves) in versions {
            let keys = keys.iter().chain(leaves.0.keys()).copied();
            slots.check_version(version, &leaves, keys.collect());
        }
    }
}

/// Two places may have the same hash. Then there may be no proof, but none is wrong.
#[test]
fn equal_hashes_of_places_make_no_wrong_proof() {
    let key = |number: u64| alloy_primitives::keccak256(number.to_be_bytes());
    let mut slots = Slots::default();
    slots.trie.keep_history(1 << 20, 100);
    // Two bits remain.
    slots.trie.inner.write().history.places.lacking = !(1 | 1 << 40);
    let mut versions = Vec::new();
    for block in 0..12_u64 {
        let changes =
            (0..9).map(|at| (key((at * 7 + block * 5) % 30), U256::from((at + block) % 4)));
        slots.apply(&changes.collect(), 1);
        versions.push((slots.trie.read().version, slots.leaves.clone()));
    }
    let (mut proven, mut refused) = (0, 0);
    for (version, leaves) in versions {
        for key in (0..30).map(key) {
            let Ok(proof) = slots.trie.path_at(version, &key, &leaves) else {
                refused += 1;
                continue;
            };
            proven += 1;
            let value = leaves.0.get(&key).map(alloy_rlp::encode);
            let checked = verify_proof(leaves.root(), Nibbles::unpack(key), value, &proof);
            checked.unwrap();
        }
    }
    assert!(proven > 0 && refused > 0, "{proven}, {refused}");
}

#[test]
fn threads_make_the_same_trie() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    let mut slots = Slots::default();
    slots.trie.keep_history(64 << 20, 100);
    let mut versions = Vec::new();
    let key = |number: u64| alloy_primitives::keccak256(number.to_be_bytes());
    for block in 0..6_u64 {
        let changes = (0..3000).map(|at| {
            let number = (at * 7 + block * 911) % 5000;
            (key(number), U256::from((number + block) % 5))
        });
        let changes = changes.collect();
        let root = pool.install(|| slots.apply(&changes, 3));
        assert_eq!(root.hash, slots.expected());
        versions.push((slots.trie.read().version, slots.leaves.clone()));
    }
    for (version, leaves) in versions {
        let keys = (0..5000).step_by(7).map(key);
        slots.check_version(version, &leaves, keys.collect());
    }
}
