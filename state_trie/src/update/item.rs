//! Subtrees that change, and what they become.

use crate::{
    history::{Notes, Places},
    keccak::Messages,
    node::{Branch, LeafValue, NodeLink, Place, Reference, Storage, tag_of},
    path::{nibble, set_nibble},
    trie::{Ids, Nodes},
};
use alloy_primitives::B256;
use parking_lot::Mutex;
use std::ops::Range;

/// A new value of a leaf, or its removal.
#[derive(Clone, Debug)]
pub(crate) struct LeafChange {
    pub(crate) key: B256,
    /// By which the owner of the values finds it.
    pub(crate) id: u64,
    /// Whether the trie has the leaf.
    pub(crate) existed: bool,
    /// `None` removes it.
    pub(crate) value: Option<LeafValue>,
    pub(crate) storage: NewStorage,
}

/// Changed leaves, sorted by key.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    pub(crate) changes: Vec<LeafChange>,
    /// The beginning of each key: what is read of it on the way down, in few cache lines.
    pub(crate) starts: Vec<u64>,
}

impl Leaves {
    pub(crate) fn new(changes: Vec<LeafChange>) -> Self {
        let start = |change: &LeafChange| u64::from_be_bytes(tag_of(&change.key.0));
        Self {
            starts: changes.iter().map(start).collect(),
            changes,
        }
    }
}

/// The storage of a changed account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewStorage {
    /// It stays as it is.
    Kept,
    /// It is another; `None` if it is empty.
    Changed(Option<Box<Storage>>),
}

/// An unchanged leaf that must be written again, because its depth changes.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) key: B256,
    pub(crate) id: u64,
    pub(crate) value: LeafValue,
    pub(crate) storage: Option<Storage>,
}

/// A subtree that changes.
#[derive(Debug)]
pub(crate) struct Item {
    /// Index of the parent's item, or of the trie.
    pub(crate) parent: u32,
    pub(crate) nibble: u8,
    /// Nibbles of the path before the subtree.
    pub(crate) depth: u8,
    /// The account whose storage trie it is, as an index.
    pub(crate) owner: u32,
    /// The changes, as a range of all. If it is empty, the change at its start has the path before `nibble`.
    pub(crate) changes: Range<usize>,
    pub(crate) place: Place,
    /// The branch there, once the item has it.
    pub(crate) work: Work,
    /// An existing leaf that moves into the subtree.
    pub(crate) extra: Option<Box<Fetched>>,
    /// The storage of a change in the subtree that keeps it.
    pub(crate) kept: Option<Box<(usize, Storage)>>,
}

impl Item {
    /// A whole trie.
    pub(crate) const fn root(index: u32, owner: u32, changes: Range<usize>, place: Place) -> Self {
        Self {
            parent: index,
            nibble: 0,
            depth: 0,
            owner,
            changes,
            place,
            work: Work::None,
            extra: None,
            kept: None,
        }
    }

    /// The item of the child at a nibble, which is at index `at` of the path. It takes what moves there.
    pub(crate) fn below(
        &mut self,
        index: u32,
        of: u8,
        at: usize,
        changes: Range<usize>,
        place: Place,
    ) -> Self {
        let extra = (self.extra).take_if(|extra| nibble(&extra.key, at) == of);
        let kept = self.kept.take_if(|kept| changes.contains(&kept.0));
        Self {
            nibble: of,
            depth: small(at + 1),
            extra,
            kept,
            ..Self::root(index, self.owner, changes, place)
        }
    }
}

/// The branch of an item.
#[derive(Debug)]
pub(crate) enum Work {
    None,
    /// One that is being made.
    New(Box<Branch>),
    /// A copy of one that stands there.
    Copy(Box<Branch>),
    /// One in memory of which at most references change.
    Same(u32),
}

/// A leaf of the result.
#[derive(Debug)]
pub(crate) enum NewLeaf {
    /// Of a change.
    Changed(usize, Option<Box<Storage>>),
    Moved(Box<Fetched>),
}

/// What a subtree became.
#[derive(Debug)]
pub(crate) enum Subtree {
    Empty,
    Leaf(NewLeaf),
    /// A branch, and its id if it takes the place of one in memory.
    Branch(Box<Branch>, Reference, Option<u32>),
    /// A branch in memory of which only references change.
    Patched(Patch, Reference),
}

/// New references of the children of a branch in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    pub(crate) id: u32,
    /// Hash of the node's place.
    pub(crate) at: u64,
    /// The references, as a range of the output's.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// References before that are RLP.
    pub(crate) inline: u16,
}

