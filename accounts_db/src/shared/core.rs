//! What the parts of the database share, and how a record changes it.

use crate::{
    commitment::lattice::Lattice,
    error::ReadError,
    index::chain::{BlockSummary, Chain, PayloadPlace},
    index::checkpoint::CheckpointState,
    index::table::Index,
    log::batch::SpareBatches,
    log::change::{ChainChange, Change},
    log::entry,
    log::entry::{Body, Entry, FIXED_BYTES_MAX, Value},
    log::frame::Checksum,
    log::key::{Key, KeyHasher},
    log::location::Location,
    log::record::{RecordHeader, RecordKind},
    log::segment::{Segment, SegmentTable},
    log::segment_allocator::Room,
    maintenance::background_gathering::Ahead,
    options::Options,
    storage::Storage,
    workers::Workers,
};
use alloy_primitives::B256;
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The database's insides. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) database: [u8; 16],
    pub(crate) hash_key: [u8; 16],
    pub(crate) hasher: KeyHasher,
    pub(crate) workers: Workers,
    /// One checkpoint at a time.
    pub(crate) checkpointing: Mutex<()>,
    /// The end of the log; whoever has it may append.
    pub(crate) writer: Mutex<Writer>,
    /// Held for reading by whoever needs the index to stand at a record's end.
    pub(crate) publishing: RwLock<()>,
    pub(crate) checkpoint: Mutex<CheckpointState>,
    /// Wakes the checkpoint's thread.
    pub(crate) checkpoint_wanted: Condvar,
    pub(crate) chain: RwLock<Chain>,
    /// Sequence numbers of the blocks that readers hold, and how many do.
    pub(crate) pins: Mutex<BTreeMap<u64, usize>>,
    pub(crate) table: RwLock<Arc<SegmentTable>>,
    pub(crate) index: Index,
    /// Byte position up to which the index has the log's records. Written while `publishing` is held.
    pub(crate) applied: AtomicU64,
    /// Where segments come from.
    pub(crate) room: Room,
    /// What the next block takes along.
    pub(crate) ahead: Ahead,
    /// Blocks prepared so far.
    pub(crate) preparations: AtomicU64,
    /// Memory of earlier commits.
    pub(crate) spare: SpareBatches,
    /// A write was not made durable: nothing more is written.
    pub(crate) stopped: AtomicBool,
    /// Names of files that opening found and that no database needs. No file will be made under the name
    /// of one that is a segment's.
    pub(crate) strays: Mutex<Vec<String>>,
}

/// The end of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    /// Byte position where the next record goes, if it fits into the segment.
    pub(crate) position: u64,
    /// Sequence number of the next record.
    pub(crate) sequence: u64,
    /// Checksum of the last record's header.
    pub(crate) previous: Checksum,
    pub(crate) lattice: Lattice,
    /// A refused record may stand at `position`; it must be gone before another is written elsewhere.
    pub(crate) has_refused: bool,
    /// Number of the preparation that was committed last; 0 if none was since the database was opened.
    pub(crate) preparation: u64,
    /// Where compaction goes on.
    pub(crate) compaction: Option<crate::maintenance::compaction::Cursor>,
    /// Number of the segment that was last begun ahead of its time.
    pub(crate) begun_ahead: Option<u64>,
    /// The segment of which pages were asked for ahead of writes, and the offset up to which they were.
    pub(crate) filled: Option<(u64, u64)>,
    /// Writes at the log's end so far, by this value's count.
    pub(crate) tickets: u64,
}

impl Writer {
    /// Numbers a write at the log's end.
    pub(crate) const fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

/// Fewer changes than this are not worth other threads.
const PARALLEL_MIN: usize = 2048;
const PARALLEL_CHUNK: usize = 512;

impl Core {
    /// The table as it is now.
    pub(crate) fn segments(&self) -> Arc<SegmentTable> {
        Arc::clone(&self.table.read())
    }

    /// Calls `read` with the segment and the offset of a location. A segment that was begun after
    /// `table` was taken is found too; `None` if compaction has freed it.
    pub(crate) fn with_segment<R>(
        &self,
        table: &SegmentTable,
        location: Location,
        read: impl FnOnce(&Segment, u64) -> R,
    ) -> Option<R> {
        if let Some((segment, offset)) = table.at(location) {
            return Some(read(segment, offset));
        }
        let table = self.segments();
        let (segment, offset) = table.at(location)?;
        Some(read(segment, offset))
    }

