//! What nodes were in earlier versions.
//!
//! Each version has an undo: for each place in the trie where it changed a node, what was there before. A
//! node of an earlier version is put together from the undo of the versions since and from the current node
//! there. Nodes move in memory and to disk, so a place is named by the path to it.

use crate::node::{Branch, Reference, Root, Storage, bit, nibbles_of};
use alloy_primitives::{B256, map::DefaultHashBuilder};
use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, Hasher},
};

/// All nibbles.
pub(crate) const ALL: u16 = u16::MAX;

/// Hashes of places. Two places may have the same one; a proof of a node at the wrong place fails its check.
#[derive(Clone, Default)]
pub(crate) struct Places {
    hasher: DefaultHashBuilder,
    /// Bits that all hashes lack.
    #[cfg(test)]
    pub(crate) lacking: u64,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl Places {
    /// The hash of the place `depth` nibbles down a path, in the storage trie of `owner` or the account trie.
    pub(crate) fn hash(&self, owner: Option<&B256>, path: &B256, depth: usize) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if let Some(owner) = owner {
            hasher.write(owner.as_slice());
        }
        let (whole, half) = (depth / 2, depth % 2);
        // Most places are less than eight bytes down.
        let mut bytes = [0; 32];
        bytes[..whole].copy_from_slice(&path[..whole]);
        if half > 0 {
            bytes[whole] = path[whole] & 0xf0;
        }
        let words = if depth <= 16 { 8 } else { 32 };
        hasher.write(&bytes[..words]);
        hasher.write_usize(2 * depth + usize::from(owner.is_some()));
        #[cfg(test)]
        return hasher.finish() & !self.lacking;
        #[cfg(not(test))]
        hasher.finish()
    }
}

/// Nodes as they were before an update, noted while it is prepared. A note has those children that change, or
/// all. Notes of the same place apply last to first: one of all children is behind those of some.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Place, children, and where the note begins.
    places: Vec<(u64, u16, u32)>,
    bytes: Vec<u8>,
}

impl Notes {
    /// Notes some children of a node.
    pub(crate) fn add(&mut self, place: u64, branch: &Branch, children: u16) {
        self.places.push((place, children, count(self.bytes.len())));
        let out = &mut self.bytes;
        let of = children & branch.mask;
        out.push(u8::try_from(branch.prefix.len()).expect("a short prefix"));
        out.extend_from_slice(&branch.prefix);
        for mask in [of, branch.nodes, branch.inline, branch.with_storage] {
            out.extend_from_slice(&mask.to_le_bytes());
        }
        for nibble in nibbles_of(of) {
            out.extend_from_slice(&branch.reference(nibble).bytes);
            if branch.is_node(nibble) {
                continue;
            }
            let link = branch.child(nibble).map_or(0, |child| child.link);
            out.extend_from_slice(&link.to_le_bytes());
            if let Some(storage) = branch.storage(nibble) {
                out.extend_from_slice(storage.root.as_slice());
                out.extend_from_slice(&storage.link.to_le_bytes());
                out.push(u8::from(storage.is_node));
            }
        }
    }

    /// Adds the notes of another part of the update.
    pub(crate) fn merge(&mut self, other: Self) {
        let base = count(self.bytes.len());
        let places = other.places.into_iter();
        self.places
            .extend(places.map(|(place, children, start)| (place, children, start + base)));
        self.bytes.extend(other.bytes);
    }
}

