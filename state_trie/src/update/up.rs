//! Up the trie: puts changed children into their branches, and hashes.

use super::item::{Done, Item, NewLeaf, NewNode, Output, Patch, Subtree, Update, Work, count};
use crate::{
    error::TrieError,
    history::ALL,
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
    /// Puts the changed children into the items' branches, and hashes.
    pub(super) fn finish(
        &self,
        items: Vec<Item>,
        done: Vec<Done>,
        out: &mut Output,
    ) -> Result<Vec<Done>, S::Error> {
        let mut level = Level::new(done);
        let mut results = Vec::with_capacity(items.len());
        let mut start = 0;
        for (index, mut item) in (0..).zip(items) {
            let end = level.end_of(start, index);
            let at = self.place_of(&item);
            let subtree = self.finish_item(&mut item, at, start..end, &mut level, out)?;
            results.push(Done {
                parent: item.parent,
                nibble: item.nibble,
                at,
                subtree,
            });
            level.ends.push(end);
            start = end;
        }
        if start != level.order.len() {
            return Err(TrieError::Inconsistent("a child has no branch").into());
        }
        self.hash_leaves(&mut level, out);
        self.place_children(level, &mut results, out);
        self.hash_branches(&mut results, out);
        Ok(results)
    }

    /// What an item's subtree became. Its new children, a range of the level's, are left to the level, unless
    /// the branch has too few to remain.
    fn finish_item(
        &self,
        item: &mut Item,
        at: u64,
        children: Range<usize>,
        level: &mut Level,
        out: &mut Output,
    ) -> Result<Subtree, S::Error> {
        let hashed_later = Reference::hash(B256::ZERO);
        let mut own_id = None;
        let mut branch = match std::mem::replace(&mut item.work, Work::None) {
            Work::New(branch) => branch,
            Work::Copy(branch) => {
                out.notes.add(at, &branch, level.nibbles(children.clone()));
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
                        at,
                        start: 0,
                        end: 0,
                        inline: 0,
                    };
                    return Ok(Subtree::Patched(patch, hashed_later));
                }
                own_id = Some(id);
                out.notes.add(at, branch, level.nibbles(children.clone()));
                Box::new(branch.clone())
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
            out.notes.add(at, &branch, ALL);
            out.replaced.extend(own_id.map(NodeLink::memory));
            let new = new.map(|at| level.take(at));
            return self.collapse(item, *branch, new, out);
        }
        branch.version = self.version;
        branch.children.shrink_to_fit();
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
        let from = usize::from(item.depth);
        let depth = from + branch.prefix.len() + 1;
        // The path to the child, which may be that of no change.
        let mut key = self.changes[item.changes.start].key;
        for (index, nibble) in (from..).zip(branch.prefix.iter().copied().chain([of])) {
            path::set_nibble(&mut key, index, nibble);
        }
        let below = self.place(item.owner, &key, depth);
        let mut lower = match new {
            Some(Subtree::Branch(lower, _, id)) => {
                out.notes.add(below, &lower, ALL);
                out.replaced.extend(id.map(NodeLink::memory));
                lower
            }
            Some(Subtree::Patched(patch, _)) => {
                let lower = self.nodes.get(patch.id);
                let lower = lower.ok_or(TrieError::Inconsistent("a node is not in memory"))?;
                out.notes.add(below, lower, ALL);
                out.replaced.push(NodeLink::memory(patch.id));
                Box::new(patched(lower, out.references_of(&patch)))
            }
            Some(leaf) => return Ok(leaf),
            None if branch.is_node(of) => {
                let link = NodeLink(child.link);
                let tag = tag_of(&child.reference);
                out.replaced.push(link);
                let lower = self.nodes.copy(link, tag, self.source)?;
                (lower.check_depth(depth)).map_err(|error| self.source.damaged(link.0, error))?;
                out.notes.add(below, &lower, ALL);
                lower
            }
            None => {
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

    /// Hashes the new leaves of branches.
    fn hash_leaves(&self, level: &mut Level, out: &mut Output) {
        out.messages.clear();
        out.hashes.clear();
        let mut hashed = Vec::new();
        for at in 0..level.order.len() {
            let child = level.child(at);
            let Subtree::Leaf(leaf) = &child.subtree else {
                continue;
            };
            let depth = level.depths[at].into();
            let short = out.messages.push_with(|out| {
                let start = out.len();
                self.write_leaf(out, leaf, depth);
                Reference::inline(&out[start..])
            });
            hashed.push((at, short));
        }
        out.messages.hash(&mut out.hashes);
        level.references = vec![Reference::hash(B256::ZERO); level.order.len()];
        for ((at, short), hash) in hashed.into_iter().zip(&out.hashes) {
            level.references[at] = short.unwrap_or(Reference::hash(*hash));
        }
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
    fn place_children(&self, mut level: Level, results: &mut [Done], out: &mut Output) {
        let mut start = 0;
        for (result, end) in results.iter_mut().zip(std::mem::take(&mut level.ends)) {
            let first = out.references.len();
            let before = match &result.subtree {
                Subtree::Patched(patch, _) => self.nodes.get(patch.id),
                _ => None,
            };
            for at in start..end {
                let Done {
                    nibble, at: place, ..
                } = *level.child(at);
                let reference = match level.take(at) {
                    Subtree::Empty => continue,
                    Subtree::Leaf(_) => level.references[at],
                    Subtree::Patched(patch, reference) => {
                        out.patches.push(patch);
                        reference
                    }
                    Subtree::Branch(below, reference, Some(id)) => {
                        let at = place;
                        let branch = below;
                        out.exchanged.push(NewNode { id, at, branch });
                        reference
                    }
                    Subtree::Branch(below, reference, None) => {
                        let id = self.new_id(out);
                        if let Subtree::Branch(branch, ..) = &mut result.subtree {
                            branch.set_link(nibble, NodeLink::memory(id).0);
                        }
                        let at = place;
                        let branch = below;
                        out.nodes.push(NewNode { id, at, branch });
                        reference
                    }
                };
                match &mut result.subtree {
                    Subtree::Branch(branch, ..) => branch.set_reference(nibble, reference),
                    Subtree::Patched(patch, _) => {
                        out.references.push((nibble, reference));
                        let before = before.map(|branch| branch.reference(nibble));
                        let before = before.unwrap_or(reference);
                        out.before.push(before.bytes);
                        patch.inline |= if before.is_inline { bit(nibble) } else { 0 };
                    }
                    _ => {}
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
    pub(crate) fn new_id(&self, out: &mut Output) -> u32 {
        if out.ids.is_empty() {
            self.ids.take(&mut out.ids);
        }
        out.ids.pop().expect("ids were taken")
    }

    /// Hashes this level's branches, then the extensions above them.
    fn hash_branches(&self, results: &mut [Done], out: &mut Output) {
        for is_extension in [false, true] {
            out.messages.clear();
            out.hashes.clear();
            let mut hashed = Vec::new();
            for (index, done) in results.iter().enumerate() {
                let (branch, new, reference) = match &done.subtree {
                    Subtree::Branch(branch, reference, _) => (&**branch, &[][..], reference),
                    Subtree::Patched(patch, reference) => {
                        let Some(branch) = self.nodes.get(patch.id) else {
                            continue;
                        };
                        let new = &out.references[patch.start as usize..patch.end as usize];
                        (branch, new, reference)
                    }
                    _ => continue,
                };
                if is_extension && branch.prefix.is_empty() {
                    continue;
                }
                let short = out.messages.push_with(|out| {
                    let start = out.len();
                    if is_extension {
                        branch.write_extension_rlp(reference, out);
                    } else {
                        branch.write_rlp(new, out);
                    }
                    Reference::inline(&out[start..])
                });
                hashed.push((index, short));
            }
            out.messages.hash(&mut out.hashes);
            for ((index, short), hash) in hashed.into_iter().zip(&out.hashes) {
                let (Subtree::Branch(_, reference, _) | Subtree::Patched(_, reference)) =
                    &mut results[index].subtree
                else {
                    continue;
                };
                *reference = short.unwrap_or(Reference::hash(*hash));
            }
        }
    }
}

/// The new children of the items of a level.
#[derive(Debug, Default)]
struct Level {
    done: Vec<Done>,
    /// Where the children are in `done`, by parent and nibble: parent 28 bits, nibble 4, index 32.
    order: Vec<u64>,
    /// By the order, of children of branches that remain: nibbles of the path before the child.
    depths: Vec<u8>,
    /// By the order, of leaves that are hashed.
    references: Vec<Reference>,
    /// For each item, where its children end in the order.
    ends: Vec<usize>,
}

impl Level {
    fn new(done: Vec<Done>) -> Self {
        let key = |(index, done): (u64, &Done)| {
            u64::from(done.parent) << 36 | u64::from(done.nibble) << 32 | index
        };
        let mut order: Vec<u64> = (0..).zip(&done).map(key).collect();
        // Two sorted runs: children that were leaves, and those from below.
        order.sort_unstable();
        Self {
            depths: vec![0; order.len()],
            order,
            done,
            ..Self::default()
        }
    }

    fn index(&self, at: usize) -> usize {
        let [_, _, _, _, bytes @ ..] = self.order[at].to_be_bytes();
        u32::from_be_bytes(bytes) as usize
    }

    fn child(&self, at: usize) -> &Done {
        &self.done[self.index(at)]
    }

    /// The nibbles of some children.
    fn nibbles(&self, children: Range<usize>) -> u16 {
        children.fold(0, |nibbles, at| nibbles | bit(self.child(at).nibble))
    }

    fn take(&mut self, at: usize) -> Subtree {
        let index = self.index(at);
        std::mem::replace(&mut self.done[index].subtree, Subtree::Empty)
    }

    /// Where the children of a parent end, which begin at `start`.
    fn end_of(&self, start: usize, parent: u64) -> usize {
        let own = self.order[start..]
            .iter()
            .take_while(|key| **key >> 36 == parent);
        start + own.count()
    }

    /// Notes the new children of a branch that remains, whose item is at `depth`.
    fn keep(&mut self, children: Range<usize>, depth: u8, branch: &Branch) {
        let depth = usize::from(depth) + branch.prefix.len() + 1;
        let depth = u8::try_from(depth).expect("a path has at most 64 nibbles");
        self.depths[children].fill(depth);
    }
}
