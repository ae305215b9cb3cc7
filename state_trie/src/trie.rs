//! The state trie: its nodes in memory, its versions, and updates in two steps.

use crate::{
    codec,
    error::TrieError,
    history::History,
    node::{Branch, LeafValue, NodeLink, Place, Reference, Root, Storage, child_place},
    path::nibble,
    update::{Output, Patch, Spares},
};
use alloy_primitives::{B256, map::HashMap};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rayon::prelude::*;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

/// Where a trie reads what it does not keep in memory.
pub trait Source: Sync {
    /// Why a read failed.
    type Error: From<TrieError> + Send;

    /// The encoded node at a location.
    fn read_node(&self, location: u64) -> Result<Vec<u8>, Self::Error>;

    /// The error for a node that is damaged.
    fn damaged(&self, _location: u64, error: TrieError) -> Self::Error {
        error.into()
    }

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

    /// All ids are free again. No update is prepared.
    fn clear(&self) {
        self.free.lock().clear();
        self.fresh.store(0, Ordering::Relaxed);
    }

    /// Takes ids back.
    pub(crate) fn give_back(&self, ids: impl IntoIterator<Item = u32>) {
        self.free.lock().extend(ids);
    }
}

/// Parts of the cache of loaded nodes.
const LOADED_PARTS: usize = 16;
/// Nodes that are kept for the next update after they were read.
const LOADED_MAX: usize = 1 << 14;

/// Nodes in memory with successive ids.
type Chunk = Box<[Option<Branch>]>;
/// Nodes of a chunk.
const CHUNK: usize = 1 << 10;

/// Where a node is: the chunk, and the place in it.
const fn place_in(id: u32) -> (usize, usize) {
    (id as usize / CHUNK, id as usize % CHUNK)
}

