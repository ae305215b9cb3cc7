//! The outcomes of an open block: written by many threads, each once, and handed over as they lie.

// A place is filled by the one call that claims it, and read after that call has noted it as filled.
#![allow(unsafe_code)]

use crate::model::{DenseId, Outcome, TaskId};
use std::{
    cell::UnsafeCell,
    mem::{self, ManuallyDrop, MaybeUninit},
    sync::atomic::{AtomicU8, Ordering},
};

/// Nothing is there.
const EMPTY: u8 = 0;
/// A thread is writing.
const CLAIMED: u8 = 1;
/// An outcome is there.
const FILLED: u8 = 2;

/// A place for the outcome of every transaction.
///
/// A list of `OnceLock`s would do, but has to be copied, on one thread, when the block is sealed.
pub(crate) struct Outcomes {
    places: Vec<UnsafeCell<MaybeUninit<Outcome>>>,
    /// By place: what it is. Filled places are initialised.
    states: Vec<AtomicU8>,
}

// SAFETY: a place is written by the one call that claimed it, and shared only when that has noted it
// as filled; `Outcome` may be shared and sent.
unsafe impl Sync for Outcomes {}

const fn assert_shareable<T: Send + Sync>() {}
const _: () = assert_shareable::<Outcome>();

impl Outcomes {
    /// Empty places on the memory of earlier outcomes, as far as that suffices.
    pub(crate) fn with_memory(mut memory: Vec<Outcome>, places: usize) -> Self {
        memory.clear();
        memory.reserve_exact(places);
        let mut memory = ManuallyDrop::new(memory);
        let (data, capacity) = (memory.as_mut_ptr(), memory.capacity());
        // SAFETY: `UnsafeCell` and `MaybeUninit` have the layout of what is in them, there is room for
        // `places`, which may hold anything, and `ManuallyDrop` keeps any other owner from freeing the
        // memory.
        let places_uninit = unsafe { Vec::from_raw_parts(data.cast(), places, capacity) };
        Self {
            places: places_uninit,
            states: (0..places).map(|_| AtomicU8::new(EMPTY)).collect(),
        }
    }

    /// Fills a place. Returns whether it was empty; if not, nothing happens.
    #[must_use]
    pub(crate) fn set(&self, task: TaskId, outcome: Outcome) -> bool {
        let state = &self.states[task.index()];
        let claim = state.compare_exchange(EMPTY, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_err() {
            return false;
        }
        // SAFETY: this call alone claimed the place, and no thread reads it before it is filled.
        unsafe { (*self.places[task.index()].get()).write(outcome) };
        state.store(FILLED, Ordering::Release);
        true
    }

    /// The same for a place that no other thread fills. Claiming a place would wait until all earlier writes of this thread have
    /// reached the cache.
    ///
    /// # Safety
    ///
    /// For the length of the call no other thread fills this place or looks at it.
    #[must_use]
    pub(crate) unsafe fn set_alone(&self, task: TaskId, outcome: Outcome) -> bool {
        let state = &self.states[task.index()];
        if state.load(Ordering::Relaxed) != EMPTY {
            return false;
        }
        // SAFETY: by this function's contract no other thread uses the place, and it is not filled.
        unsafe { (*self.places[task.index()].get()).write(outcome) };
        state.store(FILLED, Ordering::Release);
        true
    }

    pub(crate) fn is_set(&self, task: TaskId) -> bool {
        self.states[task.index()].load(Ordering::Acquire) == FILLED
    }

    pub(crate) fn take(&mut self, task: TaskId) -> Option<Outcome> {
        let state = mem::replace(self.states[task.index()].get_mut(), EMPTY);
        // SAFETY: it was filled, and counts as empty from now on.
        (state == FILLED).then(|| unsafe { self.places[task.index()].get_mut().assume_init_read() })
    }

    pub(crate) fn clear(&mut self) {
        for index in 0..self.states.len() {
            drop(self.take(TaskId::from_index(index)));
        }
    }

    /// All outcomes in block order, or the first place that is empty.
    pub(crate) fn into_vec(mut self) -> Result<Vec<Outcome>, TaskId> {
        let filled = |state: &mut AtomicU8| *state.get_mut() == FILLED;
        if let Some(empty) = self.states.iter_mut().position(|state| !filled(state)) {
            return Err(TaskId::from_index(empty));
        }
        self.states.clear();
        let mut places = ManuallyDrop::new(mem::take(&mut self.places));
        let (data, len, capacity) = (places.as_mut_ptr(), places.len(), places.capacity());
        // SAFETY: `UnsafeCell` and `MaybeUninit` have the layout of what is in them, all `len` places
        // are filled, and `ManuallyDrop` keeps any other owner from freeing the memory.
        Ok(unsafe { Vec::from_raw_parts(data.cast::<Outcome>(), len, capacity) })
    }
}

impl Drop for Outcomes {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    fn outcome(gas_used: u64) -> Outcome {
        Outcome {
            status: Status::Halted(gas_used.to_string()),
            gas_used,
            ..Outcome::system()
        }
    }

    fn empty_places(places: usize) -> Outcomes {
        Outcomes::with_memory(Vec::new(), places)
    }

    #[test]
    fn every_place_is_filled_once_whoever_comes_first() {
        let outcomes = empty_places(100);
        let filled: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u64)
                .map(|thread| {
                    let outcomes = &outcomes;
                    scope.spawn(move || {
                        let places = (0..100).map(TaskId::from_index);
                        places
                            .filter(|place| outcomes.set(*place, outcome(thread)))
                            .count()
                    })
                })
                .collect();
            let filled = threads.into_iter().map(|thread| thread.join().unwrap());
            filled.sum()
        });
        assert_eq!(filled, 100);
        let outcomes = outcomes.into_vec().unwrap();
        assert!(
            outcomes
                .iter()
                .all(|found| *found == outcome(found.gas_used))
        );
    }

    #[test]
    fn an_empty_place_is_named_and_the_others_are_dropped() {
        let mut outcomes = empty_places(3);
        assert!(outcomes.set(TaskId::from_index(0), outcome(7)));
        assert!(outcomes.set(TaskId::from_index(2), outcome(9)));
        assert!(outcomes.is_set(TaskId::from_index(2)));
        assert_eq!(outcomes.take(TaskId::from_index(2)), Some(outcome(9)));
        assert_eq!(outcomes.take(TaskId::from_index(2)), None);
        assert!(outcomes.set(TaskId::from_index(2), outcome(8)));
        assert_eq!(outcomes.into_vec(), Err(TaskId::from_index(1)));
    }

    #[test]
    fn memory_is_used_again() {
        let outcomes = empty_places(5);
        for place in 0..5 {
            assert!(outcomes.set(TaskId::from_index(place), outcome(1)));
        }
        let before = outcomes.into_vec().unwrap();
        let address = before.as_ptr();
        let outcomes = Outcomes::with_memory(before, 3);
        for place in 0..3 {
            assert!(outcomes.set(TaskId::from_index(place), outcome(2)));
        }
        let after = outcomes.into_vec().unwrap();
        assert_eq!(after.as_ptr(), address);
        assert_eq!(after, [outcome(2), outcome(2), outcome(2)]);
    }
}
