//! Reading records one after another.

use crate::{
    commit::encode::Changes,
    error::{CommitError, FileError, ReadError},
    index::chain::BlockSummary,
    log::entry::{Body, Value},
    log::frame,
    log::frame::{Checksum, FRAME_BYTES, FrameError},
    log::key::Key,
    log::location::Location,
    log::record::{PAGE_BYTES, Record, RecordHeader},
    log::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentTable},
    shared::core::Core,
};
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// Why the log does not go on.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// There is no sound record here.
    Frame(FrameError),
    /// There is one, but of another place or time.
    Foreign(String),
    File(FileError),
}

/// What the next record must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) database: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) previous: Checksum,
}

/// Reads the record at `offset` of a segment, whatever its place in the log's order.
pub(crate) fn read_record(
    table: &SegmentTable,
    segment: &Segment,
    offset: u64,
) -> Result<Record, RecordError> {
    let header = read_header(table, segment, offset)?;
    let size = segment.places * table.segment_bytes();
    let in_place = header.position == segment.start + offset;
    let fits = offset
        .checked_add(header.bytes)
        .is_some_and(|end| end <= size);
    if !in_place || !fits || header.bytes < PAGE_BYTES {
        let what = "the record's header is of another place".to_owned();
        return Err(RecordError::Foreign(what));
    }
    let bytes = read(segment, offset, header.bytes)?;
    Record::parse(bytes).map_err(RecordError::Frame)
}

/// Reads the header at `offset` of a segment.
pub(crate) fn read_header(
    table: &SegmentTable,
    segment: &Segment,
    offset: u64,
) -> Result<RecordHeader, RecordError> {
    if offset + PAGE_BYTES > segment.places * table.segment_bytes() {
        return Err(RecordError::Frame(FrameError::Blank));
    }
    let frame = read(segment, offset, FRAME_BYTES as u64)?;
    let (header, _) = frame::unseal::<RecordHeader>(&frame).map_err(RecordError::Frame)?;
    Ok(header)
}

fn read(segment: &Segment, offset: u64, bytes: u64) -> Result<Vec<u8>, RecordError> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    (segment.file.read_at(&mut buffer, offset))
        .map_err(|source| RecordError::File(FileError::new("read", &segment.path, source)))?;
    Ok(buffer)
}

/// Reads the record at `offset` of a segment if it is the expected one.
pub(crate) fn read_expected(
    table: &SegmentTable,
    segment: &Segment,
    offset: u64,
    expected: &Expected,
) -> Result<Record, RecordError> {
    // The header alone first: a stale one may tell any length.
    let header = read_header(table, segment, offset)?;
    if header.database != expected.database
        || header.sequence != expected.sequence
        || header.previous != expected.previous
    {
        let what = format!(
            "the record does not follow the one before (sequence {}, expected {})",
            header.sequence, expected.sequence
        );
        return Err(RecordError::Foreign(what));
    }
    read_record(table, segment, offset)
}

/// Calls `visit` with every durable record from a byte position on.
pub(crate) fn walk(
    table: &SegmentTable,
    from: u64,
    mut visit: impl FnMut(&Arc<Segment>, u64, Record) -> ControlFlow<()>,
) -> Result<(), (String, u64, RecordError)> {
    for segment in table.iter() {
        let mut offset = from.saturating_sub(segment.start).max(SEGMENT_HEADER_BYTES);
        while offset < segment.end() {
            let record = read_record(table, segment, offset)
                .map_err(|error| (segment.path.clone(), offset, error))?;
            let bytes = record.header.bytes;
            if visit(segment, offset, record).is_break() {
                return Ok(());
            }
            offset += bytes;
        }
    }
    Ok(())
}

impl RecordError {
    /// What it means for somebody who reads durable records.
    pub(crate) fn into_read_error(self, file: String, offset: u64) -> ReadError {
        match self {
            Self::File(error) => ReadError::File(error),
            Self::Frame(error) => ReadError::Damaged(error.damage("record", file, offset)),
            Self::Foreign(what) => ReadError::Damaged(crate::error::Damage { file, offset, what }),
        }
    }
}

impl Core {
    /// What leads from the newest block back to `target`.
    pub(crate) fn changes_since(
        &self,
        target: &BlockSummary,
    ) -> Result<Changes<'static>, CommitError> {
        let table = self.segments();
        let (mut accounts, mut slots) = (BTreeSet::new(), BTreeSet::new());
        let mut damaged = None;
        walk(&table, target.horizon.position(), |segment, _, record| {
            for entry in record.entries() {
                match entry {
                    Ok((_, entry, _)) => match entry.body {
                        Body::Value {
                            key: Key::Account(address),
                            ..
                        } => {
                            accounts.insert(address);
                        }
                        Body::Value {
                            key: Key::Slot(address, slot),
                            ..
                        } => {
                            slots.insert((address, slot));
                        }
                        _ => {}
                    },
                    Err((position, what)) => {
                        damaged = Some(segment.damage(position - segment.start, what));
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(|(file, offset, error)| error.into_read_error(file, offset))?;
        if let Some(error) = damaged {
            return Err(error.into());
        }
        let value = |key: Key| -> Result<Option<Value>, ReadError> {
            match self.find(&table, self.hasher.hash(&key), &key)? {
                Some((location, entry)) => {
                    self.version_at(&table, target.horizon, location, &entry)
                }
                None => Ok(None),
            }
        };
        let mut account_changes = Vec::with_capacity(accounts.len());
        for address in accounts {
            let account = match value(Key::Account(address))? {
                Some(Value::Account(record)) => record.account,
                _ => None,
            };
            account_changes.push((address, account));
        }
        let mut slot_changes = Vec::with_capacity(slots.len());
        for (address, slot) in slots {
            let word = match value(Key::Slot(address, slot))? {
                Some(Value::Slot(word)) => word,
                _ => alloy_primitives::U256::ZERO,
            };
            slot_changes.push((address, slot.into(), word));
        }
        Ok(Changes {
            accounts: account_changes.into(),
            slots: slot_changes.into(),
            codes: &[],
        })
    }

    /// Where a position lies, for messages.
    pub(crate) fn place_of(&self, position: u64) -> (String, u64) {
        let table = self.segments();
        if let Some((segment, offset)) = table.at(Location::from_position(position)) {
            return (segment.path.clone(), offset);
        }
        let name = crate::log::segment::name(position / table.segment_bytes());
        (
            self.storage.describe(&name),
            position % table.segment_bytes(),
        )
    }
}
