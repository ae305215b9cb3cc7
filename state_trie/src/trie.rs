//! The state trie: its nodes in memory, its versions, and updates in two steps.

use crate::{
    codec,
    keccak::Messages,
    node::{Branch, EMPTY_ROOT, LeafValue, NodeLink, Reference, Storage},
    path::nibble,
    update::{Item, LeafChange, NewLeaf, NewStorage, Output, Place, Subtree, Update},
};
use alloy_primitives::{Address, B256, Bytes, U256, map::HashMap};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rayon::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};
use thiserror::Error;

/// What is wrong with a trie or with what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrieError {
    /// The changes or the leaves do not fit the trie.
    #[error("the state trie does not fit the accounts: {0}")]
    Inconsistent(&'static str),
    /// A node that was read is not the one that its parent names.
    #[error("a node of the state trie is damaged: {0}")]
    Damaged(&'static str),
    /// Another version was installed since the update was prepared.
    #[error("the state trie has changed since the update was prepared")]
    Stale,
}

/// Where a trie reads what it does not keep in memory.
pub trait Source: Sync {
    /// Why a read failed.
    type Error: From<TrieError> + Send;

    /// The encoded node at a location.
    fn read_node(&self, location: u64) -> Result<Vec<u8>, Self::Error>;

    /// Hashed key and value of the leaf with this id. Its hashed key begins with the first `nibbles`
    /// nibbles of `path`. `owner` is the hashed address of the account whose storage it is in; `None`
    /// is the account trie. The value is that of the version with this stamp.
    fn read_leaf(
        &self,
        owner: Option<&B256>,
        id: u64,
        path: &B256,
        nibbles: usize,
        stamp: u64,
    ) -> Result<(B256, LeafValue), Self::Error>;
}

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

/// The root of a trie and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) hash: B256,
    pub(crate) place: Place,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            hash: EMPTY_ROOT,
            place: Place::Empty,
        }
    }
}

/// Ids of nodes in memory that are free.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    free: Mutex<Vec<u32>>,
    /// Ids from here on were never used.
    fresh: AtomicU32,
}

impl Ids {
    /// Ids taken together.
    const BATCH: u32 = 64;

    /// Takes some ids.
    pub(crate) fn take(&self, ids: &mut Vec<u32>) {
        let mut free = self.free.lock();
        let from = free.len().saturating_sub(Self::BATCH as usize);
        ids.extend(free.drain(from..));
        if ids.is_empty() {
            let fresh = self.fresh.fetch_add(Self::BATCH, Ordering::Relaxed);
            ids.extend((fresh..fresh + Self::BATCH).rev());
        }
    }

    fn give_back(&self, ids: impl IntoIterator<Item = u32>) {
        self.free.lock().extend(ids);
    }
}

/// Parts of the cache of loaded nodes.
const LOADED_PARTS: usize = 16;
/// Nodes that are kept for the next update after they were read.
const LOADED_MAX: usize = 1 << 14;

/// The nodes in memory.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    slab: Vec<Option<Box<Branch>>>,
    /// Nodes read for the next update, by location.
    loaded: [Mutex<HashMap<u64, Box<Branch>>>; LOADED_PARTS],
}

impl Nodes {
    /// A node in memory.
    pub(crate) fn get(&self, id: u32) -> Option<&Branch> {
        self.slab.get(id as usize)?.as_deref()
    }

    fn part(&self, location: u64) -> &Mutex<HashMap<u64, Box<Branch>>> {
        &self.loaded[(location >> 8) as usize % LOADED_PARTS]
    }

    /// Reads a node from disk.
    pub(crate) fn read<S: Source>(
        location: u64,
        tag: [u8; 8],
        source: &S,
    ) -> Result<Box<Branch>, S::Error> {
        let bytes = source.read_node(location)?;
        Ok(Box::new(codec::decode(&bytes, tag, location)?))
    }

    /// A copy of a node, to change it.
    pub(crate) fn copy<S: Source>(
        &self,
        link: NodeLink,
        tag: [u8; 8],
        source: &S,
    ) -> Result<Box<Branch>, S::Error> {
        match link.id() {
            Some(id) => match self.get(id) {
                Some(node) => Ok(Box::new(node.clone())),
                None => Err(TrieError::Inconsistent("a node is not in memory").into()),
            },
            None => {
                let loaded = self.part(link.0).lock().remove(&link.0);
                let mut node = match loaded {
                    Some(node) => node,
                    None => Self::read(link.0, tag, source)?,
                };
                *node.location.get_mut() = 0;
                Ok(node)
            }
        }
    }

