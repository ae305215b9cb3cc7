//! Snapshots: a copy of the database in another folder.
//!
//! Full segments never change, so a snapshot shares them as hard links where the file system can.
//! The segment being written is copied up to its end. The manifest is written last: a folder
//! without one is no snapshot.

use crate::{
    error::{CheckpointError, Damage, FileContext, FileError, OpenError, ReadError},
    index::CHECKPOINT,
    log::{MANIFEST, segment_file_name, segment_number},
    shared::Core,
    storage::{Storage, StorageFile, open_existing, read_bytes},
    trie::{is_trie_file, trie_file_name},
};
use alloy_primitives::B256;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Bytes copied at once.
const COPY_BYTES: u64 = 4 << 20;

/// Why a snapshot was not made or restored. The source is unchanged; the content of the target
/// folder is useless and can be removed.
#[derive(Clone, Debug, Error)]
pub enum SnapshotError {
    /// The target already contains a database.
    #[error("{folder} is not empty (it has {name}); give an empty or new folder")]
    NotEmpty {
        /// The target.
        folder: String,
        /// A database file in it.
        name: String,
    },
    /// Bytes of the database or of the snapshot are damaged.
    #[error("{0}")]
    Damaged(Damage),
    /// The accounts do not have the recorded state root.
    #[error(
        "the accounts after block {number} have state root {found}, but {expected} is recorded"
    )]
    StateRoot {
        /// The newest block.
        number: u64,
        /// The root of the accounts.
        found: B256,
        /// The root in the record.
        expected: B256,
    },
    /// The snapshot or its target was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading the state failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The checkpoint before the snapshot failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How full segments are put into a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// As hard links, where the file system supports them.
    Links,
    /// As copies, so that damage to one folder does not affect the other.
    Copies,
}

impl Core {
    /// Copies the database, as of the newest block, into another folder. `progress` receives the
    /// number of bytes copied and the total.
    pub(crate) fn snapshot(
        &self,
        target: &dyn Storage,
        sharing: Sharing,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), SnapshotError> {
        require_empty(target)?;
        if !self.options.read_only {
            self.write_checkpoint()?;
        }
        // The lock prevents freeing of segments and replacement of the checkpoint.
        let _checkpointing = self.checkpointing.lock();
        let (table, ends, durable) = {
            let _writer = self.writer.lock();
            let table = self.segments();
            let ends: Vec<u64> = table.iter().map(|segment| segment.end()).collect();
            (table, ends, self.applied.load(Ordering::Acquire))
        };
        let last = table.last().map(|segment| segment.number);
        let total = ends.iter().sum();
        let mut done = 0;
        for (segment, end) in table.iter().zip(&ends) {
            let name = segment_file_name(segment.number);
            let is_shared = sharing == Sharing::Links
                && Some(segment.number) != last
                && (self.storage.link(&name, target)).context("link", target.describe(&name))?;
            if !is_shared {
                let mut visit = |bytes| progress(done + bytes, total);
                copy(
                    &*segment.file,
                    &segment.path,
                    *end,
                    segment.size,
                    &name,
                    target,
                    &mut visit,
                )?;
            }
            done += end;
            progress(done, total);
        }
        for number in 0..self.trie_files.count() {
            self.snapshot_file(&trie_file_name(number), target)?;
        }
        self.snapshot_file(CHECKPOINT, target)?;
        (target.sync_folder()).context("sync", target.describe(""))?;
        self.manifest(&table, durable).store(target)?;
        Ok(())
    }

    /// Copies a file, if it exists.
    fn snapshot_file(&self, name: &str, target: &dyn Storage) -> Result<(), SnapshotError> {
        let path = self.storage.describe(name);
        // Without a checkpoint the whole database is in its log.
        let Some(file) = open_existing(&*self.storage, name)? else {
            return Ok(());
        };
        let size = file.size().context("read", &path)?;
        copy(&*file, &path, size, size, name, target, &mut |_| {})
    }
}

fn require_empty(target: &dyn Storage) -> Result<(), SnapshotError> {
    let folder = target.describe("");
    let names = target.list().context("list", &folder)?;
    let known = |name: &&String| {
        segment_number(name).is_some()
            || is_trie_file(name)
            || [MANIFEST, CHECKPOINT].contains(&name.as_str())
    };
    match names.iter().find(known) {
        Some(name) => Err(SnapshotError::NotEmpty {
            folder,
            name: name.clone(),
        }),
        None => Ok(()),
    }
}

fn copy(
    file: &dyn StorageFile,
    path: &str,
    end: u64,
    size: u64,
    name: &str,
    target: &dyn Storage,
    progress: &mut dyn FnMut(u64),
) -> Result<(), SnapshotError> {
    let target_path = &target.describe(name);
    let copy = (target.create(name, size)).context("create", target_path)?;
    let mut offset = 0;
    while offset < end {
        let bytes = (end - offset).min(COPY_BYTES);
        let buffer = read_bytes(file, path, offset, bytes)?;
        copy.write_at(&buffer, offset)
            .context("write", target_path)?;
        offset += bytes;
        progress(offset);
    }
    Ok(copy.sync().context("sync", target_path)?)
}