/// Reads a note into a node: its children replace those of the node.
fn apply_note(mut bytes: &[u8], children: u16, branch: &mut Branch) -> Option<()> {
    let [prefix] = take(&mut bytes)?;
    let (prefix, rest) = bytes.split_at_checked(prefix.into())?;
    bytes = rest;
    if children == ALL {
        branch.prefix = prefix.into();
    }
    let mut masks = [0; 4];
    for mask in &mut masks {
        *mask = u16::from_le_bytes(take(&mut bytes)?);
    }
    let [mask, nodes, inline, with_storage] = masks;
    for nibble in nibbles_of(children) {
        let has = |mask: u16| mask & bit(nibble) != 0;
        if !has(mask) {
            branch.remove_child(nibble);
            continue;
        }
        let reference = Reference {
            bytes: take(&mut bytes)?,
            is_inline: has(inline),
        };
        if has(nodes) {
            branch.set_node(nibble, 0);
        } else {
            let id = u64::from_le_bytes(take(&mut bytes)?);
            let storage = if has(with_storage) {
                Some(Storage {
                    root: B256::from(take::<32>(&mut bytes)?),
                    link: u64::from_le_bytes(take(&mut bytes)?),
                    is_node: take(&mut bytes)? == [1],
                })
            } else {
                None
            };
            branch.set_leaf(nibble, id, storage);
        }
        branch.set_reference(nibble, reference);
    }
    Some(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// What an undo has of a place.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The upper half of the hash of the place.
    place: u32,
    /// The next entry with the same lower half, counted from 1; 0 if there is none.
    next: u32,
    /// Where its references or its note begin.
    start: u32,
    children: u16,
    /// References that are RLP.
    inline: u16,
    is_note: bool,
}

/// The way from a version back to an earlier one: what the nodes were that differ.
#[derive(Debug)]
pub(crate) struct Undo {
    /// The version that it leads from.
    pub(crate) from: u64,
    /// Root and stamp of the version that it leads to.
    pub(crate) root: Root,
    pub(crate) stamp: u64,
    /// The first entry for the lower bits of a place's hash, counted from 1.
    first: Box<[u32]>,
    entries: Box<[Entry]>,
    references: Box<[[u8; 32]]>,
    notes: Box<[u8]>,
}

impl Undo {
    /// The undo with these notes, and these references of the children of nodes. `patches` has the place of each
    /// node, where its references begin, its children that have one, and those whose reference is RLP.
    pub(crate) fn new(
        from: u64,
        notes: &Notes,
        patches: impl ExactSizeIterator<Item = (u64, u32, u16, u16)>,
        references: Box<[[u8; 32]]>,
    ) -> Self {
        let mut entries = Vec::with_capacity(patches.len() + notes.places.len());
        let entry = |place: u64, start, children, inline, is_note| Entry {
            place: halves(place).1,
            // For now, the other half of the place.
            next: halves(place).0,
            start,
            children,
            inline,
            is_note,
        };
        entries.extend(
            patches.map(|(place, start, children, inline)| {
                entry(place, start, children, inline, false)
            }),
        );
        let notes_of = notes.places.iter();
        entries.extend(
            notes_of.map(|(place, children, start)| entry(*place, *start, *children, 0, true)),
        );
        let mut first = vec![0; entries.len().next_power_of_two()].into_boxed_slice();
        // From the last to the first, so that entries of a place are found in their order.
        for (at, entry) in entries.iter_mut().enumerate().rev() {
            let first = &mut first[entry.next as usize & (first.len() - 1)];
            entry.next = std::mem::replace(first, count(at + 1));
        }
        Self {
            from,
            root: Root::default(),
            stamp: 0,
            first,
            entries: entries.into(),
            references,
            notes: notes.bytes.as_slice().into(),
        }
    }

    /// The same, to a version with this root and stamp.
    pub(crate) fn to(self, (root, stamp): (Root, u64)) -> Self {
        Self {
            root,
            stamp,
            ..self
        }
    }

    /// Memory in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.first)
            + size_of_val(&*self.entries)
            + size_of_val(&*self.references)
            + self.notes.len()
    }

    /// What it has of a place, in the order of the notes.
    fn of(&self, place: u64) -> impl Iterator<Item = &Entry> {
        let (lower, upper) = halves(place);
        let mut next = self.first[lower as usize & (self.first.len() - 1)];
        std::iter::from_fn(move || {
            loop {
                let entry = &self.entries[(next as usize).checked_sub(1)?];
                next = entry.next;
                if entry.place == upper {
                    return Some(entry);
                }
            }
        })
    }

    /// Makes a node what it was.
    fn apply(&self, entry: &Entry, branch: &mut Branch) -> Option<()> {
        let start = entry.start as usize;
        if entry.is_note {
            return apply_note(self.notes.get(start..)?, entry.children, branch);
        }
        let references = self.references.get(start..)?;
        for (nibble, bytes) in nibbles_of(entry.children).zip(references) {
            branch.child(nibble)?;
            let is_inline = entry.inline & bit(nibble) != 0;
            let bytes = *bytes;
            branch.set_reference(nibble, Reference { bytes, is_inline });
        }
        Some(())
    }
}

