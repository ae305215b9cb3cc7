//! Opens the files of the log.

use crate::{
    error::{Damage, FileContext, FileError, OpenError},
    index::CHECKPOINT_NEW,
    log::{
        FRAME_BYTES, MANIFEST_NEW, Manifest, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
        SegmentTable, segment_file_name, segment_number, unseal_frame,
    },
    storage::{Storage, read_bytes},
    workers::Workers,
};
use std::{io, sync::Arc};

/// Opens the segments of the manifest and those created since. Also returns the files that the
/// database does not need: retired segments, and leftovers of unfinished replacements.
pub(super) fn open_segments(
    storage: &dyn Storage,
    manifest: &Manifest,
    workers: &Workers,
    read_only: bool,
) -> Result<(SegmentTable, Vec<String>), OpenError> {
    let mut table = SegmentTable::new(manifest.segment_bytes);
    // Each reads from another place of the medium.
    let known = workers.map_range(manifest.segments.len(), |at| {
        let (number, places) = manifest.segments[at];
        open_segment(storage, manifest, number, Some(places))
    })?;
    for segment in known {
        table = table.with(&Arc::new(segment));
    }
    let names = storage.list().context("list", storage.describe(""))?;
    let mut begun: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    begun.sort_unstable();
    let mut leftover_files: Vec<String> = (names.iter())
        .filter(|name| [CHECKPOINT_NEW, MANIFEST_NEW].contains(&name.as_str()))
        .cloned()
        .collect();
    let mut next = table.last().map_or(0, |last| last.number + last.places);
    for number in begun {
        if number < next {
            if table.get(number).is_none() {
                leftover_files.push(segment_file_name(number));
            }
            continue;
        }
        match open_segment(storage, manifest, number, None) {
            Ok(segment) if number == next => {
                next = segment.number + segment.places;
                table = table.with(&Arc::new(segment));
            }
            // Its header was never durable, so it has no record. Its name will be used again.
            Err(OpenError::Damaged(_)) if read_only => {}
            Err(OpenError::Damaged(_)) => {
                let _ = storage.remove(&segment_file_name(number));
            }
            Ok(_) => {
                return Err(OpenError::Missing {
                    file: storage.describe(&segment_file_name(next)),
                    why: format!("there is a later one, {}", segment_file_name(number)),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok((table, leftover_files))
}

/// Opens a segment; `places` is known for those in the manifest.
fn open_segment(
    storage: &dyn Storage,
    manifest: &Manifest,
    number: u64,
    places: Option<u64>,
) -> Result<Segment, OpenError> {
    let name = segment_file_name(number);
    let path = storage.describe(&name);
    let file = storage.open(&name).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing {
            file: path.clone(),
            why: "the manifest names it".to_owned(),
        },
        _ => FileError::new("open", &path, source).into(),
    })?;
    let size = file.size().context("read", &path)?;
    let damaged = |offset, what| OpenError::Damaged(Damage::new(&path, offset, what));
    if size < SEGMENT_HEADER_BYTES {
        return Err(damaged(size, "the segment is cut short"));
    }
    let bytes = read_bytes(&*file, &path, 0, FRAME_BYTES as u64)?;
    let (header, _) = unseal_frame::<SegmentHeader>(&bytes)
        .map_err(|error| error.into_open_error("segment's header", path.clone(), 0))?;
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
