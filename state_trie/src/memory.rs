//! A state trie with its leaves in memory.

use crate::{
    error::TrieError,
    node::LeafValue,
    path::{KEY_NIBBLES, is_below, set_nibble},
    prepare::{AccountChange, Changes, Prepared, SlotChange},
    proof::{AccountProof, OtherVersion},
    trie::{Source, StateTrie},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use lockweave_runtime::{Account, StateDelta};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// A state trie with its leaves in memory, for tests, tools and chains that end with the process.
///
/// ```
/// use lockweave_runtime::{Account, StateDelta};
/// use lockweave_state_trie::{EMPTY_ROOT, MemoryTrie};
/// use alloy_primitives::{Address, U256};
///
/// let mut trie = MemoryTrie::default();
/// assert_eq!(trie.root(), EMPTY_ROOT);
/// let account = Account { balance: U256::from(5), ..Account::default() };
/// let mut delta = StateDelta::default();
/// delta.accounts.push((Address::repeat_byte(1), Some(account)));
/// trie.apply(&delta)?;
/// let proof = trie.proof(Address::repeat_byte(1), &[])?;
/// assert_eq!(proof.root, trie.root());
/// # Ok::<(), lockweave_state_trie::TrieError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryTrie {
    trie: StateTrie,
    leaves: Leaves,
}

/// The leaves, by hashed keys.
#[derive(Clone, Debug, Default)]
struct Leaves {
    accounts: BTreeMap<B256, Account>,
    /// Slot and value, by hashed account and hashed slot. Slots of accounts that do not exist are left out.
    slots: BTreeMap<(B256, B256), (U256, U256)>,
}

/// An update of a [`MemoryTrie`].
#[derive(Debug)]
pub struct PreparedDelta {
    prepared: Prepared,
    changes: Changes,
}

impl PreparedDelta {
    /// The state root after the update.
    pub const fn root(&self) -> B256 {
        self.prepared.root()
    }
}

impl Leaves {
    /// The first leaf below a path that is none of the `changed` ones.
    fn find(
        &self,
        owner: Option<&B256>,
        path: &B256,
        nibbles: usize,
        is_changed: impl Fn(Option<&B256>, &B256) -> bool,
    ) -> Option<(B256, LeafValue)> {
        let mut first = *path;
        for index in nibbles..KEY_NIBBLES {
            set_nibble(&mut first, index, 0);
        }
        match owner {
            None => (self.accounts.range(first..))
                .take_while(|(key, _)| is_below(key, path, nibbles))
                .find(|(key, _)| !is_changed(None, key))
                .map(|(key, account)| (*key, value_of(account))),
            Some(owner) => (self.slots.range((*owner, first)..))
                .take_while(|((of, key), _)| of == owner && is_below(key, path, nibbles))
                .find(|((of, key), _)| !is_changed(Some(of), key))
                .map(|((_, key), (_, value))| (*key, LeafValue::Slot(*value))),
        }
    }
}

impl Source for Leaves {
    type Error = TrieError;

    fn read_node(&self, _: u64) -> Result<Vec<u8>, TrieError> {
        Err(TrieError::Inconsistent(
            "a trie in memory has no nodes on disk",
        ))
    }

    fn read_leaf(
        &self,
        owner: Option<&B256>,
        _: u64,
        path: &B256,
        nibbles: usize,
        _: u64,
    ) -> Result<(B256, LeafValue), TrieError> {
        self.find(owner, path, nibbles, |_, _| false)
            .ok_or(TrieError::Inconsistent("a leaf is missing"))
    }
}

/// Leaves after some changes.
struct Changed<'a> {
    old: &'a Leaves,
    new: Leaves,
    /// All changed accounts and slots, with those that are removed.
    accounts: BTreeSet<B256>,
    slots: BTreeSet<(B256, B256)>,
}

impl Source for Changed<'_> {
    type Error = TrieError;

    fn read_node(&self, location: u64) -> Result<Vec<u8>, TrieError> {
        self.old.read_node(location)
    }

    fn read_leaf(
        &self,
        owner: Option<&B256>,
        id: u64,
        path: &B256,
        nibbles: usize,
        stamp: u64,
    ) -> Result<(B256, LeafValue), TrieError> {
        let is_changed = |owner: Option<&B256>, key: &B256| match owner {
            None => self.accounts.contains(key),
            Some(owner) => self.slots.contains(&(*owner, *key)),
        };
        match self.old.find(owner, path, nibbles, is_changed) {
            Some(found) => Ok(found),
            None => self.new.read_leaf(owner, id, path, nibbles, stamp),
        }
    }
}

