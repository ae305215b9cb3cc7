//! Compaction: what is alive in old segments moves into the records of new blocks.
//!
//! A segment may be chosen once all its records are at or before the oldest readable block: then only
//! newest versions in it are needed. Each commit looks at a stretch of the chosen segment, writes what
//! is alive again (with the old place as previous location) and drops tombstones: nobody can read what
//! was there before them, and older copies lie behind the reach of every link. When the stretch
//! reaches the end, nothing in the index points into the segment any more, and it goes as soon as a
//! checkpoint that was begun after that is durable: redo from an older checkpoint would still
//! look for it.

use crate::{
    core::Core,
    entry::{self, Body},
    error::ReadError,
    frame::{self, FRAME_BYTES},
    location::Location,
    record::{PAGE_BYTES, RecordHeader},
    segment::{SEGMENT_HEADER_BYTES, Segment, SegmentTable},
};
use std::{
    collections::HashSet,
    hash::BuildHasher,
    sync::{Arc, atomic::Ordering},
};

/// A segment with more alive than this share is not worth moving.
const LIVE_SHARE_MAX: f64 = 0.9;
/// Bytes scanned for each byte that may be moved.
const SCAN_FACTOR: u64 = 8;
/// The least a commit moves while there is something to do.
const BUDGET_BYTES_MIN: u64 = 64 << 10;
/// Largest part of a segment read at once.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Where compaction goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Offset of the next entry or record.
    pub(crate) offset: u64,
    /// Where the record ends in which `offset` is an entry; `offset` itself between records.
    entries_end: u64,
    record_end: u64,
}

/// What a commit takes along.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Entries to append.
    pub(crate) entries: Vec<u8>,
    /// Where to go on; `None` if there is nothing to do.
    pub(crate) cursor: Option<Cursor>,
    /// Segments that are empty once this is applied.
    pub(crate) emptied: Vec<u64>,
}

/// Bytes of the log and bytes alive in it, of the segments that are not given up yet.
pub(crate) fn usage(table: &SegmentTable) -> (u64, u64) {
    let kept = table
        .iter()
        .filter(|segment| !segment.emptied.load(Ordering::Relaxed));
    kept.fold((0, 0), |(bytes, live), segment| {
        (bytes + segment.end(), live + segment.live())
    })
}

/// How many bytes a commit that appends `appended` bytes should move.
fn budget(core: &Core, table: &SegmentTable, appended: u64) -> u64 {
    let (bytes, live) = usage(table);
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let excess = bytes as f64 / live.max(1) as f64 - core.options.space_amplification;
    if excess <= 0.0 {
        return 0;
    }
    // From nothing at the aim to twice what the block appends at 0.5 above it.
    let share = (excess * 4.0).min(2.0);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let budget = (appended as f64 * share) as u64;
    budget.max(BUDGET_BYTES_MIN)
}

/// The best segment to empty: the one with the least alive.
fn choose(core: &Core, table: &SegmentTable) -> Option<Arc<Segment>> {
    let retained = core.retained_sequence();
    let last = table.last()?.number;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let share = |segment: &Segment| segment.live() as f64 / segment.end() as f64;
    table
        .iter()
        .filter(|segment| segment.number != last && segment.newest() <= retained)
        .filter(|segment| !segment.emptied.load(Ordering::Relaxed))
        .map(|segment| (share(segment), segment))
        .filter(|(share, _)| *share < LIVE_SHARE_MAX)
        .min_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, segment)| Arc::clone(segment))
}

/// Gathers what a commit takes along; `superseded` are the places whose keys the block writes itself.
pub(crate) fn gather<S: BuildHasher>(
    core: &Core,
    table: &SegmentTable,
    cursor: Option<Cursor>,
    appended: u64,
    superseded: &HashSet<Location, S>,
) -> Result<Moves, ReadError> {
    let mut moves = Moves {
        cursor,
        ..Moves::default()
    };
    let budget = budget(core, table, appended);
    let mut scan = budget.saturating_mul(SCAN_FACTOR);
    while (moves.entries.len() as u64) < budget && scan > 0 {
        let known = moves
            .cursor
            .and_then(|cursor| Some((cursor, table.get(cursor.segment)?)));
        let (cursor, segment) = if let Some((cursor, segment)) = known {
            (cursor, Arc::clone(segment))
        } else {
            let chosen = choose(core, table);
            let Some(segment) = chosen.filter(|it| !moves.emptied.contains(&it.number)) else {
                moves.cursor = None;
                break;
            };
            (Cursor::start(&segment), segment)
        };
        let mut scanner = Scanner {
            core,
            table,
            segment: &segment,
            cursor,
            superseded,
            entries: &mut moves.entries,
        };
        let room = budget - (scanner.entries.len() as u64).min(budget);
        scan = scan.saturating_sub(scanner.run(room, scan)?);
        let cursor = scanner.cursor;
        if cursor.offset >= segment.end() {
            moves.emptied.push(segment.number);
            moves.cursor = None;
        } else {
            moves.cursor = Some(cursor);
        }
    }
    Ok(moves)
}

