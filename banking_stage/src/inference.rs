//! Finding out what all transactions of a block touch, on all workers.

use crate::{
    grant::Grant,
    inferred::{InferredStats, Make, keep_executors, last_executors},
    lock_table::Access,
    workload::Workload,
};
use lockweave_runtime::{
    AccessMode, DenseId, INFERRED_KEYS_MAX, Infer, Inference, OpenBlock, SimulatedState, TaskId,
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
    /// Of these.
    pub(crate) tasks: Range<usize>,
    pub(crate) make: Arc<Make<E, I>>,
    pub(crate) cost: fn(&T) -> u64,
    pub(crate) counters: Arc<Counters>,
}

/// A worker's executors, its window onto the state before the block, and what it counted.
pub(crate) struct Looker<T, E, I> {
    executor: E,
    inferrer: I,
    state: SimulatedState<T>,
    since: Instant,
    known: usize,
    by_template: usize,
    by_simulation: usize,
}

impl<T, E, I> Inferring<T, E, I> {
    fn task(&self, position: TaskId) -> TaskId {
        TaskId::from_index(self.tasks.start + position.index())
    }
}

impl<T, E, I> Workload for Inferring<T, E, I>
where
    T: Send + Sync + 'static,
    E: 'static,
    I: Infer<T>,
{
    type Worker = Looker<T, E, I>;
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let (executor, inferrer) = (self.make)(last_executors());
        Looker {
            executor,
            inferrer,
            state: SimulatedState::new(Arc::clone(&self.block)),
            since: Instant::now(),
            known: 0,
            by_template: 0,
            by_simulation: 0,
        }
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        let add = |counter: &AtomicUsize, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.counters.known, worker.known);
        add(&self.counters.by_template, worker.by_template);
        add(&self.counters.by_simulation, worker.by_simulation);
        let nanoseconds = u64::try_from(worker.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let total = &self.counters.inference_nanoseconds;
        total.fetch_add(nanoseconds, Ordering::Relaxed);
        keep_executors(worker.executor, worker.inferrer);
    }

    fn announce(&self, worker: &mut Self::Worker, positions: Range<usize>) {
        let first = self.tasks.start;
        let next = &self.block.transactions()[first + positions.start..first + positions.end];
        worker.inferrer.announce(next, &**self.block.cells().view());
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

    fn cost(&self, position: TaskId) -> u64 {
        let task = self.task(position);
        (self.cost)(&self.block.transactions()[task.index()].transaction)
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Infallible> {
        let task = self.task(grant.task());
        if !self.block.is_inferred(task) {
            return Ok(());
        }
        let sanitized = &self.block.transactions()[task.index()];
        worker.state.clear();
        for entry in sanitized.access.entries() {
            // A first idea says which keys, and not what is done with them.
            worker.state.expect(entry.key, AccessMode::Read);
        }
        let inference = worker
            .inferrer
            .infer(&sanitized.transaction, &mut worker.state);
        // A state that cannot be read says so again when the transaction's turn comes.
        let Ok(inference) = inference else {
            return Ok(());
        };
        match &inference {
            Inference::Known => worker.known += 1,
            Inference::Template { .. } => {
                worker.by_template += 1;
                self.counters.by_template_of[task.index()].store(true, Ordering::Relaxed);
            }
            Inference::Simulated(_) | Inference::Assumed => worker.by_simulation += 1,
        }
        worker.state.conclude(task, inference, INFERRED_KEYS_MAX);
        Ok(())
    }
}
