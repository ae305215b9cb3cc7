//! Simulates transactions on the state before the block, to find what they access.

use super::{
    counters::{Counters, InferredStats},
    executors::{InferringWorker, MakeExecutors, keep_executors, kept_executors},
};
use lockweave_runtime::{
    AccessMode, Contention, DenseId, INFERRED_KEYS_MAX, Infer, Inference, Next, OpenBlock,
    Sanitized, SimulatedState, StateError, StateView, TaskId,
};
use std::{mem, ops::Range, sync::Arc, time::Instant};

/// A worker's executors, its view of the state before the block, and what it has counted.
pub(crate) struct Simulator<E, I> {
    pub(crate) executor: E,
    inferrer: I,
    state: SimulatedState,
    since: Instant,
    counts: InferredStats,
}

impl<E: 'static, I: 'static> Simulator<E, I> {
    /// A simulator with the executors that this thread kept.
    pub(crate) fn new(make: &MakeExecutors<E, I>, view: Arc<dyn StateView>) -> Self {
        Self::with_executors(make(kept_executors()), view)
    }

    pub(crate) fn with_executors(
        (executor, inferrer): InferringWorker<E, I>,
        view: Arc<dyn StateView>,
    ) -> Self {
        Self {
            executor,
            inferrer,
            state: SimulatedState::new(view),
            since: Instant::now(),
            counts: InferredStats::default(),
        }
    }

    /// Gives the inferrer a hint on how many of the block's transactions wait for others.
    pub(crate) fn set_contention(&mut self, contention: Contention) {
        self.state.set_contention(contention);
    }

    pub(crate) fn announce<T>(&mut self, block: &OpenBlock<T>, tasks: Range<usize>, next: Next)
    where
        I: Infer<T>,
    {
        let view = &**block.cells().view();
        (self.inferrer).announce(&block.transactions()[tasks], next, view);
    }

    pub(crate) fn infer<T>(
        &mut self,
        transactions: &[Sanitized<T>],
        task: TaskId,
        counters: &Counters,
    ) -> Result<Inference, StateError>
    where
        I: Infer<T>,
    {
        let sanitized = &transactions[task.index()];
        self.state.clear();
        for entry in sanitized.access.entries() {
            // A hint says which keys are accessed, not how.
            self.state.expect(entry.key, AccessMode::Read);
        }
        let inference = (self.inferrer).infer(&sanitized.transaction, &mut self.state)?;
        match &inference {
            Inference::Known => self.counts.known += 1,
            Inference::Template { .. } => {
                self.counts.by_template += 1;
                counters.note_template(task);
            }
            Inference::Simulated(_) | Inference::Assumed => self.counts.by_simulation += 1,
        }
        Ok(inference)
    }

    /// Infers the set of a transaction, and hands it to the block.
    pub(crate) fn simulate<T>(&mut self, block: &OpenBlock<T>, task: TaskId, counters: &Counters)
    where
        I: Infer<T>,
    {
        block.expect_set(task);
        // If the state cannot be read, the execution reports it.
        if let Ok(inference) = self.infer(block.transactions(), task, counters) {
            (self.state).conclude(block, task, inference, INFERRED_KEYS_MAX);
        }
    }

    pub(crate) fn take_state(&mut self) -> SimulatedState {
        let fresh = SimulatedState::new(Arc::clone(self.state.view()));
        mem::replace(&mut self.state, fresh)
    }

    /// Keeps the executors for this thread and adds up what was counted, with all the time since the
    /// simulator was made.
    pub(crate) fn retire(mut self, counters: &Counters) {
        self.add_time(self.since);
        keep_executors(self.into_executors(counters));
    }

    /// Adds the time since then to the time spent on inference.
    pub(crate) fn add_time(&mut self, since: Instant) {
        self.counts.inference += since.elapsed();
    }

    /// Gives the executors back and adds up what was counted.
    pub(crate) fn into_executors(self, counters: &Counters) -> InferringWorker<E, I> {
        counters.add(&self.counts);
        (self.executor, self.inferrer)
    }
}