    /// Reads an entry without a blob, or the head of one with.
    pub(crate) fn entry_at(
        &self,
        table: &SegmentTable,
        location: Location,
    ) -> Result<Option<Entry>, ReadError> {
        let read = |segment: &Segment, offset| {
            let mut buffer = [0; FIXED_BYTES_MAX];
            let bytes = segment.read_fixed(&mut buffer, offset)?;
            entry::parse_fixed(bytes).map_err(|what| segment.damage(offset, what))
        };
        self.with_segment(table, location, read).transpose()
    }

    /// The newest version of a key and where it is.
    pub(crate) fn find(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Entry)>, ReadError> {
        let Some(first) = self.index.first_candidate(hash) else {
            return Ok(None);
        };
        if let Some(entry) = self.entry_at(table, first)?
            && is_of(&entry, key)
        {
            return Ok(Some((first, entry)));
        }
        // Another key with the same fingerprint, or a segment freed meanwhile.
        self.find_slowly(table, hash, key)
    }

    #[cold]
    fn find_slowly(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Entry)>, ReadError> {
        loop {
            let mut freed = false;
            for location in self.index.candidates(hash) {
                match self.entry_at(table, location)? {
                    Some(entry) if is_of(&entry, key) => return Ok(Some((location, entry))),
                    Some(_) => {}
                    // What was alive in it is somewhere else by now, and the index says where.
                    None if !self.index.contains(hash, location) => freed = true,
                    None => return Err(self.lost(location)),
                }
            }
            if !freed {
                return Ok(None);
            }
        }
    }

    /// The value of a key as of `horizon`, given its newest version; `None` if it was not written yet.
    #[inline]
    pub(crate) fn version_at(
        &self,
        table: &SegmentTable,
        horizon: Location,
        location: Location,
        entry: &Entry,
    ) -> Result<Option<Value>, ReadError> {
        let Body::Value { value, .. } = entry.body else {
            return Err(self.lost(location));
        };
        if location < horizon {
            return Ok(Some(value));
        }
        self.older_version(table, horizon, entry)
    }

    #[cold]
    fn older_version(
        &self,
        table: &SegmentTable,
        horizon: Location,
        newest: &Entry,
    ) -> Result<Option<Value>, ReadError> {
        let mut entry = *newest;
        loop {
            let Body::Value { key, value, before } = entry.body else {
                return Err(self.lost(entry.previous));
            };
            let previous = entry.previous;
            if previous.is_none() {
                return Ok(None);
            }
            if previous < horizon {
                // A moved entry has its previous version's value.
                return Ok(Some(before.unwrap_or(value)));
            }
            // Written behind the horizon, so its segment is kept for whoever reads there.
            entry = (self.entry_at(table, previous)?).ok_or_else(|| self.lost(previous))?;
            if !is_of(&entry, &key) || entry.previous >= previous {
                return Err(self.damage_at(previous, "a previous version is of another key"));
            }
        }
    }

    /// Damage at a place of the log.
    pub(crate) fn damage_at(&self, location: Location, what: &str) -> ReadError {
        let damage = |segment: &Segment, offset| segment.damage(offset, what);
        (self.with_segment(&self.segments(), location, damage))
            .unwrap_or_else(|| self.lost(location))
    }

    /// The index names a place that is not there.
    pub(crate) fn lost(&self, location: Location) -> ReadError {
        let table = self.segments();
        let number = location.position() / table.segment_bytes();
        ReadError::Damaged(crate::error::Damage {
            file: self.storage.describe(&crate::log::segment::name(number)),
            offset: location.position() % table.segment_bytes(),
            what: "the index names an entry in a segment that is not there".to_owned(),
        })
    }

    /// Makes a durable record visible: first its bytes, then the index, then the block.
    ///
    /// Gives the first location that the index should have had and did not.
    pub(crate) fn publish(
        &self,
        header: &RecordHeader,
        changes: &[Change],
        chain_changes: &[ChainChange],
        shard_positions: Option<&[u64]>,
    ) -> Result<(), Location> {
        let table = self.segments();
        let record = Location::from_position(header.position);
        if let Some((segment, offset)) = table.at(record) {
            segment.set_end(offset + header.bytes);
            segment.set_newest(header.sequence);
        }
        let _publishing = self.publishing.write();
        let apply =
            |changes: &[Change]| self.apply(&table, header.position, changes, shard_positions);
        if changes.len() < PARALLEL_MIN {
            apply(changes)?;
        } else {
            self.workers.map_chunks(changes, PARALLEL_CHUNK, apply)?;
        }
        self.applied
            .fetch_max(header.position + header.bytes, Ordering::Release);
        let mut chain = self.chain.write();
        for change in chain_changes {
            apply_to_chain(&table, &mut chain, header.position, change);
        }
        if header.kind == RecordKind::Undo {
            let gone = chain.payloads.split_off(&(header.number + 1));
            for place in gone.values() {
                forget_payload(&table, place);
            }
        }
        let block = BlockSummary {
            number: header.number,
            hash: header.hash.map(B256::from),
            commitment: B256::from(header.commitment),
            sequence: header.sequence,
            horizon: Location::from_position(header.position + header.bytes),
        };
        chain.advance(block, header.oldest);
        let payloads_from = header
            .number
            .saturating_sub(self.options.payload_blocks.saturating_sub(1));
        let kept = chain.payloads.split_off(&payloads_from);
        let gone = std::mem::replace(&mut chain.payloads, kept);
        for place in gone.values() {
            forget_payload(&table, place);
        }
        Ok(())
    }

