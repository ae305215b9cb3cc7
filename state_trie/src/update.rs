//! Applies sorted changes to tries and hashes what they changed.
//!
//! A subtree that changes is an [`Item`]. Items go down the trie level by level: each takes its branch,
//! distributes its changes among the children, and makes items of the children that are more than a leaf
//! to set. On the way back up, each level hashes its new leaves together, then its branches, so that
//! vector lanes are full. Nodes are never changed: an item works on a copy, and the original is noted as
//! replaced.
//!
//! Any number of tries are updated together, so that a thousand small storage tries fill the lanes as one
//! large trie does.

use crate::{
    keccak::Messages,
    node::{
        Branch, EMPTY_ROOT, LeafValue, NodeLink, Reference, Storage, bit, nibbles_of, write_leaf,
    },
    path::{self, nibble},
    trie::{Ids, Nodes, Source, TrieError},
};
use alloy_primitives::B256;
use rayon::prelude::*;
use std::{ops::Range, sync::atomic::AtomicU64};

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

/// The storage of a changed account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewStorage {
    /// It stays as it is.
    Kept,
    /// It is another; `None` if it is empty.
    Changed(Option<Storage>),
}

/// An unchanged leaf that must be written again, because its depth changes.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) key: B256,
    pub(crate) id: u64,
    pub(crate) value: LeafValue,
    pub(crate) storage: Option<Storage>,
}

/// What is at a place of a trie.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Empty,
    Leaf {
        id: u64,
        storage: Option<Storage>,
    },
    /// A branch, and the beginning of its reference.
    Node(NodeLink, [u8; 8]),
    /// A branch whose prefix was cut.
    Cut(Box<Branch>),
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
    /// The changes, as a range of all.
    pub(crate) changes: Range<usize>,
    pub(crate) place: Place,
    /// An existing leaf that moves into the subtree.
    extra: Option<Box<Fetched>>,
    /// The storage of a change in the subtree that keeps it.
    kept: Option<(usize, Storage)>,
}

impl Item {
    /// A whole trie.
    pub(crate) const fn root(
        index: u32,
        owner: u32,
        changes: Range<usize>,
        place: Place,
    ) -> Self {
        Self {
            parent: index,
            nibble: 0,
            depth: 0,
            owner,
            changes,
            place,
            extra: None,
            kept: None,
        }
    }

    /// The item of the child at a nibble, which is at index `at` of the path. It takes what moves there.
    fn below(
        &mut self,
        index: u32,
        of: u8,
        at: usize,
        changes: Range<usize>,
        place: Place,
    ) -> Self {
        let extra = (self.extra).take_if(|extra| nibble(&extra.key, at) == of);
        let kept = self.kept.take_if(|(change, _)| changes.contains(change));
        Self {
            nibble: of,
            depth: small(at + 1),
            extra,
            kept,
            ..Self::root(index, self.owner, changes, place)
        }
    }
}

/// A leaf of the result.
#[derive(Debug)]
pub(crate) enum NewLeaf {
    /// Of a change.
    Changed(usize, Option<Storage>),
    Moved(Box<Fetched>),
}

/// What a subtree became.
#[derive(Debug)]
pub(crate) enum Subtree {
    Empty,
    Leaf(NewLeaf),
    Branch(Box<Branch>, Reference),
}

/// A changed subtree, and its place in its parent.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) parent: u32,
    nibble: u8,
    pub(crate) subtree: Subtree,
}

/// What a part of an update made.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// New nodes and their ids.
    pub(crate) nodes: Vec<(u32, Box<Branch>)>,
    /// Nodes that are no longer part of the trie.
    pub(crate) replaced: Vec<NodeLink>,
    /// Ids taken and not used yet.
    pub(crate) ids: Vec<u32>,
    messages: Messages,
    hashes: Vec<B256>,
}

impl Output {
    pub(crate) fn merge(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.replaced.extend(other.replaced);
        self.ids.extend(other.ids);
    }
}

/// An update.
pub(crate) struct Update<'a, S> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) source: &'a S,
    pub(crate) changes: &'a [LeafChange],
    /// Hashed addresses of the owners of storage tries; empty for the account trie.
    pub(crate) owners: &'a [B256],
    pub(crate) ids: &'a Ids,
    /// The version that the update makes.
    pub(crate) version: u64,
    /// The stamp of the version before it.
    pub(crate) stamp: u64,
    /// Threads of the current pool.
    pub(crate) threads: usize,
}

