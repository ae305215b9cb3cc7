//! What a store must do to be measured.

use crate::workload::{Entry, Key, Value};
use std::{error::Error, path::Path};

/// Whatever a store fails with.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// A store under measurement.
pub trait Store: Send + Sync {
    /// Makes a block's entries durable, all or none.
    fn commit(&self, number: u64, entries: &[Entry]) -> Result<(), StoreError>;

    /// Reads the newest durable state; one for each thread.
    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError>;

    /// Bytes of memory of an index that is all in memory, if the store has one.
    fn index_bytes(&self) -> Option<u64> {
        None
    }
}

/// Point reads.
pub trait Read {
    /// The value of a key.
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError>;

    /// The values of keys that are known beforehand, as a block's declared ones are, in their order. A
    /// store that has no way of its own reads one after another.
    fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Value>>, StoreError> {
        keys.iter().map(|key| self.get(key)).collect()
    }
}

/// The stores that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// Our accounts database, with state commitment, history and compaction.
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
            Self::Lockweave => Box::new(crate::stores::lockweave::Lockweave::open(folder)?),
            Self::Redb => Box::new(crate::stores::redb::Redb::open(folder)?),
            Self::Fjall => Box::new(crate::stores::fjall::Fjall::open(folder)?),
            Self::Lmdb => Box::new(crate::stores::lmdb::Lmdb::open(folder)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Box::new(crate::stores::rocksdb::Rocksdb::open(folder)?),
        })
    }
}