/// The lower and the upper half of a hash.
fn halves(hash: u64) -> (u32, u32) {
    let [a, b, c, d, rest @ ..] = hash.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(rest))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("an update has fewer than 2^32 bytes")
}

/// The undo of the newest versions, as many as memory allows.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) places: Places,
    /// The oldest first, each from the version after the last one's.
    undos: VecDeque<Undo>,
    bytes: usize,
    bytes_max: usize,
    versions_max: usize,
}

impl History {
    /// An empty history with limits.
    pub(crate) fn new(bytes_max: usize, versions_max: usize) -> Self {
        Self {
            bytes_max,
            versions_max,
            ..Self::default()
        }
    }

    /// The same limits, and nothing kept.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.bytes_max, self.versions_max)
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.bytes_max > 0 && self.versions_max > 0
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the undo of the newest version.
    pub(crate) fn push(&mut self, undo: Undo) {
        self.bytes += undo.memory_bytes();
        self.undos.push_back(undo);
        while self.bytes > self.bytes_max || self.undos.len() > self.versions_max {
            let Some(oldest) = self.undos.pop_front() else {
                break;
            };
            self.bytes -= oldest.memory_bytes();
        }
    }

    /// The undo back to the newest version whose stamp is not greater; `None` if that is not kept, or the
    /// current one.
    pub(crate) fn to(&self, stamp: u64) -> Option<&Undo> {
        let after = self.undos.partition_point(|undo| undo.stamp <= stamp);
        self.undos.get(after.checked_sub(1)?)
    }

    /// An undo, and after it those from later versions up to the current one; `None` if some are not kept.
    pub(crate) fn chain<'a>(&'a self, undo: &'a Undo, current: u64) -> Option<Vec<&'a Undo>> {
        let later = self.undos.iter().filter(|later| later.from > undo.from);
        let chain: Vec<&Undo> = std::iter::once(undo).chain(later).collect();
        let missing = current.checked_sub(undo.from)?;
        (chain.len() as u64 == 1 + missing).then_some(chain)
    }
}

/// The node at a place in the version to which the first undo leads, the others leading from later ones. `current`
/// reads the current node, if it is needed and there.
pub(crate) fn earlier<E>(
    undos: &[&Undo],
    place: u64,
    current: impl FnOnce() -> Result<Option<Branch>, E>,
) -> Result<Option<Branch>, E> {
    let mut found = Vec::new();
    // Children whose references are known.
    let mut known = 0;
    let mut is_whole = false;
    'undos: for undo in undos {
        for entry in undo.of(place) {
            is_whole = entry.is_note && entry.children == ALL;
            if entry.is_note || entry.children & !known != 0 {
                found.push((undo, entry));
            }
            known |= entry.children;
            if is_whole {
                break 'undos;
            }
        }
    }
    let branch = if is_whole {
        Some(Branch::default())
    } else {
        current()?
    };
    Ok(branch.and_then(|mut branch| {
        for (undo, entry) in found.into_iter().rev() {
            undo.apply(entry, &mut branch)?;
        }
        Some(branch)
    }))
}