impl Leaves {
    fn apply(&mut self, changes: &Changes) {
        for change in &changes.accounts {
            let key = keccak256(change.address);
            match change.account {
                Some((nonce, balance, code_hash)) => {
                    let account = Account {
                        nonce,
                        balance,
                        code_hash,
                    };
                    self.accounts.insert(key, account);
                }
                None => drop(self.accounts.remove(&key)),
            }
        }
        for change in &changes.slots {
            let key = (
                keccak256(change.address),
                keccak256(B256::from(change.slot)),
            );
            if change.value.is_zero() {
                self.slots.remove(&key);
            } else {
                self.slots.insert(key, (change.slot, change.value));
            }
        }
    }
}

fn value_of(account: &Account) -> LeafValue {
    LeafValue::Account {
        nonce: account.nonce,
        balance: account.balance,
        code_hash: account.code_hash,
    }
}

impl MemoryTrie {
    /// The trie of a state, given as a change of the empty one.
    pub fn of(delta: &StateDelta) -> Result<Self, TrieError> {
        let mut trie = Self::default();
        trie.apply(delta)?;
        Ok(trie)
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.trie.root()
    }

    /// Applies the changes of a block; returns the new root.
    pub fn apply(&mut self, delta: &StateDelta) -> Result<B256, TrieError> {
        let prepared = self.prepare(delta)?;
        self.install(prepared)?;
        Ok(self.root())
    }

    /// Computes the root after the changes of a block.
    pub fn prepare(&self, delta: &StateDelta) -> Result<PreparedDelta, TrieError> {
        let changes = self.changes(delta);
        let threads = rayon::current_num_threads();
        let prepared = self.trie.prepare(&changes, &self.leaves, threads)?;
        Ok(PreparedDelta { prepared, changes })
    }

    /// Makes a prepared update the trie.
    pub fn install(&mut self, prepared: PreparedDelta) -> Result<(), TrieError> {
        let PreparedDelta { prepared, changes } = prepared;
        self.trie.install(prepared, 0)?;
        self.leaves.apply(&changes);
        Ok(())
    }

    /// Proves an account and some of its slots in the state that the trie would have after some changes.
    pub fn proof_after(
        &self,
        delta: &StateDelta,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, TrieError> {
        let PreparedDelta { prepared, changes } = self.prepare(delta)?;
        let mut new = Leaves::default();
        new.apply(&changes);
        let leaves = Changed {
            old: &self.leaves,
            new,
            accounts: (changes.accounts.iter())
                .map(|it| keccak256(it.address))
                .collect(),
            slots: (changes.slots.iter())
                .map(|it| (keccak256(it.address), keccak256(B256::from(it.slot))))
                .collect(),
        };
        let version = OtherVersion::new(prepared, 0);
        (self.trie).proof_in(&version, address, slots, &leaves)
    }

    /// Proves an account and some of its slots.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, TrieError> {
        self.trie.proof(address, slots, &self.leaves)
    }

    /// The slots of an account: slot and value.
    fn slots_of(&self, owner: B256) -> impl Iterator<Item = (U256, U256)> {
        let range = (owner, B256::ZERO)..=(owner, B256::repeat_byte(0xff));
        let slots = self.leaves.slots.range(range);
        slots.map(|(_, (slot, value))| (*slot, *value))
    }

    /// The changes of a delta. An account that is removed loses its slots.
    fn changes(&self, delta: &StateDelta) -> Changes {
        let mut accounts: BTreeMap<Address, Option<Account>> =
            delta.accounts.iter().copied().collect();
        let mut slots: BTreeMap<(Address, U256), U256> = BTreeMap::new();
        let removed = (accounts.iter()).filter(|(_, account)| account.is_none());
        let removed: Vec<Address> = removed.map(|(address, _)| *address).collect();
        for address in delta.cleared.iter().chain(&removed) {
            for (slot, _) in self.slots_of(keccak256(address)) {
                slots.insert((*address, slot), U256::ZERO);
            }
        }
        for (address, slot, value) in &delta.slots {
            if removed.binary_search(address).is_err() {
                slots.insert((*address, *slot), *value);
            }
        }
        let mut changes = Changes::default();
        for ((address, slot), value) in slots {
            let owner = keccak256(address);
            let known = self.leaves.accounts.get(&owner).copied();
            if let Entry::Vacant(entry) = accounts.entry(address) {
                // A slot of an account that does not exist is not part of the state.
                let Some(account) = known else { continue };
                entry.insert(Some(account));
            }
            let key = (owner, keccak256(B256::from(slot)));
            changes.slots.push(SlotChange {
                address,
                slot,
                id: 0,
                existed: self.leaves.slots.contains_key(&key),
                value,
            });
        }
        for (address, account) in accounts {
            changes.accounts.push(AccountChange {
                address,
                id: 0,
                existed: self.leaves.accounts.contains_key(&keccak256(address)),
                account: account.map(|it| (it.nonce, it.balance, it.code_hash)),
            });
        }
        changes
    }
}
