//! Allocation of segments, one of them before it is needed.
//!
//! A new segment reuses the file of a retired one if there is one. The blocks of that file are
//! already allocated, so a sync does not wait for the file system's journal; and its pages are in
//! memory, where fresh pages cost more than the write itself. Old records in it have other
//! positions in the log and do not count.

use super::{
    frame::seal_frame,
    record::PAGE_BYTES,
    segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_file_name},
};
use crate::{
    error::{FileContext, FileError},
    storage::Storage,
};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Retired segments kept for reuse.
const SPARE_SEGMENTS_MAX: usize = 2;
/// The header's page and the blank page that ends the log.
const BEGINNING_BYTES: usize = 2 * 4096;
const _: () = assert!(BEGINNING_BYTES as u64 == SEGMENT_HEADER_BYTES + PAGE_BYTES);

/// Allocates segments.
#[derive(Debug)]
pub(crate) struct SegmentAllocator {
    storage: Arc<dyn Storage>,
    database: [u8; 16],
    segment_bytes: u64,
    /// Retired segments whose files still exist. Readers may still use them.
    spare_segments: Mutex<Vec<Arc<Segment>>>,
    /// A segment created before it is needed. The lock is held while one is created; `requested` is
    /// locked after it.
    next: Mutex<Option<Segment>>,
    requested: Mutex<Requested>,
    /// Wakes the allocating thread.
    wakeup: Condvar,
}

#[derive(Debug, Default)]
struct Requested {
    /// Number of the segment to create, and the bytes of its first write.
    next: Option<(u64, u64)>,
    is_closing: bool,
}

impl SegmentAllocator {
    pub(crate) fn new(storage: Arc<dyn Storage>, database: [u8; 16], segment_bytes: u64) -> Self {
        Self {
            storage,
            database,
            segment_bytes,
            spare_segments: Mutex::default(),
            next: Mutex::default(),
            requested: Mutex::default(),
            wakeup: Condvar::new(),
        }
    }

    /// A durable segment without records. Calls must not overlap.
    pub(crate) fn segment(&self, number: u64, places: u64) -> Result<Segment, FileError> {
        let mut next = self.next.lock();
        // The pending request must not be served as well.
        self.requested.lock().next = None;
        if let Some(next) = next.take() {
            if next.number == number && next.places == places {
                return Ok(next);
            }
            let _ = self.storage.remove(&segment_file_name(next.number));
        }
        self.create(number, places)
    }

    /// Requests the segment `number` from the thread in [`run`](Self::run), with its first `bytes`
    /// in memory.
    pub(crate) fn request(&self, number: u64, bytes: u64) {
        self.requested.lock().next = Some((number, bytes));
        self.wakeup.notify_all();
    }

    /// Creates requested segments until [`close`](Self::close). A failed creation is repeated when
    /// the segment is needed.
    pub(crate) fn run(&self) {
        loop {
            {
                let mut requested = self.requested.lock();
                while requested.next.is_none() && !requested.is_closing {
                    self.wakeup.wait(&mut requested);
                }
                if requested.is_closing {
                    return;
                }
            }
            let mut next = self.next.lock();
            let requested = self.requested.lock().next.take();
            if let Some((number, bytes)) = requested
                && next.is_none()
            {
                *next = self.create(number, 1).ok();
                if let Some(segment) = &*next {
                    segment.file.fill_cache(0, bytes.min(self.segment_bytes));
                }
            }
        }
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn close(&self) {
        self.requested.lock().is_closing = true;
        self.wakeup.notify_all();
    }

    fn create(&self, number: u64, places: u64) -> Result<Segment, FileError> {
        let header = SegmentHeader {
            database: self.database,
            number,
            places,
            segment_bytes: self.segment_bytes,
        };
        let name = segment_file_name(number);
        let path = self.storage.describe(&name);
        let spare = self.take_spare_segment(places);
        let is_reused = spare.is_some();
        let (file, current_name) = if let Some(spare) = spare {
            (spare.file, segment_file_name(spare.number))
        } else {
            let file = self.storage.create(&name, places * self.segment_bytes);
            (file.context("create", &path)?, name.clone())
        };
        let mut beginning = [0; BEGINNING_BYTES];
        let frame = seal_frame(&header).0;
        beginning[..frame.len()].copy_from_slice(&frame);
        let written = (file.write_at(&beginning, 0))
            .and_then(|()| file.sync())
            .and_then(|()| {
                if is_reused {
                    self.storage.rename(&current_name, &name)?;
                }
                Ok(())
            })
            .and_then(|()| self.storage.sync_folder());
        if let Err(source) = written {
            // Nothing refers to it yet; the next block creates it again.
            let _ = self.storage.remove(&current_name);
            let _ = self.storage.remove(&name);
            return Err(FileError::new("begin", path, source));
        }
        Segment::new(&header, path, file)
    }

    /// Takes segments that the database no longer uses, to reuse their files. Removes files that it
    /// does not keep; returns whether there were any.
    pub(crate) fn retire(&self, segments: Vec<Arc<Segment>>) -> bool {
        let mut spare_segments = self.spare_segments.lock();
        let mut has_removed = false;
        for segment in segments {
            if segment.places == 1 && spare_segments.len() < SPARE_SEGMENTS_MAX {
                spare_segments.push(segment);
            } else {
                // A file that is not removed now is removed at the next opening.
                let _ = self.storage.remove(&segment_file_name(segment.number));
                has_removed = true;
            }
        }
        has_removed
    }

    /// Removes the retired segments; returns whether there were any.
    pub(crate) fn discard_spares(&self) -> bool {
        let spare_segments = std::mem::take(&mut *self.spare_segments.lock());
        for segment in &spare_segments {
            let _ = self.storage.remove(&segment_file_name(segment.number));
        }
        !spare_segments.is_empty()
    }

    /// A retired segment without readers, whose file has no other name.
    fn take_spare_segment(&self, places: u64) -> Option<Segment> {
        if places != 1 {
            return None;
        }
        let mut spare_segments = self.spare_segments.lock();
        for at in 0..spare_segments.len() {
            let is_ours = matches!(spare_segments[at].file.is_shared(), Ok(false));
            match Arc::try_unwrap(spare_segments.remove(at)) {
                Ok(segment) if is_ours => return Some(segment),
                Ok(segment) => {
                    // A snapshot shares the file.
                    let _ = self.storage.remove(&segment_file_name(segment.number));
                    return None;
                }
                Err(segment) => spare_segments.insert(at, segment),
            }
        }
        None
    }
}