impl Cursor {
    const fn start(segment: &Segment) -> Self {
        Self {
            segment: segment.number,
            offset: SEGMENT_HEADER_BYTES,
            entries_end: SEGMENT_HEADER_BYTES,
            record_end: SEGMENT_HEADER_BYTES,
        }
    }
}

struct Scanner<'a, S> {
    core: &'a Core,
    table: &'a SegmentTable,
    segment: &'a Segment,
    cursor: Cursor,
    superseded: &'a HashSet<Location, S>,
    entries: &'a mut Vec<u8>,
}

impl<S: BuildHasher> Scanner<'_, S> {
    /// Goes on until so many bytes were gathered or scanned, or the segment ends; gives the bytes
    /// scanned.
    fn run(&mut self, gather: u64, scan: u64) -> Result<u64, ReadError> {
        let target = self.entries.len() as u64 + gather;
        let mut scanned = 0;
        while self.cursor.offset < self.segment.end()
            && (self.entries.len() as u64) < target
            && scanned < scan
        {
            let before = self.cursor.offset;
            if self.cursor.offset >= self.cursor.entries_end {
                self.next_record()?;
            } else {
                self.stretch(target)?;
            }
            scanned += self.cursor.offset - before;
        }
        Ok(scanned)
    }

    /// Steps from the end of a record's entries into the next record's.
    fn next_record(&mut self) -> Result<(), ReadError> {
        let start = self.cursor.record_end;
        if start >= self.segment.end() {
            self.cursor.offset = start;
            return Ok(());
        }
        let mut bytes = [0; FRAME_BYTES];
        self.segment.read(&mut bytes, start)?;
        let (header, _) = frame::unseal::<RecordHeader>(&bytes)
            .map_err(|_| self.segment.damage(start, "a record's header is damaged"))?;
        if header.bytes < PAGE_BYTES || start + header.bytes > self.segment.end() {
            return Err(self.segment.damage(start, "a record's length is wrong"));
        }
        let entries = start + crate::record::ENTRIES_START as u64;
        self.cursor.offset = entries;
        self.cursor.entries_end = entries + header.entries_bytes;
        self.cursor.record_end = start + header.bytes;
        Ok(())
    }

    /// Looks at entries of the record until a read's worth is done.
    fn stretch(&mut self, target: u64) -> Result<(), ReadError> {
        let start = self.cursor.offset;
        let bytes = (self.cursor.entries_end - start).min(READ_BYTES_MAX);
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
        self.segment.read(&mut buffer, start)?;
        let mut at = 0;
        while at < buffer.len() && (self.entries.len() as u64) < target {
            let rest = &buffer[at..];
            let offset = start + at as u64;
            let cut = rest.len() < entry::HEAD_BYTES + 4;
            let length = if cut {
                u64::MAX
            } else {
                entry::length(rest).map_err(|what| self.segment.damage(offset, what))?
            };
            if length > rest.len() as u64 {
                if at == 0 {
                    // Longer than a read: a blob.
                    let whole = self.segment.read_entry(offset)?;
                    self.look_at(&whole, offset)?;
                    at += whole.len();
                }
                break;
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.look_at(&rest[..length], offset)?;
            at += length;
        }
        self.cursor.offset = start + at as u64;
        Ok(())
    }

    /// Moves an entry if it is alive.
    fn look_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), ReadError> {
        let location = Location::from_position(self.segment.start + offset);
        let entry = entry::parse(bytes).map_err(|what| self.segment.damage(offset, what))?;
        if let Body::Payload { number, .. } = entry.body {
            let chain = self.core.chain.read();
            if chain
                .payloads
                .get(&number)
                .is_some_and(|place| place.location == location)
            {
                let payload = blob(bytes, &entry.body);
                entry::write_payload(self.entries, location, number, payload);
            }
            return Ok(());
        }
        let Some(hash) = entry::index_hash(&self.core.hasher, &entry.body) else {
            return Ok(());
        };
        if !self.core.index.contains(hash, location) || self.superseded.contains(&location) {
            return Ok(());
        }
        debug_assert!(
            self.table.at(location).is_some(),
            "what is scanned is there"
        );
        match &entry.body {
            Body::Value { value, .. } if value.is_tombstone() => {
                entry::write_drop(self.entries, location, hash);
            }
            Body::Value { key, value, .. } => {
                entry::write_value(self.entries, location, key, value, None);
            }
            Body::Code { hash, .. } => {
                entry::write_code(self.entries, location, *hash, blob(bytes, &entry.body));
            }
            Body::Drop { .. } | Body::Payload { .. } | Body::Ancestor { .. } => {}
        }
        Ok(())
    }
}

/// The blob of a blob's entry.
pub(crate) fn blob<'a>(entry: &'a [u8], body: &Body) -> &'a [u8] {
    let length = match body {
        Body::Code { bytes, .. } | Body::Payload { bytes, .. } => *bytes,
        _ => 0,
    };
    let start = entry::BLOB_HEAD_BYTES;
    &entry[start..start + usize::try_from(length).unwrap_or(0)]
}