    /// Asks the processor for what [`publish`](Self::publish) will change in the index, on several threads.
    pub(crate) fn bring_near_to_change(&self, changes: &[Change]) {
        if changes.len() < PARALLEL_MIN || !self.workers.are_several() {
            return;
        }
        let bring_near = |changes: &[Change]| {
            let hashes: Vec<u64> = changes.iter().map(|change| change.hash).collect();
            self.index.bring_near_to_change(&hashes);
            Ok::<_, Infallible>(())
        };
        let Ok(_) = self.workers.map_chunks(changes, PARALLEL_CHUNK, bring_near);
    }

    fn apply(
        &self,
        table: &SegmentTable,
        position: u64,
        changes: &[Change],
        shard_positions: Option<&[u64]>,
    ) -> Result<(), Location> {
        let hashes: Vec<u64> = changes.iter().map(|change| change.hash).collect();
        self.index.bring_near_to_change(&hashes);
        let mut live = 0_u64;
        // Few segments: a list is faster than a map.
        let mut dead: Vec<(u64, u64)> = Vec::new();
        for change in changes {
            live += u64::from(change.live);
            if change.dead > 0 {
                let place = change.previous.position() / table.segment_bytes();
                match dead.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, bytes)) => *bytes += u64::from(change.dead),
                    None => dead.push((place, u64::from(change.dead))),
                }
            }
            if shard_positions
                .is_some_and(|known| position < known[self.index.shard_of(change.hash)])
            {
                // The checkpoint's copy of this shard was made after this record.
                continue;
            }
            let location = Location::from_position(position + change.offset);
            let found = if change.forgets {
                self.index.remove(change.hash, change.previous)
            } else if change.previous.is_none() {
                self.index.insert(change.hash, location);
                true
            } else {
                self.index.replace(change.hash, change.previous, location)
            };
            if !found {
                return Err(change.previous);
            }
        }
        if let Some((segment, _)) = table.at(Location::from_position(position)) {
            segment.add_live(live);
        }
        for (place, bytes) in dead {
            let location = Location::from_position(place * table.segment_bytes());
            if let Some((segment, _)) = table.at(location) {
                segment.subtract_live(bytes);
            }
        }
        Ok(())
    }

    /// Sequence number of the oldest block whose state somebody may read, now or later. Of the records
    /// up to it only the newest versions are needed.
    pub(crate) fn retained_sequence(&self) -> u64 {
        let chain = self.chain.read();
        let oldest = chain
            .blocks
            .first_key_value()
            .map_or(0, |(_, block)| block.sequence);
        let pinned = self.pins.lock().keys().next().copied();
        pinned.map_or(oldest, |pinned| pinned.min(oldest))
    }
}

fn apply_to_chain(table: &SegmentTable, chain: &mut Chain, position: u64, change: &ChainChange) {
    match *change {
        ChainChange::Payload {
            number,
            previous,
            offset,
            bytes,
        } => {
            let location = Location::from_position(position + offset);
            let is_current = chain
                .payloads
                .get(&number)
                .is_none_or(|place| place.location == previous);
            if !previous.is_none() && (!is_current || !chain.payloads.contains_key(&number)) {
                // Moved, but not kept.
                return;
            }
            let place = PayloadPlace { location, bytes };
            if let Some(old) = chain.payloads.insert(number, place) {
                forget_payload(table, &old);
            }
            if let Some((segment, _)) = table.at(location) {
                segment.add_live(bytes);
            }
        }
        ChainChange::Ancestor { number, hash } => {
            chain.hashes.insert(number, hash);
        }
    }
}

fn forget_payload(table: &SegmentTable, place: &PayloadPlace) {
    if let Some((segment, _)) = table.at(place.location) {
        segment.subtract_live(place.bytes);
    }
}

/// Whether an entry is a version of this key.
#[inline]
pub(crate) fn is_of(entry: &Entry, key: &Key) -> bool {
    match (&entry.body, key) {
        (Body::Value { key: found, .. }, key) => found == key,
        (Body::Code { hash, .. }, Key::Code(wanted)) => hash == wanted,
        _ => false,
    }
}
