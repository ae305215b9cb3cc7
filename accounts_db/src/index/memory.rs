//! Memory for tables that stand side by side, in huge pages where it is large.
//!
//! A look-up goes to a random place of the index. With pages of 4 KiB the processor must also look
//! up where that page is, and for an index of a gigabyte that costs as much as the slot itself.
#![allow(unsafe_code)]

use memmap2::{Advice, MmapOptions, MmapRaw};
use std::{ops::Deref, ptr::NonNull, sync::Arc, sync::atomic::AtomicU64};

/// Bytes of a huge page.
const HUGE_BYTES: usize = 2 << 20;
/// A rest of so many bytes gets a huge page of its own.
const REST_BYTES_MIN: usize = HUGE_BYTES / 2;

/// Memory of several tables.
#[derive(Debug)]
enum Memory {
    Heap(Box<[AtomicU64]>),
    Mapped(MmapRaw),
}

/// A table's part of the memory, which lives as long as one of its parts.
#[derive(Debug)]
pub(super) struct Part {
    slots: NonNull<AtomicU64>,
    count: usize,
    _memory: Arc<Memory>,
}

// SAFETY: a part is a shared slice of atomic numbers, kept alive by the memory's count.
unsafe impl Send for Part {}
// SAFETY: as above.
unsafe impl Sync for Part {}

impl Deref for Part {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `parts` made it of slots that lie in the memory, which lives as long as this part.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.count) }
    }
}

/// Memory for `tables` tables of at least `slots` zeros each.
pub(super) fn parts(tables: usize, slots: usize) -> Vec<Part> {
    let bytes = tables * slots * size_of::<AtomicU64>();
    let whole = bytes.next_multiple_of(HUGE_BYTES);
    // Of a last huge page nothing stays unused.
    let slots = if bytes >= REST_BYTES_MIN && whole - bytes <= HUGE_BYTES - REST_BYTES_MIN {
        whole / size_of::<AtomicU64>() / tables
    } else {
        slots
    };
    let mut memory = Memory::new(tables * slots);
    let first = memory.first();
    let memory = Arc::new(memory);
    let part = |table: usize| Part {
        // SAFETY: the memory has `tables * slots` slots.
        slots: unsafe { first.add(table * slots) },
        count: slots,
        _memory: Arc::clone(&memory),
    };
    (0..tables).map(part).collect()
}

impl Memory {
    fn new(slots: usize) -> Self {
        let bytes = slots * size_of::<AtomicU64>();
        let huge = (bytes + HUGE_BYTES - REST_BYTES_MIN) / HUGE_BYTES * HUGE_BYTES;
        if huge > 0 {
            // The system puts a map of whole huge pages where huge pages can be.
            let whole = bytes.next_multiple_of(HUGE_BYTES);
            if let Ok(map) = MmapOptions::new().len(whole).map_anon() {
                // Without them it is slower and works as well.
                let _ = map.advise_range(Advice::HugePage, 0, huge);
                return Self::Mapped(MmapRaw::from(map));
            }
        }
        Self::Heap((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    fn first(&mut self) -> NonNull<AtomicU64> {
        let first = match self {
            Self::Heap(slots) => slots.as_mut_ptr(),
            // Pages are aligned for more than eight bytes; anonymous memory is zeros.
            Self::Mapped(map) => map.as_mut_ptr().cast(),
        };
        NonNull::new(first).expect("memory has an address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn parts_are_apart_and_zero() {
        for (tables, slots) in [(1, 1), (3, 8), (512, 300), (32, 9_000), (7, 100_001)] {
            let parts = parts(tables, slots);
            assert_eq!(parts.len(), tables);
            for (number, part) in (1..).zip(&parts) {
                assert!(
                    part.len() >= slots && part.len() <= 2 * slots + 8,
                    "{}",
                    part.len()
                );
                for slot in &**part {
                    assert_eq!(slot.swap(number, Ordering::Relaxed), 0);
                }
            }
            for (number, part) in (1..).zip(&parts) {
                let is_own = |slot: &AtomicU64| slot.load(Ordering::Relaxed) == number;
                assert!(part.iter().all(is_own), "part {number} of {tables}");
            }
        }
    }
}
