//! Distinguishes the end of the log from damage. A crash leaves an incomplete record, and nothing
//! after it. If bytes that were durable lie after it, they were damaged, and the database is not
//! opened.

use crate::{
    error::{Damage, OpenError},
    log::{
        FrameError, Manifest, PAGE_BYTES, RecordError, RecordHeader, SEGMENT_HEADER_BYTES, Segment,
        SegmentTable, unseal_frame,
    },
    shared::{Core, Writer},
    storage::read_bytes,
};
use std::sync::Arc;

/// How far after a blank end a later record is searched. After an end that is not blank,
/// everywhere.
const BLANK_REACH_BYTES: u64 = 16 << 20;
const SCAN_BYTES: u64 = 1 << 20;
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

/// Returns the incomplete record, if there is one; fails if the log was damaged here.
pub(super) fn end_of_log(
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
            let (file, _) = core.file_at(writer.position);
            return Err(FrameError::Newer(found).into_open_error("record", file, 0));
        }
        error => error,
    };
    let (file, offset) = core.file_at(writer.position);
    let is_blank = matches!(error, RecordError::Frame(FrameError::Blank));
    let what = match error {
        RecordError::Frame(error) => error.damage("record", file.clone(), offset).what,
        RecordError::Foreign(what) => what,
        RecordError::File(_) => unreachable!("returned above"),
    };
    let damage = Damage::new(file, offset, what);
    if writer.position < manifest.durable {
        return Err(OpenError::Damaged(damage));
    }
    if let Some(later) = later_record(core, table, writer, place, is_blank)? {
        let what = format!("{}, but there is a later record at {later}", damage.what);
        return Err(OpenError::Damaged(Damage { what, ..damage }));
    }
    Ok((!is_blank).then_some(damage))
}

/// Finds a record that was written after the missing one was durable.
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
        let size = segment.size;
        if segment.start + size <= from {
            continue;
        }
        let mut offset = from.saturating_sub(segment.start).max(SEGMENT_HEADER_BYTES);
        while offset < size && reach > 0 {
            let bytes = SCAN_BYTES.min(size - offset);
            let buffer = read_bytes(&*segment.file, &segment.path, offset, bytes)?;
            for (page, at) in buffer.chunks(PAGE).zip((offset..).step_by(PAGE)) {
                if let Ok((header, _)) = unseal_frame::<RecordHeader>(page)
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
