//! A file mapped for reading.
//!
//! **Rule: map only to read, and read only bytes that are already durable.** Durable bytes are not
//! written again while there is a map of them, so what is read through one does not change; bytes behind them
//! are out of reach. A file is taken over for a new segment only when the old segment's value, and
//! its map with it, is gone (`room.rs`). The folder is locked, so nobody shortens a file under a map
//! either.
#![allow(unsafe_code)]

use lockweave_runtime::prefetch::{self, LINE_BYTES};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::{
    fs::File,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A read-only map of a file, of which the first bytes are durable.
#[derive(Debug)]
pub struct FileMap {
    map: MmapRaw,
    readable: AtomicUsize,
}

impl FileMap {
    /// Maps a whole file; nothing of it is readable yet.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let map = MmapOptions::new().map_raw_read_only(file)?;
        // Keys lie anywhere: what is beside an entry is not read next, and reading megabytes ahead, as
        // some systems do, would take longer than a hundred reads. Without the advice it only is slower.
        let _ = map.advise(Advice::Random);
        Ok(Self {
            map,
            readable: AtomicUsize::new(0),
        })
    }

    /// Declares the first `bytes` bytes durable: they are not written again while this map lives.
    pub(crate) fn set_readable(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.readable
            .fetch_max(bytes.min(self.map.len()), Ordering::Release);
    }

    /// The `bytes` bytes at `offset`, if they are durable.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(bytes)?;
        if end > self.readable.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the range lies within the map, which lives as long as the slice. Its bytes are
        // durable: nobody writes them again (`set_readable`), nor can another process, since the
        // folder is locked; so they do not change while the slice is there.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), bytes) })
    }

    /// Asks the processor for the cache lines of these bytes, without waiting.
    #[inline]
    pub(crate) fn bring_near(&self, offset: u64, bytes: usize) {
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        for line in (0..bytes).step_by(LINE_BYTES) {
            prefetch::for_reading(self.map.as_ptr().wrapping_add(offset + line));
        }
    }

    /// Has these bytes mapped now, so that whoever reads them first need not wait for it. Reads what is
    /// not in memory.
    pub(crate) fn populate(&self, offset: u64, bytes: u64) {
        let range = |number: u64| usize::try_from(number).ok();
        if let (Some(offset), Some(bytes)) = (range(offset), range(bytes)) {
            // Without it they are mapped one by one.
            let _ = self.map.advise_range(Advice::PopulateRead, offset, bytes);
        }
    }

    /// Asks the operating system to bring these bytes into memory, without waiting.
    pub(crate) fn prefetch(&self, offset: u64, bytes: usize) {
        const PAGE: usize = 4096;
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        let Some(end) = offset.checked_add(bytes) else {
            return;
        };
        if end > self.readable.load(Ordering::Acquire) {
            return;
        }
        let start = offset - offset % PAGE;
        // SAFETY: the range lies within the map; the advice reads nothing and changes nothing.
        let _ = unsafe {
            rustix::mm::madvise(
                self.map.as_mut_ptr().add(start).cast(),
                end - start,
                rustix::mm::Advice::WillNeed,
            )
        };
    }
}
