//! The database.

use crate::{
    commit::PreparedBlock,
    error::{CheckpointError, CommitError, OpenError, ReadError},
    index::BlockSummary,
    maintenance::{ScrubReport, Sharing, SnapshotError, log_usage},
    options::{CheckpointMode, Options},
    read::Reader,
    recovery,
    recovery::Recovery,
    shared::Core,
    storage::{RealStorage, Storage},
    trie::{RebuildError, Recomputed, is_trie_file},
};
use alloy_primitives::{B256, Bytes};
use lockweave_runtime::StateDelta;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

/// An accounts database: the state after the newest block, the blocks before it, and their
/// payloads, on disk.
///
/// All methods take `&self`; share the database in an [`Arc`]. One commit runs at a time, together
/// with any number of readers. The folder stays locked until the database and its last reader are
/// dropped.
#[derive(Debug)]
pub struct Db {
    core: Arc<Core>,
    recovery: Recovery,
    /// Background threads.
    helpers: Vec<JoinHandle<()>>,
}

impl Db {
    /// Opens the database in a folder, or creates one there.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        options.check()?;
        let storage = RealStorage::open(folder, options.create, options.read_only)?;
        Self::open_on(Box::new(storage), options)
    }

    /// Opens the database on a custom storage.
    pub fn open_on(storage: Box<dyn Storage>, options: Options) -> Result<Self, OpenError> {
        let (core, recovery) = recovery::open(storage, options, false)?;
        let core = Arc::new(core);
        let has_thread =
            core.options.checkpoint_mode == CheckpointMode::Background && !core.options.read_only;
        let mut db = Self {
            core: Arc::clone(&core),
            recovery,
            helpers: Vec::new(),
        };
        if has_thread {
            db.start("accounts-db-checkpoint", Core::run_checkpoints)?;
        }
        if core.workers.is_parallel() && !core.options.read_only {
            db.start("accounts-db-segments", |core| core.segment_allocator.run())?;
            core.background_gathering.expect_thread();
            db.start("accounts-db-gather", Core::run_background_gathering)?;
            db.start("accounts-db-warm", |core| {
                core.remove_leftover_files();
                core.warm_up();
            })?;
        }
        Ok(db)
    }

    fn start(&mut self, name: &str, run: fn(&Core)) -> Result<(), OpenError> {
        let core = Arc::clone(&self.core);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&core))
            .map_err(|error| OpenError::Options {
                option: "checkpoint_mode",
                why: error.to_string(),
            })?;
        self.helpers.push(thread);
        Ok(())
    }

    /// What recovery found when the database was opened.
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The newest durable block; `None` while there is none.
    pub fn latest(&self) -> Option<BlockSummary> {
        self.core.chain.read().latest().cloned()
    }

    /// A block of the retained history.
    pub fn block(&self, number: u64) -> Option<BlockSummary> {
        self.core.chain.read().blocks.get(&number).cloned()
    }

    /// The oldest block that can be read and undone to; `None` while there is no block.
    pub fn oldest(&self) -> Option<u64> {
        (self.core.chain.read().first()).map(|block| block.number)
    }

    /// Looks up the keys that a block changes, and computes the state root after it. What it
    /// writes does not count until the block is committed.
    ///
    /// The root goes into the block's header; the header's hash goes to
    /// [`commit_prepared`](Self::commit_prepared) together with the prepared block.
    pub fn prepare(&self, number: u64, delta: &StateDelta) -> Result<PreparedBlock, CommitError> {
        self.core.prepare(number, delta)
    }

    /// The state root after some changes of the state after a block. Nothing is committed, and commits wait
    /// meanwhile.
    pub fn root_after(&self, number: u64, delta: &StateDelta) -> Result<B256, CommitError> {
        self.core.root_after(number, delta)
    }

    /// Memory of the state trie's nodes in bytes, with those of earlier blocks.
    pub fn trie_memory_bytes(&self) -> usize {
        let core = &*self.core;
        core.trie.memory_bytes() + core.trie.history_bytes() + core.trie_versions.memory_bytes()
    }

    /// Commits a prepared block with its hash and a payload, atomically: after a crash all of it is
    /// there or none. When this returns `Ok`, the block is durable and visible.
    ///
    /// The payload belongs to the caller, for example the encoded block and its receipts. An empty
    /// payload is not stored.
    pub fn commit_prepared(
        &self,
        block: PreparedBlock,
        hash: B256,
        payload: &[u8],
    ) -> Result<B256, CommitError> {
        self.core.commit(block, Some(hash), payload)
    }

    /// Prepares and commits a block without a hash, so `BLOCKHASH` does not find it. Returns the
    /// state root after the block.
    pub fn commit(
        &self,
        number: u64,
        delta: &StateDelta,
        payload: &[u8],
    ) -> Result<B256, CommitError> {
        let block = self.core.prepare(number, delta)?;
        self.core.commit(block, None, payload)
    }

    /// Returns to the state after an earlier block, durably. Later blocks and their payloads are
    /// gone.
    pub fn undo_to(&self, number: u64) -> Result<(), CommitError> {
        self.core.undo_to(number)
    }

    /// The state after the newest block.
    pub fn reader_latest(&self) -> Result<Reader, ReadError> {
        Reader::new(&self.core, None)
    }

    /// The state after a block of the retained history.
    pub fn reader_at(&self, number: u64) -> Result<Reader, ReadError> {
        Reader::new(&self.core, Some(number))
    }

    /// The payload that a block was committed with; `None` if it had none, was undone, or is older
    /// than [`Options::payload_blocks`].
    pub fn payload(&self, number: u64) -> Result<Option<Bytes>, ReadError> {
        self.core.payload(number)
    }

    /// Numbers of the oldest and the newest block with a payload.
    pub fn payloads(&self) -> Option<(u64, u64)> {
        let chain = self.core.chain.read();
        let (first, _) = chain.payloads.first_key_value()?;
        let (last, _) = chain.payloads.last_key_value()?;
        Some((*first, *last))
    }

    /// Writes a checkpoint now, and frees the segments that nothing needs any more.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.core.write_checkpoint()
    }

    /// Why the last automatic checkpoint failed, if it did.
    pub fn checkpoint_failure(&self) -> Option<CheckpointError> {
        self.core.checkpoint.lock().failure.clone()
    }

    /// Copies the database, as of the newest block, into another folder, which is created if it is
    /// missing and must not contain a database. Commits may run meanwhile; they are not in the
    /// copy.
    ///
    /// `progress` receives the number of bytes copied and the total.
    pub fn snapshot(
        &self,
        folder: &Path,
        sharing: Sharing,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        let target = RealStorage::open(folder, true, false)?;
        self.snapshot_to(&target, sharing, progress)
    }

    /// [`snapshot`](Self::snapshot) into a custom storage.
    pub fn snapshot_to(
        &self,
        target: &dyn Storage,
        sharing: Sharing,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        self.core.snapshot(target, sharing, progress)
    }

    /// Verifies a snapshot, copies it into another folder and opens it there. Every checksum and
    /// the state root are checked.
    pub fn restore(
        snapshot: &Path,
        folder: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, SnapshotError> {
        let source = Self::open(snapshot, Options::read_only())?;
        source.verify(|_, _| ControlFlow::Continue(()), |_, _| {})?;
        source.snapshot(folder, Sharing::Copies, &mut progress)?;
        drop(source);
        let options = Options {
            create: false,
            ..Options::default()
        };
        Ok(Self::open(folder, options)?)
    }

    /// Checks every record, the checkpoint and the manifest, and reports what is damaged. Commits
    /// may run meanwhile. `progress` receives the number of bytes checked and the total, and may
    /// stop the scrub.
    pub fn scrub(
        &self,
        progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ScrubReport, ReadError> {
        self.core.scrub(progress)
    }

    /// Scrubs, compares the index with the log, and computes the state root of the newest block from
    /// all accounts. The error is the first discrepancy. Nothing may be committed meanwhile.
    ///
    /// `progress` is that of [`scrub`](Self::scrub); `trie_progress` receives how much of the state root is
    /// computed, and the total.
    pub fn verify(
        &self,
        progress: impl FnMut(u64, u64) -> ControlFlow<()>,
        trie_progress: impl FnMut(u64, u64),
    ) -> Result<Verified, SnapshotError> {
        let scrubbed = self.scrub(progress)?;
        if let Some(damage) = scrubbed.damages.first() {
            let damage = damage.clone();
            let file = Path::new(&damage.file).file_name();
            return Err(
                if is_trie_file(&file.unwrap_or_default().to_string_lossy()) {
                    ReadError::Trie(damage).into()
                } else {
                    SnapshotError::Damaged(damage)
                },
            );
        }
        self.core.verify_index()?;
        let Some(latest) = self.latest() else {
            let state = Recomputed::default();
            return Ok(Verified { scrubbed, state });
        };
        let state = self.recompute(trie_progress)?;
        if state.state_root != latest.state_root {
            return Err(SnapshotError::StateRoot {
                number: latest.number,
                found: state.state_root,
                expected: latest.state_root,
            });
        }
        Ok(Verified { scrubbed, state })
    }

    /// Computes the state root of the newest block from all accounts, and counts accounts and slots.
    /// Memory is bounded as it is for blocks; nodes beyond it go to a temporary folder. Nothing may be
    /// committed meanwhile. `progress` receives how much is done, and the total.
    pub fn recompute(&self, progress: impl FnMut(u64, u64)) -> Result<Recomputed, ReadError> {
        self.core.compute_root(progress)
    }

    /// Makes the state trie of the database in a folder again, from its accounts. `progress` receives
    /// how much is done, and the total. If it is interrupted, the next call continues.
    pub fn rebuild_trie(
        folder: &Path,
        options: Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), RebuildError> {
        options.check()?;
        let storage = RealStorage::open(folder, false, false)?;
        Self::rebuild_trie_on(Box::new(storage), options, progress)
    }

    /// [`rebuild_trie`](Self::rebuild_trie) on a custom storage.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "options are given as to `open_on`"
    )]
    pub fn rebuild_trie_on(
        storage: Box<dyn Storage>,
        options: Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), RebuildError> {
        let options = Options {
            create: false,
            read_only: false,
            ..options
        };
        let (core, _) = recovery::open(storage, options, true)?;
        core.rebuild_trie(progress)
    }

    /// Statistics.
    pub fn stats(&self) -> Stats {
        let table = self.core.segments();
        let (_, live) = log_usage(&table);
        let chain = self.core.chain.read();
        Stats {
            latest: chain.latest().map(|block| block.number),
            oldest: chain.first().map(|block| block.number),
            state_root: chain.latest().map(|block| block.state_root),
            keys: self.core.index.len(),
            index_bytes: self.core.index.memory_bytes(),
            segments: table.iter().count() as u64,
            log_bytes: table.iter().map(|segment| segment.end()).sum(),
            live_bytes: live,
            payloads: chain.payloads.len() as u64,
            trie_memory_bytes: self.trie_memory_bytes() as u64,
            trie_bytes: self.core.trie_files.bytes(),
            trie_used_bytes: self.core.trie_files.used_bytes(),
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.core.checkpoint.lock().is_closing = true;
        self.core.checkpoint_wanted.notify_all();
        self.core.segment_allocator.close();
        self.core.background_gathering.close();
        for thread in self.helpers.drain(..) {
            let _ = thread.join();
        }
        let is_sound = !self.core.options.read_only && !self.core.stopped.load(Ordering::Acquire);
        if is_sound {
            // This tells the next opening how far the log was durable. Without it, a damaged last
            // record is taken for an unfinished one.
            let _ = self.core.store_manifest();
        }
    }
}

/// What [`Db::verify`] checked.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The scrub, which found no damage.
    pub scrubbed: ScrubReport,
    /// Root and totals of the newest state.
    pub state: Recomputed,
}

/// Statistics of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The newest block.
    pub latest: Option<u64>,
    /// The oldest readable block.
    pub oldest: Option<u64>,
    /// State root after the newest block.
    pub state_root: Option<B256>,
    /// Keys in the index: accounts, slots and codes, including removed ones whose tombstones
    /// remain.
    pub keys: u64,
    /// Memory of the index in bytes.
    pub index_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes written in them.
    pub log_bytes: u64,
    /// Bytes that compaction would write to move everything live.
    pub live_bytes: u64,
    /// Payloads kept.
    pub payloads: u64,
    /// Memory of the state trie's nodes, with those of earlier blocks.
    pub trie_memory_bytes: u64,
    /// Bytes of the state trie's files.
    pub trie_bytes: u64,
    /// Bytes of nodes in them.
    pub trie_used_bytes: u64,
}
