//! A list that several threads fill side by side.

// A place is written by the appender that claimed it, and read after that.
#![allow(unsafe_code)]

use parking_lot::Mutex;
use std::{
    mem::{self, ManuallyDrop},
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Places that are claimed in one go.
const CLAIM: usize = 32;

/// A list of plain values, in no order, with room for so many as were expected.
///
/// A list for each thread would do, but they have to be copied into one, on one thread, when all are full.
pub(crate) struct SharedList<T: Copy> {
    /// Memory of a `Vec` without elements.
    places: NonNull<T>,
    capacity: usize,
    /// Places from here on are unclaimed; may be beyond the capacity.
    claimed: AtomicUsize,
    /// Places that were claimed and stayed empty, or were emptied.
    gaps: Mutex<Vec<Range<usize>>>,
    /// What there was no place for.
    beyond: Mutex<Vec<T>>,
}

// SAFETY: a place is written by the one appender that claimed it, and read by the list's owner alone, who
// has no appender beside it. Values are sent from one thread to another.
unsafe impl<T: Copy + Send> Sync for SharedList<T> {}
// SAFETY: as for a `Vec` of such values.
unsafe impl<T: Copy + Send> Send for SharedList<T> {}

impl<T: Copy> SharedList<T> {
    /// An empty list on the memory of an earlier one, which is made larger if it has not room for so many.
    pub(crate) fn with_memory(mut memory: Vec<T>, expected: usize) -> Self {
        memory.clear();
        memory.reserve_exact(expected);
        let mut memory = ManuallyDrop::new(memory);
        let places = NonNull::new(memory.as_mut_ptr());
        Self {
            places: places.expect("the memory of a Vec is not at zero"),
            capacity: memory.capacity(),
            claimed: AtomicUsize::new(0),
            gaps: Mutex::default(),
            beyond: Mutex::default(),
        }
    }

    pub(crate) const fn appender(&self) -> Appender<'_, T> {
        Appender {
            list: self,
            room: 0..0,
            beyond: Vec::new(),
        }
    }

    /// How much more room than values there has to be, so that each has a [place](Appender::push) though so many appenders may have come
    /// and gone.
    pub(crate) const fn slack(appenders: usize) -> usize {
        // Each leaves a claim that is not full, and the last claim may not be whole.
        (appenders + 1) * CLAIM
    }

    /// Takes the value at a place out of the list, if it is the one.
    ///
    /// # Safety
    ///
    /// An [appender](Appender::push) that is gone has added it there, which happened before, in the memory order's sense; and
    /// it has not been taken out.
    pub(crate) unsafe fn take_if(&self, place: usize, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        // SAFETY: by this function's contract the place is filled, and no appender writes there any more.
        let value = unsafe { self.places.add(place).read() };
        if !is_it(&value) {
            return None;
        }
        self.gaps.lock().push(place..place + 1);
        Some(value)
    }

    pub(crate) fn into_vec(mut self) -> Vec<T> {
        let places = self.places.as_ptr();
        let mut gaps = mem::take(self.gaps.get_mut());
        let mut beyond = mem::take(self.beyond.get_mut());
        // Claims beyond the capacity got no places.
        let whole = self.capacity / CLAIM * CLAIM;
        let mut len = whole.min(*self.claimed.get_mut());
        gaps.sort_unstable_by_key(|gap| gap.start);
        // SAFETY: the moved places and the gap lie within the capacity; the last places are filled, the gap's are
        // not, and the last `moved` places begin at its end or behind it. After that the first `len` places of the
        // memory, which is that of a `Vec` with this capacity, are filled, and the list gives the memory up.
        let mut list = unsafe {
            // From the end, so that all places from a gap to the end are filled.
            while let Some(gap) = gaps.pop() {
                let moved = gap.len().min(len - gap.end);
                let last = places.add(len - moved);
                last.copy_to_nonoverlapping(places.add(gap.start), moved);
                len -= gap.len();
            }
            Vec::from_raw_parts(places, len, self.capacity)
        };
        mem::forget(self);
        list.append(&mut beyond);
        list
    }
}