/// A changed subtree, and its place in its parent.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) parent: u32,
    pub(crate) nibble: u8,
    /// Hash of the place, if there was an item.
    pub(crate) at: u64,
    pub(crate) subtree: Subtree,
}

/// A new node.
#[derive(Debug)]
pub(crate) struct NewNode {
    pub(crate) id: u32,
    /// Hash of its place.
    pub(crate) at: u64,
    pub(crate) branch: Branch,
}

/// What a part of an update made.
///
/// What the threads made is in `parts`, each with outputs of its own.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// New nodes.
    pub(crate) nodes: Vec<NewNode>,
    /// Nodes that take the place of others, whose ids they have.
    pub(crate) exchanged: Vec<NewNode>,
    /// Nodes whose children have new references.
    pub(crate) patches: Vec<Patch>,
    /// The nibbles and references of all patches.
    pub(crate) references: Vec<(u8, Reference)>,
    /// The references before.
    pub(crate) before: Vec<[u8; 32]>,
    /// Nodes that are no longer part of the trie.
    pub(crate) replaced: Vec<NodeLink>,
    /// What nodes were before, but for those with patches.
    pub(crate) notes: Notes,
    pub(crate) parts: Vec<Output>,
    /// Ids taken and not used yet.
    pub(crate) ids: Vec<u32>,
    pub(crate) messages: Messages,
    pub(crate) hashes: Vec<B256>,
}

/// Memory of earlier updates. Memory that the allocator gives back to the system costs a page fault for every
/// 4 KiB when it is taken again.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<(Messages, Vec<B256>)>>);

impl Spares {
    /// An empty output.
    pub(crate) fn output(&self) -> Output {
        let (messages, hashes) = self.0.lock().pop().unwrap_or_default();
        Output {
            messages,
            hashes,
            ..Output::default()
        }
    }

    /// Takes back the memory of an output.
    pub(crate) fn give_back(&self, output: &mut Output) {
        let mut messages = std::mem::take(&mut output.messages);
        messages.clear();
        let hashes = std::mem::take(&mut output.hashes);
        let mut spares = self.0.lock();
        if spares.len() < SPARES_MAX {
            spares.push((messages, hashes));
        }
    }
}

/// Outputs whose memory is kept.
const SPARES_MAX: usize = 64;

impl Output {
    /// The references of a patch.
    pub(crate) fn references_of(&self, patch: &Patch) -> &[(u8, Reference)] {
        &self.references[patch.start as usize..patch.end as usize]
    }

    /// Adds what a part made, whose results are `done`. Their patches are given to parents in this output, so
    /// their references come here.
    pub(crate) fn add_part(&mut self, part: Self, done: &mut [Done]) {
        for done in done {
            if let Subtree::Patched(patch, _) = &mut done.subtree {
                let start = count(self.references.len());
                self.references.extend_from_slice(part.references_of(patch));
                let before = &part.before[patch.start as usize..patch.end as usize];
                self.before.extend_from_slice(before);
                *patch = Patch {
                    start,
                    end: count(self.references.len()),
                    ..*patch
                };
            }
        }
        self.parts.push(part);
    }
}

/// An update.
pub(crate) struct Update<'a, S> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) source: &'a S,
    pub(crate) changes: &'a [LeafChange],
    /// The beginnings of their keys.
    pub(crate) starts: &'a [u64],
    /// Hashed addresses of the owners of storage tries; empty for the account trie.
    pub(crate) owners: &'a [B256],
    pub(crate) ids: &'a Ids,
    pub(crate) spares: &'a Spares,
    pub(crate) places: &'a Places,
    /// The version that the update makes.
    pub(crate) version: u64,
    /// The stamp of the version before it.
    pub(crate) stamp: u64,
    /// Threads of the current pool.
    pub(crate) threads: usize,
}

impl<S> Update<'_, S> {
    /// Hash of the place where an item is.
    pub(super) fn place_of(&self, item: &Item) -> u64 {
        let mut key = self.changes[item.changes.start].key;
        let depth = usize::from(item.depth);
        if item.changes.is_empty() {
            set_nibble(&mut key, depth - 1, item.nibble);
        }
        self.place(item.owner, &key, depth)
    }

    /// Hash of a place, `depth` nibbles down a path.
    pub(super) fn place(&self, owner: u32, path: &B256, depth: usize) -> u64 {
        let owner = self.owners.get(owner as usize);
        self.places.hash(owner, path, depth)
    }
}

/// A number of references as it is stored.
pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).expect("an update has fewer than 2^32 references")
}

fn small(depth: usize) -> u8 {
    u8::try_from(depth).expect("a path has at most 64 nibbles")
}
