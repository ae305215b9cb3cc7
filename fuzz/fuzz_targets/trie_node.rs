//! Nodes on disk with any bytes behind a correct checksum: reading, proofs and updates may fail, and do not panic.

#![no_main]

use alloy_primitives::{Address, B256, U256};
use libfuzzer_sys::fuzz_target;
use lockweave_state_trie::{
    AccountChange, Changes, LeafValue, OtherVersion, SlotChange, Source, StateTrie, TrieError, walk,
};
use std::sync::atomic::{AtomicUsize, Ordering};

const HEAD_BYTES: usize = 24;
const CHILD_BYTES: usize = 40;
const STORAGE_BYTES: usize = 41;
/// Every reference begins with these bytes, so each node is the one that its parent names. They are the beginning of
/// a hash and of a node of 9 bytes.
const TAG: [u8; 8] = [0xc8; 8];
/// Nodes read at most, since they can name each other in circles.
const READS_MAX: usize = 200;
/// Bytes of a node before they are repeated.
const NODE_BYTES: usize = 48;

/// Nodes of any bytes; a location chooses one of them.
struct Nodes<'a> {
    nodes: Vec<&'a [u8]>,
    reads: AtomicUsize,
}

/// A node of these bytes. With the right `flags`, its masks do not contradict each other.
fn node(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.iter().copied().cycle();
    let mut take = || bytes.next().unwrap_or(0);
    let flags = take();
    // Mostly short, so that nodes are not too deep.
    let prefix = if flags & 8 == 0 {
        take() % 4
    } else {
        take() % 70
    };
    let mut masks = [0; 4].map(|_: u16| u16::from_le_bytes([take(), take()]));
    if flags & 1 == 0 {
        let [mask, nodes, inline, storages] = &mut masks;
        *nodes &= *mask;
        *inline &= *mask;
        *storages &= *mask & !*nodes;
    }
    let [mask, _, _, storages] = masks.map(|mask| mask.count_ones() as usize);
    let mut node = vec![0; HEAD_BYTES];
    node[6] = prefix;
    node[8..16].copy_from_slice(&TAG);
    for (at, mask) in masks.iter().enumerate() {
        node[16 + 2 * at..18 + 2 * at].copy_from_slice(&mask.to_le_bytes());
    }
    node.extend((0..prefix).map(|_| if flags & 2 == 0 { take() % 16 } else { take() }));
    let sizes = [CHILD_BYTES]
        .repeat(mask)
        .into_iter()
        .chain([STORAGE_BYTES].repeat(storages));
    for size in sizes {
        let start = node.len();
        node.extend((0..size).map(|_| take()));
        if flags & 4 == 0 {
            node[start..start + TAG.len()].copy_from_slice(&TAG);
            // No location is in the upper half, and the last byte of a storage is 0 or 1.
            node[start + CHILD_BYTES - 1] &= 0x7f;
            if let Some(is_node) = node.get_mut(start + CHILD_BYTES) {
                *is_node &= 1;
            }
        }
    }
    let length = u16::try_from(node.len()).expect("a short node");
    node[4..6].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c(&node[4..]);
    node[..4].copy_from_slice(&sum.to_le_bytes());
    node
}

impl Source for Nodes<'_> {
    type Error = TrieError;

    fn read_node(&self, location: u64) -> Result<Vec<u8>, TrieError> {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= READS_MAX {
            return Err(TrieError::Damaged("a circle"));
        }
        let at = location % self.nodes.len() as u64;
        let bytes = self.nodes[usize::try_from(at).expect("few nodes")];
        // Some as they are.
        Ok(if bytes[0] == 0xff {
            bytes.to_vec()
        } else {
            node(bytes)
        })
    }

    fn read_leaf(
        &self,
        owner: Option<&B256>,
        id: u64,
        path: &B256,
        nibbles: usize,
        _: u64,
    ) -> Result<(B256, LeafValue), TrieError> {
        let mut key = *path;
        if nibbles < 64 && id.is_multiple_of(2) {
            key[31] ^= 1;
        }
        let value = match owner {
            None => LeafValue::Account {
                nonce: id,
                balance: U256::from(id),
                code_hash: key,
            },
            Some(_) => LeafValue::Slot(U256::from(id | 1)),
        };
        Ok((key, value))
    }
}

fn changes(bytes: &[u8]) -> Changes {
    let mut changes = Changes::default();
    for (last, byte) in (0..12).zip(bytes) {
        let address = Address::with_last_byte(last);
        changes.accounts.push(AccountChange {
            address,
            id: last.into(),
            existed: byte & 1 != 0,
            account: (byte & 2 != 0).then_some((1, U256::from(last), B256::ZERO)),
        });
        for slot in 0..u64::from(byte >> 4) {
            changes.slots.push(SlotChange {
                address,
                slot: U256::from(slot),
                id: slot,
                existed: byte & 4 != 0,
                value: U256::from(slot % 3),
            });
        }
    }
    changes
}

fuzz_target!(|data: &[u8]| {
    // A root: hash, kind, location, storage.
    let Some((head, rest)) = data.split_first_chunk::<64>() else {
        return;
    };
    if rest.is_empty() {
        return;
    }
    let mut root = TAG.repeat(4);
    root.push(head[0] % 5);
    root.extend_from_slice(&head[1..9]);
    if head[0] % 5 == 3 {
        root.extend(TAG.repeat(4));
        root.extend_from_slice(&head[9..18]);
    }
    let new_source = || Nodes {
        nodes: rest.chunks(NODE_BYTES).collect(),
        reads: AtomicUsize::new(0),
    };
    let _ = walk(&root, &new_source(), |_| {});
    let Some(trie) = StateTrie::open(&root) else {
        return;
    };
    let slots = [U256::ZERO, U256::from(1)];
    let keys: Vec<_> = (0..12)
        .map(|last| (Address::with_last_byte(last), Some(U256::ZERO)))
        .collect();
    let source = new_source();
    for (address, _) in &keys {
        let _ = trie.proof(*address, &slots, &source);
    }
    // The changes contradict the leaves, so the updates are not installed.
    for bytes in head[18..].chunks(12) {
        let Ok(prepared) = trie.prepare(&changes(bytes), &new_source(), 1) else {
            continue;
        };
        let version = OtherVersion::new(prepared, 0);
        let _ = trie.proof_in(&version, Address::ZERO, &slots, &new_source());
    }
});
