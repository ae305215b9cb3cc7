//! Memory for the tables of a group, in huge pages where it is large.
//!
//! A lookup reads a random slot of the index. With pages of 4 KiB the processor must also look up
//! the page, which for an index of a gigabyte costs as much as the slot itself.
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
/// A remainder of this size gets a huge page of its own.
const REST_BYTES_MIN: usize = HUGE_BYTES / 2;
/// Smaller memory comes from the heap.
const MAPPED_BYTES_MIN: usize = 64 << 10;

/// Memory of a group's tables.
#[derive(Debug)]
enum Memory {
    Heap(Box<[AtomicU64]>),
    Mapped(MmapRaw),
}

/// The slots of one table. Keeps the group's memory alive.
#[derive(Debug)]
pub(super) struct TableSlots {
    group: Arc<TableGroup>,
    table: usize,
}

impl Deref for TableSlots {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        self.group.table(self.table)
    }
}

/// The tables of a group, all of the same size, side by side.
#[derive(Debug)]
pub(super) struct TableGroup {
    memory: Memory,
    slots: NonNull<AtomicU64>,
    tables: usize,
    /// Slots of each table.
    count: usize,
}

// SAFETY: the pointer addresses atomics in `memory`, which this value owns. It is only used for
// shared access, and atomics may be shared and sent between threads.
unsafe impl Send for TableGroup {}
// SAFETY: as above.
unsafe impl Sync for TableGroup {}

impl TableGroup {
    /// `tables` tables of at least `slots` zeros each.
    pub(super) fn new(tables: usize, slots: usize) -> Arc<Self> {
        let bytes = tables * slots * size_of::<AtomicU64>();
        let whole = bytes.next_multiple_of(HUGE_BYTES);
        // The last huge page is used completely.
        let count = if bytes >= REST_BYTES_MIN && whole - bytes <= HUGE_BYTES - REST_BYTES_MIN {
            whole / size_of::<AtomicU64>() / tables
        } else {
            slots
        };
        let mut memory = Memory::new(tables * count);
        let slots = memory.first();
        Arc::new(Self {
            memory,
            slots,
            tables,
            count,
        })
    }

    /// Each of the tables; they keep the memory alive.
    pub(super) fn parts(self: &Arc<Self>) -> impl Iterator<Item = TableSlots> {
        (0..self.tables).map(|table| TableSlots {
            group: Arc::clone(self),
            table,
        })
    }

    #[inline]
    fn table(&self, table: usize) -> &[AtomicU64] {
        assert!(table < self.tables);
        // SAFETY: `table < tables` is asserted above and the memory has `tables * count` slots
        // (`new`), so the slice lies within it. The memory lives as long as `self`, is initialised
        // (zeros), aligned for `AtomicU64`, and only accessed as atomics.
        unsafe {
            let first = self.slots.add(table * self.count);
            std::slice::from_raw_parts(first.as_ptr(), self.count)
        }
    }
}

/// The tables that lookups read without a lock.
///
/// A replaced group is kept until `self` is dropped, so that a concurrent lookup reads valid
/// memory. Its pages are returned to the system, so that lookup reads zeros and is repeated.
#[derive(Debug)]
pub(super) struct CurrentGroup {
    view: AtomicPtr<TableGroup>,
    replaced: Mutex<Vec<NonNull<TableGroup>>>,
}

// SAFETY: `TableGroup` is `Send` and `Sync`, and each pointer owns a reference count: they come from
// `Arc::into_raw` in `new` and `replace`, and only `drop` gives them back.
unsafe impl Send for CurrentGroup {}
// SAFETY: as above.
unsafe impl Sync for CurrentGroup {}

impl CurrentGroup {
    pub(super) fn new(view: Arc<TableGroup>) -> Self {
        Self {
            view: AtomicPtr::new(Arc::into_raw(view).cast_mut()),
            replaced: Mutex::default(),
        }
    }

    /// One of the tables.
    #[inline]
    pub(super) fn table(&self, table: usize) -> &[AtomicU64] {
        // SAFETY: the pointer comes from an `Arc` in `new` or `replace`. A replaced group is kept in
        // `replaced`, and `drop`, which has exclusive access, gives it back; so it outlives this
        // borrow of `self`.
        unsafe { &*self.view.load(Ordering::Acquire) }.table(table)
    }

    /// Publishes another group to lookups. The contents of the old one are no longer needed.
    pub(super) fn replace(&self, view: Arc<TableGroup>) {
        let view = Arc::into_raw(view).cast_mut();
        let old = self.view.swap(view, Ordering::AcqRel);
        let old = NonNull::new(old).expect("views come from `Arc`s");
        // SAFETY: the pointer comes from an `Arc` in `new` or an earlier `replace`, which only
        // `drop` gives back; `self` is borrowed here.
        unsafe { old.as_ref() }.memory.release_pages();
        self.replaced.lock().push(old);
    }
}

impl Drop for CurrentGroup {
    fn drop(&mut self) {
        let current = NonNull::new(*self.view.get_mut());
        for view in self.replaced.get_mut().drain(..).chain(current) {
            // SAFETY: each pointer comes from `Arc::into_raw` in `new` or `replace` and is in
            // exactly one of `view` and `replaced`. `drop` has exclusive access, so no reference
            // from `table` remains.
            drop(unsafe { Arc::from_raw(view.as_ptr()) });
        }
    }
}

impl Memory {
    fn new(slots: usize) -> Self {
        let bytes = slots * size_of::<AtomicU64>();
        let huge = (bytes + HUGE_BYTES - REST_BYTES_MIN) / HUGE_BYTES * HUGE_BYTES;
        if bytes >= MAPPED_BYTES_MIN {
            // The system aligns a map of whole huge pages to huge pages.
            let whole = bytes.next_multiple_of(HUGE_BYTES);
            if let Ok(map) = MmapOptions::new().len(whole).map_anon() {
                if huge > 0 {
                    // Works without huge pages as well, more slowly.
                    let _ = map.advise_range(Advice::HugePage, 0, huge);
                }
                return Self::Mapped(MmapRaw::from(map));
            }
        }
        Self::Heap((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Returns pages to the system. Other memory keeps its content, which does not matter.
    fn release_pages(&self) {
        if let Self::Mapped(map) = self {
            // SAFETY: the map is private and anonymous, so `DontNeed` only makes it read as zeros.
            // It is accessed as atomics alone, which may change at any time; zero is a valid value.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    fn first(&mut self) -> NonNull<AtomicU64> {
        let first = match self {
            Self::Heap(slots) => slots.as_mut_ptr(),
            // Pages are aligned to more than eight bytes; anonymous memory is zero.
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
