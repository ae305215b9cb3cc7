//! The interface of a store under measurement.

use crate::workload::{Entry, Key, Value};
use std::error::Error;

/// Bytes of cache for a store that has a cache.
pub const CACHE_BYTES: u64 = 2 << 30;

/// The error of a store.
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

    /// The values of keys that are known beforehand, as a block's declared keys are, in their order. By default
    /// they are read one after another.
    fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Value>>, StoreError> {
        keys.iter().map(|key| self.get(key)).collect()
    }
}