impl<T: Copy> Drop for SharedList<T> {
    fn drop(&mut self) {
        // SAFETY: the memory of a `Vec` with this capacity; what is in it need not be dropped.
        drop(unsafe { Vec::from_raw_parts(self.places.as_ptr(), 0, self.capacity) });
    }
}

pub(crate) struct Appender<'a, T: Copy> {
    list: &'a SharedList<T>,
    /// Places that were claimed and are empty.
    room: Range<usize>,
    beyond: Vec<T>,
}

impl<T: Copy> Appender<'_, T> {
    /// Adds a value, and returns its place, unless there was no more room than was expected.
    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Option<usize> {
        if self.room.is_empty() && !self.claim() {
            self.beyond.push(value);
            return None;
        }
        let place = self.room.start;
        // SAFETY: a place within the capacity that this appender alone has claimed.
        unsafe { self.list.places.add(place).write(value) };
        self.room.start += 1;
        Some(place)
    }

    pub(crate) fn extend_from_slice(&mut self, values: &[T]) {
        for value in values {
            self.push(*value);
        }
    }

    /// Claims places, if there are any.
    fn claim(&mut self) -> bool {
        let list = self.list;
        // The places were unclaimed. The values are ordered by whatever tells the owner of the list that all
        // appenders are done.
        let start = list.claimed.fetch_add(CLAIM, Ordering::Relaxed);
        let fits = start + CLAIM <= list.capacity;
        if fits {
            self.room = start..start + CLAIM;
        }
        fits
    }
}

impl<T: Copy> Drop for Appender<'_, T> {
    fn drop(&mut self) {
        if self.room.is_empty() && self.beyond.is_empty() {
            return;
        }
        self.list.gaps.lock().push(self.room.clone());
        self.list.beyond.lock().append(&mut self.beyond);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever several threads add is there, once, on any memory.
        #[test]
        fn what_was_added_is_there(
            counts in prop::collection::vec(0_u32..200, 1..6),
            expected in 0_usize..700,
            memory in 0_usize..300,
            taken_out in 0_u32..200,
        ) {
            let list = SharedList::with_memory(Vec::with_capacity(memory), expected);
            let beyond = Mutex::new(Vec::new());
            let values = |thread: usize| (0..counts[thread]).map(move |value| (thread, value));
            let is_taken_out = |value: &(usize, u32)| value.1 % 200 >= taken_out;
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..counts.len())
                    .map(|thread| {
                        let (list, beyond, values) = (&list, &beyond, values(thread));
                        scope.spawn(move || {
                            let mut appender = list.appender();
                            let places: Vec<_> = values
                                .map(|value| (value, appender.push(value)))
                                .filter(|(value, _)| is_taken_out(value))
                                .collect();
                            drop(appender);
                            for (value, place) in places {
                                if let Some(place) = place {
                                    // SAFETY: it was added there, by an appender that is gone.
                                    assert_eq!(unsafe { list.take_if(place, |_| true) }, Some(value));
                                } else {
                                    beyond.lock().push(value);
                                }
                            }
                        })
                    })
                    .collect();
                // The thread sanitizer sees a join, not how a scope waits for its end.
                for thread in threads {
                    thread.join().expect("no panic");
                }
            });
            let mut added = list.into_vec();
            added.sort_unstable();
            let all: Vec<_> = (0..counts.len()).flat_map(values).collect();
            let beyond = beyond.into_inner();
            if expected >= all.len() + SharedList::<(usize, u32)>::slack(counts.len()) {
                prop_assert_eq!(&beyond, &[]);
            }
            let remain = |value: &(usize, u32)| !is_taken_out(value) || beyond.contains(value);
            prop_assert_eq!(added, all.into_iter().filter(remain).collect::<Vec<_>>());
        }
    }
}
