//! Finding out what all transactions of a block touch, on all workers.

use crate::{
    inferred::dependence::Pilot,
    inferred::run::{InferredStats, InferringWorker, Make, keep_executors, last_executors},
    lock_table::Access,
    stage::grant::Grant,
    stage::workload::Workload,
};
use lockweave_runtime::{
    AccessMode, DenseId, INFERRED_KEYS_MAX, Infer, Inference, Next, OpenBlock, Sanitized,
    SimulatedState, StateError, StateView, TaskId,
};
use std::{
    convert::Infallible,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What workers count and note.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Whether the set of a transaction came from a template.
    by_template_of: Box<[AtomicBool]>,
    known: AtomicUsize,
    by_template: AtomicUsize,
    by_simulation: AtomicUsize,
    pub(crate) simulations_taken: AtomicUsize,
    inference_nanoseconds: AtomicU64,
}

impl Counters {
    pub(crate) fn new(tasks: usize) -> Self {
        Self {
            by_template_of: (0..tasks).map(|_| AtomicBool::new(false)).collect(),
            ..Self::default()
        }
    }

    /// Notes that a transaction's set came from a template.
    fn note_template(&self, task: TaskId) {
        self.by_template_of[task.index()].store(true, Ordering::Relaxed);
    }

    /// Notes time spent on inference from then to now.
    pub(crate) fn note_time(&self, since: Instant) {
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        (self.inference_nanoseconds).fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Whether a transaction's set came from a template.
    pub(crate) fn is_by_template(&self, task: TaskId) -> bool {
        self.by_template_of[task.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn add_to(&self, stats: &mut InferredStats) {
        stats.known += self.known.load(Ordering::Relaxed);
        stats.by_template += self.by_template.load(Ordering::Relaxed);
        stats.by_simulation += self.by_simulation.load(Ordering::Relaxed);
        stats.simulations_taken += self.simulations_taken.load(Ordering::Relaxed);
        let nanoseconds = self.inference_nanoseconds.load(Ordering::Relaxed);
        stats.inference += Duration::from_nanos(nanoseconds);
    }
}

/// The inference of a block: every transaction is looked at on its own, so nobody waits for anybody.
pub(crate) struct Inferring<T, E, I> {
    pub(crate) block: Arc<OpenBlock<T>>,
    pub(crate) pilot: Arc<Pilot>,
    /// Not to be looked at, in block order: somebody else does.
    pub(crate) aside: Arc<[TaskId]>,
    pub(crate) make: Arc<Make<E, I>>,
    pub(crate) cost: fn(&T) -> u64,
    pub(crate) counters: Arc<Counters>,
}

/// A worker's executors, its window onto the state before the block, and what it counted.
pub(crate) struct Looker<E, I> {
    pub(crate) executor: E,
    inferrer: I,
    state: SimulatedState,
    since: Instant,
    known: usize,
    by_template: usize,
    by_simulation: usize,
}

impl<E: 'static, I: 'static> Looker<E, I> {
    /// One on this thread, with the executors it used last.
    pub(crate) fn new(make: &Make<E, I>, view: Arc<dyn StateView>) -> Self {
        Self::with_executors(make(last_executors()), view)
    }

    /// One with these executors.
    pub(crate) fn with_executors(
        (executor, inferrer): InferringWorker<E, I>,
        view: Arc<dyn StateView>,
    ) -> Self {
        Self {
            executor,
            inferrer,
            state: SimulatedState::new(view),
            since: Instant::now(),
            known: 0,
            by_template: 0,
            by_simulation: 0,
        }
    }

    /// Finds out what a transaction touches.
    pub(crate) fn look<T>(
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
            // A first idea says which keys, and not what is done with them.
            self.state.expect(entry.key, AccessMode::Read);
        }
        let inference = (self.inferrer).infer(&sanitized.transaction, &mut self.state)?;
        match &inference {
            Inference::Known => self.known += 1,
            Inference::Template { .. } => {
                self.by_template += 1;
                counters.note_template(task);
            }
            Inference::Simulated(_) | Inference::Assumed => self.by_simulation += 1,
        }
        Ok(inference)
    }

    /// Tells the state what transactions in a row will look at.
    pub(crate) fn announce<T>(&mut self, block: &OpenBlock<T>, tasks: Range<usize>, next: Next)
    where
        I: Infer<T>,
    {
        let view = &**block.cells().view();
        (self.inferrer).announce(&block.transactions()[tasks], next, view);
    }

    /// Finds out what a transaction touches, and makes that its set.
    pub(crate) fn look_at<T>(&mut self, block: &OpenBlock<T>, task: TaskId, counters: &Counters)
    where
        I: Infer<T>,
    {
        block.expect_set(task);
        // A state that cannot be read says so again when the transaction's turn comes.
        if let Ok(found) = self.look(block.transactions(), task, counters) {
            self.state.conclude(block, task, found, INFERRED_KEYS_MAX);
        }
    }

    /// Gives the executors back to this thread, and says what was counted; all the time since it was made was for
    /// looking.
    pub(crate) fn retire(self, counters: &Counters) {
        counters.note_time(self.since);
        let (executor, inferrer) = self.into_executors(counters);
        keep_executors(executor, inferrer);
    }

    /// Gives the executors back, and says what was counted, but for the time.
    pub(crate) fn into_executors(self, counters: &Counters) -> InferringWorker<E, I> {
        let add = |counter: &AtomicUsize, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&counters.known, self.known);
        add(&counters.by_template, self.by_template);
        add(&counters.by_simulation, self.by_simulation);
        (self.executor, self.inferrer)
    }

    /// Hands out what was found last.
    pub(crate) fn take_state(&mut self) -> SimulatedState {
        let fresh = SimulatedState::new(Arc::clone(self.state.view()));
        std::mem::replace(&mut self.state, fresh)
    }
}

impl<T, E: 'static, I: Infer<T>> Inferring<T, E, I> {
    fn look(&self, looker: &mut Looker<E, I>, task: TaskId) {
        if !self.block.is_inferred(task) || self.aside.binary_search(&task).is_ok() {
            return;
        }
        looker.state.set_contention(self.pilot.contention());
        looker.look_at(&self.block, task, &self.counters);
    }
}

impl<T, E, I> Workload for Inferring<T, E, I>
where
    T: Send + Sync + 'static,
    E: 'static,
    I: Infer<T>,
{
    type Worker = Looker<E, I>;
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.block.transactions().len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        Looker::new(&*self.make, Arc::clone(self.block.cells().view()))
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        worker.retire(&self.counters);
    }

    fn announce(&self, worker: &mut Self::Worker, positions: Range<usize>) {
        if self.pilot.is_chain() {
            return;
        }
        self.block.expect_simulations(positions.clone());
        worker.announce(&self.block, positions, Next::Infer);
    }

    fn prepare(&self, _worker: &mut Self::Worker, _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Keys(&[])
    }

    fn is_free(&self, _task: TaskId) -> bool {
        true
    }

    fn cost(&self, task: TaskId) -> u64 {
        (self.cost)(&self.block.transactions()[task.index()].transaction)
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Infallible> {
        let task = grant.task();
        if !self.pilot.is_chain() {
            self.look(worker, task);
            self.pilot.note_looked_at(&self.block, task, self.cost);
        }
        Ok(())
    }
}
