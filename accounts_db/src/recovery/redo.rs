//! Redo: applies the records after the checkpoint. A record's entries contain their previous
//! locations, which is what the index has, so redo reads no older entry. It ends at the first
//! record that is missing or incomplete; `end_of_log` decides whether that is damage.

use super::end_of_log::end_of_log;
use crate::{
    error::{Damage, FileContext, OpenError},
    index::{CHECKPOINT, LoadedCheckpoint},
    log::{
        ChainChange, Change, ExpectedRecord, FrameError, Location, Manifest, Record, RecordError,
        SEGMENT_HEADER_BYTES, Segment, SegmentTable, append_log_end, read_expected_record,
    },
    shared::{Core, Writer},
    trie::{RedoneKeys, update_trie},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Fewer entries than this are not worth several threads.
const PARALLEL_MIN: usize = 2048;
const PARALLEL_CHUNK: usize = 1024;
/// How far ahead of redo the log is read into memory, and in what steps, so that the medium works
/// while records are applied.
const AHEAD_BYTES: u64 = 32 << 20;
const AHEAD_STEP_BYTES: u64 = 8 << 20;

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Records after the checkpoint, read from the log.
    pub records: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// An incomplete record at the end of the log: a crash happened before it was durable, so its
    /// block was not acknowledged.
    pub unfinished: Option<Damage>,
    /// Duration of the recovery.
    pub time: Duration,
}

/// Applies the checkpoint and every record after it.
pub(super) fn redo(
    core: &Core,
    manifest: &Manifest,
    loaded: Option<LoadedCheckpoint>,
) -> Result<Recovery, OpenError> {
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
        writer.position = loaded.header.position;
        writer.sequence = loaded.header.sequence;
        writer.previous = loaded.header.previous;
        core.checkpoint.lock().bytes = loaded.header.bytes;
        shard_positions = Some(loaded.shard_positions);
    } else if first != 0 {
        return Err(OpenError::Missing {
            file: core.storage.describe(CHECKPOINT),
            why: "the log's beginning is no longer there, so it cannot be rebuilt".to_owned(),
        });
    }
    core.applied.store(writer.position, Ordering::Release);
    let mut recovery = Recovery::default();
    let mut touched = RedoneKeys::default();
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
                read_ahead(&table, writer.position, &mut asked);
                let (read, applied) = core.workers.run_alongside(
                    || next_record(core, &table, &writer),
                    || {
                        apply(
                            core,
                            &segment,
                            &record,
                            shard_positions.as_deref(),
                            &mut touched,
                        )
                    },
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
        let (file, offset) = core.file_at(writer.position);
        let what = "the checkpoint has records that the log has not";
        return Err(OpenError::Damaged(Damage::new(file, offset, what)));
    }
    if let Some((segment, record)) = last
        && !core.options.read_only
        && writer.position > manifest.durable
    {
        // Its sync may have failed before the crash, and then the system may consider its pages
        // clean although the medium does not have them. Write them again, with the same bytes.
        let offset = record.header.position - segment.start;
        let mut bytes = record.bytes().to_vec();
        append_log_end(&mut bytes, segment.size - offset);
        (segment.file.write_at(&bytes, offset)).context("write", &segment.path)?;
        segment.file.sync().context("sync", &segment.path)?;
    }
    update_trie(core, touched, writer.position)?;
    writer.has_refused = recovery.unfinished.is_some();
    core.checkpoint.lock().appended = recovery.bytes;
    *core.writer.lock() = writer;
    Ok(recovery)
}

/// Starts reading the log from `asked` on, up to a distance from `position`.
fn read_ahead(table: &SegmentTable, position: u64, asked: &mut u64) {
    while *asked < position + AHEAD_BYTES {
        let Some((segment, offset)) = table.at(Location::from_position(*asked)) else {
            return;
        };
        let size = segment.size;
        let bytes = AHEAD_STEP_BYTES.min(size - offset);
        segment.file.read_ahead(offset, bytes);
        *asked += bytes;
    }
}

/// Where the expected record should be: a segment and an offset.
type Place = Option<(Arc<Segment>, u64)>;

/// The next record: at the end of the last one, or at the beginning of a later segment.
fn next_record(
    core: &Core,
    table: &SegmentTable,
    writer: &Writer,
) -> Result<(Arc<Segment>, Record), (Place, RecordError)> {
    let expected = ExpectedRecord {
        database: core.database,
        sequence: writer.sequence,
        previous: writer.previous,
    };
    // A position at the beginning of a segment is the end of the one before.
    let here = table
        .at(Location::from_position(writer.position))
        .filter(|(_, offset)| *offset > 0)
        .map(|(segment, offset)| (Arc::clone(segment), offset));
    let mut failure = (here.clone(), RecordError::Frame(FrameError::Blank));
    if let Some((segment, offset)) = here {
        match read_expected_record(&segment, offset, &expected) {
            Ok(record) => return Ok((segment, record)),
            Err(error) => failure.1 = error,
        }
    }
    let after = failure
        .0
        .as_ref()
        .map_or(writer.position, |(segment, _)| segment.start + 1);
    // A segment that was created for a refused block stays empty if the next block does not fit.
    for next in table.iter().filter(|segment| segment.start >= after) {
        let record = read_expected_record(next, SEGMENT_HEADER_BYTES, &expected);
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
    touched: &mut RedoneKeys,
) -> Result<(), OpenError> {
    let start = record.header.position;
    let damaged = |position: u64, what: &str| {
        OpenError::Damaged(segment.damage_at(position - segment.start, what))
    };
    let offsets = (record.entry_offsets()).map_err(|(position, what)| damaged(position, what))?;
    // Checksums and hashes of entries are the main cost of redo.
    let parse = |offsets: &[usize]| {
        let (mut changes, mut chain_changes) = (Vec::new(), Vec::new());
        let mut keys = Vec::new();
        for offset in offsets {
            let entry = record.entry_at(*offset)?;
            keys.extend(RedoneKeys::of(&entry));
            changes.extend(Change::of(&core.hasher, &entry, *offset as u64));
            chain_changes.extend(ChainChange::of(&entry, *offset as u64));
        }
        Ok((changes, chain_changes, keys))
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
        touched.add(part.2);
    }
    core.publish(
        &record.header,
        &changes,
        &chain_changes,
        shard_positions,
        None,
    )
    .map_err(|location| {
        let what = format!(
            "the record supersedes an entry at log position {} that the index does not have",
            location.position()
        );
        damaged(start, &what)
    })
}
