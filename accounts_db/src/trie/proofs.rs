//! Proofs at the newest block and at earlier ones.
//!
//! The trie keeps what nodes were at earlier blocks, as far as memory allows and since the database was opened.
//! For another block the keys that changed since are set back, in an update that is never installed. The last
//! of these are kept.

use super::changes::Touched;
use super::source::TrieSource;
use crate::{
    error::{Damage, ReadError},
    index::BlockSummary,
    read::Reader,
};
use alloy_primitives::{Address, U256};
use lockweave_state_trie::{AccountProof, OtherVersion};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Attempts beside commits, before a proof makes them wait.
const ATTEMPTS: usize = 3;

impl Reader {
    /// Proves an account and some of its slots at the block (EIP-1186).
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, ReadError> {
        let core = &*self.core;
        for _ in 0..ATTEMPTS {
            // Fails only if a block is committed meanwhile.
            if let Ok(proof) = self.try_proof(address, slots)
                && proof.root == self.state_root()
            {
                return Ok(proof);
            }
        }
        let _writer = core.writer.lock();
        let proof = self.try_proof(address, slots)?;
        if proof.root != self.state_root() {
            let (found, expected) = (proof.root, self.state_root());
            let what = format!(
                "its root is {found}, but block {} has {expected}",
                self.number()
            );
            return Err(ReadError::Trie(Damage::new("the state trie", 0, what)));
        }
        Ok(proof)
    }

    fn try_proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, ReadError> {
        let core = &*self.core;
        let source = TrieSource::new(core);
        let stamp = self.horizon.units();
        // An error may be that of a node put together wrongly: two places had the same hash.
        if let Ok(Some(proof)) = core.trie.proof_at(stamp, address, slots, &source)
            && proof.root == self.state_root()
        {
            return Ok(proof);
        }
        if let Some(version) = core.trie_versions.get(self.sequence()) {
            let proof = core.trie.proof_in(&version, address, slots, &source);
            if proof.is_ok() {
                return proof;
            }
            // It is too long ago.
            core.trie_versions.remove(self.sequence());
        }
        let since = core.touched(&core.values_before_changes(&self.summary())?)?;
        let since = since.into_iter().map(Touched::reversed);
        let prepared = core.prepare_touched(since.collect())?;
        let version = Arc::new(OtherVersion::new(prepared, stamp));
        let proof = core.trie.proof_in(&version, address, slots, &source)?;
        if version.root() == self.state_root() {
            let bytes_max = core.options.trie_history_bytes;
            core.trie_versions.add(self.sequence(), version, bytes_max);
        }
        Ok(proof)
    }

    fn summary(&self) -> BlockSummary {
        BlockSummary {
            number: self.number(),
            hash: None,
            state_root: self.state_root(),
            sequence: self.sequence(),
            horizon: self.horizon,
        }
    }
}

/// Tries of earlier blocks that were made by setting keys back, by the sequence of the block's record.
#[derive(Debug, Default)]
pub(crate) struct TrieVersions(Mutex<VecDeque<(u64, Arc<OtherVersion>)>>);

/// Tries of earlier blocks that are kept.
const VERSIONS_MAX: usize = 8;

impl TrieVersions {
    fn get(&self, sequence: u64) -> Option<Arc<OtherVersion>> {
        let versions = self.0.lock();
        let found = versions.iter().find(|(known, _)| *known == sequence)?;
        Some(Arc::clone(&found.1))
    }

    /// Adds one, and drops the oldest if they take more memory.
    fn add(&self, sequence: u64, version: Arc<OtherVersion>, bytes_max: usize) {
        let mut versions = self.0.lock();
        versions.truncate(VERSIONS_MAX - 1);
        versions.push_front((sequence, version));
        let mut bytes = 0;
        versions.retain(|(of, version)| {
            bytes += version.memory_bytes();
            bytes <= bytes_max || *of == sequence
        });
    }

    fn remove(&self, sequence: u64) {
        self.0.lock().retain(|(known, _)| *known != sequence);
    }

    /// Memory in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let versions = self.0.lock();
        versions.iter().map(|(_, it)| it.memory_bytes()).sum()
    }
}