    /// Calls `read` with a node. One that is read from disk is kept for the next update.
    pub(crate) fn with<S: Source, R>(
        &self,
        link: NodeLink,
        tag: [u8; 8],
        source: &S,
        read: impl FnOnce(&Branch) -> R,
    ) -> Result<R, S::Error> {
        if let Some(id) = link.id() {
            let node = self.get(id);
            let node = node.ok_or(TrieError::Inconsistent("a node is not in memory"))?;
            return Ok(read(node));
        }
        let part = self.part(link.0);
        if let Some(node) = part.lock().get(&link.0) {
            return Ok(read(node));
        }
        let node = Self::read(link.0, tag, source)?;
        let result = read(&node);
        let mut part = part.lock();
        if part.len() < LOADED_MAX / LOADED_PARTS {
            part.insert(link.0, node);
        }
        Ok(result)
    }
}

/// The beginning of a reference, which names a node on disk.
pub(crate) fn tag_of(reference: &[u8; 32]) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&reference[..8]);
    tag
}

/// One version of the trie, and the nodes of all versions that are in use.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) nodes: Nodes,
    pub(crate) root: Root,
    pub(crate) version: u64,
    /// What the owner of the leaves calls the version.
    pub(crate) stamp: u64,
    /// The version being written to disk.
    pub(crate) writing: Option<u64>,
    /// The newest version on disk: older nodes in memory have a location.
    pub(crate) written: u64,
    /// How many times nodes were freed that prepared updates may name.
    pub(crate) trims: u64,
    /// Nodes replaced since the version being written, with the version that replaced them.
    retired: Vec<(u64, u32)>,
    /// Locations replaced, with the version that replaced them.
    pub(crate) stale: Vec<(u64, u64)>,
    /// Memory of the nodes.
    bytes: usize,
    /// Memory of the nodes newer than `written`, about.
    pub(crate) unwritten_bytes: usize,
}

/// Ethereum's state trie: a Merkle-Patricia trie of accounts, and one of slots for each account with
/// storage (yellow paper, appendix D).
///
/// Branches are kept in memory or on disk; leaves are the owner's ([`Source`]). An update has two steps:
/// [`prepare`](Self::prepare) computes the root and leaves the trie as it is, [`install`](Self::install)
/// makes the result the trie's. All methods take `&self`.
#[derive(Debug, Default)]
pub struct StateTrie {
    pub(crate) inner: RwLock<Inner>,
    ids: Arc<Ids>,
    /// Memory of the nodes, for those who do not want to wait for the lock.
    memory: AtomicUsize,
    /// Parts of the trie that were trimmed since there was too much memory.
    pub(crate) trims: AtomicUsize,
}

/// A computed update.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) root: Root,
    /// The version that it makes.
    version: u64,
    trims: u64,
    output: Output,
    ids: Arc<Ids>,
}

impl Prepared {
    /// The state root after the update.
    pub const fn root(&self) -> B256 {
        self.root.hash
    }

    /// The new nodes by id.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u32, &Branch)> {
        self.output.nodes.iter().map(|(id, node)| (*id, &**node))
    }

    /// Fails if the trie is not the one for which the update was prepared.
    pub(crate) fn check(&self, inner: &Inner) -> Result<(), TrieError> {
        let is_next = self.version == inner.version + 1 && self.trims == inner.trims;
        is_next.then_some(()).ok_or(TrieError::Stale)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let unused = self.output.ids.drain(..);
        let unused = unused.chain(self.output.nodes.drain(..).map(|(id, _)| id));
        self.ids.give_back(unused);
    }
}

impl StateTrie {
    /// The state root.
    pub fn root(&self) -> B256 {
        self.inner.read().root.hash
    }

    /// Memory of the nodes in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Memory of the nodes that are not on disk, in bytes.
    pub fn unwritten_bytes(&self) -> usize {
        self.inner.read().unwritten_bytes
    }

