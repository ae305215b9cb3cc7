//! The executors that a thread keeps between runs, so that their buffers and caches outlive a block.

use std::{any::Any, cell::RefCell};

/// The executors of one worker: one that executes under locks, one that simulates.
pub type InferringWorker<E, I> = (E, I);

/// Makes the executors of a worker, from those that its thread used last.
pub(crate) type MakeExecutors<E, I> =
    dyn Fn(Option<InferringWorker<E, I>>) -> InferringWorker<E, I> + Send + Sync;

/// A thread keeps executors of at most so many types: those for known and for inferred sets.
const TYPES_MAX: usize = 2;

thread_local! {
    /// At most one pair of each type, the one kept last at the end.
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Takes the executors that this thread kept last, if there are any of these types.
pub(crate) fn kept_executors<E: 'static, I: 'static>() -> Option<InferringWorker<E, I>> {
    let kept = KEPT.with_borrow_mut(|kept| {
        let place = kept
            .iter()
            .position(|kept| kept.is::<InferringWorker<E, I>>());
        place.map(|place| kept.remove(place))
    });
    kept?.downcast().ok().map(|kept| *kept)
}

pub(crate) fn keep_executors<E: 'static, I: 'static>(executors: InferringWorker<E, I>) {
    let replaced = kept_executors::<E, I>();
    let evicted = KEPT.with_borrow_mut(|kept| {
        kept.push(Box::new(executors));
        (kept.len() > TYPES_MAX).then(|| kept.remove(0))
    });
    // Dropped here, where nothing is borrowed.
    drop((replaced, evicted));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_the_last_executors_of_two_types() {
        keep_executors((1_u8, ()));
        keep_executors((2_u8, ()));
        keep_executors((3_u16, ()));
        assert_eq!(kept_executors::<u8, ()>(), Some((2, ())));
        assert_eq!(kept_executors::<u8, ()>(), None);
        keep_executors((4_u32, ()));
        keep_executors((5_u64, ()));
        assert_eq!(kept_executors::<u16, ()>(), None);
        assert_eq!(kept_executors::<u32, ()>(), Some((4, ())));
        assert_eq!(kept_executors::<u64, ()>(), Some((5, ())));
    }
}
