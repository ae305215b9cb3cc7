//! Prepares updates: from the changes of a block to sorted changes of leaves, and to a new root.

use crate::{
    error::TrieError,
    keccak::Messages,
    node::{
        Branch, EMPTY_ROOT, LeafValue, NodeLink, Place, Reference, Root, Storage, place_of, rlps,
        tag_of,
    },
    trie::{Found, Ids, Inner, Source, StateTrie},
    update::{
        Item, LeafChange, Leaves, NewLeaf, NewStorage, Output, Patch, Spares, Subtree, Update,
        patched,
    },
};
use alloy_primitives::{Address, B256, Bytes, U256};
use rayon::prelude::*;
use std::{cmp::Ordering, sync::Arc};

/// A new value of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The address.
    pub address: Address,
    /// By which the source finds it.
    pub id: u64,
    /// Whether the trie has the account.
    pub existed: bool,
    /// Nonce, balance and code hash; `None` removes the account, whose slots must all be removed too.
    pub account: Option<(u64, U256, B256)>,
}

/// A new value of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotChange {
    /// The address of the account, which must be among the changed accounts.
    pub address: Address,
    /// The slot.
    pub slot: U256,
    /// By which the source finds it.
    pub id: u64,
    /// Whether the trie has the slot.
    pub existed: bool,
    /// The value; zero removes the slot.
    pub value: U256,
}

/// The changes of a block, in any order. No key occurs twice.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Changed accounts, with those whose storage alone changes.
    pub accounts: Vec<AccountChange>,
    /// Changed slots.
    pub slots: Vec<SlotChange>,
}

/// What a version has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Own {
    /// A node.
    Node(usize),
    /// A node in the place of another.
    Exchanged(usize),
    /// New references of a node's children.
    Patched(Patch),
}

/// A computed update.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) root: Root,
    /// The version that it makes.
    version: u64,
    trims: u64,
    /// Threads of the pool.
    threads: usize,
    /// What each part of the update made.
    outputs: Vec<Output>,
    ids: Arc<Ids>,
}

impl Prepared {
    /// The state root after the update.
    pub const fn root(&self) -> B256 {
        self.root.hash
    }

    /// What the version has of its own, by the id of the node: the number of the output and what it has.
    pub(crate) fn own(&self) -> impl Iterator<Item = (u32, (usize, Own))> {
        self.outputs.iter().enumerate().flat_map(|(part, output)| {
            let nodes = (output.nodes.iter().zip(0..)).map(|((id, _), at)| (*id, Own::Node(at)));
            let exchanged = output.exchanged.iter().zip(0..);
            let exchanged = exchanged.map(|((id, _), at)| (*id, Own::Exchanged(at)));
            let patches = output.patches.iter();
            let patches = patches.map(|patch| (patch.id, Own::Patched(*patch)));
            let all = nodes.chain(exchanged).chain(patches);
            all.map(move |(id, own)| (id, (part, own)))
        })
    }

    /// Calls `read` with a node of the version that is its own.
    pub(crate) fn read<R>(
        &self,
        inner: &Inner,
        id: u32,
        (part, own): (usize, Own),
        read: impl FnOnce(&Branch) -> R,
    ) -> Result<R, TrieError> {
        let missing = TrieError::Inconsistent("a node is not in memory");
        let output = &self.outputs[part];
        match own {
            Own::Node(at) => Ok(read(&output.nodes[at].1)),
            Own::Exchanged(at) => Ok(read(&output.exchanged[at].1)),
            Own::Patched(patch) => {
                let branch = inner.nodes.get(id).ok_or(missing)?;
                Ok(read(&patched(branch, output.references_of(&patch))))
            }
        }
    }

    /// Fails if the trie is not the one for which the update was prepared.
    pub(crate) fn check(&self, inner: &Inner) -> Result<(), TrieError> {
        let is_next = self.version == inner.version + 1 && self.trims == inner.trims;
        is_next.then_some(()).ok_or(TrieError::Stale)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for output in &mut self.outputs {
            let unused = output.ids.drain(..);
            let unused = unused.chain(output.nodes.drain(..).map(|(id, _)| id));
            self.ids.give_back(unused);
        }
    }
}