    /// Computes the trie after some changes, on `threads` threads of the current rayon pool.
    pub fn prepare<S: Source>(
        &self,
        changes: &Changes,
        source: &S,
        threads: usize,
    ) -> Result<Prepared, S::Error> {
        let inner = self.inner.read();
        let context = self.context(&inner, source, threads);
        let mut output = Output::default();
        let root = context.update(changes, &mut output)?;
        Ok(self.prepared(&inner, root, output))
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
            source,
            threads,
        }
    }

    pub(crate) fn prepared(&self, inner: &Inner, root: Root, output: Output) -> Prepared {
        Prepared {
            root,
            version: inner.version + 1,
            trims: inner.trims,
            output,
            ids: Arc::clone(&self.ids),
        }
    }

    /// Makes a prepared update the trie. The source knows the new version by its stamp.
    pub fn install(&self, mut prepared: Prepared, stamp: u64) -> Result<(), TrieError> {
        let mut inner = self.inner.write();
        prepared.check(&inner)?;
        let inner = &mut *inner;
        inner.version = prepared.version;
        inner.stamp = stamp;
        inner.root = prepared.root.clone();
        for (id, node) in prepared.output.nodes.drain(..) {
            let bytes = node.memory_bytes();
            inner.bytes += bytes;
            inner.unwritten_bytes += bytes;
            let index = id as usize;
            if inner.nodes.slab.len() <= index {
                inner.nodes.slab.resize_with(index + 1, || None);
            }
            inner.nodes.slab[index] = Some(node);
        }
        let mut free = Vec::new();
        for link in prepared.output.replaced.drain(..) {
            match link.id() {
                // The writer may still read it.
                Some(id) if inner.writing.is_some() => inner.retired.push((inner.version, id)),
                Some(id) => {
                    inner.free(id, inner.version);
                    free.push(id);
                }
                None => inner.stale.push((inner.version, link.0)),
            }
        }
        self.ids.give_back(free);
        for part in &mut inner.nodes.loaded {
            part.get_mut().clear();
        }
        self.memory.store(inner.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the stamp of the current version.
    pub fn set_stamp(&self, stamp: u64) {
        self.inner.write().stamp = stamp;
    }

    /// Reads the nodes on the paths of some keys into memory, for the next update. Each key is an
    /// address, or an address and a slot.
    pub fn prefetch<S: Source>(
        &self,
        keys: &[(Address, Option<U256>)],
        source: &S,
    ) -> Result<(), S::Error> {
        let inner = self.inner.read();
        let mut hasher = KeyHasher::default();
        for (address, slot) in keys {
            let owner = hasher.address(address);
            let Found::Leaf(Some(storage)) = inner.find(&inner.root.place, &owner, source)? else {
                continue;
            };
            if let Some(slot) = slot {
                let key = alloy_primitives::keccak256(slot.to_be_bytes::<32>());
                inner.find(&place_of(&storage), &key, source)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read()
    }

    /// Frees nodes and notes the memory, after a change of `inner`.
    pub(crate) fn release(&self, inner: &mut Inner) {
        let retired = std::mem::take(&mut inner.retired);
        self.ids.give_back(retired.iter().map(|(_, id)| *id));
        for (version, id) in retired {
            inner.free(id, version);
        }
        self.memory.store(inner.bytes, Ordering::Relaxed);
    }

    /// Frees nodes that are on disk.
    pub(crate) fn evict(&self, inner: &mut Inner, ids: Vec<u32>) {
        inner.trims += 1;
        for id in &ids {
            if let Some(node) = inner.nodes.slab[*id as usize].take() {
                inner.bytes -= node.memory_bytes();
            }
        }
        self.ids.give_back(ids);
        self.memory.store(inner.bytes, Ordering::Relaxed);
    }

    /// A trie whose root is on disk.
    pub(crate) fn from_root(root: Root) -> Self {
        let trie = Self::default();
        trie.inner.write().root = root;
        trie
    }
}

/// Where a search ended.
pub(crate) enum Found {
    Nothing,
    /// A leaf on the path, which may be of another key, and its storage.
    Leaf(Option<Storage>),
}

impl Inner {
    /// Frees a node that a version replaced.
    fn free(&mut self, id: u32, version: u64) {
        let Some(node) = self.nodes.slab[id as usize].take() else {
            return;
        };
        let bytes = node.memory_bytes();
        self.bytes -= bytes;
        match node.location() {
            0 => self.unwritten_bytes = self.unwritten_bytes.saturating_sub(bytes),
            location => self.stale.push((version, location)),
        }
    }

    /// A node in memory, to change where its children are.
    pub(crate) fn node_mut(&mut self, id: u32) -> Option<&mut Branch> {
        self.nodes.slab.get_mut(id as usize)?.as_deref_mut()
    }

    /// Follows the path of a key from a root.
    pub(crate) fn find<S: Source>(
        &self,
        root: &Place,
        key: &B256,
        source: &S,
    ) -> Result<Found, S::Error> {
        let mut place = root.clone();
        let mut depth = 0;
        loop {
            let (link, tag) = match place {
                Place::Node(link, tag) => (link, tag),
                Place::Leaf { storage, .. } => return Ok(Found::Leaf(storage)),
                Place::Empty | Place::Cut(_) => return Ok(Found::Nothing),
            };
            place = self.nodes.with(link, tag, source, |branch| {
                let shared = crate::path::common_with(&branch.prefix, key, depth);
                if shared < branch.prefix.len() {
                    return Place::Empty;
                }
                depth += shared;
                let of = nibble(key, depth);
                depth += 1;
                child_place(branch, of)
            })?;
        }
    }
}

/// What is at a child of a branch.
pub(crate) fn child_place(branch: &Branch, of: u8) -> Place {
    match branch.child(of) {
        Some(child) if branch.is_node(of) => {
            Place::Node(NodeLink(child.link), tag_of(&child.reference))
        }
        Some(child) => Place::Leaf {
            id: child.link,
            storage: branch.storage(of),
        },
        None => Place::Empty,
    }
}

/// The root of a storage trie.
pub(crate) fn place_of(storage: &Storage) -> Place {
    if storage.is_node {
        Place::Node(NodeLink(storage.link), tag_of(&storage.root))
    } else {
        Place::Leaf {
            id: storage.link,
            storage: None,
        }
    }
}

/// An update in progress.
pub(crate) struct Context<'a, S> {
    inner: &'a Inner,
    ids: &'a Ids,
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
            self.find_storages(&accounts, &mut owners)?;
            let keys: Vec<B256> = owners.iter().map(|owner| owner.key).collect();
            let items = (0..).zip(owners).map(|(index, owner)| {
                Item::root(index, index, owner.start..owner.end, owner.place)
            });
            let update = self.of(&slots, &keys);
            for (index, root) in update.roots(items.collect(), output)? {
                let at = accounts.binary_search_by_key(&keys[index], |account| account.key);
                let account = at.map(|at| &mut accounts[at]);
                let Ok(account) = account else {
                    let what = "a slot changes of an account that does not";
                    return Err(TrieError::Inconsistent(what).into());
                };
                account.storage = NewStorage::Changed(storage_of(&root));
                if account.value.is_none() && root.hash != EMPTY_ROOT {
                    let what = "an account is removed and its slots are not";
                    return Err(TrieError::Inconsistent(what).into());
                }
            }
        }
        if accounts.is_empty() {
            return Ok(self.inner.root.clone());
        }
        let item = Item::root(0, 0, 0..accounts.len(), self.inner.root.place.clone());
        let update = self.of(&accounts, &[]);
        let roots = update.roots(vec![item], output)?;
        Ok(roots.into_iter().next().map(|(_, root)| root).unwrap_or_default())
    }

    pub(crate) fn of<'b>(&'b self, changes: &'b [LeafChange], owners: &'b [B256]) -> Update<'b, S> {
        Update {
            nodes: &self.inner.nodes,
            source: self.source,
            changes,
            owners,
            ids: self.ids,
            version: self.inner.version + 1,
            stamp: self.inner.stamp,
            threads: self.threads,
        }
    }

    /// The changed accounts by hashed address, sorted.
    fn account_changes(&self, changes: &Changes) -> Vec<LeafChange> {
        let changed: Vec<&AccountChange> = (changes.accounts.iter())
            .filter(|change| change.existed || change.account.is_some())
            .collect();
        let keys = self.hash_all(&changed, |change| change.address.to_vec());
        let mut leaves: Vec<(u64, u32)> = prefixes(&keys);
        sort(&mut leaves, |left, right| keys[left].cmp(&keys[right]));
        let leaf = |(_, index): &(u64, u32)| {
            let change = changed[*index as usize];
            LeafChange {
                key: keys[*index as usize],
                id: change.id,
                existed: change.existed,
                value: change.account.map(|(nonce, balance, code_hash)| LeafValue::Account {
                    nonce,
                    balance,
                    code_hash,
                }),
                storage: NewStorage::Kept,
            }
        };
        leaves.iter().map(leaf).collect()
    }

    /// The changed slots by hashed address and hashed slot, sorted, and their accounts.
    fn slot_changes(&self, changes: &Changes) -> (Vec<LeafChange>, Vec<Owner>) {
        let changed: Vec<&SlotChange> = (changes.slots.iter())
            .filter(|change| change.existed || !change.value.is_zero())
            .collect();
        let mut addresses: Vec<Address> = changed.iter().map(|change| change.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let hashes = self.hash_all(&addresses, |address| address.to_vec());
        let owner_of = |change: &SlotChange| {
            let at = addresses.binary_search(&change.address);
            hashes[at.expect("every changed slot's address is there")]
        };
        let owners: Vec<B256> = changed.iter().map(|change| owner_of(change)).collect();
        let keys = self.hash_all(&changed, |change| change.slot.to_be_bytes::<32>().to_vec());
        let mut order = prefixes(&owners);
        let compare = |left: usize, right: usize| {
            (owners[left], keys[left]).cmp(&(owners[right], keys[right]))
        };
        sort(&mut order, compare);
        let mut leaves = Vec::with_capacity(order.len());
        let mut found: Vec<Owner> = Vec::new();
        for (_, index) in order {
            let index = index as usize;
            let change = changed[index];
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
        (leaves, found)
    }

    /// Hashes the keys of items.
    fn hash_all<T: Sync>(&self, items: &[T], bytes: impl Fn(&T) -> Vec<u8> + Sync) -> Vec<B256> {
        const CHUNK: usize = 1024;
        let hash = |items: &[T]| {
            let (mut messages, mut hashes) = (Messages::default(), Vec::new());
            for item in items {
                messages.push(&bytes(item));
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
    fn find_storages(
        &self,
        accounts: &[LeafChange],
        owners: &mut [Owner],
    ) -> Result<(), S::Error> {
        const CHUNK: usize = 64;
        let find = |owner: &mut Owner| {
            let at = accounts.binary_search_by_key(&owner.key, |account| account.key);
            if !at.is_ok_and(|at| accounts[at].existed) {
                return Ok(());
            }
            let root = &self.inner.root.place;
            if let Found::Leaf(Some(storage)) = self.inner.find(root, &owner.key, self.source)? {
                owner.place = place_of(&storage);
            }
            Ok(())
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
    (keys.iter().zip(0..)).map(|(key, index)| (prefix(key), index)).collect()
}

fn sort(order: &mut [(u64, u32)], compare: impl Fn(usize, usize) -> std::cmp::Ordering) {
    order.sort_unstable_by(|left, right| {
        let by_prefix = left.0.cmp(&right.0);
        by_prefix.then_with(|| compare(left.1 as usize, right.1 as usize))
    });
}

/// The storage of an account with this root.
fn storage_of(root: &Root) -> Option<Storage> {
    let (link, is_node) = match root.place {
        Place::Node(link, _) => (link.0, true),
        Place::Leaf { id, .. } => (id, false),
        Place::Empty | Place::Cut(_) => return None,
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
                Subtree::Branch(branch, reference) => {
                    let id = self.new_id(output);
                    let hash = hash_of(&branch, &reference);
                    output.nodes.push((id, branch));
                    Root {
                        hash,
                        place: Place::Node(NodeLink::memory(id), tag_of(&hash.0)),
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
            place: Place::Leaf { id, storage },
        }
    }
}

/// The hash of a root, which is never named by its RLP.
fn hash_of(branch: &Branch, reference: &Reference) -> B256 {
    if !reference.is_inline {
        return B256::from(reference.bytes);
    }
    let nodes = crate::proof::branch_rlps(branch);
    let top = nodes.first().cloned().unwrap_or_else(Bytes::new);
    alloy_primitives::keccak256(top)
}

/// Hashes addresses, the same one again without work.
#[derive(Default)]
struct KeyHasher(Option<(Address, B256)>);

impl KeyHasher {
    fn address(&mut self, address: &Address) -> B256 {
        match self.0 {
            Some((known, hash)) if known == *address => hash,
            _ => {
                let hash = alloy_primitives::keccak256(address);
                self.0 = Some((*address, hash));
                hash
            }
        }
    }
}
