//! Our accounts database.

use super::{Committed, Key, RootStore, Settings};
use crate::store::StoreError;
use alloy_primitives::{B256, U256};
use lockweave_accounts_db::{Db, Options, Reader};
use lockweave_runtime::StateDelta;
use std::{path::Path, time::Instant};

/// Our accounts database, with its default options but for the threads.
pub(super) struct Lockweave {
    db: Db,
}

impl Lockweave {
    /// Creates it.
    pub(super) fn open(folder: &Path, settings: Settings) -> Result<Self, StoreError> {
        let defaults = Options::default();
        let options = Options {
            threads: settings.threads.get(),
            trie_memory_bytes: (settings.trie_memory_bytes).unwrap_or(defaults.trie_memory_bytes),
            ..defaults
        };
        let db = Db::open(folder, options)?;
        Ok(Self { db })
    }
}

impl RootStore for Lockweave {
    fn commit(&mut self, number: u64, delta: &StateDelta) -> Result<Committed, StoreError> {
        let started = Instant::now();
        let prepared = self.db.prepare(number, delta)?;
        let root = prepared.state_root();
        let root_time = started.elapsed();
        let hash = B256::from(U256::from(number + 1));
        self.db.commit_prepared(prepared, hash, &[])?;
        Ok(Committed {
            root,
            root_time,
            commit_time: started.elapsed(),
        })
    }

    fn prove(&self, key: &Key) -> Result<bool, StoreError> {
        prove(&self.db.reader_latest()?, key)
    }

    fn prove_old(&self, back: u64, key: &Key) -> Result<bool, StoreError> {
        let newest = self.db.reader_latest()?.number();
        prove(&self.db.reader_at(newest.saturating_sub(back))?, key)
    }
}

fn prove(reader: &Reader, key: &Key) -> Result<bool, StoreError> {
    let (address, slots) = match *key {
        Key::Account(address) => (address, Vec::new()),
        Key::Slot(address, slot) => (address, vec![slot]),
    };
    Ok(!reader.proof(address, &slots)?.proof.is_empty())
}
