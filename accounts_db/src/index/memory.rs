//! Memory for tables that stand side by side, in huge pages where it is large.
//!
//! A look-up goes to a random place of the index. With pages of 4 KiB the processor must also look
//! up where that page is, and for an index of a gigabyte that costs as much as the slot itself.
#![allow(unsafe_code)]

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use parking_lot::Mutex;
use std::{
    ops::Deref,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
};

/// Bytes of a huge page.
const HUGE_BYTES: usize = 2 << 20;
/// A rest of so many bytes gets a huge page of its own.
const REST_BYTES_MIN: usize = HUGE_BYTES / 2;
/// Memory of fewer bytes is the heap's.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Memory of several tables.
#[derive(Debug)]
enum Memory {
    Heap(Box<[AtomicU64]>),
    Mapped(MmapRaw),
}

/// A table's part of the memory, which lives as long as one of its parts.
#[derive(Debug)]
pub(super) struct TableSlots {
    slots: NonNull<AtomicU64>,
    count: usize,
    _memory: Arc<Memory>,
}

// SAFETY: a part is a shared slice of atomic numbers, kept alive by the memory's count.
unsafe impl Send for TableSlots {}
// SAFETY: as above.
unsafe impl Sync for TableSlots {}

impl Deref for TableSlots {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `parts` made it of slots that lie in the memory, which lives as long as this part.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr(), self.count) }
    }
}

/// Several tables of the same size, side by side.
#[derive(Debug)]
pub(super) struct TableGroup {
    memory: Arc<Memory>,
    slots: NonNull<AtomicU64>,
    tables: usize,
    /// Slots of each table.
    count: usize,
}

// SAFETY: a view is a shared slice of atomic numbers, kept alive by the memory's count.
unsafe impl Send for TableGroup {}
// SAFETY: as above.
unsafe impl Sync for TableGroup {}

impl TableGroup {
    /// `tables` tables of at least `slots` zeros each.
    pub(super) fn new(tables: usize, slots: usize) -> Self {
        let bytes = tables * slots * size_of::<AtomicU64>();
        let whole = bytes.next_multiple_of(HUGE_BYTES);
        // Of a last huge page nothing stays unused.
        let count = if bytes >= REST_BYTES_MIN && whole - bytes <= HUGE_BYTES - REST_BYTES_MIN {
            whole / size_of::<AtomicU64>() / tables
        } else {
            slots
        };
        let mut memory = Memory::new(tables * count);
        let slots = memory.first();
        Self {
            memory: Arc::new(memory),
            slots,
            tables,
            count,
        }
    }

    /// Each of the tables, to be kept.
    pub(super) fn parts(&self) -> impl Iterator<Item = TableSlots> {
        (0..self.tables).map(|table| TableSlots {
            // SAFETY: the memory has `tables * count` slots.
            slots: unsafe { self.slots.add(table * self.count) },
            count: self.count,
            _memory: Arc::clone(&self.memory),
        })
    }

    #[inline]
    fn table(&self, table: usize) -> &[AtomicU64] {
        assert!(table < self.tables);
        // SAFETY: the memory has `tables * count` slots and lives as long as the view.
        unsafe {
            let first = self.slots.add(table * self.count);
            std::slice::from_raw_parts(first.as_ptr(), self.count)
        }
    }
}

/// The view that look-ups go by, without a lock.
///
/// Views that were replaced stay, so that whoever still reads one reads memory; but their pages are
/// given back, so that what is read is zeros.
#[derive(Debug)]
pub(super) struct CurrentGroup {
    view: AtomicPtr<TableGroup>,
    replaced: Mutex<Vec<NonNull<TableGroup>>>,
}

// SAFETY: views may be shared and sent, and the pointers are theirs alone.
unsafe impl Send for CurrentGroup {}
// SAFETY: as above.
unsafe impl Sync for CurrentGroup {}

impl CurrentGroup {
    pub(super) fn new(view: TableGroup) -> Self {
        Self {
            view: AtomicPtr::new(Box::into_raw(Box::new(view))),
            replaced: Mutex::default(),
        }
    }

    /// One of the tables.
    #[inline]
    pub(super) fn table(&self, table: usize) -> &[AtomicU64] {
        // SAFETY: it came from a box in `new` or `replace`, and is freed only with `self`: see `replace`.
        unsafe { &*self.view.load(Ordering::Acquire) }.table(table)
    }

    /// Has look-ups go by another view. Nobody needs what is in the old one any more.
    pub(super) fn replace(&self, view: TableGroup) {
        let old = self
            .view
            .swap(Box::into_raw(Box::new(view)), Ordering::AcqRel);
        let old = NonNull::new(old).expect("views come from boxes");
        // SAFETY: it came from a box, which is freed only with `self`.
        unsafe { old.as_ref() }.memory.give_back();
        self.replaced.lock().push(old);
    }
}

impl Drop for CurrentGroup {
    fn drop(&mut self) {
        let current = NonNull::new(*self.view.get_mut());
        for view in self.replaced.get_mut().drain(..).chain(current) {
            // SAFETY: it came from a box, and nobody has `self` any more, nor what it gave.
            drop(unsafe { Box::from_raw(view.as_ptr()) });
        }
    }
}

impl Memory {
    fn new(slots: usize) -> Self {
        let bytes = slots * size_of::<AtomicU64>();
        let huge = (bytes + HUGE_BYTES - REST_BYTES_MIN) / HUGE_BYTES * HUGE_BYTES;
        if bytes >= MAPPED_BYTES_MIN {
            // The system puts a map of whole huge pages where huge pages can be.
            let whole = bytes.next_multiple_of(HUGE_BYTES);
            if let Ok(map) = MmapOptions::new().len(whole).map_anon() {
                if huge > 0 {
                    // Without them it is slower and works as well.
                    let _ = map.advise_range(Advice::HugePage, 0, huge);
                }
                return Self::Mapped(MmapRaw::from(map));
            }
        }
        Self::Heap((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Gives pages back to the system; what is left in others does not matter.
    fn give_back(&self) {
        if let Self::Mapped(map) = self {
            // SAFETY: the memory is anonymous, so it reads as zeros from now on, and it is read as atomic
            // numbers alone, which may change at any time.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
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
            let view = TableGroup::new(tables, slots);
            let parts: Vec<TableSlots> = view.parts().collect();
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
            let current = CurrentGroup::new(view);
            assert!(
                current
                    .table(tables - 1)
                    .iter()
                    .all(|slot| { slot.load(Ordering::Relaxed) == tables as u64 })
            );
            drop(parts);
            let old = current.table(0);
            current.replace(TableGroup::new(tables, 2 * slots + 8));
            assert!(current.table(0).len() > old.len());
            // Still memory, whatever is in it.
            assert!(old.iter().all(|slot| slot.load(Ordering::Relaxed) <= 1));
        }
    }
}
