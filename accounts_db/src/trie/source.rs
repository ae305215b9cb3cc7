//! Reads leaves from the log and nodes from the trie's files.

use super::files::TrieFiles;
use crate::{
    error::{Damage, ReadError},
    log::{
        Key, Location, SegmentTable,
        entry::{Body, Value},
    },
    shared::Core,
};
use alloy_primitives::{B256, keccak256};
use lockweave_state_trie::{LeafValue, Source, TrieError, is_below};
use std::sync::Arc;

/// The accounts of a database, and the nodes in some files. Stamps are ends of the log.
pub(crate) struct TrieSource<'a> {
    pub(crate) core: &'a Core,
    pub(crate) files: &'a TrieFiles,
    pub(crate) table: Arc<SegmentTable>,
}

impl<'a> TrieSource<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self {
            core,
            files: &core.trie_files,
            table: core.segments(),
        }
    }

    /// Key and value of the leaf at an entry, if it is the one that is looked for.
    fn leaf_at(
        &self,
        owner: Option<&B256>,
        location: Location,
        path: (&B256, usize),
        horizon: Location,
    ) -> Result<Option<(B256, LeafValue)>, ReadError> {
        let core = self.core;
        let Some(entry) = core.entry_at(&self.table, location)? else {
            return Ok(None);
        };
        let Body::Value { key, .. } = entry.body else {
            return Ok(None);
        };
        let hashed = match (owner, key) {
            (None, Key::Account(address)) => keccak256(address),
            (Some(owner), Key::Slot(address, slot)) if keccak256(address) == *owner => {
                keccak256(slot)
            }
            _ => return Ok(None),
        };
        if !is_below(&hashed, path.0, path.1) {
            return Ok(None);
        }
        let value = core.version_at(&self.table, horizon, location, &entry)?;
        Ok(match value {
            Some(Value::Account(record)) => record.account.map(|account| {
                let value = LeafValue::Account {
                    nonce: account.nonce,
                    balance: account.balance,
                    code_hash: account.code_hash,
                };
                (hashed, value)
            }),
            Some(Value::Slot(word)) if !word.is_zero() => Some((hashed, LeafValue::Slot(word))),
            _ => None,
        })
    }
}

impl Source for TrieSource<'_> {
    type Error = ReadError;

    fn read_node(&self, location: u64) -> Result<Vec<u8>, ReadError> {
        self.files.read(location)
    }

    fn damaged(&self, location: u64, error: TrieError) -> ReadError {
        ReadError::Trie(self.files.damage(location, &error.to_string()))
    }

    fn read_leaf(
        &self,
        owner: Option<&B256>,
        id: u64,
        path: &B256,
        nibbles: usize,
        stamp: u64,
    ) -> Result<(B256, LeafValue), ReadError> {
        let index = &self.core.index;
        loop {
            let candidates = index.candidates(id);
            for location in &candidates {
                let horizon = Location::from_units(stamp);
                let leaf = self.leaf_at(owner, *location, (path, nibbles), horizon)?;
                if let Some(leaf) = leaf {
                    return Ok(leaf);
                }
            }
            // Compaction may have moved the entry meanwhile.
            if index.candidates(id) == candidates {
                return Err(TrieError::Inconsistent("an account or slot is missing").into());
            }
        }
    }
}

impl From<TrieError> for ReadError {
    fn from(error: TrieError) -> Self {
        Self::Trie(Damage::new("the state trie", 0, error.to_string()))
    }
}