impl StateTrie {
    /// Computes the trie after some changes, on `threads` threads of the current rayon pool.
    pub fn prepare<S: Source>(
        &self,
        changes: &Changes,
        source: &S,
        threads: usize,
    ) -> Result<Prepared, S::Error> {
        let inner = self.inner.read();
        let context = self.context(&inner, source, threads);
        let mut output = self.spares.output();
        let root = context.update(changes, &mut output)?;
        self.spares.give_back(&mut output);
        Ok(self.prepared(&inner, root, output, threads))
    }

    pub(crate) fn context<'a, S>(
        &'a self,
        inner: &'a Inner,
        source: &'a S,
        threads: usize,
    ) -> Context<'a, S> {
        Context {
            inner,
            ids: &self.ids,
            spares: &self.spares,
            source,
            threads,
        }
    }

    pub(crate) fn prepared(
        &self,
        inner: &Inner,
        root: Root,
        mut output: Output,
        threads: usize,
    ) -> Prepared {
        let mut outputs = std::mem::take(&mut output.parts);
        outputs.push(output);
        Prepared {
            root,
            version: inner.version + 1,
            trims: inner.trims,
            threads,
            outputs,
            ids: Arc::clone(&self.ids),
        }
    }

    /// Makes a prepared update the trie, on as many threads of the current rayon pool as prepared it. The
    /// source knows the new version by its stamp.
    pub fn install(&self, mut prepared: Prepared, stamp: u64) -> Result<(), TrieError> {
        let mut inner = self.inner.write();
        prepared.check(&inner)?;
        inner.version = prepared.version;
        inner.stamp = stamp;
        inner.root = prepared.root.clone();
        inner.patch(&prepared.outputs, prepared.threads);
        for output in &mut prepared.outputs {
            for (id, node) in output.exchanged.drain(..) {
                inner.put_in_place(id, node);
            }
            let new = output.nodes.drain(..);
            self.exchange(&mut inner, new, output.replaced.drain(..));
        }
        self.end_exchange(&mut inner);
        Ok(())
    }
}

/// An update in progress.
pub(crate) struct Context<'a, S> {
    inner: &'a Inner,
    ids: &'a Ids,
    spares: &'a Spares,
    source: &'a S,
    threads: usize,
}

/// Slots of one account, as a range of the sorted slots.
struct Owner {
    key: B256,
    start: usize,
    end: usize,
    place: Place,
}

