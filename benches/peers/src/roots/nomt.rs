//! NOMT, with Blake3. Its trie is binary, and slots lie in it beside the accounts.

use super::{
    Committed, Key, RootStore, Settings,
    encoding::{account_value, in_parallel, slot_value},
};
use crate::store::StoreError;
use alloy_primitives::{Address, B256, U256, keccak256};
use lockweave_runtime::StateDelta;
use nomt::{
    IoUringPermission, KeyReadWrite, Nomt, Options, SessionParams, check_iou_permissions,
    hasher::Blake3Hasher,
};
use std::{num::NonZeroUsize, path::Path, time::Instant};

/// Entries for each place in the hash table of pages. A page is kept where at least 20 entries lie below it, so the
/// table is half full at most.
const ENTRIES_PER_BUCKET: u64 = 10;
/// NOMT's default number of places, and the smallest used here.
const BUCKETS_MIN: u64 = 64_000;

/// NOMT, with its default options but for the threads and the sizes.
pub(super) struct NomtStore {
    nomt: Nomt<Blake3Hasher>,
    threads: NonZeroUsize,
}

impl NomtStore {
    /// Creates it. Half of the cache is for pages of the trie, and half for values.
    pub(super) fn open(folder: &Path, settings: Settings) -> Result<Self, StoreError> {
        if !matches!(check_iou_permissions(), IoUringPermission::Allowed) {
            return Err("NOMT needs io_uring, which this system does not allow".into());
        }
        let buckets = (settings.entries / ENTRIES_PER_BUCKET).max(BUCKETS_MIN);
        let cache_mib = usize::try_from(settings.cache_bytes >> 21)?;
        let mut options = Options::new();
        options.path(folder);
        options.commit_concurrency(settings.threads.get());
        options.hashtable_buckets(u32::try_from(buckets)?);
        options.page_cache_size(cache_mib);
        options.leaf_cache_size(cache_mib);
        // The same at each run.
        options.bitbox_seed([7; 16]);
        Ok(Self {
            nomt: Nomt::open(options)?,
            threads: settings.threads,
        })
    }
}

fn account_key(address: Address) -> B256 {
    keccak256(address)
}

fn slot_key(address: Address, slot: U256) -> B256 {
    let mut key = [0; 52];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    keccak256(key)
}

type Change = ([u8; 32], KeyReadWrite);

/// A block's changes in the order of their keys.
fn changes(threads: NonZeroUsize, delta: &StateDelta) -> Vec<Change> {
    let mut changes = in_parallel(threads, &delta.accounts, |accounts| {
        let change = |(address, account): &(Address, Option<_>)| {
            let value = account.as_ref().map(account_value);
            (account_key(*address).0, KeyReadWrite::Write(value))
        };
        accounts.iter().map(change).collect()
    });
    changes.extend(in_parallel(threads, &delta.slots, |slots| {
        let change = |(address, slot, value): &(Address, U256, U256)| {
            let value = (!value.is_zero()).then(|| slot_value(*value));
            (slot_key(*address, *slot).0, KeyReadWrite::Write(value))
        };
        slots.iter().map(change).collect()
    }));
    changes.sort_unstable_by_key(|(key, _)| *key);
    changes
}

impl RootStore for NomtStore {
    fn commit(&mut self, _: u64, delta: &StateDelta) -> Result<Committed, StoreError> {
        if !delta.cleared.is_empty() {
            return Err("this work clears no storage".into());
        }
        let started = Instant::now();
        let session = self.nomt.begin_session(SessionParams::default());
        let finished = session.finish(changes(self.threads, delta))?;
        let root = B256::from(finished.root().into_inner());
        let root_time = started.elapsed();
        finished.commit(&self.nomt)?;
        Ok(Committed {
            root,
            root_time,
            commit_time: started.elapsed(),
        })
    }

    fn prove(&self, key: &Key) -> Result<bool, StoreError> {
        let key = match *key {
            Key::Account(address) => account_key(address),
            Key::Slot(address, slot) => slot_key(address, slot),
        };
        let session = self.nomt.begin_session(SessionParams::default());
        // A path proves only the hash of the value.
        let value = session.read(key.0)?;
        let path = session.prove(key.0)?;
        if value.is_none() || path.terminal.as_leaf_option().is_none() {
            return Err("NOMT does not find a key that it has".into());
        }
        Ok(true)
    }
}
