//! What can go wrong, one enum an operation.

use alloy_primitives::{Address, B256, U256};
use std::{fmt, io, sync::Arc};
use thiserror::Error;

/// A place in a file where the bytes are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's path.
    pub file: String,
    /// Offset of the damaged unit (header, entry, chunk) in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

/// A file operation that failed.
#[derive(Clone, Debug, Error)]
#[error("cannot {action} {file}: {source}")]
pub struct FileError {
    /// What was tried: "read", "create", …
    pub action: &'static str,
    /// The file's path.
    pub file: String,
    /// What the operating system said.
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

    /// Whether the medium has no room left.
    pub fn is_out_of_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Why a folder cannot be opened as a database.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error(
        "{folder} is in use by another process; stop it, or open a snapshot (a folder is opened \
         either once for writing or by any number of readers)"
    )]
    Locked {
        /// The folder.
        folder: String,
    },
    /// There is no database here, and creating one was not asked for.
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
        /// The version it has.
        found: u32,
        /// The newest version this release knows.
        supported: u32,
    },
    /// Bytes that were durable are not what they were.
    #[error("{0}; restore a snapshot (nothing was changed)")]
    Damaged(Damage),
    /// A file that must be there is not.
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
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why something could not be read.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The bytes are damaged.
    #[error("{0}; restore a snapshot")]
    Damaged(Damage),
    /// The block is not within the retained history.
    #[error("block {number} is not readable: blocks {oldest} to {latest} are")]
    NotRetained {
        /// The block asked for.
        number: u64,
        /// The oldest readable block.
        oldest: u64,
        /// The newest.
        latest: u64,
    },
    /// Nothing was committed yet.
    #[error("the database has no block yet")]
    Empty,
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a block was refused. The state before it stays readable.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// The medium is full. Nothing was lost; the block can be committed again once there is room.
    #[error("no space for block {number}: {source}; make room and commit it again")]
    NoSpace {
        /// The block.
        number: u64,
        /// What the operating system said.
        source: FileError,
    },
    /// A write was not made durable, so what the medium holds is unknown. Nothing more is accepted.
    #[error("{source}; the database takes no more blocks, open it again")]
    Sync {
        /// What the operating system said.
        source: FileError,
    },
    /// An earlier write was not made durable.
    #[error("an earlier write was not made durable; open the database again")]
    Stopped,
    /// The block's number is not the one after the newest block.
    #[error("block {number} cannot follow block {latest}")]
    OutOfOrder {
        /// The number that was given.
        number: u64,
        /// The newest block.
        latest: u64,
    },
    /// Another block was committed after this one was prepared.
    #[error(
        "block {number} was prepared on a state that is no longer the newest; prepare it again"
    )]
    Stale {
        /// The block.
        number: u64,
    },
    /// A key stands twice in the block's changes.
    #[error("the changes name {key} twice")]
    Duplicate {
        /// The key.
        key: DuplicateKey,
    },
    /// The payload is larger than allowed.
    #[error(
        "the payload has {bytes} bytes, at most {bytes_max} are allowed (option payload_bytes_max)"
    )]
    PayloadTooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// Code is larger than the format can hold.
    #[error("code {hash} has {bytes} bytes, at most {bytes_max} can be stored")]
    CodeTooLarge {
        /// The code's hash.
        hash: B256,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// All locations were used up.
    #[error(
        "the log's address space is used up; restore a snapshot with `rewrite` into a new folder"
    )]
    AddressSpace,
    /// The database was opened for reading only.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The state before the block could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be used; the block was not committed and can be tried again.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A key that stands twice where it may stand once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateKey {
    /// An account.
    Account(Address),
    /// A storage slot.
    Slot(Address, U256),
}

impl fmt::Display for DuplicateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(address) => write!(f, "account {address}"),
            Self::Slot(address, slot) => write!(f, "slot {slot} of account {address}"),
        }
    }
}

/// Why a checkpoint, and the freeing of segments that depends on it, did not happen. Nothing is lost:
/// reopening takes longer, and the next attempt may succeed.
#[derive(Clone, Debug, Error)]
pub enum CheckpointError {
    /// The database was opened for reading only.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}
