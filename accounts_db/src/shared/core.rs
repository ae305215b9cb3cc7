//! The state of an open database, which all parts share.

use super::gathering::{BackgroundGathering, Cursor};
use crate::{
    error::{CheckpointError, Damage, ReadError},
    index::{Chain, Index},
    log::{
        Checksum, KeyHasher, Location, Segment, SegmentAllocator, SegmentTable, SpareBatches,
        segment_file_name,
    },
    options::Options,
    storage::Storage,
    trie::{TrieFiles, TrieVersions},
    workers::Workers,
};
use lockweave_state_trie::StateTrie;
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
};

/// The state of an open database. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) database: [u8; 16],
    pub(crate) hash_key: [u8; 16],
    pub(crate) hasher: KeyHasher,
    pub(crate) workers: Workers,
    /// Held while files of the checkpoint or the manifest are written or read.
    pub(crate) checkpointing: Mutex<()>,
    /// The end of the log; its lock is the right to append.
    pub(crate) writer: Mutex<Writer>,
    /// Read-locked to keep the index at the end of a record; write-locked to publish.
    pub(crate) publishing: RwLock<()>,
    pub(crate) checkpoint: Mutex<CheckpointSchedule>,
    /// Wakes the checkpoint thread.
    pub(crate) checkpoint_wanted: Condvar,
    pub(crate) chain: RwLock<Chain>,
    /// Sequence numbers of the blocks that readers pin, and the number of those readers.
    pub(crate) pins: Mutex<BTreeMap<u64, usize>>,
    pub(crate) table: RwLock<Arc<SegmentTable>>,
    pub(crate) index: Index,
    /// The state trie after the newest record. Its stamp is the end of that record.
    pub(crate) trie: StateTrie,
    pub(crate) trie_files: TrieFiles,
    /// Tries of earlier blocks.
    pub(crate) trie_versions: TrieVersions,
    /// Root of the state trie in the newest checkpoint.
    pub(crate) trie_root_stored: Mutex<Vec<u8>>,
    /// How far the state trie is rebuilt; `None` if it is complete.
    pub(crate) trie_rebuilt: Mutex<Option<u64>>,
    /// Byte position up to which the index has the log's records. Written while `publishing` is
    /// write-locked.
    pub(crate) applied: AtomicU64,
    /// Allocates segments.
    pub(crate) segment_allocator: SegmentAllocator,
    /// Moves for the next block.
    pub(crate) background_gathering: BackgroundGathering,
    /// Number of preparations so far.
    pub(crate) preparations: AtomicU64,
    /// Memory of earlier commits.
    pub(crate) spare_batches: SpareBatches,
    /// A sync failed: nothing more is written.
    pub(crate) stopped: AtomicBool,
    /// Files that recovery found and the database does not need. The database never creates a
    /// segment under the name of such a segment.
    pub(crate) leftover_files: Mutex<Vec<String>>,
}

/// When the next checkpoint is due, and what it may free.
#[derive(Debug, Default)]
pub(crate) struct CheckpointSchedule {
    /// Bytes of records since the last checkpoint started.
    pub(crate) appended: u64,
    /// Length of the last checkpoint.
    pub(crate) bytes: u64,
    /// Segments emptied by compaction, with the sequence number of the record that emptied them.
    pub(crate) emptied: Vec<(u64, u64)>,
    /// The thread shall write a checkpoint.
    pub(crate) is_wanted: bool,
    /// The thread shall end.
    pub(crate) is_closing: bool,
    /// Why the last attempt failed.
    pub(crate) failure: Option<CheckpointError>,
}

/// The end of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    /// Byte position of the next record, if it fits into the segment.
    pub(crate) position: u64,
    /// Sequence number of the next record.
    pub(crate) sequence: u64,
    /// Checksum of the last record's header.
    pub(crate) previous: Checksum,
    /// A refused record may remain at `position`; it must be erased before another is written
    /// elsewhere.
    pub(crate) has_refused: bool,
    /// Number of the last committed preparation; 0 if there was none since opening.
    pub(crate) preparation: u64,
    /// Where compaction continues.
    pub(crate) compaction: Option<Cursor>,
    /// Number of the last segment that was requested in advance.
    pub(crate) segment_requested: Option<u64>,
    /// The segment whose pages were cached for writes, and the offset up to which they were.
    pub(crate) filled: Option<(u64, u64)>,
    /// Number of writes at the end of the log since opening.
    pub(crate) tickets: u64,
}

impl Writer {
    /// The number of a new write at the end of the log.
    pub(crate) const fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

impl Core {
    /// The current segment table.
    pub(crate) fn segments(&self) -> Arc<SegmentTable> {
        Arc::clone(&self.table.read())
    }

    /// Calls `read` with the segment and the offset of a location. Finds segments that were created
    /// after `table` was taken; `None` if compaction has freed the segment.
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

    /// Damage at a location.
    pub(crate) fn damage_at(&self, location: Location, what: &str) -> ReadError {
        let damage = |segment: &Segment, offset| segment.damage(offset, what);
        (self.with_segment(&self.segments(), location, damage))
            .unwrap_or_else(|| self.missing_segment(location))
    }

    /// The error for a location whose segment does not exist.
    pub(crate) fn missing_segment(&self, location: Location) -> ReadError {
        let bytes = self.segments().segment_bytes();
        let name = segment_file_name(location.position() / bytes);
        let (file, offset) = (self.storage.describe(&name), location.position() % bytes);
        let what = "the index names an entry in a segment that is not there";
        ReadError::Damaged(Damage::new(file, offset, what))
    }

    /// The file and offset of a position, for error messages.
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

    /// Sequence number of the oldest block that can be read, now or later. Of the records up to it
    /// only the newest versions are needed.
    pub(crate) fn retained_sequence(&self) -> u64 {
        let chain = self.chain.read();
        let oldest = chain.first().map_or(0, |block| block.sequence);
        let pinned = self.pins.lock().keys().next().copied();
        pinned.map_or(oldest, |pinned| pinned.min(oldest))
    }
}
