//! Firewood, with Ethereum's hashing.
//!
//! A commit returns while a thread of Firewood still writes the block, and Firewood never calls fsync. So a block counts
//! as durable when the file's header has its root and we have called fdatasync. (Firewood writes nodes and header
//! without an order between them, so a loss of power during that time may still leave less than it should.) It has
//! 16 threads of its own for a block, whatever number is asked for.

use super::{
    Committed, Key, RootStore, Settings,
    encoding::{account_value, in_parallel, slot_hash, slot_value},
};
use crate::store::StoreError;
use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256, keccak256};
use firewood::{
    api::{Db as _, DbView as _, Proposal as _},
    db::{BatchOp, Db, DbConfig},
    manager::{CacheReadStrategy, RevisionManagerConfig},
};
use firewood_storage::NodeHashAlgorithm;
use lockweave_runtime::StateDelta;
use std::{
    fs::File,
    num::NonZeroUsize,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Bytes at the start of the file that have the header.
const HEADER_BYTES: usize = 2048;
/// Time between two looks at the header.
const LOOK: Duration = Duration::from_micros(20);
/// Longest time to wait for the header.
const LOOK_MAX: Duration = Duration::from_mins(10);

type Change = BatchOp<Vec<u8>, Vec<u8>>;

/// Firewood, with its default of 128 revisions.
pub(super) struct Firewood {
    db: Db,
    /// The file it writes.
    file: File,
    threads: NonZeroUsize,
}

impl Firewood {
    /// Creates it.
    pub(super) fn open(folder: &Path, settings: Settings) -> Result<Self, StoreError> {
        let cache = NonZeroUsize::new(usize::try_from(settings.cache_bytes)?);
        let manager = RevisionManagerConfig::builder()
            .node_cache_memory_limit(cache.ok_or("Firewood needs a cache")?)
            .cache_read_strategy(CacheReadStrategy::All)
            .build();
        let config = DbConfig::builder()
            .node_hash_algorithm(NodeHashAlgorithm::Ethereum)
            .manager(manager)
            .build();
        let db = Db::new(folder, config)?;
        let file = File::open(folder.join("firewood.db"))?;
        Ok(Self {
            db,
            file,
            threads: settings.threads,
        })
    }

    /// Waits until the file's header has a root.
    fn wait_for(&self, root: B256) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut header = [0; HEADER_BYTES];
        loop {
            let read = self.file.read_at(&mut header, 0)?;
            if header[..read]
                .windows(32)
                .any(|bytes| bytes == root.as_slice())
            {
                return Ok(());
            }
            if started.elapsed() > LOOK_MAX {
                return Err(format!("Firewood does not write root {root}").into());
            }
            thread::sleep(LOOK);
        }
    }
}

fn slot_key(account: B256, slot: B256) -> Vec<u8> {
    [account, slot].concat()
}

/// A block's changes. Firewood puts the storage roots into the accounts itself, when it hashes them.
fn changes(threads: NonZeroUsize, delta: &StateDelta) -> Vec<Change> {
    let mut changes = in_parallel(threads, &delta.accounts, |accounts| {
        let change = |(address, account): &(Address, Option<_>)| {
            let key = keccak256(address).to_vec();
            match account {
                Some(account) => BatchOp::Put {
                    key,
                    value: account_value(account),
                },
                None => BatchOp::DeleteRange { prefix: key },
            }
        };
        accounts.iter().map(change).collect()
    });
    changes.extend(in_parallel(threads, &delta.slots, |slots| {
        let mut accounts = AHashMap::new();
        let change = |(address, slot, value): &(Address, _, U256)| {
            let account = accounts
                .entry(*address)
                .or_insert_with(|| keccak256(address));
            let key = slot_key(*account, slot_hash(*slot));
            if value.is_zero() {
                BatchOp::Delete { key }
            } else {
                BatchOp::Put {
                    key,
                    value: slot_value(*value),
                }
            }
        };
        slots.iter().map(change).collect()
    }));
    changes
}

impl RootStore for Firewood {
    fn commit(&mut self, _: u64, delta: &StateDelta) -> Result<Committed, StoreError> {
        if !delta.cleared.is_empty() {
            return Err("this work clears no storage".into());
        }
        let started = Instant::now();
        let proposal = self.db.propose(changes(self.threads, delta))?;
        let root = proposal.root_hash().ok_or("Firewood has no root")?;
        let root = B256::from_slice(root.as_ref());
        let root_time = started.elapsed();
        proposal.commit()?;
        self.wait_for(root)?;
        self.file.sync_data()?;
        Ok(Committed {
            root,
            root_time,
            commit_time: started.elapsed(),
        })
    }

    fn prove(&self, key: &Key) -> Result<bool, StoreError> {
        let key = match *key {
            Key::Account(address) => keccak256(address).to_vec(),
            Key::Slot(address, slot) => slot_key(keccak256(address), slot_hash(slot)),
        };
        let root = self.db.root_hash().ok_or("Firewood has no root")?;
        let proof = self.db.view(root)?.single_key_proof(&key)?;
        if proof.is_empty() {
            return Err("Firewood's proof is empty".into());
        }
        Ok(true)
    }
}
