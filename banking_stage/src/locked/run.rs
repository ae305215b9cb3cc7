//! The locked path: the open block as a workload.

// Binds the lock table's grants to the cells they are for.
#![allow(unsafe_code)]

use super::numbering::number;
use crate::{
    block::{
        BlockError, BlockRun, GrantedKeys, InferringWorker, MakeExecutors, Progress, RunPath,
        keep_executors, kept_executors, transaction, with_grant,
    },
    lock_table::Access,
    stage::{Grant, Workload},
};
use lockweave_runtime::{AccessError, ExecutionError, Executor, GrantedState, OpenBlock, TaskId};
use std::{ops::Range, sync::Arc};

/// Executes a block whose sets are known. Numbers its keys first, if they have no numbers.
pub(crate) struct LockedPath;

impl<T, E, I> RunPath<T, E, I> for LockedPath
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    fn run(self, run: &mut BlockRun<'_, T, E, I>) -> Result<Progress, BlockError<E::Invalid>> {
        run.release_executors();
        let block = number(run.stage, run.take_block());
        let (workload, result) = run.stage.run(LockedWorkload {
            block: Arc::new(block),
            make: Arc::clone(&run.make),
            cost: run.cost,
        });
        run.put_block(workload.block);
        run.stats.run = result?;
        Ok(Progress::Done)
    }
}

struct LockedWorkload<T, E, I> {
    block: Arc<OpenBlock<T>>,
    make: Arc<MakeExecutors<E, I>>,
    cost: fn(&T) -> u64,
}

impl<T, E, I> Workload for LockedWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    /// A worker's executors, and its view of the block.
    type Worker = (InferringWorker<E, I>, GrantedState<T>);
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.block.transactions().len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let state = GrantedState::new(Arc::clone(&self.block));
        ((self.make)(kept_executors()), state)
    }

    fn retire(&self, _worker: usize, (executors, _): Self::Worker) {
        keep_executors(executors);
    }

    fn announce(&self, _worker: &mut Self::Worker, tasks: Range<usize>) {
        self.block.prefetch(tasks);
    }

    fn prepare(&self, _worker: &mut Self::Worker, task: TaskId) -> Result<(), Self::Error> {
        let resolved = self.block.resolve(task);
        resolved.map_err(|error| ExecutionError::Access(AccessError::State(error)))
    }

    #[inline]
    fn access(&self, task: TaskId) -> Access<'_> {
        self.block
            .contended(task)
            .map_or(Access::Everything, Access::Keys)
    }

    #[inline]
    fn is_free(&self, task: TaskId) -> bool {
        self.block.is_free(task)
    }

    #[inline]
    fn cost(&self, task: TaskId) -> u64 {
        (self.cost)(transaction(&self.block, task))
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = grant.task();
        let ((executor, _), state) = worker;
        let execute =
            |state: &mut GrantedState<T>| executor.execute(transaction(&self.block, task), state);
        // SAFETY: the stage made the grant after every key that `access` names was granted, and releases
        // the keys after this function returns; or `is_free` said that the task needs no lock. Keys of the
        // set that `access` leaves out are in no conflict, by the block's key table. Only this workload has
        // the block, so all states that enter it hold grants of this one run. The scheduler's lock orders a
        // release before the next grant of the key. It also orders the preparing of tasks (`prepare`
        // resolves them) before the feeding of this one, which comes after that of all in front of it. A
        // task that was not fed was prepared by this very worker, and `is_free` saw its cells filled.
        let result = unsafe {
            let keys = GrantedKeys::OfItsSet;
            with_grant(state, &self.block, task, keys, execute)
        };
        self.block.finish(task, result?);
        Ok(())
    }
}