/// The nodes in memory.
#[derive(Default)]
pub(crate) struct Nodes {
    chunks: Vec<Chunk>,
    /// Nodes read for the next update, by location.
    loaded: [Mutex<HashMap<u64, Box<Branch>>>; LOADED_PARTS],
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes")
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

impl Nodes {
    /// A node in memory.
    pub(crate) fn get(&self, id: u32) -> Option<&Branch> {
        let (chunk, at) = place_in(id);
        self.chunks.get(chunk)?[at].as_ref()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Branch> {
        self.place_mut(id)?.as_mut()
    }

    fn place_mut(&mut self, id: u32) -> Option<&mut Option<Branch>> {
        let (chunk, at) = place_in(id);
        Some(&mut self.chunks.get_mut(chunk)?[at])
    }

    fn take(&mut self, id: u32) -> Option<Branch> {
        self.place_mut(id)?.take()
    }

    /// Puts a node into a place that is free.
    fn put(&mut self, id: u32, node: Branch) {
        let (chunk, at) = place_in(id);
        while self.chunks.len() <= chunk {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        self.chunks[chunk][at] = Some(node);
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
        let node = codec::decode(&bytes, tag, location);
        node.map(Box::new)
            .map_err(|error| source.damaged(location, error))
    }

    /// A copy of a node, to change it.
    pub(crate) fn copy<S: Source>(
        &self,
        link: NodeLink,
        tag: [u8; 8],
        source: &S,
    ) -> Result<Box<Branch>, S::Error> {
        if let Some(id) = link.id() {
            let node = self.get(id);
            let node = node.ok_or(TrieError::Inconsistent("a node is not in memory"))?;
            return Ok(Box::new(node.clone()));
        }
        let loaded = self.part(link.0).lock().remove(&link.0);
        let mut node = match loaded {
            Some(node) => node,
            None => Self::read(link.0, tag, source)?,
        };
        *node.location.get_mut() = 0;
        Ok(node)
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

/// Nodes as they were, by id, with the version that changed them.
type Preserved = HashMap<u32, (u64, Branch)>;
/// Preserved nodes, and replaced ones and locations with the versions that replaced them.
type Kept = (Preserved, Vec<(u64, u32)>, Vec<(u64, u64)>);

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
    pub(crate) history: History,
    /// The newest version on disk: older nodes in memory have a location.
    pub(crate) written: u64,
    /// How many times nodes were freed that prepared updates may name.
    pub(crate) trims: u64,
    /// Nodes of the version being written that were patched since, with the version that did.
    pub(crate) preserved: Preserved,
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
    pub(crate) ids: Arc<Ids>,
    pub(crate) spares: Spares,
    /// Memory of the nodes, for those who do not want to wait for the lock.
    memory: AtomicUsize,
    /// Parts of the trie that were trimmed since there was too much memory.
    pub(crate) trim_steps: AtomicUsize,
}

impl Clone for StateTrie {
    /// A trie of its own with the same nodes, which must all be in memory.
    fn clone(&self) -> Self {
        let inner = self.inner.read();
        Self {
            inner: RwLock::new(Inner {
                nodes: Nodes {
                    chunks: inner.nodes.chunks.clone(),
                    ..Nodes::default()
                },
                root: inner.root.clone(),
                version: inner.version,
                stamp: inner.stamp,
                bytes: inner.bytes,
                unwritten_bytes: inner.bytes,
                ..Inner::default()
            }),
            ids: Arc::new(Ids {
                free: Mutex::new(self.ids.free.lock().clone()),
                fresh: AtomicU32::new(self.ids.fresh.load(Ordering::Relaxed)),
            }),
            spares: Spares::default(),
            memory: AtomicUsize::new(inner.bytes),
            trim_steps: AtomicUsize::new(0),
        }
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

    /// Keeps what nodes were in earlier versions, for proofs of them: of as many versions as take this much
    /// memory, and this number of them at most. Without it, none are kept.
    pub fn keep_history(&self, bytes: usize, versions: usize) {
        self.inner.write().history = History::new(bytes, versions);
    }

    /// Memory of what is kept of earlier versions, in bytes.
    pub fn history_bytes(&self) -> usize {
        self.inner.read().history.memory_bytes()
    }

    /// Sets the stamp of the current version.
    pub fn set_stamp(&self, stamp: u64) {
        self.inner.write().stamp = stamp;
    }

    /// Forgets everything: the trie is empty.
    pub fn clear(&self) {
        let mut inner = self.inner.write();
        *inner = Inner {
            history: inner.history.emptied(),
            ..Inner::default()
        };
        self.ids.clear();
        self.memory.store(0, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read()
    }

    /// Adds the new nodes of a version, and frees those that it replaced.
    pub(crate) fn exchange(
        &self,
        inner: &mut Inner,
        new: impl Iterator<Item = (u32, Branch)>,
        replaced: impl Iterator<Item = NodeLink>,
    ) {
        for (id, node) in new {
            let bytes = node.memory_bytes();
            inner.bytes += bytes;
            inner.unwritten_bytes += bytes;
            inner.nodes.put(id, node);
        }
        let mut free = Vec::new();
        for link in replaced {
            match link.id() {
                // The writer may still read it.
                Some(id) if inner.writing.is_some() => inner.retired.push((inner.version, id)),
                Some(id) => {
                    inner.take(id, inner.version);
                    free.push(id);
                }
                None => inner.stale.push((inner.version, link.0)),
            }
        }
        self.ids.give_back(free);
    }

    /// Ends the exchange of nodes.
    pub(crate) fn end_exchange(&self, inner: &mut Inner) {
        for part in &mut inner.nodes.loaded {
            part.get_mut().clear();
        }
        self.memory.store(inner.bytes, Ordering::Relaxed);
    }

    /// Frees nodes that a version replaced. Their memory is given back after the lock.
    pub(crate) fn release(&self, retired: &[(u64, u32)]) {
        let mut freed = Vec::with_capacity(retired.len());
        let mut inner = self.inner.write();
        for (version, id) in retired {
            freed.extend(inner.take(*id, *version));
        }
        self.memory.store(inner.bytes, Ordering::Relaxed);
        drop(inner);
        self.ids.give_back(retired.iter().map(|(_, id)| *id));
    }

    /// Adds locations that versions replaced, and frees memory.
    pub(crate) fn add_stale(&self, mut stale: Vec<(u64, u64)>, freed_bytes: usize) {
        let mut inner = self.inner.write();
        stale.append(&mut inner.stale);
        inner.stale = stale;
        inner.bytes -= freed_bytes;
        self.memory.store(inner.bytes, Ordering::Relaxed);
    }

    /// Frees nodes that are on disk.
    pub(crate) fn evict(&self, inner: &mut Inner, ids: Vec<u32>) {
        if ids.is_empty() {
            return;
        }
        inner.trims += 1;
        for id in &ids {
            if let Some(node) = inner.nodes.take(*id) {
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

/// Fewer patches than this are not worth several threads.
const PARALLEL_MIN: usize = 2048;
/// Parts of the nodes for each thread.
const PARTS: usize = 8;

/// What patches add to a trie.
#[derive(Default)]
struct Patched {
    bytes: usize,
    unwritten_bytes: usize,
    preserved: Vec<(u32, (u64, Branch))>,
    stale: Vec<(u64, u64)>,
}

impl Patched {
    fn patch(
        &mut self,
        node: &mut Branch,
        id: u32,
        new: &[(u8, Reference)],
        version: u64,
        writing: Option<u64>,
    ) {
        let location = std::mem::take(node.location.get_mut());
        if writing.is_some_and(|writing| node.version <= writing) {
            let bytes = node.memory_bytes();
            let mut old = node.clone();
            *old.location.get_mut() = location;
            self.bytes += bytes;
            self.unwritten_bytes += bytes;
            self.preserved.push((id, (version, old)));
        } else if location != 0 {
            self.unwritten_bytes += node.memory_bytes();
            self.stale.push((version, location));
        }
        node.version = version;
        for (nibble, reference) in new {
            node.set_reference(*nibble, *reference);
        }
    }
}

/// Where a search ended.
pub(crate) enum Found {
    Nothing,
    /// A leaf on the path, which may be of another key: its id, and its storage.
    Leaf(u64, Option<Storage>),
}

impl Inner {
    /// Takes a node that a version replaced.
    fn take(&mut self, id: u32, version: u64) -> Option<Branch> {
        let node = self.nodes.take(id)?;
        self.forget(&node, version);
        Some(node)
    }

    /// Notes that a version replaced a node, which is freed.
    fn forget(&mut self, node: &Branch, version: u64) {
        let bytes = node.memory_bytes();
        self.bytes -= bytes;
        match node.location() {
            0 => self.unwritten_bytes = self.unwritten_bytes.saturating_sub(bytes),
            location => self.stale.push((version, location)),
        }
    }

    /// Takes what is kept because of the version that was written: nodes as they were, nodes that were
    /// replaced, and locations that were.
    pub(crate) fn take_kept(&mut self) -> Kept {
        let preserved = std::mem::take(&mut self.preserved);
        let retired = std::mem::take(&mut self.retired);
        (preserved, retired, std::mem::take(&mut self.stale))
    }

    /// Puts a node in the place of another. The version being written keeps that one.
    pub(crate) fn put_in_place(&mut self, id: u32, node: Branch) {
        let bytes = node.memory_bytes();
        self.bytes += bytes;
        self.unwritten_bytes += bytes;
        let place = self.nodes.place_mut(id);
        let Some(old) = place.and_then(|place| place.replace(node)) else {
            return;
        };
        if self.writing.is_some_and(|writing| old.version <= writing) {
            self.preserved.insert(id, (self.version, old));
        } else {
            self.forget(&old, self.version);
        }
    }

    /// Gives children of nodes new references. The version being written keeps the nodes as they were.
    pub(crate) fn patch(&mut self, outputs: &[Output], threads: usize) {
        let (version, writing) = (self.version, self.writing);
        let all = || {
            outputs
                .iter()
                .flat_map(|output| output.patches.iter().map(move |it| (output, it)))
        };
        let apply = |chunks: &mut [Chunk], base: usize, patches: &[(&Output, &Patch)]| {
            let mut part = Patched::default();
            for (output, patch) in patches {
                let (chunk, at) = place_in(patch.id);
                if let Some(node) = &mut chunks[chunk - base][at] {
                    let new = output.references_of(patch);
                    part.patch(node, patch.id, new, version, writing);
                }
            }
            part
        };
        let count: usize = outputs.iter().map(|output| output.patches.len()).sum();
        if threads < 2 || count < PARALLEL_MIN {
            let all: Vec<_> = all().collect();
            let part = apply(&mut self.nodes.chunks, 0, &all);
            return self.add(part);
        }
        // Each part of the nodes has the patches in it.
        let size = self.nodes.chunks.len().div_ceil(threads * PARTS);
        let mut parts = vec![Vec::with_capacity(count / threads / PARTS); threads * PARTS];
        for (output, patch) in all() {
            parts[place_in(patch.id).0 / size].push((output, patch));
        }
        let chunks = self.nodes.chunks.par_chunks_mut(size).zip(parts);
        let parts: Vec<Patched> = (chunks.enumerate())
            .map(|(part, (chunks, patches))| apply(chunks, part * size, &patches))
            .collect();
        for part in parts {
            self.add(part);
        }
    }

    fn add(&mut self, part: Patched) {
        self.bytes += part.bytes;
        self.unwritten_bytes += part.unwritten_bytes;
        self.preserved.extend(part.preserved);
        self.stale.extend(part.stale);
    }

    /// A node in memory, to change where its children are.
    pub(crate) fn node_mut(&mut self, id: u32) -> Option<&mut Branch> {
        self.nodes.get_mut(id)
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
                Place::Leaf { id, storage } => {
                    return Ok(Found::Leaf(id, storage.map(|it| *it)));
                }
                Place::Empty => return Ok(Found::Nothing),
            };
            (place, depth) = self.below((link, tag), key, depth, source)?;
        }
    }

    /// What is below a node at a depth on the path of a key, and its depth.
    pub(crate) fn below<S: Source>(
        &self,
        (link, tag): (NodeLink, [u8; 8]),
        key: &B256,
        depth: usize,
        source: &S,
    ) -> Result<(Place, usize), S::Error> {
        let below = self.nodes.with(link, tag, source, |branch| {
            branch.check_depth(depth)?;
            let shared = crate::path::common_with(&branch.prefix, key, depth);
            let at = depth + shared;
            let is_on_path = shared == branch.prefix.len();
            let place = is_on_path.then(|| child_place(branch, nibble(key, at)));
            Ok((place.unwrap_or(Place::Empty), at + 1))
        })?;
        below.map_err(|error: TrieError| source.damaged(link.0, error))
    }
}
