//! Our accounts database: storage slots as a block changes them.

use crate::{
    store::{Read, Store, StoreError},
    workload::{Entry, Key, Value, split},
};
use alloy_primitives::{Address, U256};
use lockweave_accounts_db::{Db, Options, Reader};
use lockweave_runtime::StateDelta;
use std::path::Path;

/// Our accounts database, with its default options.
pub struct Lockweave {
    db: Db,
}

impl Lockweave {
    /// Opens or creates it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = Db::open(folder, Options::default())?;
        Ok(Self { db })
    }

    /// The database itself.
    pub const fn db(&self) -> &Db {
        &self.db
    }
}

/// A block's entries as the engine hands them over.
pub fn delta(entries: &[Entry]) -> StateDelta {
    let slots = entries.iter().map(|(key, value)| {
        let (address, slot) = split(key);
        (address, slot, U256::from_be_bytes(*value))
    });
    StateDelta {
        slots: slots.collect(),
        ..StateDelta::default()
    }
}

impl Store for Lockweave {
    fn commit(&self, number: u64, entries: &[Entry]) -> Result<(), StoreError> {
        self.db.commit(number, &delta(entries), &[])?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(LockweaveReader(self.db.reader_latest()?)))
    }

    fn index_bytes(&self) -> Option<u64> {
        Some(self.db.stats().index_bytes)
    }
}

struct LockweaveReader(Reader);

impl Read for LockweaveReader {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError> {
        let (address, slot) = split(key);
        let value = self.0.slot(address, slot)?;
        Ok(stored(value))
    }

    fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Value>>, StoreError> {
        let slots: Vec<(Address, U256)> = keys.iter().map(split).collect();
        let values = self.0.read_slots(&slots)?;
        Ok(values.into_iter().map(stored).collect())
    }
}

fn stored(value: U256) -> Option<Value> {
    (!value.is_zero()).then(|| value.to_be_bytes())
}
