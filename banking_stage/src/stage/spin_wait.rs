//! Polling for a while before sleeping.

use super::cores::PARALLELISM;
use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// Waking a thread takes some 50 µs, so polling for a message or a free lock pays for about as long.
pub(crate) const SPIN_TIME: Duration = Duration::from_micros(40);

const POLLS: usize = 16;

/// How long a thread polls for something before it sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpinWait(Duration);

impl SpinWait {
    /// With fewer cores than workers, polling does not pay: it takes the core from a worker.
    pub(crate) fn for_threads(threads: usize, time: Duration) -> Self {
        Self(if threads <= PARALLELISM.get() {
            time
        } else {
            Duration::ZERO
        })
    }

    /// Polls until it finds something, the time is over, or `goes_on` returns false.
    pub(crate) fn poll<M>(
        self,
        mut poll: impl FnMut() -> Option<M>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<M> {
        let started = Instant::now();
        loop {
            for _ in 0..POLLS {
                let found = poll();
                if found.is_some() {
                    return found;
                }
                hint::spin_loop();
            }
            if !self.goes_on(started) || !goes_on() {
                return None;
            }
            thread::yield_now();
        }
    }

    pub(crate) fn goes_on(self, started: Instant) -> bool {
        started.elapsed() < self.0
    }

    /// Passes the time between two polls of a lock.
    pub(crate) fn pause() {
        (0..POLLS).for_each(|_| hint::spin_loop());
    }
}
