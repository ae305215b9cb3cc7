//! The work: storage slots of many contracts, loaded, then updated and added to block by block.
//!
//! Keys and values are computed from entry numbers, so that a second process knows what the first one wrote.

use alloy_primitives::{Address, U256};

/// Address and slot.
pub type Key = [u8; 52];
/// A slot's value.
pub type Value = [u8; 32];
/// A key with its value.
pub type Entry = (Key, Value);

/// Entries in a block while loading.
pub const LOAD_BLOCK: u64 = 100_000;
/// Entries a block updates.
pub const UPDATES: u64 = 20_000;
/// Entries a block adds.
pub const INSERTS: u64 = 5_000;
/// Entries for each contract.
const ENTRIES_PER_CONTRACT: u64 = 1_000;

/// `SplitMix64`'s output function.
pub const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The address and the slot of a key.
pub fn split(key: &Key) -> (Address, U256) {
    (
        Address::from_slice(&key[..20]),
        U256::from_be_slice(&key[20..]),
    )
}

/// The writes so far: a count for each entry.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Entries loaded at first.
    loaded: u64,
    versions: Vec<u16>,
    random: u64,
}

impl Workload {
    /// Nothing written yet; `entries` will be loaded.
    pub const fn new(entries: u64) -> Self {
        Self {
            loaded: entries,
            versions: Vec::new(),
            random: 1,
        }
    }

    /// Entries written so far.
    pub const fn entries(&self) -> u64 {
        self.versions.len() as u64
    }

    /// The key of an entry.
    pub fn key(&self, entry: u64) -> Key {
        let contracts = (self.loaded / ENTRIES_PER_CONTRACT).max(16);
        let contract = mix(entry ^ 0x55) % contracts;
        let mut key = [0; 52];
        words(&mut key[..20], mix(contract ^ 0xaaaa_0000));
        words(&mut key[20..], mix(entry));
        key
    }

    /// The value an entry has now.
    pub fn value(&self, entry: u64) -> Value {
        let version = self
            .versions
            .get(usize::try_from(entry).unwrap_or(usize::MAX));
        value(entry, version.copied().unwrap_or(0))
    }

    /// The next block of the load; `None` after the last.
    pub fn load_block(&mut self) -> Option<Vec<Entry>> {
        let start = self.entries();
        let end = (start + LOAD_BLOCK).min(self.loaded);
        if start >= end {
            return None;
        }
        Some((start..end).map(|entry| self.write(entry)).collect())
    }

    /// The next block of updates and inserts.
    pub fn block(&mut self) -> Vec<Entry> {
        let existing = self.entries();
        let mut chosen = std::collections::BTreeSet::new();
        while (chosen.len() as u64) < UPDATES.min(existing) {
            self.random = mix(self.random);
            chosen.insert(self.random % existing);
        }
        let added = existing..existing + INSERTS;
        chosen
            .into_iter()
            .chain(added)
            .map(|entry| self.write(entry))
            .collect()
    }

    fn write(&mut self, entry: u64) -> Entry {
        let place = usize::try_from(entry).unwrap_or(usize::MAX);
        if place == self.versions.len() {
            self.versions.push(0);
        } else {
            self.versions[place] += 1;
        }
        (self.key(entry), self.value(entry))
    }
}

fn value(entry: u64, version: u16) -> Value {
    let mut value = [0; 32];
    words(&mut value, mix(entry ^ (u64::from(version) << 48) ^ 0x1234));
    value
}

/// Fills `bytes` with words derived from a seed.
fn words(bytes: &mut [u8], mut seed: u64) {
    for chunk in bytes.chunks_mut(8) {
        let word = seed.to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
        seed = mix(seed);
    }
}
