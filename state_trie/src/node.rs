//! Nodes: branches with their prefix, and their encodings.
//!
//! Only branches are kept. A branch and the extension above it are one [`Branch`] with a prefix. Of a
//! leaf its parent has the reference and an id by which the owner of the values finds it.

use crate::{
    error::TrieError,
    path::{KEY_NIBBLES, compact_len, write_extension_path, write_leaf_path},
};
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU64, Ordering},
};

/// The root of an empty trie: the hash of an empty string.
pub const EMPTY_ROOT: B256 =
    alloy_primitives::b256!("0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// How a node is named in its parent: its hash, or its RLP if that is shorter than a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) bytes: [u8; 32],
    pub(crate) is_inline: bool,
}

impl Reference {
    /// The reference to a node of this RLP, if that is short.
    pub(crate) fn inline(rlp: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        (rlp.len() < bytes.len()).then(|| {
            bytes[..rlp.len()].copy_from_slice(rlp);
            Self {
                bytes,
                is_inline: true,
            }
        })
    }

    /// Whether it names a node of this RLP.
    pub(crate) fn names(&self, rlp: &[u8]) -> bool {
        if self.is_inline {
            Self::inline(rlp).as_ref() == Some(self)
        } else {
            keccak256(rlp) == self.bytes
        }
    }

    /// Whether bytes begin as the RLP of a node that is shorter than a hash.
    pub(crate) const fn is_short_list(bytes: &[u8; 32]) -> bool {
        bytes[0] > alloy_rlp::EMPTY_LIST_CODE && bytes[0] < alloy_rlp::EMPTY_LIST_CODE + 31
    }

    pub(crate) const fn hash(hash: B256) -> Self {
        Self {
            bytes: hash.0,
            is_inline: false,
        }
    }

    /// Length in its parent.
    fn len(&self) -> usize {
        if self.is_inline {
            // A list shorter than 56 bytes has its length in its first byte.
            1 + usize::from(self.bytes[0] - alloy_rlp::EMPTY_LIST_CODE)
        } else {
            33
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.is_inline {
            out.extend_from_slice(&self.bytes[..self.len()]);
        } else {
            out.push(EMPTY_STRING_CODE + 32);
            out.extend_from_slice(&self.bytes);
        }
    }
}

/// Where a branch is: in memory or on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeLink(pub(crate) u64);

const IN_MEMORY: u64 = 1 << 63;

impl NodeLink {
    pub(crate) fn memory(id: u32) -> Self {
        Self(IN_MEMORY | u64::from(id))
    }

    /// The id of a node in memory.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an id is in the lower half"
    )]
    pub(crate) fn id(self) -> Option<u32> {
        (self.0 & IN_MEMORY != 0).then_some(self.0 as u32)
    }
}

/// A child of a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) reference: [u8; 32],
    /// The id of a leaf, or the [`NodeLink`] of a branch.
    pub(crate) link: u64,
}

/// The storage of an account: the root of its trie, which has at least one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) root: B256,
    /// The id of the only slot, or the [`NodeLink`] of the root.
    pub(crate) link: u64,
    pub(crate) is_node: bool,
}

/// The storages of a branch's leaves; few branches have any.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "it takes one word")]
pub(crate) struct Storages(Option<Box<Vec<Storage>>>);

impl From<Vec<Storage>> for Storages {
    fn from(storages: Vec<Storage>) -> Self {
        Self((!storages.is_empty()).then(|| Box::new(storages)))
    }
}

impl Deref for Storages {
    type Target = [Storage];

