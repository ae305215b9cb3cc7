//! Compaction: moves live entries of old segments into the records of new blocks.
//!
//! A segment is eligible once all its records are at or before the oldest readable block: then only
//! newest versions in it are needed. Each commit scans a part of the chosen segment, writes its
//! live entries again (with the old location as previous location) and drops tombstones: no reader
//! reaches the versions before them. After the whole segment was scanned, the index has no location
//! in it. The segment is freed once a checkpoint that started later is durable, because redo from
//! an older checkpoint still needs it.

use crate::{
    error::ReadError,
    log::{
        Batch, Change, ENTRIES_START, FRAME_BYTES, Location, PAGE_BYTES, RecordHeader, Segment,
        SegmentTable,
        entry::{self, Body, FIXED_BYTES_MAX},
        unseal_frame,
    },
    shared::{Core, Cursor, GatheringRequest, Moves},
};
use std::sync::{Arc, atomic::Ordering};

/// Segments with a larger live share are not worth moving.
const LIVE_SHARE_MAX: f64 = 0.9;
/// Bytes scanned for each byte in the budget.
const SCAN_FACTOR: u64 = 8;
/// Least budget of a commit, if there is anything to do.
const BUDGET_BYTES_MIN: u64 = 64 << 10;
/// Fewer entries than this are not worth several threads.
const PARALLEL_MIN: usize = 512;
const PARALLEL_CHUNK: usize = 256;
/// The smallest moved value. It limits how many entries are examined together, so that the budget
/// is not exceeded.
const MOVE_BYTES_MIN: u64 = entry::Kind::SlotPut.bytes() as u64;
const EXAMINED_MIN: u64 = 512;
/// Largest part of a segment read at once.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Bytes of the log and live bytes in it, without emptied segments.
pub(crate) fn log_usage(table: &SegmentTable) -> (u64, u64) {
    let kept = table
        .iter()
        .filter(|segment| !segment.emptied.load(Ordering::Relaxed));
    kept.fold((0, 0), |(bytes, live), segment| {
        (bytes + segment.end(), live + segment.live())
    })
}

/// Number of bytes that a commit of `appended` bytes should move.
fn budget(core: &Core, table: &SegmentTable, appended: u64) -> u64 {
    let (bytes, live) = log_usage(table);
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let excess = bytes as f64 / live.max(1) as f64 - core.options.space_amplification;
    if excess <= 0.0 {
        return 0;
    }
    // From zero at the target ratio to `appended` at a quarter above it.
    let share = (excess * 4.0).min(1.0);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let budget = (appended as f64 * share) as u64;
    budget.max(BUDGET_BYTES_MIN)
}

/// The best segment to empty: the one with the smallest live share.
fn choose(core: &Core, table: &SegmentTable, emptied: &[u64]) -> Option<Arc<Segment>> {
    let retained = core.retained_sequence();
    let last = table.last()?.number;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let share = |segment: &Segment| segment.live() as f64 / segment.end() as f64;
    table
        .iter()
        .filter(|segment| segment.number != last && segment.newest() <= retained)
        .filter(|segment| !segment.emptied.load(Ordering::Relaxed))
        .filter(|segment| !emptied.contains(&segment.number))
        .map(|segment| (share(segment), segment))
        .filter(|(share, _)| *share < LIVE_SHARE_MAX)
        .min_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, segment)| Arc::clone(segment))
}

impl Core {
    /// Gathers moves as they are requested, until the database closes.
    pub(crate) fn run_background_gathering(&self) {
        self.background_gathering.serve(|request| {
            let batch = self.spare_batches.record();
            // An error is reported when the next block gathers for itself.
            gather_moves(self, &self.segments(), batch, request, true).ok()
        });
    }
}

