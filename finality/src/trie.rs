//! Values of a Merkle-Patricia trie, of which some nodes are known.

use crate::error::InvalidProof;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles,
    nodes::{RlpNode, TrieNode},
};
use std::collections::BTreeMap;

/// Where an account has its storage root.
const STORAGE_ROOT: usize = 2;

/// Nodes by their hash.
pub(crate) type Nodes<'n> = BTreeMap<B256, &'n [u8]>;

pub(crate) fn by_hash(nodes: &[Bytes]) -> Nodes<'_> {
    let nodes = nodes.iter().map(|node| (keccak256(node), node.as_ref()));
    nodes.collect()
}

/// The value of a key under a root; `None` if the trie has none. A node that is needed and not there is an error.
pub(crate) fn get(
    nodes: &Nodes<'_>,
    root: B256,
    key: B256,
) -> Result<Option<Vec<u8>>, InvalidProof> {
    if root == EMPTY_ROOT_HASH {
        return Ok(None);
    }
    let mut rest = Nibbles::unpack(key);
    let mut at = RlpNode::word_rlp(&root);
    loop {
        let rlp = match at.as_hash() {
            Some(hash) => *nodes.get(&hash).ok_or(InvalidProof::MissingNode(hash))?,
            None => at.as_slice(),
        };
        at = match TrieNode::decode(&mut &rlp[..]).map_err(InvalidProof::Node)? {
            TrieNode::EmptyRoot => return Ok(None),
            TrieNode::Leaf(leaf) => return Ok((leaf.key == rest).then_some(leaf.value)),
            TrieNode::Extension(extension) => {
                if !rest.starts_with(&extension.key) {
                    return Ok(None);
                }
                rest = rest.slice(extension.key.len()..);
                extension.child
            }
            TrieNode::Branch(branch) => {
                let Some(nibble) = rest.first() else {
                    return Ok(None);
                };
                rest = rest.slice(1..);
                let node = branch.as_ref();
                let mut children = node.children();
                let child = children.find_map(|(index, child)| (index == nibble).then_some(child));
                let Some(child) = child.flatten().cloned() else {
                    return Ok(None);
                };
                child
            }
        };
    }
}

/// The storage root of an account.
pub(crate) fn storage_root(account: &[u8]) -> Result<B256, InvalidProof> {
    let mut rest = account;
    let mut fields =
        alloy_rlp::Header::decode_bytes(&mut rest, true).map_err(InvalidProof::Node)?;
    for _ in 0..STORAGE_ROOT {
        alloy_rlp::Header::decode_bytes(&mut fields, false).map_err(InvalidProof::Node)?;
    }
    B256::decode(&mut fields).map_err(InvalidProof::Node)
}

/// The value of a slot.
pub(crate) fn word(value: &[u8]) -> Result<B256, InvalidProof> {
    let word = U256::decode(&mut &value[..]).map_err(InvalidProof::Node)?;
    Ok(word.into())
}
