//! Branches on disk.
//!
//! | bytes | content |
//! | --- | --- |
//! | 4 | CRC-32C of the rest |
//! | 2 | length, this included |
//! | 1 | nibbles of the prefix |
//! | 1 | zero |
//! | 8 | beginning of the reference in the parent |
//! | 8 | masks of two bytes: children, branches, references that are RLP, leaves with storage |
//! | prefix | one nibble a byte |
//! | 40 each | children: reference 32, id of the leaf or location of the branch 8 |
//! | 41 each | storages: root 32, id of the only slot or location of the root 8, 1 if it is a branch |
//!
//! Numbers are little-endian.

use crate::{
    error::TrieError,
    node::{Branch, Child, NodeLink, Place, Reference, Root, Storage, bit, nibbles_of, tag_of},
};
use alloy_primitives::B256;
use std::sync::atomic::AtomicU64;

const HEAD_BYTES: usize = 24;
const CHILD_BYTES: usize = 40;
const STORAGE_BYTES: usize = 41;
/// Unit of space on disk.
pub const UNIT_BYTES: usize = 32;
/// Bits of a location that hold the node's length in units.
const LENGTH_BITS: u32 = 6;
/// The longest node.
const NODE_BYTES_MAX: usize = HEAD_BYTES + 63 + 16 * (CHILD_BYTES + STORAGE_BYTES);
const _: () = assert!(NODE_BYTES_MAX.div_ceil(UNIT_BYTES) < 1 << LENGTH_BITS);

/// The location of a node that begins at a unit and takes some units.
pub const fn location(unit: u64, units: u64) -> u64 {
    unit << LENGTH_BITS | units
}

/// First unit and number of units of a node.
pub const fn units_of(location: u64) -> (u64, u64) {
    (location >> LENGTH_BITS, location & ((1 << LENGTH_BITS) - 1))
}

/// Appends an encoded branch. `locate` gives the location of a child or storage in memory.
pub(crate) fn encode(
    branch: &Branch,
    tag: [u8; 8],
    locate: impl Fn(NodeLink) -> u64,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let length = HEAD_BYTES
        + branch.prefix.len()
        + branch.children.len() * CHILD_BYTES
        + branch.storages.len() * STORAGE_BYTES;
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u16::try_from(length).expect("a short node").to_le_bytes());
    out.push(u8::try_from(branch.prefix.len()).expect("a short prefix"));
    out.push(0);
    out.extend_from_slice(&tag);
    for mask in [
        branch.mask,
        branch.nodes,
        branch.inline,
        branch.with_storage,
    ] {
        out.extend_from_slice(&mask.to_le_bytes());
    }
    out.extend_from_slice(&branch.prefix);
    for (nibble, child) in nibbles_of(branch.mask).zip(&branch.children) {
        out.extend_from_slice(&child.reference);
        let link = if branch.is_node(nibble) {
            locate(NodeLink(child.link))
        } else {
            child.link
        };
        out.extend_from_slice(&link.to_le_bytes());
    }
    for storage in &*branch.storages {
        write_storage(storage, &locate, out);
    }
    let crc = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

fn write_storage(storage: &Storage, locate: impl Fn(NodeLink) -> u64, out: &mut Vec<u8>) {
    out.extend_from_slice(storage.root.as_slice());
    let link = if storage.is_node {
        locate(NodeLink(storage.link))
    } else {
        storage.link
    };
    out.extend_from_slice(&link.to_le_bytes());
    out.push(u8::from(storage.is_node));
}

/// Reads what `encode` wrote; zeros may follow.
pub(crate) fn decode(bytes: &[u8], tag: [u8; 8], location: u64) -> Result<Branch, TrieError> {
    let damaged = |what| Err(TrieError::Damaged(what));
    let mut reader = Reader(bytes);
    let Some(crc) = reader.take::<4>() else {
        return damaged("it is too short");
    };
    let Some(length) = reader.take::<2>() else {
        return damaged("it is too short");
    };
    let length = usize::from(u16::from_le_bytes(length));
    if length < HEAD_BYTES || length > bytes.len() {
        return damaged("its length is wrong");
    }
    if crc32c::crc32c(&bytes[4..length]) != u32::from_le_bytes(crc) {
        return damaged("its checksum is wrong");
    }
    if bytes[length..].iter().any(|byte| *byte != 0) {
        return damaged("a byte behind it is not zero");
    }
    reader.0 = &bytes[6..length];
    let node = read(&mut reader, tag, location);
    match node {
        Some(node) if reader.0.is_empty() => Ok(node),
        Some(_) => damaged("its length is wrong"),
        None => damaged("it is not the node that its parent names"),
    }
}

