//! Early write: a block's entries are written while its state root is still being computed.
//!
//! Only whole pages between the first page, which contains the header, and the last, after
//! which the payload may follow. The blank page that ends the log stands where the header will be,
//! so these pages do not count: after a crash the log ends before them. The commit writes the rest,
//! the first page last, and one sync makes all of it durable.
//!
//! Early pages are valid for the block only if nothing else was written there since: every write at
//! the end of the log has a ticket.

use crate::{
    log::{ENTRIES_START, PAGE_BYTES, record_bytes},
    shared::Core,
};
use std::{ops::Range, sync::atomic::Ordering};

/// Below this size, starting the write early does not pay: the sync writes it quickly anyway.
const START_BYTES_MIN: usize = 256 << 10;

/// The part of a record that was written before the commit.
#[derive(Clone, Debug)]
pub(crate) struct EarlyWrite {
    /// Ticket of the write.
    ticket: u64,
    /// Position of the record.
    position: u64,
    /// The written range of the record.
    pages: Range<usize>,
}

impl EarlyWrite {
    /// The range that the write `ticket` at `position` can skip, if it is still valid.
    pub(crate) fn still_valid(&self, ticket: u64, position: u64) -> Option<Range<usize>> {
        let is_last = self.ticket.checked_add(1) == Some(ticket);
        (is_last && self.position == position).then(|| self.pages.clone())
    }
}

impl Core {
    /// Writes the known pages of the record `sequence`. Returns what was written; obstacles are
    /// reported by the commit.
    pub(crate) fn write_early(&self, sequence: u64, record: &[u8]) -> Option<EarlyWrite> {
        let page = usize::try_from(PAGE_BYTES).ok()?;
        let pages = page..record.len() - record.len() % page;
        if pages.is_empty() || self.stopped.load(Ordering::Acquire) {
            return None;
        }
        // A locked writer means that another block is being appended, and then this one will not
        // follow.
        let mut writer = self.writer.try_lock()?;
        if writer.sequence != sequence || writer.has_refused {
            return None;
        }
        let table = self.segments();
        // If the segment is full, the commit starts another.
        let segment = table.last()?;
        let bytes = record_bytes((record.len() - ENTRIES_START) as u64);
        let offset = segment.offset_for(writer.position, bytes)?;
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
