//! The database.

use crate::{
    commit::PreparedBlock,
    error::{CheckpointError, CommitError, OpenError, ReadError},
    index::BlockSummary,
    maintenance::{ScrubReport, Sharing, SnapshotError, log_usage},
    options::{CheckpointMode, Options},
    read::{Reader, Recomputed},
    recovery,
    recovery::Recovery,
    shared::Core,
    storage::{RealStorage, Storage},
};
use alloy_primitives::{B256, Bytes};
use lockweave_runtime::StateDelta;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

/// An accounts database: the state after the newest block and the blocks before it, durable.
///
/// Reading and committing take `&self`; share it in an [`Arc`]. One commit runs at a time, beside
/// any number of readers. The folder stays locked until the database and its last reader are gone.
#[derive(Debug)]
pub struct Db {
    core: Arc<Core>,
    recovery: Recovery,
    /// Threads that do things in the background.
    helpers: Vec<JoinHandle<()>>,
}

impl Db {
    /// Opens the database in a folder, or creates one there.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        options.check()?;
        let storage = RealStorage::open(folder, options.create, options.read_only)?;
        Self::open_on(Box::new(storage), options)
    }

    /// Opens the database on a storage of one's own.
    pub fn open_on(storage: Box<dyn Storage>, options: Options) -> Result<Self, OpenError> {
        let (core, recovery) = recovery::open(storage, options)?;
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
            db.start("accounts-db-room", |core| core.segment_allocator.run())?;
            core.background_gathering.expect_thread();
            db.start("accounts-db-ahead", Core::run_background_gathering)?;
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

    /// What opening found.
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

    /// The oldest block that can be read and gone back to; `None` while there is no block.
    pub fn oldest(&self) -> Option<u64> {
        let chain = self.core.chain.read();
        chain.blocks.first_key_value().map(|(number, _)| *number)
    }

    /// Looks up what a block changes and computes the state commitment after it. Nothing is written.
    ///
    /// A header that holds the commitment can then be made, and with its hash the block goes to
    /// [`commit_prepared`](Self::commit_prepared).
    pub fn prepare(&self, number: u64, delta: &StateDelta) -> Result<PreparedBlock, CommitError> {
        self.core.prepare(number, delta)
    }

    /// Makes a prepared block durable, with its hash and a payload, in one step: after a crash either
    /// all of it is there or nothing. When this returns well it is durable and visible.
    ///
    /// The payload is the caller's (a block and its receipts, say); no payload is an empty one.
    pub fn commit_prepared(
        &self,
        block: PreparedBlock,
        hash: B256,
        payload: &[u8],
    ) -> Result<B256, CommitError> {
        self.core.commit(block, Some(hash), payload)
    }

    /// Makes a block whose hash does not matter durable, with a payload; gives the state commitment
    /// after it. `BLOCKHASH` does not find it.
    pub fn commit(
        &self,
        number: u64,
        delta: &StateDelta,
        payload: &[u8],
    ) -> Result<B256, CommitError> {
        let block = self.core.prepare(number, delta)?;
        self.core.commit(block, None, payload)
    }

    /// Goes back to the state after an earlier block, durably; later blocks and their payloads are
    /// gone.
    pub fn undo_to(&self, number: u64) -> Result<(), CommitError> {
        self.core.undo_to(number)
    }

    /// The state after the newest block, for as long as the reader lives.
    pub fn reader_latest(&self) -> Result<Reader, ReadError> {
        Reader::new(&self.core, None)
    }

    /// The state after a block of the retained history.
    pub fn reader_at(&self, number: u64) -> Result<Reader, ReadError> {
        Reader::new(&self.core, Some(number))
    }

    /// The payload a block was committed with; `None` if it had none, was undone, or is older than
    /// payloads are kept.
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

    /// Writes a checkpoint now and frees the segments that nothing needs any more.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.core.write_checkpoint()
    }

    /// Why the last checkpoint of its own failed, if it did.
    pub fn checkpoint_failure(&self) -> Option<CheckpointError> {
        self.core.checkpoint.lock().failure.clone()
    }

    /// Puts the database as it is after the newest block into another folder, which is made if it is
    /// missing and must have no database. Blocks can be committed meanwhile; they are not in it.
    ///
    /// `progress` is told how many bytes are there, of how many.
    pub fn snapshot(
        &self,
        folder: &Path,
        sharing: Sharing,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        let target = RealStorage::open(folder, true, false)?;
        self.snapshot_to(&target, sharing, progress)
    }

    /// [`snapshot`](Self::snapshot) into a storage of one's own.
    pub fn snapshot_to(
        &self,
        target: &dyn Storage,
        sharing: Sharing,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        self.core.snapshot(target, sharing, progress)
    }

    /// Checks a snapshot, copies it into another folder and opens it there. Every checksum is looked
    /// at, and the state is held against its commitment.
    pub fn restore(
        snapshot: &Path,
        folder: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, SnapshotError> {
        let source = Self::open(snapshot, Options::read_only())?;
        source.verify(|_, _| ControlFlow::Continue(()))?;
        source.snapshot(folder, Sharing::Copies, &mut progress)?;
        drop(source);
        let options = Options {
            create: false,
            ..Options::default()
        };
        Ok(Self::open(folder, options)?)
    }

    /// Looks at every record, the checkpoint and the manifest, and reports what is damaged. Blocks can
    /// be committed meanwhile. `progress` is told how many bytes were looked at, of how many, and may
    /// stop.
    pub fn scrub(
        &self,
        progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ScrubReport, ReadError> {
        self.core.scrub(progress)
    }

    /// Scrubs, holds the index against the log, and computes the newest block's state commitment from
    /// the whole state. An error says what is wrong first.
    pub fn verify(
        &self,
        progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Verified, SnapshotError> {
        let scrubbed = self.scrub(progress)?;
        if let Some(damage) = scrubbed.damages.first() {
            return Err(SnapshotError::Damaged(damage.clone()));
        }
        self.core.verify_index()?;
        let Some(latest) = self.latest() else {
            return Ok(Verified {
                scrubbed,
                state: Recomputed::default(),
            });
        };
        let state = self.reader_at(latest.number)?.recompute_commitment()?;
        if state.commitment() != latest.commitment {
            return Err(SnapshotError::Commitment {
                number: latest.number,
                found: state.commitment(),
                expected: latest.commitment,
            });
        }
        Ok(Verified { scrubbed, state })
    }

    /// Figures about the database.
    pub fn stats(&self) -> Stats {
        let table = self.core.segments();
        let (_, live) = log_usage(&table);
        let chain = self.core.chain.read();
        Stats {
            latest: chain.latest().map(|block| block.number),
            oldest: chain.blocks.first_key_value().map(|(number, _)| *number),
            commitment: chain.latest().map(|block| block.commitment),
            keys: self.core.index.len(),
            index_bytes: self.core.index.memory_bytes(),
            segments: table.iter().count() as u64,
            log_bytes: table.iter().map(|segment| segment.end()).sum(),
            live_bytes: live,
            payloads: chain.payloads.len() as u64,
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
            // So that the next opening knows how far the log was durable. If it fails, a damaged last
            // record will be taken for an unfinished one.
            let _ = self.core.store_manifest();
        }
    }
}

/// What [`Db::verify`] looked at.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The scrub, which found nothing.
    pub scrubbed: ScrubReport,
    /// The newest state, summed up.
    pub state: Recomputed,
}

/// Figures about a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The newest block.
    pub latest: Option<u64>,
    /// The oldest readable block.
    pub oldest: Option<u64>,
    /// State commitment after the newest block.
    pub commitment: Option<B256>,
    /// Keys in the index: accounts, slots, codes, and those of them that were removed and not yet
    /// forgotten.
    pub keys: u64,
    /// Memory of the index in bytes.
    pub index_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes written in them.
    pub log_bytes: u64,
    /// Bytes that moving everything alive would take.
    pub live_bytes: u64,
    /// Payloads kept.
    pub payloads: u64,
}
