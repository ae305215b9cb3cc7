//! The parallel run of the transactions that are pending.

// Binds the lock table's grants to the cells they are for.
#![allow(unsafe_code)]

use crate::{
    block::{
        Counters, GrantedKeys, InferredStats, MakeExecutors, keep_executors, kept_executors,
        transaction, with_grant,
    },
    lock_table::Access,
    stage::{Grant, Workload},
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, OpenBlock, TaskId,
};
use parking_lot::Mutex;
use std::{error::Error, ops::Range, sync::Arc};

/// The pending transactions of a block, under locks.
pub(crate) struct InferredWorkload<T, E, I> {
    pub(crate) block: Arc<OpenBlock<T>>,
    /// The stage's tasks are positions in this list.
    pub(crate) order: Vec<TaskId>,
    /// Whether nothing has run yet.
    pub(crate) is_first: bool,
    pub(crate) make: Arc<MakeExecutors<E, I>>,
    pub(crate) cost: fn(&T) -> u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) violators: Mutex<Vec<TaskId>>,
    /// After so many violations, no transaction behind the last one starts: the other sets may be no better.
    pub(crate) violators_max: usize,
}

/// A worker's executors, and its view of the block.
pub(crate) struct InferredWorker<T, E, I> {
    executor: E,
    inferrer: I,
    state: GrantedState<T>,
    simulations_taken: usize,
}

impl<T, E, I> InferredWorkload<T, E, I> {
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
    type Worker = InferredWorker<T, E, I>;
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.order.len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let (executor, inferrer) = (self.make)(kept_executors());
        let mut state = GrantedState::new(Arc::clone(&self.block));
        state.keep_undo();
        state.allow_late_grants();
        InferredWorker {
            executor,
            inferrer,
            state,
            simulations_taken: 0,
        }
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        self.counters.add(&InferredStats {
            simulations_taken: worker.simulations_taken,
            ..InferredStats::default()
        });
        keep_executors((worker.executor, worker.inferrer));
    }

    fn announce(&self, _worker: &mut Self::Worker, positions: Range<usize>) {
        // In later runs most cells are filled.
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
            .unwrap_or_else(|| (self.cost)(transaction(&self.block, task)))
    }

    /// A violator keeps its locks; transactions that do not need them go on.
    fn is_left_behind(&self, position: TaskId, error: &Self::Error) -> bool {
        if !matches!(error, ExecutionError::Access(AccessError::Undeclared(_))) {
            return false;
        }
        let mut violators = self.violators.lock();
        violators.push(self.order[position.index()]);
        violators.len() < self.violators_max
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = self.order[grant.task().index()];
        // SAFETY: the stage made the grant after every key that `access` names was granted, and releases
        // the keys after this function returns. Only this workload has the block, so all states that enter
        // it hold grants of this one run. The scheduler's lock orders a release before the next grant of
        // the key. `order` names no transaction twice.
        if let Some(outcome) = unsafe { worker.state.run_private(task) } {
            worker.simulations_taken += 1;
            self.block.finish(task, outcome);
            return Ok(());
        }
        self.resolve(task)?;
        let (executor, taken) = (&mut worker.executor, &mut worker.simulations_taken);
        let execute = |state: &mut GrantedState<T>| {
            if let Some(outcome) = state.apply_simulation() {
                *taken += 1;
                return Ok(outcome);
            }
            executor.execute(transaction(&self.block, task), state)
        };
        // SAFETY: as above.
        let result = unsafe {
            let keys = GrantedKeys::OfItsSet;
            with_grant(&mut worker.state, &self.block, task, keys, execute)
        };
        let undo = worker.state.take_undo();
        self.block.finish(task, result?);
        let memory = self.block.keep_undo(task, undo);
        worker.state.reuse_undo(memory);
        Ok(())
    }
}