    fn deref(&self) -> &[Storage] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl DerefMut for Storages {
    fn deref_mut(&mut self) -> &mut [Storage] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

/// A branch with the extension above it. Once it is part of a trie, only the references of its children
/// and its location change. Without its children it takes one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Branch {
    /// Where it is on disk; 0 if it is not.
    pub(crate) location: AtomicU64,
    /// The version of the trie that made it.
    pub(crate) version: u64,
    /// Nibbles between the parent and the branch.
    pub(crate) prefix: Box<[u8]>,
    /// Nibbles that have a child.
    pub(crate) mask: u16,
    /// Children that are branches; the others are leaves.
    pub(crate) nodes: u16,
    /// Children whose reference is their RLP.
    pub(crate) inline: u16,
    /// Leaves that are accounts with storage.
    pub(crate) with_storage: u16,
    /// The children, in the order of their nibbles.
    pub(crate) children: Box<[Child]>,
    /// The storages, in the order of their nibbles.
    pub(crate) storages: Storages,
}

const _: () = assert!(size_of::<Option<Branch>>() == 64);

impl Clone for Branch {
    /// A copy that is not on disk.
    fn clone(&self) -> Self {
        self.with_room(0)
    }
}

/// The bit of a nibble.
pub(crate) const fn bit(nibble: u8) -> u16 {
    1 << nibble
}

/// The number of bits of a mask before a nibble.
fn rank(mask: u16, nibble: u8) -> usize {
    (mask & (bit(nibble) - 1)).count_ones() as usize
}

/// The nibbles of a mask.
pub(crate) fn nibbles_of(mask: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |nibble| mask & bit(*nibble) != 0)
}

impl Branch {
    pub(crate) fn location(&self) -> u64 {
        self.location.load(Ordering::Acquire)
    }

