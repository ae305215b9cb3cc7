//! The stores that can be measured, each with [`CACHE_BYTES`](crate::store::CACHE_BYTES) of cache where it has a
//! cache of its own.

pub mod fjall;
pub mod lmdb;
pub mod lockweave;
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;

use crate::store::{Store, StoreError};
use std::path::Path;

/// The stores that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// Our accounts database, with the state root, history and compaction.
    Lockweave,
    /// redb.
    Redb,
    /// fjall.
    Fjall,
    /// LMDB through heed.
    Lmdb,
    /// RocksDB.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl StoreKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Lockweave,
        Self::Redb,
        Self::Fjall,
        Self::Lmdb,
        #[cfg(feature = "rocksdb")]
        Self::Rocksdb,
    ];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lockweave => "lockweave",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Lmdb => "lmdb",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "rocksdb",
        }
    }

    /// Opens or creates the store in a folder.
    pub fn open(self, folder: &Path) -> Result<Box<dyn Store>, StoreError> {
        std::fs::create_dir_all(folder)?;
        Ok(match self {
            Self::Lockweave => Box::new(lockweave::Lockweave::open(folder)?),
            Self::Redb => Box::new(redb::Redb::open(folder)?),
            Self::Fjall => Box::new(fjall::Fjall::open(folder)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(folder)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Box::new(rocksdb::Rocksdb::open(folder)?),
        })
    }
}
