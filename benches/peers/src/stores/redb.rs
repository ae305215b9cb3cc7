//! redb.

use crate::{
    store::{CACHE_BYTES, Read, Store, StoreError},
    workload::{Entry, Key, Value},
};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<'_, &[u8; 52], &[u8; 32]> = TableDefinition::new("slots");

/// redb.
pub struct Redb {
    db: Database,
}

impl Redb {
    /// Opens or creates it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = Database::builder()
            .set_cache_size(usize::try_from(CACHE_BYTES)?)
            .create(folder.join("redb"))?;
        Ok(Self { db })
    }
}

impl Store for Redb {
    fn commit(&self, _number: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key, value)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        Ok(Box::new(RedbReader(table)))
    }
}

struct RedbReader(ReadOnlyTable<&'static [u8; 52], &'static [u8; 32]>);

impl Read for RedbReader {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError> {
        Ok(self.0.get(key)?.map(|value| *value.value()))
    }
}
