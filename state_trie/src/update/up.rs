//! Up the trie: puts changed children into their branches, and hashes.

use super::item::{Done, Item, NewLeaf, Output, Patch, Subtree, Update, Work, count};
use crate::{
    error::TrieError,
    node::{Branch, EMPTY_ROOT, NodeLink, Reference, Storage, bit, nibbles_of, tag_of, write_leaf},
    path,
    trie::Source,
};
use alloy_primitives::B256;
use std::{ops::Range, sync::atomic::AtomicU64};

/// A copy of a branch with new references.
pub(crate) fn patched(branch: &Branch, new: &[(u8, Reference)]) -> Branch {
    let mut branch = branch.clone();
    for (nibble, reference) in new {
        branch.set_reference(*nibble, *reference);
    }
    branch
}

impl<S: Source> Update<'_, S> {
    /// Puts the changed children into the items' branches, and hashes. The children that are leaves and those
    /// from below are in the order of their parents and nibbles.
    pub(super) fn finish(
        &self,
        items: Vec<Item>,
        leaves: Vec<Done>,
        below: Vec<Done>,
        out: &mut Output,
    ) -> Result<Vec<Done>, S::Error> {
        let mut level = Level::new(leaves, below);
        let mut results = Vec::with_capacity(items.len());
        let mut start = 0;
        for (index, mut item) in (0..).zip(items) {
            let end = level.end_of(start, index);
            let subtree = self.finish_item(&mut item, start..end, &mut level, out)?;
            results.push(Done {
                parent: item.parent,
                nibble: item.nibble,
                subtree,
            });
            level.ends.push(end);
            start = end;
        }
        if start != level.order.len() {
            return Err(TrieError::Inconsistent("a child has no branch").into());
        }
        let short = self.hash_leaves(&level, out);
        self.place_children(level, &short, &mut results, out);
        self.hash_branches(&mut results, out);
        Ok(results)
    }

    /// What an item's subtree became. Its new children, a range of the level's, are left to the level, unless
    /// the branch has too few to remain.
    fn finish_item(
        &self,
        item: &mut Item,
        children: Range<usize>,
        level: &mut Level,
        out: &mut Output,
    ) -> Result<Subtree, S::Error> {
        let hashed_later = Reference::hash(B256::ZERO);
        let mut own_id = None;
        let mut added = 0;
        for at in children.clone() {
            let child = level.child(at);
            if !matches!(child.subtree, Subtree::Empty) {
                added |= bit(child.nibble);
            }
        }
        let mut branch = match std::mem::replace(&mut item.work, Work::None) {
            Work::New(mut branch) => {
                branch.make_room(added);
                branch
            }
            Work::Same(id) => {
                let branch = self.nodes.get(id);
                let branch = branch.ok_or(TrieError::Inconsistent("a node is not in memory"))?;
                let mut is_same = true;
                for at in children.clone() {
                    is_same &= self.is_same(branch, level.child(at));
                }
                if is_same {
                    level.keep(children, item.depth, branch);
                    let patch = Patch {
                        id,
                        start: 0,
                        end: 0,
                    };
                    return Ok(Subtree::Patched(patch, hashed_later));
                }
                own_id = Some(id);
                Box::new(branch.with_room(added))
            }
            Work::None => return Ok(self.only_leaf(item)),
        };
        let mut new = None;
        for at in children.clone() {
            let child = level.child(at);
            match &child.subtree {
                Subtree::Empty => {
                    branch.remove_child(child.nibble);
                    continue;
                }
                Subtree::Leaf(leaf) => {
                    let (id, storage) = self.leaf_link(leaf);
                    branch.set_leaf(child.nibble, id, storage);
                }
                Subtree::Branch(_, _, id) => {
                    let link = id.map_or(0, |id| NodeLink::memory(id).0);
                    branch.set_node(child.nibble, link);
                }
                Subtree::Patched(patch, _) => {
                    branch.set_node(child.nibble, NodeLink::memory(patch.id).0);
                }
            }
            new = Some(at);
        }
        if branch.children.len() < 2 {
            out.replaced.extend(own_id.map(NodeLink::memory));
            let new = new.map(|at| level.take(at));
            return self.collapse(item, *branch, new, out);
        }
        branch.version = self.version;
        level.keep(children, item.depth, &branch);
        Ok(Subtree::Branch(branch, hashed_later, own_id))
    }

    /// Whether a child changes nothing of a branch but a reference.
    fn is_same(&self, branch: &Branch, child: &Done) -> bool {
        match &child.subtree {
            Subtree::Empty => branch.child(child.nibble).is_none(),
            Subtree::Patched(..) => true,
            Subtree::Leaf(leaf @ NewLeaf::Changed(..)) => {
                let (id, storage) = self.leaf_link(leaf);
                let is_leaf = !branch.is_node(child.nibble);
                is_leaf
                    && branch
                        .child(child.nibble)
                        .is_some_and(|known| known.link == id)
                    && branch.storage(child.nibble) == storage
            }
            // It takes the place of one that was there.
            Subtree::Branch(_, _, id) => id.is_some(),
            Subtree::Leaf(NewLeaf::Moved(_)) => false,
        }
    }

    /// The leaf that an item without a branch became, if it did.
    fn only_leaf(&self, item: &mut Item) -> Subtree {
        if let Some(extra) = item.extra.take() {
            return Subtree::Leaf(NewLeaf::Moved(extra));
        }
        let put = item
            .changes
            .clone()
            .find(|at| self.changes[*at].value.is_some());
        put.map_or(Subtree::Empty, |at| {
            let kept = item.kept.take().filter(|kept| kept.0 == at);
            self.new_leaf(at, kept.map(|kept| kept.1))
        })
    }

    pub(crate) fn leaf_link(&self, leaf: &NewLeaf) -> (u64, Option<Storage>) {
        match leaf {
            NewLeaf::Changed(at, storage) => (self.changes[*at].id, storage.as_deref().copied()),
            NewLeaf::Moved(leaf) => (leaf.id, leaf.storage),
        }
    }

    /// What a branch becomes that has at most one child.
    fn collapse(
        &self,
        item: &Item,
        branch: Branch,
        new: Option<Subtree>,
        out: &mut Output,
    ) -> Result<Subtree, S::Error> {
        let Some(of) = nibbles_of(branch.mask).next() else {
            return Ok(Subtree::Empty);
        };
        let child = branch.children[0];
        let mut lower = match new {
            Some(Subtree::Branch(lower, _, id)) => {
                out.replaced.extend(id.map(NodeLink::memory));
                lower
            }
            Some(Subtree::Patched(patch, _)) => {
                let lower = self.nodes.get(patch.id);
                let lower = lower.ok_or(TrieError::Inconsistent("a node is not in memory"))?;
                out.replaced.push(NodeLink::memory(patch.id));
                Box::new(patched(lower, out.references_of(&patch)))
            }
            Some(leaf) => return Ok(leaf),
            None if branch.is_node(of) => {
                let link = NodeLink(child.link);
                let tag = tag_of(&child.reference);
                out.replaced.push(link);
                let lower = self.nodes.copy(link, tag, self.source)?;
                let depth = usize::from(item.depth) + branch.prefix.len() + 1;
                (lower.check_depth(depth)).map_err(|error| self.source.damaged(link.0, error))?;
                lower
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
        Ok(Subtree::Branch(lower, Reference::hash(B256::ZERO), None))
    }

    /// Hashes the new leaves of branches. Returns the references of those that are shorter than a hash, with
    /// their places in the order.
    fn hash_leaves(&self, level: &Level, out: &mut Output) -> Vec<(usize, Reference)> {
        out.messages.clear();
        out.hashes.clear();
        let mut all_short = Vec::new();
        for at in 0..level.order.len() {
            let Subtree::Leaf(leaf) = &level.child(at).subtree else {
                continue;
            };
            let depth = level.depths[at].into();
            let short = out.messages.push_with(|out| {
                let start = out.len();
                self.write_leaf(out, leaf, depth);
                Reference::inline(&out[start..])
            });
            all_short.extend(short.map(|short| (at, short)));
        }
        out.messages.hash(&mut out.hashes);
        all_short
    }

    pub(crate) fn write_leaf(&self, out: &mut Vec<u8>, leaf: &NewLeaf, depth: usize) {
        let (key, value, storage) = match leaf {
            NewLeaf::Changed(at, storage) => {
                let change = &self.changes[*at];
                let value = change.value.as_ref().expect("a new leaf has a value");
                (&change.key, value, storage.as_deref())
            }
            NewLeaf::Moved(leaf) => (&leaf.key, &leaf.value, leaf.storage.as_ref()),
        };
        let root = storage.map_or(EMPTY_ROOT, |storage| storage.root);
        write_leaf(out, key, depth, value, &root);
    }

    /// Gives the branches their new children: ids for new branches, and all references.
    fn place_children(
        &self,
        mut level: Level,
        short: &[(usize, Reference)],
        results: &mut [Done],
        out: &mut Output,
    ) {
        let mut hashes = out.hashes.iter();
        let mut short = short.iter().peekable();
        let mut start = 0;
        for (result, end) in results.iter_mut().zip(std::mem::take(&mut level.ends)) {
            let first = out.references.len();
            for at in start..end {
                let child = level.child(at);
                let nibble = child.nibble;
                let reference = match &child.subtree {
                    Subtree::Empty => continue,
                    Subtree::Leaf(_) => {
                        let hash = hashes.next().expect("every leaf is hashed");
                        let short = short.next_if(|(of, _)| *of == at);
                        short.map_or(Reference::hash(*hash), |(_, short)| *short)
                    }
                    Subtree::Patched(patch, reference) => {
                        out.patches.push(*patch);
                        *reference
                    }
                    Subtree::Branch(..) => {
                        let Subtree::Branch(below, reference, id) = level.take(at) else {
                            continue;
                        };
                        if let Some(id) = id {
                            out.exchanged.push((id, *below));
                        } else {
                            let id = self.new_id(&mut out.ids);
                            if let Subtree::Branch(branch, ..) = &mut result.subtree {
                                branch.set_link(nibble, NodeLink::memory(id).0);
                            }
                            out.nodes.push((id, *below));
                        }
                        reference
                    }
                };
                match &mut result.subtree {
                    Subtree::Branch(branch, ..) => branch.set_reference(nibble, reference),
                    _ => out.references.push((nibble, reference)),
                }
            }
            start = end;
            if let Subtree::Patched(patch, _) = &mut result.subtree {
                patch.start = count(first);
                patch.end = count(out.references.len());
            }
        }
    }

    /// An id for a new node.
    pub(crate) fn new_id(&self, ids: &mut Vec<u32>) -> u32 {
        if ids.is_empty() {
            self.ids.take(ids);
        }
        ids.pop().expect("ids were taken")
    }

    /// Hashes this level's branches, then the extensions above them.
    fn hash_branches(&self, results: &mut [Done], out: &mut Output) {
        let mut hashed = Vec::with_capacity(results.len());
        let mut extended = Vec::new();
        let mut all_short = Vec::new();
        out.messages.clear();
        for (index, done) in results.iter().enumerate() {
            let (branch, new) = match &done.subtree {
                Subtree::Branch(branch, ..) => (&**branch, &[][..]),
                Subtree::Patched(patch, _) => {
                    let Some(branch) = self.nodes.get(patch.id) else {
                        continue;
                    };
                    let new = &out.references[patch.start as usize..patch.end as usize];
                    (branch, new)
                }
                _ => continue,
            };
            if !branch.prefix.is_empty() {
                extended.push(index);
            }
            let short = out.messages.push_with(|out| {
                let start = out.len();
                branch.write_rlp(new, out);
                Reference::inline(&out[start..])
            });
            all_short.extend(short.map(|short| (index, short)));
            hashed.push(index);
        }
        set_references(results, &hashed, all_short, out);
        if extended.is_empty() {
            return;
        }
        let mut all_short = Vec::new();
        out.messages.clear();
        for index in &extended {
            let (branch, reference) = match &results[*index].subtree {
                Subtree::Branch(branch, reference, _) => (&**branch, reference),
                Subtree::Patched(patch, reference) => {
                    let branch = self.nodes.get(patch.id);
                    (branch.expect("it was hashed"), reference)
                }
                _ => continue,
            };
            let short = out.messages.push_with(|out| {
                let start = out.len();
                branch.write_extension_rlp(reference, out);
                Reference::inline(&out[start..])
            });
            all_short.extend(short.map(|short| (*index, short)));
        }
        set_references(results, &extended, all_short, out);
    }
}

/// Gives results the hashes of the messages as references, or what is shorter.
fn set_references(
    results: &mut [Done],
    hashed: &[usize],
    all_short: Vec<(usize, Reference)>,
    out: &mut Output,
) {
    out.hashes.clear();
    out.messages.hash(&mut out.hashes);
    let long = out.hashes.iter().map(|hash| Reference::hash(*hash));
    for (index, new) in (hashed.iter().copied().zip(long)).chain(all_short) {
        if let Subtree::Branch(_, reference, _) | Subtree::Patched(_, reference) =
            &mut results[index].subtree
        {
            *reference = new;
        }
    }
}

/// The new children of the items of a level.
#[derive(Debug, Default)]
struct Level {
    leaves: Vec<Done>,
    below: Vec<Done>,
    /// The children by parent and nibble, as indices in `leaves`, or with [`BELOW`] in `below`.
    order: Vec<u32>,
    /// By the order, of children of branches that remain: nibbles of the path before the child.
    depths: Vec<u8>,
    /// For each item, where its children end in the order.
    ends: Vec<usize>,
}

/// Marks indices of children from below.
const BELOW: u32 = 1 << 31;

impl Level {
    fn new(leaves: Vec<Done>, below: Vec<Done>) -> Self {
        let count = leaves.len() + below.len();
        let mut order = Vec::with_capacity(count);
        let key = |done: &&Done| (done.parent, done.nibble);
        let mut from_below = (BELOW..).zip(&below).peekable();
        for (index, leaf) in (0..).zip(&leaves) {
            let key_of = key(&leaf);
            while let Some((index, _)) = from_below.next_if(|(_, done)| key(done) < key_of) {
                order.push(index);
            }
            order.push(index);
        }
        order.extend(from_below.map(|(index, _)| index));
        Self {
            depths: vec![0; count],
            ends: Vec::new(),
            order,
            leaves,
            below,
        }
    }

    fn child(&self, at: usize) -> &Done {
        match self.order[at] {
            index if index < BELOW => &self.leaves[index as usize],
            index => &self.below[(index - BELOW) as usize],
        }
    }

    fn take(&mut self, at: usize) -> Subtree {
        let done = match self.order[at] {
            index if index < BELOW => &mut self.leaves[index as usize],
            index => &mut self.below[(index - BELOW) as usize],
        };
        std::mem::replace(&mut done.subtree, Subtree::Empty)
    }

    /// Where the children of a parent end, which begin at `start`.
    fn end_of(&self, start: usize, parent: u32) -> usize {
        let is_own = |at: &usize| self.child(*at).parent == parent;
        start + (start..self.order.len()).take_while(is_own).count()
    }

    /// Notes the new children of a branch that remains, whose item is at `depth`.
    fn keep(&mut self, children: Range<usize>, depth: u8, branch: &Branch) {
        let depth = usize::from(depth) + branch.prefix.len() + 1;
        let depth = u8::try_from(depth).expect("a path has at most 64 nibbles");
        self.depths[children].fill(depth);
    }
}
