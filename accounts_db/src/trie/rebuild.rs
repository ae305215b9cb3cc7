//! Makes the state trie again from the accounts.
//!
//! All accounts are added, then all slots, shard by shard of the index, with the updates that blocks make.
//! Memory is bounded as it is for blocks. A rebuild of the database's own trie stores checkpoints, and
//! continues after the last one.

use super::{
    changes::Touched,
    files::{StoredTrie, TrieFiles},
    source::TrieSource,
};
use crate::{
    error::{CheckpointError, OpenError, ReadError},
    log::{Key, Location},
    read::item,
    shared::Core,
    storage::RealStorage,
};
use alloy_primitives::B256;
use lockweave_state_trie::{EMPTY_ROOT, StateTrie};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Why the state trie was not rebuilt.
#[derive(Clone, Debug, Error)]
pub enum RebuildError {
    /// The accounts do not have the root that the newest block's record holds: they are damaged.
    #[error(
        "the accounts after block {number} have state root {found}, but {expected} is recorded; \
         the accounts are damaged, restore a snapshot"
    )]
    StateRoot {
        /// The newest block.
        number: u64,
        /// The root of the accounts.
        found: B256,
        /// The root in the record.
        expected: B256,
    },
    /// The database was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading the accounts failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing the trie failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Leaves added together.
const BATCH: usize = 1 << 17;
/// Time between checkpoints of a rebuild.
const SAVE_EVERY: Duration = Duration::from_secs(20);

/// Root and totals of a whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recomputed {
    /// The state root.
    pub state_root: B256,
    /// Number of accounts.
    pub accounts: u64,
    /// Number of nonzero slots, with those of accounts that do not exist.
    pub slots: u64,
}

impl Default for Recomputed {
    /// Of the empty state.
    fn default() -> Self {
        Self {
            state_root: EMPTY_ROOT,
            accounts: 0,
            slots: 0,
        }
    }
}

/// A trie that is made from the accounts.
struct Builder<'a> {
    core: &'a Core,
    trie: &'a StateTrie,
    files: &'a TrieFiles,
    touched: Touched,
    totals: Recomputed,
}

impl Builder<'_> {
    /// Adds what a shard has: its accounts, or its slots.
    fn add_shard(&mut self, shard: usize, is_slots: bool) -> Result<(), ReadError> {
        let core = self.core;
        for (key, value) in core.shard_values(&core.segments(), shard, Location::NEWEST)? {
            match (key, item(key, value)) {
                (Key::Account(_), Some(_)) if !is_slots => self.totals.accounts += 1,
                (Key::Slot(..), Some(_)) if is_slots => self.totals.slots += 1,
                _ => continue,
            }
            self.touched
                .push(&key, core.hasher.hash(&key), None, Some(value));
        }
        Ok(())
    }

    /// Applies what was added.
    fn apply(&mut self) -> Result<(), ReadError> {
        let core = self.core;
        let changes = core.trie_changes(vec![std::mem::take(&mut self.touched)])?;
        let source = TrieSource {
            core,
            files: self.files,
            table: core.segments(),
        };
        let threads = core.workers.count();
        let prepare = || self.trie.prepare(&changes, &source, threads);
        let prepared = core.workers.install(prepare)?;
        let install = || self.trie.install(prepared, Location::NEWEST.units());
        core.workers.install(install)?;
        Ok(())
    }

    fn pending(&self) -> usize {
        self.touched.accounts.len() + self.touched.slots.len()
    }
}

impl Core {
    /// Adds all accounts and slots to a trie, from `start` of twice the number of shards on. `save`
    /// receives how many are done.
    fn build_trie<E: From<ReadError>>(
        &self,
        trie: &StateTrie,
        files: &TrieFiles,
        start: u64,
        mut save: impl FnMut(u64, bool) -> Result<(), E>,
    ) -> Result<Recomputed, E> {
        trie.set_stamp(Location::NEWEST.units());
        let shards = self.index.shard_count() as u64;
        let mut builder = Builder {
            core: self,
            trie,
            files,
            touched: Touched::default(),
            totals: Recomputed::default(),
        };
        for step in start..2 * shards {
            let shard = usize::try_from(step % shards).expect("an index in memory");
            builder.add_shard(shard, step >= shards)?;
            // Accounts come before their slots.
            let is_last = step + 1 == shards || step + 1 == 2 * shards;
            if builder.pending() >= BATCH || is_last {
                builder.apply()?;
                let is_large = trie.unwritten_bytes() > self.options.trie_memory_bytes / 2;
                save(step + 1, is_large)?;
                trie.trim(self.options.trie_memory_bytes);
            }
        }
        builder.totals.state_root = trie.root();
        Ok(builder.totals)
    }

    /// Makes the database's trie again. `progress` receives how much is done, and the total.
    pub(crate) fn rebuild_trie(
        &self,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), RebuildError> {
        let Some(latest) = self.chain.read().latest().cloned() else {
            return Ok(());
        };
        let total = 2 * self.index.shard_count() as u64;
        let mut start = self.trie_rebuilt.lock().unwrap_or(0);
        loop {
            progress(start, total);
            // The trie that was there is no longer used, before its space is.
            self.write_checkpoint()?;
            let mut saved = Instant::now();
            let built = self.build_trie(&self.trie, &self.trie_files, start, |done, is_large| {
                *self.trie_rebuilt.lock() = Some(done);
                if is_large || saved.elapsed() >= SAVE_EVERY {
                    self.write_checkpoint()?;
                    saved = Instant::now();
                }
                progress(done, total);
                Ok::<_, RebuildError>(())
            });
            match built {
                // What an earlier call left is damaged.
                Err(RebuildError::Read(ReadError::Trie(_))) if start > 0 => {
                    start = 0;
                    *self.trie_rebuilt.lock() = Some(0);
                    self.trie.clear();
                    self.trie_files.clear();
                }
                built => {
                    built?;
                    break;
                }
            }
        }
        let found = self.trie.root();
        if found != latest.state_root {
            return Err(RebuildError::StateRoot {
                number: latest.number,
                found,
                expected: latest.state_root,
            });
        }
        *self.trie_rebuilt.lock() = None;
        Ok(self.write_checkpoint()?)
    }

    /// The state root of all accounts, computed beside the trie.
    pub(crate) fn compute_root(
        &self,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Recomputed, ReadError> {
        let scratch = |error: io::Error| ReadError::Scratch(error.to_string());
        let folder = tempfile::tempdir().map_err(scratch)?;
        let total = 2 * self.index.shard_count() as u64;
        let trie = StateTrie::new();
        let storage = RealStorage::open(folder.path(), true, false)
            .map_err(|error| ReadError::Scratch(error.to_string()))?;
        let bytes = self.segments().segment_bytes();
        let files = TrieFiles::open(Arc::new(storage), bytes, &StoredTrie::default())?;
        self.build_trie(&trie, &files, 0, |done, is_large| {
            if is_large {
                let mut writing = trie.start_writing();
                let mut nodes = files.writer();
                let written = trie.write(&mut writing, &mut nodes);
                let written = written.and_then(|written| nodes.finish().map(|_| written));
                trie.finish_writing(writing, written.is_ok());
                files.free(&written?.stale);
            }
            progress(done, total);
            Ok::<_, ReadError>(())
        })
    }
}
