//! LMDB through heed.
#![allow(unsafe_code)]

use crate::{
    store::{Read, Store, StoreError},
    workload::{Entry, Key, Value},
};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls, types::Bytes};
use std::path::Path;

/// Address space for the map; more than any run needs.
const MAP_BYTES: usize = 64 << 30;

/// LMDB.
pub struct Lmdb {
    env: Env<WithoutTls>,
    slots: Database<Bytes, Bytes>,
}

impl Lmdb {
    /// Opens or creates it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES);
        // SAFETY: read-ahead changes no result. The folder belongs to this process, so no other process changes
        // the mapped file.
        let env = unsafe {
            options.flags(EnvFlags::NO_READ_AHEAD);
            options.open(folder)?
        };
        let mut transaction = env.write_txn()?;
        let slots = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, slots })
    }
}

impl Store for Lmdb {
    fn commit(&self, _number: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in entries {
            self.slots.put(&mut transaction, key, value)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Read + '_>, StoreError> {
        Ok(Box::new(LmdbReader {
            transaction: self.env.read_txn()?,
            slots: self.slots,
        }))
    }
}

struct LmdbReader<'a> {
    transaction: RoTxn<'a, WithoutTls>,
    slots: Database<Bytes, Bytes>,
}

impl Read for LmdbReader<'_> {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, StoreError> {
        let value = self.slots.get(&self.transaction, key)?;
        Ok(value.map(Value::try_from).transpose()?)
    }
}
