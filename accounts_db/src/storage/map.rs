//! A file, mapped for reading.
//!
//! **Rule: maps are only read, and only durable bytes are read.** Durable bytes are not rewritten
//! while a map of them exists, so they do not change under a reader; later bytes are out of reach.
//! A file is reused for a new segment only after the old `Segment`, which owns the map, was dropped
//! (`log/segment_allocator.rs`). The folder is locked, so no other process shortens a file under a
//! map.
#![allow(unsafe_code)]

use lockweave_runtime::prefetch::{self, LINE_BYTES};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::{
    fs::File,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A read-only map of a file whose first bytes are durable.
#[derive(Debug)]
pub struct FileMap {
    map: MmapRaw,
    readable: AtomicUsize,
}

impl FileMap {
    /// Maps a whole file; no byte is readable yet.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let map = MmapOptions::new().map_raw_read_only(file)?;
        // Reads are random: the bytes next to an entry are not read next, and the megabytes that
        // some systems read ahead would take longer than a hundred reads. Without the advice reads
        // are only slower.
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
        // SAFETY: `end` is at most `readable`, which `set_readable` limits to the length of the
        // map, so the range lies within the map. The map lives as long as the slice. The bytes do
        // not change meanwhile: callers of `set_readable` promise that bytes below `readable` are
        // not written again while this map lives, and the lock of the folder keeps other processes
        // away.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), bytes) })
    }

    /// Prefetches these bytes into the processor's cache.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64, bytes: usize) {
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        for line in (0..bytes).step_by(LINE_BYTES) {
            prefetch::for_reading(self.map.as_ptr().wrapping_add(offset + line));
        }
    }

    /// Maps these bytes now, so that their first reader does not fault. Reads what is not in
    /// memory.
    pub(crate) fn populate(&self, offset: u64, bytes: u64) {
        let range = |number: u64| usize::try_from(number).ok();
        if let (Some(offset), Some(bytes)) = (range(offset), range(bytes)) {
            // Without it pages are mapped one by one.
            let _ = self.map.advise_range(Advice::PopulateRead, offset, bytes);
        }
    }

    /// Starts reading these bytes into memory, without waiting.
    pub(crate) fn read_ahead(&self, offset: u64, bytes: usize) {
        if let Ok(offset) = usize::try_from(offset)
            && let Some(end) = offset.checked_add(bytes)
            && end <= self.readable.load(Ordering::Acquire)
        {
            // Without it the bytes are read on demand.
            let _ = self.map.advise_range(Advice::WillNeed, offset, bytes);
        }
    }
}
