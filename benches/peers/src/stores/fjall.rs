//! fjall.

use crate::{
    store::{CACHE_BYTES, Read, Store, StoreError},
    workload::{Entry, Key, Value},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

/// fjall.
pub struct Fjall {
    db: Database,
    slots: Keyspace,
}

impl Fjall {
    /// Opens or creates it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(folder).cache_size(CACHE_BYTES).open()?;
        let slots = db.keyspace("slots", KeyspaceCreateOptions::default)?;
        Ok(Self { db, slots })
    }
}

impl Store for Fjall {
    fn commit(&self, _number: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in entries {
            batch.insert(&self.slots, &key[..], &value[..]);
        }
        batch.commit()?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(FjallReader(&self.slots)))
    }
}

struct FjallReader<'a>(&'a Keyspace);

impl Read for FjallReader<'_> {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError> {
        let Some(value) = self.0.get(key)? else {
            return Ok(None);
        };
        Ok(Some(Value::try_from(&value[..])?))
    }
}
