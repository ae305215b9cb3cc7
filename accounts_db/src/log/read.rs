//! Reads records one after another.

use super::{
    frame::{Checksum, FRAME_BYTES, FrameError, unseal_frame},
    record::{PAGE_BYTES, Record, RecordHeader},
    segment::{SEGMENT_HEADER_BYTES, Segment, SegmentTable},
};
use crate::{
    error::{Damage, FileError, ReadError},
    storage::read_bytes,
};

/// Why a record was not read.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// There is no intact record.
    Frame(FrameError),
    /// There is a record of another position or sequence.
    Foreign(String),
    File(FileError),
}

/// What the next record must contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedRecord {
    pub(crate) database: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) previous: Checksum,
}

/// Reads the record at `offset` of a segment, without checking its sequence.
pub(crate) fn read_record(segment: &Segment, offset: u64) -> Result<Record, RecordError> {
    let header = read_record_header(segment, offset)?;
    let in_place = header.position == segment.start + offset;
    let fits = offset
        .checked_add(header.bytes)
        .is_some_and(|end| end <= segment.size);
    if !in_place || !fits || header.bytes < PAGE_BYTES {
        let what = "the record's header is of another place".to_owned();
        return Err(RecordError::Foreign(what));
    }
    let bytes = read(segment, offset, header.bytes)?;
    Record::parse(bytes).map_err(RecordError::Frame)
}

/// Reads the header at `offset` of a segment.
pub(crate) fn read_record_header(
    segment: &Segment,
    offset: u64,
) -> Result<RecordHeader, RecordError> {
    if offset + PAGE_BYTES > segment.size {
        return Err(RecordError::Frame(FrameError::Blank));
    }
    let frame = read(segment, offset, FRAME_BYTES as u64)?;
    let (header, _) = unseal_frame::<RecordHeader>(&frame).map_err(RecordError::Frame)?;
    Ok(header)
}

fn read(segment: &Segment, offset: u64, bytes: u64) -> Result<Vec<u8>, RecordError> {
    read_bytes(&*segment.file, &segment.path, offset, bytes).map_err(RecordError::File)
}

/// Reads the record at `offset` of a segment if it is the expected one.
pub(crate) fn read_expected_record(
    segment: &Segment,
    offset: u64,
    expected: &ExpectedRecord,
) -> Result<Record, RecordError> {
    // The header comes first: a stale one may contain any length.
    let header = read_record_header(segment, offset)?;
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
    read_record(segment, offset)
}

/// Calls `visit` with every durable record from a byte position onwards.
pub(crate) fn walk_records(
    table: &SegmentTable,
    from: u64,
    mut visit: impl FnMut(&Segment, &Record) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    for segment in table.iter() {
        let mut offset = from.saturating_sub(segment.start).max(SEGMENT_HEADER_BYTES);
        while offset < segment.end() {
            let record = read_record(segment, offset)
                .map_err(|error| error.into_read_error(segment.path.clone(), offset))?;
            visit(segment, &record)?;
            offset += record.header.bytes;
        }
    }
    Ok(())
}

impl RecordError {
    /// The error for a reader of durable records.
    pub(crate) fn into_read_error(self, file: String, offset: u64) -> ReadError {
        match self {
            Self::File(error) => ReadError::File(error),
            Self::Frame(error) => ReadError::Damaged(error.damage("record", file, offset)),
            Self::Foreign(what) => ReadError::Damaged(Damage::new(file, offset, what)),
        }
    }
}
