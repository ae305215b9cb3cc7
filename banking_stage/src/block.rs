//! The runtime's open block as a workload: state keys, cells and an executor under the stage's locks.

// Binds the lock table's grants to the cells they are for.
#![allow(unsafe_code)]

use crate::{
    error::StageError, grant::Grant, lock_table::Access, numbering::number, stage::BankingStage,
    stats::RunStats, workload::Workload,
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, OpenBlock, TaskId,
};
use std::{any::Any, cell::RefCell, ops::Range, sync::Arc};

/// Runs all transactions of an open block under locks, and gives the block back to be sealed. If its
/// keys have no numbers yet, they get them first.
///
/// `make` gives every worker its executor. It is handed the executor that the worker's thread used
/// last, if it was of the same type, so that buffers outlive the block. `cost` is a rough cost of a
/// transaction in gas, for batching.
///
/// On an error the block is given back as the run left it: everything in front of the transaction
/// that failed has an outcome.
pub fn execute_block<T, E>(
    stage: &BankingStage,
    block: OpenBlock<T>,
    make: impl Fn(Option<E>) -> E + Send + Sync + 'static,
    cost: fn(&T) -> u64,
) -> (OpenBlock<T>, BlockResult<E::Invalid>)
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
{
    let workload = BlockWorkload {
        block: Arc::new(number(stage, block)),
        make: Box::new(make),
        cost,
    };
    let (workload, result) = stage.run(workload);
    let block = Arc::into_inner(workload.block);
    (block.expect("workers give their windows back"), result)
}

/// What a run of a block came to.
pub type BlockResult<I> = Result<RunStats, StageError<ExecutionError<I>>>;

struct BlockWorkload<T, E> {
    block: Arc<OpenBlock<T>>,
    make: Box<dyn Fn(Option<E>) -> E + Send + Sync>,
    cost: fn(&T) -> u64,
}

/// A worker's executor, and its window onto the block.
struct BlockWorker<T, E> {
    executor: E,
    state: GrantedState<T>,
}

thread_local! {
    /// The executor this thread used last.
    static EXECUTOR: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

impl<T, E> Workload for BlockWorkload<T, E>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
{
    type Worker = BlockWorker<T, E>;
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.block.transactions().len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let last = EXECUTOR.with_borrow_mut(Option::take);
        let last = last.and_then(|executor| executor.downcast::<E>().ok());
        BlockWorker {
            executor: (self.make)(last.map(|executor| *executor)),
            state: GrantedState::new(Arc::clone(&self.block)),
        }
    }

    fn retire(&self, _worker: usize, state: Self::Worker) {
        EXECUTOR.set(Some(Box::new(state.executor)));
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
        (self.cost)(&self.block.transactions()[task.index()].transaction)
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = grant.task();
        // SAFETY: the stage made the grant after every key that `access` names was granted, and
        // releases them after this function returned; or because `is_free` said that no key needs to
        // be. Keys of the set that `access` leaves out are those that the block's key table knows to
        // be in no conflict at all. The block is this workload's alone, so all
        // who enter it hold grants of this one run; a release and the next grant of a key are
        // ordered by the scheduler's lock, and so are the preparing of tasks (`prepare` resolves
        // them) and the feeding of this one, which comes after that of all in front of it. A task
        // that was not fed was prepared by this very worker, and `is_free` saw its cells filled.
        unsafe { worker.state.enter(task) };
        let transaction = &self.block.transactions()[task.index()].transaction;
        let result = worker.executor.execute(transaction, &mut worker.state);
        if !worker.state.is_entered(&self.block, task) {
            // The executor kept the window and left another in its place. It could be used without
            // a grant from now on, on any thread; there is no way back from that.
            std::process::abort();
        }
        worker.state.leave();
        self.block.finish(task, result?);
        Ok(())
    }
}
