//! The inference of all sets of a block, on all workers.

use super::pilot::Pilot;
use crate::{
    block::{BlockError, BlockRun, Counters, MakeExecutors, Simulator, transaction},
    lock_table::Access,
    stage::{Grant, Workload},
};
use lockweave_runtime::{ExecutionError, Executor, GrantedState, Infer, Next, OpenBlock, TaskId};
use std::{ops::Range, sync::Arc};

/// Infers the sets of all transactions except those that are `deferred`, or stops when the block turns out
/// to be a chain.
pub(crate) fn infer_sets<T, E, I>(
    run: &BlockRun<'_, T, E, I>,
    pilot: &Arc<Pilot>,
    deferred: Arc<[TaskId]>,
) -> Result<(), BlockError<E::Invalid>>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    let (_, result) = run.stage.run(InferenceWorkload {
        block: Arc::clone(run.block()),
        pilot: Arc::clone(pilot),
        deferred,
        make: Arc::clone(&run.make),
        cost: run.cost,
        counters: Arc::clone(&run.counters),
    });
    result.map(drop)
}

/// Every transaction is simulated on the state before the block, so none waits for another.
struct InferenceWorkload<T, E, I> {
    block: Arc<OpenBlock<T>>,
    pilot: Arc<Pilot>,
    /// Simulated elsewhere; in block order.
    deferred: Arc<[TaskId]>,
    make: Arc<MakeExecutors<E, I>>,
    cost: fn(&T) -> u64,
    counters: Arc<Counters>,
}

impl<T, E: 'static, I: Infer<T>> InferenceWorkload<T, E, I> {
    fn simulate(&self, simulator: &mut Simulator<E, I>, task: TaskId) {
        if !self.block.is_inferred(task) || self.deferred.binary_search(&task).is_ok() {
            return;
        }
        simulator.set_contention(self.pilot.contention());
        simulator.simulate(&self.block, task, &self.counters);
    }
}

impl<T, E, I> Workload for InferenceWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    type Worker = Simulator<E, I>;
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.block.transactions().len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        Simulator::new(&*self.make, Arc::clone(self.block.cells().view()))
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

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Keys(&[])
    }

    fn is_free(&self, _task: TaskId) -> bool {
        true
    }

    fn cost(&self, task: TaskId) -> u64 {
        (self.cost)(transaction(&self.block, task))
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = grant.task();
        if !self.pilot.is_chain() {
            self.simulate(worker, task);
            self.pilot.note_simulated(&self.block, task, self.cost);
        }
        Ok(())
    }
}