fn read(reader: &mut Reader<'_>, tag: [u8; 8], location: u64) -> Option<Branch> {
    let [prefix, zero] = reader.take()?;
    if zero != 0 || reader.take::<8>()? != tag {
        return None;
    }
    let mut masks = [0; 4];
    for mask in &mut masks {
        *mask = u16::from_le_bytes(reader.take()?);
    }
    let [mask, nodes, inline, with_storage] = masks;
    let is_sound = mask.count_ones() >= 2
        && (nodes | inline | with_storage) & !mask == 0
        && with_storage & nodes == 0;
    if !is_sound {
        return None;
    }
    let prefix: Box<[u8]> = reader.slice(prefix.into())?.into();
    if prefix.len() > 63 || prefix.iter().any(|nibble| *nibble > 15) {
        return None;
    }
    let mut children = Vec::with_capacity(mask.count_ones() as usize);
    for nibble in nibbles_of(mask) {
        let reference = reader.take()?;
        let link = u64::from_le_bytes(reader.take()?);
        if nodes & bit(nibble) != 0 && NodeLink(link).id().is_some() {
            return None;
        }
        if inline & bit(nibble) != 0 && !Reference::is_short_list(&reference) {
            return None;
        }
        children.push(Child { reference, link });
    }
    let mut storages = Vec::with_capacity(with_storage.count_ones() as usize);
    for _ in 0..with_storage.count_ones() {
        storages.push(reader.storage()?);
    }
    Some(Branch {
        location: AtomicU64::new(location),
        version: 0,
        prefix,
        mask,
        nodes,
        inline,
        with_storage,
        children: children.into(),
        storages: storages.into(),
    })
}

/// Encodes a root: hash 32, kind (0 empty, 1 leaf, 2 branch, 3 leaf with storage), id or location 8,
/// storage. `locate` is that of [`encode`].
pub(crate) fn encode_root(root: &Root, locate: impl Fn(NodeLink) -> u64) -> Vec<u8> {
    let mut out = root.hash.to_vec();
    let (kind, link, storage) = match &root.place {
        Place::Leaf { id, storage } => (
            if storage.is_some() { 3 } else { 1 },
            *id,
            storage.as_deref(),
        ),
        Place::Node(link, _) => (2, locate(*link), None),
        Place::Empty => (0, 0, None),
    };
    out.push(kind);
    out.extend_from_slice(&link.to_le_bytes());
    if let Some(storage) = storage {
        write_storage(storage, locate, &mut out);
    }
    out
}

/// Reads what `encode_root` wrote.
pub(crate) fn decode_root(bytes: &[u8]) -> Option<Root> {
    let mut reader = Reader(bytes);
    let hash = B256::from(reader.take::<32>()?);
    let [kind] = reader.take()?;
    let link = u64::from_le_bytes(reader.take()?);
    let place = match kind {
        0 => Place::Empty,
        1 => Place::Leaf {
            id: link,
            storage: None,
        },
        2 if NodeLink(link).id().is_none() => Place::Node(NodeLink(link), tag_of(&hash.0)),
        3 => Place::Leaf {
            id: link,
            storage: Some(Box::new(reader.storage()?)),
        },
        _ => return None,
    };
    reader.0.is_empty().then_some(Root { hash, place })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn storage(&mut self) -> Option<Storage> {
        let root = B256::from(self.take::<32>()?);
        let link = u64::from_le_bytes(self.take()?);
        let is_node = match self.take()? {
            [0] => false,
            [1] if NodeLink(link).id().is_none() => true,
            _ => return None,
        };
        Some(Storage {
            root,
            link,
            is_node,
        })
    }
}