/// Gathers the entries that move into a block's record and appends them to `batch`.
pub(crate) fn gather_moves(
    core: &Core,
    table: &SegmentTable,
    batch: Batch,
    request: &GatheringRequest,
    single_threaded: bool,
) -> Result<Moves, ReadError> {
    let mut moves = Moves {
        batch,
        locations: Location::NONE..Location::NONE,
        cursor: request.cursor,
        emptied: Vec::new(),
    };
    let own_changes = moves.batch.changes.len();
    let budget = budget(core, table, request.appended);
    let target = moves.batch.len() + budget;
    let mut scan = budget.saturating_mul(SCAN_FACTOR);
    while moves.batch.len() < target && scan > 0 {
        let known = moves
            .cursor
            .and_then(|cursor| Some((cursor, table.get(cursor.segment)?)));
        let (cursor, segment) = if let Some((cursor, segment)) = known {
            (cursor, Arc::clone(segment))
        } else {
            let is_known = |it: &Arc<Segment>| moves.emptied.contains(&it.number);
            let Some(segment) = choose(core, table, &request.emptied).filter(|it| !is_known(it))
            else {
                moves.cursor = None;
                break;
            };
            (Cursor::start(&segment), segment)
        };
        let mut scanner = Scanner {
            core,
            segment: &segment,
            cursor,
            superseded: superseded(&segment, &moves.batch.changes, &request.superseded),
            batch: &mut moves.batch,
            single_threaded,
        };
        scan = scan.saturating_sub(scanner.run(target, scan)?);
        let cursor = scanner.cursor;
        if cursor.offset >= segment.end() {
            moves.emptied.push(segment.number);
            moves.cursor = None;
        } else {
            moves.cursor = Some(cursor);
        }
    }
    let places = || {
        moves.batch.changes[own_changes..]
            .iter()
            .map(|it| it.previous)
    };
    if let (Some(first), Some(last)) = (places().min(), places().max()) {
        moves.locations = first..Location::from_units(last.units() + 1);
    }
    Ok(moves)
}

/// The locations in a segment that `changes` or `others` supersede, sorted.
fn superseded(segment: &Segment, changes: &[Change], others: &[Location]) -> Vec<Location> {
    let start = Location::from_position(segment.start);
    let end = Location::from_position(segment.start + segment.size);
    let mut places: Vec<Location> = (changes.iter())
        .map(|change| change.previous)
        .chain(others.iter().copied())
        .filter(|place| (start..end).contains(place))
        .collect();
    places.sort_unstable();
    places
}

struct Scanner<'a> {
    core: &'a Core,
    segment: &'a Segment,
    cursor: Cursor,
    superseded: Vec<Location>,
    batch: &'a mut Batch,
    single_threaded: bool,
}

