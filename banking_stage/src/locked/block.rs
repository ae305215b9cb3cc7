//! The runtime's open block as a workload: state keys, cells and an executor under the stage's locks.

// Binds the lock table's grants to the cells they are for.
#![allow(unsafe_code)]

use crate::{
    lock_table::Access,
    locked::numbering::number,
    payments::run::{Executors, find_payments, run_payments},
    scheduler::stats::RunStats,
    stage::error::StageError,
    stage::grant::Grant,
    stage::threads::BankingStage,
    stage::workload::Workload,
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, OpenBlock, TaskId,
};
use std::{any::Any, cell::RefCell, ops::Range, sync::Arc};

/// Runs all transactions of an open block under locks, and gives the block back to be sealed. If its
/// keys have no numbers yet, they get them first. A block that is payments alone is run [without
/// locks](lockweave_runtime::Payments).
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
    let make: Arc<Make<E>> = Arc::new(make);
    let (block, run) = run_as_payments(stage, block, &make);
    if let Some(run) = run {
        return (block, Ok(run));
    }
    let workload = BlockWorkload {
        block: Arc::new(number(stage, block)),
        make,
        cost,
    };
    let (workload, result) = stage.run(workload);
    let block = Arc::into_inner(workload.block);
    (block.expect("workers give their windows back"), result)
}

/// Runs a block that is payments alone, if that can be done.
fn run_as_payments<T, E>(
    stage: &BankingStage,
    block: OpenBlock<T>,
    make: &Arc<Make<E>>,
) -> (OpenBlock<T>, Option<RunStats>)
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
{
    let at_least = stage.config().payments_from;
    let transactions = block.transactions();
    if transactions.len() < at_least {
        return (block, None);
    }
    let executor = make(last_executor());
    let found = find_payments(transactions.len(), at_least, |task| {
        executor.payment(&transactions[task].transaction).is_some()
    });
    keep_executor(executor);
    let all = 0..transactions.len();
    if found.as_ref() != Some(&all) {
        return (block, None);
    }
    let make = Arc::clone(make);
    let executors = Executors {
        enter: Box::new(move || make(last_executor())),
        retire: keep_executor,
        payment: E::payment,
    };
    run_payments(stage, block, all, executors)
}

/// What a run of a block came to.
pub type BlockResult<I> = Result<RunStats, StageError<ExecutionError<I>>>;

type Make<E> = dyn Fn(Option<E>) -> E + Send + Sync;

struct BlockWorkload<T, E> {
    block: Arc<OpenBlock<T>>,
    make: Arc<Make<E>>,
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

fn last_executor<E: 'static>() -> Option<E> {
    let last = EXECUTOR.with_borrow_mut(Option::take)?;
    last.downcast().ok().map(|executor| *executor)
}

/// Keeps an executor for this thread's next run.
fn keep_executor<E: 'static>(executor: E) {
    EXECUTOR.set(Some(Box::new(executor)));
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
        BlockWorker {
            executor: (self.make)(last_executor()),
            state: GrantedState::new(Arc::clone(&self.block)),
        }
    }

    fn retire(&self, _worker: usize, state: Self::Worker) {
        keep_executor(state.executor);
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