/// Fewer changes than this are not worth several threads.
const PARALLEL_MIN: usize = 512;
/// Parts for each thread.
const PARTS: usize = 8;

impl<S: Source> Update<'_, S> {
    /// Updates subtrees; the results name the parents of the items.
    pub(crate) fn run(
        &self,
        items: Vec<Item>,
        is_split: bool,
        out: &mut Output,
    ) -> Result<Vec<Done>, S::Error> {
        let mut items = items;
        let mut next = Vec::new();
        let mut done = Vec::new();
        for (index, item) in (0..).zip(&mut items) {
            self.expand(index, item, &mut next, &mut done, out)?;
        }
        let is_split = is_split
            || self.threads < 2
            || next.iter().map(|item| item.changes.len()).sum::<usize>() < PARALLEL_MIN;
        if is_split || next.len() < PARTS * self.threads {
            if !next.is_empty() {
                done.extend(self.run(next, is_split, out)?);
            }
        } else {
            done.extend(self.run_parts(next, out)?);
        }
        self.finish(items, done, out)
    }

    /// Updates subtrees on all threads.
    fn run_parts(&self, mut items: Vec<Item>, out: &mut Output) -> Result<Vec<Done>, S::Error> {
        let size = items.len().div_ceil(PARTS * self.threads);
        let mut parts = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(size.min(items.len()));
            parts.push(std::mem::replace(&mut items, rest));
        }
        let parts = (parts.into_par_iter())
            .map(|items| {
                let mut out = Output::default();
                let done = self.run(items, true, &mut out)?;
                Ok((done, out))
            })
            .collect::<Result<Vec<_>, S::Error>>()?;
        let mut done = Vec::new();
        for (part, output) in parts {
            done.extend(part);
            out.merge(output);
        }
        Ok(done)
    }

    /// Takes the branch of an item, if it has one or needs one, and distributes the changes.
    fn expand(
        &self,
        index: u32,
        item: &mut Item,
        next: &mut Vec<Item>,
        done: &mut Vec<Done>,
        out: &mut Output,
    ) -> Result<(), S::Error> {
        match std::mem::replace(&mut item.place, Place::Empty) {
            Place::Empty => {}
            Place::Leaf { id, storage } => self.open_leaf(item, id, storage)?,
            Place::Node(link, tag) => {
                let branch = self.nodes.copy(link, tag, self.source)?;
                out.replaced.push(link);
                self.distribute(index, item, branch, next, done)?;
                return Ok(());
            }
            Place::Cut(branch) => {
                self.distribute(index, item, branch, next, done)?;
                return Ok(());
            }
        }
        // Nothing is here, but what is put or moves here.
        let puts = || item.changes.clone().filter(|at| self.changes[*at].value.is_some());
        let first = puts().next();
        let last = item.changes.clone().rev().find(|at| self.changes[*at].value.is_some());
        let extra = item.extra.as_ref().map(|extra| extra.key);
        let mut keys = (first.into_iter().chain(last)).map(|at| self.changes[at].key).chain(extra);
        let Some(key) = keys.next() else {
            return Ok(());
        };
        let depth = usize::from(item.depth);
        let shared = keys.map(|other| path::common(&key, &other)).min();
        let shared = shared.unwrap_or(path::KEY_NIBBLES);
        if shared < path::KEY_NIBBLES {
            let branch = Branch {
                prefix: path::nibbles(&key, depth, shared),
                ..Branch::default()
            };
            self.distribute(index, item, Box::new(branch), next, done)?;
        }
        Ok(())
    }

    /// The leaf where an item is becomes one of the leaves to put there, unless it is removed.
    fn open_leaf(
        &self,
        item: &mut Item,
        id: u64,
        storage: Option<Storage>,
    ) -> Result<(), S::Error> {
        let own = item.changes.clone().find(|at| self.changes[*at].existed);
        match own {
            Some(at) => item.kept = storage.map(|storage| (at, storage)),
            None => {
                let key = self.changes[item.changes.start].key;
                let extra = self.fetch(item.owner, id, storage, &key, item.depth.into())?;
                item.extra = Some(extra);
            }
        }
        Ok(())
    }

    /// Reads an unchanged leaf whose path begins with `depth` nibbles of `key`.
    fn fetch(
        &self,
        owner: u32,
        id: u64,
        storage: Option<Storage>,
        key: &B256,
        depth: usize,
    ) -> Result<Box<Fetched>, S::Error> {
        let owner = self.owners.get(owner as usize);
        let (key, value) = self.source.read_leaf(owner, id, key, depth, self.stamp)?;
        Ok(Box::new(Fetched {
            key,
            id,
            value,
            storage,
        }))
    }

    /// Distributes the changes of an item among the children of a branch, which becomes the item's.
    fn distribute(
        &self,
        index: u32,
        item: &mut Item,
        mut branch: Box<Branch>,
        next: &mut Vec<Item>,
        done: &mut Vec<Done>,
    ) -> Result<(), S::Error> {
        let from = usize::from(item.depth);
        let changes = &self.changes[item.changes.clone()];
        let mut shared = branch.prefix.len();
        for change in changes.first().into_iter().chain(changes.last()) {
            shared = shared.min(path::common_with(&branch.prefix, &change.key, from));
        }
        if let Some(cut) = branch.prefix.get(shared).copied() {
            // Some keys leave the prefix: a branch stands there now, above this one.
            let upper = Branch {
                prefix: branch.prefix[..shared].into(),
                ..Branch::default()
            };
            branch.prefix = branch.prefix[shared + 1..].into();
            let lower = std::mem::replace(&mut *branch, upper);
            branch.set_node(cut, 0);
            let at = from + shared;
            let changes = self.with_nibble(&item.changes, at, cut);
            let place = Place::Cut(Box::new(lower));
            next.push(item.below(index, cut, at, changes, place));
        }
        let at = from + shared;
        let has_cut = branch.children.len() == 1;
        let mut start = item.changes.start;
        while start < item.changes.end {
            let of = nibble(&self.changes[start].key, at);
            let end = start
                + self.changes[start..item.changes.end]
                    .partition_point(|change| nibble(&change.key, at) == of);
            let group = start..end;
            start = end;
            if has_cut && branch.mask == bit(of) {
                continue;
            }
            self.distribute_to(index, item, &branch, of, at, group, next, done);
        }
        if let Some(extra) = item.extra.take() {
            // No change has its nibble, or the group's item would have taken it.
            let of = nibble(&extra.key, at);
            done.push(Done {
                parent: index,
                nibble: of,
                subtree: Subtree::Leaf(NewLeaf::Moved(extra)),
            });
        }
        item.place = Place::Cut(branch);
        Ok(())
    }

    /// The changes of a sorted range whose key has a nibble at an index.
    fn with_nibble(&self, range: &Range<usize>, at: usize, of: u8) -> Range<usize> {
        let changes = &self.changes[range.clone()];
        let start = changes.partition_point(|change| nibble(&change.key, at) < of);
        let end = changes.partition_point(|change| nibble(&change.key, at) <= of);
        range.start + start..range.start + end
    }

    /// Gives a child its changes.
    #[expect(clippy::too_many_arguments, reason = "the state of one loop")]
    fn distribute_to(
        &self,
        index: u32,
        item: &mut Item,
        branch: &Branch,
        of: u8,
        at: usize,
        group: Range<usize>,
        next: &mut Vec<Item>,
        done: &mut Vec<Done>,
    ) {
        let change = &self.changes[group.start];
        let has_extra = (item.extra.as_ref()).is_some_and(|extra| nibble(&extra.key, at) == of);
        let is_single = group.len() == 1 && !has_extra;
        let child = branch.child(of);
        let place = match child {
            Some(child) if branch.is_node(of) => {
                let mut tag = [0; 8];
                tag.copy_from_slice(&child.reference[..8]);
                Place::Node(NodeLink(child.link), tag)
            }
            Some(child) => {
                let storage = branch.storage(of);
                if is_single && change.existed {
                    let subtree = match change.value {
                        Some(_) => self.new_leaf(group.start, storage),
                        None => Subtree::Empty,
                    };
                    done.push(Done {
                        parent: index,
                        nibble: of,
                        subtree,
                    });
                    return;
                }
                Place::Leaf {
                    id: child.link,
                    storage,
                }
            }
            None if is_single => {
                if change.value.is_some() {
                    let kept = item.kept.take_if(|(kept, _)| *kept == group.start);
                    let subtree = self.new_leaf(group.start, kept.map(|(_, storage)| storage));
                    done.push(Done {
                        parent: index,
                        nibble: of,
                        subtree,
                    });
                }
                return;
            }
            None => Place::Empty,
        };
        next.push(item.below(index, of, at, group, place));
    }

    /// A changed leaf, whose storage was `storage`.
    fn new_leaf(&self, at: usize, storage: Option<Storage>) -> Subtree {
        let storage = match self.changes[at].storage {
            NewStorage::Kept => storage,
            NewStorage::Changed(storage) => storage,
        };
        Subtree::Leaf(NewLeaf::Changed(at, storage))
    }

    /// Puts the changed children into the items' branches, and hashes.
    fn finish(
        &self,
        mut items: Vec<Item>,
        done: Vec<Done>,
        out: &mut Output,
    ) -> Result<Vec<Done>, S::Error> {
        // For each item, the last child that is new.
        let mut new_child = vec![u32::MAX; items.len()];
        let mut done: Vec<Option<Done>> = done.into_iter().map(Some).collect();
        for (index, child) in (0..).zip(&done) {
            let Some(child) = child else { continue };
            let parent = child.parent as usize;
            let Place::Cut(branch) = &mut items[parent].place else {
                return Err(TrieError::Inconsistent("a child has no branch").into());
            };
            match &child.subtree {
                Subtree::Empty => branch.remove_child(child.nibble),
                Subtree::Leaf(leaf) => {
                    let (id, storage) = self.leaf_link(leaf);
                    branch.set_leaf(child.nibble, id, storage);
                    new_child[parent] = index;
                }
                Subtree::Branch(..) => {
                    branch.set_node(child.nibble, 0);
                    new_child[parent] = index;
                }
            }
        }
        let mut results = Vec::with_capacity(items.len());
        let mut branches = Vec::with_capacity(items.len());
        for (index, mut item) in items.into_iter().enumerate() {
            let subtree = match std::mem::replace(&mut item.place, Place::Empty) {
                Place::Cut(mut branch) => {
                    if branch.children.len() < 2 {
                        let new = (done.get_mut(new_child[index] as usize)).and_then(Option::take);
                        self.collapse(&item, *branch, new, out)?
                    } else {
                        branch.version = self.version;
                        Subtree::Branch(branch, Reference::hash(B256::ZERO))
                    }
                }
                _ => self.only_leaf(&mut item),
            };
            branches.push(match &subtree {
                Subtree::Branch(..) => Some(results.len()),
                _ => None,
            });
            results.push(Done {
                parent: item.parent,
                nibble: item.nibble,
                subtree,
            });
            new_child[index] = u32::from(item.depth);
        }
        let depths = new_child;
        self.hash_leaves(&done, &mut results, &depths, out);
        self.place_branches(done, &mut results, out);
        Self::hash_branches(&mut results, out);
        Ok(results)
    }

    /// The leaf that an item without a branch became, if it did.
    fn only_leaf(&self, item: &mut Item) -> Subtree {
        if let Some(extra) = item.extra.take() {
            return Subtree::Leaf(NewLeaf::Moved(extra));
        }
        let put = item.changes.clone().find(|at| self.changes[*at].value.is_some());
        put.map_or(Subtree::Empty, |at| {
            let kept = item.kept.filter(|(change, _)| *change == at);
            self.new_leaf(at, kept.map(|(_, storage)| storage))
        })
    }

    pub(crate) fn leaf_link(&self, leaf: &NewLeaf) -> (u64, Option<Storage>) {
        match leaf {
            NewLeaf::Changed(at, storage) => (self.changes[*at].id, *storage),
            NewLeaf::Moved(leaf) => (leaf.id, leaf.storage),
        }
    }

    /// What a branch becomes that has at most one child.
    fn collapse(
        &self,
        item: &Item,
        branch: Branch,
        new: Option<Done>,
        out: &mut Output,
    ) -> Result<Subtree, S::Error> {
        let Some(of) = nibbles_of(branch.mask).next() else {
            return Ok(Subtree::Empty);
        };
        let child = branch.children[0];
        let mut lower = match new.map(|done| done.subtree) {
            Some(Subtree::Branch(lower, _)) => lower,
            Some(leaf) => return Ok(leaf),
            None if branch.is_node(of) => {
                let link = NodeLink(child.link);
                let mut tag = [0; 8];
                tag.copy_from_slice(&child.reference[..8]);
                out.replaced.push(link);
                self.nodes.copy(link, tag, self.source)?
            }
            None => {
                // The path to the leaf, which no change has.
                let from = usize::from(item.depth);
                let depth = from + branch.prefix.len() + 1;
                let mut key = self.changes[item.changes.start].key;
                for (index, nibble) in (from..).zip(branch.prefix.iter().copied().chain([of])) {
                    path::set_nibble(&mut key, index, nibble);
                }
                let storage = branch.storage(of);
                let leaf = self.fetch(item.owner, child.link, storage, &key, depth)?;
                return Ok(Subtree::Leaf(NewLeaf::Moved(leaf)));
            }
        };
        let mut prefix = branch.prefix.into_vec();
        prefix.push(of);
        prefix.extend_from_slice(&lower.prefix);
        lower.prefix = prefix.into();
        lower.version = self.version;
        lower.location = AtomicU64::new(0);
        Ok(Subtree::Branch(lower, Reference::hash(B256::ZERO)))
    }

    /// Hashes the new leaves of branches.
    fn hash_leaves(
        &self,
        done: &[Option<Done>],
        results: &mut [Done],
        depths: &[u32],
        out: &mut Output,
    ) {
        out.messages.clear();
        out.hashes.clear();
        let mut inline = Vec::new();
        let leaves = || {
            done.iter().flatten().filter_map(|done| match &done.subtree {
                Subtree::Leaf(leaf) => Some((done.parent as usize, done.nibble, leaf)),
                _ => None,
            })
        };
        for (index, (parent, _, leaf)) in leaves().enumerate() {
            let Subtree::Branch(branch, _) = &results[parent].subtree else {
                continue;
            };
            let depth = depths[parent] as usize + branch.prefix.len() + 1;
            let short = out.messages.push_with(|out| {
                let start = out.len();
                self.write_leaf(out, leaf, depth);
                Reference::inline(&out[start..])
            });
            inline.extend(short.map(|short| (index, short)));
        }
        out.messages.hash(&mut out.hashes);
        let mut inline = inline.into_iter().peekable();
        for ((index, (parent, nibble, _)), hash) in leaves().enumerate().zip(&out.hashes) {
            let Subtree::Branch(branch, _) = &mut results[parent].subtree else {
                continue;
            };
            let short = inline.next_if(|(of, _)| *of == index).map(|(_, short)| short);
            branch.set_reference(nibble, short.unwrap_or(Reference::hash(*hash)));
        }
    }

    pub(crate) fn write_leaf(&self, out: &mut Vec<u8>, leaf: &NewLeaf, depth: usize) {
        let (key, value, storage) = match leaf {
            NewLeaf::Changed(at, storage) => {
                let change = &self.changes[*at];
                let value = change.value.as_ref().expect("a new leaf has a value");
                (&change.key, value, storage)
            }
            NewLeaf::Moved(leaf) => (&leaf.key, &leaf.value, &leaf.storage),
        };
        let root = storage.map_or(EMPTY_ROOT, |storage| storage.root);
        write_leaf(out, key, depth, value, &root);
    }

    /// Gives the new branches below this level their ids.
    fn place_branches(&self, done: Vec<Option<Done>>, results: &mut [Done], out: &mut Output) {
        for done in done.into_iter().flatten() {
            let Subtree::Branch(child, reference) = done.subtree else {
                continue;
            };
            let Subtree::Branch(branch, _) = &mut results[done.parent as usize].subtree else {
                continue;
            };
            let id = self.new_id(out);
            branch.set_link(done.nibble, NodeLink::memory(id).0);
            branch.set_reference(done.nibble, reference);
            out.nodes.push((id, child));
        }
    }

    /// An id for a new node.
    pub(crate) fn new_id(&self, out: &mut Output) -> u32 {
        if out.ids.is_empty() {
            self.ids.take(&mut out.ids);
        }
        out.ids.pop().expect("ids were taken")
    }

    /// Hashes this level's branches, then the extensions above them.
    fn hash_branches(results: &mut [Done], out: &mut Output) {
        for is_extension in [false, true] {
            out.messages.clear();
            out.hashes.clear();
            let mut hashed = Vec::new();
            for (index, done) in results.iter_mut().enumerate() {
                let Subtree::Branch(branch, reference) = &mut done.subtree else {
                    continue;
                };
                if is_extension && branch.prefix.is_empty() {
                    continue;
                }
                let short = out.messages.push_with(|out| {
                    let start = out.len();
                    if is_extension {
                        branch.write_extension_rlp(reference, out);
                    } else {
                        branch.write_rlp(out);
                    }
                    Reference::inline(&out[start..])
                });
                hashed.push((index, short));
            }
            out.messages.hash(&mut out.hashes);
            for ((index, short), hash) in hashed.into_iter().zip(&out.hashes) {
                if let Subtree::Branch(_, reference) = &mut results[index].subtree {
                    *reference = short.unwrap_or(Reference::hash(*hash));
                }
            }
        }
    }
}

fn small(depth: usize) -> u8 {
    u8::try_from(depth).expect("a path has at most 64 nibbles")
}