impl Scanner<'_> {
    /// Continues until the batch has `target` bytes, `scan` bytes were scanned, or the segment
    /// ends; returns the bytes scanned.
    fn run(&mut self, target: u64, scan: u64) -> Result<u64, ReadError> {
        let mut scanned = 0;
        while self.cursor.offset < self.segment.end() && self.batch.len() < target && scanned < scan
        {
            let before = self.cursor.offset;
            if self.cursor.offset >= self.cursor.entries_end {
                self.next_record()?;
            } else {
                self.scan_entries(target)?;
            }
            scanned += self.cursor.offset - before;
        }
        Ok(scanned)
    }

    /// Advances from the end of a record's entries into the next record.
    fn next_record(&mut self) -> Result<(), ReadError> {
        let start = self.cursor.record_end;
        if start >= self.segment.end() {
            self.cursor.offset = start;
            return Ok(());
        }
        let mut bytes = [0; FRAME_BYTES];
        self.segment.read(&mut bytes, start)?;
        let (header, _) = unseal_frame::<RecordHeader>(&bytes)
            .map_err(|_| self.segment.damage(start, "a record's header is damaged"))?;
        if header.bytes < PAGE_BYTES || start + header.bytes > self.segment.end() {
            return Err(self.segment.damage(start, "a record's length is wrong"));
        }
        let entries = start + ENTRIES_START as u64;
        self.cursor.offset = entries;
        self.cursor.entries_end = entries + header.entries_bytes;
        self.cursor.record_end = start + header.bytes;
        Ok(())
    }

    fn take(&mut self, moved: Batch) {
        self.batch.append(&moved);
        self.core.spare_batches.give_back(moved);
    }

    /// Examines entries of the record: as many as may move, at most one read.
    fn scan_entries(&mut self, target: u64) -> Result<(), ReadError> {
        let space = target.saturating_sub(self.batch.len());
        let count = (space / MOVE_BYTES_MIN).max(EXAMINED_MIN);
        let start = self.cursor.offset;
        let bytes = (self.cursor.entries_end - start)
            .min(count * FIXED_BYTES_MAX as u64)
            .min(READ_BYTES_MAX);
        // The next part is read while this one is examined.
        self.segment
            .read_ahead(start, usize::try_from(2 * bytes).unwrap_or(0));
        let buffer = self.segment.bytes(start, bytes)?;
        let mut found = Vec::new();
        let mut at = 0;
        while at < buffer.len() && (found.len() as u64) < count {
            let rest = &buffer[at..];
            let offset = start + at as u64;
            let cut = rest.len() < entry::HEAD_BYTES + 4;
            let length = if cut {
                u64::MAX
            } else {
                entry::length(rest).map_err(|what| self.segment.damage(offset, what))?
            };
            if length > rest.len() as u64 {
                break;
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            found.push((offset, &rest[..length]));
            at += length;
        }
        if found.is_empty() {
            // Longer than a read: a blob.
            let whole = self.segment.read_entry(start)?;
            at = whole.len();
            let moved = self.move_live(&[(start, &whole)])?;
            self.take(moved);
        } else if self.single_threaded {
            for found in found.chunks(PARALLEL_CHUNK) {
                let moved = self.move_live(found)?;
                self.take(moved);
            }
        } else if found.len() < PARALLEL_MIN {
            let moved = self.move_live(&found)?;
            self.take(moved);
        } else {
            let workers = &self.core.workers;
            let move_live = |chunk: &[(u64, &[u8])]| self.move_live(chunk);
            for part in workers.map_chunks(&found, PARALLEL_CHUNK, move_live)? {
                self.take(part);
            }
        }
        self.cursor.offset = start + at as u64;
        Ok(())
    }

    /// Writes the live ones among these entries again. Each is given with its offset.
    fn move_live(&self, entries: &[(u64, &[u8])]) -> Result<Batch, ReadError> {
        let damage = |offset: u64, what| self.segment.damage(offset, what);
        let mut hashes: Vec<Option<u64>> = Vec::with_capacity(entries.len());
        for (offset, bytes) in entries {
            let hash = entry::checked_hash(&self.core.hasher, bytes);
            hashes.push(hash.map_err(|what| damage(*offset, what))?);
        }
        let known: Vec<u64> = hashes.iter().copied().flatten().collect();
        self.core.index.prefetch(&known);
        let mut moved = self.core.spare_batches.part();
        for ((offset, bytes), hash) in entries.iter().zip(hashes) {
            let location = Location::from_position(self.segment.start + offset);
            if let Some(hash) = hash
                && (!self.core.index.contains(hash, location)
                    || self.superseded.binary_search(&location).is_ok())
            {
                continue;
            }
            let entry = entry::parse_fixed(bytes).map_err(|what| damage(*offset, what))?;
            if let Body::Payload { number, .. } = entry.body {
                // A payload that is no longer kept does not move.
                let chain = self.core.chain.read();
                let place = chain.payloads.get(&number);
                if place.is_some_and(|place| place.location == location) {
                    let payload = &bytes[entry::blob_range(&entry.body)];
                    moved.push_payload(number, location, payload);
                }
            }
            let Some(hash) = hash else { continue };
            match &entry.body {
                Body::Value { value, .. } if value.is_tombstone() => {
                    moved.push(hash, location, [0, 0], true);
                    entry::write_drop(&mut moved.bytes, location, hash);
                }
                Body::Value { key, value, .. } => {
                    moved.push(hash, location, [value.move_bytes(); 2], false);
                    entry::write_value(&mut moved.bytes, location, key, value, None);
                }
                Body::Code { hash: code, .. } => {
                    moved.push(hash, location, [entry.bytes; 2], false);
                    let bytes = &bytes[entry::blob_range(&entry.body)];
                    entry::write_code(&mut moved.bytes, location, *code, bytes);
                }
                Body::Drop { .. } | Body::Payload { .. } | Body::Ancestor { .. } => {}
            }
        }
        Ok(moved)
    }
}
