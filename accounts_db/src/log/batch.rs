//! Encoded entries before they are written, and reuse of their memory.

use super::{
    change::{ChainChange, Change},
    entry,
    location::Location,
};
use parking_lot::Mutex;

/// Encoded entries, and the changes they cause.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The entries; in a block's batch, after space for the record's head.
    pub(crate) bytes: Vec<u8>,
    pub(crate) entry_count: u64,
    /// Changes, with offsets in `bytes`.
    pub(crate) changes: Vec<Change>,
    pub(crate) chain_changes: Vec<ChainChange>,
}

impl Batch {
    /// Length of the bytes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Notes what the next entry changes in the index: bytes that become live with it, and bytes
    /// of the previous version that become dead.
    pub(crate) fn push(
        &mut self,
        hash: u64,
        previous: Location,
        [live, dead]: [u64; 2],
        forgets: bool,
    ) {
        let weight = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.changes.push(Change {
            hash,
            previous,
            offset: self.len(),
            live: weight(live),
            dead: weight(dead),
            forgets,
        });
        self.entry_count += 1;
    }

    /// Appends a block's payload.
    pub(crate) fn push_payload(&mut self, number: u64, previous: Location, payload: &[u8]) {
        self.chain_changes.push(ChainChange::Payload {
            number,
            previous,
            offset: self.len(),
            bytes: entry::blob_entry_bytes(payload.len() as u64),
        });
        self.entry_count += 1;
        entry::write_payload(&mut self.bytes, previous, number, payload);
    }

    /// Appends the entries of another batch.
    pub(crate) fn append(&mut self, other: &Self) {
        self.append_without(other, &[]);
    }

    /// Appends the entries of another batch, without those whose previous location is in `gone`,
    /// which is sorted.
    pub(crate) fn append_without(&mut self, other: &Self, gone: &[Location]) {
        let is_gone = |change: &Change| gone.binary_search(&change.previous).is_ok();
        // Offset of each omitted entry, and the bytes omitted so far.
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

/// Largest batch that is reused.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Larger batches belong to whole records.
const PART_BYTES_MAX: usize = 256 << 10;
/// Batches kept for whole records: one being prepared, one being written, one spare.
const RECORDS_MAX: usize = 3;
/// Batches kept for parts of records.
const PARTS_MAX: usize = 512;

/// Memory of earlier batches. Memory that the allocator returns to the operating system costs a
/// page fault for every 4 KiB when it is taken again, more than filling it does.
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

    /// An empty batch for a part of a record.
    pub(crate) fn part(&self) -> Batch {
        self.parts.lock().pop().unwrap_or_default()
    }

    /// Takes back a batch that is no longer needed.
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
