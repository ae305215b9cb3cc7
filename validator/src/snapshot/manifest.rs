//! The list of a snapshot's chunks. It proves that the chunks together have the state root of a header.

use super::{
    chunk::{Chunk, Content},
    error::InvalidSnapshot,
};
use alloy_primitives::{Address, B256};
use alloy_trie::{HashBuilder, Nibbles};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Nibbles of a path of accounts, at most.
pub(super) const ACCOUNT_PATH_MAX: usize = 20;
/// Nibbles of a path of slots, at most. A leaf further below can have fewer than 32 bytes; its parent would have the
/// leaf and not its hash.
pub(super) const SLOT_PATH_MAX: usize = 8;

/// The chunks of a snapshot.
///
/// Chunks of accounts are in the order of their paths. The chunks of an account's slots come after the chunk with
/// the account. Above a path with nibbles there is a branch in the trie.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    pub(super) chunks: Vec<ChunkInfo>,
}

/// A chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct ChunkInfo {
    /// The account whose slots it holds; `None` if it holds accounts.
    pub(super) owner: Option<[u8; 20]>,
    /// The nibbles that all its hashed keys begin with.
    pub(super) path: Vec<u8>,
    /// The root of its trie, without the nibbles of the path.
    pub(super) root: [u8; 32],
    /// Its bytes.
    pub(super) bytes: u32,
}

impl ChunkInfo {
    pub(super) fn nibbles(&self) -> Nibbles {
        Nibbles::from_nibbles_unchecked(&self.path)
    }
}

impl Manifest {
    /// The number of chunks.
    pub const fn count(&self) -> usize {
        self.chunks.len()
    }

    /// The bytes of all chunks.
    pub fn bytes(&self) -> u64 {
        let bytes = self.chunks.iter().map(|chunk| u64::from(chunk.bytes));
        bytes.sum()
    }

    /// Checks that the chunks of the accounts have this root together, and that those of each account's slots are
    /// below different paths.
    pub fn check(&self, state_root: B256) -> Result<(), InvalidSnapshot> {
        let mut tries: BTreeMap<Option<[u8; 20]>, Vec<&ChunkInfo>> = BTreeMap::new();
        for chunk in &self.chunks {
            let max = match chunk.owner {
                None => ACCOUNT_PATH_MAX,
                Some(_) => SLOT_PATH_MAX,
            };
            if chunk.path.len() > max || chunk.path.iter().any(|nibble| *nibble > 15) {
                return Err(InvalidSnapshot::Manifest("a path is none"));
            }
            tries.entry(chunk.owner).or_default().push(chunk);
        }
        let in_order = |pair: &[&ChunkInfo]| {
            pair[0].path < pair[1].path && !pair[1].path.starts_with(&pair[0].path)
        };
        if !tries.values().all(|trie| trie.windows(2).all(in_order)) {
            return Err(InvalidSnapshot::Manifest("paths are not in order"));
        }
        let stated = state_root;
        match self.root_of(None) {
            Some(computed) if computed == stated => Ok(()),
            Some(computed) => Err(InvalidSnapshot::StateRoot { computed, stated }),
            None => Err(InvalidSnapshot::Manifest("it has no accounts")),
        }
    }

    /// Decodes a chunk and compares its roots with those of the list.
    pub(super) fn read_chunk(
        &self,
        index: usize,
        bytes: &[u8],
    ) -> Result<Content, InvalidSnapshot> {
        let info = &self.chunks[index];
        let chunk: Chunk =
            borsh::from_slice(bytes).map_err(|_| InvalidSnapshot::Chunk("it cannot be decoded"))?;
        if chunk.owner() != info.owner.map(Address::from) {
            return Err(InvalidSnapshot::Chunk("it is another one"));
        }
        let content = chunk.content(&info.nibbles())?;
        let root = B256::from(info.root);
        let computed = content.root;
        if computed != root {
            return Err(InvalidSnapshot::Root { computed, root });
        }
        for (address, root) in &content.apart {
            let computed = self.root_of(Some(address.into_array()));
            if computed != Some(*root) {
                return Err(InvalidSnapshot::StorageRoot {
                    address: *address,
                    computed: computed.unwrap_or_default(),
                    root: *root,
                });
            }
        }
        Ok(content)
    }

    /// The root of the trie of all accounts, or of an account's slots; `None` if there is no chunk of it.
    fn root_of(&self, owner: Option<[u8; 20]>) -> Option<B256> {
        root_of(self.chunks.iter().filter(|chunk| chunk.owner == owner))
    }
}

/// The root of a trie, of all its chunks in order; `None` if there is none.
pub(super) fn root_of<'c>(chunks: impl IntoIterator<Item = &'c ChunkInfo>) -> Option<B256> {
    let mut chunks = chunks.into_iter().peekable();
    let first = chunks.peek()?;
    if first.path.is_empty() {
        return Some(first.root.into());
    }
    let mut builder = HashBuilder::default();
    for chunk in chunks {
        builder.add_branch(chunk.nibbles(), chunk.root.into(), false);
    }
    Some(builder.root())
}
