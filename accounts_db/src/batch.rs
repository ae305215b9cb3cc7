//! Entries on their way into a record, and the memory they are made in.

use crate::{
    core::{ChainChange, Change},
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
    pub(crate) fn note_moved(&mut self, hash: u64, previous: Location, weight: u64, forgets: bool) {
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
            .extend(changes.map(|change| change.behind(base)));
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
/// Parts that are kept.
const PARTS_MAX: usize = 512;

/// Memory of earlier batches. Memory that the allocator gives back to the operating system and takes
/// again costs a page fault for every 4 KiB, which is more than what is done in it.
#[derive(Debug, Default)]
pub(crate) struct SpareBatches {
    record: Mutex<Option<Batch>>,
    parts: Mutex<Vec<Batch>>,
}

impl SpareBatches {
    /// An empty batch for a whole record.
    pub(crate) fn record(&self) -> Batch {
        self.record.lock().take().unwrap_or_default()
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
            *self.record.lock() = Some(batch);
        }
    }
}
