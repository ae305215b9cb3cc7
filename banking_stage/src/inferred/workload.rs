//! What is pending of a block with inferred sets, as a workload.

// Binds the lock table's grants to the cells they are for.
#![allow(unsafe_code)]

use crate::{
    inferred::run::{Make, keep_executors, last_executors},
    inferred::simulate::Counters,
    lock_table::Access,
    stage::grant::Grant,
    stage::workload::Workload,
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, OpenBlock, TaskId,
};
use parking_lot::Mutex;
use std::{
    error::Error,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

/// What is pending of the block, under locks.
pub(crate) struct InferredWorkload<T, E, I> {
    pub(crate) block: Arc<OpenBlock<T>>,
    /// The stage's tasks are positions in this list.
    pub(crate) order: Vec<TaskId>,
    /// Whether nothing has run yet.
    pub(crate) is_first: bool,
    pub(crate) make: Arc<Make<E, I>>,
    pub(crate) cost: fn(&T) -> u64,
    pub(crate) counters: Arc<Counters>,
    /// Those that left their sets.
    pub(crate) left: Mutex<Vec<TaskId>>,
    /// When so many have left their sets, nobody behind the last one is begun: the other sets may be no
    /// better.
    pub(crate) left_max: usize,
}

/// A worker's executors, and its window onto the block.
pub(crate) struct WorkerState<T, E, I> {
    executor: E,
    inferrer: I,
    state: GrantedState<T>,
    simulations_taken: usize,
}

impl<T, E, I> InferredWorkload<T, E, I> {
    /// Fills the cells of a transaction, if they are not.
    fn resolve<X: Error>(&self, task: TaskId) -> Result<(), ExecutionError<X>> {
        let resolved = self.block.resolve(task);
        resolved.map_err(|error| ExecutionError::Access(AccessError::State(error)))
    }
}

impl<T, E, I> Workload for InferredWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    type Worker = WorkerState<T, E, I>;
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.order.len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let (executor, inferrer) = (self.make)(last_executors());
        let mut state = GrantedState::new(Arc::clone(&self.block));
        state.keep_undo();
        state.allow_late_grants();
        WorkerState {
            executor,
            inferrer,
            state,
            simulations_taken: 0,
        }
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        let taken = &self.counters.simulations_taken;
        taken.fetch_add(worker.simulations_taken, Ordering::Relaxed);
        keep_executors(worker.executor, worker.inferrer);
    }

    fn announce(&self, _worker: &mut Self::Worker, positions: Range<usize>) {
        // Later most cells are filled.
        if self.is_first
            && let [first, .., last] = &self.order[positions]
        {
            self.block.prefetch(first.index()..last.index() + 1);
        }
    }

    fn prepare(&self, _worker: &mut Self::Worker, position: TaskId) -> Result<(), Self::Error> {
        let task = self.order[position.index()];
        if self.block.may_keep_private(task) {
            return Ok(());
        }
        self.resolve(task)
    }

    #[inline]
    fn access(&self, position: TaskId) -> Access<'_> {
        self.block
            .contended(self.order[position.index()])
            .map_or(Access::Everything, Access::Keys)
    }

    #[inline]
    fn is_free(&self, position: TaskId) -> bool {
        self.block.is_free(self.order[position.index()])
    }

    #[inline]
    fn cost(&self, position: TaskId) -> u64 {
        let task = self.order[position.index()];
        self.block
            .gas_seen(task)
            .unwrap_or_else(|| (self.cost)(&self.block.transactions()[task.index()].transaction))
    }

    /// Whoever has left its set is the only one to know; those who do not need what it holds go on.
    fn is_left_behind(&self, position: TaskId, error: &Self::Error) -> bool {
        if !matches!(error, ExecutionError::Access(AccessError::Undeclared(_))) {
            return false;
        }
        let mut left = self.left.lock();
        left.push(self.order[position.index()]);
        left.len() < self.left_max
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = self.order[grant.task().index()];
        // SAFETY: the stage made the grant after every key that `access` names was granted, and
        // releases them after this function returned. The block is this workload's alone, so all
        // who enter it hold grants of this one run; a release and the next grant of a key are
        // ordered by the scheduler's lock. `order` names no transaction twice.
        if let Some(outcome) = unsafe { worker.state.run_private(task) } {
            worker.simulations_taken += 1;
            self.block.finish(task, outcome);
            return Ok(());
        }
        self.resolve(task)?;
        // SAFETY: as above.
        unsafe { worker.state.enter(task) };
        let result = if let Some(outcome) = worker.state.apply_simulation() {
            worker.simulations_taken += 1;
            Ok(outcome)
        } else {
            let transaction = &self.block.transactions()[task.index()].transaction;
            worker.executor.execute(transaction, &mut worker.state)
        };
        if !worker.state.is_entered(&self.block, task) {
            // As in `block.rs`: the executor kept the window.
            std::process::abort();
        }
        worker.state.leave();
        let undo = worker.state.take_undo();
        self.block.finish(task, result?);
        let memory = self.block.keep_undo(task, undo);
        worker.state.reuse_undo(memory);
        Ok(())
    }
}
