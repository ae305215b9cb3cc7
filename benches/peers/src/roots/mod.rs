//! Stores with a root hash over the whole state, on the same changes: ours, Firewood and NOMT.

mod encoding;
mod firewood;
mod lockweave;
mod nomt;
#[cfg(test)]
mod tests;
pub mod work;

use crate::store::StoreError;
use alloy_primitives::B256;
use lockweave_runtime::StateDelta;
use std::{fs, num::NonZeroUsize, path::Path, time::Duration};
use work::Key;

/// A block's root, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// The root after the block.
    pub root: B256,
    /// From the changes to the root.
    pub root_time: Duration,
    /// From the changes until they are durable.
    pub commit_time: Duration,
}

/// A store with a root over all entries.
pub trait RootStore {
    /// Computes the root after a block's changes, then makes them durable.
    fn commit(&mut self, number: u64, delta: &StateDelta) -> Result<Committed, StoreError>;

    /// Makes a proof of a key that is present, together with its value. False if the store has no proofs.
    fn prove(&self, key: &Key) -> Result<bool, StoreError>;

    /// The same as of some blocks before the newest. False if the store has no proofs of old blocks.
    fn prove_old(&self, _back: u64, _key: &Key) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads for the work of a block.
    pub threads: NonZeroUsize,
    /// Entries at the end, for a store that must know.
    pub entries: u64,
    /// Memory of our state trie in bytes, if not the default.
    pub trie_memory_bytes: Option<usize>,
    /// Bytes of cache, for a store that has a cache of its own.
    pub cache_bytes: u64,
}

/// Most bytes of cache.
const CACHE_BYTES_MAX: u64 = 6_000_000_000;

/// Bytes of cache for this machine: a third of its memory, and 6 GB at most.
pub fn cache_bytes() -> Result<u64, StoreError> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.ok_or("/proc/meminfo has no total")?.parse()?;
    Ok((kib * 1024 / 3).min(CACHE_BYTES_MAX))
}

/// The stores that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RootStoreKind {
    /// Our accounts database.
    Lockweave,
    /// Firewood with Ethereum's root.
    Firewood,
    /// NOMT with Blake3: a binary trie, so another root.
    Nomt,
}

impl RootStoreKind {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Lockweave, Self::Firewood, Self::Nomt];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lockweave => "lockweave",
            Self::Firewood => "firewood",
            Self::Nomt => "nomt",
        }
    }

    /// Creates the store in a folder.
    pub fn open(self, folder: &Path, settings: Settings) -> Result<Box<dyn RootStore>, StoreError> {
        fs::create_dir_all(folder)?;
        Ok(match self {
            Self::Lockweave => Box::new(lockweave::Lockweave::open(folder, settings)?),
            Self::Firewood => Box::new(firewood::Firewood::open(folder, settings)?),
            Self::Nomt => Box::new(nomt::NomtStore::open(folder, settings)?),
        })
    }
}
