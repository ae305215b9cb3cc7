//! Down the trie: distributes changes among the children of branches.

use super::item::{Done, Fetched, Item, NewLeaf, NewStorage, Output, Subtree, Update, Work};
use crate::{
    error::TrieError,
    history::ALL,
    node::{Branch, NodeLink, Place, Storage, tag_of},
    path::{self, nibble},
    trie::Source,
};
use alloy_primitives::B256;
use std::ops::Range;

/// The nibble at an index of the beginning of a key.
fn nibble_of(start: u64, at: usize) -> u8 {
    let [.., nibble] = (start >> (60 - 4 * at) & 15).to_be_bytes();
    nibble
}

impl<S: Source> Update<'_, S> {
    /// Reads the branches of the items, so that the waits for memory overlap.
    pub(super) fn warm_up(&self, items: &[Item]) {
        for items in items.chunks(32) {
            let mut branches: [Option<&Branch>; 32] = [None; 32];
            for (branch, item) in branches.iter_mut().zip(items) {
                if let Place::Node(link, _) = item.place {
                    *branch = link.id().and_then(|id| self.nodes.get(id));
                }
            }
            let masks = branches.iter().flatten().map(|branch| branch.mask);
            std::hint::black_box(masks.fold(0, |all, mask| all | mask));
            let links = (branches.iter().flatten())
                .flat_map(|branch| branch.children.iter())
                .map(|child| child.link);
            std::hint::black_box(links.fold(0, |all, link| all | link));
        }
    }

    /// Takes the branch of an item, if it has one or needs one, and distributes the changes.
    pub(super) fn expand(
        &self,
        index: u32,
        item: &mut Item,
        next: &mut Vec<Item>,
        done: &mut Vec<Done>,
        out: &mut Output,
    ) -> Result<(), S::Error> {
        if let Work::New(branch) = std::mem::replace(&mut item.work, Work::None) {
            // Its prefix was cut.
            self.distribute(index, item, branch, next, done);
            return Ok(());
        }
        match std::mem::replace(&mut item.place, Place::Empty) {
            Place::Empty => {}
            Place::Leaf { id, storage } => self.open_leaf(item, id, storage.map(|it| *it))?,
            Place::Node(link, tag) => {
                if let Some(id) = link.id()
                    && let Some(branch) = self.nodes.get(id)
                {
                    let from = usize::from(item.depth);
                    let whole = self.shared_prefix(item, branch) == branch.prefix.len();
                    if whole && branch.check_depth(from).is_ok() {
                        let at = from + branch.prefix.len();
                        self.distribute_among(index, item, branch, at, None, next, done);
                        item.work = Work::Same(id);
                        return Ok(());
                    }
                }
                let branch = self.nodes.copy(link, tag, self.source)?;
                (branch.check_depth(item.depth.into()))
                    .map_err(|error| self.source.damaged(link.0, error))?;
                out.replaced.push(link);
                if self.shared_prefix(item, &branch) == branch.prefix.len() {
                    let at = usize::from(item.depth) + branch.prefix.len();
                    self.distribute_among(index, item, &branch, at, None, next, done);
                    item.work = Work::Copy(branch);
                } else {
                    out.notes.add(self.place_of(item), &branch, ALL);
                    self.distribute(index, item, branch, next, done);
                }
                return Ok(());
            }
        }
        // Nothing is here, but what is put or moves here.
        let puts = || {
            item.changes
                .clone()
                .filter(|at| self.changes[*at].value.is_some())
        };
        let first = puts().next();
        let last = item
            .changes
            .clone()
            .rev()
            .find(|at| self.changes[*at].value.is_some());
        let extra = item.extra.as_ref().map(|extra| extra.key);
        let mut keys = (first.into_iter().chain(last))
            .map(|at| self.changes[at].key)
            .chain(extra);
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
            self.distribute(index, item, Box::new(branch), next, done);
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
        if let Some(at) = own {
            self.check_id(at, id)?;
            item.kept = storage.map(|storage| Box::new((at, storage)));
        } else {
            let key = self.changes[item.changes.start].key;
            let extra = self.fetch(item.owner, id, storage, &key, item.depth.into())?;
            item.extra = Some(extra);
        }
        Ok(())
    }

    /// Fails if the leaf that a change says is there is another one.
    fn check_id(&self, at: usize, id: u64) -> Result<(), TrieError> {
        let is_same = self.changes[at].id == id;
        let error = TrieError::Inconsistent("another leaf is where a changed one should be");
        is_same.then_some(()).ok_or(error)
    }

    /// Reads an unchanged leaf whose path begins with `depth` nibbles of `key`.
    pub(super) fn fetch(
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
    ) {
        let from = usize::from(item.depth);
        let shared = self.shared_prefix(item, &branch);
        let first = next.len();
        let mut cut_at = None;
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
            let mut changes = self.with_nibble(&item.changes, at, cut);
            if changes.start == item.changes.end {
                changes = changes.start - 1..changes.start - 1;
            }
            let mut below = item.below(index, cut, at, changes, Place::Empty);
            below.work = Work::New(Box::new(lower));
            next.push(below);
            cut_at = Some(cut);
        }
        self.distribute_among(index, item, &branch, from + shared, cut_at, next, done);
        if cut_at.is_some() {
            next[first..].sort_unstable_by_key(|item| item.nibble);
        }
        item.work = Work::New(branch);
    }

    /// The number of nibbles of a branch's prefix that all changes of an item have.
    fn shared_prefix(&self, item: &Item, branch: &Branch) -> usize {
        if branch.prefix.is_empty() {
            return 0;
        }
        let from = usize::from(item.depth);
        let changes = &self.changes[item.changes.clone()];
        let ends = changes.first().into_iter().chain(changes.last());
        ends.map(|change| path::common_with(&branch.prefix, &change.key, from))
            .min()
            .unwrap_or(branch.prefix.len())
    }

    /// Distributes the changes of an item among the children of a branch, by the nibble at `at`. Those of
    /// the nibble `except` have an item already.
    #[expect(clippy::too_many_arguments, reason = "the state of one loop")]
    fn distribute_among(
        &self,
        index: u32,
        item: &mut Item,
        branch: &Branch,
        at: usize,
        except: Option<u8>,
        next: &mut Vec<Item>,
        done: &mut Vec<Done>,
    ) {
        let first = done.len();
        let mut start = item.changes.start;
        while start < item.changes.end {
            let of = self.nibble(start, at);
            let mut end = start + 1;
            while end < item.changes.end && self.nibble(end, at) == of {
                end += 1;
            }
            let group = start..end;
            start = end;
            if except != Some(of) {
                self.distribute_to(index, item, branch, of, at, group, next, done);
            }
        }
        if let Some(extra) = item.extra.take() {
            // No change has its nibble, or the group's item would have taken it.
            let of = nibble(&extra.key, at);
            let place = done[first..].partition_point(|done| done.nibble < of);
            let leaf = Done {
                parent: index,
                nibble: of,
                at: 0,
                subtree: Subtree::Leaf(NewLeaf::Moved(extra)),
            };
            done.insert(first + place, leaf);
        }
    }

    /// The nibble of a change's key at an index.
    fn nibble(&self, change: usize, at: usize) -> u8 {
        if at < 16 {
            nibble_of(self.starts[change], at)
        } else {
            nibble(&self.changes[change].key, at)
        }
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
                let tag = tag_of(&child.reference);
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
                        at: 0,
                        subtree,
                    });
                    return;
                }
                Place::Leaf {
                    id: child.link,
                    storage: storage.map(Box::new),
                }
            }
            None if is_single => {
                if change.value.is_some() {
                    let kept = item.kept.take_if(|kept| kept.0 == group.start);
                    let subtree = self.new_leaf(group.start, kept.map(|kept| kept.1));
                    done.push(Done {
                        parent: index,
                        nibble: of,
                        at: 0,
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
    pub(super) fn new_leaf(&self, at: usize, storage: Option<Storage>) -> Subtree {
        let storage = match &self.changes[at].storage {
            NewStorage::Kept => storage.map(Box::new),
            NewStorage::Changed(storage) => storage.clone(),
        };
        Subtree::Leaf(NewLeaf::Changed(at, storage))
    }
}
