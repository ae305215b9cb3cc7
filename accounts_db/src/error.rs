//! Errors, one enum for each operation.

use alloy_primitives::{Address, B256, U256};
use std::{io, sync::Arc};
use thiserror::Error;

/// Where a file contains other bytes than were written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file} at byte {offset}: {what}")]
pub struct Damage {
    /// The file's path.
    pub file: String,
    /// Offset of the damaged unit (header, entry, chunk) in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    pub(crate) fn new(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            offset,
            what: what.into(),
        }
    }
}

/// A file operation that failed.
#[derive(Clone, Debug, Error)]
#[error("cannot {action} {file}: {source}")]
pub struct FileError {
    /// The attempted operation: "read", "create", …
    pub action: &'static str,
    /// The file's path.
    pub file: String,
    /// The error of the operating system.
    pub source: Arc<io::Error>,
}

impl FileError {
    pub(crate) fn new(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self {
            action,
            file: file.into(),
            source: Arc::new(source),
        }
    }

    /// Whether the medium is full.
    pub fn is_out_of_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Names the operation that failed.
pub(crate) trait FileContext<T> {
    /// The attempted operation, and the path of its file.
    fn context(self, action: &'static str, file: impl Into<String>) -> Result<T, FileError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, action: &'static str, file: impl Into<String>) -> Result<T, FileError> {
        self.map_err(|source| FileError::new(action, file, source))
    }
}

/// Why a folder cannot be opened as a database.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// Another process has the folder open.
    #[error(
        "{folder} is in use by another process; stop it, or open a snapshot (a folder is opened \
         either once for writing or by any number of readers)"
    )]
    Locked {
        /// The folder.
        folder: String,
    },
    /// The folder has no database, and creating one was not requested.
    #[error("{folder} holds no accounts database (no MANIFEST)")]
    NotADatabase {
        /// The folder.
        folder: String,
    },
    /// A file was written by a newer release.
    #[error(
        "{file} has format version {found}, this release reads up to {supported}; use a newer \
         release, nothing was changed"
    )]
    NewerVersion {
        /// The file.
        file: String,
        /// The file's version.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// A file was written by an older release.
    #[error(
        "{file} has format version {found}, and this release reads only version {supported}: headers \
         of its chain hold another state root than Ethereum's; export the chain with the release \
         that made it (`lockweave-validator export`) and import it into a new folder \
         (`lockweave-validator import --reseal`); nothing was changed"
    )]
    OlderVersion {
        /// The file.
        file: String,
        /// The file's version.
        found: u32,
        /// The version that this release reads.
        supported: u32,
    },
    /// Durable bytes have changed.
    #[error("{0}; restore a snapshot (nothing was changed)")]
    Damaged(Damage),
    /// The state trie is damaged or incomplete. The accounts are not affected.
    #[error("{0}; make the state trie again with `lockweave-validator db rebuild-trie`")]
    Trie(Damage),
    /// A required file is missing.
    #[error("{file} is missing: {why}; restore a snapshot (nothing was changed)")]
    Missing {
        /// The file.
        file: String,
        /// Why it is needed.
        why: String,
    },
    /// The options contradict each other or the database.
    #[error("option {option}: {why}")]
    Options {
        /// The option's name.
        option: &'static str,
        /// Why its value is not valid.
        why: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a read failed.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The bytes are damaged.
    #[error("{0}; restore a snapshot")]
    Damaged(Damage),
    /// The state trie is damaged. The accounts are not affected.
    #[error("{0}; make the state trie again with `lockweave-validator db rebuild-trie`")]
    Trie(Damage),
    /// There is no folder for the nodes of a state trie that is computed to check the accounts.
    #[error("no folder for temporary files ({0}); set TMPDIR to one with space")]
    Scratch(String),
    /// The block is outside the retained history.
    #[error("block {number} is not readable: blocks {oldest} to {latest} are")]
    NotRetained {
        /// The requested block.
        number: u64,
        /// The oldest readable block.
        oldest: u64,
        /// The newest.
        latest: u64,
    },
    /// The database has no block yet.
    #[error("the database has no block yet")]
    Empty,
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a block was not committed. The state before it stays readable.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// The medium is full. Nothing is lost; the block can be committed again once there is space.
    #[error("no space for block {number}: {source}; free space and commit it again")]
    NoSpace {
        /// The block.
        number: u64,
        /// The error of the operating system.
        source: FileError,
    },
    /// A sync failed, so the content of the medium is unknown. The database accepts no more blocks.
    #[error("{source}; the database takes no more blocks, open it again")]
    Sync {
        /// The error of the operating system.
        source: FileError,
    },
    /// An earlier sync failed.
    #[error("an earlier write was not made durable; open the database again")]
    Stopped,
    /// The block's number is not the one after the newest block.
    #[error("block {number} cannot follow block {latest}")]
    OutOfOrder {
        /// The given number.
        number: u64,
        /// The newest block.
        latest: u64,
    },
    /// Another block was committed since this one was prepared.
    #[error(
        "block {number} was prepared on a state that is no longer the newest; prepare it again"
    )]
    Stale {
        /// The block.
        number: u64,
    },
    /// The block's changes contain a key twice.
    #[error("the changes name {key} twice")]
    Duplicate {
        /// The key.
        key: DuplicateKey,
    },
    /// The payload exceeds [`Options::payload_bytes_max`](crate::Options::payload_bytes_max).
    #[error(
        "the payload has {bytes} bytes, at most {bytes_max} are allowed (option payload_bytes_max)"
    )]
    PayloadTooLarge {
        /// The size in bytes.
        bytes: u64,
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// Code exceeds the limit of the format.
    #[error("code {hash} has {bytes} bytes, at most {bytes_max} can be stored")]
    CodeTooLarge {
        /// The code's hash.
        hash: B256,
        /// The size in bytes.
        bytes: u64,
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// The log's address space is exhausted.
    #[error(
        "the log's address space is used up; restore a snapshot with `rewrite` into a new folder"
    )]
    AddressSpace,
    /// The database is open read-only.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The state before the block could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file operation failed; the block was not committed and can be committed again.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A key that occurs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DuplicateKey {
    /// An account.
    #[error("account {0}")]
    Account(Address),
    /// A storage slot.
    #[error("slot {1} of account {0}")]
    Slot(Address, U256),
}

/// Why a checkpoint was not written, and segments were not freed. Nothing is lost: reopening takes
/// longer, and the next attempt may succeed.
#[derive(Clone, Debug, Error)]
pub enum CheckpointError {
    /// The database is open read-only.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The state trie cannot be written.
    #[error(transparent)]
    Trie(#[from] ReadError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}