impl<S: Source> Context<'_, S> {
    fn update(&self, changes: &Changes, output: &mut Output) -> Result<Root, S::Error> {
        let mut accounts = self.account_changes(changes);
        let (slots, mut owners) = self.slot_changes(changes);
        if !owners.is_empty() {
            self.find_storages(&accounts.changes, &mut owners)?;
            let keys: Vec<B256> = owners.iter().map(|owner| owner.key).collect();
            let items = (0..).zip(owners).map(|(index, owner)| {
                Item::root(index, index, owner.start..owner.end, owner.place)
            });
            let update = self.of(&slots, &keys);
            for (index, root) in update.roots(items.collect(), output)? {
                let accounts = &mut accounts.changes;
                let at = accounts.binary_search_by_key(&keys[index], |account| account.key);
                let account = at.map(|at| &mut accounts[at]);
                let Ok(account) = account else {
                    let what = "a slot changes of an account that does not";
                    return Err(TrieError::Inconsistent(what).into());
                };
                account.storage = NewStorage::Changed(storage_of(&root).map(Box::new));
                if account.value.is_none() && root.hash != EMPTY_ROOT {
                    let what = "an account is removed and its slots are not";
                    return Err(TrieError::Inconsistent(what).into());
                }
            }
        }
        if accounts.changes.is_empty() {
            return Ok(self.inner.root.clone());
        }
        let item = Item::root(
            0,
            0,
            0..accounts.changes.len(),
            self.inner.root.place.clone(),
        );
        let update = self.of(&accounts, &[]);
        let roots = update.roots(vec![item], output)?;
        Ok(roots
            .into_iter()
            .next()
            .map(|(_, root)| root)
            .unwrap_or_default())
    }

    pub(crate) fn of<'b>(&'b self, leaves: &'b Leaves, owners: &'b [B256]) -> Update<'b, S> {
        Update {
            nodes: &self.inner.nodes,
            source: self.source,
            changes: &leaves.changes,
            starts: &leaves.starts,
            owners,
            ids: self.ids,
            spares: self.spares,
            version: self.inner.version + 1,
            stamp: self.inner.stamp,
            threads: self.threads,
        }
    }

    /// The changed accounts by hashed address, sorted.
    fn account_changes(&self, changes: &Changes) -> Leaves {
        let given: Vec<&AccountChange> = (changes.accounts.iter())
            .filter(|change| change.existed || change.account.is_some())
            .collect();
        let keys = self.hash_all(&given, |change, out| {
            out.extend_from_slice(change.address.as_slice());
        });
        let mut order: Vec<(u64, u32)> = prefixes(&keys);
        sort(&mut order, self.threads, |left, right| {
            keys[left].cmp(&keys[right])
        });
        let leaf = |(_, index): &(u64, u32)| {
            let change = given[*index as usize];
            LeafChange {
                key: keys[*index as usize],
                id: change.id,
                existed: change.existed,
                value: change
                    .account
                    .map(|(nonce, balance, code_hash)| LeafValue::Account {
                        nonce,
                        balance,
                        code_hash,
                    }),
                storage: NewStorage::Kept,
            }
        };
        Leaves {
            starts: order.iter().map(|(start, _)| *start).collect(),
            changes: if self.threads < 2 {
                order.iter().map(leaf).collect()
            } else {
                order.par_iter().with_min_len(1024).map(leaf).collect()
            },
        }
    }

    /// The changed slots by hashed address and hashed slot, sorted, and their accounts.
    fn slot_changes(&self, changes: &Changes) -> (Leaves, Vec<Owner>) {
        let given: Vec<&SlotChange> = (changes.slots.iter())
            .filter(|change| change.existed || !change.value.is_zero())
            .collect();
        let mut addresses: Vec<Address> = given.iter().map(|change| change.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let hashes = self.hash_all(&addresses, |address, out| {
            out.extend_from_slice(address.as_slice());
        });
        let owner_of = |change: &SlotChange| {
            let at = addresses.binary_search(&change.address);
            hashes[at.expect("every changed slot's address is there")]
        };
        let owners: Vec<B256> = given.iter().map(|change| owner_of(change)).collect();
        let keys = self.hash_all(&given, |change, out| {
            out.extend_from_slice(&change.slot.to_be_bytes::<32>());
        });
        let mut order = prefixes(&owners);
        let compare = |left: usize, right: usize| {
            (owners[left], keys[left]).cmp(&(owners[right], keys[right]))
        };
        sort(&mut order, self.threads, compare);
        let mut leaves = Vec::with_capacity(order.len());
        let mut found: Vec<Owner> = Vec::new();
        for (_, index) in order {
            let index = index as usize;
            let change = given[index];
            let at = leaves.len();
            match found.last_mut() {
                Some(owner) if owner.key == owners[index] => owner.end = at + 1,
                _ => found.push(Owner {
                    key: owners[index],
                    start: at,
                    end: at + 1,
                    place: Place::Empty,
                }),
            }
            leaves.push(LeafChange {
                key: keys[index],
                id: change.id,
                existed: change.existed,
                value: (!change.value.is_zero()).then_some(LeafValue::Slot(change.value)),
                storage: NewStorage::Changed(None),
            });
        }
        (Leaves::new(leaves), found)
    }

    /// Hashes the keys of items.
    fn hash_all<T: Sync>(&self, items: &[T], write: impl Fn(&T, &mut Vec<u8>) + Sync) -> Vec<B256> {
        const CHUNK: usize = 1024;
        let hash = |items: &[T]| {
            let (mut messages, mut hashes) = (Messages::default(), Vec::new());
            for item in items {
                messages.push_with(|out| write(item, out));
            }
            messages.hash(&mut hashes);
            hashes
        };
        if self.threads < 2 || items.len() <= CHUNK {
            return hash(items);
        }
        let parts: Vec<Vec<B256>> = items.par_chunks(CHUNK).map(hash).collect();
        parts.concat()
    }

    /// Finds the storage tries of accounts whose slots change.
    fn find_storages(&self, accounts: &[LeafChange], owners: &mut [Owner]) -> Result<(), S::Error> {
        const CHUNK: usize = 64;
        let find = |owner: &mut Owner| {
            let at = accounts.binary_search_by_key(&owner.key, |account| account.key);
            let account = at
                .ok()
                .map(|at| &accounts[at])
                .filter(|account| account.existed);
            let Some(account) = account else {
                return Ok(());
            };
            let root = &self.inner.root.place;
            match self.inner.find(root, &owner.key, self.source)? {
                Found::Leaf(id, storage) if id == account.id => {
                    owner.place = storage.map_or(Place::Empty, |storage| place_of(&storage));
                    Ok(())
                }
                _ => Err(TrieError::Inconsistent("a changed account is not in the trie").into()),
            }
        };
        if self.threads < 2 || owners.len() <= CHUNK {
            owners.iter_mut().try_for_each(find)
        } else {
            let chunks = owners.par_chunks_mut(CHUNK);
            chunks.try_for_each(|owners| owners.iter_mut().try_for_each(find))
        }
    }
}