    /// Memory of the node in bytes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.prefix.len()
            + size_of_val(&*self.children)
            + size_of_val(&*self.storages)
    }

    /// Fails if the branch, at this depth, is deeper than any key. This crate writes no such branch.
    pub(crate) fn check_depth(&self, depth: usize) -> Result<(), TrieError> {
        let is_sound = depth + self.prefix.len() < KEY_NIBBLES;
        is_sound
            .then_some(())
            .ok_or(TrieError::Damaged("it is deeper than any key"))
    }

    pub(crate) fn child(&self, nibble: u8) -> Option<&Child> {
        (self.mask & bit(nibble) != 0).then(|| &self.children[rank(self.mask, nibble)])
    }

    pub(crate) fn is_node(&self, nibble: u8) -> bool {
        self.nodes & bit(nibble) != 0
    }

    pub(crate) fn storage(&self, nibble: u8) -> Option<Storage> {
        (self.with_storage & bit(nibble) != 0)
            .then(|| self.storages[rank(self.with_storage, nibble)])
    }

    pub(crate) fn reference(&self, nibble: u8) -> Reference {
        Reference {
            bytes: self.children[rank(self.mask, nibble)].reference,
            is_inline: self.inline & bit(nibble) != 0,
        }
    }

    pub(crate) fn set_reference(&mut self, nibble: u8, reference: Reference) {
        self.children[rank(self.mask, nibble)].reference = reference.bytes;
        self.inline &= !bit(nibble);
        if reference.is_inline {
            self.inline |= bit(nibble);
        }
    }

    pub(crate) fn set_link(&mut self, nibble: u8, link: u64) {
        self.children[rank(self.mask, nibble)].link = link;
    }

    /// A copy that is not on disk, with space for more children.
    pub(crate) fn with_room(&self, more: u16) -> Self {
        let mut copy = Self {
            location: AtomicU64::new(0),
            version: self.version,
            prefix: self.prefix.clone(),
            storages: self.storages.clone(),
            children: Box::default(),
            ..*self
        };
        copy.children = self.children_with(more);
        copy.mask |= more;
        copy
    }

    /// Makes space for more children.
    pub(crate) fn make_room(&mut self, more: u16) {
        if more & !self.mask != 0 {
            self.children = self.children_with(more);
            self.mask |= more;
        }
    }

    /// The children with others, which are empty.
    fn children_with(&self, more: u16) -> Box<[Child]> {
        if more & !self.mask == 0 {
            return self.children.clone();
        }
        let mask = self.mask | more;
        let mut children = Vec::with_capacity(mask.count_ones() as usize);
        for nibble in nibbles_of(mask) {
            children.push(self.child(nibble).copied().unwrap_or_default());
        }
        children.into()
    }

    /// Sets a child, whose reference follows.
    fn set_child(&mut self, nibble: u8, link: u64) {
        let rank = rank(self.mask, nibble);
        if self.mask & bit(nibble) == 0 {
            self.mask |= bit(nibble);
            let reference = [0; 32];
            let mut children = std::mem::take(&mut self.children).into_vec();
            children.reserve_exact(1);
            children.insert(rank, Child { reference, link });
            self.children = children.into();
        } else {
            self.children[rank].link = link;
        }
    }

    pub(crate) fn set_node(&mut self, nibble: u8, link: u64) {
        self.set_child(nibble, link);
        self.nodes |= bit(nibble);
        self.set_storage(nibble, None);
    }

    pub(crate) fn set_leaf(&mut self, nibble: u8, id: u64, storage: Option<Storage>) {
        self.set_child(nibble, id);
        self.nodes &= !bit(nibble);
        self.set_storage(nibble, storage);
    }

    fn set_storage(&mut self, nibble: u8, storage: Option<Storage>) {
        let rank = rank(self.with_storage, nibble);
        let had = self.with_storage & bit(nibble) != 0;
        match storage {
            Some(storage) if had => self.storages[rank] = storage,
            Some(storage) => {
                let storages = self.storages.0.get_or_insert_default();
                storages.insert(rank, storage);
                self.with_storage |= bit(nibble);
            }
            None if had => {
                if let Some(storages) = &mut self.storages.0 {
                    storages.remove(rank);
                }
                self.with_storage &= !bit(nibble);
                if self.with_storage == 0 {
                    self.storages.0 = None;
                }
            }
            None => {}
        }
    }

    pub(crate) fn remove_child(&mut self, nibble: u8) {
        if self.mask & bit(nibble) == 0 {
            return;
        }
        self.set_storage(nibble, None);
        let mut children = std::mem::take(&mut self.children).into_vec();
        children.remove(rank(self.mask, nibble));
        self.children = children.into();
        let keep = !bit(nibble);
        self.mask &= keep;
        self.nodes &= keep;
        self.inline &= keep;
    }

    /// Appends the RLP of the branch, without the extension above it. Some children have new references, in
    /// the order of their nibbles.
    pub(crate) fn write_rlp(&self, new: &[(u8, Reference)], out: &mut Vec<u8>) {
        const HASH: usize = 33;
        let is_short = self.inline != 0 || new.iter().any(|(_, reference)| reference.is_inline);
        if is_short {
            return self.write_short_rlp(new, out);
        }
        // The same with all references hashes, which is nearly every branch.
        let header = Header {
            list: true,
            payload_length: 17 + (HASH - 1) * self.children.len(),
        };
        header.encode(out);
        let start = out.len();
        out.resize(start + header.payload_length, EMPTY_STRING_CODE);
        let bytes = &mut out[start..];
        let write = |bytes: &mut [u8], hash: &[u8; 32]| {
            bytes[0] = EMPTY_STRING_CODE + 32;
            bytes[1..HASH].copy_from_slice(hash);
        };
        if self.mask == u16::MAX {
            let places = bytes.as_chunks_mut::<HASH>().0;
            for (bytes, child) in places.iter_mut().zip(&self.children) {
                write(bytes, &child.reference);
            }
        } else {
            let mut left = self.mask;
            for (rank, child) in self.children.iter().enumerate() {
                let at = left.trailing_zeros() as usize + (HASH - 1) * rank;
                left &= left - 1;
                write(&mut bytes[at..at + HASH], &child.reference);
            }
        }
        for (nibble, new) in new {
            let at = usize::from(*nibble) + (HASH - 1) * rank(self.mask, *nibble);
            write(&mut bytes[at..at + HASH], &new.bytes);
        }
    }

    /// The RLP of a branch some of whose references are RLP.
    #[cold]
    fn write_short_rlp(&self, new: &[(u8, Reference)], out: &mut Vec<u8>) {
        let reference_of = |nibble: u8| {
            let new = new.iter().find(|(of, _)| *of == nibble);
            new.map_or_else(|| self.reference(nibble), |(_, reference)| *reference)
        };
        let present: usize = nibbles_of(self.mask)
            .map(|nibble| reference_of(nibble).len())
            .sum();
        let header = Header {
            list: true,
            payload_length: 17 - self.children.len() + present,
        };
        header.encode(out);
        for nibble in 0..16 {
            if self.mask & bit(nibble) == 0 {
                out.push(EMPTY_STRING_CODE);
            } else {
                reference_of(nibble).write(out);
            }
        }
        out.push(EMPTY_STRING_CODE);
    }

    /// Appends the RLP of the extension above the branch.
    pub(crate) fn write_extension_rlp(&self, branch: &Reference, out: &mut Vec<u8>) {
        let path = compact_len(self.prefix.len());
        let header = Header {
            list: true,
            payload_length: string_len(path, true) + branch.len(),
        };
        header.encode(out);
        if path > 1 {
            write_string_header(out, path);
        }
        write_extension_path(out, &self.prefix);
        branch.write(out);
    }
}

