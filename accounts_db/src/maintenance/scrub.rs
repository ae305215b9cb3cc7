//! Scrub: checks every byte that matters.

use crate::{
    error::{Damage, OpenError, ReadError},
    index::check_checkpoint,
    log::{
        FRAME_BYTES, Key, MANIFEST, Manifest, PAGE_BYTES, Record, RecordError,
        SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
        entry::{self, Body},
        read_record, read_record_header, unseal_frame,
    },
    read::is_version_of,
    shared::Core,
    storage::read_bytes,
    trie::TrieSource,
};
use lockweave_state_trie::{UNIT_BYTES, units_of};
use std::{io, ops::ControlFlow, sync::Arc};

/// Number of damages listed.
const DAMAGES_MAX: usize = 1000;

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes checked.
    pub bytes: u64,
    /// Records checked.
    pub records: u64,
    /// Entries checked.
    pub entries: u64,
    /// The damages, at most the first 1000.
    pub damages: Vec<Damage>,
}

impl ScrubReport {
    /// Whether there is no damage.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    fn note(&mut self, damage: Damage) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        }
    }
}

impl Core {
    /// Checks manifest, checkpoint and every record. `progress` receives the number of bytes
    /// checked and the total, and can stop the scrub.
    pub(crate) fn scrub(
        &self,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<ScrubReport, ReadError> {
        let mut report = ScrubReport::default();
        {
            // The lock prevents their replacement.
            let _checkpointing = self.checkpointing.lock();
            self.scrub_manifest(&mut report)?;
            self.scrub_checkpoint(&mut report)?;
            self.scrub_trie(&mut report)?;
        }
        let table = self.segments();
        let total = table.iter().map(|segment| segment.end()).sum();
        let mut done = 0;
        for segment in table.iter() {
            let end = segment.end();
            let mut visit = |bytes| progress(done + bytes, total);
            if scrub_segment(self, segment, end, &mut report, &mut visit)?.is_break() {
                return Ok(report);
            }
            done += end;
        }
        Ok(report)
    }

    fn scrub_manifest(&self, report: &mut ScrubReport) -> Result<(), ReadError> {
        match Manifest::load(&*self.storage) {
            Ok(Some(manifest)) => report.bytes += manifest.to_bytes().len() as u64,
            Ok(None) => {
                let file = self.storage.describe(MANIFEST);
                report.note(Damage::new(file, 0, "the file is missing"));
            }
            Err(error) => note_open_error(report, error)?,
        }
        Ok(())
    }

    fn scrub_checkpoint(&self, report: &mut ScrubReport) -> Result<(), ReadError> {
        match check_checkpoint(&*self.storage, self.database, self.index.shard_bits()) {
            Ok(bytes) => report.bytes += bytes,
            Err(error) => note_open_error(report, error)?,
        }
        Ok(())
    }

    /// Reads every node of the state trie in the newest checkpoint.
    fn scrub_trie(&self, report: &mut ScrubReport) -> Result<(), ReadError> {
        let root = self.trie_root_stored.lock().clone();
        if root.is_empty() {
            return Ok(());
        }
        let source = TrieSource::new(self);
        let walked = lockweave_state_trie::walk(&root, &source, |location| {
            report.bytes += units_of(location).1 * UNIT_BYTES as u64;
        });
        match walked {
            Err(ReadError::Trie(damage)) => report.note(damage),
            Err(ReadError::File(error)) if error.source.kind() == io::ErrorKind::UnexpectedEof => {
                report.note(Damage::new(error.file, 0, "the file is cut short"));
            }
            walked => walked?,
        }
        Ok(())
    }

    /// Compares the index with the log. Nothing may be committed meanwhile.
    pub(crate) fn verify_index(&self) -> Result<(), ReadError> {
        let table = self.segments();
        for shard in 0..self.index.shard_count() {
            for location in self.index.locations(shard) {
                let entry = self.entry_at(&table, location)?;
                let entry = entry.ok_or_else(|| self.missing_segment(location))?;
                let hash = entry::index_hash(&self.hasher, &entry.body);
                let is_newest = hash.is_some_and(|hash| self.index.contains(hash, location));
                let key = match entry.body {
                    Body::Value { key, .. } => Some(key),
                    Body::Code { hash, .. } => Some(Key::Code(hash)),
                    _ => None,
                };
                if !is_newest || !key.is_some_and(|key| is_version_of(&entry, &key)) {
                    return Err(self.damage_at(location, "the index names an entry it should not"));
                }
            }
        }
        Ok(())
    }
}

fn note_open_error(report: &mut ScrubReport, error: OpenError) -> Result<(), ReadError> {
    match error {
        OpenError::Damaged(damage) => report.note(damage),
        OpenError::File(error) if error.source.kind() == io::ErrorKind::UnexpectedEof => {
            report.note(Damage::new(error.file, 0, "the file is cut short"));
        }
        OpenError::File(error) => return Err(error.into()),
        other => report.note(Damage::new("", 0, other.to_string())),
    }
    Ok(())
}

fn scrub_segment(
    core: &Core,
    segment: &Arc<Segment>,
    end: u64,
    report: &mut ScrubReport,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReadError> {
    scrub_segment_header(core, segment, report)?;
    let mut offset = SEGMENT_HEADER_BYTES;
    while offset < end {
        match read_record(segment, offset) {
            Ok(record) => {
                scrub_entries(segment, &record, report);
                report.records += 1;
                offset += record.header.bytes;
            }
            Err(RecordError::File(error)) => return Err(error.into()),
            Err(error) => {
                match error.into_read_error(segment.path.clone(), offset) {
                    ReadError::Damaged(damage) => report.note(damage),
                    error => return Err(error),
                }
                // The header says where the next record begins; a damaged header makes a search
                // necessary.
                offset = next_record(core, segment, offset, end)?;
            }
        }
        if progress(offset).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    report.bytes += end;
    Ok(ControlFlow::Continue(()))
}

fn scrub_segment_header(
    core: &Core,
    segment: &Segment,
    report: &mut ScrubReport,
) -> Result<(), ReadError> {
    let page = read_bytes(&*segment.file, &segment.path, 0, SEGMENT_HEADER_BYTES)?;
    match unseal_frame::<SegmentHeader>(&page) {
        Ok((header, _)) if header.database == core.database && header.number == segment.number => {}
        Ok(_) => report.note(segment.damage_at(0, "the segment's header is of another segment")),
        Err(error) => report.note(error.damage("segment's header", segment.path.clone(), 0)),
    }
    if let Some(at) = page[FRAME_BYTES..].iter().position(|byte| *byte != 0) {
        let offset = (FRAME_BYTES + at) as u64;
        report.note(segment.damage_at(offset, "a byte after the segment's header is not zero"));
    }
    Ok(())
}

fn scrub_entries(segment: &Segment, record: &Record, report: &mut ScrubReport) {
    let mut count = 0;
    for entry in record.entries() {
        count += 1;
        if let Err((position, what)) = entry {
            report.note(segment.damage_at(position - segment.start, what));
        }
    }
    report.entries += count;
    if count != record.header.entry_count {
        let what = "the record has another number of entries than its header says";
        report.note(segment.damage_at(record.header.position - segment.start, what));
    }
}

/// The first page after `offset` at which a record of this database begins.
fn next_record(core: &Core, segment: &Segment, offset: u64, end: u64) -> Result<u64, ReadError> {
    let mut next = offset + PAGE_BYTES;
    while next < end {
        match read_record_header(segment, next) {
            Ok(header)
                if header.database == core.database && header.position == segment.start + next =>
            {
                return Ok(next);
            }
            Err(RecordError::File(error)) => return Err(error.into()),
            _ => next += PAGE_BYTES,
        }
    }
    Ok(end)
}
