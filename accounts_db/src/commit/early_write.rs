//! A block's entries are written while its state commitment is still being computed.
//!
//! Only whole pages between the record's first, which has header and lattice, and its last, behind which
//! the payload may follow. Where the header will be stands the blank page that ends the log, so on the
//! medium these pages are nothing: after a crash the log ends before them. When the block is committed
//! the rest is written, the first page last, and one sync makes all of it durable.
//!
//! Pages count for the block only while nobody has written there since: every write at the log's end
//! has a ticket.

use crate::{
    log::{ENTRIES_START, PAGE_BYTES, SEGMENT_HEADER_BYTES, record_bytes},
    shared::Core,
};
use std::{ops::Range, sync::atomic::Ordering};

/// Fewer bytes than this are on the medium in no time when they are synced.
const START_BYTES_MIN: usize = 256 << 10;

/// What was written of a record before it was committed.
#[derive(Clone, Debug)]
pub(crate) struct EarlyWrite {
    /// Which write at the log's end it was.
    ticket: u64,
    /// Where in the log the record would begin.
    position: u64,
    /// Bytes of the record.
    pages: Range<usize>,
}

impl EarlyWrite {
    /// The bytes that need not be written again by the write `ticket`, at `position`.
    pub(crate) fn still_valid(&self, ticket: u64, position: u64) -> Option<Range<usize>> {
        let is_last = self.ticket.checked_add(1) == Some(ticket);
        (is_last && self.position == position).then(|| self.pages.clone())
    }
}

impl Core {
    /// Writes what is known of the record `sequence`: room for its head, and entries. Gives what was
    /// written; whatever stands in the way is told when the block is committed.
    pub(crate) fn write_early(&self, sequence: u64, record: &[u8]) -> Option<EarlyWrite> {
        let page = usize::try_from(PAGE_BYTES).ok()?;
        let pages = page..record.len() - record.len() % page;
        if pages.is_empty() || self.stopped.load(Ordering::Acquire) {
            return None;
        }
        // Whoever has the end of the log is appending, and then this block will not follow.
        let mut writer = self.writer.try_lock()?;
        if writer.sequence != sequence || writer.has_refused {
            return None;
        }
        let table = self.segments();
        // Where the segment is full the block begins another: that is left to its commit.
        let segment = table.last()?;
        let offset = (writer.position.saturating_sub(segment.start)).max(SEGMENT_HEADER_BYTES);
        let size = segment.places * table.segment_bytes();
        let bytes = record_bytes((record.len() - ENTRIES_START) as u64);
        if offset.checked_add(bytes).is_none_or(|end| end > size) {
            return None;
        }
        let ticket = writer.next_ticket();
        let bytes = &record[pages.clone()];
        let at = offset + pages.start as u64;
        segment.file.write_at(bytes, at).ok()?;
        if bytes.len() >= START_BYTES_MIN {
            segment.file.start_sync(at, bytes.len() as u64);
        }
        Some(EarlyWrite {
            ticket,
            position: segment.start + offset,
            pages,
        })
    }
}
