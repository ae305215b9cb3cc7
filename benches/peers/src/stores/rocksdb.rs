//! `RocksDB`.

use crate::{
    store::{CACHE_BYTES, Read, Store, StoreError},
    workload::{Entry, Key, Value},
};
use rocksdb::{BlockBasedOptions, Cache, DB, Options, WriteBatch, WriteOptions};
use std::path::Path;

/// `RocksDB`.
pub struct Rocksdb {
    db: DB,
}

impl Rocksdb {
    /// Opens or creates it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(usize::try_from(CACHE_BYTES)?));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.increase_parallelism(4);
        options.optimize_level_style_compaction(512 << 20);
        Ok(Self {
            db: DB::open(&options, folder)?,
        })
    }
}

impl Store for Rocksdb {
    fn commit(&self, _number: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options)?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(RocksdbReader(&self.db)))
    }
}

struct RocksdbReader<'a>(&'a DB);

impl Read for RocksdbReader<'_> {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError> {
        let value = self.0.get_pinned(key)?;
        Ok(value.map(|value| Value::try_from(&value[..])).transpose()?)
    }
}
