//! Room for records: segments are begun here, and the next one ahead of its time.
//!
//! A segment takes over the file of one that was given up, if there is one. Its place on the medium has
//! been written to before, so that a sync need not wait for the file system's journal; and its pages are
//! in memory already, where fresh ones cost more than what is written to them. What the file has of its
//! earlier life is of other positions in the log and does not count.

use super::{
    frame::seal_frame,
    record::PAGE_BYTES,
    segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_file_name},
};
use crate::{error::FileError, storage::Storage};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Files kept for segments to come.
const SPARE_SEGMENTS_MAX: usize = 2;
/// The header's page, and a blank one behind it: there the log ends for now.
const BEGINNING_BYTES: usize = 2 * 4096;
const _: () = assert!(BEGINNING_BYTES as u64 == SEGMENT_HEADER_BYTES + PAGE_BYTES);

/// Where new segments come from.
#[derive(Debug)]
pub(crate) struct SegmentAllocator {
    storage: Arc<dyn Storage>,
    database: [u8; 16],
    segment_bytes: u64,
    /// Segments that were given up, whose files are still there. Somebody may be reading them.
    spares: Mutex<Vec<Arc<Segment>>>,
    /// A segment begun before it is needed. Held while one is begun; `wanted` is locked after it.
    next: Mutex<Option<Segment>>,
    wanted: Mutex<Wanted>,
    /// Wakes the thread that begins segments.
    has_wish: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Number of the segment to be begun, and how many bytes will be written to it first.
    next: Option<(u64, u64)>,
    is_closing: bool,
}

impl SegmentAllocator {
    pub(crate) fn new(storage: Arc<dyn Storage>, database: [u8; 16], segment_bytes: u64) -> Self {
        Self {
            storage,
            database,
            segment_bytes,
            spares: Mutex::default(),
            next: Mutex::default(),
            wanted: Mutex::default(),
            has_wish: Condvar::new(),
        }
    }

    /// A segment without records, durable, with its name. Only one thread at a time asks for one.
    pub(crate) fn segment(&self, number: u64, places: u64) -> Result<Segment, FileError> {
        let mut next = self.next.lock();
        // What was wished for and not begun yet is not begun a second time.
        self.wanted.lock().next = None;
        if let Some(next) = next.take() {
            if next.number == number && next.places == places {
                return Ok(next);
            }
            let _ = self.storage.remove(&segment_file_name(next.number));
        }
        self.begin(number, places)
    }

    /// Asks for the segment `number` to be begun by the thread that [`run`](Self::run)s, with its first
    /// `bytes` in memory.
    pub(crate) fn want(&self, number: u64, bytes: u64) {
        self.wanted.lock().next = Some((number, bytes));
        self.has_wish.notify_all();
    }

    /// Begins segments when they are wanted, until [`close`](Self::close) is called. If that fails it
    /// will be tried again when the segment is needed.
    pub(crate) fn run(&self) {
        loop {
            {
                let mut wanted = self.wanted.lock();
                while wanted.next.is_none() && !wanted.is_closing {
                    self.has_wish.wait(&mut wanted);
                }
                if wanted.is_closing {
                    return;
                }
            }
            let mut next = self.next.lock();
            let wanted = self.wanted.lock().next.take();
            if let Some((number, bytes)) = wanted
                && next.is_none()
            {
                *next = self.begin(number, 1).ok();
                if let Some(segment) = &*next {
                    segment.file.fill_cache(0, bytes.min(self.segment_bytes));
                }
            }
        }
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn close(&self) {
        self.wanted.lock().is_closing = true;
        self.has_wish.notify_all();
    }

    fn begin(&self, number: u64, places: u64) -> Result<Segment, FileError> {
        let header = SegmentHeader {
            database: self.database,
            number,
            places,
            segment_bytes: self.segment_bytes,
        };
        let name = segment_file_name(number);
        let path = self.storage.describe(&name);
        let error = |action| {
            let path = path.clone();
            move |source| FileError::new(action, path, source)
        };
        let spare = self.take_spare(places);
        let is_reused = spare.is_some();
        let (file, current_name) = if let Some(spare) = spare {
            (spare.file, segment_file_name(spare.number))
        } else {
            let file = self.storage.create(&name, places * self.segment_bytes);
            (file.map_err(error("create"))?, name.clone())
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
            // Nothing refers to it yet; the next block begins it anew.
            let _ = self.storage.remove(&current_name);
            let _ = self.storage.remove(&name);
            return Err(error("begin")(source));
        }
        Segment::new(&header, path.clone(), file)
    }

    /// Takes segments that nothing refers to any more. Files that are of no use are removed; gives
    /// whether there were such.
    pub(crate) fn give_up(&self, segments: Vec<Arc<Segment>>) -> bool {
        let mut spares = self.spares.lock();
        let mut has_removed = false;
        for segment in segments {
            if segment.places == 1 && spares.len() < SPARE_SEGMENTS_MAX {
                spares.push(segment);
            } else {
                // If this fails the file stays until the next opening.
                let _ = self.storage.remove(&segment_file_name(segment.number));
                has_removed = true;
            }
        }
        has_removed
    }

    /// Removes what is kept for later; gives whether there was anything.
    pub(crate) fn clear(&self) -> bool {
        let spares = std::mem::take(&mut *self.spares.lock());
        for segment in &spares {
            let _ = self.storage.remove(&segment_file_name(segment.number));
        }
        !spares.is_empty()
    }

    /// A segment that was given up, that nobody reads any more, and whose file has no other name.
    fn take_spare(&self, places: u64) -> Option<Segment> {
        if places != 1 {
            return None;
        }
        let mut spares = self.spares.lock();
        for at in 0..spares.len() {
            let is_ours = matches!(spares[at].file.is_shared(), Ok(false));
            match Arc::try_unwrap(spares.remove(at)) {
                Ok(segment) if is_ours => return Some(segment),
                Ok(segment) => {
                    // A snapshot has the file as well.
                    let _ = self.storage.remove(&segment_file_name(segment.number));
                    return None;
                }
                Err(segment) => spares.insert(at, segment),
            }
        }
        None
    }
}