/// The first eight bytes of each key, which decide almost every comparison, and its index.
fn prefixes(keys: &[B256]) -> Vec<(u64, u32)> {
    let prefix = |key: &B256| u64::from_be_bytes(tag_of(&key.0));
    (keys.iter().zip(0..))
        .map(|(key, index)| (prefix(key), index))
        .collect()
}

/// Sorts keys by their prefixes, and equal prefixes by `compare`.
fn sort(
    order: &mut [(u64, u32)],
    threads: usize,
    compare: impl Fn(usize, usize) -> Ordering + Sync,
) {
    let compare = |left: &(u64, u32), right: &(u64, u32)| {
        let by_prefix = left.0.cmp(&right.0);
        by_prefix.then_with(|| compare(left.1 as usize, right.1 as usize))
    };
    if threads > 1 {
        order.par_sort_unstable_by(compare);
    } else {
        order.sort_unstable_by(compare);
    }
}

/// The storage of an account with this root.
fn storage_of(root: &Root) -> Option<Storage> {
    let (link, is_node) = match root.place {
        Place::Node(link, _) => (link.0, true),
        Place::Leaf { id, .. } => (id, false),
        Place::Empty => return None,
    };
    Some(Storage {
        root: root.hash,
        link,
        is_node,
    })
}

impl<S: Source> Update<'_, S> {
    /// Updates whole tries; the results are the indices of the items and their new roots.
    pub(crate) fn roots(
        &self,
        items: Vec<Item>,
        output: &mut Output,
    ) -> Result<Vec<(usize, Root)>, S::Error> {
        let mut roots = Vec::with_capacity(items.len());
        for done in self.run(items, false, output)? {
            let root = match done.subtree {
                Subtree::Empty => Root::default(),
                Subtree::Leaf(leaf) => self.root_of_leaf(&leaf),
                Subtree::Branch(branch, reference, own_id) => {
                    let hash = hash_of(&branch, &reference);
                    let id = if let Some(id) = own_id {
                        output.exchanged.push((id, *branch));
                        id
                    } else {
                        let id = self.new_id(&mut output.ids);
                        output.nodes.push((id, *branch));
                        id
                    };
                    Root {
                        hash,
                        place: Place::Node(NodeLink::memory(id), tag_of(&hash.0)),
                    }
                }
                Subtree::Patched(patch, reference) => {
                    output.patches.push(patch);
                    let hash = match self.nodes.get(patch.id) {
                        Some(branch) if reference.is_inline => {
                            let branch = patched(branch, output.references_of(&patch));
                            hash_of(&branch, &reference)
                        }
                        _ => B256::from(reference.bytes),
                    };
                    Root {
                        hash,
                        place: Place::Node(NodeLink::memory(patch.id), tag_of(&hash.0)),
                    }
                }
            };
            roots.push((done.parent as usize, root));
        }
        Ok(roots)
    }

    fn root_of_leaf(&self, leaf: &NewLeaf) -> Root {
        let mut rlp = Vec::new();
        self.write_leaf(&mut rlp, leaf, 0);
        let (id, storage) = self.leaf_link(leaf);
        Root {
            hash: alloy_primitives::keccak256(rlp),
            place: Place::Leaf {
                id,
                storage: storage.map(Box::new),
            },
        }
    }
}

/// The hash of a root, which is never named by its RLP.
fn hash_of(branch: &Branch, reference: &Reference) -> B256 {
    if !reference.is_inline {
        return B256::from(reference.bytes);
    }
    let nodes = rlps(branch);
    let top = nodes.first().cloned().unwrap_or_else(Bytes::new);
    alloy_primitives::keccak256(top)
}
