//! Entries on their way into a record, and the memory they are made in.

use super::{
    change::{ChainChange, Change},
    entry::{self},
    location::Location,
};
use parking_lot::Mutex;

/// Entries to be written and what they do.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The entries; in a block, behind room for the record's header.
    pub(crate) bytes: Vec<u8>,
    pub(crate) entry_count: u64,
    /// With offsets in `bytes`.
    pub(crate) changes: Vec<Change>,
    pub(crate) chain_changes: Vec<ChainChange>,
}

impl Batch {
    /// Length of the bytes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Notes that the entry about to be written is the same key's, with the same value, as the one at
    /// `previous`.
    pub(crate) fn push_moved(&mut self, hash: u64, previous: Location, weight: u64, forgets: bool) {
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        self.changes.push(Change {
            hash,
            previous,
            offset: self.len(),
            live: weight,
            dead: weight,
            forgets,
        });
        self.entry_count += 1;
    }

    /// Adds another's entries behind these.
    pub(crate) fn append(&mut self, other: &Self) {
        let base = self.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entry_count += other.entry_count;
        let changes = other.changes.iter();
        self.changes
            .extend(changes.map(|change| change.behind(base)));
        let changes = other.chain_changes.iter();
        self.chain_changes
            .extend(changes.map(|change| change.moved(base, 0)));
    }

    /// Adds another's entries behind these, without those that replace what is at a place in `gone`,
    /// which is sorted.
    pub(crate) fn append_without(&mut self, other: &Self, gone: &[Location]) {
        let is_gone = |change: &Change| gone.binary_search(&change.previous).is_ok();
        // Where an entry is left out, and how many bytes are so far.
        let mut cuts: Vec<(u64, u64)> = Vec::new();
        let base = self.len();
        let (mut kept_from, mut cut) = (0, 0);
        for change in &other.changes {
            if !is_gone(change) {
                let mut change = *change;
                change.offset = change.offset - cut + base;
                self.changes.push(change);
                continue;
            }
            let start = usize::try_from(change.offset).expect("an offset in memory");
            let bytes = entry::length(&other.bytes[start..]).expect("an entry just written");
            self.bytes.extend_from_slice(&other.bytes[kept_from..start]);
            kept_from = start + usize::try_from(bytes).expect("an entry in memory");
            cut += bytes;
            cuts.push((change.offset, cut));
        }
        self.bytes.extend_from_slice(&other.bytes[kept_from..]);
        self.entry_count += other.entry_count - cuts.len() as u64;
        for change in &other.chain_changes {
            let before = cuts.partition_point(|(start, _)| *start < change.offset());
            let cut = before.checked_sub(1).map_or(0, |last| cuts[last].1);
            self.chain_changes.push(change.moved(base, cut));
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entry_count = 0;
        self.changes.clear();
        self.chain_changes.clear();
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Largest batch that is kept.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// A batch of more bytes than this is a whole record's.
const PART_BYTES_MAX: usize = 256 << 10;
/// Batches for whole records that are kept: one under way, one being written, one to come.
const RECORDS_MAX: usize = 3;
/// Parts that are kept.
const PARTS_MAX: usize = 512;

/// Memory of earlier batches. Memory that the allocator gives back to the operating system and takes
/// again costs a page fault for every 4 KiB, which is more than what is done in it.
#[derive(Debug, Default)]
pub(crate) struct SpareBatches {
    records: Mutex<Vec<Batch>>,
    parts: Mutex<Vec<Batch>>,
}

impl SpareBatches {
    /// An empty batch for a whole record.
    pub(crate) fn record(&self) -> Batch {
        self.records.lock().pop().unwrap_or_default()
    }

    /// An empty batch for a part of one.
    pub(crate) fn part(&self) -> Batch {
        self.parts.lock().pop().unwrap_or_default()
    }

    /// Takes a batch back that is no longer needed.
    pub(crate) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        if batch.capacity() <= PART_BYTES_MAX {
            let mut parts = self.parts.lock();
            if parts.len() < PARTS_MAX {
                parts.push(batch);
            }
        } else if batch.capacity() <= KEPT_BYTES_MAX {
            let mut records = self.records.lock();
            if records.len() < RECORDS_MAX {
                records.push(batch);
            }
        }
    }
}
