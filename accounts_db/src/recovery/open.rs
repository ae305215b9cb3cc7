//! Opening: manifest, segments, checkpoint, and redo of what came after it.
//!
//! Redo needs no key's old entry: a record's entries say where the previous version is, and that is
//! what the index has. It ends at the first record that is not there as a whole. That is where a crash
//! left the log, unless bytes that are known to have been durable lie behind it: then they
//! were damaged, and the database is not opened.

use crate::{
    error::{Damage, FileError, OpenError, ReadError},
    index::chain::Chain,
    index::checkpoint,
    index::checkpoint::{CHECKPOINT_NEW, CheckpointState, Loaded},
    log::batch::SpareBatches,
    log::change::{ChainChange, Change},
    log::frame,
    log::frame::{FRAME_BYTES, FrameError},
    log::key::KeyHasher,
    log::location::Location,
    log::manifest::{Manifest, open_error},
    log::read as log,
    log::read::{Expected, RecordError},
    log::record,
    log::record::{PAGE_BYTES, Record, RecordHeader},
    log::segment,
    log::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, SegmentTable},
    log::segment_allocator::Room,
    maintenance::background_gathering::Ahead,
    options::Options,
    shared::core::{Core, Writer},
    storage::Storage,
    workers::Workers,
};
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Fewer entries than this are not worth other threads.
const PARALLEL_MIN: usize = 2048;
const PARALLEL_CHUNK: usize = 1024;
/// How far behind a blank end a later record is looked for. Where the end is not blank, everywhere.
const BLANK_REACH_BYTES: u64 = 16 << 20;
const SCAN_BYTES: u64 = 1 << 20;
/// How far ahead of redo the log is asked for, so that the medium works while records are applied, and
/// in what steps.
const AHEAD_BYTES: u64 = 32 << 20;
const AHEAD_STEP_BYTES: u64 = 8 << 20;
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Records read from the log because they came after the checkpoint.
    pub records: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// A record at the log's end that is not there as a whole: a crash came before it was durable.
    /// Its block was not acknowledged.
    pub unfinished: Option<Damage>,
    /// How long it took.
    pub time: Duration,
}

/// Opens the database in a folder.
pub(crate) fn open(
    storage: Box<dyn Storage>,
    options: Options,
) -> Result<(Core, Recovery), OpenError> {
    options.check()?;
    let started = Instant::now();
    let manifest = match Manifest::load(&*storage)? {
        Some(manifest) => manifest,
        None => create(&*storage, &options)?,
    };
    let workers = Workers::new(options.threads)?;
    checkpoint::read_ahead(&*storage);
    let (table, strays) = open_segments(&*storage, &manifest, &workers, options.read_only)?;
    let (index, loaded) = checkpoint::load(&*storage, &manifest, &workers)?;
    let storage: Arc<dyn Storage> = Arc::from(storage);
    let room = Room::new(
        Arc::clone(&storage),
        manifest.database,
        manifest.segment_bytes,
    );
    let core = Core {
        storage,
        room,
        ahead: Ahead::default(),
        options,
        database: manifest.database,
        hash_key: manifest.hash_key,
        hasher: KeyHasher::new(manifest.hash_key),
        workers,
        checkpointing: Mutex::new(()),
        writer: Mutex::new(Writer::default()),
        publishing: RwLock::new(()),
        checkpoint: Mutex::new(CheckpointState::default()),
        checkpoint_wanted: Condvar::new(),
        chain: RwLock::new(Chain::default()),
        pins: Mutex::new(BTreeMap::new()),
        table: RwLock::new(Arc::new(table)),
        index,
        applied: AtomicU64::new(0),
        preparations: AtomicU64::new(0),
        spare: SpareBatches::default(),
        stopped: AtomicBool::new(false),
        strays: Mutex::new(strays),
    };
    let mut recovery = redo(&core, &manifest, loaded)?;
    if !core.workers.are_several() && !core.options.read_only {
        core.remove_strays();
    }
    recovery.time = started.elapsed();
    Ok((core, recovery))
}

/// A new, empty database.
fn create(storage: &dyn Storage, options: &Options) -> Result<Manifest, OpenError> {
    let folder = storage.describe("");
    let names = storage
        .list()
        .map_err(|source| FileError::new("list", &folder, source))?;
    if names
        .iter()
        .any(|name| segment::number(name).is_some() || name == checkpoint::CHECKPOINT)
    {
        return Err(OpenError::Missing {
            file: storage.describe(crate::log::manifest::MANIFEST),
            why: "there are files of an accounts database in the folder".to_owned(),
        });
    }
    if !options.create {
        return Err(OpenError::NotADatabase { folder });
    }
    let manifest = Manifest {
        database: options.seed.map_or_else(random, |seed| seeded(seed, 0)),
        hash_key: options.seed.map_or_else(random, |seed| seeded(seed, 1)),
        segment_bytes: options.segment_bytes,
        shard_bits: options.shard_bits,
        segments: Vec::new(),
        durable: 0,
    };
    manifest.store(storage)?;
    Ok(manifest)
}