/// Length of a string's RLP. A string of one byte below 0x80 is its own RLP.
fn string_len(length: usize, is_small: bool) -> usize {
    match length {
        1 if is_small => 1,
        0..=55 => 1 + length,
        _ => 2 + length,
    }
}

fn write_string_header(out: &mut Vec<u8>, payload_length: usize) {
    let header = Header {
        list: false,
        payload_length,
    };
    header.encode(out);
}

/// The value of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafValue {
    /// An account, without its storage root.
    Account {
        /// Nonce.
        nonce: u64,
        /// Balance in wei.
        balance: U256,
        /// Hash of the code.
        code_hash: B256,
    },
    /// A slot; not zero.
    Slot(U256),
}

/// Appends the RLP of a leaf. Its path begins at nibble `from` of the key.
pub(crate) fn write_leaf(
    out: &mut Vec<u8>,
    key: &B256,
    from: usize,
    value: &LeafValue,
    storage_root: &B256,
) {
    let path = compact_len(KEY_NIBBLES - from);
    // Paths of one byte begin with 0x2 or 0x3.
    let path_len = string_len(path, true);
    let write_path = |out: &mut Vec<u8>| {
        if path > 1 {
            write_string_header(out, path);
        }
        write_leaf_path(out, key, from);
    };
    match value {
        LeafValue::Account {
            nonce,
            balance,
            code_hash,
        } => {
            let account = Header {
                list: true,
                payload_length: nonce.length() + balance.length() + 66,
            };
            let value_len = account.length_with_payload();
            let header = Header {
                list: true,
                payload_length: path_len + string_len(value_len, false),
            };
            header.encode(out);
            write_path(out);
            write_string_header(out, value_len);
            account.encode(out);
            nonce.encode(out);
            balance.encode(out);
            storage_root.encode(out);
            code_hash.encode(out);
        }
        LeafValue::Slot(value) => {
            // The value is the RLP of a number, in a string. If it is one byte, that is below 0x80.
            let value_len = value.length();
            let header = Header {
                list: true,
                payload_length: path_len + string_len(value_len, true),
            };
            header.encode(out);
            write_path(out);
            if value_len > 1 {
                write_string_header(out, value_len);
            }
            value.encode(out);
        }
    }
}

/// What is at a place of a trie.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Empty,
    Leaf {
        id: u64,
        storage: Option<Box<Storage>>,
    },
    /// A branch, and the beginning of its reference.
    Node(NodeLink, [u8; 8]),
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

/// The beginning of a reference, which names a node on disk.
pub(crate) fn tag_of(reference: &[u8; 32]) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&reference[..8]);
    tag
}

/// What is at a child of a branch.
pub(crate) fn child_place(branch: &Branch, of: u8) -> Place {
    match branch.child(of) {
        Some(child) if branch.is_node(of) => {
            Place::Node(NodeLink(child.link), tag_of(&child.reference))
        }
        Some(child) => Place::Leaf {
            id: child.link,
            storage: branch.storage(of).map(Box::new),
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

/// RLP of the extension above a branch, if there is one, and of the branch.
pub(crate) fn rlps(branch: &Branch) -> Vec<Bytes> {
    let mut rlp = Vec::with_capacity(544);
    branch.write_rlp(&[], &mut rlp);
    if branch.prefix.is_empty() {
        return vec![rlp.into()];
    }
    let reference = Reference::inline(&rlp).unwrap_or_else(|| Reference::hash(keccak256(&rlp)));
    let mut extension = Vec::new();
    branch.write_extension_rlp(&reference, &mut extension);
    vec![extension.into(), rlp.into()]
}
