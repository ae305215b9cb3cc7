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
    error::ReadError,
    log::{
        Batch, ChainChange, Change, ENTRIES_START, FRAME_BYTES, Location, PAGE_BYTES, RecordHeader,
        Segment, SegmentTable,
        entry::{self, Body, Entry, FIXED_BYTES_MAX},
        unseal_frame,
    },
    shared::{Core, Cursor, Moves},
};
use std::sync::{Arc, atomic::Ordering};

/// A segment with more alive than this share is not worth moving.
const LIVE_SHARE_MAX: f64 = 0.9;
/// Bytes scanned for each byte that may be moved.
const SCAN_FACTOR: u64 = 8;
/// The least a commit moves while there is something to do.
const BUDGET_BYTES_MIN: u64 = 64 << 10;
/// Fewer entries than this are not worth other threads.
const PARALLEL_MIN: usize = 512;
const PARALLEL_CHUNK: usize = 256;
/// The least that moving an entry whose value counts writes: entries are looked at in such numbers that
/// the budget is not overdrawn.
const MOVE_BYTES_MIN: u64 = entry::Kind::SlotPut.bytes() as u64;
const LOOK_MIN: u64 = 512;
/// Largest part of a segment read at once.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Bytes of the log and bytes alive in it, of the segments that are not given up yet.
pub(crate) fn log_usage(table: &SegmentTable) -> (u64, u64) {
    let kept = table
        .iter()
        .filter(|segment| !segment.emptied.load(Ordering::Relaxed));
    kept.fold((0, 0), |(bytes, live), segment| {
        (bytes + segment.end(), live + segment.live())
    })
}

/// How many bytes a commit that appends `appended` bytes should move.
fn budget(core: &Core, table: &SegmentTable, appended: u64) -> u64 {
    let (bytes, live) = log_usage(table);
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let excess = bytes as f64 / live.max(1) as f64 - core.options.space_amplification;
    if excess <= 0.0 {
        return 0;
    }
    // From nothing at the aim to as much as the block appends at a quarter above it.
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

/// The best segment to empty: the one with the least alive.
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

/// What [`gather`] goes by.
pub(crate) struct GatheringInput<'a> {
    /// Where to go on.
    pub(crate) cursor: Option<Cursor>,
    /// What the entries are added to.
    pub(crate) batch: Batch,
    /// Bytes that a block appends of its own.
    pub(crate) appended: u64,
    /// Places of which a newer version is about to be published.
    pub(crate) superseded: &'a [Location],
    /// Segments that are as good as empty, though they are not marked so yet.
    pub(crate) emptied: &'a [u64],
    /// Whether the caller's thread does all of it.
    pub(crate) single_threaded: bool,
}

/// Gathers what a commit takes along.
pub(crate) fn gather_moves(
    core: &Core,
    table: &SegmentTable,
    request: GatheringInput<'_>,
) -> Result<Moves, ReadError> {
    let mut moves = Moves {
        batch: request.batch,
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
            let Some(segment) = choose(core, table, request.emptied).filter(|it| !is_known(it))
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
            superseded: superseded(table, &segment, &moves.batch.changes, request.superseded),
            batch: &mut moves.batch,
            single_threaded: request.single_threaded,
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

/// The places in a segment that changes replace, and those of `others`, sorted.
fn superseded(
    table: &SegmentTable,
    segment: &Segment,
    changes: &[Change],
    others: &[Location],
) -> Vec<Location> {
    let start = Location::from_position(segment.start);
    let end = Location::from_position(segment.start + segment.places * table.segment_bytes());
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
    /// Goes on until the batch has `target` bytes, or `scan` were looked at, or the segment ends; gives the bytes
    /// scanned.
    fn run(&mut self, target: u64, scan: u64) -> Result<u64, ReadError> {
        let mut scanned = 0;
        while self.cursor.offset < self.segment.end() && self.batch.len() < target && scanned < scan
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

    /// Looks at entries of the record: as many as there is room to move, of one read's worth.
    fn stretch(&mut self, target: u64) -> Result<(), ReadError> {
        let room = target.saturating_sub(self.batch.len());
        let count = (room / MOVE_BYTES_MIN).max(LOOK_MIN);
        let start = self.cursor.offset;
        let bytes = (self.cursor.entries_end - start)
            .min(count * FIXED_BYTES_MAX as u64)
            .min(READ_BYTES_MAX);
        // The next stretch is on its way while this one is looked at.
        self.segment
            .prefetch(start, usize::try_from(2 * bytes).unwrap_or(0));
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
            let moved = self.look_at(&[(start, &whole)])?;
            self.take(moved);
        } else if self.single_threaded {
            for found in found.chunks(PARALLEL_CHUNK) {
                let moved = self.look_at(found)?;
                self.take(moved);
            }
        } else if found.len() < PARALLEL_MIN {
            let moved = self.look_at(&found)?;
            self.take(moved);
        } else {
            let workers = &self.core.workers;
            let look_at = |chunk: &[(u64, &[u8])]| self.look_at(chunk);
            for part in workers.map_chunks(&found, PARALLEL_CHUNK, look_at)? {
                self.take(part);
            }
        }
        self.cursor.offset = start + at as u64;
        Ok(())
    }

    /// Writes those of the entries again that are alive. Each is given with its offset.
    fn look_at(&self, entries: &[(u64, &[u8])]) -> Result<Batch, ReadError> {
        let damage = |offset: u64, what| self.segment.damage(offset, what);
        let mut hashes: Vec<Option<u64>> = Vec::with_capacity(entries.len());
        for (offset, bytes) in entries {
            let hash = entry::checked_hash(&self.core.hasher, bytes);
            hashes.push(hash.map_err(|what| damage(*offset, what))?);
        }
        let known: Vec<u64> = hashes.iter().copied().flatten().collect();
        self.core.index.bring_near(&known);
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
                self.move_payload(&mut moved, location, number, &entry, bytes);
            }
            let Some(hash) = hash else { continue };
            match &entry.body {
                Body::Value { value, .. } if value.is_tombstone() => {
                    moved.push_moved(hash, location, 0, true);
                    entry::write_drop(&mut moved.bytes, location, hash);
                }
                Body::Value { key, value, .. } => {
                    moved.push_moved(hash, location, value.move_bytes(), false);
                    entry::write_value(&mut moved.bytes, location, key, value, None);
                }
                Body::Code { hash: code, .. } => {
                    moved.push_moved(hash, location, entry.bytes, false);
                    let bytes = &bytes[entry::blob_range(&entry.body)];
                    entry::write_code(&mut moved.bytes, location, *code, bytes);
                }
                Body::Drop { .. } | Body::Payload { .. } | Body::Ancestor { .. } => {}
            }
        }
        Ok(moved)
    }

    /// Writes a payload again if it is kept.
    fn move_payload(
        &self,
        moved: &mut Batch,
        location: Location,
        number: u64,
        entry: &Entry,
        bytes: &[u8],
    ) {
        let chain = self.core.chain.read();
        let place = chain.payloads.get(&number);
        if place.is_none_or(|place| place.location != location) {
            return;
        }
        moved.chain_changes.push(ChainChange::Payload {
            number,
            previous: location,
            offset: moved.len(),
            bytes: entry.bytes,
        });
        moved.entry_count += 1;
        let payload = &bytes[entry::blob_range(&entry.body)];
        entry::write_payload(&mut moved.bytes, location, number, payload);
    }
}