/// Random bytes: each of the standard library's hash states has keys from the operating system.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    for half in bytes.chunks_exact_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
    }
    bytes
}

/// Bytes that follow from a seed.
fn seeded(seed: u64, number: u8) -> [u8; 16] {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.push(number);
    frame::checksum(&bytes)
}

/// Opens the segments of the manifest and those begun since. The second are files that no database
/// needs: segments that were given up, and one whose beginning was cut off by a crash.
fn open_segments(
    storage: &dyn Storage,
    manifest: &Manifest,
    workers: &Workers,
    read_only: bool,
) -> Result<(SegmentTable, Vec<String>), OpenError> {
    let mut table = SegmentTable::new(manifest.segment_bytes);
    // Each is a read from another place of the medium.
    let known = workers.map_numbers(manifest.segments.len(), |at| {
        let (number, places) = manifest.segments[at];
        open_segment(storage, manifest, number, Some(places))
    })?;
    for segment in known {
        table = table.with(&Arc::new(segment));
    }
    let names =
        (storage.list()).map_err(|source| FileError::new("list", storage.describe(""), source))?;
    let mut begun: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::number(name))
        .collect();
    begun.sort_unstable();
    let mut strays: Vec<String> = (names.iter())
        .filter(|name| {
            [CHECKPOINT_NEW, crate::log::manifest::MANIFEST_NEW].contains(&name.as_str())
        })
        .cloned()
        .collect();
    let mut next = table.last().map_or(0, |last| last.number + last.places);
    for number in begun {
        if number < next {
            if table.get(number).is_none() {
                strays.push(segment::name(number));
            }
            continue;
        }
        match open_segment(storage, manifest, number, None) {
            Ok(segment) if number == next => {
                next = segment.number + segment.places;
                table = table.with(&Arc::new(segment));
            }
            // Its beginning was never durable, so no record is in it. Another will be begun under its name.
            Err(OpenError::Damaged(_)) if read_only => {}
            Err(OpenError::Damaged(_)) => {
                let _ = storage.remove(&segment::name(number));
            }
            Ok(_) => {
                return Err(OpenError::Missing {
                    file: storage.describe(&segment::name(next)),
                    why: format!("there is a later one, {}", segment::name(number)),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((table, strays))
}

/// Opens a segment; `places` is known of those in the manifest.
fn open_segment(
    storage: &dyn Storage,
    manifest: &Manifest,
    number: u64,
    places: Option<u64>,
) -> Result<Segment, OpenError> {
    let name = segment::name(number);
    let path = storage.describe(&name);
    let file = storage.open(&name).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing {
            file: path.clone(),
            why: "the manifest names it".to_owned(),
        },
        _ => FileError::new("open", &path, source).into(),
    })?;
    let read = |source| FileError::new("read", &path, source);
    let size = file.size().map_err(read)?;
    let damaged = |offset, what: &str| {
        let (file, what) = (path.clone(), what.to_owned());
        OpenError::Damaged(Damage { file, offset, what })
    };
    if size < SEGMENT_HEADER_BYTES {
        return Err(damaged(size, "the segment is cut short"));
    }
    let mut bytes = [0; FRAME_BYTES];
    file.read_at(&mut bytes, 0).map_err(read)?;
    let (header, _) = frame::unseal::<SegmentHeader>(&bytes)
        .map_err(|error| open_error(error, "segment's header", path.clone(), 0))?;
    if header.database != manifest.database
        || header.number != number
        || header.segment_bytes != manifest.segment_bytes
        || header.places == 0
        || places.is_some_and(|places| places != header.places)
    {
        return Err(damaged(0, "the segment is of another place or database"));
    }
    let full = header.places.checked_mul(header.segment_bytes);
    if full.is_none_or(|full| size < full) {
        return Err(damaged(size, "the segment is cut short"));
    }
    Ok(Segment::new(&header, path, file)?)
}

/// Applies the checkpoint and every record after it.
fn redo(core: &Core, manifest: &Manifest, loaded: Option<Loaded>) -> Result<Recovery, OpenError> {
    let table = core.segments();
    let first = table.iter().next().map_or(0, |segment| segment.start);
    let mut shard_positions = None;
    let mut writer = Writer {
        position: first + SEGMENT_HEADER_BYTES,
        ..Writer::default()
    };
    if let Some(loaded) = loaded {
        for stored in &loaded.segments {
            if let Some(segment) = table.get(stored.number) {
                segment.set_end(stored.end);
                segment.add_live(stored.live);
                segment.set_newest(stored.newest);
            }
        }
        *core.chain.write() = loaded.chain;
        writer.position = loaded.position;
        writer.sequence = loaded.sequence;
        writer.previous = loaded.previous;
        writer.lattice = loaded.lattice;
        core.checkpoint.lock().bytes = loaded.bytes;
        shard_positions = Some(loaded.shard_positions);
    } else if first != 0 {
        return Err(OpenError::Missing {
            file: core.storage.describe(checkpoint::CHECKPOINT),
            why: "the log's beginning is no longer there, so it cannot be rebuilt".to_owned(),
        });
    }
    core.applied.store(writer.position, Ordering::Release);
    let mut recovery = Recovery::default();
    let mut last = None;
    let mut asked = writer.position;
    read_ahead(&table, writer.position, &mut asked);
    let mut next = next_record(core, &table, &writer);
    loop {
        match next {
            Ok((segment, record)) => {
                recovery.records += 1;
                recovery.bytes += record.header.bytes;
                writer.position = record.header.position + record.header.bytes;
                writer.sequence += 1;
                writer.previous = record.checksum;
                writer.lattice = record.lattice();
                read_ahead(&table, writer.position, &mut asked);
                let (read, applied) = core.workers.beside(
                    || next_record(core, &table, &writer),
                    || apply(core, &segment, &record, shard_positions.as_deref()),
                );
                applied?;
                next = read;
                last = Some((segment, record));
            }
            Err((place, error)) => {
                recovery.unfinished =
                    end_of_log(core, &table, manifest, &writer, place.as_ref(), error)?;
                break;
            }
        }
    }
    if let Some(needed) = shard_positions.iter().flatten().max().copied()
        && needed > writer.position
    {
        let (file, offset) = core.place_of(writer.position);
        let what = "the checkpoint has records that the log has not".to_owned();
        return Err(OpenError::Damaged(Damage { file, offset, what }));
    }
    if let Some((segment, record)) = last
        && !core.options.read_only
        && writer.position > manifest.durable
    {
        // A sync of it may have failed before the crash, and then the system may take its pages for
        // clean although the medium does not have them: write them again, with the same bytes.
        let offset = record.header.position - segment.start;
        let mut bytes = record.bytes().to_vec();
        record::end_log(&mut bytes, segment.places * table.segment_bytes() - offset);
        (segment.file.write_at(&bytes, offset))
            .map_err(|source| FileError::new("write", &segment.path, source))?;
        (segment.file.sync()).map_err(|source| FileError::new("sync", &segment.path, source))?;
    }
    writer.has_refused = recovery.unfinished.is_some();
    core.checkpoint.lock().appended = recovery.bytes;
    *core.writer.lock() = writer;
    Ok(recovery)
}

/// Asks for what is read next of the log, behind what was asked for already.
fn read_ahead(table: &SegmentTable, position: u64, asked: &mut u64) {
    while *asked < position + AHEAD_BYTES {
        let Some((segment, offset)) = table.at(Location::from_position(*asked)) else {
            return;
        };
        let size = segment.places * table.segment_bytes();
        let bytes = AHEAD_STEP_BYTES.min(size - offset);
        segment.file.read_ahead(offset, bytes);
        *asked += bytes;
    }
}

/// Where the expected record should be: a segment and an offset in it.
type Place = Option<(Arc<Segment>, u64)>;

/// The next record: where the last one ends, or at the beginning of the next segment.
fn next_record(
    core: &Core,
    table: &SegmentTable,
    writer: &Writer,
) -> Result<(Arc<Segment>, Record), (Place, RecordError)> {
    let expected = Expected {
        database: core.database,
        sequence: writer.sequence,
        previous: writer.previous,
    };
    // A position at a segment's very beginning is the end of the one before.
    let here = table
        .at(Location::from_position(writer.position))
        .filter(|(_, offset)| *offset > 0)
        .map(|(segment, offset)| (Arc::clone(segment), offset));
    let mut failure = (here.clone(), RecordError::Frame(FrameError::Blank));
    if let Some((segment, offset)) = here {
        match log::read_expected(table, &segment, offset, &expected) {
            Ok(record) => return Ok((segment, record)),
            Err(error) => failure.1 = error,
        }
    }
    let after = failure
        .0
        .as_ref()
        .map_or(writer.position, |(segment, _)| segment.start + 1);
    // A segment that was begun for a refused block stays empty if the next block is too long for it.
    for next in table.iter().filter(|segment| segment.start >= after) {
        let record = log::read_expected(table, next, SEGMENT_HEADER_BYTES, &expected);
        if let Ok(record) = record {
            return Ok((Arc::clone(next), record));
        }
    }
    Err(failure)
}

fn apply(
    core: &Core,
    segment: &Segment,
    record: &Record,
    shard_positions: Option<&[u64]>,
) -> Result<(), OpenError> {
    let start = record.header.position;
    let damaged = |position: u64, what: &str| match segment.damage(position - segment.start, what) {
        ReadError::Damaged(damage) => OpenError::Damaged(damage),
        _ => unreachable!("damage is damage"),
    };
    let offsets = (record.entry_offsets()).map_err(|(position, what)| damaged(position, what))?;
    // Checksums and hashes of entries cost more than anything else in redo.
    let parse = |offsets: &[usize]| {
        let (mut changes, mut chain_changes) = (Vec::new(), Vec::new());
        for offset in offsets {
            let entry = record.entry_at(*offset)?;
            changes.extend(Change::of(&core.hasher, &entry, *offset as u64));
            chain_changes.extend(ChainChange::of(&entry, *offset as u64));
        }
        Ok((changes, chain_changes))
    };
    let parts: Result<Vec<_>, (u64, &'static str)> = if offsets.len() < PARALLEL_MIN {
        parse(&offsets).map(|part| vec![part])
    } else {
        core.workers.map_chunks(&offsets, PARALLEL_CHUNK, parse)
    };
    let (mut changes, mut chain_changes) = (Vec::new(), Vec::new());
    for part in parts.map_err(|(position, what)| damaged(position, what))? {
        changes.extend(part.0);
        chain_changes.extend(part.1);
    }
    core.publish(&record.header, &changes, &chain_changes, shard_positions)
        .map_err(|location| {
            let what = format!(
                "the record supersedes an entry at log position {} that the index does not have",
                location.position()
            );
            damaged(start, &what)
        })
}

/// Tells a log that ends here from one that was damaged here.
fn end_of_log(
    core: &Core,
    table: &SegmentTable,
    manifest: &Manifest,
    writer: &Writer,
    place: Option<&(Arc<Segment>, u64)>,
    error: RecordError,
) -> Result<Option<Damage>, OpenError> {
    let error = match error {
        RecordError::File(error) => return Err(error.into()),
        RecordError::Frame(FrameError::Newer(found)) => {
            let (file, _) = core.place_of(writer.position);
            return Err(open_error(FrameError::Newer(found), "record", file, 0));
        }
        error => error,
    };
    let (file, offset) = core.place_of(writer.position);
    let is_blank = matches!(error, RecordError::Frame(FrameError::Blank));
    let what = match error {
        RecordError::Frame(error) => error.damage("record", file.clone(), offset).what,
        RecordError::Foreign(what) => what,
        RecordError::File(_) => unreachable!("returned above"),
    };
    let damage = Damage { file, offset, what };
    if writer.position < manifest.durable {
        return Err(OpenError::Damaged(damage));
    }
    if let Some(later) = later_record(core, table, writer, place, is_blank)? {
        let what = format!("{}, but there is a later record at {later}", damage.what);
        return Err(OpenError::Damaged(Damage { what, ..damage }));
    }
    Ok((!is_blank).then_some(damage))
}

/// Looks for a record that was written after the missing one was durable.
fn later_record(
    core: &Core,
    table: &SegmentTable,
    writer: &Writer,
    place: Option<&(Arc<Segment>, u64)>,
    is_blank: bool,
) -> Result<Option<String>, OpenError> {
    let from = place
        .as_ref()
        .map_or(writer.position, |(segment, offset)| segment.start + offset);
    let mut reach = if is_blank {
        BLANK_REACH_BYTES
    } else {
        u64::MAX
    };
    for segment in table.iter() {
        let size = segment.places * table.segment_bytes();
        if segment.start + size <= from {
            continue;
        }
        let mut offset = from.saturating_sub(segment.start).max(SEGMENT_HEADER_BYTES);
        while offset < size && reach > 0 {
            let bytes = SCAN_BYTES.min(size - offset);
            let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
            (segment.file.read_at(&mut buffer, offset))
                .map_err(|source| FileError::new("read", &segment.path, source))?;
            for (page, at) in buffer.chunks(PAGE).zip((offset..).step_by(PAGE)) {
                if let Ok((header, _)) = frame::unseal::<RecordHeader>(page)
                    && header.database == core.database
                    && header.sequence > writer.sequence
                    && header.position == segment.start + at
                {
                    return Ok(Some(format!("{} byte {at}", segment.path)));
                }
            }
            offset += bytes;
            reach = reach.saturating_sub(bytes);
        }
    }
    Ok(None)
}

impl Core {
    /// Removes files that no database needs. What cannot be removed now is removed next time.
    ///
    /// Where other things write to the medium this may wait for them, so nobody should wait for it.
    pub(crate) fn remove_strays(&self) {
        // Files of checkpoints and manifests are made anew under the same names.
        let _checkpointing = self.checkpointing.lock();
        for name in std::mem::take(&mut *self.strays.lock()) {
            let _ = self.storage.remove(&name);
        }
    }
}
