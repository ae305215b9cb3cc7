//! What the parts of the database share, and how a record changes it.

use super::gathering::{BackgroundGathering, Cursor};
use crate::{
    commitment::Lattice,
    error::{CheckpointError, Damage, ReadError},
    index::{Chain, Index},
    log::{
        Checksum, KeyHasher, Location, Segment, SegmentAllocator, SegmentTable, SpareBatches,
        segment_file_name,
    },
    options::Options,
    storage::Storage,
    workers::Workers,
};
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
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
    pub(crate) checkpoint: Mutex<CheckpointSchedule>,
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
    pub(crate) segment_allocator: SegmentAllocator,
    /// What the next block takes along.
    pub(crate) background_gathering: BackgroundGathering,
    /// Blocks prepared so far.
    pub(crate) preparations: AtomicU64,
    /// Memory of earlier commits.
    pub(crate) spare_batches: SpareBatches,
    /// A write was not made durable: nothing more is written.
    pub(crate) stopped: AtomicBool,
    /// Names of files that opening found and that no database needs. No file will be made under the name
    /// of one that is a segment's.
    pub(crate) leftover_files: Mutex<Vec<String>>,
}

/// What the writer of checkpoints knows.
#[derive(Debug, Default)]
pub(crate) struct CheckpointSchedule {
    /// Bytes of records since the last checkpoint began.
    pub(crate) appended: u64,
    /// Length of the last checkpoint.
    pub(crate) bytes: u64,
    /// Segments that compaction has emptied, with the sequence number of the record that did it.
    pub(crate) emptied: Vec<(u64, u64)>,
    /// The thread is to write one.
    pub(crate) is_wanted: bool,
    /// The thread is to end.
    pub(crate) is_closing: bool,
    /// Why the last attempt failed.
    pub(crate) failure: Option<CheckpointError>,
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
    pub(crate) compaction: Option<Cursor>,
    /// Number of the segment that was last begun ahead of its time.
    pub(crate) segment_requested: Option<u64>,
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

    /// Damage at a place of the log.
    pub(crate) fn damage_at(&self, location: Location, what: &str) -> ReadError {
        let damage = |segment: &Segment, offset| segment.damage(offset, what);
        (self.with_segment(&self.segments(), location, damage))
            .unwrap_or_else(|| self.missing_segment(location))
    }

    /// The index names a place that is not there.
    pub(crate) fn missing_segment(&self, location: Location) -> ReadError {
        let table = self.segments();
        let number = location.position() / table.segment_bytes();
        ReadError::Damaged(Damage {
            file: self.storage.describe(&segment_file_name(number)),
            offset: location.position() % table.segment_bytes(),
            what: "the index names an entry in a segment that is not there".to_owned(),
        })
    }

    /// Where a position lies, for messages.
    pub(crate) fn file_at(&self, position: u64) -> (String, u64) {
        let table = self.segments();
        if let Some((segment, offset)) = table.at(Location::from_position(position)) {
            return (segment.path.clone(), offset);
        }
        let name = segment_file_name(position / table.segment_bytes());
        (
            self.storage.describe(&name),
            position % table.segment_bytes(),
        )
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
